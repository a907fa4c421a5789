"""Defines flags from the fields of a dataclass: default, type, help and range stand in one place.

TensorFlow is not imported.
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
    """Declares a field of a dataclass that is a flag, with what `define` and `check` need.

    Args:
      choices: the values that a string may have; empty if it may have any.
      least, most: the range of a number.
      is_path: whether a string is a path, read by `as_path`.
      more: further metadata of the field.
    """
    limits = {"choices": choices, "least": least, "most": most, "is_path": is_path}
    return dataclasses.field(default=default, metadata={"help": help_text, **limits, **more})


def fields_of(dataclass: type) -> list[dataclasses.Field[Any]]:
    """The fields of a dataclass that are flags."""
    return [field for field in dataclasses.fields(dataclass) if field.metadata]


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
    """Defines a flag whose value is a path, read by `as_path`."""
    values = flags.FLAGS if values is None else values
    flags.DEFINE(PathParser(), name, default, help_text, values, flags.ArgumentSerializer())
    show_in_help(name, values)


def as_path(text: str) -> str:
    """Reads a path as a shell does: removes quotes around it and replaces ~ by the user's home.

    Shells leave the ~ in `--model_dir=~/x` alone, and no shell reads the lines of a flagfile.

    Raises:
      ValueError: if it begins with a user or a variable that only a shell can replace.
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
    """Reads the value of a flag with `as_path`."""

    syntactic_help = "a path"

    def parse(self, argument: str) -> str:
        return as_path(argument)


def show_in_help(name: str, values: flags.FlagValues) -> None:
    """Lists a flag in --help, which else lists only those that the program's module defines."""
    values.register_key_flag_for_module(sys.argv[0], values[name])


def read(dataclass: type, values: flags.FlagValues) -> dict[str, Any]:
    """The values of a dataclass's flags: name -> value."""
    return {field.name: values[field.name].value for field in fields_of(dataclass)}


def check(field: dataclasses.Field[Any], value: Any) -> None:
    """Checks a value against its field's type and limits.

    Raises:
      InputError: if it does not fit; names the flag.
    """
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
_TYPE_NAMES = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}


def _check_type(field: dataclasses.Field[Any], value: Any) -> None:
    kind = field.type.removesuffix(" | None")
    if value is None and kind != field.type:
        return
    # Not isinstance: True is an int.
    if type(value) not in _TYPES[kind]:
        raise InputError(f"--{field.name}: found {shown(value)}, expected {_TYPE_NAMES[kind]}")
