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
    """The template of that name with its $placeholders replaced.

    Values have to be quoted for the template's language already.

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
    """A string, number, list or object on one line of YAML, whatever characters are in it."""
    # JSON is YAML, but for characters that YAML takes for line ends or does not allow unescaped.
    # Not ensure_ascii: of its pairs of surrogates YAML makes two characters.
    text = json.dumps(value, ensure_ascii=False)
    return re.sub("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]", _escape, text)


def in_comment(text: str) -> str:
    """A word of a command that stands in a comment of a job file, as a shell takes it."""
    # What YAML does not allow, it does not allow in a comment either, which a line's end would end.
    return shlex.quote(text if text.isprintable() else yaml_quoted(text)[1:-1])


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
