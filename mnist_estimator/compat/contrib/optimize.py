"""`optimize_loss` of `tf.contrib.layers`: one training operation, with clipping and summaries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mnist_estimator.compat._loaded import tf, v1

OPTIMIZER_CLS_NAMES = {
    "Adagrad": v1.train.AdagradOptimizer,
    "Adam": v1.train.AdamOptimizer,
    "Ftrl": v1.train.FtrlOptimizer,
    "Momentum": lambda learning_rate: v1.train.MomentumOptimizer(learning_rate, momentum=0.9),
    "RMSProp": v1.train.RMSPropOptimizer,
    "SGD": v1.train.GradientDescentOptimizer,
}
_LOSS, _RATE, _EACH = "loss", "learning_rate", "gradients"
_NORM_EACH, _NORM = "gradient_norm", "global_gradient_norm"
OPTIMIZER_SUMMARIES = [_RATE, _LOSS, _EACH, _NORM_EACH, _NORM]

_Pairs = list[tuple[Any, Any]]  # A gradient, which may be None, and its variable.


def optimize_loss(
    loss: Any,
    global_step: Any,
    learning_rate: Any,
    optimizer: Any,
    gradient_noise_scale: float | None = None,
    gradient_multipliers: Mapping[Any, Any] | None = None,
    clip_gradients: float | Callable[[_Pairs], _Pairs] | None = None,
    learning_rate_decay_fn: Callable[[Any, Any], Any] | None = None,
    update_ops: Iterable[Any] | None = None,
    variables: Sequence[Any] | None = None,
    name: str | None = None,
    summaries: Sequence[str] | None = None,
    colocate_gradients_with_ops: bool = False,
    increment_global_step: bool = True,
) -> Any:
    """One step of training, as a tensor that gives the loss before it.

    Args:
      global_step: counts the steps; None: the graph's, if it has one.
      learning_rate: a float, a scalar tensor, or None where the optimizer has its own.
      optimizer: a name in OPTIMIZER_CLS_NAMES, a class, an optimizer, or a function of the rate.
      gradient_multipliers: variable or its name -> what its gradient is multiplied by.
      clip_gradients: the largest global norm, or a function of (gradient, variable) pairs.
      update_ops: what runs before; None: the collection UPDATE_OPS.
      summaries: of OPTIMIZER_SUMMARIES; None: loss, learning_rate and global_gradient_norm.

    Raises:
      ValueError: for an argument that is none of these.
    """
    loss = tf.convert_to_tensor(loss)
    if loss.shape.rank not in (None, 0):
        raise ValueError(f"loss has the shape {loss.shape}, expected a scalar")
    if global_step is None:
        global_step = v1.train.get_global_step()
    else:
        v1.train.assert_global_step(global_step)
    summaries = [_LOSS, _RATE, _NORM] if summaries is None else summaries
    for each in set(summaries) - set(OPTIMIZER_SUMMARIES):
        raise ValueError(f"summaries hold {each!r}, expected some of {OPTIMIZER_SUMMARIES}")
    with v1.variable_scope(name, "OptimizeLoss", [loss, global_step]):
        updates = v1.get_collection(v1.GraphKeys.UPDATE_OPS) if update_ops is None else update_ops
        with v1.control_dependencies(list(dict.fromkeys(updates))):
            loss = tf.identity(loss)
        rate = _rate(learning_rate)
        if rate is not None and learning_rate_decay_fn is not None:
            if global_step is None:
                raise ValueError("learning_rate_decay_fn needs a global_step, found none")
            rate = learning_rate_decay_fn(rate, global_step)
            if _RATE in summaries:
                v1.summary.scalar("learning_rate", rate)
        made = _optimizer(optimizer, rate)
        pairs = made.compute_gradients(
            loss,
            v1.trainable_variables() if variables is None else variables,
            colocate_gradients_with_ops=colocate_gradients_with_ops,
        )
        pairs = _changed(pairs, gradient_noise_scale, gradient_multipliers)
        norms = _NORM in summaries or _NORM_EACH in summaries
        if norms:
            v1.summary.scalar("global_norm/gradient_norm", tf.linalg.global_norm(_gradients(pairs)))
        clipped = _clipped(pairs, clip_gradients)
        if _LOSS in summaries:
            v1.summary.scalar("loss", loss)
        _summarize_each(clipped, summaries)
        if norms and clip_gradients is not None:
            norm = tf.linalg.global_norm(_gradients(clipped))
            v1.summary.scalar("global_norm/clipped_gradient_norm", norm)
        step = global_step if increment_global_step else None
        with v1.control_dependencies([made.apply_gradients(clipped, step, name="train")]):
            return tf.identity(loss)


def _rate(learning_rate: Any) -> Any:
    if learning_rate is None or (tf.is_tensor(learning_rate) and learning_rate.shape.rank == 0):
        return learning_rate
    if not isinstance(learning_rate, float) or learning_rate < 0:
        expected = "a scalar tensor or a float of 0.0 or more"
        raise ValueError(f"learning_rate is {learning_rate!r}, expected {expected}")
    initializer = v1.constant_initializer(learning_rate)
    return v1.get_variable("learning_rate", [], trainable=False, initializer=initializer)


def _optimizer(optimizer: Any, rate: Any) -> Any:
    if isinstance(optimizer, v1.train.Optimizer):
        return optimizer
    is_class = isinstance(optimizer, type) and issubclass(optimizer, v1.train.Optimizer)
    if (isinstance(optimizer, str) or is_class) and rate is None:
        raise ValueError(f"optimizer {optimizer} needs a learning_rate, found None")
    if isinstance(optimizer, str):
        if optimizer not in OPTIMIZER_CLS_NAMES:
            expected = ", ".join(OPTIMIZER_CLS_NAMES)
            raise ValueError(f"optimizer is {optimizer!r}, expected one of {expected}")
        return OPTIMIZER_CLS_NAMES[optimizer](learning_rate=rate)
    if is_class:
        return optimizer(learning_rate=rate)
    made = None
    if callable(optimizer):
        made = optimizer() if rate is None else optimizer(rate)
    if not isinstance(made, v1.train.Optimizer):
        expected = "a name, a class, a tf.compat.v1.train.Optimizer, or a function that gives one"
        raise ValueError(f"optimizer {optimizer!r} gave {made!r}, expected {expected}")
    return made


def _changed(pairs: _Pairs, noise: float | None, multipliers: Mapping[Any, Any] | None) -> _Pairs:
    """The gradients with noise and multiplied, where that is asked for."""
    changed = []
    for gradient, variable in pairs:
        if gradient is not None and noise is not None:
            shape = v1.shape(variable)
            gradient = tf.convert_to_tensor(gradient)
            gradient += v1.truncated_normal(shape, dtype=gradient.dtype) * noise
        for key, multiplier in (multipliers or {}).items():
            if gradient is not None and (key is variable or key == variable.name):
                gradient = _multiplied(gradient, multiplier)
        changed.append((gradient, variable))
    if multipliers is not None and not changed:
        raise ValueError("there are no gradients for gradient_multipliers")
    return changed


def _multiplied(gradient: Any, multiplier: Any) -> Any:
    factor = tf.cast(multiplier, gradient.dtype)
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(gradient.values * factor, gradient.indices, gradient.dense_shape)
    return gradient * factor


def _clipped(pairs: _Pairs, clip: Any) -> _Pairs:
    if clip is None:
        return pairs
    if callable(clip):
        return clip(pairs)
    if not isinstance(clip, float):
        raise ValueError(f"clip_gradients is {clip!r}, expected a float or a function")
    clipped, _ = tf.clip_by_global_norm(_gradients(pairs), clip)
    return list(zip(clipped, [variable for _, variable in pairs], strict=True))


def _gradients(pairs: _Pairs) -> list[Any]:
    return [gradient for gradient, _ in pairs]


def _summarize_each(pairs: _Pairs, summaries: Sequence[str]) -> None:
    for gradient, variable in pairs:
        if gradient is None:
            continue
        values = gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
        name = variable.name.replace(":", "_")
        if _EACH in summaries:
            v1.summary.histogram(f"gradients/{name}", values)
        if _NORM_EACH in summaries:
            v1.summary.scalar(f"gradient_norm/{name}", tf.linalg.global_norm([values]))
