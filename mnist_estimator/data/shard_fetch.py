"""Makes a copy of one shard, and proves that it is the shard of the manifest."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping

from mnist_estimator.data import cache_folder
from mnist_estimator.data.cache_folder import BusyError, CacheFolder, Identity, Part
from mnist_estimator.data.manifest import DatasetError, Shard
from mnist_estimator.runtime import files, progress, watchdog

SILENCE_SECS = 300.0  # Longer than a filesystem tries again by itself.
_ATTEMPTS = 2  # At a shard whose content is wrong: once, it may be wrong on the way.
_BLOCK_BYTES = 2**20
_LOOK_SECS = 0.1


def bring(
    source: str,
    shard: Shard,
    folder: CacheFolder,
    needs: Mapping[str, int],
    note: Callable[[int], None] = lambda received: None,
    begun: Callable[[], None] = lambda: None,
    known: Identity | None = None,
) -> int | None:
    """Finds the copy of a shard, or fetches it; waits for a process that does so.

    Args:
      source: the shard's path.
      needs: as for `CacheFolder.reserve`.
      note: is called often, with the bytes that have come; it ends the work by raising an error.
      begun: is called when it is known whether there is room.
      known: the identity of a copy that has been verified.

    Returns:
      The descriptor of the copy, as `CacheFolder.find` does; None if there is no room for it.

    Raises:
      DatasetError: if the shard cannot be read, or is not the one of the manifest.
      CacheError: if the folder cannot be used.
    """
    changed, silent_since = 0, time.monotonic()
    damaged: set[Identity] = set()
    while True:
        handle = _verified(shard, folder, note, known, damaged)
        if handle is not None:
            return handle
        try:
            part = folder.reserve(shard.sha256, shard.bytes, needs)
        except BusyError:
            begun()
            if changed != (changed := folder.changed(shard.sha256)):
                silent_since = time.monotonic()
            if time.monotonic() - silent_since > SILENCE_SECS:
                return None
            time.sleep(_LOOK_SECS)
            continue
        if part is None:
            return None
        begun()
        try:
            # Another process may have written it since the last look.
            handle = _verified(shard, folder, note, known, damaged)
            if handle is None:
                _fetch(source, shard, part, note)
        except BaseException:
            part.discard()
            raise
        if handle is not None:
            part.discard()
            return handle
        handle = part.commit()
        if handle is not None:
            return handle


def _verified(
    shard: Shard,
    folder: CacheFolder,
    note: Callable[[int], None],
    known: Identity | None,
    damaged: set[Identity],
) -> int | None:
    note(0)
    handle = folder.find(shard.sha256, shard.bytes)
    if handle is None:
        return None
    about = cache_folder.identity(handle)
    try:
        if about == known:
            return handle
        if about not in damaged and cache_folder.sha256(handle, lambda: note(0)) == shard.sha256:
            return handle
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    if about not in damaged:
        place = folder.place(shard.sha256)
        progress.warn(f"{place}: found damaged, fetching {shard.file} again")
        damaged.add(about)
    return None


def _fetch(source: str, shard: Shard, part: Part, note: Callable[[int], None]) -> None:
    """Writes a shard to a part; raises DatasetError if it is not the shard of the manifest."""
    for _ in range(_ATTEMPTS):
        problem = _download(source, shard, part, note)
        if not problem:
            return
        part.restart()
    raise DatasetError(f"{shard.file}: {problem}")


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
            watchdog.alive()
            note(size)
    if size != shard.bytes:
        more = "or more " if size > shard.bytes else ""
        return f"{size} bytes {more}in the store, expected {shard.bytes}"
    if digest.hexdigest() != shard.sha256:
        return f"sha256 {digest.hexdigest()}, expected {shard.sha256}"
    return ""
