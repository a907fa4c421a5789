"""Makes a dataset of labelled files, IDX or CSV, for one evaluation of a run.

As a dataset the files are checked as `prepare` checks them, and may be of any size.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Iterator

from mnist_estimator import InputError
from mnist_estimator.data import csv_source, file_lists, sources, splits, transposed
from mnist_estimator.data.manifest import Manifest, read_manifest
from mnist_estimator.runs.open_run import OpenRun
from mnist_estimator.runtime import files, progress

SPLIT = splits.TRAIN  # The only one of such a dataset.


def idx_dataset(
    run: OpenRun, images: str, labels: str, transpose: bool | None = None
) -> contextlib.AbstractContextManager[tuple[str, Manifest]]:
    """A dataset of IDX files: its folder, which is gone afterwards, and its manifest.

    Args:
      images, labels: the values of the flags, which name one file each or several, in pairs.
      transpose: whether rows and columns of the images are swapped; None: as for the run's data.

    Raises:
      InputError: if a file cannot be read, or does not fit the run.
    """
    transpose = _is_transposed(run, images, transpose)
    named = {"train_images": ("images", images), "train_labels": ("labels", labels)}
    paths = {role: file_lists.expand(*flag) for role, flag in named.items()}
    opened = sources.from_idx(paths, run.trained_on.num_classes, transpose=transpose)
    return _dataset(run, images, opened)


def csv_dataset(
    run: OpenRun, paths: str, label_column: str = "", transpose: bool | None = None
) -> contextlib.AbstractContextManager[tuple[str, Manifest]]:
    """A dataset of CSV files: its folder, which is gone afterwards, and its manifest.

    Args:
      paths: the value of the flag, which names one file, several, or a folder of them.
      label_column: as the flag of this name.
      transpose: whether rows and columns of the images are swapped; None: as for the run's data.

    Raises:
      InputError: if the file cannot be read, or does not fit the run.
    """
    transpose = _is_transposed(run, paths, transpose)
    classes, (height, width, channels) = run.trained_on.num_classes, run.trained_on.image_shape
    opened: csv_source.CsvSource | transposed.Transposed = csv_source.CsvSource(
        file_lists.expand("csv", paths, folders=True),
        role="csv",
        image_shape=(width, height, channels) if transpose else (height, width, channels),
        num_classes=classes,
        label_column=label_column,
    )
    roles = run.record["dataset"]["sources"]
    place = csv_source.label_column_of(roles)
    if place and not opened.names and not label_column:
        raise InputError(
            f"{paths}: no header, and the label of the run's own lines is field {place + 1}; say "
            "which one it is here: --label_column=last or first"
        )
    if not opened.names and csv_source.is_by_name(roles):
        raise InputError(
            f"{paths}: no header, expected the names of the columns, by which the pixels of the "
            "run's own images were brought into order"
        )
    if transpose:
        opened = transposed.Transposed(opened)
    return _dataset(run, paths, sources.Sources(sources.CUSTOM, opened, None, classes))


def _is_transposed(run: OpenRun, images: str, asked: bool | None) -> bool:
    """What the user asks for, else what was done to the run's images, which is said."""
    if asked is not None:
        return asked
    found = transposed.is_transposed(run.record["dataset"]["sources"])
    if found:
        line = "rows and columns are swapped, as they were of the run's images (--notranspose)"
        progress.say(f"{images}: {line}", sys.stderr)
    return found


@contextlib.contextmanager
def _dataset(run: OpenRun, name: str, opened: sources.Sources) -> Iterator[tuple[str, Manifest]]:
    with files.temporary_folder() as folder:
        opened.write(folder, validation_split="0", shards=1, seed=0)
        manifest = dataclasses.replace(read_manifest(folder), dataset=name)
        run.check(name, manifest, SPLIT, is_file=True)
        yield folder, manifest
