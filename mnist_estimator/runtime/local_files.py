"""Files and folders of this machine's own filesystems, without TensorFlow; `files` is for all.

Whoever may write to a folder may put symbolic and hard links there, FIFOs and devices. So a new
file is made exclusively, under a name that nobody can guess; nothing is written or removed through
a link; and what is read is a plain file. All raise OSError, too, as the system gives it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator, Sequence
from typing import IO

from mnist_estimator import InputError

# The names of files that are being written, and of those that killed processes leave behind.
_TEMPORARY = re.compile(r"\.mnist_estimator-[0-9a-f]{16}\.tmp")
_LEFT_OVER_SECS = 24 * 3600  # Nothing here is written for so long.


@contextlib.contextmanager
def reading(path: str) -> Iterator[IO[bytes]]:
    """Opens a plain file for reading.

    Opening a FIFO waits for whoever writes into it, and a device need not end.

    Raises:
      InputError: if it is anything else, such as a FIFO or a device.
    """
    with open(path, "rb", opener=_open_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise _not_plain(path)
        yield file


def check_plain(path: str) -> None:
    """Raises InputError if something is at a path, and it is no plain file."""
    with contextlib.suppress(OSError):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise _not_plain(path)


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _not_plain(path: str) -> InputError:
    return InputError(f"{path}: not a plain file, expected one")


@contextlib.contextmanager
def replacing(path: str) -> Iterator[IO[bytes]]:
    """Gives a new file to write to, which takes the place of `path` once the block has gone well.

    At every moment, killed whenever, the old file or the new one is there. A link at `path` is
    replaced, not what it points to.

    Raises:
      InputError: if a folder, a device or a FIFO is at `path`.
    """
    check_replaceable(path)
    temporary = os.path.join(os.path.dirname(path), f".mnist_estimator-{secrets.token_hex(8)}.tmp")
    try:
        with created(temporary) as file:
            yield file
            file.flush()
            # Else a power failure could leave the new name with nothing in it.
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def created(path: str) -> IO[bytes]:
    """Opens a new file for writing; raises FileExistsError if anything, a link too, is there."""
    return open(path, "xb")  # Exclusive, which follows no link. Modes are by the umask.


def check_replaceable(path: str) -> None:
    """Raises InputError if a folder, a device or a FIFO is at a path that is to be written."""
    check_plain(path)
    # /dev/stdout and /dev/fd/1 are links, perhaps to a plain file; they are the system's.
    with contextlib.suppress(OSError):
        here = os.path.realpath(os.path.dirname(path))
        if any(f"{place}/".startswith("/proc/") for place in (here, os.readlink(path))):
            raise _not_plain(path)


def check_writable(path: str) -> None:
    """Raises InputError or OSError if `replacing` could not make a file at a path."""
    check_replaceable(path)
    temporary = os.path.join(os.path.dirname(path), f".mnist_estimator-{secrets.token_hex(8)}.tmp")
    created(temporary).close()
    os.unlink(temporary)


def write_over(path: str, content: bytes) -> None:
    """Writes over a file that is there, which takes no more room, for a disk that is full.

    Only for where `replacing` fails: whoever reads meanwhile may see parts of both.

    Raises:
      InputError: as `open_own`.
    """
    handle = open_own(path, os.O_WRONLY)
    try:
        write_handle(handle, content)
    finally:
        os.close(handle)


def write_handle(handle: int, content: bytes) -> None:
    """Makes an open file hold this and nothing else."""
    os.pwrite(handle, content, 0)
    os.ftruncate(handle, len(content))


def open_own(path: str, flags: int) -> int:
    """Opens a file of this package's to be written over; returns its descriptor.

    Raises:
      InputError: if it is no plain file, or, by a hard link, another program's as well.
    """
    try:
        handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # A link; a FIFO that nobody reads.
            raise _not_plain(path) from None
        raise
    found = os.fstat(handle)
    if stat.S_ISREG(found.st_mode) and found.st_nlink <= 1:
        return handle
    os.close(handle)
    if not stat.S_ISREG(found.st_mode):
        raise _not_plain(path)
    raise InputError(
        f"{path}: found {found.st_nlink} hard links to it, expected one, as another file would "
        "change with it; remove it"
    )


def check_no_link(path: str) -> None:
    """Raises InputError if a symbolic link is at the path of a folder that is written to."""
    if os.path.islink(path):
        raise InputError(
            f"{path}: is a symbolic link, expected a folder or nothing, as files are written and "
            "deleted in it; remove the link"
        )


def remove_folder(folder: str, first: Sequence[str] = ()) -> None:
    """Removes a folder with all that is in it, as far as it is there and can be removed.

    A symbolic link, which it may be or contain, is removed and never gone through.

    Args:
      first: paths of files, from the folder, that are removed before all others.
    """
    try:
        handle = _open_folder(folder)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(folder)  # A link or a file.
        return
    try:
        for path in first:
            _remove_below(handle, path)
    finally:
        os.close(handle)
    shutil.rmtree(folder, ignore_errors=True)


def _open_folder(name: str, within: int | None = None) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=within)


def _remove_below(handle: int, path: str) -> None:
    """Removes a file by its path from an open folder, through no link, whatever moves meanwhile."""
    *folders, name = path.split("/")
    with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
        for folder in folders:
            handle = _open_folder(folder, handle)
            stack.callback(os.close, handle)
        os.unlink(name, dir_fd=handle)


def is_temporary(name: str) -> bool:
    """Whether a file of this name is one of `replacing`."""
    return _TEMPORARY.fullmatch(name) is not None


def is_left_over(path: str) -> bool:
    """Whether something has not been changed for so long that nobody is at work on it."""
    try:
        return time.time() - os.lstat(path).st_mtime > _LEFT_OVER_SECS
    except OSError:
        return False
