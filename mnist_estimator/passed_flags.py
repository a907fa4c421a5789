"""The flags of `train` that a job passes on, read to find mistakes before they are submitted.

TensorFlow is not imported, and what the process itself was called with is not touched.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from absl import flags

from mnist_estimator import InputError
from mnist_estimator.config import TrainConfig, default_data_dir

# Submit has flags of its own for these, or the engine says it to each task.
_ENGINES_OWN = {
    "job_name": "which the engine sets",
    "task_index": "which the engine sets",
    "chief_hosts": "which the engine sets",
    "worker_hosts": "which the engine sets",
    "ps_hosts": "which the engine sets",
    "num_ps": "which submit's --ps sets, before the --",
    "evaluator": "which submit's --evaluator sets, before the --",
}


def read_flagfiles(arguments: Sequence[str]) -> tuple[str, ...]:
    """Train flags with each --flagfile replaced by what it holds: the tasks cannot read it."""
    try:
        return tuple(flags.FlagValues().read_flags_from_files(list(arguments), force_gnu=False))
    except flags.Error as error:
        raise InputError(f"--flagfile: {error}") from None


def parse(arguments: tuple[str, ...]) -> tuple[TrainConfig, set[str]]:
    """The settings of train flags, and the names of those that were given."""
    for argument in arguments:
        if "\0" in argument or not is_text(argument):
            raise InputError(f"train flags: found {argument!r}, expected text without NUL")
    values = flags.FlagValues()
    define_flags(dataclasses.fields(TrainConfig), values)
    try:
        rest = values(["train", *arguments])[1:]
    except flags.Error as error:
        raise InputError(f"train flags, after the --: {error}") from None
    if rest:
        raise InputError(f"train flags, after the --: found {rest[0]!r}, expected only --flags")
    given = {name for name in values if values[name].present}
    for name, why in _ENGINES_OWN.items():
        if name in given:
            raise InputError(f"train flags, after the --: found --{name}, {why}; drop it")
    settings = {field.name: values[field.name].value for field in dataclasses.fields(TrainConfig)}
    settings["data_dir"] = settings["data_dir"] or default_data_dir(settings["dataset"])
    return TrainConfig(**settings), given


def define_flags(fields: Iterable[dataclasses.Field[Any]], values: flags.FlagValues) -> None:
    """Defines a flag for each field of a dataclass of settings that has a help text."""
    define = {
        "str": flags.DEFINE_string,
        "int": flags.DEFINE_integer,
        "float": flags.DEFINE_float,
        "bool": flags.DEFINE_bool,
    }
    for field in fields:
        if field.metadata:
            kind = field.type.removesuffix(" | None")
            define[kind](field.name, field.default, field.metadata["help"], flag_values=values)


def is_text(argument: str) -> bool:
    """Whether a string can be written to a file: one made of bytes that are no UTF-8 cannot."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True
