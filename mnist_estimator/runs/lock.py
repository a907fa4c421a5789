"""One trainer a model_dir: the second one is told who the first is.

On a local filesystem the lock is the kernel's. Where files cannot be locked, the owner rewrites the
lock file every 10 seconds, and a lock that stays the same for a minute is dead. In an object store
the lock file is a lease: a trainer that was stopped for so long, and goes on, finds that it has
lost it, and writes nothing more.
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

from mnist_estimator import InputError, storage
from mnist_estimator.compat import tf
from mnist_estimator.runtime import files, json_files, leases, local_files, progress, watchdog
from mnist_estimator.runtime.files import file_errors, is_local
from mnist_estimator.runtime.locking import Heartbeat, acquire, is_running, this_machine

LOCK_FILE = ".trainer"
_BEAT_SECS = 10.0
_DEAD_SECS = 60.0
_SURE_SECS = 40.0  # Of a lease: before others think it dead, with time to write a file.
_MOST_BYTES = 2**12  # A line.
_TRIES = 3

_leases: dict[str, leases.Lease] = {}  # Of this process, by the path of the lock file.


class LockedError(InputError):
    """Another process trains in the model_dir."""


@contextlib.contextmanager
def held(
    model_dir: str, *, file: str = LOCK_FILE, sleep: Callable[[float], None] = time.sleep
) -> Iterator[None]:
    """Keeps other trainers out of a model_dir while the block runs; makes the folder.

    Args:
      file: name of the lock file; who takes another one than trainers do, locks something else.

    Raises:
      LockedError: if another trainer is at work; names its host, process and start.
      InputError: if the folder cannot be written to.
    """
    path = os.path.join(model_dir, file)
    with contextlib.ExitStack() as stack:
        with file_errors(model_dir):
            files.make_folders(model_dir)
            locked = _lock(path, stack) if is_local(path) else None
        if locked is not None:
            with file_errors(path):
                local_files.write_handle(locked, _text(_owner()))
        elif not (storage.is_ours(path) and _lease(path, stack, sleep)):
            _take_over(path, sleep)
            stack.enter_context(_beating(path, _owner()))
        yield


def check(model_dir: str) -> None:
    """Returns if nobody else can have taken over the model_dir that this process trains in.

    Call it before something is written there. It costs nothing unless the machine, the process or
    the store has been stopped for a while.

    Raises:
      leases.LostError: if another trainer has taken it over.
      InputError or RunError: if it is not known, as the store does not answer.
    """
    lease = _leases.get(os.path.join(model_dir, LOCK_FILE))
    if lease:
        lease.check()


def _lease(path: str, stack: contextlib.ExitStack, sleep: Callable[[float], None]) -> bool:
    """Holds a lease until the stack is left; False if the store has no conditional writes."""
    owner = _owner() | {"machine": this_machine()}
    for _ in range(_TRIES):
        version = _free_version(path, sleep)
        try:
            lease = leases.Lease(path, lambda: _text(owner), version, _SURE_SECS)
        except storage.UnconditionalError as error:
            progress.warn(f"{error}; two trainers that start at the same moment may both train")
            return False
        except storage.ChangedError:
            _, first = _version_and_owner(path)
            if first:
                raise _locked(path, first) from None
            continue
        stack.enter_context(lease.beating(_BEAT_SECS))
        stack.callback(_leases.pop, path)
        _leases[path] = lease
        return True
    raise _locked(path, {})


def _free_version(path: str, sleep: Callable[[float], None]) -> str | None:
    """The version of a lock file that is nobody's by now; None if there is none.

    Raises:
      LockedError: if it is somebody's.
    """
    version, owner = _version_and_owner(path)
    if not owner or _is_gone(owner):
        return version
    _say_waiting(owner)
    for _ in range(round(_DEAD_SECS)):
        watchdog.alive()
        sleep(1)
        now, owner = _version_and_owner(path)
        if not owner:
            return now
        if now != version:
            raise _locked(path, owner)
    return version


def _version_and_owner(path: str) -> tuple[str | None, dict[str, str]]:
    content, version = storage.read_version(path) or (b"", None)
    return version, _parsed(content)


def _is_gone(owner: dict[str, str]) -> bool:
    """Whether the owner was a process of this machine that has ended.

    In containers two machines may have one name, and all processes the same number.
    """
    return this_machine() == owner.get("machine") != "" and _has_ended(owner)


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
    _say_waiting(owner)
    for _ in range(round(_DEAD_SECS)):
        watchdog.alive()
        sleep(1)
        now = _read(path)
        if now.get("beat") != owner.get("beat"):
            if not now:
                return
            raise _locked(path, now)


def _say_waiting(owner: dict[str, str]) -> None:
    progress.say(f"waiting up to {_DEAD_SECS:.0f} s for the lock of {_name(owner)}", sys.stderr)


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
        return _parsed(files.read_bytes(path, _MOST_BYTES) or b"")
    except (OSError, tf.errors.OpError, InputError):
        return {}


def _parsed(content: bytes) -> dict[str, str]:
    try:
        found = json_files.parse(content[:_MOST_BYTES] or b"{}")
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: text for name, text in found.items() if isinstance(text, str)}


def _is_dead(owner: dict[str, str]) -> bool:
    return owner.get("host") == socket.gethostname() and _has_ended(owner)


def _has_ended(owner: dict[str, str]) -> bool:
    pid = re.fullmatch("[0-9]{1,9}", owner.get("pid", ""))
    return bool(pid and not is_running(int(pid[0])))


def _name(owner: dict[str, str]) -> str:
    host, pid, started = (owner.get(key, "unknown") for key in ("host", "pid", "started"))
    return f"the trainer on host {host}, process {pid}, started {started}"


def _locked(path: str, owner: dict[str, str]) -> LockedError:
    return LockedError(
        f"{os.path.dirname(path)}: in use by {_name(owner)}; wait for its end, or give another "
        "--model_dir"
    )
