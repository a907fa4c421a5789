"""IDX bytes -> arrays, as a stream: the format MNIST and its successors are published in.

An IDX file is two zero bytes, a type byte, the number of dimensions, each dimension's size as a
big-endian uint32, then the elements in row-major order, big-endian. It is read from any binary file
object that has `read(n)`, plain or gzip (told apart by content, without seeking), in chunks, so the
memory does not grow with the file. A header is not trusted: one that promises 2**62 elements costs
no memory, and gzip data is never inflated past what the header declares. Whatever is wrong with a
file is an `IdxError`.

The caller opens and closes the files; their own errors (OSError, tf.errors) pass through.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from mnist_estimator import InputError
from mnist_estimator.runtime import file_kinds

_TYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
# The bytes that one read asks for, and so the most memory that a false header can cost.
_PIECE_BYTES = 1 << 20
# Small: zlib hands back a copy of what it has not used, at every read.
_GZIP_PIECE_BYTES = 1 << 16
_CHUNK_BYTES = 64 << 20
# The format allows 255; this is what every numpy this package runs on can hold.
_MAX_DIMENSIONS = 32
_MAX_BYTES = 2**63 - 1
_END = "the end of the data"
_SHORTER_THAN_FILE = "get the file again, or correct the sizes and the type byte in its header"
_GIVE_IDX = "give an IDX file, plain or gzip"
_WHOLE = "whole gzip data"


class IdxError(InputError):
    """A file that is not what it should be.

    Attributes: `name` the file; `offset` the byte where it shows, counted in the uncompressed
    content (for the gzip errors in the file as it is: where the piece that fails begins); `found`;
    `expected`; `advice` what to do.
    """

    def __init__(
        self,
        name: str,
        offset: int,
        found: str,
        expected: str,
        advice: str = "get the file again",
    ) -> None:
        super().__init__(name, offset, found, expected, advice)
        self.name, self.offset, self.found, self.expected = name, offset, found, expected
        self.advice = advice

    def __str__(self) -> str:
        where = f"found {self.found} at byte {self.offset}, expected {self.expected}"
        return f"{self.name}: {where}; {self.advice}"


@dataclass(frozen=True)
class IdxHeader:
    """What an IDX file declares: the elements' dtype, in native byte order, and the shape."""

    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def item_bytes(self) -> int:
        """The bytes of one item, an item being what the first dimension counts."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def file_bytes(self) -> int:
        """The bytes of the whole file, uncompressed."""
        return 4 + 4 * len(self.shape) + self.shape[0] * self.item_bytes

    def __str__(self) -> str:
        return f"{_by(self.shape)} {self.dtype} elements{_other_order(self.shape)}"


class IdxReader:
    """One pass over one IDX file.

    Args:
      file: a binary file object at its start; only `read(n)` is used.
      name: what errors call the file.

    Raises: IdxError, here for the header and while reading for the rest.
    """

    def __init__(self, file: BinaryIO, *, name: str) -> None:
        self._name = name
        self._content = _open_content(file, name)
        self._sha256 = hashlib.sha256()
        self._offset = 0
        self.header, self._type = self._read_header()

    @property
    def sha256(self) -> str:
        """Hex digest of the uncompressed content as far as it is read: of all of it at the end."""
        return self._sha256.hexdigest()

    def chunks(self, max_items: int) -> Iterator[np.ndarray]:
        """Yields arrays [n, *header.shape[1:]] of header.dtype, 1 <= n <= max_items.

        A chunk is also kept to 64 MiB where items are big (one item at least), so n can be less
        than max_items before the end. A file of no items has no chunks. After the last chunk the
        end of the file is checked, gzip's checksum too: the data is known to be whole once the
        iteration is over.
        """
        count = items_per_chunk(self.header, max_items)
        for first in range(0, self.header.shape[0], count):
            yield self._read_items(min(count, self.header.shape[0] - first))
        self._check_end()

    def _read_items(self, count: int) -> np.ndarray:
        """The next `count` items as an array [count, *header.shape[1:]] of header.dtype."""
        wanted = count * self.header.item_bytes
        data = self._read(wanted)
        if len(data) < wanted:
            expected = f"{self.header.file_bytes} bytes in all ({self.header})"
            raise IdxError(self._name, self._offset, _END, expected)
        array = np.frombuffer(data, self._type).astype(self.header.dtype, copy=False)
        return array.reshape(count, *self.header.shape[1:])

    def _check_end(self) -> None:
        """Raises IdxError unless the data ends here."""
        if self._read(1):
            expected = f"the end of the data ({self.header})"
            offset = self._offset - 1
            raise IdxError(self._name, offset, "more bytes", expected, _SHORTER_THAN_FILE)

    def _read_header(self) -> tuple[IdxHeader, np.dtype]:
        """The header, and the dtype of the elements as they are stored."""
        magic = self._read(4)
        if not magic:
            raise IdxError(self._name, 0, "nothing", "an IDX header")
        if magic[:2] != b"\0\0"[: len(magic)]:
            raise _not_idx(self._name, bytes(magic + self._read(508)))
        if len(magic) < 4:
            raise IdxError(self._name, len(magic), _END, "a header of 8 bytes or more")
        code, dimensions = magic[2:]
        if code not in _TYPES:
            known = ", ".join(f"0x{known:02x}" for known in _TYPES)
            raise IdxError(self._name, 2, f"type byte 0x{code:02x}", f"one of {known}")
        sizes = self._read(4 * dimensions)
        if len(sizes) < 4 * dimensions:
            expected = f"a header of {4 + 4 * dimensions} bytes"
            raise IdxError(self._name, self._offset, _END, expected)
        shape = tuple(np.frombuffer(sizes, ">u4").tolist())
        _check_dimensions(self._name, shape, _TYPES[code].itemsize)
        return IdxHeader(_TYPES[code].newbyteorder("="), shape), _TYPES[code]

    def _read(self, size: int) -> bytearray:
        """Reads `size` bytes, fewer at the end; in pieces, as a header may promise too many."""
        data = bytearray()
        while len(data) < size:
            piece = self._content.read(min(size - len(data), _PIECE_BYTES))
            if not piece:
                break
            data += piece
        self._sha256.update(data)
        self._offset += len(data)
        return data


def items_per_chunk(header: IdxHeader, max_items: int) -> int:
    """How many items of `header` make a chunk: max_items, or what fits 64 MiB, but one at least."""
    if max_items < 1:
        raise ValueError(f"max_items is {max_items}, expected 1 or more")
    return max(1, min(max_items, _CHUNK_BYTES // header.item_bytes))


def read_idx(file: BinaryIO, *, name: str) -> np.ndarray:
    """The whole of an IDX file as one array, in this machine's byte order.

    A file whose first dimension is 0 is a valid one and gives an empty array.
    """
    reader = IdxReader(file, name=name)
    array = reader._read_items(reader.header.shape[0])
    reader._check_end()
    return array


def write_idx(file: BinaryIO, array: np.ndarray) -> None:
    """Writes `array` as a plain IDX file; what `read_idx` then reads is equal to it.

    Raises ValueError for a dtype or shape that the format cannot hold.
    """
    array = np.asarray(array)
    file.write(encode_header(array.dtype, array.shape))
    file.write(array.astype(array.dtype.newbyteorder(">")).tobytes())


def encode_header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """The header of an IDX file that holds an array of this dtype and shape.

    Raises ValueError for a dtype or shape that the format cannot hold.
    """
    big_endian = dtype.newbyteorder(">")
    codes = [code for code, dtype in _TYPES.items() if dtype == big_endian]
    if not codes:
        raise ValueError(
            f"an IDX file cannot hold {dtype}; it can hold uint8, int8, int16, "
            "int32, float32 and float64"
        )
    if not 1 <= len(shape) <= _MAX_DIMENSIONS or 0 in shape[1:] or max(shape) >= 2**32:
        raise ValueError(f"an IDX file cannot hold the shape {shape}")
    return bytes([0, 0, codes[0], len(shape)]) + np.array(shape, ">u4").tobytes()


def _check_dimensions(name: str, shape: tuple[int, ...], item_size: int) -> None:
    if not 1 <= len(shape) <= _MAX_DIMENSIONS:
        expected = f"1 to {_MAX_DIMENSIONS}"
        raise IdxError(name, 3, f"{len(shape)} dimensions", expected)
    if 0 in shape[1:]:
        at = shape.index(0, 1)
        raise IdxError(name, 4 + 4 * at, f"dimension {at + 1} of size 0", "1 or more")
    if max(shape[0], 1) * math.prod(shape[1:]) * item_size > _MAX_BYTES:
        found = f"dimensions {_by(shape)}{_other_order(shape)}"
        raise IdxError(name, 4, found, "an array of less than 2**63 bytes")


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _other_order(shape: tuple[int, ...]) -> str:
    """What to add to a message where the sizes make sense only in the other byte order; else ""."""
    turned = tuple(int.from_bytes(size.to_bytes(4, "little"), "big") for size in shape)
    if max(turned) >= min(shape):
        return ""
    return f" (or {_by(turned)} with the lowest byte first; IDX has the highest first)"


def _not_idx(name: str, start: bytes) -> IdxError:
    expected = "the two zero bytes of an IDX header"
    for magic, (kind, advice) in _OTHER_FORMATS.items():
        if start.startswith(magic):
            return IdxError(name, 0, kind, expected, advice)
    if start[2:4] == b"\0\0" and start[1] in _TYPES and 1 <= start[0] <= _MAX_DIMENSIONS:
        found = f"the bytes {start[:4].hex(' ')}"
        advice = "write its header and elements with the highest byte first"
        return IdxError(name, 0, found, expected, advice)
    text = _as_text(start)
    if text is None:
        return IdxError(name, 0, f"the bytes {start[:4].hex(' ')}", expected, _GIVE_IDX)
    begin = f"that begins {text[:40]!r}"
    if file_kinds.is_html(start):
        advice = "the download went wrong: get the file again"
        return IdxError(name, 0, f"an HTML page {begin}", expected, advice)
    kind = "a Git LFS pointer" if text.startswith("version https://git-lfs") else "text"
    return IdxError(name, 0, f"{kind} {begin}", expected, _GIVE_IDX)


_DECOMPRESS = "decompress it first: IDX files are read plain or as .gz"
_OTHER_FORMATS = {
    file_kinds.GZIP: ("gzip data inside gzip data", _GIVE_IDX),
    b"PK\x03\x04": ("a zip archive", "unpack it first; an .npz goes to prepare --npz"),
    b"BZh": ("bzip2 data", _DECOMPRESS),
    b"\xfd7zXZ\x00": ("xz data", _DECOMPRESS),
    b"\x28\xb5\x2f\xfd": ("zstd data", _DECOMPRESS),
    b"\x89PNG": ("a PNG image", "folders of pictures go to prepare --image_folder"),
    b"\x93NUMPY": ("a numpy array file", "save the arrays as an .npz for prepare --npz"),
    b"MATLAB 5.0 MAT-file": ("a MATLAB file", _GIVE_IDX),
    b"\x89HDF": ("an HDF5 file", _GIVE_IDX),
    b"PAR1": ("a Parquet file", "give it to prepare by --train_parquet"),
    b"\x80\x02": ("a Python pickle", _GIVE_IDX),
    b"\x80\x03": ("a Python pickle", _GIVE_IDX),
    b"\x80\x04": ("a Python pickle", _GIVE_IDX),
    b"\x80\x05": ("a Python pickle", _GIVE_IDX),
}


def _as_text(start: bytes) -> str | None:
    """The text that `start` begins with, or None if it is not text."""
    # "replace": it may be in another encoding, or end inside a character.
    text = start.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="replace")
    readable = all(character.isprintable() or character in "\r\n\t\f" for character in text)
    return text.strip() if readable and text.count("\ufffd") <= len(text) // 4 else None


class _Plain:
    """Reads a plain file, from the first bytes on, which have been looked at already."""

    def __init__(self, file: BinaryIO, start: bytes) -> None:
        self._file, self._start = file, start
        self.offset = 0

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end only."""
        data = self._start[:size] or self._file.read(size)
        self._start = self._start[size:]
        self.offset += len(data)
        return data


class _Gunzip:
    """Reads gzip data, of several members too, and inflates no more than is asked for."""

    def __init__(self, file: _Plain, name: str) -> None:
        self._file, self._name = file, name
        self._pending = b""
        self._inflater = zlib.decompressobj(wbits=31)

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end only, when every member's checksum was right."""
        while not (self._inflater.eof and self._at_end()):
            if self._inflater.eof:
                self._inflater = zlib.decompressobj(wbits=31)
            if not self._fill():
                offset = self._file.offset
                raise IdxError(self._name, offset, "the end of the file", _WHOLE)
            data = self._inflate(size)
            if data:
                return data
        return b""

    def _fill(self, size: int = 1) -> bool:
        """Whether at least `size` bytes of gzip data are pending."""
        while len(self._pending) < size:
            data = self._file.read(_GZIP_PIECE_BYTES)
            if not data:
                return False
            self._pending += data
        return True

    def _at_end(self) -> bool:
        """After a member: whether the file ends here. Zero bytes may follow, or another member."""
        while self._fill(2) and not self._pending.strip(b"\0"):
            self._pending = b""
        self._pending = self._pending.lstrip(b"\0")
        self._fill(2)
        if self._pending and not file_kinds.is_gzip(self._pending):
            offset = self._file.offset - len(self._pending)
            expected = "the end of the file"
            raise IdxError(self._name, offset, "more bytes", expected, _SHORTER_THAN_FILE)
        return not self._pending

    def _inflate(self, size: int) -> bytes:
        offset = self._file.offset - len(self._pending)
        try:
            data = self._inflater.decompress(self._pending, size)
        except zlib.error as error:
            reason = str(error).split(": ")[-1]
            raise IdxError(self._name, offset, f"damaged gzip data ({reason})", _WHOLE) from error
        self._pending = self._inflater.unconsumed_tail or self._inflater.unused_data
        return data


def _open_content(file: BinaryIO, name: str) -> _Plain | _Gunzip:
    start = b""
    while len(start) < 2 and (more := file.read(2 - len(start))):
        start += more
    plain = _Plain(file, start)
    return _Gunzip(plain, name) if file_kinds.is_gzip(start) else plain
