"""The folder in which one process writes a dataset, and the move that makes the dataset visible.

A data_dir has a dataset if and only if it has a manifest. This holds at every moment, also when a
process is killed, and when several come at once: one writes, and the others get a `BusyError`.

Only files that a manifest of this package lists are deleted. While one dataset takes the place of
another, both manifests lie in the workspace, so that after a kill the files are still known.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import secrets
import socket
from collections.abc import Callable, Collection, Iterator

from mnist_estimator import InputError
from mnist_estimator.compat import tf
from mnist_estimator.data.manifest import (
    MANIFEST,
    DatasetError,
    Manifest,
    ManifestError,
    Shard,
    find_manifest,
    is_shard_name,
)
from mnist_estimator.runtime import files, locking
from mnist_estimator.runtime.files import FileError, is_local, sync

_BEAT = "alive"
_BEAT_SECS = 30
_DEAD_SECS = 600
_REPLACED = "replaced"  # In a workspace: the folder of the manifest of the dataset that has to go.
_WORKSPACE = re.compile(r"\.prepare-(?P<host>\w+)-(?P<pid>\d+)-[0-9a-f]{8}")


class BusyError(DatasetError):
    """Another process is writing to the data_dir."""


@contextlib.contextmanager
def open_workspace(data_dir: str, force: bool) -> Iterator[tuple[str, Callable[[], None]]]:
    """A folder in data_dir for this process alone, and a function to call often while it works.

    The folder is gone afterwards, and so is data_dir if it was made here and stayed empty.

    Raises:
      BusyError: if another process is at work in data_dir.
    """
    folder = f".prepare-{_host(data_dir)}-{os.getpid()}-{secrets.token_hex(4)}"
    folder = os.path.join(data_dir, folder)
    with _naming_final_paths(folder, data_dir), contextlib.ExitStack() as stack:
        made = not tf.io.gfile.exists(data_dir)
        if made:
            files.make_folders(data_dir)
        locked = _lock(data_dir, stack)
        if made:
            stack.callback(files.remove_empty, data_dir)
        stack.callback(_end, data_dir, folder)
        files.make_folder(folder)
        beat = _heartbeat(folder)
        _remove_dead(data_dir, folder, locked, force)
        yield folder, beat


def _host(data_dir: str) -> str:
    """Names the machine, by which another process there knows whether this one is at work."""
    if is_local(data_dir):  # Where it is locked, a folder of before a restart is known to be dead.
        return re.sub(r"\W", "_", socket.gethostname())
    return locking.this_host()


@contextlib.contextmanager
def _naming_final_paths(folder: str, data_dir: str) -> Iterator[None]:
    """Has errors name the data_dir where they would name the workspace."""
    try:
        with files.file_errors(data_dir):
            yield
    except FileError as error:
        raise type(error)(str(error).replace(folder, data_dir)) from error


def tidy(data_dir: str) -> None:
    """Removes what killed runs left beside a whole dataset, if that is possible."""
    with contextlib.suppress(InputError):
        with files.file_errors(data_dir):
            names = [name.rstrip("/") for name in tf.io.gfile.listdir(data_dir)]
        if any(map(_WORKSPACE.fullmatch, names)):
            with open_workspace(data_dir, force=False):
                pass


def publish(data_dir: str, folder: str, manifest: Manifest) -> None:
    """Moves a written dataset into place, in an order in which a kill at any point does no harm."""
    final = os.path.join(data_dir, MANIFEST)
    with files.file_errors(data_dir):
        old = _listed(data_dir, data_dir)
        _check_stray(data_dir, old)  # Again: writing has taken a while.
        if tf.io.gfile.exists(final):
            replaced = os.path.join(folder, _REPLACED)
            files.make_folder(replaced)
            kept = os.path.join(replaced, MANIFEST)
            tf.io.gfile.rename(final, kept)
            try:
                # Else a power failure could bring the old manifest back, over new shards.
                sync(replaced)
                sync(data_dir)
            except BaseException:
                tf.io.gfile.rename(kept, final)  # Its shards are all there.
                raise
        for name in old:
            files.remove(os.path.join(data_dir, name))
        for shards in manifest.splits.values():
            for shard in shards:
                tf.io.gfile.rename(
                    os.path.join(folder, shard.file), os.path.join(data_dir, shard.file)
                )
        sync(data_dir)
        tf.io.gfile.rename(os.path.join(folder, MANIFEST), final)
        sync(data_dir)


def _heartbeat(folder: str) -> locking.Heartbeat:
    """Rewrites a file in a workspace; its age tells other processes whether this one is alive."""
    path = os.path.join(folder, _BEAT)
    return locking.Heartbeat(lambda: files.write_text(path, _BEAT), _BEAT_SECS)


def _lock(data_dir: str, stack: contextlib.ExitStack) -> bool:
    """Locks a local data_dir until this process ends, however it ends.

    Returns:
      Whether it is locked. If not, because the filesystem has no locks, the heartbeat has to do.
    """
    if not is_local(data_dir):
        return False
    handle = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    stack.callback(os.close, handle)
    try:
        return locking.acquire(handle)
    except BlockingIOError:
        raise _busy(data_dir, "") from None


def _busy(data_dir: str, folder: str) -> BusyError:
    hint = f" (if it is not, remove {folder})" if folder else ""
    return BusyError(
        f"{data_dir}: another process is preparing a dataset here{hint}; try again later"
    )


def _remove_dead(data_dir: str, own: str, locked: bool, force: bool) -> None:
    """Removes what killed runs left in data_dir.

    Every process makes its folder before it looks for others, so of two that start together at
    least one sees the other. Without a lock both may see each other; then both give up.
    """
    names = [name.rstrip("/") for name in tf.io.gfile.listdir(data_dir)]
    others = [os.path.join(data_dir, name) for name in names if _WORKSPACE.fullmatch(name)]
    others.remove(own)
    for folder in others:
        if not _is_dead(folder, own, locked):
            raise _busy(data_dir, folder)
    if MANIFEST not in names:
        ours = set().union(*(_published(data_dir, folder) for folder in others))
        _check_stray(data_dir, ours)
        # Before the folders: they are what says that these files are left-overs.
        for name in ours:
            files.remove(os.path.join(data_dir, name))
    elif force:
        _check_manifest(data_dir)
        _check_stray(data_dir, _listed(data_dir, data_dir))
    for folder in others:
        _remove_workspace(folder)


def _listed(data_dir: str, folder: str) -> set[str]:
    """The shards in data_dir that the manifest in a folder lists; none if there is none.

    If that manifest is damaged: the shards whose sha256 it still contains.
    """
    try:
        manifest = find_manifest(folder)
    except ManifestError:
        text = files.read_bytes(os.path.join(folder, MANIFEST)) or b""
        digests = set(re.findall(rb"[0-9a-f]{64}", text))
        return {
            name
            for name in _shards_in(data_dir)
            if files.size_and_sha256(os.path.join(data_dir, name))[1].encode() in digests
        }
    return {shard.file for shard in _shards_of(manifest)}


def _published(data_dir: str, folder: str) -> set[str]:
    """The shards in data_dir that a killed run was to replace, or had moved there already."""
    replaced = os.path.join(folder, _REPLACED)
    if _is_link(folder) or _is_link(replaced):
        return set()  # No workspace of ours, so what it points to says nothing of data_dir.
    ours = _listed(data_dir, replaced)
    try:
        manifest = find_manifest(folder)
    except ManifestError:  # Cut off: nothing had been moved yet.
        return ours
    waiting, there = _shards_in(folder), _shards_in(data_dir)
    for shard in _shards_of(manifest):
        # Where there is no rename a file is copied first, and then is in both.
        path = os.path.join(data_dir, shard.file)
        if shard.file in there and (
            shard.file not in waiting or files.size_and_sha256(path)[1] == shard.sha256
        ):
            ours.add(shard.file)
    return ours


# Of a manifest of ours, also of one that was cut off. Other programs have "format_version", too.
_FIRST_FIELDS = (b'"format_version"', b'"dataset"', b'"image_shape"')


def _check_manifest(data_dir: str) -> None:
    """Raises DatasetError if manifest.json is no manifest of ours, not even a damaged one."""
    path = os.path.join(data_dir, MANIFEST)
    content = files.read_bytes(path) or b""
    if not all(name in content for name in _FIRST_FIELDS):
        raise DatasetError(
            f"{path}: found a file of another program, expected a manifest of this package; move "
            "it away, or give another --data_dir"
        )


def _check_stray(data_dir: str, ours: Collection[str]) -> None:
    """Raises DatasetError if files have the names of shards, and are not known to be ours."""
    stray = sorted(_shards_in(data_dir) - set(ours))
    if stray:
        raise DatasetError(
            f"{data_dir}: found {stray[0]} without a {MANIFEST} that lists it, so it may "
            "not be this package's; move it away, or give another --data_dir"
        )


def _shards_in(folder: str) -> set[str]:
    return {name for name in tf.io.gfile.listdir(folder) if is_shard_name(name)}


def _shards_of(manifest: Manifest | None) -> Iterator[Shard]:
    return itertools.chain.from_iterable(manifest.splits.values() if manifest else ())


def _is_dead(folder: str, own: str, locked: bool) -> bool:
    if _is_link(folder):
        return True
    theirs, ours = (_WORKSPACE.fullmatch(os.path.basename(path)) for path in (folder, own))
    if theirs["host"] == ours["host"] and (locked or not locking.is_running(int(theirs["pid"]))):
        return True
    # Both times are the filesystem's, so the machines' clocks need not agree.
    age = files.last_beat(own, _BEAT) - files.last_beat(folder, _BEAT)
    return age > _DEAD_SECS * 10**9


def unfinished(data_dir: str) -> str:
    """The name of a dataset that was being moved into a data_dir when the process ended.

    "" if there is none. Its files are known by the manifests in the workspace that is left.

    Raises:
      BusyError: if another process is at work in data_dir.
    """
    with files.file_errors(data_dir), contextlib.ExitStack() as stack:
        locked = _lock(data_dir, stack)
        for name in sorted(name.rstrip("/") for name in tf.io.gfile.listdir(data_dir)):
            found, folder = _WORKSPACE.fullmatch(name), os.path.join(data_dir, name)
            is_here = found and found["host"] == _host(data_dir)
            if not found or not (locked or (is_here and not locking.is_running(int(found["pid"])))):
                continue
            for place in (folder, os.path.join(folder, _REPLACED)):
                with contextlib.suppress(ManifestError):
                    manifest = find_manifest(place)
                    if manifest and _published(data_dir, folder):
                        return manifest.dataset
    return ""


def _end(data_dir: str, folder: str) -> None:
    """Removes a workspace, unless only its manifests say whose the shards in data_dir are.

    That is so if publishing was interrupted. The next process to prepare a dataset goes on then.
    """
    is_between = True  # Also where it is not known, as in an outage.
    with contextlib.suppress(InputError, OSError, tf.errors.OpError):
        is_whole = tf.io.gfile.exists(os.path.join(data_dir, MANIFEST))
        is_between = not is_whole and bool(_published(data_dir, folder))
    if not is_between:
        _remove_workspace(folder)


def _remove_workspace(folder: str) -> None:
    # The manifests first: where some of the shards are gone, they would be taken for published.
    manifests = (MANIFEST, os.path.join(_REPLACED, MANIFEST))
    files.remove_folder(folder, first=manifests)


def _is_link(path: str) -> bool:
    return is_local(path) and os.path.islink(path)
