"""Exports trained networks as ONNX models, for onnxruntime and other programs.

A model is one of the signatures `serving_default` and `serving_uint8`: `images` [N,H,W,C] to
`classes`, `probabilities` and `logits`. ONNX knows no errors. So an image that cannot be pixels on
the scale of the data has the class -1, and probabilities and logits of 0.

There is no model for encoded pictures. ONNX has an operator that decodes one, ImageDecoder, but
onnxruntime does not have it, and a decoder of its own would not give the pixels of this package.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from mnist_estimator import RunError, __version__
from mnist_estimator.compat import tf, v1
from mnist_estimator.data import inputs
from mnist_estimator.data.manifest import Manifest, TrainedOn
from mnist_estimator.predictions import CLASSES, LOGITS, PROBABILITIES, uses_averages
from mnist_estimator.runs import checkpoints
from mnist_estimator.runs.open_run import OpenRun
from mnist_estimator.runtime import files
from mnist_estimator.scoring import evaluation
from mnist_estimator.serving import onnx_graph, pixels, saved_model, sessions, signatures, tflite

SIGNATURES = (signatures.SERVING_DEFAULT, signatures.SERVING_UINT8)
# The most that a probability may be off that of `predict`: kernels add up in another order.
TOLERANCE = 1e-4

_FITS = "fits"
_ONNX = "onnx"  # The scope of the operations that become the model.
_BATCH_SIZE = 100
_MOST_BYTES = 2**31 - 2**20  # Of one file: protocol buffers end at 2 GiB.


def export(
    run: OpenRun,
    data_dir: str,
    manifest: Manifest,
    path: str,
    *,
    signature: str = signatures.SERVING_DEFAULT,
    split: str = "test",
) -> float:
    """Writes an open run's network to `path` as one .onnx file, and returns its accuracy.

    Before it is written onnxruntime answers every example of a split with it, and `signature` does
    so in TensorFlow.

    Args:
      signature: one of `SIGNATURES`.

    Raises:
      RunError: if the network has an operation that is not exported, or the answers differ.
      InputError: if a file cannot be read or written.
    """
    # Few runtimes compute in bfloat16.
    params = {**run.params, "serving_precision": "float32"}
    with tf.Graph().as_default():
        receivers = {**signatures.RECEIVERS, _ONNX: _RECEIVERS[signature]}
        built = signatures.build((signature, _ONNX), params, run.trained_on, receivers)
        outputs = _answers(built[_ONNX].outputs)
        with sessions.restore(run.checkpoint, averages=uses_averages(params)) as session:
            model = _model(run, built[_ONNX].inputs, outputs, session, signature)
            with evaluation.explained_errors(data_dir, manifest, run.checkpoint, _BATCH_SIZE):
                accuracy = _compare(model, built[signature], session, data_dir, manifest, split)
    files.make_folders(os.path.dirname(path))
    files.write_bytes(path, model)
    return accuracy


def _receive_floats(data: Manifest | TrainedOn) -> signatures.Received:
    return _received(tf.float32, data)


def _receive_bytes(data: Manifest | TrainedOn) -> signatures.Received:
    return _received(tf.uint8, data)


_RECEIVERS = dict(zip(SIGNATURES, (_receive_floats, _receive_bytes), strict=True))


def _received(dtype: tf.DType, data: Manifest | TrainedOn) -> signatures.Received:
    images = v1.placeholder(dtype, [None, *data.image_shape], inputs.IMAGES)
    scaled, fits = pixels.without_errors(images, data)
    return signatures.Received({inputs.IMAGES: images}, scaled, {_FITS: fits})


def _answers(found: signatures.Tensors) -> signatures.Tensors:
    """The predictions; class -1, and 0 for the rest, where an image does not fit."""
    fits = found[_FITS]
    rows = tf.reshape(fits, [-1, 1])
    return {
        CLASSES: tf.where(fits, found[CLASSES], tf.constant(-1, tf.int64)),
        PROBABILITIES: tf.where(rows, found[PROBABILITIES], 0.0),
        LOGITS: tf.where(rows, found[LOGITS], 0.0),
    }


def _model(
    run: OpenRun,
    given: signatures.Tensors,
    outputs: signatures.Tensors,
    session: v1.Session,
    signature: str,
) -> bytes:
    import onnx
    from onnx import helper

    try:
        graph = onnx_graph.convert(given, outputs, session)
    except RunError as error:
        raise RunError(f"{run.checkpoint}: {error}") from error
    if graph.ByteSize() > _MOST_BYTES:
        raise RunError(f"{run.checkpoint}: too large for one ONNX file of 2 GiB")
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", onnx_graph.OPSET)],
        ir_version=onnx_graph.IR_VERSION,
        producer_name="mnist_estimator",
        producer_version=__version__,
        model_version=checkpoints.step_of(run.checkpoint),
    )
    helper.set_model_props(model, dict(_properties(run, signature)))
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def _properties(run: OpenRun, signature: str) -> Iterator[tuple[str, str]]:
    """What the file says of itself: texts as they are, all else as JSON."""
    model = saved_model.describe(run.params, run.trained_on, run.checkpoint)
    model |= {"compute_dtype": "float32", "signatures": [signature], "images": _IMAGES[signature]}
    for name, value in model.items():
        yield name, value if isinstance(value, str) else json.dumps(value)


_IMAGES = {
    signatures.SERVING_DEFAULT: "each from 0 to the brightest pixel, or from 0 to 1",
    signatures.SERVING_UINT8: "from 0 to the brightest pixel",
}


def _compare(
    model: bytes,
    expected: signatures.Signature,
    session: v1.Session,
    data_dir: str,
    manifest: Manifest,
    split: str,
) -> float:
    """Returns the model's accuracy; raises RunError if its answers are not those of TensorFlow."""
    runtime = _runtime(model)
    (placeholder,) = expected.inputs.values()
    dtype = placeholder.dtype.as_numpy_dtype
    correct = counted = 0
    for images, labels in tflite.batches(data_dir, manifest, split, _BATCH_SIZE):
        counted += len(labels)
        given = images.astype(dtype)
        wanted = session.run(expected.outputs[PROBABILITIES], {placeholder: given})
        classes, found = runtime.run([CLASSES, PROBABILITIES], {inputs.IMAGES: given})
        off = np.abs(wanted - found).max()
        if not off <= TOLERANCE:  # A NaN is not, either.
            raise RunError(
                f"the ONNX model's probabilities are off those of predict by {off:.2g}, expected "
                f"at most {TOLERANCE:.0e}; nothing was written"
            )
        correct += int((classes == labels).sum())
    if counted != manifest.num_examples(split):
        raise RunError(f"{data_dir}: found {counted:,} {split} examples; prepare the data again")
    return correct / counted


def _runtime(model: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # Only errors.
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
