"""What `--help` prints: the command's docstring, then its flags in groups.

A group is shown where `group` was called, its flags in the order of the names given: the order in
which a person meets them. `--helpfull` and `--helpxml` are absl's own, in alphabetical order.
"""

from __future__ import annotations

import dataclasses
import re
import sys
import textwrap
from collections.abc import Iterable
from typing import Any

from absl import app, flags

# absl keeps lists of flags by module. A group is one by a name that no module has.
_GROUP = "group: "
_REST = "Other flags"
_END = "--flagfile=FILE reads flags from a file. --helpfull lists all flags, also those of absl."


def group(title: str, names: Iterable[str], values: flags.FlagValues | None = None) -> None:
    """Shows these flags, which are defined already, below a title."""
    values = flags.FLAGS if values is None else values
    for name in names:
        values.register_key_flag_for_module(_GROUP + title, values[name])


def group_fields(
    fields: Iterable[dataclasses.Field[Any]], values: flags.FlagValues | None = None
) -> None:
    """Shows the flags of fields in groups: a field with a `heading` in its metadata begins one."""
    title = _REST
    for field in fields:
        title = field.metadata.get("heading") or title
        group(title, [field.name], values)


def install(values: flags.FlagValues = flags.FLAGS) -> None:
    """Replaces absl's --help and --helpshort, which app.run has defined, with ones that group."""
    for flag in (_HelpFlag(), _HelpshortFlag()):  # type: ignore[no-untyped-call]
        flag.allow_override = True
        values[flag.name] = flag
        values.register_flag_by_module(app.__name__, flag)


def render(doc: str, main_module: str, values: flags.FlagValues = flags.FLAGS) -> str:
    """Returns the text of `--help`.

    Args:
      doc: the command's docstring.
      main_module: the name by which absl knows the command's module, `sys.argv[0]`.
    """
    groups = {
        name.removeprefix(_GROUP): found
        for name, found in values.key_flags_by_module_dict().items()
        if name.startswith(_GROUP)
    }
    shown = {flag.name for found in groups.values() for flag in found}
    rest = [flag for flag in values.get_key_flags_for_module(main_module) if flag.name not in shown]
    if rest:
        groups[_REST] = [*groups.get(_REST, []), *rest]
    parts = [doc.strip()] if doc else []
    for title, found in groups.items():
        parts.append("\n".join([f"{title}:", *map(_flag_lines, found)]))
    return "\n\n".join([*parts, textwrap.fill(_END, flags.get_help_width())])


def _flag_lines(flag: flags.Flag) -> str:
    """A flag's name, help, choices and default."""
    choices = getattr(flag.parser, "enum_values", None) or ()
    text = flag.help or ""
    if choices:
        text = text.removeprefix(f"<{'|'.join(choices)}>: ")  # With which absl begins it.
    sentences = [text]
    if not all(re.search(rf"\b{re.escape(choice)}\b", text) for choice in choices):
        sentences.append(f"One of {', '.join(choices)}.")
    # Of a flag that is empty by default, the help says what that means.
    if flag.default is True:
        sentences.append("Default: yes.")
    elif flag.default not in (None, "", False) or type(flag.default) in (int, float):
        sentences.append(f"Default: {flag.default}.")
    prefix = "--[no]" if flag.boolean else "--"
    return textwrap.fill(
        " ".join(sentences),
        flags.get_help_width(),
        initial_indent=f"  {prefix}{flag.name}: ",
        subsequent_indent="      ",
        break_long_words=False,
        break_on_hyphens=False,
    )


class _HelpFlag(app.HelpFlag):
    """`--help`, with short name `-?`."""

    def parse(self, arg: object) -> None:
        """Prints the help and exits, unless the argument is false."""
        if self._parse(arg):
            print(render(sys.modules["__main__"].__doc__ or "", sys.argv[0]))
            sys.exit(0)


class _HelpshortFlag(_HelpFlag):
    """`--helpshort`, the same."""

    NAME = "helpshort"
    SHORT_NAME = None
