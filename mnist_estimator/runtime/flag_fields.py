"""Settings: fields of a frozen dataclass, each one a flag with its help text and its limits.

So a setting is said once: its default, type, help and range. TensorFlow is not imported.
"""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from absl import flags

from mnist_estimator import InputError
from mnist_estimator.runtime.json_files import shown


def setting(
    default: Any,
    help_text: str,
    *,
    choices: Sequence[str] = (),
    least: float = 0,
    most: float = 2**31 - 1,
    is_path: bool = False,
    **more: Any,
) -> Any:
    """The value of a field that is a setting: its default, and what `define` and `check` need.

    Args:
      choices: all values that a string may have; none: any.
      least, most: the range of a number.
      is_path: whether a string is read as `as_path` does.
      more: is kept in the field's metadata.
    """
    limits = {"choices": choices, "least": least, "most": most, "is_path": is_path}
    return dataclasses.field(default=default, metadata={"help": help_text, **limits, **more})


def fields_of(settings: type) -> list[dataclasses.Field[Any]]:
    """The fields of a dataclass that are settings."""
    return [field for field in dataclasses.fields(settings) if field.metadata]


def define(fields: Iterable[dataclasses.Field[Any]], values: flags.FlagValues) -> None:
    """Defines a flag for each field."""
    by_type = {
        "str": flags.DEFINE_string,
        "int": flags.DEFINE_integer,
        "float": flags.DEFINE_float,
        "bool": flags.DEFINE_bool,
    }
    for field in fields:
        name, limits = field.name, field.metadata
        default: Any = field.default
        if default in limits["choices"]:
            arguments = (limits["choices"], limits["help"])
            flags.DEFINE_enum(name, default, *arguments, flag_values=values)
        elif limits["is_path"]:
            define_path(name, default, limits["help"], values)
        else:
            define_flag = by_type[field.type.removesuffix(" | None")]
            define_flag(name, default, limits["help"], flag_values=values)
        show_in_help(name, values)


def define_path(
    name: str, default: str, help_text: str, values: flags.FlagValues | None = None
) -> None:
    """Defines a flag whose value is a path, read as `as_path` does."""
    values = flags.FLAGS if values is None else values
    flags.DEFINE(PathParser(), name, default, help_text, values, flags.ArgumentSerializer())
    show_in_help(name, values)


def as_path(text: str) -> str:
    """A path as a shell would have read it: without quotes around it, ~ as the user's home.

    Shells leave the ~ in `--model_dir=~/x` alone, and no shell reads the lines of a flagfile.

    Raises:
      ValueError: if it begins with a user or a variable that only a shell could replace.
    """
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1]
    path = os.path.expanduser(text)
    if path.startswith("~"):
        raise ValueError("found no user of that name, expected a path; write ./~ for such a name")
    variable = re.match(r"\$(\w+)|\$\{(\w+)\}", path)
    if variable and (variable[1] or variable[2]) in os.environ:
        raise ValueError(
            f"found {variable[0]}, which no shell has replaced, expected a path; write it out, or "
            "./$ for such a name"
        )
    return path


class PathParser(flags.ArgumentParser):
    """Reads a flag as `as_path` does."""

    syntactic_help = "a path"

    def parse(self, argument: str) -> str:
        return as_path(argument)


def show_in_help(name: str, values: flags.FlagValues) -> None:
    """Has --help, which shows the flags of the program's own module, show this one too."""
    values.register_key_flag_for_module(sys.argv[0], values[name])


def read(settings: type, values: flags.FlagValues) -> dict[str, Any]:
    """The parsed flags of a dataclass's settings: name -> value."""
    return {field.name: values[field.name].value for field in fields_of(settings)}


def check(field: dataclasses.Field[Any], value: Any) -> None:
    """Raises InputError, which names the flag, if a value is outside the limits of its field."""
    choices, least, most = (field.metadata[name] for name in ("choices", "least", "most"))
    _check_type(field, value)
    if choices and value not in choices:
        raise InputError(f"--{field.name}: found {value!r}, expected one of {', '.join(choices)}")
    if value is None or isinstance(value, (str, bool)):
        return
    if not value >= least:  # Also if it is not a number.
        raise InputError(f"--{field.name}: found {value}, expected at least {least}")
    if value > most:
        raise InputError(f"--{field.name}: found {value}, expected at most {most}")


# The types that a value may have, by the annotation of its field.
_TYPES = {"str": (str,), "int": (int,), "float": (float, int), "bool": (bool,)}
_CALLED = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}


def _check_type(field: dataclasses.Field[Any], value: Any) -> None:
    kind = field.type.removesuffix(" | None")
    if value is None and kind != field.type:
        return
    # True would be an int, too.
    if type(value) not in _TYPES[kind]:
        raise InputError(f"--{field.name}: found {shown(value)}, expected {_CALLED[kind]}")
