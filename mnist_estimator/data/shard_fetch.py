"""Makes a copy of one shard, and proves that it is the shard of the manifest."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping

from mnist_estimator.data import cache_folder
from mnist_estimator.data.cache_folder import BusyError, CacheFolder, Part
from mnist_estimator.data.manifest import DatasetError, Shard
from mnist_estimator.runtime import files, progress

SILENCE_SECS = 300.0  # Longer than a filesystem tries again by itself.
_ATTEMPTS = 2  # At a shard whose content is wrong: once, it may be wrong on the way.
_BLOCK_BYTES = 2**20
_LOOK_SECS = 0.1


def bring(
    source: str,
    shard: Shard,
    folder: CacheFolder,
    needs: Mapping[str, int],
    note: Callable[[int], None],
    known: tuple[int, int, int] | None = None,
) -> int | None:
    """Finds the copy of a shard, or fetches it; waits for a process that does so.

    Args:
      source: the shard's path.
      needs: as for `CacheFolder.reserve`.
      note: is called often, with the bytes that have come; it ends the work by raising an error.
      known: the identity of a copy that has been verified.

    Returns:
      The descriptor of the copy, as `CacheFolder.find` does; None if there is no room for it.

    Raises:
      DatasetError: if the shard cannot be read, or is not the one of the manifest.
      CacheError: if the folder cannot be used.
    """
    changed, silent_since = 0, time.monotonic()
    while True:
        note(0)
        handle = _verified(shard, folder, note, known)
        if handle is not None:
            return handle
        try:
            part = folder.reserve(shard.sha256, shard.bytes, needs)
        except BusyError:
            if changed != (changed := folder.changed(shard.sha256)):
                silent_since = time.monotonic()
            if time.monotonic() - silent_since > SILENCE_SECS:
                return None
            time.sleep(_LOOK_SECS)
            continue
        if part is None:
            return None
        handle = _fetched(source, shard, part, note)
        if handle is not None:
            return handle


def _verified(
    shard: Shard,
    folder: CacheFolder,
    note: Callable[[int], None],
    known: tuple[int, int, int] | None,
) -> int | None:
    handle = folder.find(shard.sha256, shard.bytes)
    if handle is None:
        return None
    try:
        if cache_folder.identity(handle) == known:
            return handle
        if cache_folder.sha256(handle, lambda: note(0)) == shard.sha256:
            return handle
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    progress.warn(f"{folder.place(shard.sha256)}: found damaged, fetching {shard.file} again")
    return None


def _fetched(source: str, shard: Shard, part: Part, note: Callable[[int], None]) -> int | None:
    try:
        for _ in range(_ATTEMPTS):
            problem = _download(source, shard, part, note)
            if not problem:
                return part.commit()
            part.restart()
        raise DatasetError(f"{shard.file}: {problem}")
    except BaseException:
        part.discard()
        raise


def _download(source: str, shard: Shard, part: Part, note: Callable[[int], None]) -> str:
    """Writes a shard to a part; returns what is wrong with it, "" if nothing."""
    digest, size = hashlib.sha256(), 0
    with files.file_errors(source), files.reading(source) as file:
        while block := file.read(_BLOCK_BYTES):
            size += len(block)
            if size > shard.bytes:
                break
            digest.update(block)
            part.write(block)
            note(size)
    if size != shard.bytes:
        more = "or more " if size > shard.bytes else ""
        return f"{size} bytes {more}in the store, expected {shard.bytes}"
    if digest.hexdigest() != shard.sha256:
        return f"sha256 {digest.hexdigest()}, expected {shard.sha256}"
    return ""
