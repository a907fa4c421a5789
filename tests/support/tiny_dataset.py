"""A dataset whose examples can be told apart by their first pixel."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mnist_estimator.compat import tf
from mnist_estimator.data import records, writer
from mnist_estimator.data.manifest import Dataset, read_manifest

SHAPE = (2, 3, 3)


class Arrays:
    """A source; the pixels of example i are all i mod 256."""

    def __init__(
        self, name: str, labels: np.ndarray, shape: tuple[int, ...] = SHAPE, salt: int = 0
    ):
        self.name, self.image_shape, self.labels = name, shape, np.asarray(labels, np.int64)
        self.num_examples = len(labels)
        self._salt = salt

    def chunks(
        self, max_items: int, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        stop = len(self.labels) if stop is None else stop
        for first in range(start, stop, max_items):
            labels = self.labels[first : min(first + max_items, stop)]
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


def read(data_dir: Path | str, split: str) -> list[list[tuple[int, int]]]:
    """(first pixel, label) of each record of each shard."""
    manifest, shards = read_manifest(str(data_dir)), []
    for path in Dataset(str(data_dir), manifest).shard_paths(split):
        shards.append([])
        for record in records.read_records(path):
            feature = tf.train.Example.FromString(record).features.feature
            (image,), (label,) = (
                feature[records.IMAGE_KEY].bytes_list.value,
                feature[records.LABEL_KEY].int64_list.value,
            )
            assert image == image[:1] * 18
            shards[-1].append((image[0], label))
    return shards


def files(folder: Path) -> dict[str, bytes]:
    """The content of the files in a folder by their names."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
