"""The status of a run, in its model_dir; by it the tasks of a cluster end together.

The chief writes `status.json` when it begins, when training is over, and when it ends, whatever
ends it. The other tasks read the status: when the chief has ended, they end with its exit code.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import os
import secrets
from collections.abc import Iterator
from typing import Any

from mnist_estimator import InputError, RunError, storage
from mnist_estimator.compat import tf
from mnist_estimator.runs import checkpoints, formats, lock
from mnist_estimator.runtime import json_files, local_files, signals
from mnist_estimator.runtime.files import is_local, read_bytes, write_json

STATUS_FILE = "status.json"
TRAINING = "training"
TRAINED = "trained"  # There are no more steps; the chief still tests and exports.
DONE = "done"
EARLY_STOPPED = "early_stopped"
PREEMPTED = "preempted"
INTERRUPTED = "interrupted"
LOST = "lost"  # A task is gone that the chief needs.
STALLED = "stalled"  # In the chief nothing has moved for too long.
FAILED = "failed"
STATES = (TRAINING, TRAINED, DONE, EARLY_STOPPED, PREEMPTED, INTERRUPTED, LOST, STALLED)
STATES += (FAILED,)

_KEYS = {"run_name": "run"}  # Fields of `Status` that have another name in the file.
_MOST_BYTES = 2**20  # A reason is a line or two.
_BY_EXIT_CODE = {
    signals.EXIT_PREEMPTED: PREEMPTED,
    signals.EXIT_INTERRUPTED: INTERRUPTED,
    signals.EXIT_HUNG_UP: INTERRUPTED,
    signals.EXIT_LOST: LOST,
}


@dataclasses.dataclass(frozen=True)
class Status:
    """The status that the chief wrote last.

    Attributes:
      state: one of `STATES`.
      exit_code: the chief's, which the other tasks take over; None while it trains.
      step: the global step of the newest checkpoint.
      reason: why it ended, in words; "" if the run is complete.
      run_name: names the run in this model_dir; it is the same at each start.
      time: when it was written, ISO 8601 with the time zone.
      has_evaluator: whether a task of its own evaluates the checkpoints.
    """

    state: str
    exit_code: int | None
    step: int
    reason: str
    run_name: str
    time: str
    has_evaluator: bool

    @property
    def is_training(self) -> bool:
        return self.state == TRAINING

    @property
    def has_failed(self) -> bool:
        """Whether the chief has failed in a way for which no engine starts it again."""
        return self.exit_code is not None and 0 < self.exit_code < signals.FIRST_RETRYABLE

    @property
    def written(self) -> datetime.datetime:
        return datetime.datetime.fromisoformat(self.time).astimezone()


def read(model_dir: str) -> Status | None:
    """The status in a model_dir; None if there is none, or it cannot be read (yet).

    Raises:
      InputError: if a newer package wrote it.
    """
    path = os.path.join(model_dir, STATUS_FILE)
    try:
        data = read_bytes(path, _MOST_BYTES)
        return _checked(json_files.parse(data)) if data else None
    except formats.NewerFormatError as error:
        raise InputError(f"{path}: {error}") from None
    except (InputError, ValueError, OverflowError, OSError, tf.errors.OpError):
        return None


def _checked(record: Any) -> Status:
    """Returns the status; raises ValueError, or OverflowError for a time, if a field is wrong."""
    json_files.expect(record, dict, "the whole")
    formats.check(record)
    record.pop(formats.KEY, None)
    keys = {field.name: _KEYS.get(field.name, field.name) for field in dataclasses.fields(Status)}
    json_files.expect_keys(record, [*keys.values()], "the whole")
    json_files.choice(record["state"], "state", STATES)
    if record["exit_code"] is not None:
        json_files.whole(record["exit_code"], "exit_code", 0, 255)
    json_files.whole(record["step"], "step", 0, 2**63 - 1)
    for name in ("reason", "run", "time"):
        json_files.expect(record[name], str, name)
    json_files.expect(record["has_evaluator"], bool, "has_evaluator")
    datetime.datetime.fromisoformat(record["time"]).astimezone()
    return Status(**{name: record[key] for name, key in keys.items()})


class Recorder:
    """Writes the status of a run, in the chief."""

    def __init__(self, model_dir: str, has_evaluator: bool) -> None:
        self._model_dir = model_dir
        self._path = os.path.join(model_dir, STATUS_FILE)
        self._has_evaluator = has_evaluator
        before = read(model_dir)
        self._run_name = before.run_name if before else secrets.token_hex(8)

    def write(self, state: str, exit_code: int | None = None, reason: str = "") -> None:
        """Raises InputError if it cannot be written, LostError if it is another trainer's."""
        lock.check(self._model_dir)
        write_json(self._path, self._record(state, exit_code, reason))

    def write_last(self, state: str, exit_code: int, reason: str) -> None:
        """Writes how the run has ended, even if the disk is full.

        Raises:
          InputError or OSError: if it cannot be written.
        """
        record = self._record(state, exit_code, reason)
        try:
            write_json(self._path, record)
        except InputError:
            if not is_local(self._path):
                raise
            # It fits in the place of the first status, which is as small.
            local_files.write_over(self._path, json.dumps(record).encode() + b"\n")

    def _record(self, state: str, exit_code: int | None, reason: str) -> dict[str, Any]:
        now = datetime.datetime.now().astimezone().isoformat()
        step = checkpoints.step_of(checkpoints.newest(self._model_dir))
        status = Status(state, exit_code, step, reason, self._run_name, now, self._has_evaluator)
        fields = dataclasses.asdict(status) | {"reason": storage.redacted_urls(reason)}
        return {formats.KEY: formats.VERSION} | {_KEYS.get(k, k): v for k, v in fields.items()}


@contextlib.contextmanager
def record_outcome(model_dir: str, has_evaluator: bool = False) -> Iterator[Recorder]:
    """Records that training begins, and how the block ends if it raises.

    A block that ends without an error records its end by itself.
    """
    recorder = Recorder(model_dir, has_evaluator)
    recorder.write(TRAINING)
    try:
        with signals.replacing_errors():
            yield recorder
    except BaseException as error:
        with contextlib.suppress(InputError, OSError, RunError):
            lock.check(model_dir)  # What another trainer has taken over is not touched.
            # A full disk may be the error: this removes what the failed save has left there.
            checkpoints.remove_left_overs(model_dir)
            code = signals.exit_code_of(error)
            interrupted = isinstance(error, signals.Interruption)
            reason = error.reason if interrupted else " ".join(str(error).split())
            recorder.write_last(_BY_EXIT_CODE.get(code, FAILED), code, reason)
        raise


class Follower:
    """Tells a task other than the chief when the chief's run has ended."""

    def __init__(self, model_dir: str, since: datetime.datetime | None = None) -> None:
        """Remembers the status of an earlier start, by which this one does not end.

        Args:
          since: when this process began. A failure that the chief recorded after that, by its
            machine's clock, belongs to this start: the chief failed before this process got here.
        """
        self._model_dir = model_dir
        self._before = read(model_dir)
        if since and self._before and self._before.has_failed and self._before.written >= since:
            self._before = None

    def now(self) -> Status | None:
        """The status as it is now."""
        return read(self._model_dir)

    def ended(self) -> Status | None:
        """The status with which the chief ended; None while it trains, or has yet to begin."""
        found = self.now()
        return found if found and found != self._before and not found.is_training else None

    def earlier_failure(self) -> str:
        """A line about a failure that was recorded before; "" if none was, or a chief has begun.

        It may be that of an older run, or of a chief that failed before this task was started.
        """
        before = self._before
        if not before or not before.has_failed or self.now() != before:
            return ""
        when = before.written.isoformat(sep=" ", timespec="seconds")
        return f"the chief's last start failed, recorded at {when}: {before.reason}"
