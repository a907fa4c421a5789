"""The signatures of a trained network, as a server calls them: one graph, one set of weights.

  signature        input                                           outputs
  serving_default  images, float32 [N,H,W] or [N,H,W,C]            classes, probabilities, logits
  serving_uint8    images, uint8 [N,H,W] or [N,H,W,C]              the same
  predict_images   image_bytes, string [N]: PNG or JPEG files      the same, has_ink, problem
  classify         inputs, string [N]: serialized tf.Example       classes, scores

Images are as in the records: their pixels go from 0 to the brightest of the data, 255 for most. A
signature has one type for its input. `serving_default` has float32, to which JSON's numbers are
converted, and also takes pixels from 0 to 1. What cannot be pixels is an error (`pixels`).

`predict_images` first makes such an image of each picture (`pictures.preparation`). A picture that
cannot be read has a `problem`, the class -1 and probabilities of 0.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mnist_estimator.compat import estimator, tf, v1
from mnist_estimator.data import inputs
from mnist_estimator.data.manifest import Manifest, TrainedOn
from mnist_estimator.data.records import IMAGE_KEY
from mnist_estimator.model_fn import model_fn
from mnist_estimator.predictions import CLASSES, LOGITS, PROBABILITIES
from mnist_estimator.serving import picture_graph, pixels

SERVING_DEFAULT = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
SERVING_UINT8 = "serving_uint8"
PREDICT_IMAGES = picture_graph.SCOPE
CLASSIFY = "classify"
EXPORTED = (SERVING_DEFAULT, SERVING_UINT8, PREDICT_IMAGES, CLASSIFY)
FIXED = "fixed_shape"  # float32 [N,H,W,C] -> probabilities, for converters; not exported.

# Inputs and outputs, beside the predictions of `model_fn`.
IMAGE_BYTES = picture_graph.IMAGE_BYTES
EXAMPLES = "examples"
HAS_INK = "has_ink"  # bool [N]: False where a picture should show a digit and shows nothing.
PROBLEM = "problem"  # string [N]: why a picture cannot be read; empty if it can.
SCORES = "scores"  # float32 [N,K]: the probabilities, as TensorFlow Serving's Classify names them.

Tensors = dict[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Signature:
    """The input tensors and the output tensors of a signature, by name."""

    inputs: Tensors
    outputs: Tensors

    def definition(self, name: str) -> Any:
        """The SignatureDef that a SavedModel has for it."""
        if name == CLASSIFY:
            return v1.saved_model.classification_signature_def(
                self.inputs[EXAMPLES], self.outputs[CLASSES], self.outputs[SCORES]
            )
        return v1.saved_model.predict_signature_def(self.inputs, self.outputs)


def build(
    names: Sequence[str],
    params: Mapping[str, Any],
    data: Manifest | TrainedOn,
    receivers: Mapping[str, Receiver] | None = None,
) -> dict[str, Signature]:
    """Builds signatures in the current graph; all of them share its variables.

    The network computes in `serving_precision`, whatever the training machine computed in.

    Args:
      names: keys of `RECEIVERS`.
      params: as for `model_fn.model_fn`.
      data: what the network was trained on.
      receivers: build the inputs; without them `RECEIVERS`.
    """
    # After a deterministic run, TensorFlow refuses the initializers of a user's network without it.
    v1.set_random_seed(params["seed"])
    params = {**params, "precision": params["serving_precision"]}
    built = {}
    for name in names:
        with tf.name_scope(name), picture_graph.reproducible_names():
            received = (receivers or RECEIVERS)[name](data)
            # The scope as it is, so that variables keep the names they have in checkpoints.
            with v1.variable_scope(v1.get_variable_scope(), reuse=v1.AUTO_REUSE):
                features, mode = {inputs.IMAGES: received.images}, estimator.ModeKeys.PREDICT
                predictions = model_fn(features, None, mode, params).predictions
            built[name] = Signature(received.inputs, _outputs(name, predictions, received, data))
    return built


def example_requests(image_shape: tuple[int, int, int]) -> dict[str, dict[str, Any]]:
    """The inputs of each exported signature, arrays or serialized examples, for one blank image.

    A server sends them to a model before it answers others: a model's first request is slow.
    """
    blank = np.zeros([1, *image_shape], np.uint8)
    example = tf.train.Example()
    example.features.feature[IMAGE_KEY].bytes_list.value.append(blank.tobytes())
    grey = np.zeros([*image_shape[:2], 1], np.uint8)
    with tf.Graph().as_default(), v1.Session() as session:
        encoded = session.run(tf.io.encode_png(grey))
    return {
        SERVING_DEFAULT: {inputs.IMAGES: blank.astype(np.float32)},
        SERVING_UINT8: {inputs.IMAGES: blank},
        PREDICT_IMAGES: {IMAGE_BYTES: np.array([encoded], object)},
        CLASSIFY: {EXAMPLES: [example]},
    }


@dataclasses.dataclass(frozen=True)
class Received:
    """A signature's input tensors, the images [N,H,W,C] made of them, and outputs known so far."""

    inputs: Tensors
    images: tf.Tensor
    outputs: Tensors = dataclasses.field(default_factory=dict)


Receiver = Callable[[Manifest | TrainedOn], Received]


def _receive_floats(data: Manifest | TrainedOn) -> Received:
    images = v1.placeholder(tf.float32, None, inputs.IMAGES)
    shaped = pixels.add_channels(images, data.image_shape)
    return Received({inputs.IMAGES: images}, pixels.scale_floats(shaped, data))


def _receive_bytes(data: Manifest | TrainedOn) -> Received:
    images = v1.placeholder(tf.uint8, None, inputs.IMAGES)
    shaped = pixels.add_channels(images, data.image_shape)
    return Received({inputs.IMAGES: images}, pixels.check_bytes(shaped, data))


def _receive_fixed(data: Manifest | TrainedOn) -> Received:
    images = v1.placeholder(tf.float32, [None, *data.image_shape], inputs.IMAGES)
    return Received({inputs.IMAGES: images}, pixels.limited(images, data))


def _receive_pictures(
    data: Manifest | TrainedOn, prepare: Callable[..., picture_graph.Prepared] = picture_graph.build
) -> Received:
    encoded = v1.placeholder(tf.string, [None], IMAGE_BYTES)
    found = prepare(encoded, data)
    outputs = {HAS_INK: found.has_ink, PROBLEM: found.problems}
    return Received({IMAGE_BYTES: encoded}, pixels.dim_pictures(found.images, data), outputs)


def _receive_examples(data: Manifest | TrainedOn) -> Received:
    serialized = v1.placeholder(tf.string, [None], EXAMPLES)
    features = {IMAGE_KEY: tf.io.FixedLenFeature([], tf.string)}
    parsed = tf.io.parse_example(serialized, features)
    images = inputs.decode_images(parsed[IMAGE_KEY], data.image_shape)
    return Received({EXAMPLES: serialized}, pixels.check_bytes(images, data))


RECEIVERS: dict[str, Receiver] = {
    SERVING_DEFAULT: _receive_floats,
    SERVING_UINT8: _receive_bytes,
    PREDICT_IMAGES: _receive_pictures,
    CLASSIFY: _receive_examples,
    FIXED: _receive_fixed,
}
# With the operations for pictures that were kept, and without any, for `picture_graph.insert`.
WITH_KEPT_PICTURES, WITHOUT_PICTURES = (
    RECEIVERS | {PREDICT_IMAGES: functools.partial(_receive_pictures, prepare=prepare)}
    for prepare in (picture_graph.load, picture_graph.stand_in)
)


def _outputs(
    name: str, predictions: Tensors, received: Received, data: Manifest | TrainedOn
) -> Tensors:
    if name == CLASSIFY:
        return _classes_and_scores(predictions, data.class_names)
    if name == FIXED:
        return {PROBABILITIES: predictions[PROBABILITIES]}
    if name == PREDICT_IMAGES:
        predictions = _blank_out_unreadable(predictions, received.outputs[PROBLEM])
    return predictions | received.outputs


def _classes_and_scores(predictions: Tensors, class_names: Sequence[str]) -> Tensors:
    scores = predictions[PROBABILITIES]
    names = tf.tile(tf.constant(np.array([class_names], object)), [tf.shape(scores)[0], 1])
    return {CLASSES: names, SCORES: scores}


def _blank_out_unreadable(predictions: Tensors, problems: tf.Tensor) -> Tensors:
    """Predicts class -1, and 0 for the rest, for each picture that has a problem."""
    readable = tf.equal(problems, "")
    answers = {
        key: tf.where(readable[:, None], predictions[key], 0.0) for key in (PROBABILITIES, LOGITS)
    }
    classes = predictions[CLASSES]
    return answers | {CLASSES: tf.where(readable, classes, -tf.ones_like(classes))}
