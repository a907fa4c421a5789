"""Layers of `tf.contrib.layers`, made of `tf.nn` and `v1.get_variable`: they need no Keras.

Each makes its variables in a variable scope of its own, with the names that they have in
checkpoints of TensorFlow 1.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mnist_estimator.compat._loaded import tf, v1
from mnist_estimator.compat.contrib import arg_scopes, initializers, variables

_NHWC, _NCHW = "NHWC", "NCHW"
_FORMATS = (None, "NWC", "NCW", "NHWC", "NCHW", "NDHWC", "NCDHW")
_XAVIER, _ZEROS = initializers.xavier_initializer(), v1.zeros_initializer()


@arg_scopes.add_arg_scope
def fully_connected(
    inputs: Any,
    num_outputs: int,
    activation_fn: Callable[..., Any] | None = tf.nn.relu,
    normalizer_fn: Callable[..., Any] | None = None,
    normalizer_params: Mapping[str, Any] | None = None,
    weights_initializer: Any = _XAVIER,
    weights_regularizer: Any = None,
    biases_initializer: Any = _ZEROS,
    biases_regularizer: Any = None,
    reuse: Any = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    scope: Any = None,
) -> Any:
    """[..., depth] -> [..., num_outputs]: inputs * weights, then normalizer or biases, activation.

    Raises:
      ValueError: if num_outputs is no integer, or the depth is not known.
    """
    if not isinstance(num_outputs, int):
        raise ValueError(f"num_outputs is {num_outputs!r}, expected an integer")
    with v1.variable_scope(scope, "fully_connected", [inputs], reuse=reuse) as scope_made:
        inputs = tf.convert_to_tensor(inputs)
        make = variable_maker(inputs.dtype, variables_collections, trainable)
        shape = [known_size(inputs, -1), num_outputs]
        weights = make("weights", shape, weights_initializer, weights_regularizer)
        if inputs.shape.rank > 2:
            outputs = tf.tensordot(inputs, weights, [[inputs.shape.rank - 1], [0]])
            outputs.set_shape([*inputs.shape.as_list()[:-1], num_outputs])
        else:
            outputs = tf.matmul(inputs, weights)
        if normalizer_fn is None and biases_initializer:
            biases = make("biases", [num_outputs], biases_initializer, biases_regularizer)
            outputs = tf.nn.bias_add(outputs, biases)
        outputs = finish(outputs, normalizer_fn, normalizer_params, activation_fn)
        return collect(outputs_collections, scope_made.name, outputs)


relu = functools.partial(fully_connected, activation_fn=tf.nn.relu)
relu6 = functools.partial(fully_connected, activation_fn=tf.nn.relu6)
elu = functools.partial(fully_connected, activation_fn=tf.nn.elu)
linear = functools.partial(fully_connected, activation_fn=None)


@arg_scopes.add_arg_scope
def convolution(
    inputs: Any,
    num_outputs: int,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: str = "SAME",
    data_format: str | None = None,
    rate: int | Sequence[int] = 1,
    activation_fn: Callable[..., Any] | None = tf.nn.relu,
    normalizer_fn: Callable[..., Any] | None = None,
    normalizer_params: Mapping[str, Any] | None = None,
    weights_initializer: Any = _XAVIER,
    weights_regularizer: Any = None,
    biases_initializer: Any = _ZEROS,
    biases_regularizer: Any = None,
    reuse: Any = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    scope: Any = None,
    conv_dims: int | None = None,
) -> Any:
    """Convolution of 1 to 3 dimensions, then normalizer or biases, then activation.

    Raises:
      ValueError: for a data_format, rank, stride or rate that cannot be.
    """
    if data_format not in _FORMATS:
        raise ValueError(f"data_format is {data_format!r}, expected one of {_FORMATS}")
    first = bool(data_format) and data_format.startswith("NC")
    with v1.variable_scope(scope, "Conv", [inputs], reuse=reuse) as scope_made:
        inputs = tf.convert_to_tensor(inputs)
        dims = _dims(inputs, conv_dims)
        make = variable_maker(inputs.dtype, variables_collections, trainable)
        shape = [*sizes_of(kernel_size, dims), known_size(inputs, 1 if first else -1), num_outputs]
        weights = make("weights", shape, weights_initializer, weights_regularizer)
        outputs = tf.nn.convolution(
            inputs,
            weights,
            strides=sizes_of(stride, dims),
            padding=padding.upper(),
            data_format=data_format or _format(dims),
            dilations=sizes_of(rate, dims),
        )
        if normalizer_fn is None and biases_initializer:
            biases = make("biases", [num_outputs], biases_initializer, biases_regularizer)
            outputs = tf.nn.bias_add(outputs, biases, data_format="NC..." if first else "N...C")
        outputs = finish(outputs, normalizer_fn, normalizer_params, activation_fn)
        return collect(outputs_collections, scope_made.name, outputs)


def _convolution_of(dims: int) -> Callable[..., Any]:
    @functools.wraps(convolution.__wrapped__)
    def convolution_of_dims(*args: Any, **kwargs: Any) -> Any:
        # What arg_scope gives `convolution` is not for these.
        return convolution.__wrapped__(*args, conv_dims=dims, **kwargs)

    convolution_of_dims.__name__ = convolution_of_dims.__qualname__ = f"convolution{dims}d"
    return arg_scopes.add_arg_scope(convolution_of_dims)


convolution1d, convolution2d, convolution3d = map(_convolution_of, (1, 2, 3))


@arg_scopes.add_arg_scope
def bias_add(
    inputs: Any,
    activation_fn: Callable[..., Any] | None = None,
    initializer: Any = _ZEROS,
    regularizer: Any = None,
    reuse: Any = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    data_format: str = _NHWC,
    scope: Any = None,
) -> Any:
    """Adds a variable `biases`, a number a channel."""
    check_format(data_format)
    with v1.variable_scope(scope, "BiasAdd", [inputs], reuse=reuse) as scope_made:
        inputs = tf.convert_to_tensor(inputs)
        if data_format == _NCHW and inputs.shape.rank != 4:
            raise ValueError(f"data_format is NCHW, expected 4 dimensions, found {inputs.shape}")
        make = variable_maker(inputs.dtype, variables_collections, trainable)
        channels = known_size(inputs, 1 if data_format == _NCHW else -1)
        biases = make("biases", [channels], initializer, regularizer)
        outputs = tf.nn.bias_add(inputs, biases, data_format=data_format)
        return collect(outputs_collections, scope_made.name, _active(outputs, activation_fn))


@arg_scopes.add_arg_scope
def max_pool2d(
    inputs: Any,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] = 2,
    padding: str = "VALID",
    data_format: str = _NHWC,
    outputs_collections: Any = None,
    scope: Any = None,
) -> Any:
    """The largest of each window of height * width, a channel."""
    operation = functools.partial(tf.nn.max_pool2d, ksize=kernel_size, strides=stride)
    return _pool("MaxPool2D", operation, inputs, padding, data_format, outputs_collections, scope)


@arg_scopes.add_arg_scope
def avg_pool2d(
    inputs: Any,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] = 2,
    padding: str = "VALID",
    data_format: str = _NHWC,
    outputs_collections: Any = None,
    scope: Any = None,
) -> Any:
    """The mean of each window of height * width, a channel. What lies outside does not count."""
    operation = functools.partial(tf.nn.avg_pool2d, ksize=kernel_size, strides=stride)
    return _pool("AvgPool2D", operation, inputs, padding, data_format, outputs_collections, scope)


@arg_scopes.add_arg_scope
def flatten(inputs: Any, outputs_collections: Any = None, scope: Any = None) -> Any:
    """[batch, ...] -> [batch, number of the other elements].

    Raises:
      ValueError: if the rank is not known or below 1.
    """
    with v1.name_scope(scope, "Flatten", [inputs]) as name:
        inputs = tf.convert_to_tensor(inputs)
        if not inputs.shape.rank:
            raise ValueError(f"inputs have the shape {inputs.shape}, expected a batch")
        batch, size = inputs.shape.as_list()[0], inputs.shape[1:].num_elements()
        if size is None and batch is None:
            shape = v1.shape(inputs)
            outputs = tf.reshape(inputs, [shape[0], tf.reduce_prod(shape[1:])])
        else:
            outputs = tf.reshape(
                inputs, [-1 if batch is None else batch, -1 if size is None else size]
            )
        return collect(outputs_collections, name, outputs)


@arg_scopes.add_arg_scope
def dropout(
    inputs: Any,
    keep_prob: Any = 0.5,
    noise_shape: Any = None,
    is_training: Any = True,
    outputs_collections: Any = None,
    scope: Any = None,
    seed: int | None = None,
) -> Any:
    """Keeps each element with a probability and divides it by that, else 0; only in training."""
    with v1.variable_scope(scope, "Dropout", [inputs]) as scope_made:
        inputs = tf.convert_to_tensor(inputs)
        outputs = choose(
            is_training,
            lambda: v1.nn.dropout(inputs, rate=1 - keep_prob, noise_shape=noise_shape, seed=seed),
            lambda: tf.identity(inputs),
        )
        return collect(outputs_collections, scope_made.name, outputs)


@arg_scopes.add_arg_scope
def one_hot_encoding(
    labels: Any,
    num_classes: int,
    on_value: Any = 1.0,
    off_value: Any = 0.0,
    outputs_collections: Any = None,
    scope: Any = None,
) -> Any:
    """[batch] integers -> [batch, num_classes] of on_value at each label, else off_value."""
    with v1.name_scope(scope, "OneHotEncoding", [labels, num_classes]) as name:
        labels = tf.convert_to_tensor(labels)
        outputs = tf.one_hot(labels, num_classes, on_value=on_value, off_value=off_value)
        return collect(outputs_collections, name, outputs)


@arg_scopes.add_arg_scope
def softmax(logits: Any, scope: Any = None) -> Any:
    """Softmax over the last dimension."""
    with v1.variable_scope(scope, "softmax", [logits]):
        return tf.nn.softmax(logits)


def embed_sequence(
    ids: Any,
    vocab_size: int | None = None,
    embed_dim: int | None = None,
    unique: bool = False,
    initializer: Any = None,
    regularizer: Any = None,
    trainable: bool = True,
    scope: Any = None,
    reuse: Any = None,
) -> Any:
    """[batch, length] ids -> [batch, length, embed_dim], rows of the variable `embeddings`.

    Args:
      unique: look each id up once, which saves work where many are the same.
    """
    if not (reuse or (vocab_size and embed_dim)):
        raise ValueError(f"vocab_size is {vocab_size}, embed_dim {embed_dim}, expected numbers")
    with v1.variable_scope(scope, "EmbedSequence", [ids], reuse=reuse):
        embeddings = variables.model_variable(
            "embeddings",
            shape=[vocab_size, embed_dim] if vocab_size and embed_dim else None,
            initializer=initializer,
            regularizer=regularizer,
            trainable=trainable,
        )
        if not unique:
            return v1.nn.embedding_lookup(embeddings, ids)  # Parts in turn, as in TensorFlow 1.
        ids = tf.convert_to_tensor(ids)
        once, places = tf.unique(tf.reshape(ids, [-1]))
        return tf.gather(
            v1.nn.embedding_lookup(embeddings, once), tf.reshape(places, v1.shape(ids))
        )


def stack(inputs: Any, layer: Callable[..., Any], stack_args: Sequence[Any], **kwargs: Any) -> Any:
    """Applies a layer again and again, with other arguments each time, in scopes NAME_1, NAME_2."""
    if not isinstance(stack_args, (list, tuple)):
        raise ValueError(f"stack_args is {stack_args!r}, expected a list or tuple")
    arguments = [each if isinstance(each, (list, tuple)) else [each] for each in stack_args]
    return _apply_again("Stack", inputs, layer, arguments, kwargs)


def repeat(
    inputs: Any, repetitions: int, layer: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    """Applies a layer again and again, with the same arguments, in scopes NAME_1, NAME_2."""
    return _apply_again("Repeat", inputs, layer, [args] * repetitions, kwargs)


def collect(collections: Any, name: str, outputs: Any) -> Any:
    """Adds a layer's outputs to collections, under the name of its scope. Returns them."""
    if collections:
        outputs.aliases = [*getattr(outputs, "aliases", []), name.removesuffix("/")]
        v1.add_to_collections(collections, outputs)
    return outputs


def collections_of(variables_collections: Any, name: str) -> list[str]:
    """The collections for one variable: of a mapping its own, else all."""
    if isinstance(variables_collections, Mapping):
        variables_collections = variables_collections.get(name)
    return list(variables_collections or [])


def choose(condition: Any, true_fn: Callable[[], Any], false_fn: Callable[[], Any]) -> Any:
    """What one of two functions gives: at once where the condition is known, else by `v1.cond`."""
    known = constant(condition)
    if known is None:
        return v1.cond(tf.cast(condition, tf.bool), true_fn, false_fn)
    return true_fn() if known else false_fn()


def constant(value: Any) -> Any:
    """The value of what is known when the graph is made, else None.

    Raises:
      ValueError: for None itself.
    """
    if value is None:
        raise ValueError("found None, expected True, False or a tensor")
    if isinstance(value, tf.Variable):
        return None
    return tf.get_static_value(value) if tf.is_tensor(value) else value


def check_format(data_format: str) -> None:
    """Raises ValueError for what is no data_format of pictures."""
    if data_format not in (_NHWC, _NCHW):
        raise ValueError(f"data_format is {data_format!r}, expected NHWC or NCHW")


def known_size(inputs: Any, axis: int) -> int:
    """The size of a dimension. Raises ValueError if it is not known, or the rank below 2."""
    shape = inputs.shape
    # A dimension is an object without version 2 behaviour; a list holds numbers.
    if shape.rank is None or shape.rank < 2 or shape.as_list()[axis] is None:
        raise ValueError(f"inputs have the shape {shape}, expected a known dimension {axis}")
    return shape.as_list()[axis]


def variable_maker(dtype: Any, collections: Any, trainable: bool) -> Callable[..., Any]:
    """Returns a function that makes a layer's variable: (name, shape, initializer, regularizer)."""

    def make(name: str, shape: list[int], initializer: Any, regularizer: Any) -> Any:
        return variables.model_variable(
            name,
            shape=shape,
            dtype=dtype.base_dtype,
            initializer=initializer,
            regularizer=regularizer,
            collections=collections_of(collections, name),
            trainable=trainable,
        )

    return make


def finish(outputs: Any, normalizer_fn: Any, normalizer_params: Any, activation_fn: Any) -> Any:
    """What comes after the weights and biases: normalizer, then activation."""
    if normalizer_fn is not None:
        outputs = normalizer_fn(outputs, **(normalizer_params or {}))
    return _active(outputs, activation_fn)


def sizes_of(value: int | Sequence[int], dims: int) -> list[int]:
    """A size a dimension. Raises ValueError for another number of them, or one below 1."""
    values = list(value) if isinstance(value, (list, tuple)) else [value] * dims
    if len(values) != dims or any(int(each) < 1 for each in values):
        raise ValueError(f"found {value}, expected {dims} integers of 1 or more")
    return [int(each) for each in values]


def _apply_again(
    kind: str, inputs: Any, layer: Any, arguments: Sequence[Any], kwargs: dict[str, Any]
) -> Any:
    scope = kwargs.pop("scope", None)
    function = getattr(layer, "func", layer)  # Of a partial.
    name = scope or getattr(function, "__name__", kind.lower())
    with v1.variable_scope(scope, kind, [inputs]):
        outputs = tf.convert_to_tensor(inputs)
        for number, each in enumerate(arguments, start=1):
            outputs = layer(outputs, *each, scope=f"{name}_{number}", **kwargs)
    return outputs


def _active(outputs: Any, activation_fn: Any) -> Any:
    return outputs if activation_fn is None else activation_fn(outputs)


def _pool(
    name: str,
    operation: Any,
    inputs: Any,
    padding: str,
    data_format: str,
    collections: Any,
    scope: Any,
) -> Any:
    check_format(data_format)
    with v1.name_scope(scope, name, [inputs]) as name_made:
        inputs = tf.convert_to_tensor(inputs)
        outputs = operation(inputs, padding=padding.upper(), data_format=data_format)
        return collect(collections, name_made, outputs)


def _dims(inputs: Any, wanted: int | None) -> int:
    rank = inputs.shape.rank
    if rank not in (3, 4, 5) or (wanted is not None and rank != wanted + 2):
        expected = f"{wanted + 2}" if wanted else "3 to 5"
        raise ValueError(f"inputs have the shape {inputs.shape}, expected {expected} dimensions")
    return rank - 2


def _format(dims: int) -> str:
    return {1: "NWC", 2: "NHWC", 3: "NDHWC"}[dims]
