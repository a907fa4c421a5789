"""One CSV file, or several with the same columns, as a sequence of lines."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Iterator, Sequence

from mnist_estimator import InputError
from mnist_estimator.data.csv_labels import Values
from mnist_estimator.data.csv_text import CsvError, CsvText, NoExamplesError
from mnist_estimator.data.many_files import Part, name_of
from mnist_estimator.runtime.progress import ProgressLine, warn

_REPORTED_LINES = 1000


@dataclasses.dataclass
class File:
    """One of the files: which it is, its text, and how many lines are examples once counted."""

    part: Part
    text: CsvText
    lines: int = 0


class CsvFiles:
    """The lines of CSV files, one file after the other.

    A header may stand in each file or in some, with the same names in the same order: columns are
    never brought into another order. Files without a line of examples are passed over.

    Attributes:
      name: what errors call all of them.
      files: those that hold examples; `first` is one of them, with a header if any has one.
      names: the header's; none without a header.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        """Reads the beginning of each file.

        Raises:
          InputError: if a file is not text, or has other columns, or none holds examples.
        """
        self.name, self.files, self.names = name_of(paths), [], []
        self._lone, self._header, self._joined = len(paths) == 1, b"", ""
        named = []
        with ProgressLine() as report:
            for number, path in enumerate(paths, 1):
                report(f"{path}: looked at {number:,} of {len(paths):,} files")
                part = Part(path, number, len(paths))
                with part.errors():
                    named += self._open(part)
        if not self.files:
            raise InputError(f"{self.name}: found no examples in any, expected a label and pixels")
        self.first = next((file for file in self.files if file.text.names), self.files[0])
        for file in self.files:
            with file.part.errors():
                self._check_fields(file)
        bare = [file.part.name for file in self.files if not file.text.names]
        # A file that was split has it in its first part.
        if bare and named and named != [paths[0]]:
            warn(
                f"{self.name}: {len(bare)} files have no header, such as {bare[0]}; took their "
                f"columns to be those of {named[0]}"
            )

    def counted(self, columns: Sequence[Values]) -> Iterator[bytes]:
        """Yields all lines, counts those of each file, and tells `columns` where one begins."""
        total, joined = 0, hashlib.sha256(self._header)
        with ProgressLine() as report:
            for file in self.files:
                for values in columns:
                    values.begin_file()
                file.lines = 0
                with file.part.errors():
                    for _, line in file.text.lines(None if self._lone else joined):
                        file.lines += 1
                        if file.lines % _REPORTED_LINES == 0:
                            report(f"{file.part.name}: counted {total + file.lines:,} lines")
                        yield line
                total += file.lines
        self._joined = joined.hexdigest()
        self._warn_of_copies()

    def ranges(
        self, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[File, Iterator[tuple[int, bytes]]]]:
        """Yields each file and its lines, numbered, of the examples from start to stop.

        To be called once the lines are counted. Files before `start` are not opened.

        Raises:
          InputError: if a file has other lines than were counted.
        """
        joined, first = None, 0
        total = sum(file.lines for file in self.files)
        if start == 0 and stop in (None, total) and not self._lone:
            joined = hashlib.sha256(self._header)
        for file in self.files:
            low, high = max(start - first, 0), (total if stop is None else stop) - first
            first += file.lines
            if low < file.lines and high > 0:
                yield file, _lines(file, low, high, joined)
        if joined is not None:
            self._joined = joined.hexdigest()

    @property
    def digest(self) -> str:
        """sha256 of the uncompressed content of one file, once the lines are counted.

        Of several it is that of the one file that would hold their lines below one header, so that
        the same lines in more or in fewer files are the same data.
        """
        return self.files[0].text.digest if self._lone else self._joined

    def _open(self, part: Part) -> list[str]:
        """Adds a file, if it holds examples; returns its path if it has a header."""
        found: CsvText | NoExamplesError
        try:
            found = CsvText(part.name, self.names)
        except NoExamplesError as error:
            if self._lone:
                raise
            found = error
        else:
            self.files.append(File(part, found))
        if not found.names:
            return []
        if not self.names:
            self.names, self._named_in = found.names, part.name
            self._header = found.header + b"\n" if found.header else b""
        elif found.names != self.names:
            column, (name, expected) = _difference(found.names, self.names)
            raise InputError(
                f"{part.name}: column {column + 1} is named {name!r}, expected {expected!r} as in "
                f"{self._named_in}; write the files with the same columns in the same order"
            )
        found.names = self.names  # One list for all, to spare memory.
        return [part.name]

    def _check_fields(self, file: File) -> None:
        text, first = file.text, self.first.text
        if text.num_fields != first.num_fields:
            found = f"{text.num_fields} fields, expected {first.num_fields} as in {first.path}"
            raise CsvError(text.path, text.first_line, found)

    def _warn_of_copies(self) -> None:
        seen: dict[str, str] = {}
        for file in self.files:
            other = seen.setdefault(file.text.digest, file.part.name)
            if other != file.part.name:
                warn(f"{file.part.name}: has the same content as {other}; is it a copy?")
                return


def _lines(
    file: File, low: int, high: int, joined: hashlib._Hash | None
) -> Iterator[tuple[int, bytes]]:
    """A file's lines from one example to another; up to its end, if `high` is at or behind it."""
    count = 0
    for number, line in file.text.lines(joined):
        count += 1
        if count > high and high < file.lines:
            return
        if count > low:
            yield number, line
    if count != file.lines:
        raise InputError(
            f"{file.part.name}: {count:,} lines of examples, but there were {file.lines:,} when "
            "they were counted; did it change?"
        )


def _difference(found: Sequence[str], expected: Sequence[str]) -> tuple[int, list[str]]:
    """The first column whose names differ, and both names."""
    pairs = enumerate(itertools.zip_longest(found, expected))
    column, names = next((column, pair) for column, pair in pairs if pair[0] != pair[1])
    return column, [(name or "")[:40] for name in names]
