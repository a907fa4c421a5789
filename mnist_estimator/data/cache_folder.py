"""The local folder that keeps copies of shards: finds them, writes them, removes them for room.

A copy is named by its digest, `SHA256.tfrecord`, and one that is being written `SHA256.part`. Of
the processes that share a folder, whoever reads a copy holds a shared lock on it, and whoever
writes one an exclusive lock on its part. So each copy is fetched once, none is removed while it is
read, and of a killed process the kernel frees the locks. Files of other names stay as they are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping

from mnist_estimator import InputError
from mnist_estimator.runtime import local_files

_COPY, _PART = ".tfrecord", ".part"
_OURS = re.compile(r"([0-9a-f]{64})(\.tfrecord|\.part)")
_TAG = "CACHEDIR.TAG"
# The first line is that of the Cache Directory Tagging Specification: backups leave the folder out.
_TAG_TEXT = b"""Signature: 8a477f597d28d172789f06886806bc55
# mnist_estimator keeps copies of shards here, and removes them beyond its --cache_limit.
"""
_BLOCK_BYTES = 2**20
_LOCK_SECS = 10.0  # The folder is locked for as long as it takes to list it.
_USUAL_LIMIT = 20 * 10**9

Identity = tuple[int, int, int]  # Of a file: what changes when it is replaced or written to.
_Alone = Callable[[], contextlib.AbstractContextManager[None]]


class CacheError(Exception):
    """The folder cannot be used, for the reason that its text gives."""


class BusyError(Exception):
    """Another process is writing the copy."""


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if isinstance(error.filename, str) else ""
        raise CacheError(f"{where}{error.strerror}") from error
    except InputError as error:
        raise CacheError(str(error)) from error


class CacheFolder:
    """A folder of copies, which together take at most `limit` bytes."""

    def __init__(self, path: str, limit: int | None = None) -> None:
        """Makes the folder unless it is there.

        Args:
          limit: bytes; None: 20 GB, or half of what the disk has for it if that is less.

        Raises:
          CacheError: if it cannot be used, or holds what this package did not write.
        """
        self.path = path
        with _errors():
            local_files.check_no_link(path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o700)
            self._check_private()
            self._check_tag()
            self.limit = self._usual_limit() if limit is None else limit

    def find(self, digest: str, size: int) -> int | None:
        """Opens a copy; returns its descriptor, None if there is none of this size.

        While the descriptor is open, no process removes the copy. The content is not looked at.

        Raises:
          CacheError: if there is anything but a plain file of its own.
        """
        with _errors():
            try:
                handle = local_files.open_own(self.place(digest), os.O_RDONLY)
            except FileNotFoundError:
                return None
            if _lock(handle, fcntl.LOCK_SH):
                found = os.fstat(handle)
                # It may have been removed between the opening and the lock.
                if found.st_nlink and found.st_size == size:
                    _note_use(handle, found)
                    return handle
            os.close(handle)
            return None

    def reserve(self, digest: str, size: int, needs: Mapping[str, int]) -> Part | None:
        """Makes room for a copy; returns the part to write it to, None if there is no room.

        What is not needed goes first, the longest unused before the others; then what is needed
        last. What is needed before this copy stays, and what any process reads.

        Args:
          needs: digest -> place in the order of need, that of this copy included.

        Raises:
          BusyError: if another process is writing this copy.
          CacheError: if the folder cannot be used.
        """
        with _errors(), self._alone(), contextlib.ExitStack() as opened:
            path = self.place(digest, _PART)
            handle = local_files.open_own(path, os.O_RDWR | os.O_CREAT)
            opened.callback(os.close, handle)
            if not _lock(handle, fcntl.LOCK_EX):
                raise BusyError
            if not self._make_room(digest, size, needs):
                os.unlink(path)
                return None
            os.ftruncate(handle, size)  # Other processes count it from now on.
            opened.pop_all()
            return Part(handle, path, self.place(digest), self._alone)

    def changed(self, digest: str) -> int:
        """When the part of a copy was written to, by whichever process; 0 if there is none."""
        with contextlib.suppress(OSError):
            return os.lstat(self.place(digest, _PART)).st_mtime_ns
        return 0

    def place(self, digest: str, ending: str = _COPY) -> str:
        """The path of a copy."""
        return os.path.join(self.path, digest + ending)

    def _make_room(self, digest: str, size: int, needs: Mapping[str, int]) -> bool:
        entries = [entry for entry in self._entries() if entry.digest != digest]
        used = size + sum(entry.size for entry in entries)
        last = needs.get(digest, 0)
        removable = [entry for entry in entries if needs.get(entry.digest, last + 1) > last]
        if used - sum(entry.size for entry in removable) > self.limit:
            return False
        removable.sort(key=lambda entry: entry.turn(needs))
        for entry in removable:
            if used <= self.limit and not entry.is_part:
                break
            # A part that can be locked is one of a killed process.
            used -= entry.size if _remove(os.path.join(self.path, entry.name)) else 0
        return used <= self.limit

    def _entries(self) -> list[_Entry]:
        found = []
        with os.scandir(self.path) as listed:
            for item in listed:
                named = _OURS.fullmatch(item.name)
                with contextlib.suppress(FileNotFoundError):
                    if named and stat.S_ISREG((about := item.stat(follow_symlinks=False)).st_mode):
                        ending = named[2]
                        found.append(
                            _Entry(named[1], ending == _PART, about.st_size, about.st_atime_ns)
                        )
        return found

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keeps other threads and processes from making room at the same time."""
        handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            until = time.monotonic() + _LOCK_SECS
            while not _lock(handle, fcntl.LOCK_EX):
                if time.monotonic() > until:
                    raise CacheError(f"{self.path}: locked for {_LOCK_SECS:.0f} s")
                time.sleep(0.01)
            yield
        finally:
            os.close(handle)

    def _check_private(self) -> None:
        found = os.lstat(self.path)
        others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or others:
            raise CacheError(
                f"{self.path}: expected a folder of yours that no other user can write to"
            )

    def _check_tag(self) -> None:
        path = os.path.join(self.path, _TAG)
        try:
            with local_files.reading(path) as file:
                if file.read(len(_TAG_TEXT) + 1) == _TAG_TEXT:
                    return
        except FileNotFoundError:
            if all(map(local_files.is_temporary, os.listdir(self.path))):
                with local_files.replacing(path) as file:
                    file.write(_TAG_TEXT)
                return
        raise CacheError(f"{self.path}: holds files that are no copies of shards")

    def _usual_limit(self) -> int:
        found = os.statvfs(self.path)
        held = sum(entry.size for entry in self._entries())
        return min(_USUAL_LIMIT, (found.f_bavail * found.f_frsize + held) // 2)


@dataclasses.dataclass(frozen=True)
class _Entry:
    digest: str
    is_part: bool
    size: int
    used_nsec: int

    @property
    def name(self) -> str:
        return self.digest + (_PART if self.is_part else _COPY)

    def turn(self, needs: Mapping[str, int]) -> tuple[int, int]:
        """Sorts what is to be removed first to the front."""
        if self.is_part:
            return 0, 0
        place = needs.get(self.digest)
        return (1, self.used_nsec) if place is None else (2, -place)


class Part:
    """A copy that is being written."""

    def __init__(self, handle: int, path: str, final: str, alone: _Alone) -> None:
        self._handle, self._path, self._final, self._alone = handle, path, final, alone
        self._end = 0

    def write(self, block: bytes) -> None:
        """Adds bytes; raises CacheError if the disk does not take them."""
        left = memoryview(block)
        with _errors():
            while left:
                written = os.pwrite(self._handle, left, self._end)
                left, self._end = left[written:], self._end + written

    def restart(self) -> None:
        """Begins anew."""
        self._end = 0

    def commit(self) -> int | None:
        """Makes the part a copy; returns what `CacheFolder.find` does.

        Nothing is synced: a copy of an earlier process is compared with its digest before use.

        Raises:
          CacheError: if that fails.
        """
        with _errors():
            with self._alone():  # Whoever makes room counts either the part or the copy.
                os.replace(self._path, self._final)
            # Another process may remove it in between: the kernel gives one lock up for the other.
            if _lock(self._handle, fcntl.LOCK_SH) and os.fstat(self._handle).st_nlink:
                return self._handle
            os.close(self._handle)
            return None

    def discard(self) -> None:
        """Removes the part."""
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        os.close(self._handle)


def sha256(handle: int, check: Callable[[], None] = lambda: None) -> str:
    """The digest of an open copy; `check` is called often, and may raise an error."""
    digest, place = hashlib.sha256(), 0
    with _errors():
        while block := os.pread(handle, _BLOCK_BYTES, place):
            check()
            digest.update(block)
            place += len(block)
    return digest.hexdigest()


def identity(handle: int) -> Identity:
    """The identity of the file of a descriptor."""
    found = os.fstat(handle)
    return found.st_ino, found.st_size, found.st_mtime_ns


def _lock(handle: int, kind: int) -> bool:
    """Locks an open file; returns whether it could: False if another process has locked it."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise OSError(error.errno or errno.ENOLCK, f"cannot be locked ({error.strerror})") from None
    return True


def _note_use(handle: int, found: os.stat_result) -> None:
    # Not the time of change: that tells whether the content is still the one that was checked.
    with contextlib.suppress(OSError):
        os.utime(handle, ns=(time.time_ns(), found.st_mtime_ns))


def _remove(path: str) -> bool:
    """Removes a copy or part unless a process has locked it; returns whether it is gone."""
    try:
        handle = local_files.open_own(path, os.O_RDONLY)
    except (OSError, InputError):
        return not os.path.lexists(path)
    try:
        if _lock(handle, fcntl.LOCK_EX):
            os.unlink(path)
            return True
        return False
    finally:
        os.close(handle)
