"""Adds to an optimizer what it does with a weight before and after its own update.

Both happen where the optimizer updates the variable, so that all strategies do them: once in each
replica, or on the parameter server that holds the variable.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from mnist_estimator.compat import tf, v1
from mnist_estimator.optimizers import AVERAGE


def refined(
    optimizer: v1.train.Optimizer, rate: tf.Tensor, *, weight_decay: float, ema_decay: float
) -> v1.train.Optimizer:
    """Returns the optimizer, with weight decay and moving averages where they are asked for.

    Args:
      optimizer: is not used any more afterwards.
      rate: learning rate, float32 [].
      weight_decay: decoupled: each kernel loses so much of itself, times the learning rate, in each
        step. Biases and the scales of batch normalization keep theirs. Loshchilov and Hutter,
        "Decoupled Weight Decay Regularization", ICLR 2019.
      ema_decay: the share of a weight's moving average that stays in each step; 0: no averages. It
        grows from 0 to this with the global step: what an average starts at does not matter. Each
        is a slot of the optimizer, `optimizers.AVERAGE`, and so a variable of the checkpoint.
    """
    if weight_decay or ema_decay:
        kind = _refined_class(type(optimizer))
        optimizer.__class__ = kind
        optimizer.decay = rate * weight_decay if weight_decay else None
        optimizer.ema_decay = ema_decay
    return optimizer


@functools.cache
def _refined_class(base: type[v1.train.Optimizer]) -> type[v1.train.Optimizer]:
    """A subclass of an optimizer's class that does both."""

    class Refined(base):  # type: ignore[misc, valid-type]
        """An optimizer with weight decay and moving averages."""

        decay: tf.Tensor | None
        ema_decay: float

        def _create_slots(self, var_list: list[tf.Variable]) -> None:
            super()._create_slots(var_list)
            if self.ema_decay:
                for variable in var_list:
                    self._zeros_slot(variable, AVERAGE, AVERAGE)

        # The four ways of TensorFlow to update a variable: it may be a resource or a reference, and
        # its gradient may be a tensor or the rows that were looked up.
        def _resource_apply_dense(self, grad: tf.Tensor, var: tf.Variable) -> Any:
            return self._around(var, super()._resource_apply_dense, grad, var)

        def _resource_apply_sparse_duplicate_indices(
            self, grad: tf.Tensor, handle: tf.Variable, indices: tf.Tensor
        ) -> Any:
            update = super()._resource_apply_sparse_duplicate_indices
            return self._around(handle, update, grad, handle, indices)

        def _apply_dense(self, grad: tf.Tensor, var: tf.Variable) -> Any:
            return self._around(var, super()._apply_dense, grad, var)

        def _apply_sparse_duplicate_indices(self, grad: tf.IndexedSlices, var: tf.Variable) -> Any:
            return self._around(var, super()._apply_sparse_duplicate_indices, grad, var)

        def _around(self, var: tf.Variable, update: Callable[..., Any], *arguments: Any) -> Any:
            """Decays a variable, updates it by update(*arguments), then moves its average."""
            before = []
            if self.decay is not None and len(var.shape) > 1:
                value = var.read_value()
                before = [var.assign_sub(tf.cast(self.decay, value.dtype) * value)]
            with tf.control_dependencies(before):
                updated = update(*arguments)
            if not self.ema_decay:
                return updated
            with tf.control_dependencies([updated]):
                average = self.get_slot(var, AVERAGE)
                step = tf.cast(v1.train.get_global_step(), tf.float32)
                kept = tf.minimum(self.ema_decay, step / (10 + step))
                value = var.read_value()
                if var.constraint is not None:  # The optimizer applies it to the variable later.
                    value = var.constraint(value)
                share = tf.cast(1 - kept, value.dtype)
                return average.assign_sub((average.read_value() - value) * share).op

    return Refined
