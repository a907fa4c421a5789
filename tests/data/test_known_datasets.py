"""The datasets known by name: the tables, and the rule of the files' names."""

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_estimator import InputError
from mnist_estimator.data import known_datasets


@pytest.mark.parametrize("dataset", known_datasets.DATASETS.values(), ids=known_datasets.DATASETS)
def test_every_dataset_is_whole(dataset):
    assert known_datasets.DATASETS[dataset.name] is dataset
    assert len(dataset.class_names) == 10
    assert len(dataset.mirrors) >= 2
    assert all(re.fullmatch(r"https://\S+/", mirror) for mirror in dataset.mirrors)
    assert set(dataset.digests) | set(dataset.archive_digests) == set(known_datasets.ROLES)
    assert set(dataset.content_bytes) == set(known_datasets.ROLES)


def test_every_digest_is_one_and_the_only_of_its_kind():
    digests = [
        digest
        for dataset in known_datasets.DATASETS.values()
        for digest in [*dataset.digests.values(), *dataset.archive_digests.values()]
    ]
    assert len(digests) == len(set(digests)) == 12
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)


def test_the_lapsed_domain_is_no_mirror():
    for dataset in known_datasets.DATASETS.values():
        assert not any("lecun" in mirror for mirror in dataset.mirrors)


def test_locate_knows_the_spellings():
    names = [
        "train-images-idx3-ubyte.gz",
        "train-labels.idx1-ubyte",
        "t10k-images.idx3-ubyte.gz",
        "readme.txt",
        "t10k-labels-idx1-ubyte.part",
    ]
    assert known_datasets.locate(names) == {
        "": {
            "train_images": [names[0]],
            "train_labels": [names[1]],
            "test_images": [names[2]],
        }
    }


@pytest.mark.parametrize(
    ("path", "found", "role"),
    [
        ("TRAIN-LABELS-IDX1-UBYTE.GZ", "", "train_labels"),
        ("train_images_idx3_ubyte", "", "train_images"),
        ("test-images-idx3-ubyte", "", "test_images"),
        ("t10k-labels-idx1-ubyte/t10k-labels.idx1-ubyte", "", "test_labels"),
        ("emnist-letters-test-labels-idx1-ubyte", "emnist-letters-", "test_labels"),
        ("qmnist-train-labels-idx2-int.gz", "qmnist-", "train_labels"),
        ("MNIST/raw/train-images-idx3-ubyte", "MNIST/raw/", "train_images"),
        ("raw/train-images-idx3-ubyte/train-images-idx3-ubyte", "raw/", "train_images"),
    ],
)
def test_locate_knows_the_sets_and_folders(path, found, role):
    assert known_datasets.locate([path]) == {found: {role: [path]}}


@pytest.mark.parametrize(
    "name",
    [
        "._train-images-idx3-ubyte",
        "train-images-idx3-ubyte (1)",
        "train-images-idx3-ubyte.zip",
        "val-images-idx3-ubyte",
        "train-images",
        "retrain-images-idx3-ubyte",
    ],
)
def test_locate_takes_no_other_names(name):
    assert known_datasets.locate([name]) == {}


@given(st.permutations(["", ".gz"]), st.permutations(["-", "."]))
def test_locate_prefers_the_usual_spelling_then_plain(suffixes, joints):
    names = [f"train-labels{joint}idx1-ubyte{suffix}" for joint in joints for suffix in suffixes]
    best = ("-idx1-ubyte", "-idx1-ubyte.gz", ".idx1-ubyte", ".idx1-ubyte.gz")
    assert known_datasets.locate(names) == {
        "": {"train_labels": [f"train-labels{end}" for end in best]}
    }


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist", "sample"])
def test_known_names(name):
    known_datasets.check_name(name)


def test_an_unknown_name_is_an_error_that_lists_the_known():
    with pytest.raises(InputError, match="found 'cifar', expected one of mnist, fashion_mnist, "):
        known_datasets.check_name("cifar")


def test_needs_the_standard_library_only():
    code = "import sys, mnist_estimator.data.known_datasets; sys.exit('numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
