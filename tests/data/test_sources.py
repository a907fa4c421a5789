from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from mnist_estimator import InputError
from mnist_estimator.compat import tf
from mnist_estimator.data import (
    download,
    idx,
    known_datasets,
    records,
    sources,
    splits,
    writer,
)
from mnist_estimator.data.manifest import MANIFEST

TRAIN, TEST = 12, 5


def _arrays(shape: tuple[int, ...] = (3, 2)) -> dict[str, np.ndarray]:
    """Each part with a length of its own."""
    generator = np.random.default_rng(0)
    return {
        "train_images": generator.integers(256, size=(TRAIN, *shape), dtype=np.uint8),
        "train_labels": np.arange(TRAIN, dtype=np.uint8) % 3,
        "test_images": generator.integers(256, size=(TEST, *shape), dtype=np.uint8),
        "test_labels": np.arange(TEST, dtype=np.uint8) % 3,
    }


def _put(folder: Path, arrays: dict[str, np.ndarray], compressed: bool = False) -> dict[str, str]:
    """Writes IDX files of the usual names; returns their paths by role."""
    paths = {}
    folder.mkdir(exist_ok=True)
    for role, array in arrays.items():
        path = folder / (known_datasets.FILE_NAMES[role] + (".gz" if compressed else ""))
        with (gzip.open if compressed else open)(path, "wb") as file:
            idx.write_idx(file, array)
        paths[role] = str(path)
    return paths


def _read(source: writer.Source, max_items: int = 5) -> tuple[np.ndarray, np.ndarray]:
    chunks = zip(*source.chunks(max_items), strict=True)
    images, labels = (np.concatenate(arrays) for arrays in chunks)
    return images, labels


def _make_known(monkeypatch: pytest.MonkeyPatch, paths: dict[str, str]) -> None:
    """Makes the content of these files the dataset "mnist"; its mirrors cannot be reached."""
    content = {}
    for role, path in paths.items():
        data = Path(path).read_bytes()
        content[role] = gzip.decompress(data) if path.endswith(".gz") else data
    known = known_datasets.KnownDataset(
        name="mnist",
        title="MNIST",
        class_names=("zero", "one", "two"),
        digests={role: hashlib.sha256(data).hexdigest() for role, data in content.items()},
        mirrors=("http://127.0.0.1:9/",),
        content_bytes={role: len(data) for role, data in content.items()},
    )
    monkeypatch.setitem(known_datasets.DATASETS, "mnist", known)


# IDX.


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 1), (2, 2, 3)])
def test_idx(tmp_path: Path, shape: tuple[int, ...], compressed: bool):
    arrays = _arrays(shape)
    opened = sources.from_idx(_put(tmp_path, arrays, compressed))
    assert (opened.dataset, opened.num_classes) == ("custom", None)
    assert opened.train.image_shape == (*shape, 1)[:3]
    assert (opened.train.num_examples, opened.test.num_examples) == (TRAIN, TEST)
    images, labels = _read(opened.train)
    assert images.shape == (TRAIN, *opened.train.image_shape)
    assert np.array_equal(images.ravel(), arrays["train_images"].ravel())
    assert labels.dtype == np.int64 and np.array_equal(labels, arrays["train_labels"])


def test_idx_digests_are_of_the_content(tmp_path: Path):
    plain = sources.from_idx(_put(tmp_path / "plain", _arrays()))
    compressed = sources.from_idx(_put(tmp_path / "gz", _arrays(), compressed=True))
    content = (tmp_path / "plain" / "t10k-labels-idx1-ubyte").read_bytes()
    assert plain.test.digests() == compressed.test.digests()
    assert plain.test.digests()["test_labels"] == hashlib.sha256(content).hexdigest()
    _read(plain.train)
    assert plain.train.digests() == compressed.train.digests()


def test_idx_on_memory_filesystem(tmp_path: Path):
    tf.io.gfile.makedirs("ram://idx")
    for path in _put(tmp_path, _arrays()).values():
        tf.io.gfile.copy(path, f"ram://idx/{Path(path).name}")
    assert _read(sources.from_folder("ram://idx").train)[1].tolist() == [0, 1, 2] * 4


def test_idx_without_test(tmp_path: Path):
    paths = _put(tmp_path, _arrays())
    assert sources.from_idx({r: p for r, p in paths.items() if r.startswith("train")}).test is None


@pytest.mark.parametrize("role", known_datasets.ROLES)
def test_idx_with_half_a_pair(tmp_path: Path, role: str):
    paths = _put(tmp_path, _arrays())
    del paths[role]
    with pytest.raises(InputError, match=f"{role}: not given"):
        sources.from_idx(paths)


def test_idx_label_out_of_range(tmp_path: Path):
    opened = sources.from_idx(_put(tmp_path, _arrays()), num_classes=2)
    with pytest.raises(idx.IdxError, match=r"found label 2 .*, expected 0 to 1; correct the label"):
        _read(opened.train)


def test_idx_label_beyond_all_classes_names_the_labels_file(tmp_path: Path):
    arrays = _arrays()
    arrays["train_labels"] = arrays["train_labels"].astype(np.int32)
    arrays["train_labels"][3] = 2**31 - 1
    with pytest.raises(idx.IdxError, match="train-labels.*: found label 2147483647"):
        _read(sources.from_idx(_put(tmp_path, arrays)).train)


@pytest.mark.parametrize("role", ["train_images", "train_labels"])
def test_idx_folder_in_place_of_a_file(tmp_path: Path, role: str):
    paths = _put(tmp_path, _arrays())
    inside = tmp_path / "folder" / Path(paths[role]).name
    inside.parent.mkdir()
    os.rename(paths[role], inside)
    with pytest.raises(InputError, match=f"folder: is a folder.*give the file in it, {inside}$"):
        sources.from_idx(paths | {role: str(inside.parent)})


@pytest.mark.parametrize("role", known_datasets.ROLES)
def test_idx_missing_file_is_named(tmp_path: Path, role: str):
    paths = _put(tmp_path, _arrays()) | {role: str(tmp_path / "nope")}
    with pytest.raises(InputError, match=f"^{tmp_path}/nope: No such file"):
        sources.from_idx(paths)


def test_idx_cut_off_leaves_no_dataset(tmp_path: Path):
    paths = _put(tmp_path / "idx", _arrays())
    data = Path(paths["test_images"]).read_bytes()
    Path(paths["test_images"]).write_bytes(data[:-1])
    with pytest.raises(idx.IdxError, match="the end of the data .*, expected .* bytes in all"):
        sources.from_idx(paths).write(str(tmp_path / "data"))
    assert not (tmp_path / "data").exists()


def test_known_content_gets_its_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    paths = _put(tmp_path, _arrays(), compressed=True)
    _make_known(monkeypatch, paths)
    opened = sources.from_idx(paths)
    assert (opened.dataset, opened.class_names) == ("mnist", ("zero", "one", "two"))
    changed = _arrays()
    changed["test_images"][0] ^= 1
    assert sources.from_idx(_put(tmp_path / "other", changed)).dataset == "custom"


# Folders, CSV, names.


def test_folder_without_files(tmp_path: Path):
    with pytest.raises(InputError, match="no train-images-idx3-ubyte and no train-labels"):
        sources.from_folder(str(tmp_path))


def test_folder_that_lacks_one(tmp_path: Path):
    os.remove(_put(tmp_path, _arrays())["test_labels"])
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


# Which data a command uses.


def test_sample(tmp_path: Path):
    manifest = sources.ensure_dataset(str(tmp_path / "data"), dataset="sample")
    assert (manifest.dataset, manifest.image_shape) == ("sample", (28, 28, 1))
    counts = [manifest.num_examples(split) for split in splits.SPLITS]
    assert counts == [3600, 400, 1000] and manifest.num_classes == 10
    assert records.verify(str(tmp_path / "data")) == []


def test_manifest_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    manifest = sources.from_folder(_folder(tmp_path)).write(str(tmp_path / "data"), shards=2)
    monkeypatch.setattr(sources, "from_data_dir", None)  # Nothing else is looked at.
    assert sources.ensure_dataset(str(tmp_path / "data")) == manifest
    assert sources.ensure_dataset(str(tmp_path / "data"), shards=7, seed=3) == manifest
    rule = {"validation_split": "auto"}
    assert sources.ensure_dataset(str(tmp_path / "data"), **rule) == manifest


def _folder(tmp_path: Path) -> str:
    _put(tmp_path / "idx", _arrays())
    return str(tmp_path / "idx")


def test_other_dataset_than_asked(tmp_path: Path):
    sources.from_folder(_folder(tmp_path)).write(str(tmp_path / "data"))
    with pytest.raises(InputError, match="holds custom, expected mnist"):
        sources.ensure_dataset(str(tmp_path / "data"), dataset="mnist")


@pytest.mark.parametrize("asked", ["2", "0", "0.5"])
def test_other_split_than_asked(tmp_path: Path, asked: str):
    sources.from_folder(_folder(tmp_path)).write(str(tmp_path / "data"))
    with pytest.raises(InputError, match="its validation split is '1 of 12 by .*', expected"):
        sources.ensure_dataset(str(tmp_path / "data"), validation_split=asked)


def test_other_seed_of_a_random_split(tmp_path: Path):
    write = sources.from_folder(_folder(tmp_path)).write
    write(str(tmp_path / "data"), validation_split="0.5", seed=1)
    sources.ensure_dataset(str(tmp_path / "data"), validation_split="0.5", seed=1)
    with pytest.raises(InputError, match="seed 1', expected '6 of 12 by .*seed 2'"):
        sources.ensure_dataset(str(tmp_path / "data"), validation_split="0.5", seed=2)


def test_idx_files_are_prepared_in_place(tmp_path: Path):
    paths = _put(tmp_path, _arrays())
    manifest = sources.ensure_dataset(str(tmp_path))
    assert manifest.dataset == "custom" and records.verify(str(tmp_path)) == []
    assert all(os.path.exists(path) for path in paths.values())


def test_idx_files_of_another_dataset_than_asked(tmp_path: Path):
    _put(tmp_path, _arrays())
    with pytest.raises(download.DownloadError, match="is not MNIST's file"):
        sources.ensure_dataset(str(tmp_path), dataset="mnist")
    assert not (tmp_path / MANIFEST).exists()


def test_some_idx_files(tmp_path: Path):
    os.remove(_put(tmp_path, _arrays())["test_images"])
    with pytest.raises(InputError, match="no t10k-images-idx3-ubyte, expected all four"):
        sources.ensure_dataset(str(tmp_path))


def test_named_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    paths = _put(tmp_path, _arrays((3, 3)), compressed=True)
    _make_known(monkeypatch, paths)
    manifest = sources.ensure_dataset(str(tmp_path), dataset="mnist")
    assert (manifest.dataset, manifest.class_names) == ("mnist", ("zero", "one", "two"))
    assert manifest.sources == known_datasets.DATASETS["mnist"].digests
    # Without its files it is still known to be the same, and not fetched again.
    for path in paths.values():
        os.remove(path)
    again = sources.from_data_dir(str(tmp_path), "mnist").write(str(tmp_path))
    assert again == manifest


def test_fetched_to_a_temporary_folder_for_another_filesystem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    paths = _put(tmp_path / "mirror", _arrays((3, 3)))
    _make_known(monkeypatch, paths)
    folders = []

    def fetch(known: known_datasets.KnownDataset, folder: str, report: object) -> dict[str, str]:
        folders.append(folder)
        copied = shutil.copytree(tmp_path / "mirror", folder, dirs_exist_ok=True)
        return {role: os.path.join(copied, os.path.basename(paths[role])) for role in paths}

    monkeypatch.setattr(download, "fetch", fetch)
    manifest = sources.ensure_dataset("ram://named/data", dataset="mnist")
    assert manifest.dataset == "mnist" and records.verify("ram://named/data") == []
    assert len(folders) == 1 and "://" not in folders[0]


def test_dataset_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    _make_known(monkeypatch, _put(tmp_path / "elsewhere", _arrays((3, 3))))
    with pytest.raises(download.DownloadError, match="--dataset=sample") as error:
        sources.ensure_dataset(str(tmp_path / "data"), report=lambda line: None)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "data" / MANIFEST).exists()


def test_waits_for_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    _put(tmp_path, _arrays())
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    lines, naps = [], []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            os.close(handle)

    monkeypatch.setattr(sources.time, "sleep", nap)
    assert sources.ensure_dataset(str(tmp_path), report=lines.append).dataset == "custom"
    assert len(naps) == 3 and lines[0].startswith("waiting for the process that prepares")
