"""Examples laid out by numpy are what protobuf and TensorFlow make of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mnist_estimator.compat import tf
from mnist_estimator.data import frames, records

_SHAPES = [(1, 1, 1), (28, 28, 1), (32, 32, 3), (64, 64, 1), (1, 127, 1), (1, 128, 1), (300, 70, 4)]


def _written(path: Path, images: np.ndarray, labels: np.ndarray) -> list[bytes]:
    """The same, one example at a time."""
    found = []
    for image, label in zip(images, labels.tolist(), strict=True):
        with tf.io.TFRecordWriter(str(path)) as file:
            file.write(records.encode_example(image.tobytes(), label))
        found.append(path.read_bytes())
    return found


def _encoded(images: np.ndarray, labels: np.ndarray) -> list[bytes]:
    found = frames.encode(images, labels)
    return [found.content(np.array([number])) for number in range(len(labels))]


@pytest.mark.parametrize("shape", _SHAPES, ids=str)
@pytest.mark.parametrize("labels", [[9, 0, 1], [127, 128, 0, 2**20 - 1, 16383, 16384, 128]])
def test_bytes(tmp_path: Path, shape: tuple[int, int, int], labels: list[int]):
    generator = np.random.default_rng(0)
    images = generator.integers(256, size=(len(labels), *shape), dtype=np.uint8)
    images[1], images[2] = 0, 255
    found = _encoded(images, np.array(labels))
    assert found == _written(tmp_path / "shard", images, np.array(labels))


def test_images_need_not_be_contiguous(tmp_path: Path):
    images = np.arange(2 * 5 * 7, dtype=np.uint8).reshape(2, 5, 7, 1).swapaxes(1, 2)
    labels = np.array([3, 200])
    assert _encoded(images, labels) == _written(tmp_path / "shard", images, labels)


def test_no_examples():
    found = frames.encode(np.zeros((0, 28, 28, 1), np.uint8), np.zeros(0, np.int64))
    assert len(found.rows) == len(found.sizes) == 0
    assert found.content(np.arange(0)) == b""


@pytest.mark.parametrize("labels", [[9, 0, 1, 5, 7], [127, 128, 0, 2**20 - 1, 16384]])
def test_content_of_some_in_any_order(labels: list[int]):
    images = np.random.default_rng(0).integers(256, size=(5, 4, 3, 1), dtype=np.uint8)
    each = _encoded(images, np.array(labels))
    found = frames.encode(images, np.array(labels)).content(np.array([3, 0, 4]))
    assert found == each[3] + each[0] + each[4]
