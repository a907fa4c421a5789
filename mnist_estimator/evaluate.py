"""Evaluates a trained model on every example of a split, or of other files.

  python -m mnist_estimator.evaluate --model_dir=tboard/mod1 --split=test --output=results
  python -m mnist_estimator.evaluate --model_dir=tboard/mod1 --images=more.idx --labels=classes.idx
  python -m mnist_estimator.evaluate --model_dir=tboard/mod1 --csv=mnist_test_small.csv --json

Printed are accuracy, log loss, calibration error, and per class precision, recall and F1, with the
confusion matrix; --output writes them as JSON and CSV. The network and the data are those that
run.json in the model_dir records, unless other data are named.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from absl import flags

from mnist_estimator import InputError, config
from mnist_estimator.data import splits
from mnist_estimator.runtime import flag_fields, program, progress

if TYPE_CHECKING:
    from mnist_estimator.data import records, sources
    from mnist_estimator.runs import open_run


def define_flags() -> None:
    """Defines the command's flags."""
    config.define_run_flags()
    flags.DEFINE_enum("split", "test", splits.SPLITS, "Split to evaluate.")
    flag_fields.define_path("images", "", "IDX file of images to evaluate in place of a split.")
    flag_fields.define_path("labels", "", "IDX file of their labels.")
    flags.DEFINE_bool(
        "transpose",
        None,
        "Swap the rows and columns of each of --images. Default: as prepare did for the run's own.",
    )
    flag_fields.define_path(
        "csv", "", "CSV file to evaluate in place of a split: a line each, its label and pixels."
    )
    config.define_label_column()
    flags.DEFINE_integer("batch_size", 1000, "Examples a batch.", lower_bound=1)
    flags.DEFINE_bool("json", False, "Print one line of JSON.")
    flag_fields.define_path(
        "output",
        "",
        "Folder to write to: evaluation.json, per_class.csv and confusion_matrix.csv.",
    )


def main(argv: list[str]) -> None:
    """Reads the flags, evaluates and prints."""
    given = flags.FLAGS
    _check(given)
    # This process works alone, even where the environment describes a cluster.
    os.environ.pop("TF_CONFIG", None)
    # TensorFlow takes seconds to import; wrong flags have been answered by now.
    from mnist_estimator.runs import open_run
    from mnist_estimator.scoring import tables

    run = open_run.open_run(given.model_dir, given.checkpoint, given.model)
    scores, names = open_run.make_scores(run.trained_on), run.trained_on.class_names
    with _data(run, given) as (data_dir, manifest, split):
        metrics = open_run.evaluate_alone(
            run, data_dir, manifest, split, batch_size=given.batch_size, scores=scores
        )
        # The folder's only split is called train; the examples are the file's, of no split.
        described = open_run.describe(metrics, "" if _other_file(given) else split, manifest)
    if scores:
        metrics |= scores.report()
    if given.output:
        tables.write(given.output, metrics, scores, names)
    if given.json:
        progress.tell(json.dumps(metrics))
    else:
        table = tables.as_text(scores, names) if scores else _TOO_MANY
        progress.tell(described, *table.split("\n"))


_TOO_MANY = "no confusion matrix: the data has more classes than can be looked through"


def _check(given: flags.FlagValues) -> None:
    if bool(given.images) != bool(given.labels):
        there, missing = ("images", "labels") if given.images else ("labels", "images")
        raise InputError(f"--{there} without --{missing}: expected both")
    if given.csv and given.images:
        raise InputError("--csv and --images: found both, expected one source")
    if given.label_column and not given.csv:
        raise InputError("--label_column: not without --csv")
    if given.transpose is not None and not given.images:
        raise InputError("--transpose: not without --images")
    if _other_file(given) and (given["split"].present or given.data_dir):
        named = "split" if given["split"].present else "data_dir"
        what = "csv" if given.csv else "images"
        raise InputError(f"--{what} and --{named}: found both, expected one source")


def _other_file(given: flags.FlagValues) -> str:
    return given.csv or given.images


@contextlib.contextmanager
def _data(
    run: open_run.OpenRun, given: flags.FlagValues
) -> Iterator[tuple[str, records.Manifest, str]]:
    """The data_dir, manifest and split to evaluate on.

    Other files are made a dataset for the time being: so they are checked, and may be of any size.
    """
    other = _other_file(given)
    if not other:
        yield *run.data(given.data_dir, given.split), given.split
        return
    from mnist_estimator.data import records
    from mnist_estimator.runtime import files

    with files.temporary_folder() as folder:
        _open(run, given).write(folder, validation_split="0", shards=1, seed=0)
        manifest = dataclasses.replace(records.read_manifest(folder), dataset=other)
        run.check(other, manifest, splits.TRAIN, is_file=True)
        yield folder, manifest, splits.TRAIN


def _open(run: open_run.OpenRun, given: flags.FlagValues) -> sources.Sources:
    from mnist_estimator.data import csv_source, sources

    trained_on = run.trained_on
    if given.images:
        paths = {"train_images": given.images, "train_labels": given.labels}
        transpose = _transposes(run, given)
        return sources.from_idx(paths, trained_on.num_classes, transpose=transpose)
    opened = csv_source.CsvSource(
        given.csv,
        role="csv",
        image_shape=trained_on.image_shape,
        num_classes=trained_on.num_classes,
        label_column=given.label_column,
    )
    return sources.Sources(sources.CUSTOM, opened, None, trained_on.num_classes)


def _transposes(run: open_run.OpenRun, given: flags.FlagValues) -> bool:
    if given.transpose is not None:
        return given.transpose
    from mnist_estimator.data import transposed

    done = transposed.is_transposed(run.record["dataset"]["sources"])
    if done:
        line = "rows and columns are swapped, as they were of the run's images (--notranspose)"
        progress.say(f"{given.images}: {line}", sys.stderr)
    return done


if __name__ == "__main__":
    define_flags()
    program.run(main)
