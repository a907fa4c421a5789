"""The records of shards in a graph: read only after their lengths are checked, and all there."""

from __future__ import annotations

import contextlib
import functools

import numpy as np

from mnist_estimator import InputError, RunError
from mnist_estimator.compat import tf
from mnist_estimator.data import shard_cache
from mnist_estimator.data.manifest import Dataset, Manifest
from mnist_estimator.data.records import Overlong, find_overlong, most_record_bytes
from mnist_estimator.data.shard_streams import Stream
from mnist_estimator.runtime.files import check_plain


def prepare_split(dataset: Dataset, split: str) -> None:
    """Checks the shards of a split, or brings their local copies, before a session reads them.

    Raises:
      InputError, tf.errors.DataLossError: as `read_all`.
      RunError: if a shard is not to be had from the store.
    """
    cache = shard_cache.of(dataset)
    if cache is None:
        _check_all(dataset.shard_paths(split), dataset.manifest)
    else:
        # Here, and not in the session: there no signal is heard.
        cache.bring(dataset.manifest.splits[split])


def read_split(dataset: Dataset, split: str, *, trains: bool = False) -> tf.data.Dataset:
    """The records of a split, serialized, one shard after another; local copies where there are.

    Args:
      trains: whether it is for a training session, which may end before all are read.

    Raises:
      InputError, tf.errors.DataLossError: as `read_all`.
      RunError: if a shard is not to be had from the store.
    """
    prepare_split(dataset, split)
    cache, shards = shard_cache.of(dataset), dataset.manifest.splits[split]
    if cache is None:
        return tf.data.TFRecordDataset(dataset.shard_paths(split))
    stream = cache.stream(trains=trains)

    def records(place: tf.Tensor) -> tf.data.Dataset:
        needs = tf.range(place, len(shards), dtype=tf.int64)
        return tf.data.TFRecordDataset(taken_path(stream, dataset, split, needs))

    # One more than there are: it says that the last one has been read.
    return tf.data.Dataset.range(len(shards) + 1).flat_map(records)


def read_all(files: list[str], manifest: Manifest) -> tf.data.Dataset:
    """The records of shards, serialized, one after another.

    Raises:
      InputError: if a shard is no plain file.
      tf.errors.DataLossError: if a record's length is more than it can be.
    """
    _check_all(files, manifest)
    return tf.data.TFRecordDataset(files)


def checked_path(path: tf.Tensor, manifest: Manifest) -> tf.Tensor:
    """A shard's path, string []; to evaluate it fails if the length of a record is wrong.

    To check all shards of a large split at the start would take too long, so each one is checked
    just before it is read.
    """

    def check(path: bytes) -> bytes:
        try:
            overlong = _overlong(path.decode(), manifest)
        except InputError as error:
            raise ValueError(str(error)) from None  # TensorFlow has an error of its own for it.
        if overlong:
            raise ValueError(str(overlong))
        return path

    checked = tf.numpy_function(check, [path], tf.string, stateful=False)
    checked.set_shape([])
    return checked


def taken_path(stream: Stream, dataset: Dataset, split: str, needs: tf.Tensor) -> tf.Tensor:
    """Where to read the first of the shards that are needed, string [1]; to evaluate it waits.

    It fails as `checked_path` does, and if the shard is not to be had.

    Args:
      needs: int64 [n], the shards' numbers in the order of need; none, if the last one is read:
        then the result is empty, too.
    """
    shards = dataset.manifest.splits[split]

    def take(numbers: np.ndarray) -> np.ndarray:
        if not len(numbers):
            stream.end()
            return np.array([], np.bytes_)
        try:
            path = stream.take([shards[number] for number in numbers])
            overlong = _overlong(path, dataset.manifest)
        except (InputError, RunError) as error:
            raise ValueError(str(error)) from None
        if overlong:
            raise ValueError(f"{path}: {overlong}")
        return np.array([path.encode()])

    # Behind a stateful operation TensorFlow would run all that follows one at a time.
    taken = tf.numpy_function(take, [needs], tf.string, stateful=False)
    taken.set_shape([None])
    return taken


def numbered_records(
    numbers: tf.data.Dataset, records: tf.data.Dataset, count: int | tf.Tensor
) -> tf.data.Dataset:
    """(index int64 [], serialized string []) of `count` records, as many as the manifest says.

    Where records are missing it fails: the order of all later examples would shift.
    """
    numbered = tf.data.Dataset.zip((numbers, records))
    return numbered.apply(tf.data.experimental.assert_cardinality(count))


def _check_all(files: list[str], manifest: Manifest) -> None:
    for path in files:
        overlong = _overlong(path, manifest)
        if overlong:
            raise tf.errors.DataLossError(None, None, f"{path}: {overlong}")


def _overlong(path: str, manifest: Manifest) -> Overlong | None:
    """The first record of a shard whose length is impossible; a process looks for it once."""
    check_plain(path)
    # TensorFlow itself reports a file that cannot be read.
    with contextlib.suppress(tf.errors.OpError):
        found = tf.io.gfile.stat(path)
        return _find_overlong(path, found.length, found.mtime_nsec, most_record_bytes(manifest))
    return None


@functools.lru_cache(maxsize=2**16)
def _find_overlong(path: str, size: int, mtime_nsec: int, most: int) -> Overlong | None:
    return find_overlong(path, most=most)
