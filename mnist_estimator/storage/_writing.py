"""Open files that are written: an object appears whole, or not at all."""

import logging
import threading
from typing import Any

from mnist_estimator.storage import (
    _errors,
    _events,
    _filesystem,
    _objects,
    _paths,
    _reading,
    _transfers,
)

# A file of at most this size is published at each flush, so that others see it grow: status files
# and events. It bounds what a flush sends again.
SMALL_BYTES = 4 << 20
_HAND_OVER_BYTES = 1 << 20
_READ_BYTES = 8 << 20

_log = logging.getLogger("mnist_estimator.storage")


class Writer:
    """An object in the making.

    What is written goes to the store in parts once there is a part's worth. A reader sees the
    object when it is closed, a small one when it is flushed. Of two writers of one name, the one
    that closes last has written it.

    A file of events goes on in another object after a flush that finds it large (see `_events`).

    Attributes:
      location: of the object.
    """

    def __init__(self, location: _paths.Location, number: int = 0) -> None:
        """Begin an object.

        Args:
          number: of a file of events, the object to begin with.

        Raises:
          IsADirectoryError: there is a folder of that name.
          ReadOnlyError: the filesystem can only be read.
        """
        _objects.check_writable(location)
        self._lock, self._error, self._closed, self._told = threading.Lock(), None, False, 0
        self._is_of_events, self._first = _events.is_event_file(location), location
        self._header = b""
        self._begin(number)
        found = _objects.head(self.location)
        if not location.key or (found is None and _filesystem.is_folder(location)):
            raise IsADirectoryError(f"{location} is a folder, not a file")
        if found is not None:
            self._tag_before = found["e_tag"]

    def _begin(self, number: int) -> None:
        self._number, self.location = number, _events.numbered(self._first, number)
        # What is not handed to the upload yet, bytes in all, and whether readers see all of it.
        self._content = bytearray(self._header)
        self._size, self._published = len(self._header), False
        self._upload: Any = None
        self._tag_before = None
        self._ended = False

    def append(self, data: Any) -> None:
        """Add to the end."""
        with self._lock, _Kept(self):
            if self._ended:
                self._begin(self._number + 1)
            self._content += data
            self._size += len(data)
            self._told += len(data)
            self._published = False
            if self._is_of_events and not self._header:
                self._header = _events.header(self._content)
            if self._upload is not None or self._size >= _objects.PART_BYTES:
                self._send()

    def tell(self) -> int:
        """Return how many bytes were written, in all objects together."""
        return self._told

    def flush(self) -> None:
        """Let readers see what is there, as far as the class says."""
        with self._lock, _Kept(self):
            if self._upload is None and self._size <= SMALL_BYTES:
                # What is empty says nothing yet: to open a file does not empty the old one.
                if self._size and not self._published:
                    self._put()
            elif self._is_of_events:
                self._finish()
                self._ended = True

    def close(self) -> None:
        """Publish the whole."""
        with self._lock, _Kept(self):
            self._finish()
            self._closed = True

    def drop(self) -> None:
        """End without a close: a small file is kept, as on a disk; the parts of a large one go."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._upload is not None:
                where, size = self.location, self._size
                _log.warning("%s was not closed, so its %d bytes are not kept", where, size)
                self._abort()
            elif self._error is None and self._size and not self._published:
                self._put()

    def check(self) -> None:
        """Raise the error of an earlier call again, so that no later one hides it."""
        if self._error is not None:
            raise self._error
        if self._closed:
            raise ValueError(f"{self.location} is closed already")

    def fail(self, error: BaseException) -> None:
        """Keep an error, and leave nothing half-written in the store."""
        if self._error is None and not self._closed:
            self._error = error
            self._abort()

    def _put(self) -> None:
        _objects.put(self.location, bytes(self._content))
        self._published = True

    def _send(self) -> None:
        """Hand what there is to the upload, which sends it in parts."""
        if self._upload is None:
            self._upload = _objects.upload(self.location, bytes(self._content))
            self._content.clear()
        elif len(self._content) >= _HAND_OVER_BYTES:
            self._upload.write(bytes(self._content))
            self._content.clear()
        _transfers.note()

    def _finish(self) -> None:
        if self._upload is None:
            if not self._published:
                self._put()
            return
        self._upload.write(bytes(self._content))
        upload, self._upload = self._upload, None
        _objects.finish(upload, self.location, self._size, self._tag_before)
        self._content.clear()
        self._published = True

    def _abort(self) -> None:
        upload, self._upload = self._upload, None
        if upload is not None:
            _objects.abort_quietly(upload)


class _Kept:
    """A block whose error the writer keeps."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def __enter__(self) -> None:
        self._writer.check()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._writer.fail(error)


def log_lost(opened: Any, error: BaseException) -> None:
    """Say that a file was left without a close, and could not be kept."""
    name = getattr(opened, "location", "a file")
    _log.warning("%s was not closed, and is not kept: %s", name, _errors.text_of(error))


def appender(location: _paths.Location) -> Writer:
    """Open an object to add to its end.

    What it holds is read and written anew. A file of events gets one more object instead.
    """
    _objects.check_writable(location)
    found = _objects.head(location)
    if found is None:
        return Writer(location)
    if _events.is_event_file(location):
        return Writer(location, _events.next_number(location))
    writer, reader = Writer(location), _reading.Reader(location)
    try:
        while writer.tell() < reader.size:
            writer.append(reader.read_bytes(writer.tell(), _READ_BYTES))
    except BaseException as error:
        writer.fail(error)
        raise
    finally:
        reader.close()
    return writer
