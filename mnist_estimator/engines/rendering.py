"""Fills the templates of job files, and quotes what goes into them.

The templates are files of the folder `templates`, whose names the engines' modules give.
"""

from __future__ import annotations

import json
import re
import shlex
import string
from importlib import resources


def render(template_name: str, /, **values: object) -> str:
    """Returns the template of that name with its $placeholders replaced.

    The caller quotes the values for the template's language.

    Raises:
      KeyError: if a placeholder has no value.
      TypeError: if a value has no placeholder.
    """
    folder = resources.files("mnist_estimator.engines").joinpath("templates")
    template = string.Template(folder.joinpath(template_name).read_text(encoding="utf-8"))
    found = template.pattern.finditer(template.template)
    unused = set(values) - {match["named"] or match["braced"] for match in found}
    if unused:
        raise TypeError(f"{template_name}: no placeholder for {', '.join(sorted(unused))}")
    return template.substitute(values)


def yaml_quoted(value: object) -> str:
    """Returns a string, number, list or object on one line of YAML, with any characters in it."""
    # JSON is YAML, except for characters that YAML takes for line ends or wants escaped. Without
    # ensure_ascii, because YAML reads its pairs of surrogates as two characters.
    text = json.dumps(value, ensure_ascii=False)
    return re.sub("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]", _escape, text)


def in_comment(text: str) -> str:
    """Returns a word of a command in a comment of a job file, quoted for a shell."""
    # YAML allows no control characters in comments either, and a line's end would end the comment.
    return shlex.quote(text if text.isprintable() else yaml_quoted(text)[1:-1])


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
