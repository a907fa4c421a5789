"""The flags of `train` that a job passes to its tasks, checked before the job is submitted.

TensorFlow is not imported, and the process's own flags stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from mnist_estimator import InputError
from mnist_estimator.cluster import roles
from mnist_estimator.config import TrainConfig, define_train_flags, train_config
from mnist_estimator.runtime import flag_fields
from mnist_estimator.runtime.streams import is_text

HINT = "flags of train come after a --"
WHERE = "train flags, after the --"


def read_flagfiles(arguments: Sequence[str]) -> tuple[str, ...]:
    """Returns train flags with the flags of each --flagfile, which the tasks cannot read."""
    try:
        return tuple(flags.FlagValues().read_flags_from_files(list(arguments), force_gnu=False))
    except flags.Error as error:
        raise InputError(f"--flagfile: {error}") from None


def with_strategy(arguments: Sequence[str], strategy: str) -> list[str]:
    """Returns train flags with this `--strategy`, unless they have one that is not auto."""
    config, given = parse(arguments)
    if config.strategy != roles.AUTO:
        return [*arguments]
    if "strategy" in given:
        return [*arguments, f"--strategy={strategy}"]  # The last one counts.
    return [f"--strategy={strategy}", *arguments]


def check_workers(config: TrainConfig, workers: int) -> None:
    """Raises InputError for several workers with a strategy that trains alone."""
    if config.strategy in roles.ALONE and workers > 1:
        raise InputError(
            f"--workers: found {workers} with the train flag --strategy={config.strategy}, "
            "expected 1; drop that flag to train on all"
        )


def check_batch(config: TrainConfig, replicas: int) -> None:
    """Raises InputError unless so many replicas can share a batch of synchronous training."""
    unit = config.batch_unit(replicas)
    if config.batch_size % unit:
        expected = f"a multiple of the {replicas} replicas that share each batch"
        if unit != replicas:
            expected = f"a multiple of {unit}: with --mixup each of {replicas} replicas mixes pairs"
        raise InputError(f"{WHERE}: found --batch_size={config.batch_size}, expected {expected}")


def parse(arguments: Sequence[str]) -> tuple[TrainConfig, set[str]]:
    """Returns the config of train flags, and the names of the flags that were given."""
    for argument in arguments:
        if "\0" in argument or not is_text(argument):
            raise InputError(f"train flags: found {argument!r}, expected text without NUL")
    values = flags.FlagValues()
    define_train_flags(values)
    try:
        rest = values(["train", *arguments])[1:]
    except flags.Error as error:
        raise InputError(f"{WHERE}: {error}") from None
    if rest:
        raise InputError(f"{WHERE}: found {rest[0]!r}, expected only --flags")
    given = {name for name in values if values[name].present}
    for field in flag_fields.fields_of(TrainConfig):
        set_by = field.metadata["set_by"]
        if set_by and field.name in given:
            where = ", before the --" if set_by.startswith("--") else ""
            raise InputError(f"{WHERE}: found --{field.name}, which {set_by} sets{where}; drop it")
    return train_config(values), given
