"""Images whose rows and columns are swapped: turned when asked for, and noticed when not."""

from __future__ import annotations

import types

import numpy as np
import pytest
from support.datasets import ArraySource

from mnist_estimator.data import idx, records, sources, transposed
from mnist_estimator.data.manifest import Dataset, DatasetError, read_manifest

_NAMES = {"train_images": "i.idx", "train_labels": "l.idx"}


def _files(folder, images, labels, prefix="") -> dict[str, str]:
    paths = {role: str(folder / (prefix + name)) for role, name in _NAMES.items()}
    for path, array in zip(paths.values(), (images, labels), strict=True):
        with open(path, "wb") as file:
            idx.write_idx(file, array)
    return paths


def _images(data_dir: str) -> np.ndarray:
    manifest = read_manifest(data_dir)
    found = []
    for path in Dataset(data_dir, manifest).shard_paths("train"):
        for record in records.read_records(path):
            features = records.tf.train.Example.FromString(record).features.feature
            pixels = np.frombuffer(features["image_raw"].bytes_list.value[0], np.uint8)
            found.append(pixels.reshape(manifest.image_shape))
    return np.array(found)


@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 3)])
def test_transposed_data_are_other_data(tmp_path, shape):
    images = np.random.default_rng(0).integers(256, size=(6, *shape), dtype=np.uint8)
    paths = _files(tmp_path, images, np.arange(6, dtype=np.uint8) % 2)
    data_dir = str(tmp_path / "data")
    options = {"validation_split": "0", "shards": 1}
    first = sources.from_idx(paths, transpose=True).write(data_dir, **options)
    assert first.image_shape == (2, 3, (*shape, 1)[2])
    expected = images.reshape(6, 3, 2, -1).swapaxes(1, 2)
    np.testing.assert_array_equal(_images(data_dir), expected)
    assert transposed.is_transposed(first.sources)
    assert sources.from_idx(paths, transpose=True).write(data_dir, **options) == first
    with pytest.raises(DatasetError, match="holds another dataset"):
        sources.from_idx(paths).write(data_dir, **options)
    plain = sources.from_idx(paths).write(data_dir, **options, force=True)
    assert not transposed.is_transposed(plain.sources)


def test_square_images_are_told_apart_too(tmp_path):
    images = np.random.default_rng(0).integers(256, size=(6, 3, 3), dtype=np.uint8)
    paths = _files(tmp_path, images, np.arange(6, dtype=np.uint8) % 2)
    sources.from_idx(paths, transpose=True).write(str(tmp_path / "data"))
    with pytest.raises(DatasetError, match="examples of other content"):
        sources.from_idx(paths).write(str(tmp_path / "data"))


def _source(name: str, count: int, shape=(28, 28, 1)):
    return types.SimpleNamespace(name=name, num_examples=count, image_shape=shape)


@pytest.mark.parametrize(
    ("name", "count", "shape", "doubted"),
    [
        ("emnist-letters-train-images-idx3-ubyte.gz", 9, (28, 28, 1), True),
        ("/data/EMNIST/raw/train.idx", 9, (28, 28, 1), True),
        ("train.idx", 124_800, (28, 28, 1), True),
        ("train.idx", 240_000, (28, 28, 1), True),
        ("train.idx", 240_000, (32, 32, 1), False),
        ("train.idx", 60_000, (28, 28, 1), False),
        ("/data/systemnist/train.idx", 60_000, (28, 28, 1), False),
    ],
)
def test_emnist_is_doubted(name, count, shape, doubted):
    line = transposed.doubt(_source(name, count, shape), "", False)
    assert ("--transpose" in line) == doubted
    assert transposed.doubt(_source(name, count, shape), "", True) == ""
    assert transposed.doubt(_source(name, count, shape), "MNIST", False) == ""


def test_upright_sets_are_not_to_be_transposed():
    line = transposed.doubt(_source("train.idx", 60_000), "MNIST", True)
    assert "MNIST's" in line and "\n" not in line


def test_the_doubt_is_said(tmp_path, capsys):
    images = np.zeros((6, 3, 3), np.uint8)
    paths = _files(tmp_path, images, np.arange(6, dtype=np.uint8) % 2, prefix="emnist-digits-")
    sources.from_idx(paths)
    err = capsys.readouterr().err
    assert err.startswith("warning: ") and "--transpose" in err and err.count("\n") == 1
    sources.from_idx(paths, transpose=True)
    assert capsys.readouterr().err == ""


def test_labels_alone(tmp_path):
    paths = _files(tmp_path, np.zeros((6, 3, 3), np.uint8), np.arange(6, dtype=np.uint8) % 2)
    turned = sources.from_idx(paths, transpose=True).train
    assert np.concatenate(list(turned.label_chunks(4))).tolist() == [0, 1, 0, 1, 0, 1]


def test_source_of_arrays():
    images = np.arange(2 * 3 * 2, dtype=np.uint8).reshape(2, 3, 2, 1)
    source = transposed.Transposed(ArraySource(images, np.arange(2)))
    assert source.image_shape == (2, 3, 1)
    ((turned, labels),) = source.chunks(8)
    np.testing.assert_array_equal(turned, images.swapaxes(1, 2))
    assert labels.tolist() == [0, 1]


def test_a_table_is_transposed_and_doubted(tmp_path, capsys):
    images = np.random.default_rng(0).integers(256, size=(6, 9))
    path = str(tmp_path / "emnist-digits-train.csv")
    np.savetxt(path, np.c_[np.arange(6) % 2, images], fmt="%d", delimiter=",")
    options = {"validation_split": "0", "shards": 1}
    turned = sources.from_csv(path, transpose=True).write(str(tmp_path / "data"), **options)
    assert capsys.readouterr().err == "" and transposed.is_transposed(turned.sources)
    expected = images.reshape(6, 3, 3, 1).swapaxes(1, 2)
    np.testing.assert_array_equal(_images(str(tmp_path / "data")), expected)
    as_they_are = sources.from_csv(path)
    assert "prepare them with --transpose" in capsys.readouterr().err
    with pytest.raises(DatasetError, match="examples of other content"):
        as_they_are.write(str(tmp_path / "data"), **options)
