"""Writes a CSV file as the notebooks of linear_adagrad_csv and dnn_csv read it.

  python scripts/sample_csv.py --source_dir=data/mnist --output=data/mnist_20000.csv

A line is a label and then 784 pixels, without a header. The examples are a seeded sample of the
training images in IDX files; which ones were in the original file, nobody can say any more.
"""

from __future__ import annotations

import os

from absl import flags

from mnist_estimator import InputError
from mnist_estimator.runtime import program

_SOURCE_DIR = flags.DEFINE_string("source_dir", "data/mnist", "Folder with the IDX files.")
_OUTPUT = flags.DEFINE_string("output", "data/mnist_20000.csv", "CSV file to write.")
_ROWS = flags.DEFINE_integer("rows", 20_000, "Examples to write.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Decides which examples are taken.", lower_bound=0)


def main(argv: list[str]) -> None:
    """Writes the file, under a temporary name until it is whole."""
    from mnist_estimator.data import sources, splits

    train = sources.from_folder(_SOURCE_DIR.value).train
    if _ROWS.value > train.num_examples:
        found = f"found {_ROWS.value}, expected at most the {train.num_examples} training examples"
        raise InputError(f"--rows: {found}")
    picks = splits.ValidationSplit(_ROWS.value, train.num_examples, _SEED.value).picks()
    temporary = _OUTPUT.value + ".tmp"
    with open(temporary, "w", encoding="ascii") as file:
        for images, labels in train.chunks(1024):
            picked = picks(labels)
            for image, label in zip(images[picked], labels[picked], strict=True):
                file.write(",".join(map(str, [label, *image.ravel().tolist()])) + "\n")
    os.replace(temporary, _OUTPUT.value)
    print(f"{_ROWS.value:,} examples in {_OUTPUT.value}")


if __name__ == "__main__":
    program.run(main)
