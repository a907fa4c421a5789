"""A lock where files cannot be locked: an object that is written only if it is as it was seen.

The owner rewrites the object every few seconds, on the condition that it is as the owner left it.
Whoever finds it unchanged for long enough takes it over, on the same condition: of two that try one
succeeds. An owner that was stopped meanwhile finds the object changed, and knows that it has lost
it. So an owner asks `check` before it writes anything else.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from mnist_estimator import InputError, RunError, storage
from mnist_estimator.runtime import background, files

FREE = b"{}\n"  # What a lease that was given back holds. To delete it could hit the next owner's.
# Goes on while the machine sleeps, where there is such a clock.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class LostError(RunError):
    """Another process has taken over a lease."""


class Lease:
    """An object of which this process is the owner."""

    def __init__(
        self, path: str, content: Callable[[], bytes], version: str | None, sure_secs: float
    ) -> None:
        """Takes over the object.

        Args:
          content: makes what the object holds, which is another text each time.
          version: that of the object; None if there must be none.
          sure_secs: for how long after it was written no other process takes it over.

        Raises:
          storage.ChangedError: if another process was faster.
          storage.UnconditionalError: if the store has no conditional writes.
          InputError or RunError: if the object cannot be written.
        """
        self._path, self._content, self._sure_secs = path, content, sure_secs
        self._lock = threading.Lock()
        self._tried: set[bytes] = set()
        self._lost = False
        self._version = version
        self._write()

    def beat(self) -> None:
        """Rewrites the object.

        Raises:
          LostError: if it is another process's by now.
          InputError or RunError: if it cannot be written; the owner may still be this process.
        """
        with self._lock:
            self._check_lost()
            try:
                self._write()
            except storage.ChangedError:
                self._lost = not self._wrote_last()
                self._check_lost()

    def check(self) -> None:
        """Asks the store, if need be, whether this process is still the owner.

        Raises:
          LostError: if another process is.
          InputError: if it is not known; a `files.OutageError` if the store does not answer.
        """
        self._check_lost()
        if self._is_sure():
            return
        try:
            self.beat()
        except LostError:
            raise
        except RunError as error:
            raise files.OutageError(str(error)) from error

    def release(self) -> None:
        """Gives the object back, if it is still this process's."""
        with self._lock, contextlib.suppress(InputError, RunError):
            # Where the store does not answer, whoever comes next waits as after a kill.
            if not self._lost and self._is_sure():
                storage.write_if(self._path, FREE, self._version)

    @contextlib.contextmanager
    def beating(self, every_secs: float) -> Iterator[None]:
        """Rewrites the object from a thread until the block ends, and then gives it back."""
        try:
            # What is wrong is seen by `check`, in the thread that it matters to.
            with background.repeating(self.beat, "lease", every_secs):
                yield
        finally:
            self.release()

    def _is_sure(self) -> bool:
        return now() - self._since <= self._sure_secs

    def _write(self) -> None:
        content, started = self._content(), now()
        self._tried.add(content)
        self._version = storage.write_if(self._path, content, self._version)
        self._tried.clear()
        self._since = started

    def _wrote_last(self) -> bool:
        """Whether the object is what this process wrote, in a write that seemed to have failed."""
        found = storage.read_version(self._path)
        if not found or found[0] not in self._tried:
            return False
        self._version = found[1]
        try:
            self._write()
        except storage.ChangedError:
            return False
        return True

    def _check_lost(self) -> None:
        if self._lost:
            raise lost(self._path)


def lost(path: str) -> LostError:
    """The error of a process whose lock another one has taken over."""
    return LostError(
        f"{path}: another process has taken over this lock, as this one did not answer; it may be "
        "at work, so this one stops and writes nothing more"
    )


def now() -> float:
    """Seconds of a clock by which a lock gets old."""
    return time.clock_gettime(_CLOCK)
