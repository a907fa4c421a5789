"""Which images a request may have, and how they are brought to the scale of the data."""

from __future__ import annotations

import numpy as np
import pytest
from support.server import SHAPE, Server

from mnist_estimator.compat import tf, v1
from mnist_estimator.data import records
from mnist_estimator.data.manifest import TrainedOn
from mnist_estimator.serving import pixels


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


@pytest.mark.parametrize("pixel", [np.nan, np.inf, -0.42, -1e-6, 1.004, 1.4, 2, 16, 33, 249, 1e9])
def test_a_graph_that_knows_no_errors_marks_what_is_one(server: Server, pixel: float):
    images = server.images() / np.float32(server.white)
    images[1, 2, 2] = pixel
    data = TrainedOn(SHAPE, 2, ("a", "b"), server.white, "digit", "0" * 64)
    with tf.Graph().as_default(), v1.Session() as session:
        scaled, fits = session.run(pixels.without_errors(tf.constant(images), data))
    assert fits.tolist() == [
        place != 1 or is_answered(server, images) for place in range(len(images))
    ]
    others = np.arange(len(images)) != 1
    expected = images[others] * np.float32(server.white)
    np.testing.assert_allclose(scaled[others], expected, rtol=1e-6)


@pytest.mark.parametrize("pixel", [0, 2, 3, 32, 33, 200, 201, 255])
def test_a_graph_that_knows_no_errors_marks_bytes_too_bright(server: Server, pixel: int):
    images = server.images()
    images[1, 2, 2] = pixel
    data = TrainedOn(SHAPE, 2, ("a", "b"), server.white, "digit", "0" * 64)
    with tf.Graph().as_default(), v1.Session() as session:
        scaled, fits = session.run(pixels.without_errors(tf.constant(images), data))
    assert (
        fits[1] == is_answered(server, images, "serving_uint8")
        and fits[[0, *range(2, len(images))]].all()
    )
    assert scaled.tolist() == images.tolist()


def is_answered(server: Server, images: np.ndarray, name: str = "serving_default") -> bool:
    try:
        server.ask(name, images)
    except tf.errors.InvalidArgumentError:
        return False
    return True
