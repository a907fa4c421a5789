"""Parquet files, opened by pyarrow on any filesystem, and their rows in batches.

What a file declares is compared with its size before anything is read. Rows are read batch by batch
and columns in pieces, so the memory does not grow with the file.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

from mnist_estimator import InputError
from mnist_estimator.runtime import file_kinds, files

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

_MAGIC, _ENCRYPTED = b"PAR1", b"PARE"
_MAX_FOOTER_BYTES = 2**27
# What all columns together may hold of a file's bytes before they are decoded.
_BUFFER_BYTES, _LEAST_BUFFER_BYTES, _MOST_BUFFER_BYTES = 2**26, 2**14, 2**22


@contextlib.contextmanager
def opened(path: str) -> Iterator[pyarrow.parquet.ParquetFile]:
    """Opens a Parquet file; what is wrong with it, then and while it is read, is one line.

    Raises:
      InputError: if pyarrow is not there, or if the file cannot be read or is no Parquet file.
    """
    arrow, parquet = _import(path)
    with files.file_errors(path), files.reading(path) as file, _arrow_errors(path, arrow):
        size = _check_ends(path, file)
        source = arrow.PythonFile(_Reader(file), mode="r")
        metadata = parquet.ParquetFile(source, pre_buffer=False).metadata
        _check_rows(path, metadata, size)
        buffer = _BUFFER_BYTES // max(metadata.num_columns, 1)
        yield parquet.ParquetFile(
            source,
            metadata=metadata,
            buffer_size=min(max(buffer, _LEAST_BUFFER_BYTES), _MOST_BUFFER_BYTES),
            pre_buffer=False,
            page_checksum_verification=True,
        )


def batches(
    file: pyarrow.parquet.ParquetFile,
    path: str,
    columns: Sequence[str],
    max_rows: int,
    start: int = 0,
    stop: int | None = None,
) -> Iterator[tuple[int, pyarrow.RecordBatch]]:
    """Yields (number of its first row, batch of at most max_rows) of the rows from start to stop.

    Row groups that lie before `start` or behind `stop` are not read.

    Args:
      columns: names of columns, or of fields in them as `image.bytes`.

    Raises:
      InputError: if a row group has other rows than it declares.
    """
    stop, first = file.metadata.num_rows if stop is None else stop, 0
    for group in range(file.metadata.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        low, high = max(start - first, 0), min(stop - first, rows)
        if low < high:
            found = file.iter_batches(max_rows, [group], list(columns), use_threads=False)
            yield from _cut(path, group, found, first, rows, (low, high))
        first += rows


def _cut(
    path: str,
    group: int,
    found: Iterator[pyarrow.RecordBatch],
    first: int,
    rows: int,
    wanted: tuple[int, int],
) -> Iterator[tuple[int, pyarrow.RecordBatch]]:
    """What is wanted of a row group's batches."""
    seen, (low, high) = 0, wanted
    for batch in found:
        skipped = max(low - seen, 0)
        part = batch.slice(skipped, max(min(high - seen, batch.num_rows) - skipped, 0))
        if part.num_rows:
            yield first + seen + skipped, part
        seen += batch.num_rows
        if seen >= high and high < rows:
            return
    if seen != rows:
        raise InputError(
            f"{path}: row group {group} has {seen:,} rows and declares {rows:,}; get the file again"
        )


class _Reader(io.RawIOBase):
    """A file that pyarrow may read and close; the one below stays open for who opened it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._file.seek(offset, whence)
        return self._file.tell()

    def tell(self) -> int:
        return self._file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def _import(path: str) -> tuple[Any, Any]:
    """Returns pyarrow and its module for Parquet."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(
            f"{path}: Parquet files are read by pyarrow, which cannot be imported ({error}); "
            "install it with pip install 'mnist_estimator[parquet]'"
        ) from None
    return pyarrow, pyarrow.parquet


@contextlib.contextmanager
def _arrow_errors(path: str, arrow: Any) -> Iterator[None]:
    try:
        yield
    except (arrow.ArrowException, OSError, MemoryError, UnicodeError, OverflowError) as error:
        # Those of a filesystem have a number, those of pyarrow's own do not.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        line = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        raise InputError(
            f"{path}: cannot be read as Parquet ({line}); get the file again, or write it anew"
        ) from None


def _check_ends(path: str, file: IO[bytes]) -> int:
    """Returns the size of a file that begins and ends as Parquet does."""
    start = file.read(512)
    file.seek(0, io.SEEK_END)
    size = file.tell()
    if not start.startswith((_MAGIC, _ENCRYPTED)):
        raise InputError(f"{path}: found {_kind(start)}, expected a Parquet file")
    file.seek(max(size - 8, 0))
    end = file.read(8)
    file.seek(0)
    if _ENCRYPTED in (start[:4], end[4:]):
        raise InputError(f"{path}: is encrypted, expected a Parquet file that is not")
    if size < 12 or end[4:] != _MAGIC:
        raise InputError(f"{path}: a Parquet file that is cut off; get the file again")
    footer = int.from_bytes(end[:4], "little")
    if footer > min(size - 12, _MAX_FOOTER_BYTES):
        raise InputError(
            f"{path}: declares {footer:,} bytes about its columns and has {size:,} in all, "
            f"expected at most {_MAX_FOOTER_BYTES:,}; get the file again"
        )
    return size


def _check_rows(path: str, metadata: pyarrow.parquet.FileMetaData, size: int) -> None:
    rows = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    # An example of less than a byte says nothing.
    if metadata.num_rows != sum(rows) or min(rows, default=0) < 0 or sum(rows) > size:
        raise InputError(
            f"{path}: declares {metadata.num_rows:,} rows ({sum(rows):,} in {len(rows):,} row "
            f"groups) in {size:,} bytes; get the file again"
        )


def _kind(start: bytes) -> str:
    """What a file is that is no Parquet file, and what to do, as far as its beginning tells."""
    if not start:
        return "nothing"
    for magic, kind in _OTHERS.items():
        if start.startswith(magic):
            return kind
    if file_kinds.is_markup(start):
        return "an HTML or XML page (download it again)"
    text = start.decode("utf-8", "replace")
    is_text = all(letter.isprintable() or letter.isspace() for letter in text)
    return "text (CSV goes to --train_csv)" if is_text else "something else"


_OTHERS = {
    file_kinds.GZIP: "gzip data (unpack it)",
    b"ARROW1": "an Arrow file (write it as Parquet)",
    b"PK\x03\x04": "a ZIP archive (unpack it)",
    b"\x93NUMPY": "a NumPy array",
    b"version https://git-lfs": "a pointer of Git LFS (run git lfs pull)",
}
