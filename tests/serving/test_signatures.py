"""What a server is asked, and what its signatures make of it."""

from __future__ import annotations

import math
import sys
import types

import numpy as np
import pytest
from support.exports import picture
from support.server import CLASSES, SHAPE, Server

from mnist_estimator import networks
from mnist_estimator.compat import tf, v1
from mnist_estimator.config import TrainConfig
from mnist_estimator.data.manifest import TrainedOn
from mnist_estimator.serving import signatures


@pytest.mark.parametrize("name", signatures.EXPORTED)
def test_no_images_get_no_answers(server: Server, name: str):
    forms = [np.zeros([0], object)]
    if name.startswith("serving"):
        dtype = np.uint8 if name == "serving_uint8" else np.float32
        forms = [np.zeros([0, *SHAPE], dtype), np.zeros([0, *SHAPE[:2]], dtype), np.zeros(0, dtype)]
    for form in forms:
        assert all(len(values) == 0 for values in server.ask(name, form).values())


def test_layers_compute_in_the_serving_precision():
    names = tuple(map(str, range(CLASSES)))
    data = TrainedOn(SHAPE, CLASSES, names, 255, "digit", "0" * 64)
    for precision, expected in (("float32", False), ("bfloat16", True)):
        config = TrainConfig(model="cnn", precision="bfloat16", serving_precision=precision)
        with tf.Graph().as_default() as graph:
            signatures.build(signatures.EXPORTED, config.model_params(data), data)
            halves = [
                op.name
                for op in graph.get_operations()
                for tensor in op.outputs
                if tensor.dtype.base_dtype == tf.bfloat16
            ]
            assert bool(halves) == expected


def test_a_network_of_a_user_may_draw_its_start(monkeypatch):
    """With a seed; without one TensorFlow refuses that, once operations are deterministic."""
    module = types.ModuleType("mine")
    module.network = lambda images, *, num_classes, **_: tf.matmul(
        networks.flatten(images), v1.get_variable("w", [math.prod(SHAPE), num_classes])
    )
    monkeypatch.setitem(sys.modules, "mine", module)
    data = TrainedOn(SHAPE, CLASSES, tuple(map(str, range(CLASSES))), 255, "digit", "0" * 64)
    params = TrainConfig(model="mine:network", seed=3).model_params(data)
    starts = []
    for _ in range(2):
        with tf.Graph().as_default(), v1.Session() as session:
            signatures.build(["serving_default"], params, data)
            session.run(v1.global_variables_initializer())
            starts.append(session.run(v1.trainable_variables()[0]))
    np.testing.assert_array_equal(*starts)


@pytest.mark.parametrize(
    ("shape", "brightest", "scale"),
    [
        ((9, 7, 3), 255, 1),
        ((9, 7, 4), 200, 1),
        ((9, 7, 1), 1, 255),
        ((9, 7, 3), 15, 17),
        ((9, 7, 3), 15, 1),
        ((9, 7, 1), 100, 2.55),
    ],
)
def test_pictures_have_the_scale_of_the_data(shape, brightest, scale):
    """Whether their files have it already, or use the whole range of a picture."""
    data = trained_on(shape, brightest)
    images = np.random.default_rng(0).integers(0, brightest + 1, (6, *shape), np.uint8)
    images[:, 0, 0] = brightest
    encoded = [picture(np.round(image * scale).astype(np.uint8)) for image in images]
    found = received(data, encoded)
    np.testing.assert_array_equal(found["images"], images)
    assert found["has_ink"].all() and not found["problem"].astype(bool).any()


def test_no_picture_has_as_many_channels():
    found = received(trained_on((9, 7, 12), 255), [picture(np.zeros([9, 7, 3], np.uint8))])
    assert found["images"].shape == (1, 9, 7, 12)
    assert found["problem"].tolist() == [b"a picture, which has no 12 channels, as the images have"]


def trained_on(shape: tuple[int, int, int], brightest_pixel: int) -> TrainedOn:
    return TrainedOn(shape, 2, ("a", "b"), brightest_pixel, "plain", "")


def received(data: TrainedOn, encoded: list[bytes]) -> dict[str, np.ndarray]:
    with tf.Graph().as_default(), v1.Session() as session:
        received = signatures.RECEIVERS[signatures.PREDICT_IMAGES](data)
        fed = {received.inputs[signatures.IMAGE_BYTES]: np.array(encoded, object)}
        return session.run({"images": received.images, **received.outputs}, fed)
