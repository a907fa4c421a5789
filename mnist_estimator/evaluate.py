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
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

from absl import flags

from mnist_estimator import InputError, config, program, splits

if TYPE_CHECKING:
    from mnist_estimator import records, runs


def define_flags() -> None:
    """Defines the command's flags."""
    config.define_run_flags()
    flags.DEFINE_enum("split", "test", splits.SPLITS, "Split to evaluate.")
    flags.DEFINE_string("images", "", "IDX file of images to evaluate in place of a split.")
    flags.DEFINE_string("labels", "", "IDX file of their labels.")
    flags.DEFINE_bool(
        "transpose",
        None,
        "Swap the rows and columns of each of --images. Default: as prepare did for the run's own.",
    )
    flags.DEFINE_string(
        "csv", "", "CSV file to evaluate in place of a split: a line each, label, then pixels."
    )
    flags.DEFINE_integer("batch_size", 1000, "Examples a batch.", lower_bound=1)
    flags.DEFINE_bool("json", False, "Print one line of JSON.")
    flags.DEFINE_string(
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
    from mnist_estimator import runs, tables

    run = runs.open_run(given.model_dir, given.checkpoint)
    scores, names = runs.make_scores(run.trained_on), run.trained_on.class_names
    with _data(run, given) as (data_dir, manifest, split):
        metrics = runs.evaluate_alone(
            run, data_dir, manifest, split, batch_size=given.batch_size, scores=scores
        )
        of_file = given.csv or given.images
        described = runs.describe(metrics, "" if of_file else split, manifest)
    if scores:
        metrics |= scores.report()
    if given.json:
        print(json.dumps(metrics))
    else:
        print(described)
        print(tables.as_text(scores, names) if scores else _TOO_MANY)
    if given.output:
        tables.write(given.output, metrics, scores, names)


_TOO_MANY = "no confusion matrix: the data has more classes than can be looked through"


def _check(given: flags.FlagValues) -> None:
    if bool(given.images) != bool(given.labels):
        there, missing = ("images", "labels") if given.images else ("labels", "images")
        raise InputError(f"--{there} without --{missing}: expected both")
    if given.csv and given.images:
        raise InputError("--csv and --images: found both, expected one source")
    if given.transpose is not None and not given.images:
        raise InputError("--transpose: not without --images")
    other = given.csv or given.images
    if other and (given["split"].present or given.data_dir):
        named = "split" if given["split"].present else "data_dir"
        what = "csv" if given.csv else "images"
        raise InputError(f"--{what} and --{named}: found both, expected one source")


@contextlib.contextmanager
def _data(
    run: runs.OpenRun, given: flags.FlagValues
) -> Iterator[tuple[str, records.Manifest, str]]:
    """The data_dir, manifest and split to evaluate on.

    Other files are made a dataset for the time being: so they are checked, and may be of any size.
    """
    if not (given.csv or given.images):
        yield *run.data(given.data_dir, given.split), given.split
        return
    from mnist_estimator import sources

    trained_on = run.trained_on
    if given.csv:
        shape, classes = trained_on.image_shape, trained_on.num_classes
        found = sources.from_csv(given.csv, image_shape=shape, num_classes=classes)
    else:
        paths = {"train_images": given.images, "train_labels": given.labels}
        transpose = _transposes(run, given)
        found = sources.from_idx(paths, trained_on.num_classes, transpose=transpose)
    with tempfile.TemporaryDirectory() as folder:
        found.write(folder, validation_split="0", shards=1, seed=0)
        name = given.csv or given.images
        data_dir, manifest = run.data(folder, splits.TRAIN, name)
        yield data_dir, dataclasses.replace(manifest, dataset=name), splits.TRAIN


def _transposes(run: runs.OpenRun, given: flags.FlagValues) -> bool:
    if given.transpose is not None:
        return given.transpose
    from mnist_estimator import progress, transposed

    done = transposed.is_transposed(run.record["dataset"]["sources"])
    if done:
        line = "rows and columns are swapped, as they were of the run's images (--notranspose)"
        progress.say(f"{given.images}: {line}", sys.stderr)
    return done


if __name__ == "__main__":
    define_flags()
    program.run(main)
