"""Exports an open run, and prints where the export is and how it does on the test split."""

from __future__ import annotations

import sys

from mnist_estimator import InputError
from mnist_estimator.data import splits
from mnist_estimator.data.statistics import full_scale
from mnist_estimator.runs.open_run import OpenRun
from mnist_estimator.runtime import progress
from mnist_estimator.scoring import evaluation
from mnist_estimator.serving import saved_model, tflite


def export_saved_model(run: OpenRun, folder: str, data_dir: str = "") -> None:
    """Exports a SavedModel to `folder/STEP`.

    Args:
      data_dir: of the test split; "" for the run's own. It need not be on this machine.

    Raises:
      RunError: if the checkpoint cannot be read, or the export cannot be written.
    """
    path = saved_model.export(run.params, run.trained_on, run.checkpoint, folder)
    progress.say(f"exported to {path}", sys.stdout)
    if evaluation.serves_otherwise(run.config):
        _print_accuracies(run, data_dir)


def export_tflite(run: OpenRun, path: str, quantize: str, data_dir: str = "") -> None:
    """Exports a TensorFlow Lite model to the file `path`.

    Args:
      quantize: as for `tflite.export`.
      data_dir: of the training images that calibrate int8, and of the test split; "" for the run's
        own.

    Raises:
      InputError: if the data cannot be read, or the file cannot be written.
      RunError: as `tflite.export`.
    """
    data_dir, manifest = run.data(data_dir, splits.TEST)
    tflite.export(run, data_dir, manifest, path, quantize=quantize)
    white = full_scale(run.trained_on.brightest_pixel)
    progress.say(f"exported to {path}", sys.stdout)
    not_fractions = ", never from 0 to 1" if white > 1 else ""
    progress.say(f"it takes pixels from 0 to {white}{not_fractions}", sys.stdout)
    if manifest.num_examples(splits.TEST):
        original = evaluation.evaluate_alone(run, data_dir, manifest, splits.TEST)["accuracy"]
        converted = tflite.accuracy(path, data_dir, manifest, splits.TEST)
        line = f"test accuracy {converted:.4f}, the original's {original:.4f}"
        progress.say(line, sys.stdout)


def _print_accuracies(run: OpenRun, data_dir: str) -> None:
    """Compares the export with the run, which computes in another arithmetic."""
    try:
        data_dir, manifest = run.data(data_dir)
    except InputError:  # The export is written; the data need not be on this machine.
        return
    if manifest.num_examples(splits.TEST):
        original = evaluation.evaluate_alone(run, data_dir, manifest, splits.TEST)["accuracy"]
        exported = evaluation.serving_accuracy(run, data_dir, manifest)
        progress.say(
            f"test accuracy {exported:.4f} in {run.config.serving_precision}, as exported; "
            f"{original:.4f} as trained",
            sys.stdout,
        )
