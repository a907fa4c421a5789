"""Examples from CSV, a line each: a label and pixels."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from mnist_estimator import InputError
from mnist_estimator.data import csv_columns, csv_files, csv_labels, splits
from mnist_estimator.data.csv_labels import Values, whole
from mnist_estimator.data.csv_text import CsvError, CsvText, without_blanks
from mnist_estimator.runtime import progress

_NUMBERS = re.compile(rb"(?:%b,)*%b" % (csv_labels.NUMBER, csv_labels.NUMBER))
_SAMPLE_LINES = 20
_LABEL, _BY_NAME = "_label", "_by_name"  # In roles.


def is_by_name(sources: Mapping[str, str]) -> bool:
    """Whether pixels were brought into order by the names of their columns.

    Args:
      sources: of a manifest, digests by role.
    """
    return any(_BY_NAME in role for role in sources)


def label_column_of(sources: Mapping[str, str]) -> int:
    """The index of the column of which the labels of training data were taken; 0: the first.

    Args:
      sources: of a manifest, digests by role.
    """
    found = (re.search(rf"{_LABEL}(\d+)", role) for role in sources if role.startswith("train"))
    return next((int(match[1]) for match in found if match), 0)


class CsvSource:
    """Examples from CSV files, plain or .gz, with or without a header line; a `plan.Source`.

    The label is a whole number from 0 up, a pixel one from 0 to 255; an image's pixels stand row
    by row, and the channels of a pixel side by side, unless the header's names say another order.
    The files are read once to count their lines and labels, and then again for the examples.

    Attributes:
      labels: how many lines have each label, as far as labels are whole numbers.
    """

    def __init__(
        self,
        paths: str | Sequence[str],
        *,
        role: str,
        image_shape: tuple[int, int, int] | None = None,
        num_classes: int | None = None,
        label_column: str = "",
        names: Sequence[str] = (),
    ) -> None:
        """Counts the lines.

        Args:
          paths: of one file, or of several whose examples follow each other.
          role: what the manifest calls the digest of the content.
          image_shape: (H, W, C); None: what the header says, else a square of one channel.
          num_classes: labels must be less.
          label_column: its name, "first", "last", or "" for what the header says, else the first.
          names: of the columns, for files without a header.

        Raises:
          InputError: if the files hold no examples, are not text, or do not fit each other, or if
            one of the columns is neither the label nor a pixel.
        """
        self._files = files = csv_files.CsvFiles([paths] if isinstance(paths, str) else paths)
        self.name, self._role = files.name, role
        self._max_label = (num_classes or splits.MAX_CLASSES) - 1
        text = files.first.text
        with files.first.part.errors():
            if text.num_fields == 1:
                raise _lone_field(text)
            self.names = files.names or (names if len(names) == text.num_fields else ())
            found = csv_columns.find(
                text.path, self.names, text.num_fields, label_column, image_shape
            )
        self._label, self._pixels = found.label, found.pixels
        self._count(certain=found.certain, image_shape=image_shape)
        with files.first.part.errors():
            self.image_shape = _shape(text, found.image_shape, image_shape)
        self._num_fields = math.prod(self.image_shape) + 1
        if found.warning:
            progress.warn(found.warning)
        if self.names and not files.names:
            progress.warn(
                f"{self.name}: no header; took its columns to be those of the training files"
            )

    def _count(self, *, certain: bool, image_shape: tuple[int, int, int] | None) -> None:
        first, last, between, sample = Values(), Values(), Values(), []
        num_fields = self._files.first.text.num_fields
        labels = {0: first, num_fields - 1: last}.get(self._label, between)
        for line in self._files.counted((first, last, between)):
            first.add(line[: line.find(b",")])
            last.add(line[line.rfind(b",") + 1 :])
            if labels is between:
                labels.add(_field(line, self._label))
            if not certain and len(sample) < _SAMPLE_LINES:
                sample.append(line.split(b","))
        self.num_examples, self.labels = first.lines, labels.numbers()
        if not certain:
            pixels = math.prod(image_shape) if image_shape else None
            csv_labels.check_one_hot(self.name, sample, pixels)
            csv_labels.check_first(self.name, first, last)

    def chunks(
        self, max_items: int, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (images uint8 [N,H,W,C], labels int64 [N]), N <= max_items, of start to stop.

        Files that lie before `start` are not read.

        Raises:
          InputError: at the first line that is no example.
        """
        examples = self._examples(start, stop)
        while batch := list(itertools.islice(examples, max_items)):
            labels, images = zip(*batch, strict=True)
            pixels = np.frombuffer(b"".join(images), np.uint8)
            yield pixels.reshape(-1, *self.image_shape), np.array(labels, np.int64)

    def label_chunks(self, max_items: int) -> Iterator[np.ndarray]:
        """Yields the labels alone, int64 [N], in the order of `chunks`; -1 for what is no class."""
        labels = self._labels()
        while batch := list(itertools.islice(labels, max_items)):
            yield np.array(batch, np.int64)

    def _labels(self) -> Iterator[int]:
        for file, lines in self._files.ranges():
            with file.part.errors():
                for _, line in lines:
                    label = whole(_field(line, self._label))
                    yield label if label is not None and label <= self._max_label else -1

    def _examples(self, start: int, stop: int | None) -> Iterator[tuple[int, bytes]]:
        for file, lines in self._files.ranges(start, stop):
            with file.part.errors():
                for number, line in lines:
                    yield self._parse(number, line, file.part.name)

    def digests(self) -> dict[str, str]:
        """Returns sha256 of the content by role: see `csv_files.CsvFiles.digest`.

        The role says which column is the label, unless it is the first, and whether the names of
        the others gave their order: the same file read in another way makes another dataset.
        """
        label = f"{_LABEL}{self._label}" if self._label else ""
        by_name = isinstance(self._pixels, np.ndarray) and (np.diff(self._pixels) < 0).any()
        return {self._role + label + (_BY_NAME if by_name else ""): self._files.digest}

    def _parse(self, number: int, line: bytes, path: str) -> tuple[int, bytes]:
        tight = line
        if b" " in line or b"\t" in line:
            tight = without_blanks(line)
        if tight.count(b",") == self._num_fields - 1:
            fields = _numbers(tight)
            if fields is not None and fields[self._label] <= self._max_label:
                pixels = fields[self._pixels]
                if pixels.max() <= 255:
                    return int(fields[self._label]), pixels.astype(np.uint8).tobytes()
        raise CsvError(path, number, self._problem(line))

    def _problem(self, line: bytes) -> str:
        fields = line.split(b",")
        if not line:
            return "found nothing, expected a label and pixels"
        for column, field in enumerate(fields):
            what, most = ("label", self._max_label) if column == self._label else ("pixel", 255)
            value = whole(field)
            found = f"field {column + 1} is {_show(field)}, expected"
            if value is None:
                return f"{found} a whole number{self._hint(column, field)}"
            if value > most:
                return f"{found} a {what} from 0 to {most}"
        return (
            f"{len(fields)} fields, expected {self._num_fields}: a label and "
            f"{_by(self.image_shape)} pixels (--image_shape)"
        )

    def _hint(self, column: int, field: bytes) -> str:
        names, text = self._files.names, field.strip().decode("utf-8", "replace")
        if names and text == names[min(column, len(names) - 1)]:
            return "; it is the header again, as where files were joined: delete the line"
        if csv_labels.is_fraction(field) and column != self._label:
            return "; multiply pixels from 0 to 1 by 255 and round them"
        if column == self._label and text[:1].isalpha():
            return "; number the classes from 0"
        return ""


def _numbers(line: bytes) -> np.ndarray | None:
    """Returns a line's whole numbers, int64; None if it holds anything else."""
    # fromstring is five times as fast as int(), but understands whatever it can.
    if not line.translate(None, b"0123456789,") and b",," not in b",%b," % line:
        return np.fromstring(line, np.int64, sep=",")
    if not _NUMBERS.fullmatch(line):
        return None
    fields = np.array(list(map(float, line.split(b","))))
    if fields.max() > 2**53 or (fields != np.floor(fields)).any():
        return None
    return fields.astype(np.int64)


def _field(line: bytes, column: int) -> bytes:
    fields = line.split(b",", column + 1)
    return fields[column] if column < len(fields) else b""


def _lone_field(text: CsvText) -> CsvError:
    _, line = next(text.lines())
    return CsvError(
        text.path,
        text.first_line,
        f"found one field, {_show(line)}, expected a label and pixels, with commas between; delete "
        "lines that are no examples",
    )


def _shape(
    text: CsvText, named: tuple[int, int, int] | None, asked: tuple[int, int, int] | None
) -> tuple[int, int, int]:
    """The images' shape: as the user asks, as the columns' names say, or a square."""
    shape = asked or named or _square(text)
    if named and named != shape:
        raise InputError(
            f"{text.path}: its columns are named for images of {_by(named)}, expected "
            f"{_by(shape)} (--image_shape)"
        )
    return shape


def _square(text: CsvText) -> tuple[int, int, int]:
    pixels = text.num_fields - 1
    if _is_square(pixels):
        return math.isqrt(pixels), math.isqrt(pixels), 1
    also = ""
    if pixels > 3 and _is_square(pixels + 1):
        also = f" ({pixels + 1} would be one: does each line have a label?)"
    elif pixels > 3 and _is_square(pixels - 1):
        also = f" ({pixels - 1} would be one: is there an index beside the label?)"
    third = math.isqrt(pixels // 3)
    example = f"{third},{third},3" if third * third * 3 == pixels else "H,W,C"
    raise CsvError(
        text.path,
        text.first_line,
        f"{pixels} fields after the label, expected a square number of pixels{also}; "
        f"say what they are with --image_shape={example}",
    )


def _is_square(number: int) -> bool:
    return math.isqrt(number) ** 2 == number


def _by(shape: tuple[int, int, int]) -> str:
    return "x".join(map(str, shape))


def _show(field: bytes) -> str:
    text = ascii(field.decode("utf-8", "replace"))
    return text if len(text) <= 40 else f"{text[:37]}..."
