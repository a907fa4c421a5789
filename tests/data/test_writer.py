from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import ArraySource

from mnist_estimator import InputError
from mnist_estimator.compat import tf
from mnist_estimator.data import known_datasets, records, splits, workspace, writer
from mnist_estimator.data.manifest import (
    DIGEST,
    MANIFEST,
    Manifest,
    ManifestError,
    find_manifest,
    read_manifest,
    shard_paths,
)
from mnist_estimator.runtime import locking

SHAPE = (2, 3, 3)


class Arrays:
    """A source; the pixels of example i are all i mod 256."""

    def __init__(
        self, name: str, labels: np.ndarray, shape: tuple[int, ...] = SHAPE, salt: int = 0
    ):
        self.name, self.image_shape, self.labels = name, shape, np.asarray(labels, np.int64)
        self.num_examples = len(labels)
        self._salt = salt

    def chunks(self, max_items: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for first in range(0, len(self.labels), max_items):
            labels = self.labels[first : first + max_items]
            pixels = (np.arange(first, first + len(labels)) + self._salt) % 256
            images = np.empty((len(labels), *self.image_shape), np.uint8)
            images[:] = pixels.reshape(-1, 1, 1, 1)
            yield images, labels

    def digests(self) -> dict[str, str]:
        content = f"{self.labels.tolist()} {self._salt}".encode()
        return {self.name: hashlib.sha256(content).hexdigest()}


def _write(data_dir: Path | str, train: int = 50, test: int = 7, salt: int = 0, **options):
    options = {"dataset": "tiny", "shards": 3, "num_classes": 5} | options
    return writer.write_dataset(
        str(data_dir),
        train=Arrays("train", np.arange(train) % 5, salt=salt),
        test=Arrays("test", np.arange(test) % 5, salt=salt) if test else None,
        **options,
    )


def _read(data_dir: Path | str, split: str) -> list[list[tuple[int, int]]]:
    """(first pixel, label) of each record of each shard."""
    manifest, shards = read_manifest(str(data_dir)), []
    for path in shard_paths(str(data_dir), manifest, split):
        shards.append([])
        for record in records.read_records(path):
            feature = tf.train.Example.FromString(record).features.feature
            (image,), (label,) = (
                feature[records.IMAGE_KEY].bytes_list.value,
                feature[records.LABEL_KEY].int64_list.value,
            )
            assert image == image[:1] * 18
            shards[-1].append((image[0], label))
    return shards


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# What is written.


def test_round_robin(tmp_path: Path):
    _write(tmp_path, train=10, validation_split="2")
    assert _read(tmp_path, "train") == [
        [(2, 2), (5, 0), (8, 3)],
        [(3, 3), (6, 1), (9, 4)],
        [(4, 4), (7, 2)],
    ]
    assert _read(tmp_path, "validation") == [[(0, 0)], [(1, 1)]]


def test_sorted_source_gives_mixed_shards(tmp_path: Path):
    train = Arrays("train", np.sort(np.arange(100) % 5))
    writer.write_dataset(str(tmp_path), dataset="sorted", train=train, shards=4)
    for shard in _read(tmp_path, "train"):
        assert {label for _, label in shard} == set(range(5))


def test_fraction_splits_every_example_once(tmp_path: Path):
    _write(tmp_path, train=50, validation_split="0.3", seed=3)
    train, validation = (sum(_read(tmp_path, split), []) for split in ("train", "validation"))
    assert (len(train), len(validation)) == (35, 15)
    assert sorted(train + validation) == [(i, i % 5) for i in range(50)]
    assert sorted(validation) != [(i, i % 5) for i in range(15)]


def _by_class(manifest: Manifest) -> list[list[int]]:
    return [list(manifest.class_examples[split]) for split in splits.SPLITS]


def test_sorted_source_validates_every_class(tmp_path: Path):
    train = Arrays("train", np.sort(np.arange(100) % 5))
    manifest = writer.write_dataset(str(tmp_path), dataset="custom", train=train)
    assert manifest.split_rule == "10 of 100 by selection sampling in each class, seed 0"
    assert _by_class(manifest) == [[18] * 5, [2] * 5, [0] * 5]
    assert len(sum(_read(tmp_path, "validation"), [])) == 10


@pytest.mark.parametrize("dataset", [*known_datasets.DATASETS, known_datasets.SAMPLE])
def test_named_datasets_keep_their_split(tmp_path: Path, dataset: str):
    train = Arrays("train", np.sort(np.arange(100) % 5))
    manifest = writer.write_dataset(str(tmp_path), dataset=dataset, train=train)
    assert manifest.split_rule == "first 10 of 100"
    assert _by_class(manifest)[1] == [10, 0, 0, 0, 0]


def test_labels_are_read_alone_where_a_source_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    labels = np.sort(np.arange(100) % 5)
    passes = []

    class Counted(Arrays):
        def chunks(self, max_items: int):
            passes.append("chunks")
            return super().chunks(max_items)

    class Labelled(Counted):
        def label_chunks(self, max_items: int):
            passes.append("labels")
            yield from np.array_split(self.labels, 3)

    written = []
    for kind in (Counted, Labelled):
        folder = str(tmp_path / kind.__name__)
        written.append(writer.write_dataset(folder, dataset="custom", train=kind("a", labels)))
    assert passes == ["chunks", "chunks", "labels", "chunks"] and written[0] == written[1]


def test_source_that_changes_after_its_labels_are_read(tmp_path: Path):
    class Changing(Arrays):
        def label_chunks(self, max_items: int):
            yield np.arange(self.num_examples) % 2

    with pytest.raises(InputError, match="changed while it was read"):
        writer.write_dataset(
            str(tmp_path / "data"), dataset="custom", train=Changing("a", np.arange(50))
        )
    assert not (tmp_path / "data").exists()


def test_older_dataset_that_auto_split_from_the_front_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    _write(tmp_path, validation_split="5")
    older = dataclasses.replace(read_manifest(str(tmp_path)), format_version=1)
    content = older.content | {DIGEST: older.digest}
    (tmp_path / MANIFEST).write_text(json.dumps(content))
    assert _write(tmp_path).digest == older.digest
    with pytest.raises(writer.DatasetExistsError, match="validation split first 5 of 50, not"):
        _write(tmp_path, validation_split="0.1")


_SCALES = {  # Brightest pixel of training and test images: refused, said or fine.
    (1, 255): "refused",
    (16, 255): "refused",
    (100, 255): "said",
    (128, 255): "fine",
    (200, 255): "fine",
    (255, 100): "fine",
    (255, 16): "said",
    (255, 1): "refused",
    (255, 0): "said",
    (1, 1): "fine",
    (1, 0): "said",
}


@pytest.mark.parametrize("brightest", _SCALES)
def test_test_images_of_another_scale(tmp_path: Path, capsys, brightest: tuple[int, int]):
    train, test = (ArraySource(_images(pixel), np.arange(4) % 2) for pixel in brightest)
    if _SCALES[brightest] == "refused":
        with pytest.raises(InputError, match=f"brightest pixel is {brightest[1]}, expected"):
            writer.write_dataset(str(tmp_path / "a"), dataset="custom", train=train, test=test)
        assert not (tmp_path / "a").exists()
        return
    writer.write_dataset(str(tmp_path / "a"), dataset="custom", train=train, test=test)
    said = capsys.readouterr().err
    assert ("warning: arrays: the brightest pixel is" in said) == (_SCALES[brightest] == "said")


def _images(pixel: int) -> np.ndarray:
    return np.full((4, 2, 2, 1), pixel, np.uint8)


def test_no_validation_and_no_test(tmp_path: Path):
    manifest = _write(tmp_path, validation_split="0", test=0)
    assert manifest.splits["validation"] == manifest.splits["test"] == ()
    assert manifest.split_rule == "none"
    assert manifest == read_manifest(str(tmp_path)) and records.verify(str(tmp_path)) == []


def test_split_smaller_than_shards(tmp_path: Path):
    manifest = _write(tmp_path, shards=256, test=2, salt=9)
    assert [shard.examples for shard in manifest.splits["test"]] == [1, 1]
    assert len(manifest.splits["train"]) == 45


def test_classes_from_the_labels(tmp_path: Path):
    train = Arrays("train", [0, 3, 1])
    test = Arrays("test", [299])
    manifest = writer.write_dataset(str(tmp_path), dataset="x", train=train, test=test)
    assert manifest.num_classes == 300 and manifest.class_names[-1] == "299"
    assert records.verify(str(tmp_path)) == []


def test_class_names(tmp_path: Path):
    assert _write(tmp_path, class_names=tuple("abcde")).class_names == tuple("abcde")


def test_twice_gives_the_same_bytes(tmp_path: Path):
    _write(tmp_path / "one", validation_split="0.3")
    _write(tmp_path / "two", validation_split="0.3")
    one = _files(tmp_path / "one")
    assert len(one) == 10 and one == _files(tmp_path / "two")


def test_bytes_are_pinned(tmp_path: Path):
    # The same on every version of Python, numpy and TensorFlow; what is prepared relies on it.
    manifest = _write(tmp_path, validation_split="0.3")
    assert manifest.digest == "7a3093ad4d1a011e0c2fd3cfed9e3661f57cef49c0eea5c92a25f0bddad7c022"
    # As the first version of the format had it: runs that began on it go on with the same records.
    older = dataclasses.replace(manifest, format_version=1)
    assert older.digest == "288a6f7a56a6c012d8ce6d3cc39a1180cad1eb5433d27896ba6e84b10abea48a"


def test_memory_filesystem():
    data_dir = "ram://records/data"
    manifest = _write(data_dir)
    names = tf.io.gfile.listdir(data_dir)
    assert len(names) == 10 and read_manifest(data_dir) == manifest
    assert records.verify(data_dir) == []
    assert _write(data_dir, force=True, salt=1) != manifest
    assert records.verify(data_dir) == []
    assert len(sum(_read(data_dir, "train"), [])) == 45


def test_progress_is_reported(tmp_path: Path):
    lines = []
    _write(tmp_path, train=5000, report=lines.append)
    assert lines[0] == "converting: 1,024 of 5,007 examples"
    assert "converting: 5,007 of 5,007 examples" in lines
    assert lines[-1].startswith("verifying: ")


# A dataset that is there already.


def test_same_dataset_is_left_alone(tmp_path: Path):
    manifest = _write(tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert _write(tmp_path) == manifest
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"dataset": "other"}, "dataset tiny, not other"),
        ({"train": 51}, "train examples 45, not 46"),
        ({"test": 0}, "test examples 7, not 0"),
        ({"shards": 2}, "train shards 3, not 2"),
        ({"num_classes": 6}, "classes 5, not 6"),
        ({"validation_split": "0.1"}, "validation split 5 of 50 by .*, not 5 of 50 by"),
        ({"salt": 1}, "examples of other content"),
    ],
)
def test_other_dataset_is_an_error(tmp_path: Path, options: dict, line: str):
    _write(tmp_path)
    before = _files(tmp_path)
    with pytest.raises(writer.DatasetExistsError, match=line) as error:
        _write(tmp_path, **options)
    assert "--force" in str(error.value) and _files(tmp_path) == before


def test_damaged_dataset_is_not_the_same(tmp_path: Path):
    _write(tmp_path)
    shard = tmp_path / "test-00000-of-00003.tfrecord"
    shard.write_bytes(b"")
    with pytest.raises(writer.DatasetExistsError, match="0 bytes in test-00000"):
        _write(tmp_path)
    shard.unlink()
    with pytest.raises(writer.DatasetExistsError, match="no test-00000"):
        _write(tmp_path)


def test_malformed_manifest_stops_it_without_force(tmp_path: Path):
    _write(tmp_path)
    path = tmp_path / MANIFEST
    path.write_text(path.read_text()[:-3])
    with pytest.raises(ManifestError, match="--force"):
        _write(tmp_path)
    # It is known all the same which files are the dataset's.
    _write(tmp_path, force=True, shards=2)
    assert records.verify(str(tmp_path)) == []


@pytest.mark.parametrize("dataset", ["none", "whole", "damaged"])
@pytest.mark.parametrize("name", ["train-00000-of-00001.tfrecord", "test-00001-of-00003.tfrecord"])
def test_a_file_that_no_manifest_lists_is_never_deleted(tmp_path: Path, dataset: str, name: str):
    if dataset != "none":
        _write(tmp_path, shards=2)
    if dataset == "damaged":
        path = tmp_path / MANIFEST
        path.write_text(path.read_text()[:-3])
    (tmp_path / name).write_text("mine")
    before = _files(tmp_path)
    for force in (True, False) if dataset == "none" else (True,):
        with pytest.raises(InputError, match=f"found {name} without a manifest.json.*move it"):
            _write(tmp_path, salt=1, shards=1, force=force)
        assert _files(tmp_path) == before


def test_a_manifest_of_another_program_is_never_deleted(tmp_path: Path):
    (tmp_path / MANIFEST).write_text('{"name": "a web page"}')
    with pytest.raises(InputError, match="manifest.json: found a file of another program.*move"):
        _write(tmp_path, force=True)
    assert _files(tmp_path) == {MANIFEST: b'{"name": "a web page"}'}


def test_a_file_that_came_while_writing_is_not_replaced(tmp_path: Path):
    mine = tmp_path / "train-00000-of-00008.tfrecord"
    with pytest.raises(InputError, match="found train-00000-of-00008.tfrecord without"):
        _write(tmp_path, report=lambda line: mine.write_text("mine"))
    assert _files(tmp_path) == {mine.name: b"mine"}


def test_force_replaces_every_file(tmp_path: Path):
    _write(tmp_path, shards=4)
    (tmp_path / "notes.txt").write_text("mine")
    _write(tmp_path, shards=2, salt=1, force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "manifest.json",
        "notes.txt",
        *(f"{split}-0000{i}-of-00002.tfrecord" for split in ("test", "train") for i in (0, 1)),
        *(f"validation-0000{i}-of-00002.tfrecord" for i in (0, 1)),
    ]
    assert records.verify(str(tmp_path)) == []


def test_stray_shards_are_not_overwritten(tmp_path: Path):
    _write(tmp_path)
    (tmp_path / MANIFEST).unlink()
    before = _files(tmp_path)
    for force in (False, True):
        with pytest.raises(InputError, match="without a manifest.json.*move it away"):
            _write(tmp_path, salt=1, force=force)
        assert _files(tmp_path) == before


# Wrong sources and arguments.


@pytest.mark.parametrize(
    ("train", "options", "line"),
    [
        (Arrays("src", []), {}, "src: no examples"),
        (Arrays("src", [0, 1], (0, 2, 1)), {}, "src: images of 0x2x1, which is 0 bytes"),
        (
            Arrays("src", [0, 1], (20_000, 10_001, 1)),
            {},
            "src: images of 20000x10001x1, which is 200020000 bytes each, expected 1 to 200000000; "
            "make them smaller",
        ),
        (Arrays("src", [0, 1], (2**15, 2**15, 2)), {}, "which is 2147483648 bytes each"),
        (Arrays("src", [0, 7]), {"num_classes": 7}, "src: example 1 has label 7, expected 0 to 6"),
        (Arrays("src", [0, -1]), {}, "src: example 1 has label -1"),
        (Arrays("src", [0, 2**40]), {}, "has label 1099511627776, expected 0 to 1048575"),
        (Arrays("src", [0, 0]), {}, "every label is 0"),
        (Arrays("src", [0, 1]), {"shards": 0}, "--shards: found 0"),
        (Arrays("src", [0, 1]), {"shards": 257}, "--shards: found 257"),
        (Arrays("src", [0, 1]), {"num_classes": 1}, "--num_classes: found 1"),
        (Arrays("src", [0, 1]), {"seed": -1}, "--seed: found -1"),
        (Arrays("src", [0, 1]), {"validation_split": "2"}, "--validation_split: found 2"),
        (Arrays("src", [0, 1]), {"test": Arrays("tst", [0], (2, 2, 1))}, "tst: images of 2x2x1"),
        (Arrays("src", [0, 1]), {"class_names": ("a",)}, "1 class names, expected 2"),
    ],
)
def test_wrong_input(tmp_path: Path, train: Arrays, options: dict, line: str):
    data_dir = tmp_path / "data"
    with pytest.raises(InputError, match=line):
        writer.write_dataset(str(data_dir), dataset="x", train=train, **options)
    assert not data_dir.exists()


@pytest.mark.parametrize("change", [-1, 1])
def test_source_that_promises_another_count(tmp_path: Path, change: int):
    train = Arrays("src", [0, 1, 2])
    train.num_examples += change
    with pytest.raises(InputError, match="src: "):
        writer.write_dataset(str(tmp_path), dataset="x", train=train)
    assert list(tmp_path.iterdir()) == []


def test_source_that_gives_another_shape(tmp_path: Path):
    train = Arrays("src", [0, 1, 2])
    train.chunks = lambda max_items: iter([(np.zeros((3, 4), np.uint8), train.labels)])
    with pytest.raises(InputError, match="src: uint8 images of 4, expected uint8 of 2x3x3"):
        writer.write_dataset(str(tmp_path), dataset="x", train=train)


# Filesystems that refuse.


def test_data_dir_is_a_file(tmp_path: Path):
    (tmp_path / "file").write_text("")
    for data_dir in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError) as error:
            _write(data_dir)
        assert str(data_dir) in str(error.value) and "\n" not in str(error.value)


def test_unknown_filesystem():
    with pytest.raises(InputError, match="scheme 'nosuch' not implemented"):
        _write("nosuch://bucket/data")


def test_full_disk(tmp_path: Path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(InputError, match="/train-0000.-of-00003.tfrecord: File too large"):
            _write(tmp_path, train=500)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_bad_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What reads back is well-formed, but not what was written."""

    class Writer(tf.io.TFRecordWriter):
        def write(self, record: bytes) -> None:
            super().write(record.replace(b"\x07", b"\x08"))

    monkeypatch.setattr(tf.io, "TFRecordWriter", Writer)
    with pytest.raises(InputError, match="reads back other than it was written"):
        _write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_interrupt_leaves_nothing(tmp_path: Path):
    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _write(tmp_path / "data", report=interrupt)
    assert not (tmp_path / "data").exists()


# Several at once.


def test_busy(tmp_path: Path):
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        with pytest.raises(workspace.BusyError, match="another process"):
            _write(tmp_path)
    finally:
        os.close(handle)
    _write(tmp_path)


def test_second_writer_is_refused_and_the_first_not_disturbed(tmp_path: Path):
    def other(line: str) -> None:
        with pytest.raises(workspace.BusyError):
            _write(tmp_path, salt=1)

    _write(tmp_path, report=other)
    assert records.verify(str(tmp_path)) == [] and len(_files(tmp_path)) == 10


@pytest.mark.parametrize("data_dir", ["ram://busy/data", None])
def test_second_writer_is_refused_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_dir: str | None
):
    data_dir = data_dir or str(tmp_path)
    monkeypatch.setattr(workspace, "_lock", lambda data_dir, stack: False)

    def other(line: str) -> None:
        with pytest.raises(workspace.BusyError, match="if it is not, remove .*/.prepare-"):
            _write(data_dir, salt=1)

    _write(data_dir, report=other)
    assert records.verify(data_dir) == []


def _leave(data_dir: Path, host: str, pid: int, age_secs: float) -> Path:
    folder = data_dir / f".prepare-{host}-{pid}-0123abcd"
    folder.mkdir()
    beat = folder / "alive"
    beat.write_text("")
    now = beat.stat().st_mtime
    os.utime(beat, (now - age_secs, now - age_secs))
    return folder


_NO_PID = 2**22 + 1  # Above the largest that Linux gives.


@pytest.mark.parametrize(
    ("host", "pid", "age_secs", "locks", "dead"),
    [
        ("elsewhere", 1, 0, True, False),
        ("elsewhere", 1, 500, True, False),
        ("elsewhere", 1, 700, True, True),
        ("elsewhere", 1, 700, False, True),
        ("here", 1, 0, True, True),  # It would hold the lock if it lived.
        ("here", 1, 0, False, False),
        ("here", _NO_PID, 0, False, True),
    ],
)
def test_left_over_folders(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    pid: int,
    age_secs: float,
    locks: bool,
    dead: bool,
):
    monkeypatch.setattr(workspace.socket, "gethostname", lambda: "here")
    if not locks:
        monkeypatch.setattr(workspace, "_lock", lambda data_dir, stack: False)
    folder = _leave(tmp_path, host, pid, age_secs)
    if dead:
        _write(tmp_path)
        assert len(_files(tmp_path)) == 10
    else:
        with pytest.raises(workspace.BusyError):
            _write(tmp_path)
        assert os.listdir(tmp_path) == [folder.name]


def test_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now = [0.0]
    monkeypatch.setattr(locking.time, "monotonic", lambda: now[0])
    beat = workspace._heartbeat(str(tmp_path))
    (tmp_path / "alive").unlink()
    now[0] = 29.0
    beat()
    assert not (tmp_path / "alive").exists()
    now[0] = 31.0
    beat()
    assert (tmp_path / "alive").exists()


# Killed.

# A process that dies at the k-th operation on the filesystem, or after some time, in a child forked
# from one that has TensorFlow loaded already.
_KILLED = """
import os, signal, sys
import numpy as np
import test_writer
from mnist_estimator.compat import tf

def dying(function, count):
    def call(*args, **kwargs):
        count[0] -= 1
        if count[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call

def child(data_dir, k, seconds, train, salt):
    count = [k]
    for name in ("makedirs", "remove", "rename", "rmtree", "GFile"):
        setattr(tf.io.gfile, name, dying(getattr(tf.io.gfile, name), count))
    tf.io.TFRecordWriter = dying(tf.io.TFRecordWriter, count)
    for name in ("fsync", "mkdir", "makedirs", "open", "replace", "unlink", "rmdir"):
        setattr(os, name, dying(getattr(os, name), count))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    test_writer._write(data_dir, train=train, salt=salt, shards=1 + salt, force=bool(salt))
    os._exit(0)

for line in sys.stdin:
    data_dir, *numbers = line.split()
    k, seconds, train, salt = map(float, numbers)
    pid = os.fork()
    if not pid:
        try:
            child(data_dir, int(k), seconds, int(train), int(salt))
        finally:
            os._exit(1)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def killer() -> Iterator[subprocess.Popen]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    command = [sys.executable, "-c", _KILLED]
    with subprocess.Popen(command, **pipes, text=True, env=environment) as process:
        yield process


def _run_killed(process: subprocess.Popen, data_dir: Path, *numbers: float) -> int:
    """Returns the exit code: negative if it was killed."""
    print(data_dir, *numbers, file=process.stdin, flush=True)
    return int(process.stdout.readline())


def _check_whole_or_none(data_dir: Path, datasets: list[Manifest]) -> Manifest | None:
    manifest = find_manifest(str(data_dir))
    if manifest is not None:
        assert manifest in datasets and records.verify(str(data_dir)) == []
    return manifest


def test_killed_at_every_operation_on_an_empty_folder(tmp_path: Path, killer: subprocess.Popen):
    expected = _write(tmp_path / "expected", shards=1)
    codes, seen = [], []
    for k in range(200):
        data_dir = tmp_path / str(k)
        codes.append(_run_killed(killer, data_dir, k, 60, 50, 0))
        seen.append(_check_whole_or_none(data_dir, [expected]))
        # The next run tidies up and needs no --force.
        assert _write(data_dir, shards=1) == expected
        assert _files(data_dir) == _files(tmp_path / "expected")
        if codes[-1] == 0:
            break
    assert codes[-1] == 0 and set(codes[:-1]) == {-9} and len(codes) > 20
    assert seen[0] is None and seen[-2] == expected


def test_killed_at_every_operation_over_another_dataset(tmp_path: Path, killer: subprocess.Popen):
    new = _write(tmp_path / "expected", shards=2, salt=1)
    codes, seen = [], []
    for k in range(200):
        data_dir = tmp_path / str(k)
        old = _write(data_dir, shards=1)
        codes.append(_run_killed(killer, data_dir, k, 60, 50, 1))
        seen.append(_check_whole_or_none(data_dir, [old, new]))
        if seen[-1] is None:
            assert _write(data_dir, shards=2, salt=1) == new
        else:
            assert _write(data_dir, shards=2, salt=1, force=True) == new
        assert _files(data_dir) == _files(tmp_path / "expected")
        if codes[-1] == 0:
            break
    assert codes[-1] == 0 and set(codes[:-1]) == {-9} and len(codes) > 30
    assert seen[0] == old and None in seen and seen[-2] == new


def test_killed_at_any_time(tmp_path: Path, killer: subprocess.Popen):
    train, codes = 20_000, []
    expected = _write(tmp_path / "expected", train=train, shards=1)
    for millis in (3, 30, 60, 100, 150, 200, 250, 300, 400):
        data_dir = tmp_path / str(millis)
        codes.append(_run_killed(killer, data_dir, 1e6, millis / 1000, train, 0))
        _check_whole_or_none(data_dir, [expected])
        assert _write(data_dir, train=train, shards=1) == expected
        assert len(_files(data_dir)) == 4
    assert codes.count(-14) >= 3 and set(codes) <= {-14, 0}
