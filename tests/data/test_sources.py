"""Opening examples by the files that hold them, or by the name of a dataset."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from support.idx_files import TEST, TRAIN, arrays, make_known, put

from mnist_estimator import InputError
from mnist_estimator.compat import tf
from mnist_estimator.data import (
    idx,
    known_datasets,
    plan,
    sources,
    splits,
)


def _read(source: plan.Source, max_items: int = 5) -> tuple[np.ndarray, np.ndarray]:
    chunks = zip(*source.chunks(max_items), strict=True)
    images, labels = (np.concatenate(arrays) for arrays in chunks)
    return images, labels


# IDX.


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 1), (2, 2, 3)])
def test_idx(tmp_path: Path, shape: tuple[int, ...], compressed: bool):
    content = arrays(shape)
    opened = sources.from_idx(put(tmp_path, content, compressed))
    assert (opened.dataset, opened.num_classes) == ("custom", None)
    assert opened.train.image_shape == (*shape, 1)[:3]
    assert (opened.train.num_examples, opened.test.num_examples) == (TRAIN, TEST)
    images, labels = _read(opened.train)
    assert images.shape == (TRAIN, *opened.train.image_shape)
    assert np.array_equal(images.ravel(), content["train_images"].ravel())
    assert labels.dtype == np.int64 and np.array_equal(labels, content["train_labels"])


def test_idx_digests_are_of_the_content(tmp_path: Path):
    plain = sources.from_idx(put(tmp_path / "plain", arrays()))
    compressed = sources.from_idx(put(tmp_path / "gz", arrays(), compressed=True))
    content = (tmp_path / "plain" / "t10k-labels-idx1-ubyte").read_bytes()
    assert plain.test.digests() == compressed.test.digests()
    assert plain.test.digests()["test_labels"] == hashlib.sha256(content).hexdigest()
    _read(plain.train)
    assert plain.train.digests() == compressed.train.digests()


def test_idx_on_memory_filesystem(tmp_path: Path):
    tf.io.gfile.makedirs("ram://idx")
    for path in put(tmp_path, arrays()).values():
        tf.io.gfile.copy(path, f"ram://idx/{Path(path).name}")
    assert _read(sources.from_folder("ram://idx").train)[1].tolist() == [0, 1, 2] * 4


def test_idx_without_test(tmp_path: Path):
    paths = put(tmp_path, arrays())
    assert sources.from_idx({r: p for r, p in paths.items() if r.startswith("train")}).test is None


@pytest.mark.parametrize("role", known_datasets.ROLES)
def test_idx_with_half_a_pair(tmp_path: Path, role: str):
    paths = put(tmp_path, arrays())
    del paths[role]
    with pytest.raises(InputError, match=f"{role}: not given"):
        sources.from_idx(paths)


def test_idx_label_out_of_range(tmp_path: Path):
    opened = sources.from_idx(put(tmp_path, arrays()), num_classes=2)
    with pytest.raises(idx.IdxError, match=r"found label 2 .*, expected 0 to 1; correct the label"):
        _read(opened.train)


def test_idx_label_beyond_all_classes_names_the_labels_file(tmp_path: Path):
    content = arrays()
    content["train_labels"] = content["train_labels"].astype(np.int32)
    content["train_labels"][3] = 2**31 - 1
    with pytest.raises(idx.IdxError, match="train-labels.*: found label 2147483647"):
        _read(sources.from_idx(put(tmp_path, content)).train)


@pytest.mark.parametrize("role", ["train_images", "train_labels"])
def test_idx_folder_in_place_of_a_file(tmp_path: Path, role: str):
    paths = put(tmp_path, arrays())
    inside = tmp_path / "folder" / Path(paths[role]).name
    inside.parent.mkdir()
    os.rename(paths[role], inside)
    with pytest.raises(InputError, match=f"folder: is a folder.*give the file in it, {inside}$"):
        sources.from_idx(paths | {role: str(inside.parent)})


@pytest.mark.parametrize("role", known_datasets.ROLES)
def test_idx_missing_file_is_named(tmp_path: Path, role: str):
    paths = put(tmp_path, arrays()) | {role: str(tmp_path / "nope")}
    with pytest.raises(InputError, match=f"^{tmp_path}/nope: No such file"):
        sources.from_idx(paths)


def test_idx_cut_off_leaves_no_dataset(tmp_path: Path):
    paths = put(tmp_path / "idx", arrays())
    data = Path(paths["test_images"]).read_bytes()
    Path(paths["test_images"]).write_bytes(data[:-1])
    with pytest.raises(idx.IdxError, match="the end of the data .*, expected .* bytes in all"):
        sources.from_idx(paths).write(str(tmp_path / "data"))
    assert not (tmp_path / "data").exists()


def test_known_content_gets_its_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    paths = put(tmp_path, arrays(), compressed=True)
    make_known(monkeypatch, paths)
    opened = sources.from_idx(paths)
    assert (opened.dataset, opened.class_names) == ("mnist", ("zero", "one", "two"))
    changed = arrays()
    changed["test_images"][0] ^= 1
    assert sources.from_idx(put(tmp_path / "other", changed)).dataset == "custom"


def test_images_of_one_known_dataset_and_labels_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    paths = put(tmp_path, arrays())
    make_known(monkeypatch, paths)
    known = known_datasets.DATASETS["mnist"]
    digests = {role: known.digests[role] for role in known.digests if role != "train_images"}
    monkeypatch.setitem(
        known_datasets.DATASETS,
        "kmnist",
        dataclasses.replace(known, name="kmnist", digests=digests),
    )
    mnists = {"train_images": known.digests["train_images"]}
    monkeypatch.setitem(
        known_datasets.DATASETS, "mnist", dataclasses.replace(known, digests=mnists)
    )
    with pytest.raises(InputError, match="found the images of mnist and the labels of kmnist, exp"):
        sources.from_idx(paths)


# Folders, CSV, names.


def test_folder_without_files(tmp_path: Path):
    with pytest.raises(InputError, match="no train-images-idx3-ubyte and no train-labels"):
        sources.from_folder(str(tmp_path))


def test_folder_that_lacks_one(tmp_path: Path):
    os.remove(put(tmp_path, arrays())["test_labels"])
    with pytest.raises(InputError, match=": no t10k-labels-idx1-ubyte, expected"):
        sources.from_folder(str(tmp_path))


def test_folder_that_is_not_there(tmp_path: Path):
    with pytest.raises(InputError, match="nope: no train-images"):
        sources.from_folder(str(tmp_path / "nope"))


def test_csv(tmp_path: Path):
    (tmp_path / "a.csv").write_text("0,1,2,3,4\n2,5,6,7,8\n")
    (tmp_path / "b.csv").write_text("1,9,9,9,9\n")
    opened = sources.from_csv(str(tmp_path / "a.csv"), str(tmp_path / "b.csv"))
    manifest = opened.write(str(tmp_path / "data"), validation_split="1")
    assert (manifest.num_classes, manifest.image_shape) == (3, (2, 2, 1))
    assert sorted(manifest.sources) == ["test_csv", "train_csv"]
    assert [manifest.num_examples(split) for split in splits.SPLITS] == [1, 1, 1]


def test_unknown_name(tmp_path: Path):
    with pytest.raises(
        InputError, match="--dataset: found 'nope', expected one of mnist, .*sample"
    ):
        sources.from_name("nope", str(tmp_path))


def test_csv_in_many_files_is_the_same_dataset(tmp_path: Path):
    rows = [f"{n % 3},{n},1,2,3\n" for n in range(40)]
    (tmp_path / "one.csv").write_text("".join(rows))
    (tmp_path / "out").mkdir()
    for n in range(10):
        (tmp_path / f"out/part-{n}.csv").write_text("".join(rows[n * 4 : n * 4 + 4]))
    folders = []
    for paths in ([str(tmp_path / "one.csv")], [f"{tmp_path}/out/part-{n}.csv" for n in range(10)]):
        folders.append(tmp_path / f"data{len(paths)}")
        sources.from_csv(paths).write(str(folders[-1]), shards=3)
    one, many = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert one == many and len(one) > 3
