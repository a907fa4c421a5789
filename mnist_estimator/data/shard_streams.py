"""Streams of shards: pipelines say what they need, threads fetch it ahead into a `CacheFolder`."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence

from mnist_estimator import RunError
from mnist_estimator.compat import tf
from mnist_estimator.data import cache_folder, shard_fetch
from mnist_estimator.data.cache_folder import CacheError, CacheFolder, Identity
from mnist_estimator.data.manifest import Dataset, Shard, prepare_again
from mnist_estimator.runtime import progress
from mnist_estimator.runtime.files import OutageError, error_line, is_local, is_outage

_THREADS = 4
_MOST_THREADS = 16
_PATIENCE_SECS = 1.0  # How long a pipeline waits before it says so.
_LOOK_SECS = 0.1
_CLOSE_SECS = 2.0
_AGAIN = "run the same command again when the store answers"


class _StoppedError(BaseException):
    """The cache is closed. No handler of errors catches it."""


@dataclasses.dataclass(frozen=True)
class _Job:
    shard: Shard
    needs: dict[str, int]  # Digest -> place in the order of need.
    is_awaited: bool
    takes: int  # How many there had been when it was found.


class Stream:
    """The shards that one pipeline reads, one after another.

    The copy that it reads is kept until it takes the next one.
    """

    def __init__(self, cache: ShardCache, trains: bool) -> None:
        self.needs: Sequence[Shard] = ()
        self.awaits = ""  # The digest of the shard that it waits for.
        self.trains, self.has_ended = trains, False
        self._cache = cache
        self._close: weakref.finalize | None = None

    def take(self, needs: Sequence[Shard], line: progress.ProgressLine | None = None) -> str:
        """Returns the path from which to read the first of these shards; waits for it.

        Args:
          needs: the shards in the order of need.

        Raises:
          RunError: if it cannot be had.
        """
        self._hold(None)
        handle = self._cache.wait(self, needs, line or progress.ProgressLine())
        self._hold(handle)
        return self._cache.path(needs[0], is_copy=handle is not None)

    def end(self) -> None:
        """Says that nothing more is needed."""
        self.needs = ()
        self._hold(None)

    def _hold(self, handle: int | None) -> None:
        if self._close:
            self._close()
        self._close = None if handle is None else weakref.finalize(self, os.close, handle)


class ShardCache:
    """The copies of one dataset's shards, and the threads that fetch them."""

    def __init__(self, dataset: Dataset, kept: CacheFolder) -> None:
        self.folder = dataset.folder
        self.failure: Exception | None = None
        self._dataset, self._kept = dataset, kept
        self._threads: list[threading.Thread] = []
        self._turn = threading.Lock()  # What is needed first finds room first.
        # What follows is read and written with the condition's lock only.
        self._changed = threading.Condition()
        self._streams: weakref.WeakSet[Stream] = weakref.WeakSet()
        self._stopped = self._is_full = self._is_unusable = False
        self._idle = 0  # Threads.
        self._takes = 0  # Each one lets go of a copy, and so may make room.
        self._heard: dict[str, float] = {}  # Being fetched -> when something of it came.
        self._received: dict[str, int] = {}  # Being fetched -> bytes.
        self._whole: dict[str, Identity] = {}  # Verified -> identity of the file.
        self._failed: dict[str, Exception] = {}
        self._brought: dict[str, int | None] = {}  # For whoever waits; None: read from the store.

    def stream(self, *, trains: bool = False) -> Stream:
        """Makes a stream for a pipeline; `trains`: its session may end before the stream does."""
        found = Stream(self, trains)
        with self._changed:
            self._streams.add(found)
        return found

    def path(self, shard: Shard, *, is_copy: bool) -> str:
        """Where a shard is read: its copy's path, or its own in the store."""
        return self._kept.place(shard.sha256) if is_copy else os.path.join(self.folder, shard.file)

    def bring(self, shards: Sequence[Shard]) -> None:
        """Fetches as many shards as there is room for, and shows how far it is.

        Raises:
          RunError: if one cannot be had.
        """
        stream, room = self.stream(), self._kept.limit
        with progress.ProgressLine() as line:
            for place, shard in enumerate(shards):
                room -= shard.bytes
                if room < 0 or not is_local(stream.take(shards[place:], line)):
                    break
        stream.end()

    def end_training(self) -> None:
        """As the function of this name."""
        with self._changed:
            for stream in self._streams:
                if stream.trains:
                    stream.has_ended, stream.needs = True, ()
            self._changed.notify_all()

    def close(self) -> None:
        """Ends the threads. One that the network does not answer is left to the process's end."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            streams = list(self._streams)
        until = time.monotonic() + _CLOSE_SECS
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0))
        for stream in streams:
            stream.end()
        with self._changed:
            for handle in filter(None, self._brought.values()):
                os.close(handle)
            self._brought.clear()

    def wait(
        self, stream: Stream, needs: Sequence[Shard], line: progress.ProgressLine
    ) -> int | None:
        """Waits for the first shard that a stream needs.

        Returns:
          The descriptor of its copy; None if it is to be read from the store.

        Raises:
          RunError: if it cannot be had.
        """
        shard, since = needs[0], time.monotonic()
        handle = self._find(shard)
        with self._changed:
            self._check_open(stream)
            stream.needs, self._is_full = needs[1:], False
            self._takes += 1
            self._start_threads(_THREADS)
            self._changed.notify_all()
            if handle is not None:
                return handle
            if not self._idle:  # What comes ahead of need may be slow.
                self._start_threads(min(len(self._threads) + 1, _MOST_THREADS))
            stream.needs, stream.awaits = needs, shard.sha256
            self._failed.pop(shard.sha256, None)
            try:
                while not self._is_there(shard):
                    self._check_open(stream)
                    self._check_heard(shard, since)
                    if time.monotonic() - since > _PATIENCE_SECS:
                        line(self._progress(shard))
                    self._changed.wait(_LOOK_SECS)
                return self._brought.pop(shard.sha256, None)
            finally:
                stream.needs, stream.awaits = stream.needs[1:], ""

    def _find(self, shard: Shard) -> int | None:
        """The copy of a shard, if it is known to be whole."""
        known, handle = self._whole.get(shard.sha256), None
        with contextlib.suppress(CacheError):
            handle = self._kept.find(shard.sha256, shard.bytes) if known else None
        if handle is not None and cache_folder.identity(handle) != known:
            os.close(handle)
            handle = None
        return handle

    def _is_there(self, shard: Shard) -> bool:
        if shard.sha256 in self._failed:
            self.failure = self._failed[shard.sha256]
            raise self.failure
        return shard.sha256 in self._brought or self._is_unusable

    def _check_open(self, stream: Stream) -> None:
        if self._stopped or stream.has_ended:
            raise RunError(f"{self.folder}: the training that reads it has ended")

    def _check_heard(self, shard: Shard, since: float) -> None:
        heard = self._heard.get(shard.sha256, max(self._heard.values(), default=since))
        if time.monotonic() - max(heard, since) > shard_fetch.SILENCE_SECS:
            self.failure = OutageError(
                f"{self.path(shard, is_copy=False)}: nothing came for "
                f"{shard_fetch.SILENCE_SECS:.0f} s; stopped; {_AGAIN}"
            )
            raise self.failure

    def _progress(self, shard: Shard) -> str:
        received = self._received.get(shard.sha256, 0)
        return f"fetching {shard.file}: {received:,} of {shard.bytes:,} bytes"

    def _start_threads(self, count: int) -> None:
        for number in range(len(self._threads), count):
            self._idle += 1
            thread = threading.Thread(target=self._work, daemon=True, name=f"shards {number}")
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        with contextlib.suppress(_StoppedError):
            while True:
                with contextlib.ExitStack() as turn:
                    turn.enter_context(self._turn)
                    job = self._next_job()
                    handle, failure = self._bring(job, turn.close)
                with self._changed:
                    self._hand_over(job, handle, failure)
                    self._changed.notify_all()

    def _next_job(self) -> _Job:
        with self._changed:
            while (job := self._find_job()) is None:
                if self._stopped:
                    raise _StoppedError
                self._changed.wait()
            self._heard[job.shard.sha256] = time.monotonic()
            self._idle -= 1
            return job

    def _find_job(self) -> _Job | None:
        """The shard that is needed next and not there, if there is something to do for it."""
        if self._is_unusable or self._stopped:
            return None
        streams = [stream for stream in self._streams if stream.needs]
        awaited = {stream.awaits for stream in streams}
        needs: dict[str, int] = {}
        shards: dict[str, Shard] = {}
        for stream in streams:
            for place, shard in enumerate(stream.needs):
                needs[shard.sha256] = min(place, needs.get(shard.sha256, place))
                shards[shard.sha256] = shard
        for digest in sorted(needs, key=lambda digest: (digest not in awaited, needs[digest])):
            if digest in self._heard or digest in self._brought:
                continue
            if digest in awaited:
                return _Job(shards[digest], needs, is_awaited=True, takes=self._takes)
            if self._is_full:
                return None
            if digest not in self._failed and not self._is_kept(digest):
                return _Job(shards[digest], needs, is_awaited=False, takes=self._takes)
        return None

    def _is_kept(self, digest: str) -> bool:
        return digest in self._whole and os.path.lexists(self._kept.place(digest))

    def _bring(self, job: _Job, begun: Callable[[], None]) -> tuple[int | None, Exception | None]:
        """The copy of a shard if there is room for one, or why it cannot be had."""
        shard = job.shard
        source = self.path(shard, is_copy=False)

        def note(received: int) -> None:
            with self._changed:
                if self._stopped:
                    raise _StoppedError
                self._heard[shard.sha256] = time.monotonic()
                self._received[shard.sha256] = received

        known = self._whole.get(shard.sha256)
        try:
            return shard_fetch.bring(source, shard, self._kept, job.needs, note, begun, known), None
        except CacheError as error:
            self._give_up(error)
        except Exception as error:  # Whatever it is, a pipeline waits for an answer.
            return None, self._described(error)
        return None, None

    def _give_up(self, error: CacheError) -> None:
        with self._changed:
            if not self._is_unusable:
                progress.warn(f"--cache_dir: {error}; reading {self.folder} without copies")
            self._is_unusable = True

    def _described(self, error: Exception) -> Exception:
        if isinstance(error.__cause__, tf.errors.OpError) and not _is_missing(error.__cause__):
            kind = OutageError if is_outage(error.__cause__) else RunError
            return kind(f"{error}; stopped; {_AGAIN}")
        again = prepare_again(self.folder, self._dataset.manifest)
        line = error_line(error).removeprefix(os.path.join(self.folder, ""))
        return RunError(f"{self.folder}: {line}; stopped; {again}")

    def _hand_over(self, job: _Job, handle: int | None, failure: Exception | None) -> None:
        """Gives what a thread has brought to the stream that waits for it."""
        digest = job.shard.sha256
        self._idle += 1
        del self._heard[digest]
        self._received.pop(digest, None)
        if handle is not None:
            self._whole[digest] = cache_folder.identity(handle)
        is_awaited = any(stream.awaits == digest for stream in self._streams)
        if failure and (job.is_awaited or not is_awaited):
            self._failed[digest] = failure
        elif failure:
            pass  # What failed ahead of need is tried again.
        elif handle is None and not job.is_awaited:
            self._is_full = job.takes == self._takes
        elif is_awaited:
            self._brought[digest] = handle
        elif handle is not None:
            os.close(handle)


def _is_missing(error: Exception) -> bool:
    return isinstance(error, (tf.errors.NotFoundError, tf.errors.FailedPreconditionError))
