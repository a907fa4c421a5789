"""IDX files of images and of their labels, read side by side as examples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from mnist_estimator.data import example_arrays
from mnist_estimator.data.idx import IdxError, IdxReader, items_per_chunk


class ImagesError(IdxError):
    """An IDX file whose elements are not images."""

    advice = "give the images here"


class LabelsError(IdxError):
    """An IDX file whose elements are not labels."""

    advice = "give the labels here"


class NoExamplesError(IdxError):
    """A well-formed IDX file with no items in it, where examples were expected."""

    advice = "give files with at least one example"


class CountMismatchError(IdxError):
    """There are more images than labels, or fewer."""

    advice = "give the two files of one set"


class LabelRangeError(IdxError):
    """A label outside the classes."""

    advice = "correct the label or the number of classes"


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
            raise LabelsError(self._labels_name, self._start, found, "labels", _SWAPPED)

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
        advice = _SWAPPED if header.dtype.itemsize > 1 and label % 256 == 0 else None
        raise LabelRangeError(self._labels_name, offset, found, expected, advice)

    @property
    def _start(self) -> int:
        """Where the labels begin in their file."""
        return 4 + 4 * len(self._labels.header.shape)


_SWAPPED = "write each with its highest byte first, as IDX has it"


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

    Raises: IdxError, by its subclasses, here for the headers and while iterating for the rest.
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
        raise ImagesError(images_name, 0, f"{header}", problem.expected, problem.advice)
    problem = example_arrays.labels_problem(label_header.shape, label_header.dtype)
    if problem:
        raise LabelsError(labels_name, 0, f"{label_header}", problem.expected, problem.advice)
    if header.shape[0] == 0:
        raise NoExamplesError(images_name, 4, "0 images", "1 or more")
    count = label_header.shape[0]
    if count == header.shape[-1] != header.shape[0]:
        found = f"{header} for {count} labels"
        raise CountMismatchError(
            images_name, 4, found, "the number of images first, NxHxW", "write them in that order"
        )
    if count != header.shape[0]:
        expected = f"{header.shape[0]}, as many as {images_name} has images"
        raise CountMismatchError(labels_name, 4, f"{label_header}", expected)
