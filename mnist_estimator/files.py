"""Files that are whole or not there, on any filesystem that TensorFlow knows."""

from __future__ import annotations

import errno
import json
import os
from typing import Any

from mnist_estimator.compat import tf
from mnist_estimator.records import file_errors


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


def read_bytes(path: str) -> bytes | None:
    """The content of a file; None if there is none."""
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            return file.read()
    except (tf.errors.NotFoundError, tf.errors.FailedPreconditionError):
        return None


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
