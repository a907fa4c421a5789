"""Exports trained networks as TensorFlow Lite models, for phones and small devices.

A model takes `images` [N,H,W,C] and returns `probabilities` [N,K]. Both are float32; with int8 they
are uint8, the probabilities in 256ths. Pixels are as in the records: from 0 to 255, or to the
brightest pixel of the data if that is less. A model does not check them, and takes none from 0 to
1.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from mnist_estimator import RunError
from mnist_estimator.compat import tf, v1, without_noise
from mnist_estimator.data import inputs
from mnist_estimator.data.manifest import Dataset, Manifest
from mnist_estimator.predictions import PROBABILITIES
from mnist_estimator.runs.open_run import OpenRun
from mnist_estimator.runtime import files
from mnist_estimator.runtime.files import file_errors
from mnist_estimator.serving import saved_model, signatures

# How weights and arithmetic are quantized.
NONE, FLOAT16, INT8 = "none", "float16", "int8"

_CALIBRATION_IMAGES = 500  # Their activations set the ranges of int8.
_BATCH_SIZE = 100
_BATCH_BYTES = 2**26
_NOISE = "^fully_quantize: |XNNPACK delegate"  # C++ code prints it at any log level.


def export(
    run: OpenRun, data_dir: str, manifest: Manifest, path: str, *, quantize: str = NONE
) -> None:
    """Writes an open run's network to `path` as one .tflite file.

    Args:
      data_dir: 500 of its training images calibrate int8.
      quantize: float16 halves the size of the weights; int8 computes in whole numbers only, and
        takes a quarter.

    Raises:
      RunError: if the network has an operation that TensorFlow Lite lacks.
      InputError: if a file cannot be read or written.
    """
    # TensorFlow Lite has no bfloat16.
    params = {**run.params, "serving_precision": "float32"}
    with files.memory_folder() as scratch, _quiet():
        folder = os.path.join(scratch, "saved_model")
        saved_model.save((signatures.FIXED,), params, run.trained_on, run.checkpoint, folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            folder, signature_keys=[signatures.FIXED]
        )
        _set_quantization(converter, quantize, data_dir, manifest)
        try:
            model = converter.convert()
        except Exception as error:  # The converter's own exception class is in C++.
            problem = str(error).strip().splitlines()[0]
            raise RunError(f"{run.checkpoint}: cannot be converted: {problem}") from error
    files.make_folders(os.path.dirname(path))
    files.write_bytes(path, model)


def accuracy(path: str, data_dir: str, manifest: Manifest, split: str) -> float:
    """The fraction of a split's examples that the model in a .tflite file classifies correctly.

    Raises:
      InputError: if the file cannot be read.
    """
    with file_errors(path), files.reading(path) as file:
        model = file.read()
    with _quiet():
        interpreter = tf.lite.Interpreter(model_content=model)
        runner = interpreter.get_signature_runner(signatures.FIXED)
        wanted = runner.get_input_details()[inputs.IMAGES]["dtype"]
        correct = 0
        for images, labels in batches(data_dir, manifest, split, _BATCH_SIZE):
            answers = runner(**{inputs.IMAGES: images.astype(wanted)})[PROBABILITIES]
            correct += int((answers.argmax(axis=1) == labels).sum())
    return correct / manifest.num_examples(split)


def batches(
    data_dir: str, manifest: Manifest, split: str, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (images uint8 [B,H,W,C], labels int64 [B]) of a split, in the order of its records."""
    with tf.Graph().as_default(), v1.Session() as session:
        dataset = inputs.eval_batches(Dataset(data_dir, manifest), split, batch_size=batch_size)
        features, labels = v1.data.make_one_shot_iterator(dataset).get_next()
        with contextlib.suppress(tf.errors.OutOfRangeError):
            while True:
                yield session.run((features[inputs.IMAGES], labels))


def _set_quantization(converter: Any, quantize: str, data_dir: str, manifest: Manifest) -> None:
    if quantize == NONE:
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == FLOAT16:
        converter.target_spec.supported_types = [tf.float16]
        return
    converter.representative_dataset = lambda: _calibration_inputs(data_dir, manifest)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8


def _calibration_inputs(data_dir: str, manifest: Manifest) -> Iterator[dict[str, np.ndarray]]:
    # From all over the split, which may be sorted by class.
    apart = -(-manifest.num_examples("train") // _CALIBRATION_IMAGES)
    size = min(apart, max(1, _BATCH_BYTES // math.prod(manifest.image_shape)))
    start = 0
    for images, _ in batches(data_dir, manifest, "train", size):
        for place in range(-start % apart, len(images), apart):
            image = images[place : place + 1].astype(np.float32)
            if start + place == 0:
                # One white pixel makes the scale of the input 1 for each grey level, on dark images
                # too. What is behind the input limits it to what a pixel may be.
                image[0, 0, 0, 0] = 255
            yield {inputs.IMAGES: image}
        start += len(images)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps back what the converter prints for its own developers."""
    absl_logger = logging.getLogger("absl")
    level = absl_logger.level
    absl_logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), without_noise(_NOISE):
            warnings.simplefilter("ignore")
            yield
    finally:
        absl_logger.setLevel(level)
