"""Joins the parts of a dataset: the same bytes as one process writes that prepares all of it.

Only the parts are read, so the machine that merges needs no access to the sources. Each piece is
compared with the digest in its part's record, and each shard is read back, before anything is
published. Afterwards the parts are removed.
"""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Callable, Sequence

from mnist_estimator import InputError
from mnist_estimator.data import completion, parts, workspace
from mnist_estimator.data.conversion import Ticks
from mnist_estimator.data.manifest import (
    Manifest,
    Shard,
    find_manifest,
    shard_name,
)
from mnist_estimator.data.outline import compare_manifest
from mnist_estimator.data.part_record import PartError, Record
from mnist_estimator.data.parts import Attempt
from mnist_estimator.data.plan import check_same, damages
from mnist_estimator.data.shard_writer import count_records, reads_otherwise
from mnist_estimator.data.splits import SPLITS
from mnist_estimator.data.statistics import Statistics
from mnist_estimator.runtime import files

_BLOCK_BYTES = 2**20
_SHOWN = 20  # Numbers of missing parts.


class MissingError(PartError):
    """Parts of the dataset are not there yet."""


def merge(
    data_dir: str, *, force: bool = False, report: Callable[[str], None] = lambda line: None
) -> Manifest:
    """Makes the dataset of which a data_dir has all parts, and removes the parts.

    Without parts, a dataset that is there is left as it is.

    Args:
      force, report: as for `writer.write_dataset`.

    Raises:
      MissingError: if there are parts missing; names them.
      PartError: if one is damaged, or they are of several datasets.
      DatasetExistsError: if another dataset is there.
      BusyError: if another process is writing there.
    """
    if not parts.look(data_dir):
        return _without_parts(data_dir)
    with workspace.open_workspace(data_dir, force) as (folder, beat):
        attempts = _whole_parts(data_dir)  # Now that no other process can merge and remove them.
        manifest = _made_already(data_dir, attempts, force)
        if manifest is None:
            taken, records = _read(data_dir, attempts)
            manifest = _Merging(folder, taken, records, report, beat).run()
            workspace.publish(data_dir, folder, manifest)
        _remove_parts(data_dir, attempts, folder)
    return manifest


def merge_if_whole(
    data_dir: str,
    *,
    force: bool = False,
    report: Callable[[str], None] = lambda line: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Manifest:
    """As `merge`, but waits for another process that is at it, and takes over should it die."""
    while True:
        try:
            return merge(data_dir, force=force, report=report)
        except workspace.BusyError:
            report(f"waiting for the process that merges {data_dir}")
            # Not all at once: without locks, those that start together all give way.
            sleep(random.uniform(0.5, 1.5))


def find_missing(data_dir: str) -> str:
    """Says which parts are missing before they can be merged; "" if none is, or nothing is left."""
    attempts = _whole_parts(data_dir)
    missing = _missing(attempts)
    return _missing_text(missing, attempts[0].part.count) if missing else ""


def _whole_parts(data_dir: str) -> list[Attempt]:
    """The whole attempts; raises PartError if they are of several datasets."""
    found = [attempt for attempt in parts.look(data_dir) if attempt.is_whole]
    if found:
        first = found[0]
        known = None
        if any(attempt.digest != first.digest for attempt in found):
            known = parts.read(first).outline
        parts.check_group(found, first.group, known)
    return found


def _read(data_dir: str, attempts: Sequence[Attempt]) -> tuple[list[Attempt], list[Record]]:
    """For each part an attempt and its record, checked one against another."""
    count = attempts[0].part.count
    missing = _missing(attempts)
    if missing:
        first = f"--part={missing[0]}/{count}{' and so on' * bool(missing[1:])}"
        raise MissingError(f"{data_dir}: {_missing_text(missing, count)}; run prepare with {first}")
    # Two processes may have done the same part: they have the same bytes.
    chosen = {attempt.part.number: attempt for attempt in reversed(attempts)}
    taken = [chosen[number] for number in sorted(chosen)]
    records = [_record(attempt) for attempt in taken]
    _check_together(taken, records)
    return taken, records


def _missing(attempts: Sequence[Attempt]) -> list[int]:
    there = {attempt.part.number for attempt in attempts}
    count = attempts[0].part.count if attempts else 0
    return [number for number in range(1, count + 1) if number not in there]


def _missing_text(missing: Sequence[int], count: int) -> str:
    shown = ", ".join(map(str, missing[:_SHOWN]))
    more = f" and {len(missing) - _SHOWN} more" if missing[_SHOWN:] else ""
    noun, verb = ("part", "is") if len(missing) == 1 else ("parts", "are")
    return f"{noun} {shown}{more} of {count} {verb} missing"


def _check_together(attempts: Sequence[Attempt], records: Sequence[Record]) -> None:
    """Raises PartError unless each part begins where the one before it ends."""
    known = records[0].outline
    places = dict.fromkeys(SPLITS, 0)
    for attempt, record in zip(attempts, records, strict=True):
        if record.outline != known:
            raise _damaged(attempt, "its record says other things than that of part 1")
        if record.firsts != places:
            raise _damaged(attempt, "its examples do not follow those of the part before it")
        for split in SPLITS:
            places[split] += record.num_examples(split)
    if places != known.counts:
        raise _damaged(attempts[-1], f"all parts have {places} examples, expected {known.counts}")


def _damaged(attempt: Attempt, problem: str) -> PartError:
    return PartError(
        f"{attempt.data_dir}: part {attempt.part} is damaged: {problem}; prepare it again with "
        f"--part={attempt.part}, which replaces it"
    )


def _made_already(data_dir: str, attempts: Sequence[Attempt], force: bool) -> Manifest | None:
    """The manifest of the dataset whose parts these are, or the rest of them after a kill."""
    if not attempts:
        return _without_parts(data_dir)
    manifest = None if force else find_manifest(data_dir)
    if manifest is not None:
        problems = compare_manifest(manifest, _record(attempts[0]).outline)
        check_same(data_dir, problems + damages(data_dir, manifest))
    return manifest


def _without_parts(data_dir: str) -> Manifest:
    manifest = find_manifest(data_dir)
    if manifest is None:
        raise MissingError(
            f"{data_dir}: found no parts of a dataset, expected them; make them with prepare "
            "--part=1/N to --part=N/N"
        )
    return manifest


def _record(attempt: Attempt) -> Record:
    try:
        return parts.read(attempt)
    except files.OutageError:
        raise
    except InputError as error:
        raise _damaged(attempt, str(error)) from None


def _remove_parts(data_dir: str, merged: Sequence[Attempt], folder: str) -> None:
    """Removes the parts; one that is at work sees the dataset, and removes itself."""
    now = parts.time_in(folder)
    for attempt in parts.look(data_dir):
        is_merged = attempt.is_whole and attempt.group == merged[0].group if merged else False
        if is_merged or attempt.is_left_over(now):
            parts.remove(attempt)


class _Merging:
    """The way of all parts' pieces into the shards of a folder."""

    def __init__(
        self,
        folder: str,
        attempts: Sequence[Attempt],
        records: Sequence[Record],
        report: Callable[[str], None],
        beat: Callable[[], None],
    ) -> None:
        self._folder, self._attempts, self._records = folder, attempts, records
        self._outline = records[0].outline
        self._tick = Ticks(sum(self._outline.counts.values()), report, beat)

    def run(self) -> Manifest:
        """Returns the manifest of what is then in the folder, synced and read back."""
        statistics = Statistics()
        for record in self._records:
            statistics.add_all(record.statistics)
        train, test = (f"{self._attempts[0].data_dir}: the {kind}" for kind in ("training", "test"))
        train, test = f"{train} examples", f"{test} examples"
        if self._outline.counts["test"]:
            completion.check_scale(statistics, train, test)
        written = {split: tuple(self._shards(split)) for split in SPLITS}
        manifest = completion.manifest_of(self._outline, statistics, written, train)
        completion.write_manifest(self._folder, manifest)
        return manifest

    def _shards(self, split: str) -> list[Shard]:
        count = self._outline.num_shards(split)
        pieces: dict[str, list[tuple[Attempt, Shard]]] = {}
        for attempt, record in zip(self._attempts, self._records, strict=True):
            for fragment in record.fragments[split]:
                pieces.setdefault(fragment.file, []).append((attempt, fragment))
        return [
            self._join(name, pieces[name])
            for name in (shard_name(split, index, count) for index in range(count))
        ]

    def _join(self, name: str, pieces: Sequence[tuple[Attempt, Shard]]) -> Shard:
        """Writes a shard: TFRecord files that follow one another are a TFRecord file."""
        path = os.path.join(self._folder, name)
        content = hashlib.sha256()
        with files.created(path) as target:
            for attempt, fragment in pieces:
                self._copy(attempt, fragment, target.write, content.update)
        files.sync(path)
        examples = sum(fragment.examples for _, fragment in pieces)
        found = count_records(path, self._tick)
        size, sha256 = files.size_and_sha256(path)
        if (found, sha256) != (examples, content.hexdigest()):
            raise reads_otherwise(path)
        return Shard(name, found, size, sha256)

    def _copy(self, attempt: Attempt, fragment: Shard, *uses: Callable[[bytes], object]) -> None:
        path = os.path.join(attempt.folder, fragment.file)
        content, size = hashlib.sha256(), 0
        try:
            with files.file_errors(path), files.reading(path) as source:
                while block := source.read(_BLOCK_BYTES):
                    size += len(block)
                    for use in (content.update, *uses):
                        use(block)
        except files.OutageError:
            raise
        except InputError as error:
            raise _damaged(attempt, str(error)) from None
        if (size, content.hexdigest()) != (fragment.bytes, fragment.sha256):
            raise _damaged(attempt, f"{fragment.file} has other bytes than its record says")
        self._tick("merging", fragment.examples)
