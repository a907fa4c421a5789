"""Exports an open run, and prints where the export is and how it does on the test split."""

from __future__ import annotations

import sys

from mnist_estimator import InputError
from mnist_estimator.data import splits
from mnist_estimator.data.manifest import Manifest
from mnist_estimator.data.statistics import full_scale
from mnist_estimator.predictions import compute_dtype
from mnist_estimator.runs.open_run import OpenRun
from mnist_estimator.runtime import progress
from mnist_estimator.scoring import evaluation
from mnist_estimator.serving import (
    card,
    card_files,
    loading,
    onnx_models,
    saved_model,
    signatures,
    tflite,
)


def export_saved_model(
    run: OpenRun, folder: str, data_dir: str = "", license: str = card.UNKNOWN
) -> None:
    """Exports a SavedModel to `folder/STEP`.

    Args:
      data_dir: of the test split; "" for the run's own. It need not be on this machine.
      license: of the model, for its card.

    Raises:
      RunError: if the checkpoint cannot be read, or the export cannot be written.
    """
    path = saved_model.export(run.params, run.trained_on, run.checkpoint, folder)
    progress.say(f"exported to {path}", sys.stdout)
    card_files.beside_saved_model(run, path, license)
    if evaluation.serves_otherwise(run.config):
        _print_accuracies(run, data_dir)


def export_tflite(
    run: OpenRun, path: str, quantize: str, data_dir: str = "", license: str = card.UNKNOWN
) -> None:
    """Exports a TensorFlow Lite model to the file `path`.

    Args:
      quantize: as for `tflite.export`.
      data_dir: of the training images that calibrate int8, and of the test split; "" for the run's
        own.
      license: of the model, for its card.

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
    result = accuracy = None
    if manifest.num_examples(splits.TEST):
        result = _tested(run, data_dir, manifest)
        accuracy = tflite.accuracy(path, data_dir, manifest, splits.TEST)
        _print_both(accuracy, result)
    dtype = "uint8" if quantize == tflite.INT8 else "float32"
    export = loading.of_file(loading.TFLITE, path, dtype)
    if result and not _is_of_own_data(run, manifest):
        result = accuracy = None
    card_files.beside_file(run, path, export, result, accuracy, license)


def export_onnx(
    run: OpenRun, path: str, signature: str, data_dir: str = "", license: str = card.UNKNOWN
) -> None:
    """Exports an ONNX model to the file `path`.

    Args:
      signature: as for `onnx_models.export`.
      data_dir: of the test split, or of the training split if that is empty, on which the model is
        checked; "" for the run's own.
      license: of the model, for its card.

    Raises:
      InputError: if the data cannot be read, or the file cannot be written.
      RunError: as `onnx_models.export`.
    """
    data_dir, manifest = run.data(data_dir, splits.TEST)
    split = splits.TEST if manifest.num_examples(splits.TEST) else splits.TRAIN
    accuracy = onnx_models.export(run, data_dir, manifest, path, signature=signature, split=split)
    progress.say(f"exported to {path}", sys.stdout)
    result = None
    if split == splits.TEST:
        result = _tested(run, data_dir, manifest)
        _print_both(accuracy, result)
    dtype = "uint8" if signature == signatures.SERVING_UINT8 else "float32"
    export = loading.of_file(loading.ONNX, path, dtype)
    if result and not _is_of_own_data(run, manifest):
        result = None
    card_files.beside_file(run, path, export, result, accuracy if result else None, license)


def _is_of_own_data(run: OpenRun, manifest: Manifest) -> bool:
    """Whether a test on a dataset is one that the card may call the run's; says why if not."""
    if all(each.trained_on.digest == manifest.digest for each in (run, *run.others)):
        return True
    progress.warn(
        f"the model card has no test result: --data_dir has other data ({manifest.dataset}) than "
        "the run was trained on"
    )
    return False


def _tested(run: OpenRun, data_dir: str, manifest: Manifest) -> card.Result:
    """The run's own result on the test split."""
    scores = evaluation.make_scores(run.trained_on)
    metrics = evaluation.evaluate_alone(run, data_dir, manifest, splits.TEST, scores=scores)
    return card_files.result_of(metrics, scores, compute_dtype(run.config.precision).name)


def _print_both(accuracy: float, result: card.Result) -> None:
    line = f"test accuracy {accuracy:.4f}, the original's {result.accuracy:.4f}"
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
