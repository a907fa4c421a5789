"""Batch and layer normalization of `tf.contrib.layers`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tensorflow.python.training import moving_averages

from mnist_estimator.compat._loaded import tf, v1
from mnist_estimator.compat.contrib import arg_scopes, layers, variables

_UPDATE_OPS = v1.GraphKeys.UPDATE_OPS
_INITIALIZERS = {
    "beta": v1.zeros_initializer(),
    "gamma": v1.ones_initializer(),
    "moving_mean": v1.zeros_initializer(),
    "moving_variance": v1.ones_initializer(),
}
_HALF = (tf.float16, tf.bfloat16)


@arg_scopes.add_arg_scope
def batch_norm(
    inputs: Any,
    decay: float = 0.999,
    center: bool = True,
    scale: bool = False,
    epsilon: float = 0.001,
    activation_fn: Callable[..., Any] | None = None,
    param_initializers: Mapping[str, Any] | None = None,
    param_regularizers: Mapping[str, Any] | None = None,
    updates_collections: Any = _UPDATE_OPS,
    is_training: Any = True,
    reuse: Any = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    batch_weights: Any = None,
    fused: bool | None = None,
    data_format: str = "NHWC",
    zero_debias_moving_mean: bool = False,
    scope: Any = None,
    renorm: bool = False,
    renorm_clipping: Mapping[str, Any] | None = None,
    renorm_decay: float = 0.99,
    adjustment: Callable[..., Any] | None = None,
) -> Any:
    """Normalizes each channel over all else (Ioffe and Szegedy 2015).

    In training it takes the mean and variance of the batch, else the moving ones. As in TensorFlow
    1, the variance that goes into the moving one is that of a sample (divided by n - 1) where the
    fused operation is used: for 2 and 4 dimensions, without batch_weights, unless fused is False.

    Args:
      updates_collections: where the operations that update the moving mean and variance go; None:
        they run whenever the output is computed.
      is_training: True, False or a tensor.
      batch_weights: [batch], how much each example counts.

    Raises:
      NotImplementedError: for renorm and adjustment.
      ValueError: if the rank or the number of channels is not known.
    """
    if renorm or renorm_clipping or adjustment is not None:
        raise NotImplementedError(
            "tf.contrib.layers.batch_norm with renorm or adjustment is not among the stand-ins; "
            "leave them out, or use tf.compat.v1.layers.batch_normalization"
        )
    layers.check_format(data_format)
    with v1.variable_scope(scope, "BatchNorm", [inputs], reuse=reuse) as scope_made:
        inputs = tf.convert_to_tensor(inputs)
        batch = _Batch(inputs, data_format, epsilon, batch_weights)
        is_fused = fused is not False and inputs.shape.rank in (2, 4) and batch_weights is None
        # TensorFlow 1 made another layer in this case, which made its variables in another order.
        is_layer = updates_collections is _UPDATE_OPS and batch_weights is None
        is_layer = is_layer and not zero_debias_moving_mean
        is_layer = is_layer and not (is_fused and inputs.shape.rank == 2)
        dtype = inputs.dtype.base_dtype
        made = _parameters(
            ["gamma"] * scale + ["beta"] * center
            if is_layer
            else ["beta"] * center + ["gamma"] * scale,
            [batch.channels],
            tf.float32 if dtype in _HALF and (is_layer or is_fused) else dtype,
            collections=variables_collections,
            initializers=param_initializers or {},
            regularizers=param_regularizers or {},
            trainable=trainable,
        )
        normalize = batch.normalize_fused if is_fused else batch.normalize
        outputs, mean, variance = layers.choose(
            is_training,
            lambda: normalize(made, training=True),
            lambda: normalize(made, training=False),
        )

        def update() -> list[Any]:
            average = moving_averages.assign_moving_average
            debias = zero_debias_moving_mean
            return [
                average(made["moving_mean"], mean, decay, zero_debias=debias),
                average(made["moving_variance"], variance, decay, zero_debias=False),
            ]

        def keep() -> list[Any]:
            return [tf.identity(made[name]) for name in ("moving_mean", "moving_variance")]

        # That layer had no updates where it was not trainable.
        if layers.constant(is_training) not in (False, 0) and (trainable or not is_layer):
            outputs = _add_updates(update, keep, outputs, is_training, updates_collections)
        outputs.set_shape(inputs.shape)
        outputs = outputs if activation_fn is None else activation_fn(outputs)
        return layers.collect(outputs_collections, scope_made.name, outputs)


@arg_scopes.add_arg_scope
def layer_norm(
    inputs: Any,
    center: bool = True,
    scale: bool = True,
    activation_fn: Callable[..., Any] | None = None,
    reuse: Any = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    begin_norm_axis: int = 1,
    begin_params_axis: int = -1,
    scope: Any = None,
) -> Any:
    """Normalizes each example over its elements (Ba, Kiros and Hinton 2016).

    Args:
      begin_norm_axis: mean and variance are of this dimension and those after it.
      begin_params_axis: beta and gamma have the shape of this dimension and those after it.

    Raises:
      ValueError: if the rank or the shape of beta and gamma is not known.
    """
    with v1.variable_scope(scope, "LayerNorm", [inputs], reuse=reuse) as scope_made:
        inputs = tf.convert_to_tensor(inputs)
        rank = inputs.shape.rank
        if rank is None or not begin_norm_axis < rank > begin_params_axis:
            found = f"begin_norm_axis {begin_norm_axis}, begin_params_axis {begin_params_axis}"
            raise ValueError(f"found {found}, expected axes of inputs of the shape {inputs.shape}")
        shape = inputs.shape[begin_params_axis:]
        if not shape.is_fully_defined():
            raise ValueError(f"inputs have the shape {inputs.shape}, expected the last ones known")
        made = _variables(
            ["beta"] * center + ["gamma"] * scale,
            shape.as_list(),
            inputs.dtype.base_dtype,
            collections=variables_collections,
            trainable=trainable,
        )
        axes = list(range(begin_norm_axis % rank, rank))
        mean, variance = tf.nn.moments(inputs, axes, keepdims=True)
        # 1e-12 is no number of float16.
        epsilon = 1e-3 if inputs.dtype.base_dtype == tf.float16 else 1e-12
        beta, gamma = made.get("beta"), made.get("gamma")
        outputs = tf.nn.batch_normalization(inputs, mean, variance, beta, gamma, epsilon)
        outputs.set_shape(inputs.shape)
        outputs = outputs if activation_fn is None else activation_fn(outputs)
        return layers.collect(outputs_collections, scope_made.name, outputs)


@dataclass(frozen=True)
class _Batch:
    """What is normalized. `weights`: [batch] or None."""

    inputs: Any
    data_format: str
    epsilon: float
    weights: Any

    @property
    def channels(self) -> int:
        return layers.known_size(self.inputs, 1 if self.data_format == "NCHW" else -1)

    def normalize_fused(self, made: Mapping[str, Any], training: bool) -> Any:
        """The outputs, and the mean and the variance of a sample. [channels]."""
        inputs, size = self.inputs, [self.channels]
        if inputs.shape.rank == 2:
            shape = [-1, *size, 1, 1] if self.data_format == "NCHW" else [-1, 1, 1, *size]
            inputs = tf.reshape(inputs, shape)
        outputs, mean, variance = v1.nn.fused_batch_norm(
            inputs,
            made.get("gamma", tf.ones(size)),
            made.get("beta", tf.zeros(size)),
            mean=None if training else made["moving_mean"],
            variance=None if training else made["moving_variance"],
            epsilon=self.epsilon,
            data_format=self.data_format,
            is_training=training,
        )
        if self.inputs.shape.rank == 2:
            outputs = tf.reshape(outputs, v1.shape(self.inputs))
        return outputs, mean, variance

    def normalize(self, made: Mapping[str, Any], training: bool) -> Any:
        """The outputs, and the mean and the variance. [channels]."""
        rank, inputs = self.inputs.shape.rank, self.inputs
        axis = 1 if self.data_format == "NCHW" else rank - 1
        dtype = made["moving_mean"].dtype.base_dtype
        axes = [each for each in range(rank) if each != axis]
        if not training:
            mean, variance = made["moving_mean"], made["moving_variance"]
        elif self.weights is None:
            mean, variance = tf.nn.moments(tf.cast(inputs, dtype), axes)
        else:
            weights = tf.reshape(self.weights, [-1] + [1] * (rank - 1))
            mean, variance = tf.nn.weighted_moments(inputs, axes, tf.cast(weights, dtype))
        mean, variance = tf.convert_to_tensor(mean), tf.convert_to_tensor(variance)
        shape = [self.channels if each == axis else 1 for each in range(rank)]
        all_of_them = [mean, variance, made.get("beta"), made.get("gamma")]
        wide = [
            None if x is None else tf.cast(tf.reshape(x, shape), inputs.dtype) for x in all_of_them
        ]
        outputs = tf.nn.batch_normalization(inputs, *wide, self.epsilon)
        return outputs, mean, variance


def _parameters(names: list[str], *args: Any, trainable: bool, **kwargs: Any) -> dict[str, Any]:
    """Makes beta and gamma, as named, and the moving mean and variance."""
    made = _variables(names, *args, trainable=trainable, **kwargs)
    kwargs["regularizers"] = {}
    with v1.variable_scope(v1.get_variable_scope()) as inner:
        inner.set_partitioner(None)  # A variable in parts has no moving average.
        moving = ["moving_mean", "moving_variance"]
        return made | _variables(moving, *args, trainable=False, **kwargs)


def _variables(
    names: list[str],
    shape: list[int],
    dtype: Any,
    *,
    collections: Any,
    trainable: bool,
    initializers: Mapping[str, Any] | None = None,
    regularizers: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        name: variables.model_variable(
            name,
            shape=shape,
            dtype=dtype,
            initializer=(initializers or {}).get(name, _INITIALIZERS[name]),
            regularizer=(regularizers or {}).get(name),
            collections=layers.collections_of(collections, name),
            trainable=trainable,
        )
        for name in names
    }


def _add_updates(
    update: Callable[[], list[Any]],
    keep: Callable[[], list[Any]],
    outputs: Any,
    is_training: Any,
    collections: Any,
) -> Any:
    """Has the moving mean and variance updated in training. Returns the outputs."""

    def force() -> Any:
        with v1.control_dependencies(update()):
            return tf.identity(outputs)

    if collections is None:
        return layers.choose(is_training, force, lambda: tf.identity(outputs))
    # A function of a branch gives tensors, not operations.
    for each in layers.choose(is_training, lambda: [tf.identity(x) for x in update()], keep):
        v1.add_to_collections(collections, each)
    return outputs
