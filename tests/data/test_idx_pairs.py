from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from support.idx_files import arrays, make_known, put

from mnist_estimator import InputError
from mnist_estimator.data import idx, idx_pairs, sources

CUTS = (0, 5, 6, 12)


def _split(folder: Path, dtypes=(np.uint8, np.uint8, np.uint8)) -> tuple[list[str], list[str]]:
    """Writes the training files of `idx_files.arrays` in three pairs."""
    content, paths = arrays(), ([], [])
    folder.mkdir(exist_ok=True)
    for number, (first, last, dtype) in enumerate(zip(CUTS[:-1], CUTS[1:], dtypes, strict=True)):
        for kind, found in zip(("images", "labels"), paths, strict=True):
            found.append(str(folder / f"{kind}-{number}.idx"))
            array = content[f"train_{kind}"][first:last]
            with open(found[-1], "wb") as file:
                idx.write_idx(file, array if kind == "images" else array.astype(dtype))
    return paths


def _read(source) -> tuple[np.ndarray, np.ndarray]:
    images, labels = (np.concatenate(a) for a in zip(*source.chunks(4), strict=True))
    return images[..., 0], labels


def test_pairs_are_the_same_data_as_one(tmp_path: Path):
    one = put(tmp_path / "one", arrays())
    whole = idx_pairs.open_pairs([one["train_images"]], [one["train_labels"]], "train")
    many = idx_pairs.open_pairs(*_split(tmp_path / "many"), "train")
    for found, expected in zip(_read(many), _read(whole), strict=True):
        assert np.array_equal(found, expected)
    assert many.digests() == whole.digests()
    assert many.content_bytes == whole.content_bytes
    part = [labels.tolist() for _, labels in many.chunks(4, 4, 8)]
    assert sum(part, []) == arrays()["train_labels"][4:8].tolist()


def test_labels_of_several_types_are_told_as_the_widest(tmp_path: Path):
    images, labels = _split(tmp_path, (np.uint8, np.int16, np.uint8))
    found = idx_pairs.open_pairs(images, labels, "train")
    path = tmp_path / "wide"
    with open(path, "wb") as file:
        idx.write_idx(file, arrays()["train_labels"].astype(np.int32))
    assert found.digests()["train_labels"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_known_content_in_several_files_gets_its_name(tmp_path: Path, monkeypatch):
    one = put(tmp_path / "one", arrays())
    make_known(monkeypatch, one)
    images, labels = _split(tmp_path / "many")
    opened = sources.from_idx(one | {"train_images": images, "train_labels": labels})
    assert (opened.dataset, opened.class_names) == ("mnist", ("zero", "one", "two"))
    turned = sources.from_idx(
        one | {"train_images": images, "train_labels": labels}, transpose=True
    )
    assert next(turned.train.chunks(1))[0].shape == (1, 2, 3, 1)


def test_counts_are_checked_for_each_pair(tmp_path: Path):
    images, labels = _split(tmp_path)
    wrong = [labels[0], labels[2], labels[1]]
    for number, path in enumerate(wrong):
        Path(path).rename(tmp_path / f"other-{number}")
    wrong = [str(tmp_path / f"other-{number}") for number in range(3)]
    line = rf"^{wrong[1]} \(pair 2 of 3\): found 6 uint8 .*expected 1, as many as {images[1]} has"
    with pytest.raises(InputError, match=line):
        idx_pairs.open_pairs(images, wrong, "train")


def test_a_bad_label_names_its_pair_and_leaves_nothing(tmp_path: Path):
    images, labels = _split(tmp_path)
    opened = sources.from_idx({"train_images": images, "train_labels": labels}, 2)
    with pytest.raises(InputError, match=rf"^{labels[0]} \(pair 1 of 3\): found label 2 "):
        opened.write(str(tmp_path / "data"))
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("images", "labels", "line"),
    [
        (["i1", "i2"], ["l1"], "--test_images and --test_labels: found 2 and 1 files"),
        (["i1", "i2"], ["l2", "l1"], "pair 1 of 2 would be i1 with l2, expected the same numbers"),
        (["i1", "i2", "i3"], ["l1", "l2", "l4"], "pair 3 of 3 would be i3 with l4"),
        (["i1-x3", "i2-x3"], ["l1-x1", "l3-x1"], "pair 2 of 2 would be i2-x3 with l3-x1"),
    ],
)
def test_files_that_are_no_pairs(images: list[str], labels: list[str], line: str):
    with pytest.raises(InputError, match=line):
        idx_pairs.open_pairs(images, labels, "test")


def test_numbers_that_say_nothing_are_no_matter():
    same = [(["a/i-idx3", "b/i-idx3"], ["a/l-idx1", "b/l-idx1"]), (["i9", "i10"], ["l-09", "l-10"])]
    for images, labels in same:
        with pytest.raises(InputError, match=r"No such file"):
            idx_pairs.open_pairs(images, labels, "test")
