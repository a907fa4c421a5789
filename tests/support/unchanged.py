"""Finds out whether anything in a folder has changed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


def content(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path.relative_to(folder)): (path.read_text(), path.stat().st_ino)
        for path in folder.rglob("*")
        if path.is_file()
    }


@contextlib.contextmanager
def untouched(folder: Path) -> Iterator[None]:
    before = content(folder)
    yield
    assert content(folder) == before
