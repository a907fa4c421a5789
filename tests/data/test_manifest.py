"""The manifest: what it holds, and that no damage to it goes unnoticed."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path

import pytest
from support import colours_dataset as colours

from mnist_estimator import InputError
from mnist_estimator.data import splits
from mnist_estimator.data.manifest import (
    DIGEST,
    MANIFEST,
    Dataset,
    DatasetError,
    ManifestError,
    NoDatasetError,
    find_manifest,
    read_manifest,
)


def test_manifest(prepared: Path):
    manifest = read_manifest(str(prepared))
    assert manifest.image_shape == colours.SHAPE and manifest.num_classes == colours.CLASSES
    assert manifest.class_names[299] == "299"
    assert {split: manifest.num_examples(split) for split in splits.SPLITS} == {
        "train": 28,
        "validation": 3,
        "test": 7,
    }
    paths = Dataset(str(prepared), manifest).shard_paths("train")
    assert paths == [str(prepared / f"train-0000{i}-of-00003.tfrecord") for i in range(3)]
    assert manifest.num_bytes("train") == sum(Path(path).stat().st_size for path in paths)


def test_digest_changes_with_a_shard(prepared: Path):
    manifest = read_manifest(str(prepared))
    shard = dataclasses.replace(manifest.splits["test"][0], sha256="0" * 64)
    other = dataclasses.replace(manifest, splits=manifest.splits | {"test": (shard,)})
    assert manifest.digest == read_manifest(str(prepared)).digest != other.digest


def test_what_was_counted(make_dataset):
    manifest = read_manifest(make_dataset())
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

    colours.edit(data_dir, as_version_1)
    manifest = read_manifest(str(data_dir))
    assert (manifest.brightest_pixel, manifest.pictures) == (255, pictures)
    # A run that began on it knows it by this.
    assert manifest.digest == json.loads((data_dir / MANIFEST).read_text())[DIGEST]


def test_no_dataset(tmp_path: Path):
    with pytest.raises(NoDatasetError, match="prepare --data_dir="):
        read_manifest(str(tmp_path))
    assert find_manifest(str(tmp_path / "missing")) is None


def test_data_dir_is_a_file(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="file: no manifest.json, expected a prepared dataset"):
        read_manifest(str(tmp_path / "file"))


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
    (tmp_path / MANIFEST).write_bytes(data)
    with pytest.raises(ManifestError, match=line) as error:
        read_manifest(str(tmp_path))
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
    colours.edit(data_dir, change)
    with pytest.raises(ManifestError, match=line) as error:
        read_manifest(str(data_dir))
    assert "\n" not in str(error.value) and len(str(error.value)) < 400 + len(str(data_dir))


def test_manifest_with_a_flipped_bit_is_found_or_reads_the_same(data_dir: Path):
    path = data_dir / MANIFEST
    whole, manifest = path.read_bytes(), read_manifest(str(data_dir))
    found = 0
    for at in range(0, len(whole), 3):
        broken = bytearray(whole)
        broken[at] ^= 1 << at % 8
        path.write_bytes(broken)
        try:
            # White space may turn into other white space.
            assert read_manifest(str(data_dir)) == manifest, at
        except ManifestError:
            found += 1
    assert found > len(whole) // 9


def test_manifest_edited_by_hand(data_dir: Path):
    path = data_dir / MANIFEST
    path.write_text(path.read_text().replace('"dataset": "', '"dataset": "my '))
    with pytest.raises(ManifestError, match="sha256 is not that of the rest"):
        read_manifest(str(data_dir))


def test_manifest_too_big(tmp_path: Path):
    with open(tmp_path / MANIFEST, "wb") as file:
        file.truncate(2**40)
    with pytest.raises(ManifestError, match="1099511627776 bytes, expected at most"):
        read_manifest(str(tmp_path))


def test_manifest_with_any_byte_changed_gives_no_traceback(data_dir: Path):
    path, dice = data_dir / MANIFEST, random.Random(0)
    whole = path.read_bytes()
    for _ in range(1000):
        broken = bytearray(whole)
        for _ in range(dice.randrange(1, 4)):
            broken[dice.randrange(len(broken))] = dice.randrange(256)
        path.write_bytes(broken[: dice.randrange(len(broken))] if dice.random() < 0.1 else broken)
        try:
            read_manifest(str(data_dir))
        except InputError as error:
            assert "\n" not in str(error)


# Verifying the records.
