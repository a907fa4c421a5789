"""Writes the shards of a split, or of a part of it, and reads them back."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator

from mnist_estimator import InputError
from mnist_estimator.compat import tf
from mnist_estimator.data import records
from mnist_estimator.data.manifest import DatasetError, Shard, shard_name
from mnist_estimator.data.plan import CHUNK_EXAMPLES
from mnist_estimator.runtime import files


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
        self._paths = [
            os.path.join(folder, shard_name(split, index, shards)) for index in range(shards)
        ]
        self._digests = [hashlib.sha256() for _ in self._paths]
        self._writers: dict[int, tf.io.TFRecordWriter] = {}

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        for index, writer in self._writers.items():
            # A second error, on closing, must not hide the first.
            hide = contextlib.suppress(InputError) if kind else contextlib.nullcontext()
            with hide, files.file_errors(self._paths[index]):
                writer.close()

    def add(self, record: bytes) -> None:
        """Writes the next example of the split."""
        index = (self.first + self.added) % len(self._paths)
        with files.file_errors(self._paths[index]):
            if index not in self._writers:
                self._writers[index] = tf.io.TFRecordWriter(self._paths[index])
            self._writers[index].write(record)
        self._digests[index].update(record)
        self.added += 1

    def read_back(self, tick: Callable[[str, int], None]) -> tuple[Shard, ...]:
        """Syncs and reads what was written, once it is closed; returns the files.

        Raises:
          DatasetError: if it is not what was given.
        """
        counts = shard_counts(self.first, self.added, len(self._paths))
        return tuple(
            _read_back(self._paths[index], count, self._digests[index].digest(), tick)
            for index, count in counts
        )


def shard_counts(first: int, examples: int, shards: int) -> Iterator[tuple[int, int]]:
    """Yields each shard that has some of the examples `first` to `first + examples - 1` of a split.

    Yields:
      The shard's number, and how many of them it has.
    """
    for index in range(shards):
        count = len(range(first + (index - first) % shards, first + examples, shards))
        if count:
            yield index, count


def _read_back(path: str, count: int, digest: bytes, tick: Callable[[str, int], None]) -> Shard:
    files.sync(path)
    content = hashlib.sha256()
    found = count_records(path, tick, content.update)
    size, sha256 = files.size_and_sha256(path)
    if (found, content.digest()) != (count, digest):
        raise reads_otherwise(path)
    return Shard(os.path.basename(path), found, size, sha256)


def count_records(
    path: str,
    tick: Callable[[str, int], None],
    use: Callable[[bytes], object] = lambda record: None,
) -> int:
    """Reads the records of a file, each with its checksum; returns how many there are."""
    found = 0
    for record in records.read_records(path):
        use(record)
        found += 1
        if found % CHUNK_EXAMPLES == 0:
            tick("verifying", CHUNK_EXAMPLES)
    return found


def reads_otherwise(path: str) -> DatasetError:
    """The error of a file whose content is not what was written."""
    return DatasetError(f"{path}: reads back other than it was written; is the disk sound?")
