"""One trainer a model_dir: the second one is told who the first is.

On a local filesystem the lock is the kernel's. Where files cannot be locked, or only on each
machine by itself, the owner rewrites the lock file every 10 seconds, and a lock that stays the same
for a minute or more is dead. In an object store this is a lease, which only one of two can take. A
trainer that was stopped for so long, and goes on, finds that it has lost the lock, and writes
nothing more.
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
import threading
import time
from collections.abc import Callable, Iterator

from mnist_estimator import InputError, RunError, storage
from mnist_estimator.compat import tf
from mnist_estimator.runtime import (
    background,
    files,
    json_files,
    leases,
    local_files,
    progress,
    watchdog,
)
from mnist_estimator.runtime.files import file_errors, is_local
from mnist_estimator.runtime.locking import acquire, is_running, this_machine

LOCK_FILE = ".trainer"
PATIENCE_SECS = 120  # A file server may keep the kernel's lock of a machine that is gone for 90 s.
_BEAT_SECS = 10.0
_DEAD_SECS = 60.0
_DEAD_FILE_SECS = 150.0  # Network filesystems show for up to 60 s what a file was before.
_SURE_SECS = 40.0  # Before others think it dead, with time to write a file.
_MOST_BYTES = 2**12  # A line.
_TRIES = 3

# Of this process, by the path of the lock file.
_owned: dict[str, leases.Lease | _OwnFile | _LockedFile] = {}


class LockedError(InputError):
    """Another process trains in the model_dir."""


@contextlib.contextmanager
def held(
    model_dir: str,
    *,
    file: str = LOCK_FILE,
    patience: int = 0,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Keeps other trainers out of a model_dir while the block runs; makes the folder.

    Args:
      file: name of the lock file; who takes another one than trainers do, locks something else.
      patience: for how many seconds a lock of the kernel's is waited for whose owner is not known
        to be at work.

    Raises:
      LockedError: if another trainer is at work; names its host, process and start.
      InputError: if the folder cannot be written to.
    """
    path = os.path.join(model_dir, file)
    with contextlib.ExitStack() as stack:
        with file_errors(model_dir):
            files.make_folders(model_dir)
            locked = _lock(path, stack, patience, sleep) if is_local(path) else None
        if locked is not None:
            with file_errors(path):
                local_files.write_handle(locked, _text(_owner()))
            stack.callback(_owned.pop, path)
            _owned[path] = _LockedFile(path, locked)
        elif not (storage.is_ours(path) and _lease(path, stack, sleep)):
            _take_over(path, sleep)
            _own(path, _OwnFile(path), stack)
        yield


def check(model_dir: str) -> None:
    """Returns if nobody else can have taken over the model_dir that this process trains in.

    Call it before something is written there. It costs next to nothing unless the machine, the
    process or the store has been stopped for a while.

    Raises:
      leases.LostError: if another trainer has taken it over.
      InputError or RunError: if it is not known, as the store does not answer.
    """
    owned = _owned.get(os.path.join(model_dir, LOCK_FILE))
    if owned:
        owned.check()


def _own(path: str, lock: leases.Lease | _OwnFile, stack: contextlib.ExitStack) -> None:
    """Keeps a lock file until the stack is left."""
    stack.enter_context(lock.beating(_BEAT_SECS))
    stack.callback(_owned.pop, path)
    _owned[path] = lock


def _lease(path: str, stack: contextlib.ExitStack, sleep: Callable[[float], None]) -> bool:
    """Holds a lease until the stack is left; False if the store has no conditional writes."""
    owner = _owner()
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
        except RunError as error:
            raise files.OutageError(str(error)) from error
        _own(path, lease, stack)
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
    _say_waiting(owner, _DEAD_SECS)
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
    return _is_of_this_machine(owner) and _has_ended(owner)


def _is_of_this_machine(owner: dict[str, str]) -> bool:
    return this_machine() == owner.get("machine") != ""


def _lock(
    path: str, stack: contextlib.ExitStack, patience: int, sleep: Callable[[float], None]
) -> int | None:
    """Locks a local file until this process ends; returns its descriptor.

    None if the filesystem has no locks, or only such that other machines do not see.
    """
    with contextlib.ExitStack() as opened:
        handle = local_files.open_own(path, os.O_RDWR | os.O_CREAT)
        opened.callback(os.close, handle)
        waited = 0
        while True:
            try:
                if not acquire(handle):
                    return None
                stack.enter_context(opened.pop_all())
                return handle
            except BlockingIOError:
                owner = _read(path) or {}
                if waited >= patience or _is_here(owner):
                    raise _locked(path, owner) from None
            if not waited:
                _say_waiting(owner, patience)
            watchdog.alive()
            sleep(1)
            waited += 1


def _is_here(owner: dict[str, str]) -> bool:
    """Whether the owner is a process of this machine that runs."""
    return _is_of_this_machine(owner) and not _has_ended(owner)


def _take_over(path: str, sleep: Callable[[float], None]) -> None:
    """Returns once the lock file is nobody's, raises LockedError if it is somebody's.

    Raises:
      files.OutageError: if the file cannot be read.
    """
    owner = now = _read(path)
    if owner == {} or (owner and _is_gone(owner)):
        return
    secs = _DEAD_FILE_SECS if is_local(path) else _DEAD_SECS
    _say_waiting(owner or {}, secs)
    for _ in range(round(secs)):
        watchdog.alive()
        sleep(1)
        now = _read(path)
        if now is None:
            continue
        if not now:
            return
        owner = owner or now
        if now.get("beat") != owner.get("beat"):
            raise _locked(path, now)
    if now is None:
        raise files.OutageError(f"{path}: cannot be read, so it is not known who trains here")


def _say_waiting(owner: dict[str, str], secs: float) -> None:
    progress.say(f"waiting up to {secs:.0f} s for the lock of {_name(owner)}", sys.stderr)


class _OwnFile:
    """The lock file of this process where nothing keeps others from writing to it.

    Of two that take it over in the same moment both may go on. But one that was stopped for so long
    that another took it over finds this, and so does not train beside it.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._owner = _owner() | {"id": secrets.token_hex(8)}
        self._lock = threading.Lock()
        self._write()

    def check(self) -> None:
        """Looks, if need be, whether the file is still this process's; as `leases.Lease.check`."""
        if leases.now() - self._since > _SURE_SECS:
            self._beat()

    @contextlib.contextmanager
    def beating(self, every_secs: float) -> Iterator[None]:
        """Rewrites the file from a thread until the block ends, and then removes it."""
        try:
            # What is wrong is seen by `check`, in the thread that it matters to.
            with background.repeating(self._beat, "heartbeat", every_secs):
                yield
        finally:
            with contextlib.suppress(InputError, RunError):
                self._check_own()
                files.remove(self._path)

    def _beat(self) -> None:
        with self._lock:
            self._check_own()
            self._write()

    def _check_own(self) -> None:
        found = _read(self._path)
        if found is None:
            raise files.OutageError(f"{self._path}: cannot be read, so it is not known whose it is")
        with file_errors(self._path):  # It is gone if the other one has ended by now.
            is_gone = not found and not tf.io.gfile.exists(self._path)
        if is_gone or (found and found.get("id") != self._owner["id"]):
            raise leases.lost(self._path)

    def _write(self) -> None:
        now = leases.now()
        files.write_bytes(self._path, _text(self._owner))
        self._since = now


class _LockedFile:
    """A lock file that the kernel keeps, until somebody removes it with its folder."""

    def __init__(self, path: str, handle: int) -> None:
        self._path, self._handle = path, handle

    def check(self) -> None:
        """Raises LostError if another file, which another process may have locked, is there."""
        with contextlib.suppress(OSError):  # A folder that is gone is an error of what is written.
            if not os.path.samestat(os.stat(self._path), os.fstat(self._handle)):
                raise leases.lost(self._path)


def _owner() -> dict[str, str]:
    started = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    return {
        "host": socket.gethostname(),
        "pid": str(os.getpid()),
        "started": started,
        "machine": this_machine(),
    }


def _text(owner: dict[str, str]) -> bytes:
    return json.dumps(owner | {"beat": secrets.token_hex(8)}).encode() + b"\n"


def _read(path: str) -> dict[str, str] | None:
    """What a lock file says; nothing if there is none, or it is not one (yet).

    None if it cannot be read.
    """
    try:
        return _parsed(files.read_bytes(path, _MOST_BYTES) or b"")
    except InputError:  # Longer than a lock file, or not a plain file.
        return {}
    except (OSError, tf.errors.OpError):
        return None


def _parsed(content: bytes) -> dict[str, str]:
    try:
        found = json_files.parse(content[:_MOST_BYTES] or b"{}")
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: text for name, text in found.items() if isinstance(text, str)}


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
