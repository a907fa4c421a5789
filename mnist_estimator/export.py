"""Exports a trained model for TensorFlow Serving, for other programs, or for TensorFlow Lite.

  python -m mnist_estimator.export --model_dir=tboard/mod1
  python -m mnist_estimator.export --model_dir=tboard/mod1 --format=tflite --quantize=int8

A SavedModel has the signatures serving_default and serving_uint8 (images), predict_images (PNG or
JPEG files) and classify (serialized tf.Example), the class names in its assets, and warm-up
requests. It computes in float32, whatever the training machine computed in, unless
--serving_precision says otherwise. A TensorFlow Lite model takes pixels from 0 to 255 only; the
command prints its accuracy on the test split beside the original's.
"""

from __future__ import annotations

import dataclasses
import os
import sys

from absl import flags

from mnist_estimator import InputError, config
from mnist_estimator.runtime import flag_fields, help_text, program, progress, watchdog

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
    config.define_calibrate()
    shown = ["format", "output", "serving_precision", "quantize", "calibrate"]
    help_text.group("The result", shown)
    config.define_stall_timeout()


def main(argv: list[str]) -> None:
    """Reads the flags and exports."""
    given = flags.FLAGS
    if given.serving_precision and given.format == _TFLITE:
        raise InputError("--serving_precision: found it with --format=tflite; give --quantize")
    if given.quantize != "none" and given.format != _TFLITE:
        raise InputError("--quantize: found it without --format=tflite")
    models = config.runs(given)
    if len(models) > 1 and not given.output:
        raise InputError("--output: found none, expected a folder for the export of several runs")
    # This process works alone, even if the environment describes a cluster.
    os.environ.pop("TF_CONFIG", None)
    # Imported here, because TensorFlow takes seconds and wrong flags need no TensorFlow.
    from mnist_estimator.runs import ensemble, layout
    from mnist_estimator.scoring import temperature
    from mnist_estimator.serving import exports

    run = ensemble.open_runs(models, given.checkpoint, views=int(given.views))
    model_dir = run.config.model_dir
    if not given.output:
        layout.check_no_links(model_dir)
    if given.calibrate:
        run = temperature.calibrated(run, given.data_dir)
        found = run.options["temperature"]
        progress.say(f"temperature {found:.3f}, fitted on the validation split", sys.stderr)
    default_folder = os.path.join(model_dir, layout.EXPORT_FOLDER)
    if given.format == _TFLITE:
        kind = "float32" if given.quantize == "none" else given.quantize
        path = given.output or os.path.join(default_folder, f"model-{kind}.tflite")
        exports.export_tflite(run, path, given.quantize, given.data_dir)
        return
    if given.serving_precision:
        chosen = dataclasses.replace(run.config, serving_precision=given.serving_precision)
        run = dataclasses.replace(run, config=chosen)
    exports.export_saved_model(run, given.output or default_folder, given.data_dir)


if __name__ == "__main__":
    define_flags()
    program.run(main, phase=watchdog.EXPORT)
