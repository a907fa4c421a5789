"""A dataset that is there already is the same one or an error; so are wrong arguments."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import tiny_dataset
from support.tiny_dataset import Arrays

from mnist_estimator import InputError
from mnist_estimator.data import plan, records, writer
from mnist_estimator.data.manifest import (
    MANIFEST,
    ManifestError,
)

# A dataset that is there already.


def test_same_dataset_is_left_alone(tmp_path: Path):
    manifest = tiny_dataset.write(tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert tiny_dataset.write(tmp_path) == manifest
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
    tiny_dataset.write(tmp_path)
    before = tiny_dataset.files(tmp_path)
    with pytest.raises(plan.DatasetExistsError, match=line) as error:
        tiny_dataset.write(tmp_path, **options)
    assert "--force" in str(error.value) and tiny_dataset.files(tmp_path) == before


def test_damaged_dataset_is_not_the_same(tmp_path: Path):
    tiny_dataset.write(tmp_path)
    shard = tmp_path / "test-00000-of-00003.tfrecord"
    shard.write_bytes(b"")
    with pytest.raises(plan.DatasetExistsError, match="0 bytes in test-00000"):
        tiny_dataset.write(tmp_path)
    shard.unlink()
    with pytest.raises(plan.DatasetExistsError, match="no test-00000"):
        tiny_dataset.write(tmp_path)


def test_malformed_manifest_stops_it_without_force(tmp_path: Path):
    tiny_dataset.write(tmp_path)
    path = tmp_path / MANIFEST
    path.write_text(path.read_text()[:-3])
    with pytest.raises(ManifestError, match="--force"):
        tiny_dataset.write(tmp_path)
    # It is known all the same which files are the dataset's.
    tiny_dataset.write(tmp_path, force=True, shards=2)
    assert records.verify(str(tmp_path)) == []


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
        (
            Arrays("src", [0, 7]),
            {"num_classes": 7},
            "src: example 1 has label 7, expected 0 to 6",
        ),
        (Arrays("src", [0, -1]), {}, "src: example 1 has label -1"),
        (Arrays("src", [0, 2**40]), {}, "has label 1099511627776, expected 0 to 1048575"),
        (Arrays("src", [0, 0]), {}, "every label is 0"),
        (Arrays("src", [0, 1]), {"shards": 0}, "--shards: found 0"),
        (Arrays("src", [0, 1]), {"shards": 257}, "--shards: found 257"),
        (Arrays("src", [0, 1]), {"num_classes": 1}, "--num_classes: found 1"),
        (Arrays("src", [0, 1]), {"seed": -1}, "--seed: found -1"),
        (Arrays("src", [0, 1]), {"validation_split": "2"}, "--validation_split: found 2"),
        (
            Arrays("src", [0, 1]),
            {"test": Arrays("tst", [0], (2, 2, 1))},
            "tst: images of 2x2x1",
        ),
        (Arrays("src", [0, 1]), {"class_names": ("a",)}, "1 class names, expected 2"),
    ],
)
def test_wrong_input(tmp_path: Path, train: Arrays, options: dict, line: str):
    data_dir = tmp_path / "data"
    with pytest.raises(InputError, match=line):
        writer.write_dataset(str(data_dir), dataset="x", train=train, **options)
    assert not data_dir.exists()
