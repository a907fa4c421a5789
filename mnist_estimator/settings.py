"""Settings: fields of a frozen dataclass, each one a flag with its help text and its limits.

So a setting is said once: its default, type, help and range. TensorFlow is not imported.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from absl import flags

from mnist_estimator import InputError


def setting(
    default: Any,
    help_text: str,
    *,
    choices: Sequence[str] = (),
    least: float = 0,
    most: float = 2**31 - 1,
    **more: Any,
) -> Any:
    """The value of a field that is a setting: its default, and what `define` and `check` need.

    Args:
      choices: all values that a string may have; none: any.
      least, most: the range of a number.
      more: is kept in the field's metadata.
    """
    limits = {"choices": choices, "least": least, "most": most}
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
        name, default, limits = field.name, field.default, field.metadata
        if default in limits["choices"]:
            arguments = (limits["choices"], limits["help"])
            flags.DEFINE_enum(name, default, *arguments, flag_values=values)
        else:
            define_flag = by_type[field.type.removesuffix(" | None")]
            define_flag(name, default, limits["help"], flag_values=values)
        show_in_help(name, values)


def show_in_help(name: str, values: flags.FlagValues) -> None:
    """Has --help, which shows the flags of the program's own module, show this one too."""
    values.register_key_flag_for_module(sys.argv[0], values[name])


def read(settings: type, values: flags.FlagValues) -> dict[str, Any]:
    """The parsed flags of a dataclass's settings: name -> value."""
    return {field.name: values[field.name].value for field in fields_of(settings)}


def check(field: dataclasses.Field[Any], value: Any) -> None:
    """Raises InputError, which names the flag, if a value is outside the limits of its field."""
    choices, least, most = (field.metadata[name] for name in ("choices", "least", "most"))
    if choices and value not in choices:
        raise InputError(f"--{field.name}: found {value!r}, expected one of {', '.join(choices)}")
    if value is None or isinstance(value, (str, bool)):
        return
    if not value >= least:  # Also if it is not a number.
        raise InputError(f"--{field.name}: found {value}, expected at least {least}")
    if value > most:
        raise InputError(f"--{field.name}: found {value}, expected at most {most}")
