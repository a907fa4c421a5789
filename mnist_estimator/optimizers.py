"""The optimizers: for each its constructor and the names of the variables that it adds.

The table is read without TensorFlow, for `--optimizer`. A new optimizer is a new entry here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

# The last part of the name of a weight's moving average, whatever the optimizer.
AVERAGE = "ExponentialMovingAverage"


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """One choice of `--optimizer`.

    Attributes:
      make: takes TensorFlow's module `v1.train`, the learning rate, a float32 [], and the params of
        `model_fn.model_fn`; returns a `v1.train.Optimizer`.
      slots: the last part of the names of the variables it adds for each weight.
      shared: the names of the variables it adds once.
    """

    make: Callable[[Any, Any, Mapping[str, Any]], Any]
    slots: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()


OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": Optimizer(lambda train, rate, params: train.GradientDescentOptimizer(rate)),
    "momentum": Optimizer(
        lambda train, rate, params: train.MomentumOptimizer(rate, params["momentum"]),
        slots=("Momentum",),
    ),
    "adagrad": Optimizer(
        lambda train, rate, params: train.AdagradOptimizer(rate), slots=("Adagrad",)
    ),
    "adam": Optimizer(
        lambda train, rate, params: train.AdamOptimizer(rate),
        slots=("Adam", "Adam_1"),
        shared=("beta1_power", "beta2_power"),
    ),
}


def is_optimizer_variable(name: str) -> bool:
    """Whether a variable of a checkpoint is one that an optimizer has added."""
    scope, _, last = name.rpartition("/")
    if scope and last == AVERAGE:
        return True
    for optimizer in OPTIMIZERS.values():
        if last in optimizer.shared or (scope and last in optimizer.slots):
            return True
    return False
