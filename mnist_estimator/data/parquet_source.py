"""Examples from Parquet files: pictures as the Hugging Face hub stores them, or pixels."""

from __future__ import annotations

import collections
import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mnist_estimator import InputError
from mnist_estimator.data import (
    decoded_pictures,
    example_arrays,
    parquet_columns,
    parquet_files,
    plan,
    splits,
)
from mnist_estimator.data import parquet_values as values
from mnist_estimator.data.idx import IdxHeader
from mnist_estimator.data.many_files import Chained, Part, name_of
from mnist_estimator.data.parquet_columns import COLUMNS, PICTURES, Shape
from mnist_estimator.pictures import picture_files
from mnist_estimator.runtime.progress import ProgressLine, warn

if TYPE_CHECKING:
    import pyarrow
    from pyarrow.parquet import ParquetFile as _File

_PICTURES_AT_ONCE = 64  # Each may take megabytes.


class ParquetSource:
    """Examples from one Parquet file; a `plan.Source`, but that `Table` has the digests.

    Its labels, and of pictures also their headers, are read once before; then all again.

    Attributes:
      layout: which columns it has the examples in.
      labels: how many rows have each label.
    """

    def __init__(
        self,
        path: str,
        *,
        image_shape: Shape | None = None,
        num_classes: int | None = None,
        label_column: str = "",
        digest: hashlib._Hash | None = None,
    ) -> None:
        """Reads the labels and the headers of the pictures.

        Args:
          image_shape: (H, W, C); None: as all pictures have it, as the lists or the columns' names
            say, or a square of one channel.
          num_classes: labels must be less.
          label_column: its name, "first", "last", or "" for what the names say.
          digest: of the pictures as they are stored and their labels; this file's are added.

        Raises:
          InputError: if the file cannot be read, or does not hold examples.
        """
        self.name, self._num_classes = path, num_classes or splits.MAX_CLASSES
        self._asked = image_shape
        self._sizes: tuple[int, ...] = ()  # Of lists, by their first row.
        self.labels: collections.Counter[int] = collections.Counter()
        with parquet_files.opened(path) as file:
            self.num_examples = file.metadata.num_rows
            self.layout = parquet_columns.find(path, file.schema_arrow, label_column, image_shape)
            told = self.layout.image_shape
            if image_shape and told and told != image_shape:
                raise InputError(
                    f"{path}: its columns say that images are {plan.shape_text(told)}, expected "
                    f"{plan.shape_text(image_shape)} (--image_shape)"
                )
            if self.layout.kind == PICTURES:
                self.image_shape = self._look_at_pictures(file, digest)
            else:
                self.image_shape = self._shape_of_pixels(file)
                with ProgressLine() as report:
                    for labels in self._labels(file, plan.CHUNK_EXAMPLES):
                        self._count(labels, report)

    def chunks(
        self, max_items: int, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (images uint8 [N,H,W,C], labels int64 [N]), N <= max_items, of start to stop.

        Row groups that lie before `start` are not read.

        Raises:
          InputError: where the file is damaged, or a value is no pixel, picture or class.
        """
        with parquet_files.opened(self.name) as file:
            if self.layout.kind == PICTURES:
                yield from self._decoded(file, max_items, start, stop)
                return
            for _, labels, pixels in self._pixels(file, max_items, start, stop):
                yield pixels.reshape(-1, *self.image_shape), labels

    def label_chunks(self, max_items: int) -> Iterator[np.ndarray]:
        """Yields the labels alone, int64 [N], in the order of `chunks`."""
        with parquet_files.opened(self.name) as file:
            yield from self._labels(file, max_items)

    def _labels(self, file: _File, max_items: int) -> Iterator[np.ndarray]:
        columns = [self.layout.label]
        for first, batch in parquet_files.batches(file, self.name, columns, max_items):
            yield self._labels_of(batch, first)

    def _labels_of(self, batch: pyarrow.RecordBatch, first: int) -> np.ndarray:
        column = batch.column(self.layout.label)
        return values.labels(self.name, column, first, self._num_classes)

    def _count(self, labels: np.ndarray, report: ProgressLine) -> None:
        self.labels.update(labels.tolist())
        report(f"{self.name}: looked at {self.labels.total():,} rows")

    def _rows(self, file: _File, max_items: int, start: int = 0, stop: int | None = None):
        """Yields (number of the first row, batch, its labels)."""
        columns = [self.layout.label, *self.layout.read]
        for first, batch in parquet_files.batches(file, self.name, columns, max_items, start, stop):
            yield first, batch, self._labels_of(batch, first)

    def _pixels(self, file: _File, max_items: int, start: int = 0, stop: int | None = None):
        """Yields (number of the first row, labels, pixels uint8 [N, ...])."""
        for first, batch, labels in self._rows(file, max_items, start, stop):
            if self.layout.kind == COLUMNS:
                pixels = values.pixel_columns(self.name, batch, self.layout.images, first)
            else:
                column = batch.column(self.layout.images[0])
                pixels = values.pixel_lists(self.name, column, first, self._sizes)
            yield first, labels, pixels

    def _shape_of_pixels(self, file: _File) -> Shape:
        """The shape of the first image; (1, 1, 1) if there is none."""
        for _, _, pixels in self._pixels(file, 1):
            self._sizes = pixels.shape[1:]
            return self._image_shape_of(self._sizes)
        return 1, 1, 1

    def _image_shape_of(self, shape: tuple[int, ...]) -> Shape:
        """(H, W, C) of images that are stored as arrays of a shape."""
        told, size = self._asked or self.layout.image_shape, math.prod(shape)
        if len(shape) > 1:
            problem = example_arrays.images_problem((1, *shape), np.dtype(np.uint8))
            if problem:
                raise InputError(
                    f"{self.name}: lists of {plan.shape_text(shape)} pixels, expected HxW or "
                    f"HxWxC; {problem.advice}"
                )
            height, width, channels = (*shape, 1)[:3]
            found = height, width, channels
        elif told:
            found = told
        elif math.isqrt(size) ** 2 == size:
            found = math.isqrt(size), math.isqrt(size), 1
        else:
            raise InputError(
                f"{self.name}: {size} pixels a row, expected a square number of them; say what "
                "they are with --image_shape=H,W,C"
            )
        if size != math.prod(told or found) or found != (told or found):
            raise InputError(
                f"{self.name}: {plan.shape_text(shape)} pixels a row, expected images of "
                f"{plan.shape_text(told)}"
            )
        return found

    def _pictures(self, file: _File, max_items: int, start: int = 0, stop: int | None = None):
        """Yields (number of the first row, labels, encoded pictures), sound by their headers."""
        (column,) = self.layout.images
        for first, batch, labels in self._rows(file, max_items, start, stop):
            encoded = values.pictures(self.name, batch.column(column), first)
            for at, picture in enumerate(encoded):
                problem = picture_files.problem(picture)
                if problem:
                    raise InputError(f"{values.row(self.name, first + at)}: {problem}")
            yield first, labels, encoded

    def _look_at_pictures(self, file: _File, digest: hashlib._Hash | None) -> Shape:
        """Counts the labels; returns the pictures' shape, (1, 1, 1) if there are none."""
        shape = self._asked
        with ProgressLine() as report:
            for first, labels, encoded in self._pictures(file, _PICTURES_AT_ONCE):
                self._count(labels, report)
                for at, (label, picture) in enumerate(zip(labels.tolist(), encoded, strict=True)):
                    if digest:
                        digest.update(hashlib.sha256(picture).digest() + label.to_bytes(8, "big"))
                    found = self._asked or picture_files.image_shape(picture)
                    shape = shape or found
                    if found != shape:
                        raise _other_shape(values.row(self.name, first + at), found, shape)
        return shape or (1, 1, 1)

    def _decoded(self, file: _File, max_items: int, start: int, stop: int | None):
        """Yields the images and labels of pictures."""
        decode = decoded_pictures.decoder(self.image_shape)
        most = min(max_items, _PICTURES_AT_ONCE)
        for first, labels, pictures in self._pictures(file, most, start, stop):
            try:
                yield decode(pictures), labels
            except decoded_pictures.PictureError as error:
                where = values.row(self.name, first + error.at)
                raise InputError(f"{where}: cannot be decoded: {error}; save it again") from None


class Table:
    """The examples of Parquet files, one file after the other; a `plan.Source`.

    Attributes:
      labels: how many rows have each label.
      class_names: the classes' names, if the files have them.
      arrays: the same examples as a source whose digests are of the decoded images.
    """

    def __init__(
        self,
        paths: Sequence[str],
        *,
        role: str,
        image_shape: Shape | None = None,
        num_classes: int | None = None,
        label_column: str = "",
    ) -> None:
        """Looks at all files.

        Args:
          role: train or test, begins the roles of the digests. The others are as for
            `ParquetSource`.

        Raises:
          InputError: as `ParquetSource`, with the number of the file, or if the files differ in
            their columns or in the shape of their images, or have no rows.
        """
        digest = hashlib.sha256()
        options = {"num_classes": num_classes, "label_column": label_column, "digest": digest}
        parts, sources = [], []
        for number, path in enumerate(paths, 1):
            part = Part(path, number, len(paths))
            with part.errors():
                source = ParquetSource(path, image_shape=image_shape, **options)
                if source.num_examples:
                    _check_alike(source, (sources or [source])[0])
                    parts.append(part)
                    sources.append(source)
        if not sources:
            raise InputError(f"{name_of(paths)}: found no rows, expected examples")
        layout = sources[0].layout
        for doubt in layout.doubts:
            warn(f"{sources[0].name}: {doubt}")
        self.labels = sum((source.labels for source in sources), collections.Counter())
        self.class_names = layout.class_names
        headers = _headers(self.labels, sources[0].image_shape)
        self.arrays = Chained(name_of(paths), sources, parts, role=role, headers=headers)
        self.name, self.num_examples = self.arrays.name, self.arrays.num_examples
        self.image_shape = self.arrays.image_shape
        self._stored = {f"{role}_pictures": digest.hexdigest()} if layout.kind == PICTURES else {}

    def chunks(
        self, max_items: int, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (images uint8 [N,H,W,C], labels int64 [N]), N <= max_items, of start to stop."""
        return self.arrays.chunks(max_items, start, stop)

    def label_chunks(self, max_items: int) -> Iterator[np.ndarray]:
        """Yields the labels alone, int64 [N], in the order of `chunks`."""
        return self.arrays.label_chunks(max_items)

    def digests(self) -> dict[str, str]:
        """Returns sha256 of the content by role.

        Pictures are told by their files as they are stored, which needs no decoding, and pixels as
        `many_files.Chained` tells them. How rows are spread over files makes no difference.
        """
        return self._stored or self.arrays.digests()


def _headers(labels: dict[int, int], shape: Shape) -> tuple[IdxHeader, IdxHeader]:
    """Those of the IDX files that would hold the images and the labels."""
    count = sum(labels.values())
    item = shape if shape[2] > 1 else shape[:2]
    kind = np.uint8 if max(labels) <= 255 else np.int32
    images = IdxHeader(np.dtype(np.uint8), (count, *item))
    return images, IdxHeader(np.dtype(kind), (count,))


def _check_alike(source: ParquetSource, first: ParquetSource) -> None:
    """Raises InputError if two files do not have the same columns, classes and shape of images."""
    found, expected = source.layout, first.layout
    if found != expected:
        columns = [
            f"{at.images[0]!r} ({at.kind}) with label {at.label!r}" for at in (found, expected)
        ]
        raise InputError(
            f"{source.name}: the images are in column {columns[0]}, expected column {columns[1]} "
            f"as in {first.name}, and all other columns of images alike"
        )
    if found.class_names != expected.class_names:
        raise InputError(
            f"{source.name}: its classes have other names than those of {first.name}, expected the "
            "same in each file"
        )
    if source.image_shape != first.image_shape:
        raise _other_shape(source.name, source.image_shape, first.image_shape, first.name)


def _other_shape(where: str, found: Shape, expected: Shape, first: str = "") -> InputError:
    height, width, channels = max(found, expected)
    return InputError(
        f"{where}: an image of {plan.shape_text(found)}, expected {plan.shape_text(expected)} as "
        f"{f'in {first}' if first else 'before it'}; say what pictures become by "
        f"--image_shape=H,W,C, such as {height},{width},{channels}"
    )
