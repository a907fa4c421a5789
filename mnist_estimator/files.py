"""Files that are whole or not there, on any filesystem that TensorFlow knows."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, Any

from mnist_estimator import InputError
from mnist_estimator.compat import tf
from mnist_estimator.records import error_line, file_errors


def write_text(path: str, text: str) -> None:
    """Replaces a file as `write_bytes` does."""
    write_bytes(path, text.encode())


def write_bytes(path: str, content: bytes) -> None:
    """Replaces a file: at every moment, killed whenever, the old one or the new one is there.

    Raises:
      InputError: if it cannot be written.
    """
    with file_errors(path):
        with tf.io.gfile.GFile(path + ".tmp", "wb") as file:
            file.write(content)
        # Else a power failure could leave the new name with nothing in it.
        sync(path + ".tmp")
        tf.io.gfile.rename(path + ".tmp", path, overwrite=True)


def write_json(path: str, value: dict[str, Any]) -> None:
    """Replaces a file as `write_text` does."""
    write_text(path, json.dumps(value, indent=2) + "\n")


@contextlib.contextmanager
def reading(path: str) -> Iterator[IO[bytes]]:
    """Opens a plain file for reading.

    Opening a FIFO waits for whoever writes into it, and a device need not end.

    Raises:
      InputError: if it is anything else, such as a FIFO or a device.
      OSError or tf.errors.OpError: if it cannot be opened.
    """
    if not is_local(path):
        with tf.io.gfile.GFile(path, "rb") as file:
            yield file
        return
    with open(path, "rb", opener=_open_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise InputError(f"{path}: not a plain file, expected one")
        yield file


def check_plain(path: str) -> None:
    """Raises InputError if something other than a plain file is at a path that TensorFlow opens."""
    if is_local(path):
        with contextlib.suppress(OSError):
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise InputError(f"{path}: not a plain file, expected one")


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_bytes(path: str, most: int = 2**30) -> bytes | None:
    """The content of a plain file; None if there is none.

    Raises:
      InputError: if it is longer than `most` bytes, or no plain file.
    """
    try:
        with reading(path) as file:
            content = file.read(most + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (tf.errors.NotFoundError, tf.errors.FailedPreconditionError):
        return None
    if len(content) > most:
        raise InputError(f"{path}: longer than {most:,} bytes, expected a shorter file")
    return content


def sync(path: str) -> None:
    """Forces a local file or folder to the disk; other filesystems do so when a file is closed."""
    if not is_local(path):
        return
    with file_errors(path):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError as error:
            # Filesystems that cannot sync a folder say so with EINVAL.
            if error.errno != errno.EINVAL:
                raise
        finally:
            os.close(handle)


def is_local(path: str) -> bool:
    """Whether a path is one of this machine's, and not of another filesystem such as gs://."""
    return "://" not in path


def is_literal(path: str) -> bool:
    """Whether a path matches itself and nothing else where TensorFlow takes it for a pattern."""
    return not set(path) & set("*?[\\")


@contextlib.contextmanager
def memory_folder() -> Iterator[str]:
    """An empty folder in this process's memory; it needs no disk, and is gone afterwards."""
    folder = f"ram://{secrets.token_hex(8)}"
    tf.io.gfile.makedirs(folder)
    try:
        yield folder
    finally:
        with contextlib.suppress(tf.errors.OpError):
            tf.io.gfile.rmtree(folder)


@contextlib.contextmanager
def in_memory(folder: str, names: Iterable[str]) -> Iterator[str]:
    """A folder in memory with copies of some files of `folder`.

    TensorFlow reads checkpoints and SavedModels by patterns. So what lies at a path that is not
    literal is read from a copy whose path is.

    Args:
      names: paths below `folder`.
    """
    with memory_folder() as copy:
        for name in names:
            place = os.path.join(copy, name)
            tf.io.gfile.makedirs(os.path.dirname(place))
            tf.io.gfile.copy(os.path.join(folder, name), place)
        yield copy


@contextlib.contextmanager
def temporary_folder() -> Iterator[str]:
    """A folder on this machine that is gone afterwards.

    Raises:
      InputError: if none can be made.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="mnist_estimator-")
    except OSError as error:
        raise InputError(
            f"TMPDIR: found no folder to write to ({error_line(error)}), expected one that has "
            "room; make room, or set TMPDIR to another folder"
        ) from None
    with folder:
        yield folder.name


def walk(folder: str) -> Iterator[str]:
    """The paths of all files in a folder and below; of none if it is not there.

    Links to folders are followed, into each folder once: they may lead in circles.
    """
    walked = os.walk(folder, followlinks=True) if is_local(folder) else tf.io.gfile.walk(folder)
    seen = set()
    for place, folders, names in walked:
        if is_local(folder):
            found = os.stat(place)
            if (found.st_dev, found.st_ino) in seen:
                folders.clear()
                continue
            seen.add((found.st_dev, found.st_ino))
        yield from (os.path.join(place, name) for name in names)


def remove(path: str) -> None:
    """Removes a file, if it is there and can be removed: what is left does no harm."""
    with contextlib.suppress(tf.errors.OpError):
        tf.io.gfile.remove(path)


def remove_empty(folder: str) -> None:
    """Removes a local folder if nothing is in it; other filesystems keep none that are empty."""
    if is_local(folder):
        with contextlib.suppress(OSError):
            os.rmdir(folder)
