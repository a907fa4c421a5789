"""Initializers of `tf.contrib.layers`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from mnist_estimator.compat._loaded import tf, v1

_MODES = ("FAN_IN", "FAN_OUT", "FAN_AVG")


def xavier_initializer(
    uniform: bool = True, seed: int | None = None, dtype: Any = tf.float32
) -> Callable[..., Any]:
    """Draws with variance 2 / (inputs + outputs) (Glorot and Bengio 2010)."""
    return variance_scaling_initializer(1.0, "FAN_AVG", uniform, seed, dtype)


def variance_scaling_initializer(
    factor: float = 2.0,
    mode: str = "FAN_IN",
    uniform: bool = False,
    seed: int | None = None,
    dtype: Any = tf.float32,
) -> Callable[..., Any]:
    """Draws with variance factor / fan, evenly or from a truncated normal (He et al. 2015).

    The normal is cut at two standard deviations, and its deviation is sqrt(1.3 * factor / fan), as
    in TensorFlow 1: `v1.variance_scaling_initializer` has another constant.
    """
    _check_floating(dtype)
    if mode not in _MODES:
        raise TypeError(f"mode is {mode!r}, expected one of {', '.join(_MODES)}")

    def initialize(shape: Sequence[int], dtype: Any = dtype, partition_info: Any = None) -> Any:
        _check_floating(dtype)
        fan = _fan([int(size) for size in shape], mode)
        if uniform:
            limit = math.sqrt(3.0 * factor / fan)
            return v1.random_uniform(shape, -limit, limit, dtype, seed=seed)
        deviation = math.sqrt(1.3 * factor / fan)
        return v1.truncated_normal(shape, 0.0, deviation, dtype, seed=seed)

    return initialize


def _fan(shape: list[int], mode: str) -> float:
    field = math.prod(shape[:-2])
    inputs = field * shape[-2] if len(shape) > 1 else math.prod(shape)
    outputs = field * shape[-1] if shape else 1
    return {"FAN_IN": inputs, "FAN_OUT": outputs, "FAN_AVG": (inputs + outputs) / 2}[mode]


def _check_floating(dtype: Any) -> None:
    if not tf.as_dtype(dtype).is_floating:
        raise TypeError(f"dtype is {dtype}, expected one of floating point")
