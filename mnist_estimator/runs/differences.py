"""Compares variables bit for bit: those of a run, and the same ones computed again."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mnist_estimator.runs import checkpoints

Values = Mapping[str, np.ndarray]


def values_of(path: str) -> dict[str, np.ndarray]:
    """Every variable of a checkpoint by its name: weights, optimizer's variables, global step."""
    with checkpoints.opened(path) as reader:
        names = reader.get_variable_to_shape_map()
        return {name: np.asarray(reader.get_tensor(name)) for name in sorted(names)}


def find(first: Values, again: Values) -> list[str]:
    """A line for each variable that differs in its type, its shape or any bit; none if none does.

    Args:
      first: the run's variables by name.
      again: those that were computed again.
    """
    found = ((name, _difference(first, again, name)) for name in sorted({*first, *again}))
    return [f"{name}: {line}" for name, line in found if line]


def _difference(first: Values, again: Values, name: str) -> str:
    if name not in again:
        return "only the run has it"
    if name not in first:
        return "the run does not have it"
    old, new = np.asarray(first[name]), np.asarray(again[name])
    if (old.dtype, old.shape) != (new.dtype, new.shape):
        return (
            f"{old.dtype} of shape {list(old.shape)} in the run, {new.dtype} of shape "
            f"{list(new.shape)} when computed again"
        )
    differing = _differing(old.reshape(-1), new.reshape(-1))
    if not differing.any():
        return ""
    line = f"{differing.sum():,} of {old.size:,} elements differ"
    if old.dtype.kind in "OSU":
        return line
    # float64 holds every value of the smaller types, bfloat16 among them.
    with np.errstate(invalid="ignore"):
        distances = np.abs(
            old.reshape(-1)[differing].astype(np.float64)
            - new.reshape(-1)[differing].astype(np.float64)
        )
    return f"{line}, by at most {distances.max():.3g}"


def _differing(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Which elements of two arrays [n] differ in any bit: bool [n]."""
    if old.dtype.kind in "OSU":
        return np.asarray(old != new)
    # As bytes: NaN equals nothing, and 0.0 equals -0.0.
    size = old.dtype.itemsize
    bits = (np.ascontiguousarray(each).view(np.uint8).reshape(-1, size) for each in (old, new))
    return np.not_equal(*bits).any(axis=1)
