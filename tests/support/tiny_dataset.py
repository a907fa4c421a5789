"""A dataset whose examples can be told apart by their first pixel."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mnist_estimator.data import writer

SHAPE = (2, 3, 3)


class Arrays:
    """A source; the pixels of example i are all i mod 256."""

    def __init__(
        self, name: str, labels: np.ndarray, shape: tuple[int, ...] = SHAPE, salt: int = 0
    ):
        self.name, self.image_shape, self.labels = name, shape, np.asarray(labels, np.int64)
        self.num_examples = len(labels)
        self._salt = salt

    def chunks(self, max_items: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for first in range(0, len(self.labels), max_items):
            labels = self.labels[first : first + max_items]
            pixels = (np.arange(first, first + len(labels)) + self._salt) % 256
            images = np.empty((len(labels), *self.image_shape), np.uint8)
            images[:] = pixels.reshape(-1, 1, 1, 1)
            yield images, labels

    def digests(self) -> dict[str, str]:
        content = f"{self.labels.tolist()} {self._salt}".encode()
        return {self.name: hashlib.sha256(content).hexdigest()}


def write(data_dir: Path | str, train: int = 50, test: int = 7, salt: int = 0, **options):
    options = {"dataset": "tiny", "shards": 3, "num_classes": 5} | options
    return writer.write_dataset(
        str(data_dir),
        train=Arrays("train", np.arange(train) % 5, salt=salt),
        test=Arrays("test", np.arange(test) % 5, salt=salt) if test else None,
        **options,
    )
