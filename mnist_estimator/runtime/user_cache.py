"""Small files that are kept in the user's folder for caches, for later processes.

Who can write such a file decides what those processes use. So a file is read only if it is the
user's own, nobody else may write to it, and its content is what was kept under this name and key.
What cannot be read or kept is made anew by the caller: nothing here raises.
"""

from __future__ import annotations

import contextlib
import hashlib
import os

from mnist_estimator import InputError
from mnist_estimator.runtime import local_files

_MOST_BYTES = 2**26


def folder() -> str:
    """This package's folder in $XDG_CACHE_HOME or ~/.cache; "" if the user has no home folder."""
    return local_files.user_folder("XDG_CACHE_HOME", "~/.cache")


def read(kind: str, name: str, key: str) -> bytes | None:
    """What was kept under a name and a key; None if there is nothing, or it is damaged.

    Args:
      kind: the folder in the user's folder for caches.
      key: says what the content was made from.
    """
    found = b""
    with (
        contextlib.suppress(OSError, InputError),
        local_files.reading(os.path.join(folder(), kind, name)) as file,
    ):
        if local_files.is_private(os.fstat(file.fileno())):
            found = file.read(_MOST_BYTES)
    seal, _, content = found.partition(b"\n")
    return content if seal == _seal(name, key, content) else None


def keep(kind: str, name: str, key: str, content: bytes) -> None:
    """Keeps a content for `read`, in the place of any other of this name."""
    if not folder():
        return
    path = os.path.join(folder(), kind, name)
    with contextlib.suppress(OSError, InputError):
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        with local_files.replacing(path) as file:
            os.fchmod(file.fileno(), 0o600)  # Whatever the umask is.
            file.write(_seal(name, key, content) + b"\n" + content)


def _seal(name: str, key: str, content: bytes) -> bytes:
    return hashlib.sha256(f"{name}\n{key}\n".encode() + content).hexdigest().encode()
