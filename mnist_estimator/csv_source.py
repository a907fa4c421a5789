"""Examples from CSV, a line each: the label first and then the pixels."""

from __future__ import annotations

import gzip
import hashlib
import math
import re
import zlib
from collections.abc import Iterator

import numpy as np

from mnist_estimator import InputError, records, splits
from mnist_estimator.compat import tf

_BLOCK_BYTES = 2**20
_MAX_LINE_BYTES = 2**26
_SPACES = re.compile(rb"[ \t]*,[ \t]*")


class CsvError(InputError):
    """A CSV file that does not hold examples."""

    def __init__(self, path: str, line: int, problem: str) -> None:
        super().__init__(f"{path}: line {line}: {problem}")


class CsvSource:
    """Examples from one CSV file, plain or .gz, with or without a header line; a `writer.Source`.

    The label is a whole number from 0 up, a pixel one from 0 to 255; an image's pixels stand row
    by row, and the channels of a pixel side by side. The file is read once to count its lines, and
    then again for the examples.
    """

    def __init__(
        self,
        path: str,
        *,
        role: str,
        image_shape: tuple[int, int, int] | None = None,
        num_classes: int | None = None,
    ) -> None:
        """Counts the lines.

        Args:
          role: what the manifest calls the file's digest.
          image_shape: (H, W, C); None: a square of one channel.
          num_classes: labels must be less.

        Raises:
          CsvError: if the file holds no examples, or is not text.
        """
        self.name, self._role = path, role
        self._max_label = (num_classes or splits.MAX_CLASSES) - 1
        first, self.num_examples = "", 0
        for number, line in self._lines():
            first = first or (number, line.count(b","))
            self.num_examples += 1
        if not first:
            raise CsvError(path, 1, "found no examples, expected a label and pixels")
        self.image_shape = image_shape or _square(path, *first)
        self._pixels = math.prod(self.image_shape)

    def chunks(self, max_items: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (images uint8 [N,H,W,C], labels int64 [N]), N <= max_items, from the start.

        Raises:
          CsvError: at the first line that is no example.
        """
        labels, images = [], []
        for number, line in self._lines():
            label, image = self._parse(number, line)
            labels.append(label)
            images.append(image)
            if len(labels) == max_items:
                yield self._arrays(images, labels)
                labels, images = [], []
        if labels:
            yield self._arrays(images, labels)

    def digests(self) -> dict[str, str]:
        """Returns sha256 of the uncompressed content by role."""
        return {self._role: self._digest}

    def _arrays(self, images: list[bytes], labels: list[int]) -> tuple[np.ndarray, np.ndarray]:
        pixels = np.frombuffer(b"".join(images), np.uint8)
        return pixels.reshape(-1, *self.image_shape), np.array(labels, np.int64)

    def _parse(self, number: int, line: bytes) -> tuple[int, bytes]:
        tight = _SPACES.sub(b",", line.strip()) if b" " in line or b"\t" in line else line
        # fromstring is five times as fast as int(), but understands whatever it can.
        only_digits = not tight.translate(None, b"0123456789,")
        if only_digits and b",," not in b",%b," % tight and tight.count(b",") == self._pixels:
            fields = np.fromstring(tight, np.int64, sep=",")
            if fields[0] <= self._max_label and fields[1:].max() <= 255:
                return int(fields[0]), fields[1:].astype(np.uint8).tobytes()
        raise CsvError(self.name, number, self._problem(line))

    def _problem(self, line: bytes) -> str:
        fields = line.split(b",")
        if not line:
            return "found nothing, expected a label and pixels"
        for column, field in enumerate(fields, 1):
            most = self._max_label if column == 1 else 255
            what = "label" if column == 1 else "pixel"
            if not field.strip().isdigit():
                return f"field {column} is {_show(field)}, expected a whole number"
            if len(field.strip()) > 18 or int(field) > most:
                return f"field {column} is {_show(field)}, expected a {what} from 0 to {most}"
        shape = "x".join(map(str, self.image_shape))
        return (
            f"{len(fields)} fields, expected {self._pixels + 1}: a label and {shape} pixels "
            "(--image_shape)"
        )

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Yields (number from 1, line without its end) of the lines that should be examples."""
        blank = 0
        digest = hashlib.sha256()
        for number, line in enumerate(_split(self.name, _blocks(self.name, digest)), 1):
            line = line.rstrip(b"\r")
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
                fields = line.split(b",")
                if len(fields) > 1 and not any(field.strip().isdigit() for field in fields):
                    continue  # A header.
            if not line.strip():
                blank = blank or number
                continue
            if blank:  # Blank lines may only end the file.
                raise CsvError(self.name, blank, "found nothing, expected a label and pixels")
            yield number, line
        self._digest = digest.hexdigest()


def _square(path: str, number: int, pixels: int) -> tuple[int, int, int]:
    if not pixels:
        raise CsvError(path, number, "found one field, expected a label and pixels, with commas")
    side = math.isqrt(pixels)
    if side * side != pixels:
        raise CsvError(
            path,
            number,
            f"{pixels} fields after the label, expected a square number of pixels; "
            "say what they are with --image_shape=H,W,C",
        )
    return side, side, 1


def _show(field: bytes) -> str:
    text = ascii(field.decode("utf-8", "replace"))
    return text if len(text) <= 40 else f"{text[:37]}..."


def _split(path: str, blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yields lines, without their newlines; holds no more than one and a block."""
    rest, count = b"", 0
    for block in blocks:
        zero = block.find(b"\0")
        if zero >= 0:
            line = count + block.count(b"\n", 0, zero) + 1
            raise CsvError(path, line, "found a zero byte, expected text")
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
        count += len(lines)
        if len(rest) > _MAX_LINE_BYTES:
            raise CsvError(
                path, count + 1, f"more than {_MAX_LINE_BYTES} bytes, expected shorter lines"
            )
    if rest:
        yield rest


def _blocks(path: str, digest: hashlib._Hash) -> Iterator[bytes]:
    """Yields a file's content, uncompressed if it is gzip, and adds it to the digest."""
    with records.file_errors(path), tf.io.gfile.GFile(path, "rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        content = gzip.GzipFile(fileobj=file) if compressed else file
        try:
            while block := content.read(_BLOCK_BYTES):
                digest.update(block)
                yield block
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(f"{path}: its gzip data is broken: {error}; copy it again") from None
