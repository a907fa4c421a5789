"""Datasets that tests train on and read: of the small ones every split has its own length."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

TRAIN, VALIDATION, TEST = 70, 12, 23
CLASSES = 4


@dataclasses.dataclass
class ArraySource:
    """Examples held in arrays, as `writer.write_dataset` takes them."""

    images: np.ndarray
    labels: np.ndarray
    name: str = "arrays"

    @property
    def num_examples(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.images.shape[1:]

    def chunks(
        self, max_items: int, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        images, labels = self.images[start:stop], self.labels[start:stop]
        for first in range(0, len(labels), max_items):
            yield images[first : first + max_items], labels[first : first + max_items]

    def digests(self) -> dict[str, str]:
        return {}


def array_source(
    examples: int, *, shape: tuple[int, int, int] = (8, 8, 1), seed: int = 0, wrong_every: int = 0
):
    """Bright squares whose place tells the class, on noise: learnable, and no two alike.

    Args:
      wrong_every: of so many labels the first one is wrong; 0: none is.
    """
    generator = np.random.default_rng(seed)
    labels = generator.integers(CLASSES, size=examples)
    images = generator.integers(0, 100, size=(examples, *shape), dtype=np.uint8)
    height, width = shape[0] // 2, shape[1] // 2
    for image, label in zip(images, labels, strict=True):
        top, left = label // 2 * height, label % 2 * width
        image[top : top + height, left : left + width] += 150
    if wrong_every:
        labels[::wrong_every] = (labels[::wrong_every] + 1) % CLASSES
    return ArraySource(images, labels.astype(np.int64))


def record_header(length: int, scratch: Path) -> bytes:
    """The 12 bytes that begin a record of any length, with the right checksum of it."""
    from mnist_estimator.compat import tf

    with tf.io.TFRecordWriter(str(scratch)) as file:
        file.write(length.to_bytes(8, "little"))
    # Data that are a length, and their checksum, are what begins a record of that length.
    return scratch.read_bytes()[12:]
