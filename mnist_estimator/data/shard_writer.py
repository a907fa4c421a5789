"""Writes the shards of a split, or of a part of it, and reads them back."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import IO

import numpy as np

from mnist_estimator import InputError
from mnist_estimator.data import records
from mnist_estimator.data.ahead import ahead
from mnist_estimator.data.frames import Frames
from mnist_estimator.data.manifest import DatasetError, Shard, shard_name
from mnist_estimator.data.plan import CHUNK_EXAMPLES
from mnist_estimator.runtime import files

_BLOCK_BYTES = 2**20
_READERS = 2  # Shards that are read back at the same time.
# TensorFlow's reader takes and gives back Python's lock at each record. Two of them at the same
# time would do little else than wait for it.
_TURN = threading.Lock()


class ShardWriter:
    """The shards of one split, open for writing while it is entered.

    Example j of the split goes to shard j mod the number of shards.
    """

    def __init__(self, folder: str, split: str, shards: int, first: int = 0) -> None:
        """Opens nothing yet.

        Args:
          first: the number in the split of the first example that is added. With another than 0
            each file is the part of its shard that these examples make.
        """
        self.split, self.first, self.added = split, first, 0
        self._folder = folder
        self._paths = [
            os.path.join(folder, shard_name(split, index, shards)) for index in range(shards)
        ]
        self._digests = [hashlib.sha256() for _ in self._paths]
        self._sizes = [0] * shards
        self._files: dict[int, IO[bytes]] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        # A second error, on closing, must not hide the first.
        with contextlib.suppress(InputError) if kind else contextlib.nullcontext():
            self._stack.close()

    def add(self, frames: Frames, examples: np.ndarray) -> None:
        """Writes the next examples of the split: those of `frames` with these numbers [N]."""
        shards = len(self._paths)
        for index in range(shards):
            of_shard = examples[(index - self.first - self.added) % shards :: shards]
            if len(of_shard):
                self._write(index, frames.content(of_shard))
        self.added += len(examples)

    def _write(self, index: int, content: bytes) -> None:
        path = self._paths[index]
        if index not in self._files:
            self._files[index] = self._stack.enter_context(files.created(path))
        with files.file_errors(path):
            self._files[index].write(content)
        self._digests[index].update(content)
        self._sizes[index] += len(content)

    def read_back(self, tick: Callable[[str, int], None]) -> tuple[Shard, ...]:
        """Syncs and reads what was written, once it is closed; returns the files.

        Raises:
          DatasetError: if it is not what was given.
        """
        shards = tuple(
            Shard(
                os.path.basename(self._paths[index]),
                count,
                self._sizes[index],
                self._digests[index].hexdigest(),
            )
            for index, count in shard_counts(self.first, self.added, len(self._paths))
        )
        _check_all(self._folder, shards, tick)
        return shards


def shard_counts(first: int, examples: int, shards: int) -> Iterator[tuple[int, int]]:
    """Yields each shard that has some of the examples `first` to `first + examples - 1` of a split.

    Yields:
      The shard's number, and how many of them it has.
    """
    for index in range(shards):
        count = len(range(first + (index - first) % shards, first + examples, shards))
        if count:
            yield index, count


def _check_all(folder: str, shards: Sequence[Shard], tick: Callable[[str, int], None]) -> None:
    """Reads shards back, some at the same time."""
    with contextlib.ExitStack() as stack:
        readers = []
        for number in range(min(_READERS, len(shards))):
            reader = ahead(_check_each(folder, shards[number::_READERS]))
            readers.append(stack.enter_context(contextlib.closing(reader)))
        for examples in itertools.chain.from_iterable(itertools.zip_longest(*readers, fillvalue=0)):
            tick("verifying", examples)


def _check_each(folder: str, shards: Sequence[Shard]) -> Generator[int]:
    """Yields how many examples are read, again and again; raises where a shard is otherwise."""
    for shard in shards:
        yield from _check(os.path.join(folder, shard.file), shard)


def _check(path: str, shard: Shard) -> Iterator[int]:
    files.sync(path)
    digest, size, told = hashlib.sha256(), 0, 0
    with files.file_errors(path), files.reading(path) as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
            done = min(size * shard.examples // shard.bytes, shard.examples)
            yield done - told
            told = done
    if (size, digest.hexdigest()) != (shard.bytes, shard.sha256):
        raise reads_otherwise(path)
    yield from _check_records(path, shard.examples)


def _check_records(path: str, examples: int) -> Iterator[int]:
    """Has TensorFlow check each record's checksum, which is numpy's work; yields 0 meanwhile."""
    found, counts = 0, records.counts(path, CHUNK_EXAMPLES)
    while True:
        with _TURN:
            more = next(counts, None)
        if more is None:
            break
        found += more
        yield 0
    if found != examples:
        raise reads_otherwise(path)


def count_records(path: str, tick: Callable[[str, int], None]) -> int:
    """Reads the records of a file, each with its checksum; returns how many there are."""
    found = 0
    for more in records.counts(path, CHUNK_EXAMPLES):
        tick("verifying", more)
        found += more
    return found


def reads_otherwise(path: str) -> DatasetError:
    """The error of a file whose content is not what was written."""
    return DatasetError(f"{path}: reads back other than it was written; is the disk sound?")
