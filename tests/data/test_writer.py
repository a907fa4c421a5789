"""What is written, and what becomes of it where something is wrong with a source or a disk."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import resource
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support import tiny_dataset
from support.datasets import ArraySource
from support.tiny_dataset import Arrays

from mnist_estimator import InputError
from mnist_estimator.compat import tf
from mnist_estimator.data import (
    frames,
    known_datasets,
    plan,
    records,
    shard_writer,
    splits,
    writer,
)
from mnist_estimator.data.manifest import (
    DIGEST,
    MANIFEST,
    Manifest,
    read_manifest,
)


def test_round_robin(tmp_path: Path):
    tiny_dataset.write(tmp_path, train=10, validation_split="2")
    assert tiny_dataset.read(tmp_path, "train") == [
        [(2, 2), (5, 0), (8, 3)],
        [(3, 3), (6, 1), (9, 4)],
        [(4, 4), (7, 2)],
    ]
    assert tiny_dataset.read(tmp_path, "validation") == [[(0, 0)], [(1, 1)]]


def test_sorted_source_gives_mixed_shards(tmp_path: Path):
    train = Arrays("train", np.sort(np.arange(100) % 5))
    writer.write_dataset(str(tmp_path), dataset="sorted", train=train, shards=4)
    for shard in tiny_dataset.read(tmp_path, "train"):
        assert {label for _, label in shard} == set(range(5))


def test_fraction_splits_every_example_once(tmp_path: Path):
    tiny_dataset.write(tmp_path, train=50, validation_split="0.3", seed=3)
    train, validation = (
        sum(tiny_dataset.read(tmp_path, split), []) for split in ("train", "validation")
    )
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
    assert len(sum(tiny_dataset.read(tmp_path, "validation"), [])) == 10


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
    tiny_dataset.write(tmp_path, validation_split="5")
    older = dataclasses.replace(read_manifest(str(tmp_path)), format_version=1)
    content = older.content | {DIGEST: older.digest}
    (tmp_path / MANIFEST).write_text(json.dumps(content))
    assert tiny_dataset.write(tmp_path).digest == older.digest
    with pytest.raises(plan.DatasetExistsError, match="validation split first 5 of 50, not"):
        tiny_dataset.write(tmp_path, validation_split="0.1")


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
    manifest = tiny_dataset.write(tmp_path, validation_split="0", test=0)
    assert manifest.splits["validation"] == manifest.splits["test"] == ()
    assert manifest.split_rule == "none"
    assert manifest == read_manifest(str(tmp_path)) and records.verify(str(tmp_path)) == []


def test_split_smaller_than_shards(tmp_path: Path):
    manifest = tiny_dataset.write(tmp_path, shards=256, test=2, salt=9)
    assert [shard.examples for shard in manifest.splits["test"]] == [1, 1]
    assert len(manifest.splits["train"]) == 45


def test_classes_from_the_labels(tmp_path: Path):
    train = Arrays("train", [0, 3, 1])
    test = Arrays("test", [299])
    manifest = writer.write_dataset(str(tmp_path), dataset="x", train=train, test=test)
    assert manifest.num_classes == 300 and manifest.class_names[-1] == "299"
    assert records.verify(str(tmp_path)) == []


def test_class_names(tmp_path: Path):
    assert tiny_dataset.write(tmp_path, class_names=tuple("abcde")).class_names == tuple("abcde")


def test_twice_gives_the_same_bytes(tmp_path: Path):
    tiny_dataset.write(tmp_path / "one", validation_split="0.3")
    tiny_dataset.write(tmp_path / "two", validation_split="0.3")
    one = tiny_dataset.files(tmp_path / "one")
    assert len(one) == 10 and one == tiny_dataset.files(tmp_path / "two")


def test_bytes_are_pinned(tmp_path: Path):
    # The same on every version of Python, numpy and TensorFlow; what is prepared relies on it.
    manifest = tiny_dataset.write(tmp_path, validation_split="0.3")
    assert manifest.digest == "7a3093ad4d1a011e0c2fd3cfed9e3661f57cef49c0eea5c92a25f0bddad7c022"
    # As the first version of the format had it: runs that began on it go on with the same records.
    older = dataclasses.replace(manifest, format_version=1)
    assert older.digest == "288a6f7a56a6c012d8ce6d3cc39a1180cad1eb5433d27896ba6e84b10abea48a"


def test_memory_filesystem():
    data_dir = "ram://records/data"
    manifest = tiny_dataset.write(data_dir)
    names = tf.io.gfile.listdir(data_dir)
    assert len(names) == 10 and read_manifest(data_dir) == manifest
    assert records.verify(data_dir) == []
    assert tiny_dataset.write(data_dir, force=True, salt=1) != manifest
    assert records.verify(data_dir) == []
    assert len(sum(tiny_dataset.read(data_dir, "train"), [])) == 45


def test_progress_is_reported(tmp_path: Path):
    lines = []
    tiny_dataset.write(tmp_path, train=5000, report=lines.append)
    assert lines[0] == "converting: 1,024 of 5,007 examples"
    assert "converting: 5,007 of 5,007 examples" in lines
    assert lines[-1].startswith("verifying: ")


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
            tiny_dataset.write(data_dir)
        assert str(data_dir) in str(error.value) and "\n" not in str(error.value)


def test_unknown_filesystem():
    with pytest.raises(InputError, match="scheme 'nosuch' not implemented"):
        tiny_dataset.write("nosuch://bucket/data")


def test_full_disk(tmp_path: Path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(InputError, match="/train-0000.-of-00003.tfrecord: File too large"):
            tiny_dataset.write(tmp_path, train=500)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_bad_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What reads back is well-formed, but not what was written."""

    (size,) = frames.encode(np.zeros((1, 2, 3, 3), np.uint8), np.zeros(1, np.int64)).sizes
    created = shard_writer.files.created

    @contextlib.contextmanager
    def damaging(path: str) -> Iterator[SimpleNamespace]:
        with created(path) as file:
            # The first record again and again.
            write = lambda content: file.write(content[:size] * (len(content) // size))  # noqa: E731
            yield SimpleNamespace(write=write)

    monkeypatch.setattr(shard_writer.files, "created", damaging)
    with pytest.raises(InputError, match="reads back other than it was written"):
        tiny_dataset.write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_wrong_checksums_are_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = frames.crc32c.masked
    monkeypatch.setattr(frames.crc32c, "masked", lambda rows: real(rows) ^ 1)
    frames._header.cache_clear()
    try:
        with pytest.raises(InputError, match="record 0 is corrupt"):
            tiny_dataset.write(tmp_path)
    finally:
        frames._header.cache_clear()
    assert list(tmp_path.iterdir()) == []


def test_interrupt_leaves_nothing(tmp_path: Path):
    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny_dataset.write(tmp_path / "data", report=interrupt)
    assert not (tmp_path / "data").exists()
