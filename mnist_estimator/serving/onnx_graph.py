"""Writes a TensorFlow graph without loops and state as an ONNX graph.

What does not follow from the inputs is computed once, by TensorFlow, and becomes a constant: the
weights, and all that is made of weights alone. What does follow from them has one line below for
each operation. An operation without a line is an error that names it, never a guess.

Images stay [N,H,W,C], as in TensorFlow. ONNX convolves [N,C,H,W] only, so there is a transposition
before and after each convolution and pooling; onnxruntime takes out those that meet.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mnist_estimator import RunError
from mnist_estimator.compat import tf, v1

OPSET, IR_VERSION = 18, 8  # onnxruntime 1.14, of 2023, reads these.

_END = np.iinfo(np.int64).max
_TO_CHANNELS_FIRST, _TO_CHANNELS_LAST = [0, 3, 1, 2], [0, 2, 3, 1]


def convert(
    inputs: Mapping[str, tf.Tensor], outputs: Mapping[str, tf.Tensor], session: v1.Session
) -> Any:
    """The ONNX graph, an `onnx.GraphProto`, of the session's graph.

    Args:
      inputs: placeholders of which only the first dimension is unknown, by the names that they get.
      outputs: tensors, by the names that they get.

    Raises:
      RunError: if an operation between them has no counterpart here.
    """
    from onnx import helper

    needed = _needed(inputs.values(), outputs.values())
    builder = _Builder(needed, inputs)
    for op in needed:
        _add(builder, op)
    for name, tensor in outputs.items():
        builder.node("Identity", [builder.name(tensor)], name)
    constants = session.run(builder.constants)
    return helper.make_graph(
        builder.nodes,
        "mnist_estimator",
        [_value_info(name, tensor) for name, tensor in inputs.items()],
        [_value_info(name, tensor) for name, tensor in outputs.items()],
        [
            _initializer(name, builder.changes[name](value))
            for name, value in (constants | builder.made).items()
        ],
    )


def _needed(inputs: Any, outputs: Any) -> list[tf.Operation]:
    """The operations that outputs need and that follow from inputs, in the order of the graph."""
    graph = next(iter(outputs)).graph
    follows = {tensor.op for tensor in inputs}
    begins = set(follows)
    for op in graph.get_operations():
        if any(tensor.op in follows for tensor in op.inputs):
            follows.add(op)
    wanted, stack = set(), [tensor.op for tensor in outputs]
    while stack:
        op = stack.pop()
        if op in follows and op not in wanted:
            wanted.add(op)
            stack += [tensor.op for tensor in op.inputs]
    return [op for op in graph.get_operations() if op in wanted - begins]


class _Builder:
    """The nodes and constants of an ONNX graph that is being made.

    Attributes:
      constants: tensors whose values become constants, by name.
      made: constants that no tensor has, such as a shape in int64.
      changes: what becomes of a constant's value, by name.
    """

    def __init__(self, needed: list[tf.Operation], inputs: Mapping[str, tf.Tensor]) -> None:
        # By name: a tensor itself is no key in every version of TensorFlow.
        self._follows = {tensor.name for op in needed for tensor in op.outputs}
        self._inputs = {tensor.name: name for name, tensor in inputs.items()}
        self.nodes: list[Any] = []
        self.constants: dict[str, tf.Tensor] = {}
        self.made: dict[str, np.ndarray] = {}
        self.changes: dict[str, Callable[[np.ndarray], np.ndarray]] = {}

    def is_constant(self, tensor: tf.Tensor) -> bool:
        """Whether a tensor follows from no input."""
        return tensor.name not in self._follows and tensor.name not in self._inputs

    def name(
        self, tensor: tf.Tensor, change: Callable[[np.ndarray], np.ndarray] | None = None
    ) -> str:
        """The name of a tensor in ONNX; of a constant after a `change` of its value."""
        if not self.is_constant(tensor):
            return self._inputs.get(tensor.name, tensor.name)
        name = tensor.name if change is None else f"{tensor.name}/changed"
        self.constants[name] = tensor
        self.changes[name] = change or np.asarray
        return name

    def value(self, name: str, value: Any, dtype: Any = np.int64) -> str:
        """Makes a constant."""
        self.made[name] = np.asarray(value, dtype)
        self.changes[name] = np.asarray
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Adds an operation; returns the name of its output."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output


def _add(builder: _Builder, op: tf.Operation) -> None:
    if op.type in _SAME:
        names = [builder.name(tensor) for tensor in op.inputs]
        builder.node(_SAME[op.type], names, op.outputs[0].name)
        return
    if op.type not in _OTHERS:
        raise RunError(
            f"the operation {op.type} ({op.name}) is not one that is exported to ONNX; export a "
            "SavedModel"
        )
    _OTHERS[op.type](builder, op)


def _convolve(builder: _Builder, op: tf.Operation) -> None:
    images, kernel = op.inputs
    _expect(op, builder.is_constant(kernel), "a kernel that follows from the images")
    _expect(op, list(op.get_attr("dilations")) == [1, 1, 1, 1], "dilations")
    height, width, channels, _ = kernel.shape.as_list()
    weights = builder.name(kernel, lambda value: value.transpose(3, 2, 0, 1))
    groups = images.shape[-1] // channels
    _channels_first(builder, op, "Conv", [height, width], weights, group=groups)


def _pool(builder: _Builder, op: tf.Operation, *, kind: str) -> None:
    _, height, width, _ = op.get_attr("ksize")
    _channels_first(builder, op, kind, [height, width])


def _channels_first(
    builder: _Builder,
    op: tf.Operation,
    kind: str,
    window: list[int],
    *more: str,
    **attributes: Any,
) -> None:
    """Adds an operation on [N,C,H,W] for one of TensorFlow's on [N,H,W,C]."""
    _expect(op, op.get_attr("data_format") == b"NHWC", "images [N,C,H,W]")
    strides = list(op.get_attr("strides")[1:3])
    output = op.outputs[0].name
    first = builder.node(
        "Transpose", [builder.name(op.inputs[0])], f"{output}/first", perm=_TO_CHANNELS_FIRST
    )
    done = builder.node(
        kind,
        [first, *more],
        f"{output}/done",
        kernel_shape=window,
        strides=strides,
        pads=_pads(op, window, strides),
        **attributes,
    )
    builder.node("Transpose", [done], output, perm=_TO_CHANNELS_LAST)


def _pads(op: tf.Operation, window: list[int], strides: list[int]) -> list[int]:
    """The rows and columns that are added: at the top and left, then at the bottom and right."""
    padding = op.get_attr("padding")
    if padding == b"VALID":
        return [0, 0, 0, 0]
    _expect(op, padding == b"SAME", f"padding {padding.decode()}")
    sizes = op.inputs[0].shape.as_list()[1:3]
    _expect(op, None not in sizes, "images of an unknown size")
    steps = [-(-size // stride) for size, stride in zip(sizes, strides, strict=True)]
    added = [
        max((count - 1) * stride + width - size, 0)
        for count, stride, width, size in zip(steps, strides, window, sizes, strict=True)
    ]
    return [*(each // 2 for each in added), *(each - each // 2 for each in added)]


def _multiply(builder: _Builder, op: tf.Operation) -> None:
    transposed = [op.get_attr(name) for name in ("transpose_a", "transpose_b")]
    _expect(op, not any(transposed), "a transposed matrix")
    builder.node("MatMul", [builder.name(each) for each in op.inputs], op.outputs[0].name)


def _add_bias(builder: _Builder, op: tf.Operation) -> None:
    _expect(op, op.get_attr("data_format") == b"NHWC", "images [N,C,H,W]")
    builder.node("Add", [builder.name(each) for each in op.inputs], op.outputs[0].name)


def _reshape(builder: _Builder, op: tf.Operation) -> None:
    shape = _static(op, 1)
    _expect(op, 0 not in shape, "a shape with a 0")
    to = builder.value(f"{op.outputs[0].name}/shape", shape)
    builder.node("Reshape", [builder.name(op.inputs[0]), to], op.outputs[0].name)


def _reduce(builder: _Builder, op: tf.Operation, *, kind: str) -> None:
    output, axes = op.outputs[0].name, np.atleast_1d(_static(op, 1))
    if not axes.size:
        builder.node("Identity", [builder.name(op.inputs[0])], output)
        return
    names = [builder.name(op.inputs[0]), builder.value(f"{output}/axes", axes)]
    builder.node(kind, names, output, keepdims=int(op.get_attr("keep_dims")))


def _slice(builder: _Builder, op: tf.Operation) -> None:
    for name in ("ellipsis_mask", "new_axis_mask"):
        _expect(op, not op.get_attr(name), name)
    begin, end, strides = (np.array(_static(op, place)) for place in (1, 2, 3))
    _expect(op, (strides > 0).all(), "steps backwards")
    dropped = []
    for axis in range(len(begin)):
        if op.get_attr("begin_mask") >> axis & 1:
            begin[axis] = 0
        if op.get_attr("shrink_axis_mask") >> axis & 1:
            dropped.append(axis)
            end[axis] = begin[axis] + 1 if begin[axis] != -1 else np.iinfo(end.dtype).max
        elif op.get_attr("end_mask") >> axis & 1:
            end[axis] = np.iinfo(end.dtype).max
    output = op.outputs[0].name
    parts = {"begin": begin, "end": end, "axes": np.arange(len(begin)), "steps": strides}
    names = [builder.value(f"{output}/{name}", value) for name, value in parts.items()]
    cut = f"{output}/cut" if dropped else output
    builder.node("Slice", [builder.name(op.inputs[0]), *names], cut)
    if dropped:
        builder.node("Squeeze", [cut, builder.value(f"{output}/dropped", dropped)], output)


def _pad(builder: _Builder, op: tf.Operation) -> None:
    output, added = op.outputs[0].name, np.array(_static(op, 1))
    names = [builder.name(op.inputs[0]), builder.value(f"{output}/pads", added.T.ravel())]
    builder.node("Pad", names, output)


def _concatenate(builder: _Builder, op: tf.Operation) -> None:
    *parts, _ = op.inputs
    axis = int(_static(op, len(parts)))
    builder.node("Concat", [builder.name(each) for each in parts], op.outputs[0].name, axis=axis)


def _limit(builder: _Builder, op: tf.Operation, *, kind: str) -> None:
    """The smaller or larger of two; with a number Clip, which onnxruntime computes faster."""
    given, limit = op.inputs
    names = [builder.name(given), builder.name(limit)]
    if builder.is_constant(limit) and limit.shape == []:
        names, kind = (names if kind == "Max" else [names[0], "", names[1]]), "Clip"
    builder.node(kind, names, op.outputs[0].name)


def _cast(builder: _Builder, op: tf.Operation) -> None:
    to = _element_type(op.outputs[0])
    builder.node("Cast", [builder.name(op.inputs[0])], op.outputs[0].name, to=to)


def _argmax(builder: _Builder, op: tf.Operation) -> None:
    _expect(op, op.outputs[0].dtype == tf.int64, "numbers of classes in int32")
    axis = int(_static(op, 1))
    builder.node("ArgMax", [builder.name(op.inputs[0])], op.outputs[0].name, axis=axis, keepdims=0)


def _softmax(builder: _Builder, op: tf.Operation) -> None:
    builder.node(op.type, [builder.name(op.inputs[0])], op.outputs[0].name, axis=-1)


def _static(op: tf.Operation, place: int) -> Any:
    """The value of an input that has to be known while the graph is written."""
    value = tf.get_static_value(op.inputs[place])
    _expect(op, value is not None, "a shape or axis that follows from the images")
    return value


def _expect(op: tf.Operation, holds: bool, what: str) -> None:
    if not holds:
        raise RunError(
            f"the operation {op.type} ({op.name}) has {what}, which is not exported to ONNX; "
            "export a SavedModel"
        )


_SAME = {
    **dict.fromkeys(("Add", "AddV2"), "Add"),
    **dict.fromkeys(("Identity", "StopGradient"), "Identity"),
    **{name: name for name in ("Abs", "Elu", "Equal", "Exp", "Greater", "Less", "Log", "Mul")},
    **{name: name for name in ("Neg", "Pow", "Relu", "Selu", "Sigmoid", "Softplus", "Sqrt")},
    **{name: name for name in ("Sub", "Tanh")},
    "GreaterEqual": "GreaterOrEqual",
    "LessEqual": "LessOrEqual",
    "LogicalAnd": "And",
    "LogicalNot": "Not",
    "LogicalOr": "Or",
    "RealDiv": "Div",
    "SelectV2": "Where",
}
_OTHERS: dict[str, Callable[[_Builder, tf.Operation], None]] = {
    "ArgMax": _argmax,
    "AvgPool": functools.partial(_pool, kind="AveragePool"),
    "BiasAdd": _add_bias,
    "Cast": _cast,
    "ConcatV2": _concatenate,
    "Conv2D": _convolve,
    "MatMul": _multiply,
    "Max": functools.partial(_reduce, kind="ReduceMax"),
    "Maximum": functools.partial(_limit, kind="Max"),
    "MaxPool": functools.partial(_pool, kind="MaxPool"),
    "Mean": functools.partial(_reduce, kind="ReduceMean"),
    "Min": functools.partial(_reduce, kind="ReduceMin"),
    "Minimum": functools.partial(_limit, kind="Min"),
    "Pad": _pad,
    "Reshape": _reshape,
    **dict.fromkeys(("LogSoftmax", "Softmax"), _softmax),
    "StridedSlice": _slice,
    "Sum": functools.partial(_reduce, kind="ReduceSum"),
}


def _element_type(tensor: tf.Tensor) -> int:
    from onnx import helper

    return helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype.as_numpy_dtype))


def _value_info(name: str, tensor: tf.Tensor) -> Any:
    from onnx import helper

    sizes = tensor.shape.as_list()[1:]
    return helper.make_tensor_value_info(name, _element_type(tensor), ["N", *sizes])


def _initializer(name: str, value: np.ndarray) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.ascontiguousarray(value), name)
