"""Examples from an IDX file of images and one of labels."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator

import numpy as np

from mnist_estimator import InputError
from mnist_estimator.compat import tf
from mnist_estimator.data import idx, idx_examples, splits
from mnist_estimator.runtime import files


class IdxSource:
    """Examples from an IDX file of images and one of labels; a `writer.Source`.

    Attributes:
      num_examples, image_shape: from the images' header. Images without channels have one.
      content_bytes: size of the uncompressed content by role.
    """

    def __init__(self, images: str, labels: str, part: str, num_classes: int | None = None) -> None:
        """Opens the headers. `part`, train or test, begins the roles of the digests.

        Raises:
          InputError: if a file cannot be read, or is not what it should be.
        """
        for path in (images, labels):
            _check_is_file(path)
        self.name = f"{images} with {labels}"
        self._paths, self._num_classes = (images, labels), num_classes
        self._roles = (f"{part}_images", f"{part}_labels")
        self._digests: dict[str, str] = {}
        with self._open(max_items=1) as examples:
            self.num_examples = examples.num_examples
            self.image_shape = examples.image_shape
        sizes = (16 + self.num_examples * math.prod(self.image_shape), 8 + self.num_examples)
        self.content_bytes = dict(zip(self._roles, sizes, strict=True))

    def chunks(self, max_items: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (images uint8 [N,H,W,C], labels int64 [N]), N <= max_items, from the start.

        Raises:
          idx.IdxError: where a file is malformed.
        """
        with self._open(max_items) as examples:
            for images, labels in examples:
                yield images.reshape(-1, *self.image_shape), labels
            self._digests = dict(zip(self._roles, examples.digests, strict=True))

    def label_chunks(self, max_items: int) -> Iterator[np.ndarray]:
        """Yields the labels alone, int64 [N], whatever they are."""
        _, path = self._paths
        with files.file_errors(path), files.reading(path) as file:
            for labels in idx.IdxReader(file, name=path).chunks(max_items):
                yield labels.astype(np.int64).ravel()

    def digests(self) -> dict[str, str]:
        """Returns sha256 of the uncompressed content by role."""
        if not self._digests:
            for _ in self.chunks(1024):
                pass
        return self._digests

    @contextlib.contextmanager
    def _open(self, max_items: int) -> Iterator[idx_examples.Examples]:
        images, labels = self._paths
        with (
            files.file_errors(images),
            files.reading(images) as image_file,
            files.reading(labels) as label_file,
        ):
            yield idx_examples.read_examples(
                image_file,
                label_file,
                images_name=images,
                labels_name=labels,
                num_classes=self._num_classes or splits.MAX_CLASSES,
                max_items=max_items,
            )


def _check_is_file(path: str) -> None:
    with files.file_errors(path):
        if not tf.io.gfile.isdir(path):
            tf.io.gfile.stat(path)
            return
        names = [name for name in tf.io.gfile.listdir(path) if not name.startswith(".")]
    inside = f"the file in it, {os.path.join(path, names[0])}" if len(names) == 1 else "a file"
    raise InputError(f"{path}: is a folder, expected an IDX file; give {inside}")
