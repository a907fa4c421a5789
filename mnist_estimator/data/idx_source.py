"""Examples from an IDX file of images and one of labels, which are read side by side."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from mnist_estimator import InputError
from mnist_estimator.compat import tf
from mnist_estimator.data import example_arrays, splits
from mnist_estimator.data.idx import IdxError, IdxReader, items_per_chunk
from mnist_estimator.runtime import files

_SWAPPED = "write each with its highest byte first, as IDX has it"


class IdxSource:
    """Examples from an IDX file of images and one of labels; a `plan.Source`.

    Attributes:
      num_examples, image_shape: from the images' header. Images without channels have one.
      content_bytes: size of the uncompressed content by role.
      headers: of the images' and of the labels' file.
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
            self.headers = examples.headers
        sizes = (16 + self.num_examples * math.prod(self.image_shape), 8 + self.num_examples)
        self.content_bytes = dict(zip(self._roles, sizes, strict=True))

    def chunks(
        self, max_items: int, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (images uint8 [N,H,W,C], labels int64 [N]), N <= max_items; see `plan.Source`.

        Raises:
          IdxError: where a file is malformed.
        """
        with self._open(max_items) as examples:
            for images, labels in example_arrays.rows_of(iter(examples), start, stop):
                yield images.reshape(-1, *self.image_shape), labels
            self._digests = dict(zip(self._roles, examples.digests, strict=True))

    def label_chunks(self, max_items: int) -> Iterator[np.ndarray]:
        """Yields the labels alone, int64 [N], whatever they are."""
        _, path = self._paths
        with files.file_errors(path), files.reading(path) as file:
            for labels in IdxReader(file, name=path).chunks(max_items):
                yield labels.astype(np.int64).ravel()

    def digests(self) -> dict[str, str]:
        """Returns sha256 of the uncompressed content by role."""
        if not self._digests:
            for _ in self.chunks(1024):
                pass
        return self._digests

    @contextlib.contextmanager
    def _open(self, max_items: int) -> Iterator[Examples]:
        images, labels = self._paths
        with (
            files.file_errors(images),
            files.reading(images) as image_file,
            files.reading(labels) as label_file,
        ):
            yield read_examples(
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


def read_examples(
    images: BinaryIO,
    labels: BinaryIO,
    *,
    images_name: str,
    labels_name: str,
    num_classes: int | None,
    max_items: int = 1024,
) -> Examples:
    """Opens an IDX file of images and one of labels as one stream of examples.

    Args:
      images, labels: binary file objects at their start, plain or gzip; the caller closes them.
      images_name, labels_name: what errors call them.
      num_classes: labels must be less; None checks only that they are not negative.
      max_items: the most examples in a chunk.

    Raises: IdxError, here for the headers and while iterating for the rest.
    """
    image_reader = IdxReader(images, name=images_name)
    label_reader = IdxReader(labels, name=labels_name)
    _check_headers(image_reader, images_name, label_reader, labels_name)
    return Examples(image_reader, label_reader, labels_name, num_classes, max_items)


def _check_headers(
    images: IdxReader, images_name: str, labels: IdxReader, labels_name: str
) -> None:
    header, label_header = images.header, labels.header
    problem = example_arrays.images_problem(header.shape, header.dtype)
    if problem:
        raise IdxError(images_name, 0, f"{header}", problem.expected, problem.advice)
    problem = example_arrays.labels_problem(label_header.shape, label_header.dtype)
    if problem:
        raise IdxError(labels_name, 0, f"{label_header}", problem.expected, problem.advice)
    if header.shape[0] == 0:
        advice = "give files with at least one example"
        raise IdxError(images_name, 4, "0 images", "1 or more", advice)
    count = label_header.shape[0]
    if count == header.shape[-1] != header.shape[0]:
        found = f"{header} for {count} labels"
        raise IdxError(
            images_name, 4, found, "the number of images first, NxHxW", "write them in that order"
        )
    if count != header.shape[0]:
        expected = f"{header.shape[0]}, as many as {images_name} has images"
        advice = "give the two files of one set"
        raise IdxError(labels_name, 4, f"{label_header}", expected, advice)


class Examples:
    """Images and their labels, streamed: iterate once over (images, labels) chunks.

    images: uint8 [n, H, W] or [n, H, W, C], as the file has them; labels: int64 [n].
    `num_examples` and `image_shape` (H, W, C) are known before the iteration. Both files have been
    checked to their last byte only when the iteration is over.
    """

    def __init__(
        self,
        images: IdxReader,
        labels: IdxReader,
        labels_name: str,
        num_classes: int | None,
        max_items: int,
    ) -> None:
        self._images, self._labels = images, labels
        self._labels_name, self._num_classes = labels_name, num_classes
        # The two files have to be cut at the same places.
        self._max_items = min(
            items_per_chunk(reader.header, max_items) for reader in (images, labels)
        )
        shape = images.header.shape
        self.headers = (images.header, labels.header)
        self.num_examples: int = shape[0]
        self.image_shape = example_arrays.image_shape(shape)

    @property
    def digests(self) -> tuple[str, str]:
        """SHA-256 of the content, images' file and labels' file, once the iteration is over."""
        return self._images.sha256, self._labels.sha256

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        chunks = (reader.chunks(self._max_items) for reader in (self._images, self._labels))
        first = low_bits = high_bits = 0
        # strict: the second file's end is checked too, not only the first's.
        for images, labels in zip(*chunks, strict=True):
            labels = labels.reshape(-1).astype(np.int64)
            self._check_labels(labels, first)
            bits = int(np.bitwise_or.reduce(labels))
            low_bits, high_bits = low_bits | bits & 0xFF, high_bits | bits >> 8
            first += len(labels)
            yield images, labels
        if high_bits and not low_bits:
            found = f"{self._labels.header} that are all multiples of 256"
            raise IdxError(self._labels_name, self._start, found, "labels", _SWAPPED)

    def _check_labels(self, labels: np.ndarray, first: int) -> None:
        wrong = labels < 0
        if self._num_classes is not None:
            wrong |= labels >= self._num_classes
        if not wrong.any():
            return
        at = int(wrong.argmax())
        header, label = self._labels.header, int(labels[at])
        offset = self._start + (first + at) * header.item_bytes
        found = f"label {label} (example {first + at}, counted from 0)"
        expected = "0 or more" if self._num_classes is None else f"0 to {self._num_classes - 1}"
        swapped = header.dtype.itemsize > 1 and label % 256 == 0
        advice = _SWAPPED if swapped else "correct the label or the number of classes"
        raise IdxError(self._labels_name, offset, found, expected, advice)

    @property
    def _start(self) -> int:
        """Where the labels begin in their file."""
        return 4 + 4 * len(self._labels.header.shape)
