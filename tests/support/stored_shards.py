"""A dataset in an object store, as far as this package can tell: in the memory of this process."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Callable, Iterator

import pytest

from mnist_estimator.compat import tf
from mnist_estimator.data import shard_fetch
from mnist_estimator.data.manifest import Dataset, Shard
from mnist_estimator.runtime import files
from support import tiny_dataset


@contextlib.contextmanager
def dataset(**options) -> Iterator[Dataset]:
    """A tiny dataset whose folder is gone after the block."""
    folder = f"ram://{secrets.token_hex(8)}"
    try:
        yield Dataset(f"{folder}/data", tiny_dataset.write(f"{folder}/data", **options))
    finally:
        files.remove_folder(folder)


def path(stored: Dataset, shard: Shard) -> str:
    return os.path.join(stored.folder, shard.file)


def replace(stored: Dataset, shard: Shard, content: bytes) -> None:
    tf.io.gfile.remove(path(stored, shard))  # In memory TensorFlow would add to the file.
    with tf.io.gfile.GFile(path(stored, shard), "wb") as file:
        file.write(content)


class Reads:
    """What was read from the store so far; `gate` lets the reads begin, as it is set at first."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self._more = threading.Condition()

    def wait_for(self, count: int) -> list[str]:
        """The names of the files read, once there are so many."""
        with self._more:
            assert self._more.wait_for(lambda: len(self.paths) >= count, timeout=60)
            return [os.path.basename(path) for path in self.paths]

    def note(self, path: str) -> None:
        with self._more:
            self.paths.append(path)
            self._more.notify_all()
        assert self.gate.wait(timeout=60)


def watch(monkeypatch: pytest.MonkeyPatch, before: Callable[[str], None] = lambda path: None):
    """Returns the `Reads` from now on; `before` is called before each, and may raise an error."""
    reads, reading = Reads(), files.reading

    def noted(path: str):
        if not files.is_local(path):
            reads.note(path)
            before(path)
        return reading(path)

    monkeypatch.setattr(shard_fetch.files, "reading", noted)
    return reads
