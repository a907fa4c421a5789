"""Exports a trained model for TensorFlow Serving, other programs, TensorFlow Lite, or ONNX.

  python -m mnist_estimator.export --model_dir=tboard/mod1
  python -m mnist_estimator.export --model_dir=tboard/mod1 --format=tflite --quantize=int8
  python -m mnist_estimator.export --model_dir=tboard/mod1 --format=onnx

A SavedModel has the signatures serving_default and serving_uint8 (images), predict_images (PNG or
JPEG files) and classify (serialized tf.Example), the class names in its assets, and warm-up
requests. It computes in float32, whatever the training machine computed in, unless
--serving_precision says otherwise. A TensorFlow Lite model takes pixels from 0 to 255 only. An ONNX
model is one of the first two signatures; it needs pip install 'mnist_estimator[onnx]'. Of both the
command prints the accuracy on the test split beside the original's. A model card, README.md, is
written beside each export.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re

from absl import flags

from mnist_estimator import InputError, config
from mnist_estimator.runtime import flag_fields, help_text, program, watchdog

_SAVED_MODEL, _TFLITE, _ONNX = "saved_model", "tflite", "onnx"
_QUANTIZE = ("none", "float16", "int8")
_SIGNATURES = ("serving_default", "serving_uint8", "predict_images", "classify")
_OF_PIXELS = _SIGNATURES[:2]
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,49}")


def define_flags() -> None:
    """Defines the command's flags."""
    config.define_run_flags()
    flag_fields.define_path(
        "output",
        "",
        "Folder of the SavedModel, which goes into a folder by its step in it, or name of the "
        ".tflite or .onnx file. Default: below MODEL_DIR/export.",
    )
    formats = (_SAVED_MODEL, _TFLITE, _ONNX)
    flags.DEFINE_enum("format", _SAVED_MODEL, formats, "What is written.")
    flags.DEFINE_enum(
        "quantize",
        "none",
        _QUANTIZE,
        "With --format=tflite: float16 halves the size of the weights; int8 computes in whole "
        "numbers only, in ranges that 500 training images give.",
    )
    flags.DEFINE_enum(
        "serving_precision",
        None,
        config.SERVING_PRECISIONS,
        "Arithmetic of the SavedModel's layers. Default: what the run says, which is float32.",
    )
    flags.DEFINE_enum(
        "signature",
        None,
        _SIGNATURES,
        "With --format=onnx: signature of the ONNX model, serving_default or serving_uint8. "
        "Default: serving_default.",
    )
    flags.DEFINE_string(
        "license",
        "unknown",
        "License of the model in its card, as the Hugging Face hub names it: apache-2.0, mit, ...",
    )
    config.define_calibrate()
    shown = ["format", "output", "serving_precision", "quantize", "signature"]
    shown += ["calibrate", "license"]
    help_text.group("The result", shown)
    config.define_stall_timeout()


def main(argv: list[str]) -> None:
    """Reads the flags and exports."""
    given = flags.FLAGS
    _check_flags(given)
    models = config.runs(given)
    if len(models) > 1 and not given.output:
        raise InputError("--output: found none, expected a folder for the export of several runs")
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
    output = given.output or os.path.join(model_dir, layout.EXPORT_FOLDER, _default_name(given))
    more = {"data_dir": given.data_dir, "license": given.license}
    if given.format == _TFLITE:
        exports.export_tflite(run, output, given.quantize, **more)
    elif given.format == _ONNX:
        exports.export_onnx(run, output, given.signature or _SIGNATURES[0], **more)
    else:
        if given.serving_precision:
            chosen = dataclasses.replace(run.config, serving_precision=given.serving_precision)
            run = dataclasses.replace(run, config=chosen)
        exports.export_saved_model(run, output, **more)


def _default_name(given: flags.FlagValues) -> str:
    """The name of a file in MODEL_DIR/export; "" for a SavedModel, which goes there by its step."""
    if given.format == _TFLITE:
        kind = "float32" if given.quantize == "none" else given.quantize
        return f"model-{kind}.tflite"
    return "model.onnx" if given.format == _ONNX else ""


def _check_flags(given: flags.FlagValues) -> None:
    if given.serving_precision and given.format == _TFLITE:
        raise InputError("--serving_precision: found it with --format=tflite; give --quantize")
    if given.serving_precision and given.format == _ONNX:
        raise InputError("--serving_precision: found it with --format=onnx, which is float32")
    if given.quantize != "none" and given.format != _TFLITE:
        raise InputError("--quantize: found it without --format=tflite")
    if given.signature and given.format != _ONNX:
        raise InputError("--signature: found it without --format=onnx")
    if given.signature and given.signature not in _OF_PIXELS:
        raise InputError(
            f"--signature: found {given.signature}, expected {' or '.join(_OF_PIXELS)}: "
            "onnxruntime decodes no pictures and no tf.Example; a SavedModel does"
        )
    if not _LICENSE.fullmatch(given.license):
        raise InputError(
            f"--license: found {given.license!r}, expected a name as the Hugging Face hub has it, "
            "such as apache-2.0"
        )
    missing = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if given.format == _ONNX and missing:
        raise InputError(f"{missing[0]} not found; pip install 'mnist_estimator[onnx]'")


if __name__ == "__main__":
    define_flags()
    program.run(main, phase=watchdog.EXPORT)
