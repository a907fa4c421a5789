"""Each operation gives in ONNX what it gives in TensorFlow; what is not exported is named."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from mnist_estimator import RunError
from mnist_estimator.compat import tf, v1
from mnist_estimator.serving import onnx_graph

SHAPE = (5, 6, 4)
GENERATOR = np.random.default_rng(0)
KERNEL = GENERATOR.normal(size=[3, 2, 4, 6]).astype(np.float32)
GROUPED = GENERATOR.normal(size=[3, 2, 2, 6]).astype(np.float32)
MATRIX = GENERATOR.normal(size=[120, 3]).astype(np.float32)
# Not all above zero, nor all below: what a function does on one side only would not be seen.
IMAGES = GENERATOR.normal(size=[3, *SHAPE]).astype(np.float32)


def flat(x):
    return tf.reshape(x, [-1, 120])


CASES = {
    "conv same": lambda x: tf.nn.conv2d(x, KERNEL, 1, "SAME"),
    "conv strided": lambda x: tf.nn.conv2d(x, KERNEL, [1, 2, 3, 1], "SAME"),
    "conv valid": lambda x: tf.nn.conv2d(x, KERNEL, 1, "VALID"),
    "conv in groups": lambda x: tf.nn.conv2d(x, GROUPED, 1, "SAME"),
    "max pool": lambda x: tf.nn.max_pool2d(x, 2, 2, "SAME"),
    "max pool valid": lambda x: tf.nn.max_pool2d(x, [2, 3], 1, "VALID"),
    "mean pool": lambda x: tf.nn.avg_pool2d(x, 2, 2, "SAME"),
    "bias": lambda x: tf.nn.bias_add(x, KERNEL[0, 0, :, 0]),
    "dense": lambda x: tf.matmul(flat(x), MATRIX),
    "softmax": lambda x: tf.nn.softmax(x),
    "class": lambda x: tf.argmax(flat(x), axis=1),
    "mean": lambda x: tf.reduce_mean(x, axis=[1, 2]),
    "mean of no axis": lambda x: tf.reduce_mean(x, axis=[]),
    "largest": lambda x: tf.reduce_max(x, axis=-1, keepdims=True),
    "least": lambda x: tf.reduce_min(x, axis=[1, 2, 3]),
    "sum": lambda x: tf.reduce_sum(x, axis=3),
    "pad": lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 3], [1, 0]]),
    "part": lambda x: x[:, 1:-1, ::2],
    "row": lambda x: x[:, 2, -1],
    "join": lambda x: tf.concat([x, x[:, :2]], axis=1),
    "choose": lambda x: tf.where(x <= 0.5, x, 2.0),
    "logic": lambda x: tf.cast(((x >= 0) & (x <= 1)) | ~(x <= 2), tf.int64),
    "comparisons": lambda x: tf.cast((x > 1) | (x < -1) | tf.equal(x, x[:, :1]), tf.int64),
    "limits": lambda x: tf.clip_by_value(x, -0.5, 0.5),
    "the larger of two": lambda x: tf.maximum(tf.minimum(x, KERNEL[0, 0, :, 0]), x[:, :1]),
    "arithmetic": lambda x: -(x * 2 + 1) / (tf.abs(x) + 3) - tf.exp(x),
    "roots": lambda x: tf.sqrt(tf.abs(x)) ** 3 + tf.math.log(tf.abs(x) + 1),
    "activations": lambda x: tf.nn.relu(x) + tf.nn.elu(x) + tf.nn.selu(x) + tf.nn.softplus(x),
    "more activations": lambda x: tf.tanh(x) + tf.sigmoid(x) + tf.stop_gradient(x),
    "weights alone": lambda x: x * tf.math.rsqrt(tf.constant([1.0, 2, 3, 4]) + 1e-3),
}


def converted(build) -> tuple[onnx.ModelProto, np.ndarray]:
    with tf.Graph().as_default(), v1.Session() as session:
        images = v1.placeholder(tf.float32, [None, *SHAPE])
        output = build(images)
        graph = onnx_graph.convert({"images": images}, {"output": output}, session)
        expected = session.run(output, {images: IMAGES})
    opset = helper.make_opsetid("", onnx_graph.OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=onnx_graph.IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model, expected


@pytest.mark.smoke
@pytest.mark.parametrize("build", CASES.values(), ids=CASES)
def test_an_operation_gives_what_it_gives_in_tensorflow(build):
    model, expected = converted(build)
    (found,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"images": IMAGES})
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_what_follows_from_weights_alone_is_a_constant():
    model, _ = converted(CASES["weights alone"])
    assert [node.op_type for node in model.graph.node] == ["Mul", "Identity"]
    assert len(model.graph.initializer) == 1


def test_a_variable_is_a_constant_with_its_value():
    with tf.Graph().as_default(), v1.Session() as session:
        images = v1.placeholder(tf.float32, [None, 2])
        weight = v1.get_variable("weight", initializer=[3.0, 4.0], use_resource=True)
        session.run(v1.global_variables_initializer())
        graph = onnx_graph.convert({"x": images}, {"y": images * weight}, session)
    (constant,) = graph.initializer
    assert onnx.numpy_helper.to_array(constant).tolist() == [3, 4]


@pytest.mark.parametrize(
    ("build", "line"),
    [
        (lambda x: tf.cumsum(x), r"operation Cumsum \(.*\) is not one that is exported to ONNX"),
        (lambda x: tf.nn.conv2d(x, KERNEL, 1, "SAME", dilations=2), "Conv2D .* has dilations"),
        (lambda x: tf.nn.conv2d(x, x[0, :3, :2, :, None], 1, "SAME"), "StridedSlice .* new_axis"),
        (lambda x: tf.matmul(flat(x), MATRIX.T, transpose_b=True), "has a transposed matrix"),
        (lambda x: tf.reshape(x, [tf.shape(x)[0], 120]), "Shape|follows from the images"),
        (lambda x: x[:, ::-1], "has steps backwards"),
        (lambda x: tf.argmax(x, axis=1, output_type=tf.int32), "numbers of classes in int32"),
    ],
)
def test_what_is_not_exported_is_named(build, line):
    with pytest.raises(RunError, match=line):
        converted(build)
