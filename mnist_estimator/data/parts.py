"""Prepares one part of a dataset, which may be the work of many machines.

A part takes a range of each source's examples. From the split rule follows which examples of each
split these are, and so in which shards they are, and where. The part writes its piece of each shard
into a hidden folder in the data_dir, and then a record beside it. `merging` joins the pieces.

Nothing is locked: every process has a folder of its own. Where two do the same part, both write the
same bytes, and one of them is taken.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import secrets
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from mnist_estimator import InputError
from mnist_estimator.compat import tf
from mnist_estimator.data import outline, part_record
from mnist_estimator.data.conversion import Conversion, Ticks
from mnist_estimator.data.manifest import DatasetError, Manifest, is_shard_name
from mnist_estimator.data.outline import Outline
from mnist_estimator.data.part_record import PartError, Record
from mnist_estimator.data.plan import CHUNK_EXAMPLES, Plan, existing, labels_of
from mnist_estimator.data.shard_writer import ShardWriter
from mnist_estimator.data.splits import SPLITS, TEST, TRAIN, VALIDATION, Part
from mnist_estimator.runtime import files, local_files, locking, progress

_BEAT, _CLOCK, _RECORD = "alive", "clock", "part.json"
_BEAT_SECS = 30
_DEAD_SECS = 600
_DIGEST_DIGITS = 16
_NAME = re.compile(
    r"\.part-(?P<number>[1-9]\d{0,3})-of-(?P<count>[1-9]\d{0,3})-(?P<digest>[0-9a-f]{16})"
    r"-(?P<host>\w+)-(?P<pid>\d{1,9})-[0-9a-f]{8}",
    re.ASCII,
)


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One process's work at a part: its folder, and the record beside it once it is whole."""

    data_dir: str
    name: str
    is_whole: bool

    @property
    def folder(self) -> str:
        return os.path.join(self.data_dir, self.name)

    @property
    def record_path(self) -> str:
        return f"{self.folder}.json"

    @property
    def part(self) -> Part:
        return Part(int(self._fields["number"]), int(self._fields["count"]))

    @property
    def digest(self) -> str:
        """The beginning of that of the outline."""
        return self._fields["digest"]

    @property
    def group(self) -> tuple[str, int]:
        """What all parts of one dataset have in common."""
        return self.digest, self.part.count

    def is_left_over(self, now: int) -> bool:
        """Whether it will never be whole, as its process is gone.

        Args:
          now: the data_dir's time in nanoseconds, so that the machines' clocks need not agree.
        """
        if self.is_whole or not self._is_dead(now):
            return False
        # After its process was found to be gone: it may have ended with a record just before.
        return not tf.io.gfile.exists(self.record_path)

    def _is_dead(self, now: int) -> bool:
        pid = int(self._fields["pid"])
        if self._fields["host"] == locking.this_host() and not locking.is_running(pid):
            return True
        return now - files.last_beat(self.folder, _BEAT) > _DEAD_SECS * 10**9

    @property
    def _fields(self) -> re.Match[str]:
        return _NAME.fullmatch(self.name)


def write_part(
    data_dir: str,
    part: Part,
    plan: Plan,
    *,
    force: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> tuple[Manifest | Record, bool]:
    """Prepares a part, unless it or the whole dataset is there already.

    Args:
      data_dir, force, report: as for `writer.write_dataset`.

    Returns:
      The manifest if the dataset is there already, else the record of the part; and whether there
      was nothing to do.

    Raises:
      PartError: if there are parts of another dataset, or of another number of parts.
      DatasetExistsError: if another dataset is there.
      InputError: as `writer.write_dataset`.
    """
    found = None if force else existing(data_dir, plan)
    if found:
        return found, True
    known = plan.outline()
    with files.file_errors(data_dir), contextlib.ExitStack() as stack:
        if not tf.io.gfile.exists(data_dir):
            files.make_folders(data_dir)
            stack.callback(files.remove_empty, data_dir)
        own = _named(data_dir, part, known)
        beat = stack.enter_context(_at_work(own))
        _clear(own, known)
        done = _whole(own)
        if done:
            return done, True
        record = _Writing(own.folder, part, plan, known, report, beat).run()
        _publish(own, record)
        # Who merges may have been faster with another process's part, and has cleared all others.
        found = None if force else existing(data_dir, plan)
        if found:
            remove(dataclasses.replace(own, is_whole=True))
    return found or record, False


def look(data_dir: str) -> list[Attempt]:
    """All attempts in a data_dir, in the order of their names."""
    with files.file_errors(data_dir):
        names = {name.rstrip("/") for name in tf.io.gfile.listdir(data_dir)}
    found = {name.removesuffix(".json") for name in names}
    attempts = [
        Attempt(data_dir, name, f"{name}.json" in names)
        for name in sorted(found)
        if _NAME.fullmatch(name)
    ]
    return [attempt for attempt in attempts if not _is_link(attempt)]


def read(attempt: Attempt) -> Record:
    """Reads the record of a whole attempt.

    Raises:
      PartError: if it is damaged, or of another part than its name says.
    """
    record = part_record.read(attempt.record_path)
    if (record.part, record.outline.digest[:_DIGEST_DIGITS]) != (attempt.part, attempt.digest):
        raise PartError(f"{attempt.record_path}: is the record of another part")
    return record


def remove(attempt: Attempt) -> None:
    """Removes what an attempt has written, and nothing else that may be there."""
    # The record first: without its pieces a part is not whole.
    files.remove(attempt.record_path)
    names = []
    with contextlib.suppress(tf.errors.OpError):
        names = [name.rstrip("/") for name in tf.io.gfile.listdir(attempt.folder)]
    others = [name for name in names if not _is_own(name)]
    for name in set(names) - set(others):
        files.remove(os.path.join(attempt.folder, name))
    if not others:
        files.remove_folder(attempt.folder)


def time_in(folder: str) -> int:
    """The time of a folder's filesystem, in nanoseconds; writes a file there to learn it."""
    path = os.path.join(folder, _CLOCK)
    files.write_text(path, "")
    return files.last_change(path)


def check_group(attempts: Sequence[Attempt], group: tuple[str, int], known: Outline | None) -> None:
    """Raises PartError if there are attempts of another dataset or number of parts."""
    for attempt in attempts:
        if attempt.group == group:
            continue
        if attempt.digest == group[0]:
            what = f"part {attempt.part}, expected a part of {group[1]}"
        else:
            what = f"part {attempt.part} of another dataset: {_difference(attempt, known)}"
        pattern = f".part-*-of-{attempt.part.count}-{attempt.digest}-*"
        raise PartError(
            f"{attempt.data_dir}: found {what}; give another --data_dir, or if nobody wants those "
            f"parts any more, remove {os.path.join(attempt.data_dir, pattern)}"
        )


def _difference(attempt: Attempt, known: Outline | None) -> str:
    if known and attempt.is_whole:
        with contextlib.suppress(PartError):
            return "; ".join(outline.compare(read(attempt).outline, known))
    return "other examples or flags"


class _Writing:
    """One pass over a part's share of the sources into a folder."""

    def __init__(
        self,
        folder: str,
        part: Part,
        plan: Plan,
        known: Outline,
        report: Callable[[str], None],
        beat: Callable[[], None],
    ) -> None:
        self._folder, self._part, self._plan, self._known = folder, part, plan, known
        total = sum(len(part.rows(source.num_examples)) for source in plan.sources)
        self._tick = Ticks(total, report, beat)
        self._conversion = Conversion(plan.num_classes, self._tick)

    def run(self) -> Record:
        plan, part = self._plan, self._part
        rows = part.rows(plan.train.num_examples)
        pick, held_out = _split_at(plan, rows.start)
        test_rows = part.rows(plan.test.num_examples) if plan.test else range(0)
        firsts = {TRAIN: rows.start - held_out, VALIDATION: held_out, TEST: test_rows.start}
        sizes = [(split, self._known.num_shards(split), firsts[split]) for split in SPLITS]
        writers = [ShardWriter(self._folder, *size) for size in sizes]
        with contextlib.ExitStack() as stack:
            train, validation, test = map(stack.enter_context, writers)
            self._conversion.convert(plan.train, pick, (train, validation), rows)
            if plan.test:
                self._conversion.convert(plan.test, np.zeros_like, (test,), test_rows)
        if plan.digests() != self._known.sources:
            raise DatasetError(f"{plan.train.name}: changed while it was read; prepare it again")
        fragments = {writer.split: writer.read_back(self._tick) for writer in writers}
        return Record(part, self._known, firsts, fragments, self._conversion.statistics)


def _split_at(plan: Plan, start: int) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    """Who validates from training example `start` on, and how many examples before it do."""
    rule = plan.rule
    pick = rule.picks()
    held_out = 0
    for labels in _labels_before(plan, start):
        held_out += int(pick(labels).sum())
    return pick, held_out


def _labels_before(plan: Plan, start: int) -> Iterator[np.ndarray]:
    if not plan.rule.classes:  # The rule looks at no label.
        for first in range(0, start, CHUNK_EXAMPLES):
            yield np.zeros(min(CHUNK_EXAMPLES, start - first), np.int64)
        return
    left = start
    for labels in labels_of(plan.train):
        yield labels[:left]
        left -= len(labels)
        if left <= 0:
            return


def _named(data_dir: str, part: Part, known: Outline) -> Attempt:
    what = f"part-{part.number}-of-{part.count}-{known.digest[:_DIGEST_DIGITS]}"
    name = f".{what}-{locking.this_host()}-{os.getpid()}-{secrets.token_hex(4)}"
    return Attempt(data_dir, name, is_whole=False)


@contextlib.contextmanager
def _at_work(own: Attempt) -> Iterator[Callable[[], None]]:
    """Makes the folder of an attempt; afterwards it is gone, unless its record is there."""
    files.make_folder(own.folder)
    path = os.path.join(own.folder, _BEAT)
    try:
        beat = locking.Heartbeat(lambda: files.write_text(path, _BEAT), _BEAT_SECS)
        with beat.in_background():
            yield beat
    finally:
        if not tf.io.gfile.exists(own.record_path):
            remove(own)


def _clear(own: Attempt, known: Outline) -> None:
    """Removes what killed processes left; raises PartError if there are parts of something else."""
    now = time_in(own.folder)
    others = []
    for attempt in look(own.data_dir):
        if attempt.name == own.name:
            continue
        if attempt.is_left_over(now):
            remove(attempt)
        else:
            others.append(attempt)
    check_group(others, own.group, known)


def _whole(own: Attempt) -> Record | None:
    """The record of this part if another attempt has finished it and all its bytes are there."""
    for attempt in look(own.data_dir):
        if not attempt.is_whole or attempt.part != own.part:
            continue
        try:
            record = read(attempt)
            for fragment in (fragment for split in SPLITS for fragment in record.fragments[split]):
                path = os.path.join(attempt.folder, fragment.file)
                if files.size_and_sha256(path) != (fragment.bytes, fragment.sha256):
                    raise PartError(f"{path}: other bytes than the part's record says")
            return record
        except files.OutageError:
            raise
        except InputError as error:
            progress.warn(f"{error}; part {own.part} is prepared again")
            remove(attempt)
    return None


def _publish(own: Attempt, record: Record) -> None:
    path = os.path.join(own.folder, _RECORD)
    files.write_bytes(path, part_record.encode(record))
    if part_record.encode(part_record.read(path)) != part_record.encode(record):
        raise DatasetError(f"{path}: reads back other than it was written; is the disk sound?")
    files.sync(own.folder)
    tf.io.gfile.rename(path, own.record_path)
    files.sync(own.data_dir)


def _is_own(name: str) -> bool:
    plain = name.removesuffix(".tmp")  # Of a file that is being written.
    is_ours = plain in (_BEAT, _CLOCK, _RECORD) or is_shard_name(name)
    return is_ours or local_files.is_temporary(name)


def _is_link(attempt: Attempt) -> bool:
    return files.is_local(attempt.data_dir) and any(
        map(os.path.islink, (attempt.folder, attempt.record_path))
    )
