"""Lays out whole chunks of examples as the bytes of TFRecord files.

The records of a dataset differ only in their pixels and their labels, which always lie at the same
places. So protobuf encodes one record for each length of a label, and numpy fills in the others.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import struct

import numpy as np

from mnist_estimator.data import crc32c, records

_HEADER_BYTES, _FOOTER_BYTES = 12, 4
_WORD = 8  # Bytes. Where words are in one piece, `crc32c` takes less time for them.


@dataclasses.dataclass(frozen=True)
class Frames:
    """What a TFRecord file has for each example: length, record, and their checksums.

    Attributes:
      rows: uint8 [N, F], the bytes of each example, and zeros behind those of shorter ones.
      sizes: int64 [N], how many bytes each example has.
    """

    rows: np.ndarray
    sizes: np.ndarray

    def content(self, examples: np.ndarray) -> bytes:
        """The bytes of the examples with these numbers, one after another."""
        rows, sizes = self.rows[examples], self.sizes[examples]
        if (sizes < rows.shape[1]).any():
            rows = rows[np.arange(rows.shape[1]) < sizes[:, None]]
        return rows.tobytes()


def encode(images: np.ndarray, labels: np.ndarray) -> Frames:
    """Lays out examples.

    Args:
      images: uint8 [N, H, W, C].
      labels: int64 [N], 0 or more.
    """
    pixels = images.reshape(len(images), math.prod(images.shape[1:]))
    label_bytes = _varint_bytes(labels)
    kinds = np.unique(label_bytes).tolist()
    if len(kinds) == 1:
        rows = _encode(pixels, labels, kinds[0])
        return Frames(rows, np.full(len(rows), rows.shape[1]))
    places = [np.flatnonzero(label_bytes == kind) for kind in kinds]
    found = [
        _encode(pixels[of_kind], labels[of_kind], kind)
        for of_kind, kind in zip(places, kinds, strict=True)
    ]
    rows = np.zeros((len(labels), max((some.shape[1] for some in found), default=0)), np.uint8)
    sizes = np.zeros(len(labels), np.int64)
    for of_kind, some in zip(places, found, strict=True):
        rows[of_kind, : some.shape[1]], sizes[of_kind] = some, some.shape[1]
    return Frames(rows, sizes)


def _encode(pixels: np.ndarray, labels: np.ndarray, label_bytes: int) -> np.ndarray:
    """The frames of examples whose labels all take so many bytes, uint8 [N, F]."""
    count, num_pixels = pixels.shape
    before, after = _around(num_pixels, label_bytes)
    length = len(before) + num_pixels + len(after)
    frames = _aligned(count, length)
    frames[:, :_HEADER_BYTES] = np.frombuffer(_header(length), np.uint8)
    record = frames[:, _HEADER_BYTES:-_FOOTER_BYTES]
    record[:, : len(before)] = np.frombuffer(before, np.uint8)
    record[:, len(before) : -len(after)] = pixels
    record[:, -len(after) :] = np.frombuffer(after, np.uint8)
    for place in range(label_bytes):
        # Seven bits a byte, the lowest first; the highest bit says that more follow.
        more = 0x80 if place < label_bytes - 1 else 0
        record[:, place - label_bytes] = labels >> 7 * place & 0x7F | more
    checksums = crc32c.masked(record).astype("<u4")
    frames[:, -_FOOTER_BYTES:] = checksums.view(np.uint8).reshape(count, _FOOTER_BYTES)
    return frames


def _aligned(count: int, length: int) -> np.ndarray:
    """Room for frames of records of so many bytes, all of which end at a whole word."""
    front = -(_HEADER_BYTES + length) % _WORD
    used = front + _HEADER_BYTES + length + _FOOTER_BYTES
    return np.empty((count, used + -used % _WORD), np.uint8)[:, front:used]


@functools.cache
def _around(num_pixels: int, label_bytes: int) -> tuple[bytes, bytes]:
    """What a record has before and after its pixels; it ends with the bytes of its label."""
    black = bytes(num_pixels)
    record = records.encode_example(black, 2 ** (7 * label_bytes) - 1)
    # Nothing before the pixels has a zero byte: tags, lengths and the name of the feature.
    start = record.index(black)
    return record[:start], record[start + num_pixels :]


@functools.cache
def _header(length: int) -> bytes:
    """What comes before a record of so many bytes."""
    encoded = struct.pack("<Q", length)
    checksum = crc32c.masked(np.frombuffer(encoded, np.uint8)[None])
    return encoded + checksum.astype("<u4").tobytes()


def _varint_bytes(labels: np.ndarray) -> np.ndarray:
    """How many bytes protobuf takes for each label."""
    sizes = np.ones(len(labels), np.int64)
    rest = labels >> 7
    while rest.any():
        sizes += rest > 0
        rest = rest >> 7
    return sizes
