from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.datasets import record_header

from mnist_estimator import InputError
from mnist_estimator.compat import tf
from mnist_estimator.data import records, writer

SHAPE, CLASSES = (2, 3, 3), 300


class _Arrays:
    """2x3 pictures in colour, of 300 classes."""

    image_shape = SHAPE

    def __init__(self, name: str, examples: int):
        self.name, self.num_examples = name, examples

    def chunks(self, max_items: int):
        images = np.random.default_rng(len(self.name)).integers(
            256, size=(self.num_examples, *SHAPE), dtype=np.uint8
        )
        yield images, np.arange(self.num_examples) * 37 % CLASSES

    def digests(self) -> dict[str, str]:
        return {self.name: "0" * 64}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    writer.write_dataset(
        str(folder),
        dataset="colours",
        train=_Arrays("train", 31),
        test=_Arrays("test", 7),
        num_classes=CLASSES,
        shards=3,
        validation_split="3",
    )
    return folder


@pytest.fixture
def data_dir(prepared: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(prepared, tmp_path / "data"))


def _edit(data_dir: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = data_dir / records.MANIFEST
    manifest = json.loads(path.read_text())
    change(manifest)
    # Otherwise its own digest would be all that is found wrong.
    rest = {name: value for name, value in manifest.items() if name != records.DIGEST}
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    manifest[records.DIGEST] = hashlib.sha256(canonical.encode()).hexdigest()
    path.write_text(json.dumps(manifest))


# Reading the manifest.


def test_manifest(prepared: Path):
    manifest = records.read_manifest(str(prepared))
    assert manifest.image_shape == SHAPE and manifest.num_classes == CLASSES
    assert manifest.class_names[299] == "299"
    assert {split: manifest.num_examples(split) for split in records.SPLITS} == {
        "train": 28,
        "validation": 3,
        "test": 7,
    }
    paths = records.shard_paths(str(prepared), manifest, "train")
    assert paths == [str(prepared / f"train-0000{i}-of-00003.tfrecord") for i in range(3)]
    assert manifest.num_bytes("train") == sum(Path(path).stat().st_size for path in paths)


def test_digest_changes_with_a_shard(prepared: Path):
    manifest = records.read_manifest(str(prepared))
    shard = dataclasses.replace(manifest.splits["test"][0], sha256="0" * 64)
    other = dataclasses.replace(manifest, splits=manifest.splits | {"test": (shard,)})
    assert manifest.digest == records.read_manifest(str(prepared)).digest != other.digest


def test_what_was_counted(make_dataset):
    manifest = records.read_manifest(make_dataset())
    for split, count in {"train": 70, "validation": 12, "test": 23}.items():
        assert sum(manifest.class_examples[split]) == count
    assert manifest.pictures == "plain" and 150 <= manifest.brightest_pixel < 250


@pytest.mark.parametrize(
    ("dataset", "pictures"), [("mnist", "digit"), ("custom", "digit"), ("fashion_mnist", "plain")]
)
def test_manifest_of_format_version_1(data_dir: Path, dataset: str, pictures: str):
    def as_version_1(manifest: dict) -> None:
        for name in ("class_examples", "brightest_pixel", "pictures"):
            del manifest[name]
        manifest.update(format_version=1, dataset=dataset)

    _edit(data_dir, as_version_1)
    manifest = records.read_manifest(str(data_dir))
    assert (manifest.brightest_pixel, manifest.pictures) == (255, pictures)
    # A run that began on it knows it by this.
    assert manifest.digest == json.loads((data_dir / records.MANIFEST).read_text())[records.DIGEST]


def test_no_dataset(tmp_path: Path):
    with pytest.raises(records.NoDatasetError, match="prepare --data_dir="):
        records.read_manifest(str(tmp_path))
    assert records.find_manifest(str(tmp_path / "missing")) is None


def test_data_dir_is_a_file(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        records.RecordsError, match="file: no manifest.json, expected a prepared dataset"
    ):
        records.read_manifest(str(tmp_path / "file"))


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"\x00" * 100, "not JSON"),
        (b"<html>", "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"format_version": ' + b"1" * 10_000 + b"}", "not JSON"),
        (b'{"format_version": NaN}', "NaN is no JSON number"),
        (b'{"a": 1, "a": 1}', "a key stands twice"),
        (b"[]", "the whole is a list"),
        (b"{}", "format_version is None"),
    ],
)
def test_not_a_manifest(tmp_path: Path, data: bytes, line: str):
    (tmp_path / records.MANIFEST).write_bytes(data)
    with pytest.raises(records.ManifestError, match=line) as error:
        records.read_manifest(str(tmp_path))
    assert "\n" not in str(error.value)


_WRONG_FIELDS = {
    "version": (lambda m: m.update(format_version=3), "format_version is 3, expected 1 to 2"),
    "version is true": (lambda m: m.update(format_version=True), "format_version is True"),
    "missing": (lambda m: m.pop("sources"), "has no sources"),
    "unknown": (lambda m: m.update(more=1), "has 'more'"),
    "name": (lambda m: m.update(dataset="a\nb"), "dataset has 'a.nb'"),
    "surrogate": (lambda m: m.update(dataset="\ud800"), "dataset has"),
    "shape text": (lambda m: m.update(image_shape="28"), "image_shape is '28'"),
    "shape of two": (lambda m: m.update(image_shape=[28, 28]), "has 2 numbers"),
    "shape of zero": (lambda m: m.update(image_shape=[0, 28, 1]), "image_shape is 0"),
    "huge shape": (lambda m: m.update(image_shape=[2**20, 2**20, 1]), "at most"),
    "one class": (lambda m: m.update(num_classes=1), "num_classes is 1"),
    "classes": (lambda m: m.update(num_classes=10.0), "num_classes is 10.0"),
    "class names": (lambda m: m["class_names"].pop(), "class_names has 299"),
    "class name": (lambda m: m.update(class_names=[7]), "class_names has 7"),
    "splits": (lambda m: m.update(splits=[]), "splits is a list"),
    "no test split": (lambda m: m["splits"].pop("test"), "splits has no test"),
    "other split": (lambda m: m["splits"].update(dev=[]), "splits has 'dev'"),
    "no training": (lambda m: m["splits"].update(train=[]), "train has 0 shards"),
    "shard": (lambda m: m["splits"].update(test=[1]), "is 1, expected a dict"),
    "path": (lambda m: m["splits"]["test"][0].update(file="../x"), "file is '../x'"),
    "absolute": (lambda m: m["splits"]["test"][0].update(file="/etc/x"), "file is '/etc/x'"),
    "twice": (lambda m: m["splits"]["test"].append(m["splits"]["test"][0]), "expected 'test-"),
    "negative": (lambda m: m["splits"]["test"][0].update(examples=-1), "examples is -1"),
    "empty": (lambda m: m["splits"]["test"][0].update(examples=0), "examples is 0"),
    "bytes": (lambda m: m["splits"]["test"][0].update(bytes="9"), "bytes is '9'"),
    "sha256": (lambda m: m["splits"]["test"][0].update(sha256="A" * 64), "sha256 is 'AAA"),
    "source": (lambda m: m["sources"].update(train="x"), "sources is 'x'"),
    "pictures": (lambda m: m.update(pictures="big"), "pictures is 'big', expected digit or plain"),
    "pictures list": (lambda m: m.update(pictures=[]), "pictures is a list"),
    "brightest": (lambda m: m.update(brightest_pixel=0), "brightest_pixel is 0, expected 1 to 255"),
    "class counts": (lambda m: m["class_examples"]["test"].pop(), "class_examples of test has"),
    "class count": (
        lambda m: m["class_examples"].update(test=[-1]),
        "class_examples of test is -1",
    ),
    "no class counts": (lambda m: m["class_examples"].pop("train"), "class_examples has no train"),
    "rule": (lambda m: m.update(split_rule=None), "split_rule has None"),
    "deep": (lambda m: m.update(split_rule=[[[]]]), "split_rule has a list"),
}


@pytest.mark.parametrize("name", _WRONG_FIELDS)
def test_manifest_with_wrong_field(data_dir: Path, name: str):
    change, line = _WRONG_FIELDS[name]
    _edit(data_dir, change)
    with pytest.raises(records.ManifestError, match=line) as error:
        records.read_manifest(str(data_dir))
    assert "\n" not in str(error.value) and len(str(error.value)) < 400 + len(str(data_dir))


def test_manifest_with_a_flipped_bit_is_found_or_reads_the_same(data_dir: Path):
    path = data_dir / records.MANIFEST
    whole, manifest = path.read_bytes(), records.read_manifest(str(data_dir))
    found = 0
    for at in range(0, len(whole), 3):
        broken = bytearray(whole)
        broken[at] ^= 1 << at % 8
        path.write_bytes(broken)
        try:
            # White space may turn into other white space.
            assert records.read_manifest(str(data_dir)) == manifest, at
        except records.ManifestError:
            found += 1
    assert found > len(whole) // 9


def test_manifest_edited_by_hand(data_dir: Path):
    path = data_dir / records.MANIFEST
    path.write_text(path.read_text().replace('"dataset": "', '"dataset": "my '))
    with pytest.raises(records.ManifestError, match="sha256 is not that of the rest"):
        records.read_manifest(str(data_dir))


def test_manifest_too_big(tmp_path: Path):
    with open(tmp_path / records.MANIFEST, "wb") as file:
        file.truncate(2**40)
    with pytest.raises(records.ManifestError, match="1099511627776 bytes, expected at most"):
        records.read_manifest(str(tmp_path))


def test_manifest_with_any_byte_changed_gives_no_traceback(data_dir: Path):
    path, dice = data_dir / records.MANIFEST, random.Random(0)
    whole = path.read_bytes()
    for _ in range(1000):
        broken = bytearray(whole)
        for _ in range(dice.randrange(1, 4)):
            broken[dice.randrange(len(broken))] = dice.randrange(256)
        path.write_bytes(broken[: dice.randrange(len(broken))] if dice.random() < 0.1 else broken)
        try:
            records.read_manifest(str(data_dir))
        except InputError as error:
            assert "\n" not in str(error)


# Verifying the records.


def test_whole_dataset_has_no_problems(prepared: Path):
    assert records.verify(str(prepared)) == []


def test_any_flipped_bit_is_found(data_dir: Path):
    dice, problems = random.Random(1), set()
    for path in sorted(data_dir.glob("*.tfrecord")):
        whole = path.read_bytes()
        # The first record byte by byte, for its length, checksums and content; then here and there.
        for at in [*range(60), *(dice.randrange(len(whole)) for _ in range(40))]:
            broken = bytearray(whole)
            broken[at] ^= 1 << dice.randrange(8)
            path.write_bytes(broken)
            found = records.verify(str(data_dir))
            assert any("sha256" in line for line in found), (path, at)
            assert any("is corrupt" in line for line in found), (path, at)
            assert all(line.startswith(path.name) for line in found)
            problems.update(line.split("(")[0] for line in found if "corrupt" in line)
        path.write_bytes(whole)
    assert "test-00000-of-00003.tfrecord: record 2 is corrupt " in problems
    assert records.verify(str(data_dir)) == []


def test_every_cut_is_found(data_dir: Path):
    path = data_dir / "test-00001-of-00003.tfrecord"
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        problems = records.verify(str(data_dir))
        assert f"{path.name}: {size} bytes, expected {len(whole)}" in problems


def test_trailing_bytes_are_found(data_dir: Path):
    path = data_dir / "test-00001-of-00003.tfrecord"
    size = path.stat().st_size
    # TensorFlow's reader takes less than 12 bytes, a record's header, for the end of the file.
    path.write_bytes(path.read_bytes() + b"x")
    assert f"{path.name}: {size + 1} bytes, expected {size}" in records.verify(str(data_dir))
    path.write_bytes(path.read_bytes() + b"x" * 11)
    assert any("record 2 is corrupt" in line for line in records.verify(str(data_dir)))


@pytest.mark.parametrize("length", [2**33, 2**63, 2**64 - 1])
def test_a_record_longer_than_its_file_is_found_before_it_is_read(data_dir: Path, length: int):
    path = data_dir / "train-00001-of-00003.tfrecord"
    data = bytearray(path.read_bytes())
    second = 16 + int.from_bytes(data[:8], "little")
    data[second : second + 8] = length.to_bytes(8, "little")
    path.write_bytes(data)
    line = f"{path.name}: record 1 is corrupt (it is longer than the file)"
    manifest = records.read_manifest(str(data_dir))
    assert records.find_damage(str(data_dir), manifest) == line
    assert records.verify(str(data_dir))[-1] == line


@pytest.mark.parametrize("length", [2**40, 2**63 - 20, 2**64 - 1])
@pytest.mark.parametrize("vouched", [True, False], ids=["right digest", "wrong digest"])
@pytest.mark.parametrize("place", ["in the middle", "at the end"])
def test_a_length_that_no_memory_can_hold_is_found_before_it_is_read(
    data_dir: Path, tmp_path: Path, length: int, vouched: bool, place: str
):
    """TensorFlow's reader ends the process where the checksum of such a length is right."""
    path = data_dir / "test-00001-of-00003.tfrecord"
    data, header = path.read_bytes(), record_header(length, tmp_path / "scratch")
    second = 16 + int.from_bytes(data[:8], "little")
    data = data + header if place == "at the end" else data[:second] + header + data[second + 12 :]
    path.write_bytes(data)
    if vouched:
        size, sha256 = records.file_sha256(str(path))
        _edit(data_dir, lambda m: m["splits"]["test"][1].update(bytes=size, sha256=sha256))
    number = 2 if place == "at the end" else 1
    line = f"{path.name}: record {number} is corrupt (it is longer than the file)"
    assert records.verify(str(data_dir))[-1] == line
    assert records.find_damage(str(data_dir), records.read_manifest(str(data_dir))) == line
    found = records.read_records(str(path))
    assert [len(next(found)) for _ in range(number)]
    with pytest.raises(records.RecordsError, match=f"record {number} is corrupt"):
        next(found)


def test_a_record_longer_than_any_example_is_not_read(data_dir: Path):
    path = data_dir / "test-00002-of-00003.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as file:
        file.write(records.encode_example(_GOOD, 299))
        file.write(bytes(2000))
    line = f"{path.name}: record 1 is corrupt (it has 2,000 bytes, expected at most 1,042)"
    assert records.verify(str(data_dir))[-1] == line


@pytest.mark.parametrize("block_bytes", [24, 100, 2**20])
def test_every_length_is_looked_at(tmp_path: Path, monkeypatch, block_bytes: int):
    """Wherever a block that is read ends, and whatever the lengths before are."""
    monkeypatch.setattr(records, "_BLOCK_BYTES", block_bytes)
    dice, path = random.Random(0), tmp_path / "a.tfrecord"
    for _ in range(100):
        lengths = dice.choices([0, 1, 20, 20, 20, 150], k=dice.randrange(30))
        with tf.io.TFRecordWriter(str(path)) as file:
            for length in lengths:
                file.write(bytes(length))
        assert records.find_overlong(str(path)) is None
        first = next((n for n, length in enumerate(lengths) if length > 20), None)
        found = records.find_overlong(str(path), 20)
        assert (found and found.number) == first
        if lengths:
            path.write_bytes(path.read_bytes()[:-1])
            assert records.find_overlong(str(path)).number == len(lengths) - 1


def test_a_fifo_in_place_of_a_shard_is_not_opened(data_dir: Path):
    path = data_dir / "train-00001-of-00003.tfrecord"
    size = path.stat().st_size
    path.unlink()
    os.mkfifo(path)
    assert records.verify(str(data_dir)) == [f"{path.name}: 0 bytes, expected {size}"]
    with pytest.raises(InputError, match="not a plain file"):
        list(records.read_records(str(path)))


def test_a_shard_without_bytes_has_no_records(tmp_path):
    (tmp_path / "a.tfrecord").touch()
    assert list(records.read_records(str(tmp_path / "a.tfrecord"))) == []


def test_missing_shard(data_dir: Path):
    (data_dir / "train-00001-of-00003.tfrecord").unlink()
    assert records.verify(str(data_dir)) == ["train-00001-of-00003.tfrecord: missing"]


def test_shard_is_a_folder(data_dir: Path):
    path = data_dir / "train-00001-of-00003.tfrecord"
    path.unlink()
    path.mkdir()
    (problem,) = records.verify(str(data_dir))
    assert problem.startswith(path.name) and "directory" in problem.lower()


def test_extra_shard(data_dir: Path):
    (data_dir / "train-00003-of-00004.tfrecord").write_bytes(b"")
    (data_dir / "notes.txt").write_text("mine")
    assert records.verify(str(data_dir)) == ["train-00003-of-00004.tfrecord: not in manifest.json"]


def test_swapped_shards(data_dir: Path):
    one, two = (data_dir / f"train-0000{i}-of-00003.tfrecord" for i in (0, 1))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    problems = records.verify(str(data_dir))
    assert [line.split(":")[0] for line in problems if "sha256" in line] == [one.name, two.name]


def _example(**features: tf.train.Feature) -> bytes:
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def _bytes(*values: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def _ints(*values: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


_GOOD = b"p" * 18
_WRONG_RECORDS = {
    "empty": (b"", "has features '', expected image_raw and label"),
    "noise": (b"\xff\xff\xff", "is not a tf.train.Example"),
    "no label": (_example(image_raw=_bytes(_GOOD)), "has features 'image_raw'"),
    "more": (
        _example(image_raw=_bytes(_GOOD), label=_ints(1), x=_ints(1)),
        "'image_raw, label, x'",
    ),
    "label as bytes": (
        _example(image_raw=_bytes(_GOOD), label=_bytes(b"1")),
        "1 images and 0 labels",
    ),
    "two labels": (_example(image_raw=_bytes(_GOOD), label=_ints(1, 2)), "1 images and 2 labels"),
    "short": (
        _example(image_raw=_bytes(_GOOD[1:]), label=_ints(1)),
        "image of 17 bytes, expected 18",
    ),
    "label": (_example(image_raw=_bytes(_GOOD), label=_ints(300)), "label 300, expected 0 to 299"),
    "negative": (_example(image_raw=_bytes(_GOOD), label=_ints(-1)), "label -1, expected 0 to 299"),
}


@pytest.mark.parametrize("name", _WRONG_RECORDS)
def test_record_that_is_no_example(data_dir: Path, name: str):
    """Well-formed records of a shard that the manifest vouches for."""
    record, line = _WRONG_RECORDS[name]
    path = data_dir / "test-00002-of-00003.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as file:
        file.write(records.encode_example(_GOOD, 299))
        file.write(record)
    size, sha256 = records.file_sha256(str(path))
    _edit(data_dir, lambda m: m["splits"]["test"][2].update(bytes=size, sha256=sha256))
    (problem,) = records.verify(str(data_dir))
    assert problem.startswith(f"{path.name}: record 1 ") and line in problem


def test_wrong_count(data_dir: Path):
    def one_more(manifest: dict) -> None:
        manifest["splits"]["test"][0].update(examples=4)
        manifest["class_examples"]["test"][0] += 1

    _edit(data_dir, one_more)
    assert records.verify(str(data_dir)) == ["test-00000-of-00003.tfrecord: 3 records, expected 4"]


def test_every_problem_is_named(data_dir: Path):
    for path in data_dir.glob("*.tfrecord"):
        path.write_bytes(b"")
    assert len({line.split(":")[0] for line in records.verify(str(data_dir))}) == 9


def test_encoding_is_pinned():
    # Shards of the same data have the same bytes on every version of Python and TensorFlow.
    assert (
        records.encode_example(b"\x00\xff", 300).hex()
        == "0a260a130a09696d6167655f72617712060a040a0200ff0a0f0a056c6162656c12061a040a02ac02"
    )
