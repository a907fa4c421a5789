"""Evaluates a trained model on every example of a split, or of other files.

  python -m mnist_estimator.evaluate --model_dir=tboard/mod1 --split=test --output=results
  python -m mnist_estimator.evaluate --model_dir=tboard/mod1 --images=more.idx --labels=classes.idx
  python -m mnist_estimator.evaluate --model_dir=tboard/mod1 --csv=mnist_test_small.csv --json

It prints accuracy, loss, calibration error, precision, recall and F1 of each class, and the
confusion matrix; --output writes them as JSON and CSV. It evaluates the network that run.json in
the model_dir names, on the run's own data unless the flags name other data.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from absl import flags

from mnist_estimator import InputError, config
from mnist_estimator.data import splits
from mnist_estimator.runtime import flag_fields, help_text, program, progress, watchdog

if TYPE_CHECKING:
    from mnist_estimator.data.manifest import Manifest
    from mnist_estimator.runs import open_run


def define_flags() -> None:
    """Defines the command's flags."""
    config.define_run_flags()
    config.define_calibrate()
    flags.DEFINE_enum("split", "test", splits.SPLITS, "Split to evaluate.")
    flag_fields.define_path(
        "images",
        "",
        "IDX file of images to evaluate in place of a split; or several, as for prepare.",
    )
    flag_fields.define_path(
        "labels",
        "",
        "IDX file of their labels; of several files of images as many, in the same order.",
    )
    flags.DEFINE_bool(
        "transpose",
        None,
        "Swap the rows and columns of each of --images or --csv. Default: as prepare did for the "
        "run's own.",
    )
    flag_fields.define_path(
        "csv",
        "",
        "CSV file to evaluate in place of a split: a line each, its label and pixels. Several, or "
        "a folder of them, are named as for prepare.",
    )
    config.define_label_column()
    flags.DEFINE_integer("batch_size", 1000, "Examples a batch.", lower_bound=1)
    flags.DEFINE_bool("json", False, "Print one line of JSON.")
    flag_fields.define_path(
        "output",
        "",
        "Folder to write to: evaluation.json, per_class.csv and confusion_matrix.csv.",
    )
    data = ("split", "images", "labels", "transpose", "csv", "label_column", "batch_size")
    help_text.group("The data", data)
    help_text.group("The result", ["calibrate", "json", "output"])
    config.define_stall_timeout()


def main(argv: list[str]) -> None:
    """Reads the flags, evaluates and prints."""
    given = flags.FLAGS
    _check_flags(given)
    # Imported here, because TensorFlow takes seconds and wrong flags need no TensorFlow.
    from mnist_estimator.runs import ensemble
    from mnist_estimator.scoring import evaluation, tables, temperature

    if given.output:
        tables.check_folder(given.output)
    run = ensemble.open_runs(config.runs(given), given.checkpoint, views=int(given.views))
    if given.calibrate:
        run = temperature.calibrated(run)
    scores, names = evaluation.make_scores(run.trained_on), run.trained_on.class_names
    with _open_data(run, given) as (data_dir, manifest, split):
        metrics = evaluation.evaluate_alone(
            run, data_dir, manifest, split, batch_size=given.batch_size, scores=scores
        )
        # A file's examples belong to no split that the user knows of.
        described = evaluation.describe(metrics, "" if _names_file(given) else split, manifest)
    if given.calibrate:
        metrics["temperature"] = run.options["temperature"]
    if scores:
        metrics |= scores.to_json()
    if given.output:
        tables.write(given.output, metrics, scores, names)
    if given.json:
        progress.tell(json.dumps(metrics))
        return
    progress.tell(described, *tables.as_lines(scores, names))


def _check_flags(given: flags.FlagValues) -> None:
    if bool(given.images) != bool(given.labels):
        there, missing = ("images", "labels") if given.images else ("labels", "images")
        raise InputError(f"--{there} without --{missing}: expected both")
    if given.csv and given.images:
        raise InputError("--csv and --images: found both, expected one source")
    if given.label_column and not given.csv:
        raise InputError("--label_column: found it without --csv, expected both")
    if given.transpose is not None and not _names_file(given):
        raise InputError("--transpose: found it without --images or --csv, expected one of them")
    if _names_file(given) and (given["split"].present or given.data_dir):
        named = "split" if given["split"].present else "data_dir"
        what = "csv" if given.csv else "images"
        raise InputError(f"--{what} and --{named}: found both, expected one source")


def _names_file(given: flags.FlagValues) -> bool:
    return bool(given.csv or given.images)


@contextlib.contextmanager
def _open_data(
    run: open_run.OpenRun, given: flags.FlagValues
) -> Iterator[tuple[str, Manifest, str]]:
    """The data_dir, manifest and split to evaluate on."""
    if not _names_file(given):
        yield *run.data(given.data_dir, given.split), given.split
        return
    from mnist_estimator.scoring import labelled_files

    if given.csv:
        opened = labelled_files.csv_dataset(run, given.csv, given.label_column, given.transpose)
    else:
        opened = labelled_files.idx_dataset(run, given.images, given.labels, given.transpose)
    with opened as (data_dir, manifest):
        yield data_dir, manifest, labelled_files.SPLIT


if __name__ == "__main__":
    define_flags()
    program.run(main, phase=watchdog.EVALUATION)
