"""What `launch` and `submit` need to run `prepare` in parts: their own flags, and those of prepare.

TensorFlow is not imported. The flags of prepare are checked before anything is started.
"""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from mnist_estimator import InputError, prepare_config
from mnist_estimator.data import splits
from mnist_estimator.runtime import help_text
from mnist_estimator.runtime.streams import is_text

TRAIN, PREPARE = COMMANDS = ("train", "prepare")

_OURS = ("part", "merge", "verify")
_WHERE = "prepare flags, after the --"


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
    """Returns the --data_dir of flags of prepare, all of which it checks.

    Raises:
      InputError: if there is none, if one is wrong, or if one is there that the parts are given.
    """
    for argument in given:
        if "\0" in argument or not is_text(argument):
            raise InputError(f"{_WHERE}: found {argument!r}, expected text without NUL")
        if argument.lstrip("-").partition("=")[0] == "flagfile":
            raise InputError(f"{_WHERE}: found --flagfile, expected the flags themselves")
    values = _parse(given)
    for name in _OURS:
        if values[name].present:
            raise InputError(f"{_WHERE}: found --{name}, which is set for each part")
    if not values.data_dir:
        raise InputError(
            f"{_WHERE}: found no --data_dir=FOLDER, expected one: all parts write there"
        )
    try:
        prepare_config.check(values)
    except InputError as error:
        raise InputError(f"{_WHERE}: {error}") from None
    return values.data_dir


def _parse(given: Sequence[str]) -> flags.FlagValues:
    values = flags.FlagValues()
    prepare_config.define_flags(values)
    try:
        rest = values(["prepare", *given])[1:]
    except flags.Error as error:
        raise InputError(f"{_WHERE}: {error}") from None
    if rest:
        raise InputError(f"{_WHERE}: found {rest[0]!r}, expected only --flags")
    return values


def merge_flags(given: Sequence[str]) -> list[str]:
    """The flags of the prepare that merges the parts which flags make."""
    force = ["--force"] if _parse(given).force else []
    return [f"--data_dir={data_dir_of(given)}", "--merge", *force]
