"""The datasets known by name: their files, their mirrors and their digests.

A digest is of a file's uncompressed content, so a file verifies plain, as published (.gz), or
compressed again. `download` fetches the files; nothing here uses the network.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mnist_estimator import InputError
from mnist_estimator.pictures.methods import DIGIT, PLAIN

ROLES = ("train_images", "train_labels", "test_images", "test_labels")
FILE_NAMES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
SAMPLE = "sample"

_DIGITS = tuple("0123456789")
_MNIST_BYTES = {
    "train_images": 16 + 60000 * 28 * 28,
    "train_labels": 8 + 60000,
    "test_images": 16 + 10000 * 28 * 28,
    "test_labels": 8 + 10000,
}


@dataclass(frozen=True)
class KnownDataset:
    """A published dataset of four IDX files.

    Attributes:
      digests: role -> SHA-256 of the file's uncompressed content.
      archive_digests: role -> SHA-256 of the .gz as published, for roles that `digests` lacks.
      content_bytes: role -> size of the uncompressed content.
      mirrors: base URLs; the files are there under their usual names, with .gz.
      pictures: the method by which pictures become such images, of `methods.PICTURES`.
    """

    name: str
    title: str
    class_names: tuple[str, ...]
    digests: Mapping[str, str]
    mirrors: tuple[str, ...]
    archive_digests: Mapping[str, str] = field(default_factory=dict)
    content_bytes: Mapping[str, int] = field(default_factory=lambda: _MNIST_BYTES)
    pictures: str = PLAIN


DATASETS = {
    # Content digests: computed from the original four files, whose .gz have the digests that
    # tensorflow/datasets (url_checksums/mnist.txt) and pytorch/vision (MD5) publish.
    # Mirrors: pytorch/vision (mnist.py), tensorflow/datasets (mnist.py),
    # ml-explore/mlx-swift-examples (Files.swift).
    # Never the original host: its domain lapsed and serves other content.
    "mnist": KnownDataset(
        name="mnist",
        title="MNIST",
        class_names=_DIGITS,
        digests={
            "train_images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train_labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "test_images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "test_labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "https://raw.githubusercontent.com/fgnt/mnist/master/",
        ),
        pictures=DIGIT,
    ),
    # Content digests: computed from Debian's dataset-fashion-mnist. Its .gz differ from the
    # published ones in the gzip header alone: with file name and time put back, they have the
    # SHA-256 that tensorflow/datasets (url_checksums/fashion_mnist.txt) publishes.
    # Mirrors: keras-team/keras (fashion_mnist.py), and the dataset's own repository. (Its bucket is
    # reached by http only.)
    "fashion_mnist": KnownDataset(
        name="fashion_mnist",
        title="Fashion-MNIST",
        class_names=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        digests={
            "train_images": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train_labels": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "test_images": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "test_labels": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
        mirrors=(
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
    ),
    # Content digests: computed from .gz files with the SHA-256 that tensorflow/datasets
    # (url_checksums/kmnist.txt) publishes. The training images could not be had: for them there is
    # only that digest of the .gz, so they verify as published, but not plain or compressed again.
    # Mirrors: rois-codh/kmnist (README.md; its host is at times out of reach),
    # tensorflow/swift-models (KuzushijiMNIST.swift).
    "kmnist": KnownDataset(
        name="kmnist",
        title="Kuzushiji-MNIST",
        class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        digests={
            "train_labels": "2a16eeae62da984b8bd24fa32e31d47291f01dac3fe84d5594f304f71e7d374b",
            "test_images": "76fbd229ce87db80dd281af5e6670de4ad0e42fb30a7bd643972994c47c1f42e",
            "test_labels": "a11dc742be8e781a40a92f53d6a4957e7b7d36df2faa097659131ebfd8fd60c6",
        },
        archive_digests={
            "train_images": "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        },
        mirrors=(
            "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/KMNIST/",
        ),
    ),
}


def check_name(name: str) -> None:
    """Raises InputError unless `name` is a dataset known by name."""
    if not is_known(name):
        names = ", ".join((*DATASETS, SAMPLE))
        raise InputError(f"--dataset: found {name!r}, expected one of {names}")


def is_known(name: str) -> bool:
    """Whether `name` is a dataset known by name."""
    return name in (*DATASETS, SAMPLE)


def sample_dir() -> str:
    """The folder of the bundled sample: the four usual names, .gz."""
    return os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "sample")


def locate(paths: Iterable[str]) -> dict[str, dict[str, list[str]]]:
    """Finds IDX files by their usual names, in upper or lower case: set -> role -> paths.

    A set is the folder and what comes before the usual name: "" for MNIST's own names,
    "emnist-letters-" for EMNIST's. Of several files for one role: the usual spelling comes before
    others (train-images.idx3-ubyte, test-images-idx3-ubyte), and plain before .gz. A file that lies
    in a folder of its own name counts as if it lay beside that folder.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for path in sorted(paths, key=lambda path: (*_unusual(path), path)):
        folder, name = os.path.split(path)
        match = _FILE_NAME.fullmatch(name)
        if match:
            if is_file_name(os.path.basename(folder)):
                folder = os.path.dirname(folder)
            part = "train" if match["part"].lower() == "train" else "test"
            roles = found.setdefault(os.path.join(folder, match["set"].lower()), {})
            roles.setdefault(f"{part}_{match['kind'].lower()}", []).append(path)
    return found


def is_file_name(name: str) -> bool:
    """Whether `locate` would take a file of this name."""
    return _FILE_NAME.fullmatch(name) is not None


_FILE_NAME = re.compile(
    r"(?P<set>(?:[a-z0-9].*[-_.])?)(?P<part>train|t10k|test)[-_](?P<kind>images|labels)"
    r"[-_.]idx\d[-_](?:ubyte|int)(?:\.gz)?",
    re.IGNORECASE,
)


def _unusual(path: str) -> tuple[bool, bool, bool]:
    """Sorts first what is spelled as usual, then what is plain, then what lies in no folder."""
    plain = path.removesuffix(".gz")
    usual = os.path.basename(plain) in FILE_NAMES.values()
    return not usual, plain != path, os.path.dirname(path) != ""
