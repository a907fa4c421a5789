"""What is found in a folder that is no dataset, and what is said of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mnist_estimator import InputError
from mnist_estimator.data import data_dirs, folder_contents, known_datasets, sources

_LETTERS = [
    f"emnist-{part}-{what}-idx3-ubyte.gz"
    for part in ("train", "test")
    for what in ("images", "labels")
]
_FOUR = [*known_datasets.FILE_NAMES.values()]

# Files, what is said of them, and the flags of the command that reads them.
_DATA = {
    "TFDS": (["mnist/3.0.1/mnist-train.tfrecord-00000-of-00001"], "TFRecords of another", ""),
    "other TFRecords": (["a.tfrecord"], "TFRecords of another program (a.tfrecord)", ""),
    "Keras": (["mnist.npz"], "NumPy archives (mnist.npz)", "--npz=F/mnist.npz"),
    "a name with a space": (["my data.npz"], "NumPy archives", "'--npz=F/my data.npz'"),
    "Hugging Face": (
        ["data/test-00000-of-00001.parquet", "data/train-00000-of-00001.parquet"],
        "Parquet files (data/test-00000-of-00001.parquet, data/train-00000-of-00001.parquet)",
        "--train_parquet=F/data/train-00000-of-00001.parquet --test_parquet=F/data/test-",
    ),
    "Arrow": (["data/train.arrow"], "Arrow files", ""),
    "torchvision": (
        [f"MNIST/raw/{name}{end}" for name in _FOUR for end in ("", ".gz")],
        "the four IDX files (MNIST/raw/)",
        "--source_dir=F/MNIST/raw",
    ),
    "the four files": (_FOUR, "the four IDX files", "--source_dir=F"),
    "EMNIST": (_LETTERS, "the four IDX files", "--source_dir=F"),
    "IDX files of other names": (
        ["a-train-images.idx", "a-train-labels.idx"],
        "IDX files of other names",
        "--train_labels=F/a-train-labels.idx",
    ),
    "CSV": (
        ["a_test.csv", "a_train.csv"],
        "CSV files (a_test.csv, a_train.csv)",
        "--train_csv=F/a_train.csv --test_csv=F/a_test.csv",
    ),
    "pictures": (["0/a.png", "1/b.JPG"], "pictures (0/a.png, 1/b.JPG)", "--image_folder=F"),
    "pictures with a list": (["a.png", "b.png", "labels.csv"], "pictures", "--image_folder=F"),
    "scikit-learn": (["mldata/mnist-original.mat"], "MATLAB files", ""),
    "CIFAR": (["cifar-10-batches-py/data_batch_1"], "pickles", ""),
    "archive": (["archive.zip"], "archives", ""),
    "a run": (["checkpoint", "model.ckpt-1.index", "status.json"], "a run (checkpoint)", ""),
    "a prepared dataset": (["sample/manifest.json"], "a prepared dataset", "give F/sample"),
    "a name over two lines": (["a\nb.csv"], "CSV files (a\\nb.csv)", "'--train_csv=F/a\\nb.csv'"),
}
_NEUTRAL = {
    "nothing": [],
    "a README": ["README.md", "LICENSE", "Readme.txt"],
    "hidden files": [".gitkeep", ".DS_Store", ".git/config", "lost+found/x"],
    "half a download": [".train-images-idx3-ubyte.0f.part"],
    "a killed process's folder": [".prepare-host-1-00000000/alive"],
    "a run that waits for its data": [".trainer", "status.json"],
    "empty folders": ["a/b/"],
}


def _folder(tmp_path: Path, names: list[str]) -> str:
    folder = tmp_path / "F"
    folder.mkdir()
    for name in names:
        path = folder / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_bytes(b"x")
    return str(folder)


@pytest.mark.parametrize("kind", _DATA)
def test_data_of_other_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str):
    names, found, flags = _DATA[kind]
    _folder(tmp_path, names)
    monkeypatch.chdir(tmp_path)
    contents = folder_contents.look("F")
    assert contents.is_data and found in contents.found and flags in contents.advice
    assert flags == "" or flags.startswith("give ") or "F-prepared" in contents.advice
    assert "\n" not in contents.found + contents.advice


@pytest.mark.parametrize("kind", _NEUTRAL)
def test_files_that_are_in_nobodys_way(tmp_path: Path, kind: str):
    assert folder_contents.look(_folder(tmp_path, _NEUTRAL[kind])) is None


def test_folder_that_is_not_there(tmp_path: Path):
    assert folder_contents.look(str(tmp_path / "F")) is None


def test_other_files_may_be_anything(tmp_path: Path):
    contents = folder_contents.look(_folder(tmp_path, ["notes.txt", "a/b/c/d/e/f", "x", "y"]))
    assert not contents.is_data and contents.found == "notes.txt, x, y and 1 more"


def test_many_names_are_not_all_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(folder_contents, "_MOST", 3)
    contents = folder_contents.look(_folder(tmp_path, [f"{i}.png" for i in range(9)]))
    assert contents.found == "pictures (0.png, 1.png, 2.png)"


# What that means for a data_dir.


# The four files are prepared in place.
@pytest.mark.parametrize("kind", [*sorted(set(_DATA) - {"the four files"}), "notes"])
def test_is_not_filled_with_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str):
    names = _DATA[kind][0] if kind in _DATA else ["notes.txt"]
    folder = _folder(tmp_path, names)
    monkeypatch.setattr(sources, "from_name", None)  # Nothing is fetched.
    before = sorted(os.walk(folder))
    with pytest.raises(InputError, match="F: holds .*, expected a prepared dataset, the four"):
        data_dirs.ensure_dataset(folder)
    assert sorted(os.walk(folder)) == before


@pytest.mark.parametrize("kind", ["CSV", "notes", "a README"])
def test_a_name_is_a_reason_to_fill_it_if_it_holds_no_data(tmp_path: Path, kind: str):
    names = {"CSV": ["a.csv"], "notes": ["notes.txt"], "a README": ["README"]}[kind]
    folder = _folder(tmp_path, names)
    if kind == "CSV":
        with pytest.raises(InputError, match="holds CSV files"):
            data_dirs.ensure_dataset(folder, dataset="sample")
    else:
        assert data_dirs.ensure_dataset(folder, dataset="sample").dataset == "sample"


def test_file_in_place_of_a_folder(tmp_path: Path):
    _folder(tmp_path, ["mnist.npz"])
    with pytest.raises(InputError, match=r"holds NumPy archives .*--npz=.*/F/mnist.npz"):
        data_dirs.ensure_dataset(str(tmp_path / "F" / "mnist.npz"))
