"""What `launch` and `submit` need to run `prepare` in parts: their own flags, and those of prepare.

TensorFlow is not imported. The flags of prepare are checked as far as the parts depend on them; the
rest is answered by each part before it does anything.
"""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from mnist_estimator import InputError
from mnist_estimator.data import splits
from mnist_estimator.runtime import help_text
from mnist_estimator.runtime.streams import is_text

TRAIN, PREPARE = COMMANDS = ("train", "prepare")

_OURS = ("part", "merge", "verify")


def define() -> None:
    """Defines the flags that ask for `prepare`."""
    flags.DEFINE_enum(
        "command",
        TRAIN,
        COMMANDS,
        "Command that is run: train, or prepare in parts, which are merged then.",
    )
    flags.DEFINE_integer("parts", 0, "How many parts; only with --command=prepare.")
    help_text.group("Preparing a dataset in parts", ["command", "parts"])


def is_wanted(values: flags.FlagValues, for_train: Sequence[str]) -> bool:
    """Whether `prepare` is to be run.

    Args:
      for_train: names of flags that say nothing about it.

    Raises:
      InputError: if --command and another flag contradict each other.
    """
    if values.command == TRAIN:
        if values["parts"].present:
            raise InputError(f"--parts: found {values.parts}, expected it with --command=prepare")
        return False
    splits.check_range("parts", values.parts, 1, splits.MAX_PARTS)
    for name in for_train:
        if values[name].value != values[name].default:
            raise InputError(f"--{name}: found it with --command=prepare, expected no such flag")
    return True


def data_dir_of(given: Sequence[str]) -> str:
    """Returns the --data_dir of flags of prepare.

    Raises:
      InputError: if there is none, or if a flag is there that the parts are given.
    """
    data_dir = ""
    for argument in given:
        if "\0" in argument or not is_text(argument):
            raise InputError(f"prepare flags: found {argument!r}, expected text without NUL")
        name, _, value = argument.partition("=")
        if not name.startswith("-") or name.strip("-") == "":
            raise InputError(
                f"prepare flags, after the --: found {argument!r}, expected only --NAME=VALUE"
            )
        name = name.lstrip("-")
        if name.removeprefix("no") in _OURS:
            raise InputError(f"prepare flags, after the --: found --{name}, which is set for each")
        if name == "flagfile":
            raise InputError("prepare flags, after the --: found --flagfile, expected the flags")
        data_dir = value if name == "data_dir" else data_dir
    if not data_dir:
        raise InputError(
            "prepare flags, after the --: found no --data_dir=FOLDER, expected one: all parts "
            "write there"
        )
    return data_dir


def merge_flags(given: Sequence[str]) -> list[str]:
    """The flags of the prepare that merges the parts which flags make."""
    force = [argument for argument in given if argument.lstrip("-").partition("=")[0] == "force"]
    return [f"--data_dir={data_dir_of(given)}", "--merge", *force]
