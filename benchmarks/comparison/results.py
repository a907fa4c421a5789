"""The raw results: a file to which each measurement is added as one line of JSON.

A line is `{"part", "setting", "contender", "round", "versions", "seconds", "date", "values"}`, and
with "failed", a reason, in place of "values" if there is no result. A line that was cut off by a
kill counts for nothing, so its measurement is repeated.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from benchmarks.comparison.parts import Record

KEY = ("part", "setting", "contender", "round", "versions")


class Results:
    """The lines of a file, and what was measured already."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.records = _read(path)
        self._done = {_key(record) for record in self.records}

    def has(self, **key: Any) -> bool:
        """Whether there is a result, or a failure, of these `KEY`s."""
        return _key(key) in self._done

    def add(self, record: Record) -> None:
        """Adds a line, which is on disk when this returns."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with open(self._path, "ab") as file:
            if file.tell() and not _ends_with_newline(self._path):
                file.write(b"\n")
            file.write(json.dumps(record).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.records.append(record)
        self._done.add(_key(record))

    def forget_failures(self) -> None:
        """Makes `has` deny what failed, so that it is tried again; a later line replaces it."""
        self._done -= {_key(record) for record in self.records if "failed" in record}

    def latest(self, **wanted: Any) -> list[Record]:
        """The last line of each key among those with the wanted fields."""
        lines = {_key(record): record for record in self.records}
        return [
            record
            for record in lines.values()
            if all(record[name] == value for name, value in wanted.items())
        ]


def _read(path: Path) -> list[Record]:
    if not path.exists():
        return []
    records = []
    for line in path.read_bytes().split(b"\n"):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and all(name in record for name in KEY):
            records.append(record)
    return records


def _ends_with_newline(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _key(record: Record) -> tuple[Any, ...]:
    return tuple(record[name] for name in KEY)
