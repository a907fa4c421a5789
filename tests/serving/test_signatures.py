"""What a server is asked, and what its signatures make of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnist_estimator import RunError
from mnist_estimator.compat import tf, v1
from mnist_estimator.config import TrainConfig
from mnist_estimator.data import records
from mnist_estimator.data.manifest import TrainedOn
from mnist_estimator.data.statistics import full_scale
from mnist_estimator.serving import signatures

SHAPE, CLASSES = (6, 5, 1), 4
EVERY_SIGNATURE = [*signatures.EXPORTED]


class Server:
    """A network with random weights, trained on data whose brightest pixel is given."""

    def __init__(self, brightest_pixel: int, session: v1.Session) -> None:
        self.white, self._session = full_scale(brightest_pixel), session
        names = tuple(map(str, range(CLASSES)))
        data = TrainedOn(SHAPE, CLASSES, names, brightest_pixel, "digit", "0" * 64)
        params = TrainConfig(model="dnn", hidden_units="16").model_params(data)
        self._built = signatures.build(EVERY_SIGNATURE, params, data)
        session.run(v1.global_variables_initializer())

    def images(self) -> np.ndarray:
        """Images as the records have them, each with a brightest pixel."""
        generator = np.random.default_rng(0)
        images = generator.integers(0, self.white + 1, (3, *SHAPE)).astype(np.uint8)
        images[:, 0, 0] = self.white
        return images

    def ask(self, name: str, value: Any) -> dict[str, np.ndarray]:
        signature = self._built[name]
        (placeholder,) = signature.inputs.values()
        return self._session.run(signature.outputs, {placeholder: value})

    def probabilities(self, name: str, value: Any) -> np.ndarray:
        return self.ask(name, value)["probabilities"]


@pytest.fixture(scope="module", params=[255, 249, 100, 16, 1])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with tf.Graph().as_default(), v1.Session() as session:
        yield Server(request.param, session)


@pytest.mark.parametrize(
    ("low", "high"),
    [(0.0, 1.0), (0.0, 1.0000004), (0.0, 1.004), (0.0, 0.999), (-1e-6, 1.0)],
)
def test_there_is_no_cliff_near_1(server: Server, low: float, high: float):
    # As 255 * 0.00392157 in float32 is 1.0000004, and as resizing goes a little too far.
    images = server.images()
    fractions = np.float32(low) + images * np.float32((high - low) / server.white)
    answers = server.probabilities("serving_default", fractions)
    expected = server.probabilities("serving_uint8", images)
    np.testing.assert_allclose(answers, expected, rtol=0, atol=2e-3)


def test_floats_of_the_records_scale_get_the_answers_of_bytes(server: Server):
    images = server.images()
    answers = server.probabilities("serving_default", images.astype(np.float32))
    assert answers.tolist() == server.probabilities("serving_uint8", images).tolist()
    examples = [records.encode_example(image.tobytes(), 0) for image in images]
    scores = server.ask("classify", np.array(examples, object))["scores"]
    assert scores.tolist() == answers.tolist()


@pytest.mark.parametrize("pixel", [np.nan, np.inf, -np.inf, -0.42, -3, 1.4, 1.05, 256 * 1.01, 1e9])
def test_what_cannot_be_pixels_gets_no_answer(server: Server, pixel: float):
    images = server.images() / np.float32(server.white)
    images[1, 2, 2] = pixel
    with pytest.raises(tf.errors.InvalidArgumentError, match="expected pixels from 0 to 1"):
        server.ask("serving_default", images)


def test_an_answer_does_not_depend_on_the_other_images(server: Server):
    images = server.images().astype(np.float32)
    mixed = np.concatenate([images[:1] / server.white, images[1:]])
    answers = server.probabilities("serving_default", mixed)
    np.testing.assert_allclose(
        answers, server.probabilities("serving_default", images), rtol=0, atol=1e-6
    )


def test_images_of_another_scale_get_no_answer(server: Server):
    white = np.full((1, *SHAPE), 255, np.uint8)
    example = records.encode_example(white.tobytes(), 0)
    for name, asked in (
        ("serving_uint8", white),
        ("serving_default", white.astype(np.float32)),
        ("classify", np.array([example], object)),
    ):
        if server.white == 255:
            server.ask(name, asked)
        else:
            line = f"0 to {server.white}"
            with pytest.raises(tf.errors.InvalidArgumentError, match=line):
                server.ask(name, asked)


def test_an_image_may_be_a_little_brighter_than_all_others():
    with tf.Graph().as_default(), v1.Session() as session:
        server = Server(100, session)
        brighter = np.full((1, *SHAPE), 120, np.uint8)
        answers = server.probabilities("serving_uint8", brighter)
        floats = server.probabilities("serving_default", brighter.astype(np.float32))
        assert answers.tolist() == floats.tolist()


@pytest.mark.parametrize("name", EVERY_SIGNATURE)
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
            signatures.build(EVERY_SIGNATURE, config.model_params(data), data)
            halves = [
                op.name
                for op in graph.get_operations()
                for tensor in op.outputs
                if tensor.dtype.base_dtype == tf.bfloat16
            ]
            assert bool(halves) == expected


def kernel(size: int) -> None:
    v1.get_variable("kernel", [size], initializer=v1.zeros_initializer())


def test_a_network_of_another_size_than_the_checkpoint_takes_no_memory(tmp_path: Path):
    path = str(tmp_path / "model.ckpt-1")
    with tf.Graph().as_default(), v1.Session() as session:
        kernel(3)
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, path)
    line = r"cannot be restored: .*kernel of shape \[3\], expected it of shape \[1099511627776\]"
    with tf.Graph().as_default():
        kernel(2**40)
        with pytest.raises(RunError, match=line), signatures.restored(path):
            pytest.fail("restored")
