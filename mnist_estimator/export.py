"""Exports a trained model for TensorFlow Serving, for other programs, or for TensorFlow Lite.

  python -m mnist_estimator.export --model_dir=tboard/mod1
  python -m mnist_estimator.export --model_dir=tboard/mod1 --format=tflite --quantize=int8

A SavedModel has the signatures serving_default and serving_uint8 (images), predict_images (PNG or
JPEG files) and classify (serialized tf.Example), the class names in its assets, and warm-up
requests. It computes in float32, whatever the machine that trained computed in, unless
--serving_precision says otherwise. A TensorFlow Lite model takes pixels from 0 to 255 only; it is
measured on the test split, beside the original.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from typing import TYPE_CHECKING

from absl import flags

from mnist_estimator import InputError, config
from mnist_estimator.data import splits
from mnist_estimator.data.statistics import full_scale
from mnist_estimator.runtime import flag_fields, program, progress

if TYPE_CHECKING:
    from mnist_estimator.runs import open_run

_SAVED_MODEL, _TFLITE = "saved_model", "tflite"
_QUANTIZE = ("none", "float16", "int8")


def define_flags() -> None:
    """Defines the command's flags."""
    config.define_run_flags()
    flag_fields.define_path(
        "output",
        "",
        "Folder of the SavedModel, which goes into a folder by its step in it, or name of the "
        ".tflite file. Default: below MODEL_DIR/export.",
    )
    flags.DEFINE_enum("format", _SAVED_MODEL, (_SAVED_MODEL, _TFLITE), "What is written.")
    flags.DEFINE_enum(
        "quantize",
        "none",
        _QUANTIZE,
        "With --format=tflite: float16 halves the size of the weights; int8 computes in whole "
        "numbers only, in ranges that the first 500 training images give.",
    )

    flags.DEFINE_enum(
        "serving_precision",
        None,
        config.SERVING_PRECISIONS,
        "Arithmetic of the SavedModel's layers. Default: what the run says, which is float32.",
    )


def main(argv: list[str]) -> None:
    """Reads the flags and exports."""
    given = flags.FLAGS
    if given.serving_precision and given.format == _TFLITE:
        raise InputError("--serving_precision: found it with --format=tflite; give --quantize")
    if given.quantize != "none" and given.format != _TFLITE:
        raise InputError("--quantize: found it without --format=tflite")
    # This process works alone, even where the environment describes a cluster.
    os.environ.pop("TF_CONFIG", None)
    # TensorFlow takes seconds to import; wrong flags have been answered by now.
    from mnist_estimator.runs import open_run
    from mnist_estimator.serving import saved_model

    run = open_run.open_run(given.model_dir, given.checkpoint, given.model)
    if not given.output:
        open_run.check_no_links(given.model_dir)
    if given.format == _TFLITE:
        _export_tflite(run, given)
        return
    if given.serving_precision:
        chosen = dataclasses.replace(run.config, serving_precision=given.serving_precision)
        run = dataclasses.replace(run, config=chosen)
    folder = given.output or os.path.join(given.model_dir, "export")
    path = saved_model.export(run.params, run.trained_on, run.checkpoint, folder)
    progress.say(f"exported to {path}", sys.stdout)
    _say_accuracies(run, given.data_dir)


def _say_accuracies(run: open_run.OpenRun, data_dir: str) -> None:
    """Compares the export with the run on the test split, where they compute differently."""
    from mnist_estimator.runs import open_run

    if not open_run.serves_otherwise(run.config):
        return
    try:
        found, manifest = run.data(data_dir)
    except InputError:  # The export is there; the data need not be on this machine.
        return
    if manifest.num_examples(splits.TEST):
        original = open_run.evaluate_alone(run, found, manifest, splits.TEST)["accuracy"]
        exported = open_run.serving_accuracy(run, found, manifest)
        progress.say(
            f"test accuracy {exported:.4f} in {run.config.serving_precision}, as exported; "
            f"{original:.4f} as trained",
            sys.stdout,
        )


def _export_tflite(run: open_run.OpenRun, given: flags.FlagValues) -> None:
    from mnist_estimator.runs import open_run
    from mnist_estimator.serving import tflite

    kind = "float32" if given.quantize == tflite.NONE else given.quantize
    path = given.output or os.path.join(given.model_dir, "export", f"model-{kind}.tflite")
    data_dir, manifest = run.data(given.data_dir, splits.TEST)
    tflite.export(run, data_dir, manifest, path, quantize=given.quantize)
    white = full_scale(run.trained_on.brightest_pixel)
    progress.say(f"exported to {path}", sys.stdout)
    not_fractions = ", never from 0 to 1" if white > 1 else ""
    progress.say(f"it takes pixels from 0 to {white}{not_fractions}", sys.stdout)
    if manifest.num_examples("test"):
        original = open_run.evaluate_alone(run, data_dir, manifest, "test")["accuracy"]
        converted = tflite.accuracy(path, data_dir, manifest, "test")
        line = f"test accuracy {converted:.4f}, the original's {original:.4f}"
        progress.say(line, sys.stdout)


if __name__ == "__main__":
    define_flags()
    program.run(main)
