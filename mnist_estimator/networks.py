"""The networks: images [B,H,W,C] in [0,1] -> logits [B,K].

Weights are float32; a network computes in the type of the images it is given. Everything random is
drawn from (seed, name) or (seed, step), so a run is the same wherever and however often it starts.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable

from mnist_estimator.compat import tf, v1


def cnn(
    images: tf.Tensor, *, num_classes: int, training: bool, dropout_rate: float, seed: int
) -> tf.Tensor:
    """Two convolutions, each pooled, and a dense layer with dropout.

    The network of TensorFlow's Estimator guide, "A Guide to TF Layers: Building a Convolutional
    Neural Network". All shapes follow from the images; for 28x28x1 they are those beside the code.

    Args:
      images: [B,H,W,C], float32 or bfloat16.
      num_classes: K.
      training: whether to drop units.
      dropout_rate: fraction of the dense layer's units dropped.
      seed: decides the starting weights and the dropped units.

    Returns:
      Logits [B,K], of the images' type.
    """
    hidden = _conv_pool_relu(images, "conv1", filters=32, seed=seed)  # [B,14,14,32]
    hidden = _conv_pool_relu(hidden, "conv2", filters=64, seed=seed)  # [B,7,7,64]
    hidden = tf.reshape(hidden, [-1, math.prod(hidden.shape[1:])])  # [B,3136]
    hidden = tf.nn.relu(_dense(hidden, "dense", units=1024, seed=seed))  # [B,1024]
    if training and dropout_rate:
        hidden = dropout(hidden, rate=dropout_rate, seed=seed)
    return _dense(hidden, "logits", units=num_classes, seed=seed)  # [B,K]


NETWORKS: dict[str, Callable[..., tf.Tensor]] = {"cnn": cnn}


def dropout(values: tf.Tensor, *, rate: float, seed: int) -> tf.Tensor:
    """Drops a fraction `rate` of `values` [b,D], scales the rest up; keyed by (seed, global step).

    Replicas that train synchronously draw the mask of the whole batch and use their own rows of it:
    what is dropped does not depend on how many they are.
    """
    with tf.name_scope("dropout"):
        return values * _kept(values, rate, seed) / tf.cast(1 - rate, values.dtype)


def _kept(values: tf.Tensor, rate: float, seed: int) -> tf.Tensor:
    """1 for what is kept of `values` [b,D], else 0."""
    replica = tf.distribute.get_replica_context()
    rows, width = tf.shape(values)[0], values.shape[1]
    step = tf.cast(v1.train.get_or_create_global_step(), tf.int64)
    drawn = tf.random.stateless_uniform(
        [replica.num_replicas_in_sync * rows, width],
        seed=tf.stack([tf.constant(seed, tf.int64), step]),
        alg="philox",
    )
    first = tf.cast(replica.replica_id_in_sync_group, tf.int32) * rows
    return tf.cast(drawn[first : first + rows] >= rate, values.dtype)


def _conv_pool_relu(images: tf.Tensor, name: str, *, filters: int, seed: int) -> tf.Tensor:
    with v1.variable_scope(name):
        kernel = _glorot("kernel", [5, 5, images.shape[-1], filters], seed)
        bias = _zeros("bias", [filters])
        convolved = tf.nn.conv2d(images, tf.cast(kernel, images.dtype), strides=1, padding="SAME")
        # Adding a bias and ReLU keep the order of values, so pooling first gives the same result
        # from a quarter of the elements.
        pooled = tf.nn.max_pool2d(convolved, ksize=2, strides=2, padding="SAME")
        return tf.nn.relu(tf.nn.bias_add(pooled, tf.cast(bias, images.dtype)))


def _dense(values: tf.Tensor, name: str, *, units: int, seed: int) -> tf.Tensor:
    with v1.variable_scope(name):
        kernel = _glorot("kernel", [values.shape[-1], units], seed)
        bias = _zeros("bias", [units])
        product = tf.matmul(values, tf.cast(kernel, values.dtype))
        return tf.nn.bias_add(product, tf.cast(bias, values.dtype))


def _glorot(name: str, shape: list[int], seed: int) -> tf.Variable:
    """A variable from Glorot's uniform distribution (Glorot and Bengio, AISTATS 2010)."""
    receptive_field = math.prod(shape[:-2])
    limit = math.sqrt(6 / (receptive_field * (shape[-2] + shape[-1])))
    full_name = f"{v1.get_variable_scope().name}/{name}"

    def initial(shape: list[int], dtype: tf.DType, partition_info: object = None) -> tf.Tensor:
        # TensorFlow's own initializers draw by the operation's number in the graph, which changes
        # with anything built before it.
        return tf.random.stateless_uniform(
            shape, [seed, zlib.crc32(full_name.encode())], -limit, limit, dtype, alg="philox"
        )

    return v1.get_variable(name, shape, tf.float32, initial, use_resource=True)


def _zeros(name: str, shape: list[int]) -> tf.Variable:
    return v1.get_variable(name, shape, tf.float32, v1.zeros_initializer(), use_resource=True)
