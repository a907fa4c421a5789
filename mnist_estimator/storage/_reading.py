"""Open files that are read: one version of an object, ahead of need, in bounded memory."""

import concurrent.futures
import tempfile
import threading
from typing import Any

from mnist_estimator.storage import (
    _errors,
    _events,
    _filesystem,
    _memory,
    _objects,
    _paths,
    _pool,
    _transfers,
)

# What opening a file brings along, so that a small file is one request.
FIRST_BYTES = 512 << 10
# Nothing larger is asked for at once; a read of more goes to its place in such ranges, in parallel.
RANGE_BYTES = 8 << 20
_LEAST_RANGE_BYTES = 1 << 20
# So much is under way before a reader that reads in order, once it has read as much.
AHEAD_BYTES = 32 << 20
# A read somewhere else brings this much, for the small reads near it that follow.
_NEAR_BYTES = 128 << 10
_taking = threading.Lock()


class Reader:
    """An object as it was when it was opened. Threads may share one.

    TensorBoard keeps files of events open and asks for more at their end. Such a file only grows,
    so a reader looks there whether it has.

    Attributes:
      size: in bytes.
    """

    def __init__(self, location: _paths.Location) -> None:
        """Open an object.

        Raises:
          FileNotFoundError: it is not there.
          IsADirectoryError: it is a folder.
        """
        self._location, self._lock, self._limit = location, threading.Lock(), _memory.limit()
        # By where they begin.
        self._ranges: dict[int, _Range] = {}
        # Where the last read ended, how much was read in order until there, and how far ranges
        # are asked for.
        self._position, self._in_order, self._known = 0, 0, 0
        self._copy: Any = None
        self._grows = _events.is_event_file(location)
        if not location.key:
            raise IsADirectoryError(f"{location} is a folder, not a file")
        try:
            self._open()
        except FileNotFoundError:
            _filesystem.check_file(location)
            raise

    def _open(self) -> None:
        try:
            found = _objects.get(self._location, 0, FIRST_BYTES)
            self.size, self._e_tag = found.meta["size"], found.meta["e_tag"]
            content = _checked(self._location, found.bytes(), min(self.size, FIRST_BYTES))
        except Exception as error:
            if not _objects.has_no_range(error):
                raise
            self._open_without_ranges()
            return
        first = _Range(0, len(content))
        first.future.set_result(content)
        self._known = first.end
        if _memory.take(self, first.end, self._limit):
            self._ranges[0] = first

    def _open_without_ranges(self) -> None:
        """Open an empty object, or a copy of one whose server gives it as a whole only."""
        found = _objects.head(self._location)
        if found is None:
            raise FileNotFoundError(f"{self._location} does not exist")
        self.size, self._e_tag = found["size"], found["e_tag"]
        if not self.size:
            return
        self._copy = tempfile.TemporaryFile(prefix="mnist_estimator-")  # noqa: SIM115
        for chunk in _objects.get_all(self._location).stream():
            self._copy.write(chunk)
        if self._copy.tell() != self.size:
            raise _incomplete(self._location, self._copy.tell(), self.size)

    def read_into(self, offset: int, view: memoryview) -> int:
        """Fill a buffer from `offset` on; return how many bytes there were, fewer at the end.

        Raises:
          ChangedError: the object is no longer the one that was opened.
        """
        if offset + len(view) > self.size and self._grows:
            self._look_for_more()
        end = max(offset, min(offset + len(view), self.size))
        if self._copy is not None:
            return self._read_copy(offset, view[: end - offset])
        if end - offset > RANGE_BYTES and self._held(offset) is None:
            self._read_in_parallel(offset, end, view)
        else:
            self._read_through(offset, end, view)
        self._look_ahead(offset, end)
        return end - offset

    def read_bytes(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on, fewer at the end."""
        content = bytearray(max(0, min(size, self.size - offset)))
        self.read_into(offset, memoryview(content))
        return bytes(content)

    def close(self) -> None:
        """Let go of what is held."""
        _memory.forget(self)
        _memory.give(self.release())
        with self._lock:
            running, self._ranges = list(self._ranges.values()), {}
        for each in running:
            each.future.add_done_callback(lambda _, size=each.size: _memory.give(size))
        if self._copy is not None:
            self._copy.close()

    def release(self) -> int:
        """Let go of the ranges that nobody waits for; see `_memory.Holder`."""
        with self._lock:
            every = list(self._ranges.values())
            gone = [each for each in every if each.future.done() or each.future.cancel()]
            for each in gone:
                del self._ranges[each.start]
            self._known = max((each.end for each in self._ranges.values()), default=0)
        return sum(each.size for each in gone)

    def _read_copy(self, offset: int, view: memoryview) -> int:
        with self._lock:
            self._copy.seek(offset)
            return self._copy.readinto(view)

    def _read_in_parallel(self, offset: int, end: int, view: memoryview) -> None:
        def fill(start: int) -> None:
            stop = min(start + RANGE_BYTES, end)
            view[start - offset : stop - offset] = memoryview(self._fetch(start, stop))

        _pool.each(fill, range(offset, end, RANGE_BYTES))

    def _read_through(self, offset: int, end: int, view: memoryview) -> None:
        position = offset
        while position < end:
            found = self._held(position)
            if found is None:
                found, mine = self._begin(position, end), True
            else:
                mine = found.take_over()
            if mine:
                _pool.settle(found.future, self._fetch, found.start, found.end)
            content = self._content_of(found)
            stop = min(end, found.end)
            piece = memoryview(content)[position - found.start : stop - found.start]
            view[position - offset : stop - offset] = piece
            position = stop

    def _held(self, position: int) -> "_Range | None":
        with self._lock:
            every = self._ranges.values()
            return next((each for each in every if each.start <= position < each.end), None)

    def _begin(self, position: int, end: int) -> "_Range":
        with self._lock:
            near = 0 if position == self._position else _NEAR_BYTES
            later = [each.start for each in self._ranges.values() if each.start > position]
            stop = min([position + max(end - position, near), self.size, *later])
        new = _Range(position, stop)
        new.future.set_running_or_notify_cancel()
        self._keep(new)
        return new

    def _keep(self, new: "_Range") -> bool:
        """Hold a range, if there is memory for it and no other at its place."""
        if not _memory.take(self, new.size, self._limit):
            return False
        with self._lock:
            if new.start not in self._ranges:
                self._ranges[new.start] = new
                return True
        _memory.give(new.size)
        return False

    def _content_of(self, found: "_Range") -> Any:
        try:
            return found.future.result()
        except BaseException:
            # The next read asks anew.
            with self._lock:
                held = self._ranges.get(found.start) is found
                if held:
                    del self._ranges[found.start]
            if held:
                _memory.give(found.size)
            raise

    def _look_for_more(self) -> None:
        found = _objects.head(self._location)
        if found is None:
            return  # What is held can be read on, as that of a file deleted on a disk.
        with self._lock:
            if found["size"] >= self.size:
                self.size, self._e_tag = found["size"], found["e_tag"]

    def _fetch(self, start: int, end: int) -> Any:
        try:
            return self._fetch_version(start, end)
        except _errors.ChangedError:
            if not self._grows:
                raise
        self._look_for_more()
        return self._fetch_version(start, end)

    def _fetch_version(self, start: int, end: int) -> Any:
        found = _objects.get(self._location, start, end, self._e_tag)
        _transfers.note()
        if found.meta["size"] != self.size:
            raise _errors.ChangedError(f"{self._location} was changed while it was read")
        return _checked(self._location, found.bytes(), end - start)

    def _look_ahead(self, offset: int, end: int) -> None:
        """Drop what was read, and bring what comes next, where the reads are in order."""
        with self._lock:
            if offset != self._position:
                self._in_order = 0
            self._in_order += end - offset
            self._position, self._known = end, max(self._known, end)
            every = list(self._ranges.values())
            passed = [each for each in every if each.end <= offset and each.future.done()]
            for each in passed:
                del self._ranges[each.start]
        _memory.give(sum(each.size for each in passed))
        ahead = min(AHEAD_BYTES, self._in_order, _memory.share(self._limit))
        while self._known < min(self.size, end + ahead):
            if not self._bring_next(ahead):
                return

    def _bring_next(self, ahead: int) -> bool:
        size = max(_LEAST_RANGE_BYTES, min(ahead // 4, RANGE_BYTES))
        with self._lock:
            new = _Range(self._known, min(self._known + size, self.size))
            if any(each.overlaps(new) for each in self._ranges.values()):
                return False
        if not self._keep(new):
            return False
        with self._lock:
            self._known = max(self._known, new.end)
        _pool.submit(self._fetch, new.start, new.end, future=new.future)
        return True


class _Range:
    """Some bytes of an object, there or on their way."""

    def __init__(self, start: int, end: int) -> None:
        self.start, self.end, self.size = start, end, end - start
        self.future: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def take_over(self) -> bool:
        """Say whether the caller has to bring it: no thread has begun with it yet.

        That is faster than to wait for a free thread, and cannot wait for one for ever.
        """
        waiting = self.future
        if not waiting.cancel():
            return False
        # Only one caller comes here: a second `cancel` of what is cancelled says True, so the
        # new future tells who was first.
        with _taking:
            if self.future is not waiting:
                return False
            self.future = concurrent.futures.Future()
            self.future.set_running_or_notify_cancel()
            return True

    def overlaps(self, other: "_Range") -> bool:
        return self.start < other.end and other.start < self.end


def _checked(location: _paths.Location, content: Any, size: int) -> Any:
    if len(content) != size:
        raise _incomplete(location, len(content), size)
    return content


def _incomplete(location: _paths.Location, came: int, size: int) -> ConnectionError:
    return ConnectionError(f"{location}: {came} bytes came in place of {size}")
