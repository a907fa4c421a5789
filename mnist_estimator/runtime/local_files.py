"""Reads, writes and removes local files without TensorFlow; `files` also does so on gs:// and such.

Other users may be able to write to a folder and put symbolic links, hard links, FIFOs or devices
there. So a new file is opened exclusively and under a name that nobody can guess, nothing is
written or removed through a link, and only plain files are read. Every function may also raise
OSError.
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
LEFT_OVER_SECS = 24 * 3600  # No file here takes as long to write.


@contextlib.contextmanager
def reading(path: str) -> Iterator[IO[bytes]]:
    """Opens a plain file for reading.

    Opening a FIFO waits for whoever writes into it, and a device need not end.

    Raises:
      InputError: if it is anything else, such as a FIFO or a device.
    """
    with open(path, "rb", opener=_open_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise _not_plain(path)
        yield file


def check_plain(path: str) -> None:
    """Raises InputError if there is something at a path that is not a plain file."""
    with contextlib.suppress(OSError):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise _not_plain(path)


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _not_plain(path: str) -> InputError:
    return InputError(f"{path}: not a plain file, expected one")


@contextlib.contextmanager
def replacing(path: str) -> Iterator[IO[bytes]]:
    """Opens a temporary file, and renames it to `path` if the block ends without an error.

    So the old file or the new one is there at any time, even if the process is killed. A link at
    `path` is replaced, not the file that it points to.

    Raises:
      InputError: if a folder, a device or a FIFO is at `path`.
    """
    check_replaceable(path)
    temporary = temporary_beside(path)
    try:
        with created(temporary) as file:
            yield file
            file.flush()
            # Without it a power failure could leave an empty file under the new name.
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def created(path: str) -> IO[bytes]:
    """Opens a new file for writing; raises FileExistsError if there is anything, even a link."""
    return open(path, "xb")  # Exclusive, so it follows no link. The umask decides the mode.


def check_replaceable(path: str) -> None:
    """Raises InputError if there is a folder, a device or a FIFO at a path to write to."""
    check_plain(path)
    # /dev/stdout and /dev/fd/1 are links of the system, even where they lead to a plain file.
    with contextlib.suppress(OSError):
        here = os.path.realpath(os.path.dirname(path))
        if any(f"{place}/".startswith("/proc/") for place in (here, os.readlink(path))):
            raise _not_plain(path)


def check_writable(path: str) -> None:
    """Raises InputError or OSError if `replacing` cannot write a file at a path."""
    check_replaceable(path)
    temporary = temporary_beside(path)
    created(temporary).close()
    os.unlink(temporary)


def write_over(path: str, content: bytes) -> None:
    """Overwrites an existing file in place, which works on a full disk.

    Use it only where `replacing` fails: a reader may see parts of the old and the new content.

    Raises:
      InputError: as `open_own`.
    """
    handle = open_own(path, os.O_WRONLY)
    try:
        write_handle(handle, content)
    finally:
        os.close(handle)


def write_handle(handle: int, content: bytes) -> None:
    """Replaces the content of an open file."""
    os.pwrite(handle, content, 0)
    os.ftruncate(handle, len(content))


def open_own(path: str, flags: int) -> int:
    """Opens a file of this package to overwrite it; returns its descriptor.

    Raises:
      InputError: if it is not a plain file, or has several hard links.
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
    """Raises InputError if the path of a folder to write to is a symbolic link."""
    if os.path.islink(path):
        raise InputError(
            f"{path}: is a symbolic link, expected a folder or nothing, as files are written and "
            "deleted in it; remove the link"
        )


def remove_folder(folder: str, first: Sequence[str] = ()) -> None:
    """Removes a folder and its content; ignores what is not there or cannot be removed.

    Symbolic links are removed and never followed.

    Args:
      first: paths of files, relative to the folder, to remove before all others.
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
    """Removes a file by its path relative to an open folder, and follows no link on the way."""
    *folders, name = path.split("/")
    with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
        for folder in folders:
            handle = _open_folder(folder, handle)
            stack.callback(os.close, handle)
        os.unlink(name, dir_fd=handle)


def temporary_beside(path: str) -> str:
    """A name in the same folder that no other file has."""
    return os.path.join(os.path.dirname(path), f".mnist_estimator-{secrets.token_hex(8)}.tmp")


def is_temporary(name: str) -> bool:
    """Whether this is a name of `temporary_beside`."""
    return _TEMPORARY.fullmatch(name) is not None


def is_left_over(path: str) -> bool:
    """Whether a file is so old that no process can still be writing it."""
    try:
        return time.time() - os.lstat(path).st_mtime > LEFT_OVER_SECS
    except OSError:
        return False


def user_folder(variable: str, usual: str) -> str:
    """This package's folder in $variable, or in `usual`; "" if the user has no home folder."""
    folder = os.environ.get(variable, "")
    if not os.path.isabs(folder):
        folder = os.path.expanduser(usual)
    return os.path.join(folder, "mnist_estimator") if os.path.isabs(folder) else ""


def is_private(found: os.stat_result) -> bool:
    """Whether it is a plain file of this user's, to which nobody else may write."""
    writable = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and not writable
