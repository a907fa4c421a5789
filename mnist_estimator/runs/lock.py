"""One trainer a model_dir: the second one is told who the first is.

On a local filesystem the lock is the kernel's. Where files cannot be locked, the owner rewrites the
lock file every 10 seconds, and a lock that stays the same for a minute is dead.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator

from mnist_estimator import InputError
from mnist_estimator.compat import tf
from mnist_estimator.runtime import files, json_files, local_files, progress
from mnist_estimator.runtime.files import file_errors, is_local
from mnist_estimator.runtime.locking import Heartbeat, acquire, is_running

LOCK_FILE = ".trainer"
_BEAT_SECS = 10.0
_DEAD_SECS = 60.0
_MOST_BYTES = 2**12  # A line.


class LockedError(InputError):
    """Another process trains in the model_dir."""


@contextlib.contextmanager
def held(model_dir: str, *, sleep: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Keeps other trainers out of a model_dir while the block runs; makes the folder.

    Raises:
      LockedError: if another trainer is at work; names its host, process and start.
      InputError: if the folder cannot be written to.
    """
    path = os.path.join(model_dir, LOCK_FILE)
    with contextlib.ExitStack() as stack:
        with file_errors(model_dir):
            files.make_folders(model_dir)
            locked = _lock(path, stack) if is_local(path) else None
        owner = _owner()
        if locked is None:
            _take_over(path, sleep)
            stack.enter_context(_beating(path, owner))
        else:
            with file_errors(path):
                local_files.write_handle(locked, _text(owner))
        yield


def _lock(path: str, stack: contextlib.ExitStack) -> int | None:
    """Locks a local file until this process ends; returns its descriptor.

    None if the filesystem has no locks.
    """
    handle = local_files.open_own(path, os.O_RDWR | os.O_CREAT)
    stack.callback(os.close, handle)
    try:
        return handle if acquire(handle) else None
    except BlockingIOError:
        raise _locked(path, _read(path)) from None


def _take_over(path: str, sleep: Callable[[float], None]) -> None:
    """Returns once the lock file is nobody's, raises LockedError if it is somebody's."""
    owner = _read(path)
    if not owner or _is_dead(owner):
        return
    progress.say(f"waiting up to {_DEAD_SECS:.0f} s for the lock of {_name(owner)}", sys.stderr)
    for _ in range(round(_DEAD_SECS)):
        sleep(1)
        now = _read(path)
        if now.get("beat") != owner.get("beat"):
            if not now:
                return
            raise _locked(path, now)


@contextlib.contextmanager
def _beating(path: str, owner: dict[str, str]) -> Iterator[None]:
    """Rewrites the lock file while the block runs, and removes it afterwards."""
    heartbeat = Heartbeat(lambda: _write(path, owner), _BEAT_SECS)
    try:
        with heartbeat.in_background():
            yield
    finally:
        files.remove(path)


def _owner() -> dict[str, str]:
    started = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    return {"host": socket.gethostname(), "pid": str(os.getpid()), "started": started}


def _write(path: str, owner: dict[str, str]) -> None:
    files.write_bytes(path, _text(owner))


def _text(owner: dict[str, str]) -> bytes:
    return json.dumps(owner | {"beat": secrets.token_hex(8)}).encode() + b"\n"


def _read(path: str) -> dict[str, str]:
    """What a lock file says; nothing if there is none, or it is not one (yet)."""
    try:
        found = json_files.parse(files.read_bytes(path, _MOST_BYTES) or b"{}")
    except (OSError, tf.errors.OpError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: text for name, text in found.items() if isinstance(text, str)}


def _is_dead(owner: dict[str, str]) -> bool:
    here = owner.get("host") == socket.gethostname()
    pid = re.fullmatch("[0-9]{1,9}", owner.get("pid", ""))
    return bool(here and pid and not is_running(int(pid[0])))


def _name(owner: dict[str, str]) -> str:
    host, pid, started = (owner.get(key, "unknown") for key in ("host", "pid", "started"))
    return f"the trainer on host {host}, process {pid}, started {started}"


def _locked(path: str, owner: dict[str, str]) -> LockedError:
    return LockedError(
        f"{os.path.dirname(path)}: in use by {_name(owner)}; wait for its end, or give another "
        "--model_dir"
    )
