"""`convolution2d_transpose` of `tf.contrib.layers`, which makes pictures larger."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mnist_estimator.compat._loaded import tf, v1
from mnist_estimator.compat.contrib import arg_scopes, initializers, layers

_XAVIER, _ZEROS = initializers.xavier_initializer(), v1.zeros_initializer()


@arg_scopes.add_arg_scope
def convolution2d_transpose(
    inputs: Any,
    num_outputs: int,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: str = "SAME",
    data_format: str = "NHWC",
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
    """The gradient of a convolution (which is no inverse), then as in `layers.convolution`.

    Pictures of n pixels get n * stride, and with VALID the rest of the kernel.

    Raises:
      ValueError: for a data_format, rank or size that cannot be.
    """
    layers.check_format(data_format)
    with v1.variable_scope(scope, "Conv2d_transpose", [inputs], reuse=reuse) as scope_made:
        inputs = tf.convert_to_tensor(inputs)
        if inputs.shape.rank != 4:
            raise ValueError(f"inputs have the shape {inputs.shape}, expected 4 dimensions")
        channels = 1 if data_format == "NCHW" else 3
        make = layers.variable_maker(inputs.dtype, variables_collections, trainable)
        kernel, strides = layers.sizes_of(kernel_size, 2), layers.sizes_of(stride, 2)
        shape = [*kernel, num_outputs, layers.known_size(inputs, channels)]
        weights = make("weights", shape, weights_initializer, weights_regularizer)
        rest = [0, 0]
        if padding.upper() == "VALID":
            rest = [max(k - s, 0) for k, s in zip(kernel, strides, strict=True)]

        def sizes(given: Any) -> list[Any]:
            places = [each for each in (1, 2, 3) if each != channels]
            found = {0: given[0], channels: num_outputs}
            for axis, by, more in zip(places, strides, rest, strict=True):
                found[axis] = None if given[axis] is None else given[axis] * by + more
            return [found[axis] for axis in range(4)]

        outputs = v1.nn.conv2d_transpose(
            inputs,
            weights,
            tf.stack(sizes(v1.shape(inputs))),
            strides=strides,
            padding=padding.upper(),
            data_format=data_format,
        )
        outputs.set_shape(sizes(inputs.shape.as_list()))
        if normalizer_fn is None and biases_initializer:
            biases = make("biases", [num_outputs], biases_initializer, biases_regularizer)
            outputs = tf.nn.bias_add(outputs, biases, data_format=data_format)
        outputs = layers.finish(outputs, normalizer_fn, normalizer_params, activation_fn)
        return layers.collect(outputs_collections, scope_made.name, outputs)
