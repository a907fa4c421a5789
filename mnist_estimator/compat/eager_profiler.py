"""What TensorFlow 2.15 to 2.19 had as `tensorflow.python.eager.profiler`.

    with profiler.Profiler("/tmp/log"):
        ...

The profile is what `tf.profiler.experimental` takes, in files that TensorBoard reads.
"""

from __future__ import annotations

import datetime
import os
import socket
import threading
from typing import Any

import tensorflow as tf
from tensorflow.python.profiler.internal import _pywrap_profiler

_lock = threading.Lock()
_session: Any = None


class ProfilerAlreadyRunningError(Exception):
    """A profile is being taken; there can be one at a time."""


class ProfilerNotRunningError(Exception):
    """No profile is being taken."""


def start(options: dict[str, Any] | None = None) -> None:
    """Starts to profile this process.

    Raises:
      ProfilerAlreadyRunningError: if that is so.
    """
    global _session
    with _lock:
        if _session is not None:
            raise ProfilerAlreadyRunningError("a profile is being taken; call stop() before")
        session = _pywrap_profiler.ProfilerSession()
        try:
            session.start("", options or {})
        except tf.errors.AlreadyExistsError as error:
            raise ProfilerAlreadyRunningError(
                "a profile is being taken by another part of this program, as by "
                "tf.profiler.experimental.start or a profiler server; stop it before"
            ) from error
        _session = session


def stop() -> bytes:
    """Stops to profile, and returns the profile, an XSpace message.

    Raises:
      ProfilerNotRunningError: if start() was not called.
    """
    global _session
    with _lock:
        if _session is None:
            raise ProfilerNotRunningError("no profile is being taken; call start() before")
        session, _session = _session, None
        return session.stop()


def maybe_create_event_file(logdir: str) -> None:
    """Makes an empty file of events in `logdir`, by which TensorBoard sees that it has a run."""
    suffix = ".profile-empty"
    if not any(name.endswith(suffix) for name in tf.io.gfile.listdir(logdir)):
        with tf.Graph().as_default():  # There is no FileWriter where code is run eagerly.
            tf.compat.v1.summary.FileWriter(logdir, filename_suffix=suffix).close()


def save(logdir: str, result: bytes) -> None:
    """Writes the profile that stop() returned into a folder of its own below `logdir`."""
    now = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder = os.path.join(logdir, "plugins", "profile", now)
    tf.io.gfile.makedirs(folder)
    maybe_create_event_file(logdir)
    path = os.path.join(folder, f"{socket.gethostname()}.xplane.pb")
    with tf.io.gfile.GFile(f"{path}.tmp", "wb") as file:
        file.write(result)
    tf.io.gfile.rename(f"{path}.tmp", path, overwrite=True)


def start_profiler_server(port: int) -> None:
    """Has this process take a profile whenever a client asks for one at `port`."""
    tf.profiler.experimental.server.start(port)


class Profiler:
    """Takes a profile of what its block does, and writes it below `logdir`."""

    def __init__(self, logdir: str) -> None:
        self._logdir = logdir

    def __enter__(self) -> None:
        start()

    def __exit__(self, *error: Any) -> None:
        save(self._logdir, stop())
