"""Merged parts are the dataset that one process writes, or nothing is published."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
from support import part_sets, tiny_dataset

from mnist_estimator import InputError
from mnist_estimator.data import (
    file_lists,
    merging,
    part_record,
    parts,
    sources,
    splits,
    workspace,
)
from mnist_estimator.data.manifest import DIGEST, find_manifest
from mnist_estimator.runtime import json_files


@pytest.mark.parametrize("count", [1, 3, 16])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"split": ("0.3", 5), "shards": 7},
        {"split": ("9", 0), "pictures": "plain", "num_classes": 8},
        {"split": ("0", 0), "test": 0, "class_names": tuple("abcde"), "num_classes": 5},
        {"dataset": "mnist", "train": 2500, "test": 1030, "shards": 9},
    ],
    ids=["auto", "fraction", "count", "none", "long"],
)
def test_any_number_of_parts_gives_the_same_bytes(tmp_path: Path, count: int, options: dict):
    part_sets.write_all(tmp_path / "parts", count, **options)
    manifest = merging.merge(str(tmp_path / "parts"))
    assert manifest == part_sets.write_at_once(tmp_path / "one", **options)
    assert tiny_dataset.files(tmp_path / "parts") == tiny_dataset.files(tmp_path / "one")


@pytest.mark.filterwarnings("ignore:.*fork")  # The timer ends a child that hangs, too.
def test_processes_killed_at_random_moments(tmp_path: Path):
    """Each attempt does all that is left to do, until the kernel's timer kills it."""
    options = {"train": 3000, "test": 500}
    started = time.monotonic()
    part_sets.write_at_once(tmp_path / "one", **options)
    whole_secs = time.monotonic() - started
    expected = tiny_dataset.files(tmp_path / "one")
    data_dir, dice = tmp_path / "parts", random.Random(0)
    kills = 0
    for attempt in range(200):
        due = dice.uniform(0.05, 0.5 + attempt / 20) * whole_secs
        child = os.fork()
        if not child:
            # Like SIGKILL: nobody handles it, and nothing is cleaned up.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, due)
            _prepare_all(data_dir, options)
        _, status = os.waitpid(child, 0)
        if status == 0:
            break
        assert os.WTERMSIG(status) == signal.SIGALRM, status
        kills += 1
        there = find_manifest(str(data_dir)) if data_dir.exists() else None
        if there:
            shards = {name for name in expected if name.endswith(".tfrecord")}
            assert {name for name in os.listdir(data_dir) if not name.startswith(".")} >= shards
    else:
        pytest.fail(f"{kills} kills, and no end")
    assert kills >= 5
    assert tiny_dataset.files(data_dir) == expected


def _prepare_all(data_dir: Path, options: dict) -> None:
    """Prepares all parts and merges them, in a child process that ends with it."""
    code = 1
    try:
        part_sets.write_all(data_dir, 3, **options)
        merging.merge(str(data_dir))
        code = 0
    finally:
        os._exit(code)


def test_missing_parts_are_named(tmp_path: Path):
    with pytest.raises(merging.MissingError, match="no parts of a dataset, expected them; make"):
        merging.merge(str(tmp_path))
    for number in (1, 2, 3, 5, 6):
        part_sets.write(tmp_path, f"{number}/7")
    assert merging.find_missing(str(tmp_path)) == "parts 4, 7 of 7 are missing"
    with pytest.raises(merging.MissingError, match=r"parts 4, 7 of 7 are missing; run .*=4/7 and"):
        merging.merge(str(tmp_path))
    part_sets.write(tmp_path, "4/7")
    with pytest.raises(merging.MissingError, match="part 7 of 7 is missing; run .* --part=7/7$"):
        merging.merge(str(tmp_path))
    assert find_manifest(str(tmp_path)) is None


def test_parts_of_two_datasets_are_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    part_sets.write(tmp_path, "1/2")
    # As on two machines that start at once, neither of which sees the other's part.
    monkeypatch.setattr(parts, "check_group", lambda *_: None)
    part_sets.write(tmp_path, "2/2", salt=1)
    monkeypatch.undo()
    with pytest.raises(part_record.PartError, match="of another dataset: examples of other con"):
        merging.merge(str(tmp_path))
    assert find_manifest(str(tmp_path)) is None


def test_merging_again_changes_nothing(tmp_path: Path):
    part_sets.write_all(tmp_path, 2)
    manifest = merging.merge(str(tmp_path))
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert merging.merge(str(tmp_path)) == manifest
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_parts_that_a_killed_merge_left_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    part_sets.write_all(tmp_path, 2)
    with monkeypatch.context() as patch:
        patch.setattr(merging, "_remove_parts", lambda *_: None)
        manifest = merging.merge(str(tmp_path))
    assert len(parts.look(str(tmp_path))) == 2
    assert merging.merge(str(tmp_path)) == manifest
    assert parts.look(str(tmp_path)) == [] and len(list(tmp_path.iterdir())) == 10


def _attempt(folder: Path, number: int) -> parts.Attempt:
    return next(each for each in parts.look(str(folder)) if each.part.number == number)


@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "longer", "swapped"])
def test_a_damaged_fragment_is_found_before_anything_is_published(tmp_path: Path, damage: str):
    part_sets.write_all(tmp_path, 2)
    folder = Path(_attempt(tmp_path, 2).folder)
    path = folder / "train-00001-of-00003.tfrecord"
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "swapped":  # Sound records, of the wrong shard.
        path.write_bytes((folder / "train-00002-of-00003.tfrecord").read_bytes())
    else:
        cut = content[:-1] if damage == "cut" else content + content
        changed = bytes([content[40] ^ 1]).join([content[:40], content[41:]])
        path.write_bytes(changed if damage == "changed" else cut)
    with pytest.raises(part_record.PartError, match="part 2/2 is damaged: .*--part=2/2, which"):
        merging.merge(str(tmp_path))
    assert [name for name in os.listdir(tmp_path) if not name.startswith(".part")] == []
    part_sets.write(tmp_path, "2/2")
    merging.merge(str(tmp_path))
    part_sets.write_at_once(tmp_path / "one")
    assert (tmp_path / "manifest.json").read_bytes() == (
        tmp_path / "one" / "manifest.json"
    ).read_bytes()


def _forge(path: Path, change) -> None:
    """Changes a record, and gives it the digest that it should have then."""
    content = json.loads(path.read_text())
    del content[DIGEST]
    change(content)
    content[DIGEST] = json_files.digest(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda c: c.update(part=1), "is the record of another part"),
        (lambda c: c["outline"].update(dataset="mnist"), "is the record of another part"),
        (lambda c: c["firsts"].update(train=22), "do not follow those of the part before it"),
    ],
)
def test_a_record_that_does_not_fit_the_others(tmp_path: Path, change, line: str):
    part_sets.write_all(tmp_path, 2, split=("0", 0))
    _forge(Path(_attempt(tmp_path, 2).record_path), change)
    with pytest.raises(InputError, match=f"part 2/2 is damaged: .*{line}"):
        merging.merge(str(tmp_path))


def test_test_images_of_another_scale_are_refused(tmp_path: Path):
    _brighten = {"train": 10, "test": 300}  # Pixels up to 9, and up to 255.
    part_sets.write_all(tmp_path, 2, **_brighten)
    with pytest.raises(InputError, match="test examples: the brightest pixel is 255, expected abo"):
        merging.merge(str(tmp_path))
    assert find_manifest(str(tmp_path)) is None


def test_who_finds_another_at_it_waits_for_the_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    part_sets.write_all(tmp_path, 2)
    real, waits = merging.merge, []

    def busy(data_dir: str, **options):
        if len(waits) < 2:
            raise workspace.BusyError("busy")
        return real(data_dir, **options)

    monkeypatch.setattr(merging, "merge", busy)
    manifest = merging.merge_if_whole(str(tmp_path), sleep=waits.append)
    assert len(waits) == 2 and all(0.5 <= wait <= 1.5 for wait in waits)
    assert find_manifest(str(tmp_path)) == manifest


def test_a_whole_attempt_beside_a_dead_one(tmp_path: Path):
    part_sets.write_all(tmp_path, 2)
    whole = _attempt(tmp_path, 1)
    dead = tmp_path / (whole.name.replace("-of-", "-of-")[:-8] + "f" * 8)
    dead.mkdir()
    (dead / "train-00000-of-00003.tfrecord").write_bytes(b"cut off")
    (dead / "alive").write_text("")
    os.utime(dead / "alive", (1, 1))
    merging.merge(str(tmp_path))
    assert parts.look(str(tmp_path)) == []


def test_a_merge_killed_while_it_removes_the_parts(tmp_path: Path, monkeypatch):
    part_sets.write_all(tmp_path, 3)
    real, removed = parts.remove, []

    def end(attempt: parts.Attempt) -> None:
        if removed:
            # The record is gone, the rest is not.
            Path(attempt.record_path).unlink()
            raise KeyboardInterrupt
        removed.append(attempt)
        real(attempt)

    with monkeypatch.context() as patch:
        patch.setattr(parts, "remove", end)
        with pytest.raises(KeyboardInterrupt):
            merging.merge(str(tmp_path))
    for path in tmp_path.glob(".part-*/alive"):
        os.utime(path, (1, 1))
    assert len(parts.look(str(tmp_path))) == 2
    merging.merge(str(tmp_path))
    assert parts.look(str(tmp_path)) == [] and find_manifest(str(tmp_path))


def test_four_hundred_csv_files_in_sixteen_parts(tmp_path: Path):
    for number in range(400):
        rows = [f"{(number + row) % 7},{number % 256},{row},3,255" for row in range(number % 4)]
        header = "label,p0,p1,p2,p3"
        (tmp_path / f"part-{number}.csv").write_text("\n".join([header, *rows, ""]))
    paths = file_lists.expand("train_csv", f"{tmp_path}/part-*.csv")
    options = {"validation_split": "auto", "shards": 3, "seed": 0}
    manifest = sources.from_csv(paths).write(str(tmp_path / "one"), **options)
    assert manifest.num_examples("train") + manifest.num_examples("validation") == 600
    plan = sources.from_csv(paths).plan(**options)
    for number in range(16, 0, -1):
        parts.write_part(str(tmp_path / "parts"), splits.Part(number, 16), plan)
    assert merging.merge(str(tmp_path / "parts")) == manifest
    assert tiny_dataset.files(tmp_path / "parts") == tiny_dataset.files(tmp_path / "one")
