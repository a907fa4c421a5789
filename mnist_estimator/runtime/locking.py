"""What a lock between processes is made of: the kernel's lock, and a heartbeat where it has none.

The kernel frees its lock when the owner dies, however it dies. Object stores and some network
filesystems have no locks. There the owner writes a file again and again, and an owner whose file
stays the same is dead.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import socket
import time
from collections.abc import Callable, Iterator

from mnist_estimator.runtime import background, watchdog

_MOUNTS = "/proc/self/mountinfo"
_LOCAL_LOCKS = {"nolock", "local_lock=all", "local_lock=flock", "localflock"}  # NFS, Lustre.


def acquire(handle: int) -> bool:
    """Locks an open file or folder, until it is closed or this process ends.

    Returns:
      Whether it is locked; False if the filesystem has no locks, or only such that other machines
      do not see.

    Raises:
      BlockingIOError: if another process holds the lock.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return _is_seen_elsewhere(handle)


def _is_seen_elsewhere(handle: int) -> bool:
    """Whether other machines that have the filesystem of an open file see locks of it.

    FUSE (gcsfuse, s3fs, sshfs), NFS with the option nolock and Lustre with localflock keep a lock
    on this machine without an error.
    """
    device = os.fstat(handle).st_dev
    name = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open(_MOUNTS, encoding="utf-8", errors="replace") as mounts:
            lines = [line.partition(" - ")[::2] for line in mounts]
    except OSError:
        return True
    for place, filesystem in lines:
        if place.split()[2:3] == [name]:
            kind, *_, options = filesystem.split()
            is_fuse = kind == "fuse" or kind.startswith("fuse.")
            return not (is_fuse or _LOCAL_LOCKS & {*options.split(",")})
    return True


class Heartbeat:
    """Shows other processes that this one is alive, by what `write` writes.

    Whoever works calls it often; it writes once in `every_secs` at most, for the first time when it
    is made. Or a thread does so, see `in_background`.
    """

    def __init__(self, write: Callable[[], None], every_secs: float) -> None:
        self._write, self._every_secs, self._next = write, every_secs, 0.0
        self()

    def __call__(self) -> None:
        """Writes if it is due."""
        watchdog.alive()
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self._every_secs
            self._write()

    @contextlib.contextmanager
    def in_background(self) -> Iterator[None]:
        """Writes from a thread until the block ends. Errors of the filesystem are ignored."""
        with background.repeating(self._write, "heartbeat", self._every_secs):
            yield


def this_machine() -> str:
    """Names this start of this machine, and the container in which process numbers are valid.

    "" where that is not known.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def this_host() -> str:
    """Names this machine and container, in letters, digits and _.

    The name alone is not enough: several containers may have one, and their processes one number.
    """
    machine = hashlib.sha256(this_machine().encode()).hexdigest()[:12]
    return re.sub(r"\W", "_", f"{socket.gethostname()}_{machine}", flags=re.ASCII)


def is_running(pid: int) -> bool:
    """Whether this machine has a process of this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True
