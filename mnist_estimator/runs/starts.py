"""The starts of a run, in its run.json: from which step on which machine trained, with which flags.

A run that is stopped may go on on another machine, or with other flags. A checkpoint follows from
those of the start before it, not from the last ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from mnist_estimator.config import LEARNING, MACHINE, TrainConfig, flags_affecting
from mnist_estimator.runs import machine
from mnist_estimator.runtime import json_files

KEY = "starts"
# What the weights follow from, and may change from start to start.
FLAGS = tuple(dict.fromkeys((*flags_affecting(LEARNING), *flags_affecting(MACHINE), "max_steps")))
_WEIGHT_FLAGS = (*flags_affecting(LEARNING), "max_steps")  # Without those of the machine.
_MOST = 1000  # Starts that are recorded: the last ones.
_FIELDS = ("step", "trainers", "flags", "machine")


@dataclasses.dataclass(frozen=True)
class Start:
    """How the steps from one on were trained.

    Attributes:
      step: the step of the checkpoint that this start went on from; 0 for none.
      trainers: how many processes computed gradients; 0: unknown.
      flags: those of `FLAGS` that were others than in the record's `flags`.
      machine: the chief's, as `machine.describe` gives it; empty: unknown.
    """

    step: int
    trainers: int
    flags: Mapping[str, Any]
    machine: dict[str, str]


def after(
    record: Mapping[str, Any] | None, config: TrainConfig, *, step: int, trainers: int
) -> list[dict[str, Any]]:
    """The starts of a run that goes on from a step, as a record holds them.

    A start that is like the one before it adds nothing.

    Args:
      record: the run's so far; None if it begins.
    """
    flags = dataclasses.asdict(config)
    new = {"step": step, "trainers": trainers, "flags": {}, "machine": machine.describe()}
    earlier = [
        old | {"flags": _others(record["flags"] | old["flags"], flags)}
        for old in (record.get(KEY, []) if record else [])
        if old["step"] < step
    ]
    if earlier and earlier[-1] | {"step": step} == new:
        return earlier
    return [*earlier, new][-_MOST:]


def config_of(record: Mapping[str, Any], start: Start) -> TrainConfig:
    """The flags of a start, without --replay_steps: an earlier one's may not allow it."""
    flags = record["flags"] | {"replay_steps": 0}
    return TrainConfig(**flags | {name: start.flags[name] for name in FLAGS if name in start.flags})


def between(record: Mapping[str, Any], first: int, last: int) -> list[Start]:
    """The starts by which the steps after `first` up to `last` were trained, in their order."""
    unknown = Start(0, 0, {}, {})
    every = [unknown, *(Start(**start) for start in record.get(KEY, []))]
    before = [start for start in every if start.step <= first]
    return [before[-1], *(start for start in every if first < start.step < last)]


@dataclasses.dataclass(frozen=True)
class Trained:
    """How the last steps up to a checkpoint were trained.

    Attributes:
      config: the flags.
      since: the step from which on they hold.
      changed: names of flags that had other values before, except those of the machine.
    """

    config: TrainConfig
    since: int
    changed: list[str]


def trained(record: Mapping[str, Any], step: int) -> Trained:
    """How the last steps up to a step were trained; the record's own flags may be later ones."""
    every = between(record, 0, step)
    *earlier, config = (config_of(record, start) for start in every)
    differing = [
        {name for name in _WEIGHT_FLAGS if getattr(each, name) != getattr(config, name)}
        for each in earlier
    ]
    while differing and not differing[-1]:  # It was only the machine that changed.
        differing.pop()
    changed = [name for name in _WEIGHT_FLAGS if any(name in names for names in differing)]
    return Trained(config, every[len(differing)].step, changed)


def check(record: Mapping[str, Any]) -> None:
    """Raises ValueError, or InputError for a flag, that names what is wrong with the starts."""
    steps = []
    for start in json_files.expect(record.get(KEY, []), list, KEY):
        json_files.expect_keys(json_files.expect(start, dict, KEY), _FIELDS, KEY)
        json_files.require_keys(start, _FIELDS, KEY)
        steps.append(json_files.whole(start["step"], f"{KEY}, step,", 0, 2**63 - 1))
        json_files.whole(start["trainers"], f"{KEY}, trainers,", 0, 2**20)
        json_files.expect(start["flags"], dict, f"{KEY}, flags,")
        machine.checked(start["machine"], f"{KEY}, machine")
        config_of(record, Start(**start))
    if steps != sorted(steps):
        raise ValueError(f"{KEY}: found steps that go back, expected them in their order")


def _others(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    return {name: before[name] for name in FLAGS if before[name] != now[name]}
