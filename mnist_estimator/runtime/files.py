"""Reads, writes and removes files on any filesystem that TensorFlow knows, each file as a whole."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any

from mnist_estimator import InputError, storage
from mnist_estimator.compat import tf
from mnist_estimator.runtime import local_files, signals

_BLOCK_BYTES = 2**20
_HEAD_BYTES = 2**16  # Of a file, in which a mark tells which program wrote it.

# The errors of TensorFlow for a file that cannot be read or written.
FILE_ERRORS = (
    tf.errors.DataLossError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.NotFoundError,
    tf.errors.OutOfRangeError,
    tf.errors.PermissionDeniedError,
    tf.errors.ResourceExhaustedError,
    tf.errors.UnauthenticatedError,
    tf.errors.UnavailableError,
)

_MEMORY = re.compile(r"\bOOM\b|[Aa]llocat|[Mm]emory")
# Other things that can be exhausted. The path before them may have any words.
_FILES = re.compile(r"No space left|[Qq]uota|File too large|Too many open files")


class FileError(InputError):
    """A file or folder that cannot be read or written."""


class OutageError(FileError):
    """A store does not answer. Later it may, so an engine is to start the program again."""

    exit_code = signals.EXIT_LOST


@contextlib.contextmanager
def file_errors(path: str) -> Iterator[None]:
    """Raises a filesystem's error as a FileError of one line that names the path."""
    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        line = error_line(error)
        # TensorFlow's own form is "PATH; REASON".
        line = line.replace("; ", ": ", 1) if path in line else f"{path}: {line}"
        raise (OutageError if is_outage(error) else FileError)(line) from error


def is_outage(error: Exception) -> bool:
    """Whether an error means that a store did not answer, however often it was asked."""
    is_of_network = isinstance(error, (tf.errors.UnavailableError, tf.errors.AbortedError))
    return is_of_network and any(f"{scheme}://" in error_line(error) for scheme in storage.SCHEMES)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error means out of memory. TensorFlow raises the same class for a full disk."""
    if isinstance(error, tf.errors.ResourceExhaustedError):
        # Only the first line: the rest of the message quotes the program.
        line = error_line(error)
        return bool(_MEMORY.search(line)) and not _FILES.search(line)
    return isinstance(error, MemoryError)


def error_line(error: Exception) -> str:
    """The line of a TensorFlow or OS error that says what happened."""
    text = getattr(error, "message", None) or getattr(error, "strerror", None) or str(error)
    # A graph's error ends with its whole history. TensorFlow 2.15 also puts lines before it.
    lines = str(text).partition("\n\t [[")[0].strip().splitlines()
    return " ".join(lines[-1].split()) if lines else type(error).__name__


def write_text(path: str, text: str) -> None:
    """Replaces a file as `write_bytes` does."""
    write_bytes(path, text.encode())


def write_bytes(path: str, content: bytes) -> None:
    """Replaces a file as a whole: the old or the new one is there, even if the process is killed.

    A link is replaced, not the file that it points to.

    Raises:
      InputError: if it cannot be written.
    """
    with file_errors(path):
        if is_local(path):
            with local_files.replacing(path) as file:
                file.write(content)
            return
        with _written(path) as place, tf.io.gfile.GFile(place, "wb") as file:
            file.write(content)


def write_json(path: str, value: dict[str, Any]) -> None:
    """Replaces a file as `write_text` does."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def copy(source: str, target: str) -> None:
    """Replaces `target` by a copy of a file, as `write_bytes` does."""
    with file_errors(target):
        if is_local(target):
            with reading(source) as old, local_files.replacing(target) as new:
                shutil.copyfileobj(old, new, _BLOCK_BYTES)
            return
        with _written(target) as place:
            tf.io.gfile.copy(source, place, overwrite=True)


@contextlib.contextmanager
def _written(path: str) -> Iterator[str]:
    """Where to write a file that is not local, so that it is whole or not there."""
    if storage.is_ours(path):
        yield path  # An object comes into being when all of it has been sent.
        return
    place = local_files.temporary_beside(path)
    yield place
    tf.io.gfile.rename(place, path, overwrite=True)


@contextlib.contextmanager
def created(path: str) -> Iterator[IO[bytes]]:
    """Opens a new file for writing; a local one must not exist.

    Raises:
      InputError: if it cannot be written.
    """
    with file_errors(path), _created(path) as file:
        yield file


def _created(path: str) -> IO[bytes]:
    return local_files.created(path) if is_local(path) else tf.io.gfile.GFile(path, "wb")


def check_writable(path: str) -> None:
    """Raises InputError if a file cannot be written; for a check before long work."""
    with file_errors(path):
        if is_local(path):
            local_files.check_writable(path)
            return
        place = local_files.temporary_beside(path)
        with tf.io.gfile.GFile(place, "wb") as file:
            file.write(b"")
        tf.io.gfile.remove(place)


def check_ours(path: str, mark: bytes) -> None:
    """Raises InputError if there is a file at `path` whose beginning does not hold `mark`.

    For a name that the user did not give: another program's file is not replaced.
    """
    with file_errors(path):
        if not tf.io.gfile.exists(path):
            return
        with reading(path) as file:
            head = file.read(_HEAD_BYTES)
    if mark not in head:
        raise InputError(f"{path}: a file of another program is there; move it away")


@contextlib.contextmanager
def reading(path: str) -> Iterator[IO[bytes]]:
    """Opens a plain file for reading.

    Raises:
      InputError: if it is not a plain file. To open a FIFO would wait, and a device need not end.
      OSError or tf.errors.OpError: if it cannot be opened.
    """
    opened = local_files.reading(path) if is_local(path) else tf.io.gfile.GFile(path, "rb")
    with opened as file:
        yield file


def check_plain(path: str) -> None:
    """Raises InputError if there is something at a local path that is not a plain file."""
    if is_local(path):
        local_files.check_plain(path)


def read_bytes(path: str, most: int = 2**30) -> bytes | None:
    """The content of a plain file; None if it does not exist.

    Raises:
      InputError: if it is longer than `most` bytes, or not a plain file.
      OSError or tf.errors.OpError: if it cannot be read.
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


def size_and_sha256(path: str) -> tuple[int, str]:
    """Returns a file's size and the sha256 of its bytes in hex."""
    digest, size = hashlib.sha256(), 0
    with file_errors(path), reading(path) as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


def make_folders(path: str) -> None:
    """Makes a folder and its parents, unless they exist.

    Local ones by Python: TensorFlow would ignore the umask and let only the owner write to them.

    Raises:
      InputError: if one cannot be made.
    """
    with file_errors(path):
        if is_local(path):
            os.makedirs(path or ".", exist_ok=True)
        else:
            tf.io.gfile.makedirs(path)


def make_folder(path: str) -> None:
    """Makes a folder; a local one must not exist.

    Raises:
      InputError: if it cannot be made.
    """
    with file_errors(path):
        if is_local(path):
            os.mkdir(path)
        else:
            tf.io.gfile.makedirs(path)


def last_change(path: str) -> int:
    """When a file or folder changed, in nanoseconds of its filesystem's clock.

    0 if it is not there, or if the filesystem keeps no times of folders, as object stores.
    """
    try:
        return tf.io.gfile.stat(path).mtime_nsec
    except tf.errors.OpError:
        return 0


def last_beat(folder: str, beat: str) -> int:
    """When the owner of a folder last wrote the file `beat` there, as `last_change` says it.

    The folder is there a moment before its first beat, so without a beat its own time counts.
    """
    return last_change(os.path.join(folder, beat)) or last_change(folder)


def check_no_link(path: str) -> None:
    """Raises InputError if the path of a folder to write to is a symbolic link."""
    if is_local(path):
        local_files.check_no_link(path)


def sync(path: str) -> None:
    """Forces a local file or folder to the disk; other filesystems do so on close."""
    if not is_local(path):
        return
    with file_errors(path):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError as error:
            # A filesystem that cannot sync a folder raises EINVAL.
            if error.errno != errno.EINVAL:
                raise
        finally:
            os.close(handle)


def is_local(path: str) -> bool:
    """Whether a path is local, and not on another filesystem such as gs://."""
    return "://" not in path


def is_literal(path: str) -> bool:
    """Whether a path, read as a pattern by TensorFlow, matches only itself."""
    return not set(path) & set("*?[\\")


@contextlib.contextmanager
def memory_folder() -> Iterator[str]:
    """An empty folder in this process's memory, removed after the block."""
    folder = f"ram://{secrets.token_hex(8)}"
    tf.io.gfile.makedirs(folder)
    try:
        yield folder
    finally:
        remove_folder(folder)


@contextlib.contextmanager
def in_memory(folder: str, names: Iterable[str]) -> Iterator[str]:
    """A folder in memory with copies of some files of `folder`.

    TensorFlow reads the path of a checkpoint or SavedModel as a pattern. One whose path is not
    literal is read from such a copy.

    Args:
      names: paths of the files, relative to `folder`.
    """
    with memory_folder() as copy:
        for name in names:
            place = os.path.join(copy, name)
            tf.io.gfile.makedirs(os.path.dirname(place))
            tf.io.gfile.copy(os.path.join(folder, name), place)
        yield copy


@contextlib.contextmanager
def temporary_folder() -> Iterator[str]:
    """A local folder, removed after the block.

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
    """The paths of all files in a folder and below; none if it does not exist.

    A link in a local folder counts as a file, even if it points to a folder.
    """
    if not is_local(folder):
        for place, _, names in tf.io.gfile.walk(folder):
            yield from (os.path.join(place, name) for name in names)
        return
    for place, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        yield from (os.path.join(place, name) for name in [*names, *links])


def remove(path: str) -> None:
    """Removes a file; ignores errors, because a file that is left does no harm."""
    with contextlib.suppress(tf.errors.OpError):
        tf.io.gfile.remove(path)


def remove_empty(folder: str) -> None:
    """Removes a local folder if it is empty; other filesystems have no empty folders."""
    if is_local(folder):
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def remove_folder(folder: str, first: Sequence[str] = ()) -> None:
    """Removes a folder and its content; ignores what is not there or cannot be removed.

    Symbolic links are removed and never followed. The package removes folders only here.

    Args:
      first: paths of files, relative to the folder, to remove before all others.
    """
    if is_local(folder):
        local_files.remove_folder(folder, first)
        return
    for path in first:
        remove(os.path.join(folder, path))
    with contextlib.suppress(tf.errors.OpError):
        tf.io.gfile.rmtree(folder)


def remove_left_overs(folder: str, is_ours: Callable[[str], Any]) -> None:
    """Removes temporary files, a day old or older, that killed processes left in a folder.

    Args:
      is_ours: whether a file of this name can only be one of this package.
    """
    if storage.is_ours(folder):
        return  # There are none: see `_written`.
    if not is_local(folder):
        with contextlib.suppress(tf.errors.OpError):
            for name in filter(is_ours, tf.io.gfile.listdir(folder)):
                path = os.path.join(folder, name)
                written = tf.io.gfile.stat(path).mtime_nsec / 1e9
                if time.time() - written > local_files.LEFT_OVER_SECS:
                    tf.io.gfile.remove(path)
        return
    with contextlib.suppress(OSError):
        for name in filter(is_ours, os.listdir(folder or ".")):
            path = os.path.join(folder, name)
            if local_files.is_left_over(path):
                local_files.remove_folder(path)
