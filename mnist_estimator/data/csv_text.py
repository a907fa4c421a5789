"""The lines of a CSV file in one form, whatever program wrote it.

It reads fields with commas, semicolons, tabs, bars or spaces between them, in quotes or not; UTF-8
and, with a byte order mark, UTF-16; the line ends of every system; gzip; the head of an ARFF file.
"""

from __future__ import annotations

import codecs
import collections
import gzip
import hashlib
import itertools
import re
import zlib
from collections.abc import Iterator, Sequence

from mnist_estimator import InputError
from mnist_estimator.runtime import file_kinds, files

_BLOCK_BYTES = 2**20
_MAX_LINE_BYTES = 2**26
_QUOTED = re.compile(rb"""(["'])([^"',;\t|]*)\1""")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_EMPTY = b" \t,;|\"'"  # Excel writes rows that were deleted as separators alone.
_MISSING = {"", "?", "na", "n/a", "nan", "null", "none"}
# A line that counts up may be an example only if it is short: nobody draws such a ramp.
_LEAST_COUNTING = 10
# By its first bytes: what a file is that is no text, and what to do.
_OTHER_KINDS = {
    b"PK\x03\x04": "a ZIP archive, Excel or .npz file, expected text; unpack it, or save it as CSV",
    b"BZh": "bzip2 data, expected text or gzip; unpack it",
    b"\xfd7zXZ": "xz data, expected text or gzip; unpack it",
    b"(\xb5/\xfd": "zstd data, expected text or gzip; unpack it",
    b"PAR1": "a Parquet file, expected text; prepare reads it by --train_parquet, not as CSV",
    b"\x93NUMPY": "a NumPy array, expected text; write it with numpy.savetxt",
    b"\xd0\xcf\x11\xe0": "an Excel workbook, expected text; save it as CSV",
    b"\x89PNG": "a PNG picture, expected text with a label and pixels a line",
    b"version https://git-lfs": "a pointer of Git LFS, expected text; run git lfs pull",
}


class CsvError(InputError):
    """A CSV file that does not hold examples."""

    def __init__(self, path: str, line: int, problem: str) -> None:
        super().__init__(f"{path}: line {line}: {problem}")


class NoExamplesError(CsvError):
    """A CSV file without examples; it may have a `header` with `names`, as `CsvText` has them."""

    def __init__(self, path: str, names: Sequence[str], header: bytes) -> None:
        super().__init__(path, 1, "found no examples, expected a label and pixels")
        names = names[:-1] if names and not names[-1] else names  # Its lines end with a separator.
        self.path, self.names, self.header = path, list(names), header


class CsvText:
    """One CSV file's column names, if it has any, and its other lines.

    Attributes:
      names: the header's; none if there is no header, or one that does not name every column.
      header: the line of the names as the file has it, if it is the first line of fields.
      num_fields: how many fields the first example has.
      first_line: the number of the first example's line, from 1.
      digest: sha256 of the uncompressed content; there after the lines have been read.
    """

    def __init__(self, path: str, known_names: Sequence[str] = ()) -> None:
        """Reads as far as the second line of fields.

        Args:
          known_names: of another file's header; a first line of these is a header in any case.

        Raises:
          NoExamplesError: if the file holds no examples.
          CsvError: if it is not text.
        """
        self.path, self.digest, self.header = path, "", b""
        head = _Head(self._raw_lines(hashlib.sha256()))
        self._separator = head.separator
        rows = [_fields(line, head.separator) for _, line in head.first]
        self._trailing = _trails(rows)
        self.names, self._skip = head.names(), head.first[0][0] - 1 if rows else 0
        if rows and not self.names and (rows[0] == list(known_names) or _is_header(*rows)):
            self.names, self._skip = rows.pop(0), self._skip + 1
            self.header = head.first[0][1]
        if not rows:
            raise NoExamplesError(path, self.names, self.header)
        self.first_line = self._skip + 1
        _check_mangled(path, self.first_line, rows[0])
        self.num_fields = len(rows[0]) - self._trailing
        if len(self.names) == self.num_fields + 1 and not self.names[-1]:
            del self.names[-1]

    def lines(self, joined: hashlib._Hash | None = None) -> Iterator[tuple[int, bytes]]:
        """Yields (number from 1, line) of the lines after the header, with commas between fields.

        Args:
          joined: a digest to add these lines to, as the file has them, with a newline behind each.

        Raises:
          CsvError: at an empty line before the last example.
        """
        blank = 0
        digest = hashlib.sha256()
        for number, line in self._raw_lines(digest):
            if number <= self._skip:
                continue
            if not line.strip(_EMPTY):
                blank = blank or number
                continue
            if blank:  # Blank lines may only end the file.
                raise CsvError(self.path, blank, "found nothing, expected a label and pixels")
            if joined is not None:
                joined.update(line + b"\n")
            if self._separator != b"," or b'"' in line or b"'" in line:
                line = _with_commas(line, self._separator)
            yield number, line.removesuffix(b",") if self._trailing else line
        self.digest = digest.hexdigest()

    def _raw_lines(self, digest: hashlib._Hash) -> Iterator[tuple[int, bytes]]:
        lines = _split(self.path, _recoded(self.path, _blocks(self.path, digest)))
        for number, line in enumerate(lines, 1):
            yield number, line.rstrip(b"\r")


class _Head:
    """What stands before a file's examples, and its first two lines of fields."""

    def __init__(self, lines: Iterator[tuple[int, bytes]]) -> None:
        self.first: list[tuple[int, bytes]] = []
        self._attributes: list[str] = []
        self._comment = b""
        separator = b""
        for number, line in lines:
            start = line[:10].lower()
            if start == b"@attribute":
                self._attributes.append(_attribute(line))
            elif len(line) == 5 and start.startswith(b"sep="):  # Written for Excel.
                separator = line[4:]
            elif start.startswith(b"#"):
                self._comment = line.lstrip(b"# ")
            elif line.strip() and not start.startswith((b"%", b"@relation", b"@data")):
                self.first.append((number, line))
                if len(self.first) == 2:
                    break
        self.separator = separator or (_separator(self.first[-1][1]) if self.first else b",")

    def names(self) -> list[str]:
        """The columns' names in ARFF's attributes or a comment; none if there are none."""
        if self._attributes or not self._comment or not self.first:
            return self._attributes
        names = _fields(self._comment, self.separator)
        # A comment is a sentence, unless it names each column, as numpy.savetxt's header does.
        return names if len(names) == len(_fields(self.first[-1][1], self.separator)) else []


def without_blanks(line: bytes) -> bytes:
    """A line without the blanks at its ends and around its commas."""
    return b",".join(field.strip(b" \t") for field in line.strip().split(b","))


def _fields(line: bytes, separator: bytes) -> list[str]:
    fields = _with_commas(line, separator).decode("utf-8", "replace").split(",")
    return [field.strip(" \t\"'") for field in fields]


def _with_commas(line: bytes, separator: bytes) -> bytes:
    if b'"' in line or b"'" in line:
        line = _QUOTED.sub(rb"\2", line)
    if separator == b",":
        return line
    if separator == b" ":
        return b",".join(line.split())
    # A comma is then the decimal point, as in many countries.
    return line.translate(bytes.maketrans(b"," + separator, b".,"))


def _trails(rows: Sequence[Sequence[str]]) -> bool:
    """Whether lines end with a separator that no field follows."""
    if not rows or len(rows[-1]) < 2 or rows[-1][-1]:
        return False
    return not rows[0][-1] or len(rows[0]) == len(rows[-1]) - 1


def _separator(line: bytes) -> bytes:
    """The separator of the line's fields. Blanks around commas are no separators."""
    if b'"' in line or b"'" in line:
        line = _QUOTED.sub(rb"\2", line)
    for separator in (b";", b"|"):
        if separator in line:
            return separator
    tight = without_blanks(line)
    if b"\t" in tight:
        return b"\t"
    return b" " if b"," not in tight and b" " in tight else b","


def _is_header(fields: Sequence[str], following: Sequence[str] = ()) -> bool:
    """Whether a first line names columns: by words, or by numbers that count the columns."""
    if len(fields) < 2:
        return False
    numbers = [field for field in fields if _NUMBER.fullmatch(field)]
    words = [field for field in fields if _is_word(field)]
    if not numbers:
        return bool(words)
    if not all(field.isdigit() for field in numbers):
        return False
    if words and following and not any(map(_is_word, following)):
        return True
    if len(numbers) == len(fields) and len(fields) < _LEAST_COUNTING:
        return False
    # In any order: some programs sort the names of columns as text.
    counted = sorted(map(int, numbers))
    first, last = counted[0], counted[-1]
    return first in (0, 1) and last > first and counted == list(range(first, last + 1))


def _is_word(field: str) -> bool:
    return not _NUMBER.fullmatch(field) and field.lower() not in _MISSING


def _check_mangled(path: str, number: int, fields: Sequence[str]) -> None:
    """Raises CsvError for an example that pandas took for a header, numbering equal values."""
    copies = collections.defaultdict(list)
    for field in fields:
        value, _, copy = field.partition(".")
        if value.isdigit() and copy.isdigit():
            copies[value].append(copy)
    for value, numbers in copies.items():
        if len(numbers) > 2 and numbers == [str(n) for n in range(1, len(numbers) + 1)]:
            raise CsvError(
                path,
                number,
                f"found {value}.1, {value}.2, {value}.3: an example that pandas took for the names "
                "of columns; delete the line, or write the file from one read with header=None",
            )


def _attribute(line: bytes) -> str:
    """The name in a line of ARFF such as `@attribute 'pixel 1' numeric`."""
    rest = line.decode("utf-8", "replace")[len("@attribute") :].strip()
    quote = rest[:1]
    return rest[1:].partition(quote)[0] if quote in ("'", '"') else rest.split()[0] if rest else ""


def _split(path: str, blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yields lines, without their newlines; holds no more than one and a block."""
    rest, count, end = b"", 0, b""
    for block in blocks:
        # Old programs for the Mac, and Excel's "CSV (Macintosh)", end lines with this alone.
        end = end or (b"\r" if b"\r" in block[:-1] and b"\n" not in block else b"\n")
        zero = block.find(b"\0")
        if zero >= 0:
            line = count + block.count(end, 0, zero) + 1
            raise CsvError(path, line, "found a zero byte, expected text")
        *lines, rest = (rest + block).split(end)
        yield from lines
        count += len(lines)
        if len(rest) > _MAX_LINE_BYTES:
            raise CsvError(
                path, count + 1, f"more than {_MAX_LINE_BYTES} bytes, expected shorter lines"
            )
    if rest:
        yield rest


def _recoded(path: str, blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yields the text in UTF-8, without a byte order mark."""
    first = b""
    for block in blocks:
        first += block
        if len(first) > 3:
            break
    _check_kind(path, first)
    blocks = itertools.chain([first.removeprefix(codecs.BOM_UTF8)], blocks)
    if not first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        yield from blocks
        return
    try:
        for text in codecs.iterdecode(blocks, "utf-16"):
            yield text.encode()
    except UnicodeError as error:
        raise CsvError(path, 1, f"its UTF-16 is broken: {error}; save it as UTF-8") from None


def _check_kind(path: str, start: bytes) -> None:
    if file_kinds.is_markup(start):
        raise InputError(
            f"{path}: found an HTML or XML page, expected text with a label and pixels a line; "
            "download it again"
        )
    for kind, problem in _OTHER_KINDS.items():
        if start.lstrip().startswith(kind):
            raise InputError(f"{path}: found {problem}")


def _blocks(path: str, digest: hashlib._Hash) -> Iterator[bytes]:
    """Yields a file's content, uncompressed if it is gzip, and adds it to the digest."""
    with files.file_errors(path), files.reading(path) as file:
        compressed = file_kinds.is_gzip(file.read(2))
        file.seek(0)
        content = gzip.GzipFile(fileobj=file) if compressed else file
        try:
            while block := content.read(_BLOCK_BYTES):
                digest.update(block)
                yield block
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(f"{path}: its gzip data is broken: {error}; copy it again") from None
