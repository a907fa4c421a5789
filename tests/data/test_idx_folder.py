"""Folders of IDX files as people, unpackers and torchvision leave them."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pytest

from mnist_estimator import InputError
from mnist_estimator.data import idx, idx_folder, known_datasets, sources

_USUAL = tuple(known_datasets.FILE_NAMES.values())
_EMNIST = tuple(f"emnist-letters-{name.replace('t10k', 'test')}" for name in _USUAL)


def _content(role: str) -> bytes:
    """Each part with a length of its own."""
    count = 12 if role.startswith("train") else 5
    shape = (count, 3, 2) if role.endswith("images") else (count,)
    file = io.BytesIO()
    idx.write_idx(file, (np.arange(np.prod(shape)) % 3).astype(np.uint8).reshape(shape))
    return file.getvalue()


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.name.lower().endswith(".gz") else content)


def _put_set(folder: Path, names: tuple[str, ...] | list[str]) -> list[str]:
    for role, name in zip(known_datasets.ROLES, names, strict=False):
        _put(folder / name, _content(role))
    return [str(folder / name) for name in names]


@pytest.mark.parametrize(
    "names",
    [
        _USUAL,
        [name.upper() + ".GZ" for name in _USUAL],
        [name.replace("-", "_") for name in _USUAL],
        [name.replace("-idx", ".idx") for name in _USUAL],
        [name.replace("t10k", "test") for name in _USUAL],
        [f"{name}/{name}" for name in _USUAL],
        [f"{name}/{name.replace('-idx', '.idx')}" for name in _USUAL],
        [f"raw/{name}" for name in _USUAL],
        [f"MNIST/raw/{name}.gz" for name in _USUAL],
        _EMNIST,
        [f"EMNIST/raw/{name}" for name in _EMNIST],
    ],
)
def test_names_and_places(tmp_path: Path, names: list[str]):
    paths = _put_set(tmp_path, names)
    assert idx_folder.find(str(tmp_path)) == dict(zip(known_datasets.ROLES, paths, strict=True))
    opened = sources.from_folder(str(tmp_path))
    assert (opened.train.num_examples, opened.test.num_examples) == (12, 5)


def test_file_beside_a_folder_of_its_usual_name_with_the_same_content(tmp_path: Path):
    _put_set(tmp_path, [f"{name}/{name}" for name in _USUAL])
    _put_set(tmp_path, [name.replace("-idx", ".idx") for name in _USUAL])
    paths = [str(tmp_path / name / name) for name in _USUAL]
    assert list(idx_folder.find(str(tmp_path)).values()) == paths


@pytest.mark.parametrize("other", ["{}.gz", "raw/../{0}/{0}", "{}.GZ"])
def test_files_of_one_role_must_agree(tmp_path: Path, other: str):
    _put_set(tmp_path, _USUAL[1:])
    plain = tmp_path / "train-images.idx3-ubyte"
    _put(plain, _content("train_images"))
    second = tmp_path / other.format(_USUAL[0]).removeprefix("raw/../")
    _put(second, _content("train_images"))
    assert idx_folder.find(str(tmp_path))["train_images"] == str(second)
    _put(second, _content("test_images"))
    with pytest.raises(InputError, match="are both train_images, but their content differs; move"):
        idx_folder.find(str(tmp_path))


def test_t10k_and_test_must_agree(tmp_path: Path):
    _put_set(tmp_path, _USUAL)
    _put(tmp_path / "test-images-idx3-ubyte", _content("train_images"))
    with pytest.raises(InputError, match="t10k-images-idx3-ubyte and test-images-idx3-ubyte are"):
        idx_folder.find(str(tmp_path))


def test_hidden_files_and_what_macos_packs_are_not_looked_at(tmp_path: Path):
    paths = _put_set(tmp_path, _USUAL)
    for name in _USUAL:
        _put(tmp_path / f"._{name}", b"\0\5\x16\7")
        _put(tmp_path / "__MACOSX" / name, b"\0\5\x16\7")
    assert list(idx_folder.find(str(tmp_path)).values()) == paths


def test_usual_names_come_before_other_sets(tmp_path: Path):
    paths = _put_set(tmp_path, _USUAL)
    _put_set(tmp_path, _EMNIST)
    assert list(idx_folder.find(str(tmp_path)).values()) == paths


@pytest.mark.parametrize(
    ("first", "second"), [("emnist-letters-", "emnist-digits-"), ("MNIST/raw/", "KMNIST/raw/")]
)
def test_several_sets_are_named(tmp_path: Path, first: str, second: str):
    for prefix in (first, second):
        _put_set(tmp_path, [prefix + name for name in _USUAL])
    with pytest.raises(InputError, match=f"several sets of IDX files, {second}, {first}, expected"):
        sources.from_folder(str(tmp_path))


@pytest.mark.parametrize(
    "names",
    [
        [f"{name}.idx" for name in _USUAL],
        [f"{name} (1)" for name in _USUAL],
        ["trainX.idx"],
    ],
)
def test_other_names_are_named(tmp_path: Path, names: list[str]):
    _put_set(tmp_path, names)
    with pytest.raises(InputError, match="no train-images-idx3-ubyte and no .*; it holds .*IDX f"):
        sources.from_folder(str(tmp_path))


def test_a_folder_of_other_data_is_named(tmp_path: Path):
    _put_set(tmp_path, [f"mine/{name}" for name in _USUAL])
    with pytest.raises(InputError, match=f"it holds the four IDX files.*--source_dir={tmp_path}/m"):
        sources.from_folder(str(tmp_path))
    for number, path in enumerate(sorted((tmp_path / "mine").iterdir())):
        path.rename(path.with_name(f"{number}.png"))
    with pytest.raises(InputError, match=f"it holds pictures.*--image_folder={tmp_path}"):
        sources.from_folder(str(tmp_path))


def test_an_empty_folder_in_place_of_a_file(tmp_path: Path):
    _put_set(tmp_path, _USUAL)
    (tmp_path / _USUAL[0]).unlink()
    (tmp_path / _USUAL[0]).mkdir()
    with pytest.raises(InputError, match="no train-images-idx3-ubyte, expected"):
        sources.from_folder(str(tmp_path))


def test_test_files_of_other_names_are_named(tmp_path: Path, capsys):
    _put_set(tmp_path, [*_USUAL[:2], "val-images-idx3-ubyte", "val-labels-idx1-ubyte"])
    assert sources.from_folder(str(tmp_path)).test is None
    assert capsys.readouterr().err.startswith(
        f"warning: {tmp_path}: no test files of the usual names, so the test split is empty; "
        "found val-images-idx3-ubyte, val-labels"
    )
    (tmp_path / "val-images-idx3-ubyte").unlink()
    (tmp_path / "val-labels-idx1-ubyte").unlink()
    sources.from_folder(str(tmp_path))
    assert capsys.readouterr().err == ""
