"""A part is written whole or not at all, and nothing is removed that is not ours."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import idx_files, part_sets, tiny_dataset

from mnist_estimator import InputError
from mnist_estimator.compat import tf
from mnist_estimator.data import merging, part_record, parts, plan, sources, splits
from mnist_estimator.runtime import files, locking


@pytest.fixture(scope="module")
def dead_pid() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(timeout=60)
    return process.pid


def _kill_at(
    data_dir: Path, part: str, line: str, monkeypatch: pytest.MonkeyPatch, **options: object
) -> None:
    """Prepares a part until it says `line`; then nothing of it runs any more, as after a kill."""

    def end(said: str) -> None:
        if said.startswith(line):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(parts, "remove", lambda attempt: None)
        patch.setattr(files, "remove_empty", lambda folder: None)
        with pytest.raises(KeyboardInterrupt):
            part_sets.write(data_dir, part, report=end, **options)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_part_has_its_share_of_every_split(tmp_path: Path):
    record, was_there = part_sets.write(tmp_path, "2/3", split=("4", 0))
    assert not was_there
    # Training rows 16 to 32 of 50, the first 4 of which validate; test rows 2 to 3 of 7.
    assert record.firsts == {"train": 12, "validation": 4, "test": 2}
    assert [record.num_examples(split) for split in splits.SPLITS] == [17, 0, 2]
    assert [shard.examples for shard in record.fragments["train"]] == [6, 6, 5]
    folder = next(path for path in tmp_path.iterdir() if path.is_dir())
    for split in splits.SPLITS:
        for shard in record.fragments[split]:
            path = str(folder / shard.file)
            assert files.size_and_sha256(path) == (shard.bytes, shard.sha256)


def test_a_part_that_is_there_is_left_as_it_is(tmp_path: Path):
    part_sets.write(tmp_path, "1/2")
    before = _names(tmp_path)
    record, was_there = part_sets.write(tmp_path, "1/2")
    assert was_there and record.part == splits.Part(1, 2) and _names(tmp_path) == before


def test_more_parts_than_examples(tmp_path: Path):
    part_sets.write_all(tmp_path / "parts", 16, train=12, test=2)
    merging.merge(str(tmp_path / "parts"))
    part_sets.write_at_once(tmp_path / "one", train=12, test=2)
    assert tiny_dataset.files(tmp_path / "parts") == tiny_dataset.files(tmp_path / "one")


@pytest.mark.parametrize("line", ["converting", "verifying"])
def test_what_a_killed_part_leaves_goes_with_the_next_attempt(
    tmp_path: Path, line: str, dead_pid: int, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: dead_pid)
        _kill_at(tmp_path, "1/1", line, monkeypatch, train=4000)
    assert len(_names(tmp_path)) == 1 and not parts.look(str(tmp_path))[0].is_whole
    assert merging.find_missing(str(tmp_path)) == ""  # Nothing of any part.
    part_sets.write(tmp_path, "1/1", train=4000)
    (attempt,) = parts.look(str(tmp_path))
    assert attempt.is_whole and _names(tmp_path) == [attempt.name, f"{attempt.name}.json"]


def test_an_attempt_on_another_machine_is_dead_when_its_file_stays_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: "elsewhere")
        _kill_at(tmp_path, "1/2", "converting", monkeypatch)
    (other,) = parts.look(str(tmp_path))
    part_sets.write(tmp_path, "2/2")
    assert other in parts.look(str(tmp_path))  # It may be at work.
    os.utime(Path(other.folder, "alive"), (1, 1))
    part_sets.write(tmp_path, "1/2")
    assert [(attempt.part.number, attempt.is_whole) for attempt in parts.look(str(tmp_path))] == [
        (1, True),
        (2, True),
    ]


def test_an_attempt_before_its_first_beat_is_not_dead(tmp_path: Path):
    name = f".part-2-of-2-{'0' * 16}-elsewhere-1-01234567"
    (tmp_path / name).mkdir()
    attempt = parts.Attempt(str(tmp_path), name, is_whole=False)
    now = parts.time_in(str(tmp_path))
    assert not attempt.is_left_over(now)
    assert attempt.is_left_over(now + 601 * 10**9)


def test_an_attempt_that_became_whole_while_it_was_looked_at_is_kept(
    tmp_path: Path, dead_pid: int, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: dead_pid)
        part_sets.write(tmp_path, "1/2")
    (whole,) = parts.look(str(tmp_path))
    listed = dataclasses.replace(whole, is_whole=False)  # As its folder was listed before.
    assert not listed.is_left_over(parts.time_in(whole.folder))


def test_two_containers_of_one_name_do_not_judge_each_other_by_numbers(
    tmp_path: Path, dead_pid: int, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: dead_pid)
        patch.setattr(locking, "this_machine", lambda: "another container")
        _kill_at(tmp_path, "1/2", "converting", monkeypatch)
    (other,) = parts.look(str(tmp_path))
    part_sets.write(tmp_path, "2/2")
    assert other in parts.look(str(tmp_path))


def test_two_processes_at_one_part_end_with_a_whole_one(tmp_path: Path):
    part_sets.write(tmp_path, "2/2")
    other = []

    def rival(line: str) -> None:
        if not other:
            other.append(line)
            part_sets.write(tmp_path, "1/2")

    part_sets.write(tmp_path, "1/2", report=rival)
    merging.merge(str(tmp_path))
    part_sets.write_at_once(tmp_path / "one")
    found = tiny_dataset.files(tmp_path / "one")
    assert {name: (tmp_path / name).read_bytes() for name in found} == found
    assert not [name for name in _names(tmp_path) if name.startswith(".part")]


def test_a_part_that_comes_after_the_merge_removes_itself(tmp_path: Path):
    def rival(line: str) -> None:
        if not (tmp_path / "manifest.json").exists():
            part_sets.write(tmp_path, "1/1")
            merging.merge(str(tmp_path))

    found, was_there = part_sets.write(tmp_path, "1/1", report=rival)
    assert found.dataset == "tiny" and not was_there
    assert not [name for name in _names(tmp_path) if name.startswith(".part")]
    assert part_sets.write(tmp_path, "1/1") == (found, True)


@pytest.mark.parametrize(
    ("options", "count", "line"),
    [
        ({}, 3, "found part 1/2, expected a part of 3; give another --data_dir, or if nobody"),
        ({"salt": 1}, 2, "part 1/2 of another dataset: examples of other content; give"),
        ({"split": ("0.2", 0)}, 2, "validation split 5 of 50 by .*, not 10 of 50 by"),
        ({"split": ("auto", 7)}, 2, "in each class, seed 0, not .* seed 7"),
        ({"shards": 4}, 2, "dataset: shards 3, not 4;"),
        ({"num_classes": 6}, 2, "classes as the labels have it, not 6;"),
        ({"dataset": "other"}, 2, "dataset tiny, not other;"),
        ({"train": 51}, 2, "train examples 45, not 46;"),
    ],
)
def test_parts_of_something_else_are_refused(tmp_path: Path, options: dict, count: int, line: str):
    part_sets.write(tmp_path, "1/2")
    before = _names(tmp_path)
    with pytest.raises(part_record.PartError, match=line):
        part_sets.write(tmp_path, f"2/{count}", **options)
    assert _names(tmp_path) == before


def test_another_dataset_in_the_data_dir_is_refused_unless_forced(tmp_path: Path):
    tiny_dataset.write(tmp_path)
    with pytest.raises(plan.DatasetExistsError, match="--force"):
        part_sets.write(tmp_path, "1/1", salt=1)
    part_sets.write(tmp_path, "1/1", salt=1, force=True)
    with pytest.raises(plan.DatasetExistsError, match="--force"):
        merging.merge(str(tmp_path))
    merging.merge(str(tmp_path), force=True)
    part_sets.write_at_once(tmp_path / "one", salt=1)
    shard = "train-00000-of-00003.tfrecord"
    assert (tmp_path / shard).read_bytes() == (tmp_path / "one" / shard).read_bytes()


@pytest.mark.parametrize("damage", ["fragment", "record", "gone"])
def test_a_damaged_part_is_prepared_again(tmp_path: Path, damage: str, capsys):
    part_sets.write(tmp_path, "1/1")
    (attempt,) = parts.look(str(tmp_path))
    fragment = Path(attempt.folder, "train-00000-of-00003.tfrecord")
    if damage == "gone":
        fragment.unlink()
    else:
        path = fragment if damage == "fragment" else Path(attempt.record_path)
        path.write_bytes(path.read_bytes()[:-3])
    _, was_there = part_sets.write(tmp_path, "1/1")
    assert not was_there and "part 1/1 is prepared again" in capsys.readouterr().err
    assert merging.merge(str(tmp_path)).dataset == "tiny"


def test_a_source_that_changes_is_found(tmp_path: Path):
    made = part_sets.plan_of()
    made.train.digests = iter([{"train": "0" * 64}, {"train": "1" * 64}]).__next__
    with pytest.raises(InputError, match="train: changed while it was read"):
        parts.write_part(str(tmp_path / "new"), splits.Part(1, 2), made)
    assert not (tmp_path / "new").exists()


def test_files_of_others_and_links_are_left_alone(tmp_path: Path):
    part_sets.write(tmp_path, "1/1")
    (attempt,) = parts.look(str(tmp_path))
    mine = Path(attempt.folder, "notes.txt")
    mine.write_text("mine")
    linked = tmp_path / "elsewhere"
    linked.mkdir()
    (linked / "alive").write_text("mine")
    link = tmp_path / (attempt.name[:-8] + "0" * 8)
    link.symlink_to(linked)
    merging.merge(str(tmp_path))
    assert mine.read_text() == "mine" and (linked / "alive").read_text() == "mine"
    assert link.is_symlink() and _names(Path(attempt.folder)) == ["notes.txt"]


def test_another_filesystem():
    data_dir = "ram://parts/data"
    part_sets.write_all(data_dir, 3)
    manifest = merging.merge(data_dir)
    one = "ram://parts/one"
    assert part_sets.write_at_once(one) == manifest
    names = sorted(tf.io.gfile.listdir(data_dir))
    assert names == sorted(tf.io.gfile.listdir(one)) and len(names) == 10
    for name in names:
        assert files.read_bytes(f"{data_dir}/{name}") == files.read_bytes(f"{one}/{name}")


def test_a_full_disk_leaves_nothing(tmp_path: Path):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(InputError, match=r"tfrecord: File too large"):
            part_sets.write(tmp_path, "1/2", train=1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert _names(tmp_path) == []


def _idx(folder: Path) -> dict[str, str]:
    return idx_files.put(folder, idx_files.arrays(), compressed=True)


def _npz(folder: Path) -> str:
    folder.mkdir(exist_ok=True)
    arrays = idx_files.arrays()
    names = {"x_train": "train_images", "y_train": "train_labels"}
    np.savez_compressed(folder / "a.npz", **{name: arrays[role] for name, role in names.items()})
    return str(folder / "a.npz")


def _pictures(folder: Path) -> str:
    for number in range(12 * (not folder.exists())):
        path = folder / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tf.io.encode_png(np.full((3, 2, 1), number, np.uint8)).numpy())
    return str(folder)


def _csv(folder: Path) -> list[str]:
    folder.mkdir(exist_ok=True)
    lines = [",".join(map(str, [number % 3, *[number] * 4])) for number in range(12)]
    paths = [folder / f"{first}.csv" for first in (0, 5, 7)]
    for path, (first, stop) in zip(paths, ((0, 5), (5, 7), (7, 12)), strict=True):
        path.write_text("\n".join(lines[first:stop]))
    return list(map(str, paths))


_KINDS = {
    "idx": lambda folder: sources.from_idx(_idx(folder)).train,
    "transposed": lambda folder: sources.from_idx(_idx(folder), transpose=True).train,
    "npz": lambda folder: sources.from_npz(_npz(folder)).train,
    "pictures": lambda folder: sources.from_image_folder(_pictures(folder)).train,
    "csv": lambda folder: sources.from_csv(_csv(folder)).train,
}


@pytest.mark.parametrize("kind", _KINDS)
def test_a_share_of_each_kind_of_source(tmp_path: Path, kind: str):
    whole = _KINDS[kind](tmp_path / "files")
    images, labels = (np.concatenate(part) for part in zip(*whole.chunks(5), strict=True))
    assert len(labels) == 12 and list(np.concatenate(list(whole.label_chunks(5)))) == list(labels)
    shares = ((0, 4), (4, 9), (9, 12), (12, 12))
    for start, stop in shares[1:2] if kind == "pictures" else shares:  # Each takes a session.
        source = _KINDS[kind](tmp_path / "files")
        found = list(source.chunks(3, start, stop))
        assert source.digests() == whole.digests()
        assert [label for chunk in found for label in chunk[1]] == list(labels[start:stop])
        shares = [image for chunk in found for image in chunk[0]]
        assert np.array_equal(np.reshape(shares, (-1, *source.image_shape)), images[start:stop])


def test_a_share_of_a_named_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    idx_files.make_known(monkeypatch, _idx(tmp_path))
    source = sources.from_name("mnist", str(tmp_path)).train
    ((_, labels),) = source.chunks(100, 4, 9)
    assert labels.tolist() == [1, 2, 0, 1, 2]


def test_an_interrupt_leaves_nothing(tmp_path: Path):
    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        part_sets.write(tmp_path / "new", "1/2", report=interrupt)
    assert not (tmp_path / "new").exists()
