"""Brings the shards of a data_dir in an object store to the local disk before they are needed.

    with shard_cache.opened(dataset, folder="", limit=None):
        train_batches(dataset, ...)  # Reads local copies of its shards.

Threads fetch the shards in the order in which pipelines say that they need them. Each copy has the
size and the sha256 that the manifest says, or is not used. Where copies cannot be kept, a pipeline
reads from the store. One cache is open at a time: its threads and its disk are the process's.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator

from mnist_estimator.data.cache_folder import CacheError, CacheFolder
from mnist_estimator.data.manifest import Dataset
from mnist_estimator.data.shard_streams import ShardCache
from mnist_estimator.runtime import progress, user_cache
from mnist_estimator.runtime.files import error_line, is_local

_SHARDS = "shards"  # In a cache_dir: what lies beside it is not touched.


class _State:
    """What is open. It is global, as threads and disk belong to the whole process."""

    cache: ShardCache | None = None


@contextlib.contextmanager
def opened(dataset: Dataset, *, folder: str, limit: int | None) -> Iterator[None]:
    """Keeps copies of the shards that the block reads, if the dataset is not local.

    Args:
      folder: where; "": the user's folder for caches, or below TMPDIR where that is not writable.
      limit: bytes that all copies may take; 0: keep none; None: see `CacheFolder`.
    """
    kept = None if is_local(dataset.folder) or limit == 0 else _folder(dataset, folder, limit)
    if kept is None:
        yield
        return
    _State.cache = cache = ShardCache(dataset, kept)
    try:
        yield
    finally:
        _State.cache = None
        cache.close()


def of(dataset: Dataset) -> ShardCache | None:
    """The open cache, if it is this dataset's."""
    cache = _State.cache
    return cache if cache and cache.folder == dataset.folder else None


def is_open() -> bool:
    """Whether copies of shards are kept."""
    return _State.cache is not None


def check() -> None:
    """Raises the RunError because of which a pipeline could not go on, if there is one."""
    if _State.cache and _State.cache.failure:
        raise _State.cache.failure


def end_training() -> None:
    """Lets no pipeline of training wait any longer, so that its session can end at once."""
    if _State.cache:
        _State.cache.end_training()


def _folder(dataset: Dataset, folder: str, limit: int | None) -> CacheFolder | None:
    """The folder for copies; None, with a warning, if it is of no use."""
    largest = max(shard.bytes for split in dataset.manifest.splits.values() for shard in split)
    try:
        kept = CacheFolder(os.path.join(folder, _SHARDS), limit) if folder else _usual(limit)
    except CacheError as error:
        _warn(dataset, "--cache_dir", error)
        return None
    if kept.limit < largest:
        _warn(dataset, "--cache_limit", f"{kept.limit:,} bytes, less than a shard of {largest:,}")
        return None
    return kept


def _usual(limit: int | None) -> CacheFolder:
    if folder := user_cache.folder():
        with contextlib.suppress(CacheError):
            return CacheFolder(os.path.join(folder, _SHARDS), limit)
    try:
        temporary = tempfile.gettempdir()
    except OSError as error:
        raise CacheError(f"TMPDIR: {error_line(error)}") from error
    # Of the user alone: in this folder others can make folders, too.
    return CacheFolder(os.path.join(temporary, f"mnist_estimator-{os.geteuid()}-shards"), limit)


def _warn(dataset: Dataset, flag: str, problem: object) -> None:
    progress.warn(f"{flag}: {problem}; reading {dataset.folder} without copies")
