"""The networks: images [B,H,W,C] -> logits [B,K].

A network is one function:

  def network(images, *, num_classes, training, params) -> logits

`images` is [B,H,W,C], float32 or bfloat16, its pixels from 0 to `params["pixel_max"]`; the logits
are [B,num_classes], of the same type. `training` says whether to drop units and to normalize by the
batch. `params` has every field of `config.TrainConfig` under its name. Weights are float32; a
network computes in the type of the images. All random numbers are drawn by (seed, name) or by
(seed, step), so a run is the same on all machines, and however often it is resumed.

`NETWORKS` has the networks of the package; `find` also takes one of any other module.
"""

from __future__ import annotations

import importlib
import math
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from mnist_estimator import InputError, draws
from mnist_estimator.compat import tf, v1
from mnist_estimator.runtime import own_modules

Network = Callable[..., tf.Tensor]

_MOVING_DECAY = 0.99  # Of a batch normalization's moving averages, once they have settled.
_EPSILON = 1e-3  # Added to a variance, as in Keras.


def cnn(
    images: tf.Tensor, *, num_classes: int, training: bool, params: Mapping[str, Any]
) -> tf.Tensor:
    """Two convolutions, each pooled, and a dense layer with dropout.

    The network of TensorFlow's Estimator guide, "A Guide to TF Layers: Building a Convolutional
    Neural Network". All shapes follow from the images; for 28x28x1 they are those beside the code.
    `batch_norm` normalizes the dense layer, or all three.
    """
    everywhere = params["batch_norm"] == "all"
    hidden = images
    for name, filters in (("conv1", 32), ("conv2", 64)):  # [B,14,14,32], [B,7,7,64]
        hidden = conv_pool_relu(
            hidden, name, filters=filters, normalize=everywhere, training=training, params=params
        )
    hidden = flatten(hidden)  # [B,3136]
    hidden = dense_relu(
        hidden,
        "dense",
        units=1024,
        normalize=params["batch_norm"] != "none",
        training=training,
        params=params,
    )  # [B,1024]
    if training:
        hidden = dropout(hidden, rate=params["dropout_rate"], seed=params["seed"])
    return dense(hidden, "logits", units=num_classes, params=params)  # [B,K]


def softmax(
    images: tf.Tensor, *, num_classes: int, training: bool, params: Mapping[str, Any]
) -> tf.Tensor:
    """Softmax regression: one linear layer, which starts at zero."""
    pixels = flatten(images)
    with v1.variable_scope("logits"):
        kernel = _constant("kernel", [pixels.shape[-1], num_classes], 0.0)
        bias = _constant("bias", [num_classes], 0.0)
        product = tf.matmul(pixels, tf.cast(kernel, pixels.dtype))
        return tf.nn.bias_add(product, tf.cast(bias, pixels.dtype))


def dnn(
    images: tf.Tensor, *, num_classes: int, training: bool, params: Mapping[str, Any]
) -> tf.Tensor:
    """Dense layers of `hidden_units`, each with ReLU and dropout."""
    hidden = flatten(images)
    for number, units in enumerate(params["hidden_units"], 1):
        name = f"dense{number}"
        hidden = dense_relu(
            hidden,
            name,
            units=units,
            normalize=params["batch_norm"] != "none",
            training=training,
            params=params,
        )
        if training:
            hidden = dropout(hidden, rate=params["dropout_rate"], seed=params["seed"], name=name)
    return dense(hidden, "logits", units=num_classes, params=params)


NETWORKS: dict[str, Network] = {"cnn": cnn, "softmax": softmax, "dnn": dnn}


def find(name: str) -> Network:
    """Returns the network of a name in `NETWORKS`, or a function as `module:function`.

    Python looks for the module in the current folder, too.

    Raises:
      InputError: if there is no such module or function.
    """
    if name in NETWORKS:
        return NETWORKS[name]
    module_name, _, function = name.partition(":")
    own_modules.look_here()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            # The user's module imports another one that is missing.
            raise InputError(f"--model: module {module_name!r}: {error}") from error
        raise InputError(
            f"--model: found no module {module_name!r}, expected {module_name}.py in this folder, "
            "on PYTHONPATH or installed"
        ) from None
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"--model: found module {module_name!r}, but importing it raises "
            f"{type(error).__name__}: {error}"
        ) from error
    network = getattr(module, function, None)
    if not callable(network):
        raise InputError(f"--model: found no function {function!r} in {module.__file__}")
    return network


def flatten(images: tf.Tensor) -> tf.Tensor:
    """[B,...] -> [B,D]."""
    return tf.reshape(images, [-1, math.prod(images.shape[1:])])


def conv_pool_relu(
    images: tf.Tensor,
    name: str,
    *,
    filters: int,
    normalize: bool,
    training: bool,
    params: Mapping[str, Any],
) -> tf.Tensor:
    """A 5x5 convolution, 2x2 max pooling and ReLU: [B,H,W,C] -> [B,ceil(H/2),ceil(W/2),filters]."""
    with v1.variable_scope(name):
        kernel = _weights("kernel", [5, 5, images.shape[-1], filters], params)
        values = tf.nn.conv2d(images, tf.cast(kernel, images.dtype), strides=1, padding="SAME")
        if normalize:  # Before the pooling, because a negative gamma reverses the order of values.
            values = batch_norm(values, training=training)
        # Adding a bias and ReLU keep the order of values, so pooling first gives the same result
        # from a quarter of the elements.
        values = tf.nn.max_pool2d(values, ksize=2, strides=2, padding="SAME")
        return tf.nn.relu(values if normalize else _add_bias(values, params))


def dense_relu(
    values: tf.Tensor,
    name: str,
    *,
    units: int,
    normalize: bool,
    training: bool,
    params: Mapping[str, Any],
) -> tf.Tensor:
    """A dense layer with ReLU: [B,D] -> [B,units]."""
    with v1.variable_scope(name):
        values = _multiply(values, units, params)
        if normalize:
            values = batch_norm(values, training=training)
        return tf.nn.relu(values if normalize else _add_bias(values, params))


def dense(values: tf.Tensor, name: str, *, units: int, params: Mapping[str, Any]) -> tf.Tensor:
    """A linear layer: [B,D] -> [B,units]."""
    with v1.variable_scope(name):
        return _add_bias(_multiply(values, units, params), params)


def dropout(values: tf.Tensor, *, rate: float, seed: int, name: str = "") -> tf.Tensor:
    """Drops a fraction `rate` of `values` [b,...] and scales up the rest, by (seed, global step).

    Replicas that train synchronously draw the mask of the whole batch and use their own rows of it,
    so the result does not depend on their number. Layers of other names drop other units.
    """
    if not rate:
        return values
    with tf.name_scope("dropout"):
        mask = _dropout_mask(values, rate, seed, name)
        return values * mask / tf.cast(1 - rate, values.dtype)


def batch_norm(values: tf.Tensor, *, training: bool) -> tf.Tensor:
    """Normalizes each channel of `values` [B,...,C] (Ioffe and Szegedy, ICML 2015).

    In training it uses the mean and the variance of the whole batch, over all synchronous replicas;
    else their moving averages. These are variables of the checkpoint; the operations in the
    collection UPDATE_OPS update them. The decay grows with the global step, as in TensorFlow's
    ExponentialMovingAverage, so that the start values do not matter even in a short run.
    """
    channels = values.shape[-1]
    with v1.variable_scope("batch_norm"):
        gamma, beta = _constant("gamma", [channels], 1.0), _constant("beta", [channels], 0.0)
        moving = (
            _constant("moving_mean", [channels], 0.0, trainable=False),
            _constant("moving_variance", [channels], 1.0, trainable=False),
        )
        if not training:
            return _normalize(values, *moving, beta, gamma)
        normalized, *moments = _normalize_batch(values, beta, gamma)
        step = tf.cast(v1.train.get_or_create_global_step(), tf.float32)
        decay = tf.minimum(_MOVING_DECAY, (1 + step) / (10 + step))
        for average, value in zip(moving, moments, strict=True):
            update = average.assign(decay * average + (1 - decay) * value)
            v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, update)
        return normalized


def _normalize(
    values: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, beta: tf.Tensor, gamma: tf.Tensor
) -> tf.Tensor:
    floats = tf.cast(values, tf.float32)
    normalized = tf.nn.batch_normalization(floats, mean, variance, beta, gamma, _EPSILON)
    return tf.cast(normalized, values.dtype)


def _normalize_batch(
    values: tf.Tensor, beta: tf.Tensor, gamma: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Normalizes `values` [b,...,C] by the whole batch; also returns its mean and variance [C]."""
    alone = tf.distribute.get_replica_context().num_replicas_in_sync == 1
    if alone and len(values.shape) == 4 and values.dtype in (tf.float32, tf.bfloat16):
        # Forwards and backwards it takes an eighth of the time of the separate operations in
        # bfloat16, a third in float32.
        normalized, mean, variance = v1.nn.fused_batch_norm(values, gamma, beta, epsilon=_EPSILON)
        count = tf.cast(tf.size(values) // values.shape[-1], tf.float32)
        return normalized, mean, variance * (count - 1) / count  # It was divided by count - 1.
    moments = _moments(tf.cast(values, tf.float32))
    return _normalize(values, *moments, beta, gamma), *moments


def _moments(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and variance [C] of `values` [b,...,C], over the rows of all replicas."""
    axes = list(range(len(values.shape) - 1))
    replica = tf.distribute.get_replica_context()

    def mean_of_all(values: tf.Tensor) -> tf.Tensor:
        mean = tf.reduce_mean(values, axes)
        if replica.num_replicas_in_sync == 1:
            return mean
        return replica.all_reduce(tf.distribute.ReduceOp.MEAN, mean)

    mean = mean_of_all(values)
    return mean, mean_of_all(tf.math.squared_difference(values, mean))


def _dropout_mask(values: tf.Tensor, rate: float, seed: int, name: str) -> tf.Tensor:
    """The mask of `values` [b,...]: 1 for a value that is kept, 0 for one that is dropped."""
    sizes = [
        tf.shape(values)[axis] if size is None else size
        for axis, size in enumerate(values.shape[1:], 1)
    ]
    drawn = draws.uniform(tf.shape(values)[0], sizes, seed=seed, name=name)
    return tf.cast(drawn >= rate, values.dtype)


def _multiply(values: tf.Tensor, units: int, params: Mapping[str, Any]) -> tf.Tensor:
    kernel = _weights("kernel", [values.shape[-1], units], params)
    return tf.matmul(values, tf.cast(kernel, values.dtype))


def _add_bias(values: tf.Tensor, params: Mapping[str, Any]) -> tf.Tensor:
    bias = _constant("bias", [values.shape[-1]], params["initial_bias"])
    return tf.nn.bias_add(values, tf.cast(bias, values.dtype))


def _weights(name: str, shape: list[int], params: Mapping[str, Any]) -> tf.Variable:
    """A variable drawn by (seed, its full name) as `initializer` says.

    glorot_uniform: Glorot and Bengio, AISTATS 2010.
    """
    receptive_field = math.prod(shape[:-2])
    limit = math.sqrt(6 / (receptive_field * (shape[-2] + shape[-1])))
    full_name = f"{v1.get_variable_scope().name}/{name}"
    # TensorFlow's own initializers draw by the operation's number in the graph, which changes with
    # anything built before it.
    key = [params["seed"], zlib.crc32(full_name.encode())]

    def initial(shape: list[int], dtype: tf.DType, partition_info: object = None) -> tf.Tensor:
        if params["initializer"] == "truncated_normal":
            stddev = params["initial_stddev"]
            return tf.random.stateless_truncated_normal(shape, key, 0.0, stddev, dtype, "philox")
        return tf.random.stateless_uniform(shape, key, -limit, limit, dtype, "philox")

    return v1.get_variable(name, shape, tf.float32, initial, use_resource=True)


def _constant(name: str, shape: list[int], value: float, *, trainable: bool = True) -> tf.Variable:
    # Gradients keep the replicas' trainable variables equal; the others are averaged.
    aggregation = tf.VariableAggregation.NONE if trainable else tf.VariableAggregation.MEAN
    return v1.get_variable(
        name,
        shape,
        tf.float32,
        v1.constant_initializer(value),
        trainable=trainable,
        use_resource=True,
        aggregation=aggregation,
    )
