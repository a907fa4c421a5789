"""Regularizers of `tf.contrib.layers`: functions of a variable that give a loss."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Sequence
from typing import Any

from mnist_estimator.compat._loaded import tf, v1

Regularizer = Callable[[Any], Any]


def l1_regularizer(scale: Any, scope: str | None = None) -> Regularizer:
    """Loss: scale * sum(abs(weights)). A scale of 0.0 gives a function that returns None."""
    return _regularizer(scale, scope or "l1_regularizer", lambda x: tf.reduce_sum(tf.abs(x)))


def l2_regularizer(scale: Any, scope: str | None = None) -> Regularizer:
    """Loss: scale * sum(weights**2) / 2. A scale of 0.0 gives a function that returns None."""
    return _regularizer(scale, scope or "l2_regularizer", tf.nn.l2_loss)


def l1_l2_regularizer(
    scale_l1: Any = 1.0, scale_l2: Any = 1.0, scope: str | None = None
) -> Regularizer:
    """The sum of both losses."""
    both = [l1_regularizer(scale_l1), l2_regularizer(scale_l2)]
    return sum_regularizer(both, scope or "l1_l2_regularizer")


def sum_regularizer(
    regularizer_list: Sequence[Regularizer | None], scope: str | None = None
) -> Regularizer | None:
    """The sum of the losses of several regularizers. Those that are None are left out."""
    regularizers = [regularizer for regularizer in regularizer_list if regularizer is not None]
    if not regularizers:
        return None

    def regularize(weights: Any) -> Any:
        with v1.name_scope(scope, "sum_regularizer", [weights]) as name:
            losses = [regularizer(weights) for regularizer in regularizers]
            losses = [loss for loss in losses if loss is not None]
            return tf.add_n(losses, name=name) if losses else None

    return regularize


def apply_regularization(regularizer: Regularizer, weights_list: Any = None) -> Any:
    """Adds up the losses of some weights, and adds the sum to REGULARIZATION_LOSSES.

    Args:
      weights_list: variables; those of the collection WEIGHTS if None or empty.

    Raises:
      ValueError: if there are no weights, or the regularizer gives more than one number.
    """
    weights = weights_list or v1.get_collection(v1.GraphKeys.WEIGHTS)
    if not weights:
        raise ValueError("found no weights to regularize, expected weights_list")
    with v1.name_scope("get_regularization_penalty", values=weights) as name:
        losses = [regularizer(each) for each in weights]
        losses = [tf.constant(0.0) if loss is None else loss for loss in losses]
        for loss in losses:
            if loss.shape.rank != 0:
                raise ValueError(f"the regularizer gave the shape {loss.shape}, expected a scalar")
        total = tf.add_n(losses, name=name)
    v1.add_to_collection(v1.GraphKeys.REGULARIZATION_LOSSES, total)
    return total


def _regularizer(scale: Any, scope: str, measure: Callable[[Any], Any]) -> Regularizer:
    if isinstance(scale, numbers.Integral):
        raise ValueError(f"scale is the integer {scale}, expected a float")
    if isinstance(scale, numbers.Real):
        if scale < 0:
            raise ValueError(f"scale is {scale}, expected 0.0 or more")
        if scale == 0:
            return lambda _: None

    def regularize(weights: Any) -> Any:
        with v1.name_scope(scope, values=[weights]) as name:
            factor = tf.convert_to_tensor(scale, weights.dtype.base_dtype, name="scale")
            return tf.multiply(factor, measure(weights), name=name)

    return regularize
