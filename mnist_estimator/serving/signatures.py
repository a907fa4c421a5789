"""A trained network as a server sees it: its signatures, in one graph with one set of weights.

  signature        input                                           outputs
  serving_default  images, float32 [N,H,W] or [N,H,W,C]            classes, probabilities, logits
  serving_uint8    images, uint8 [N,H,W] or [N,H,W,C]              the same
  predict_images   image_bytes, string [N]: PNG or JPEG files      the same, has_ink, problem
  classify         inputs, string [N]: serialized tf.Example       classes, scores

Images are as the records have them, their pixels from 0 to the brightest of the data, 255 for most.
A signature has one type for its input; `serving_default` has float32, which JSON's numbers become,
and takes pixels from 0 to 1 as well. What cannot be pixels is an error.

A picture in `predict_images` is made such an image first (`pictures`). One that cannot be read has
a `problem`, the class -1 and probabilities of 0.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mnist_estimator import RunError
from mnist_estimator.compat import estimator, tf, v1
from mnist_estimator.data import inputs
from mnist_estimator.data.manifest import Manifest, TrainedOn
from mnist_estimator.data.records import IMAGE_KEY
from mnist_estimator.data.statistics import full_scale
from mnist_estimator.model_fn import CLASSES, LOGITS, PROBABILITIES, model_fn
from mnist_estimator.pictures import preparation
from mnist_estimator.pictures.methods import DIGIT
from mnist_estimator.runs import checkpoints
from mnist_estimator.runtime import files
from mnist_estimator.runtime.files import error_line

SERVING_DEFAULT = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
SERVING_UINT8 = "serving_uint8"
PREDICT_IMAGES = "predict_images"
CLASSIFY = "classify"
FIXED = "fixed_shape"  # float32 [N,H,W,C] -> probabilities: for converters, which want no more.

# Inputs and outputs, beside the predictions of `model_fn`.
IMAGE_BYTES = "image_bytes"
EXAMPLES = "examples"
HAS_INK = "has_ink"  # bool [N]: whether a picture shows anything like a digit, if it is to.
PROBLEM = "problem"  # string [N]: why a picture cannot be read; empty if it can.
SCORES = "scores"  # float32 [N,K], as TensorFlow Serving's Classify names probabilities.

Tensors = dict[str, tf.Tensor]
Shape = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Signature:
    """The tensors by which a graph is asked, and those that answer."""

    inputs: Tensors
    outputs: Tensors

    def definition(self, name: str) -> Any:
        """The SignatureDef of a SavedModel."""
        if name == CLASSIFY:
            return v1.saved_model.classification_signature_def(
                self.inputs[EXAMPLES], self.outputs[CLASSES], self.outputs[SCORES]
            )
        return v1.saved_model.predict_signature_def(self.inputs, self.outputs)


def build(
    names: Sequence[str],
    params: Mapping[str, Any],
    data: Manifest | TrainedOn,
) -> dict[str, Signature]:
    """Builds signatures in the current graph; all of them share its variables.

    The network computes in `serving_precision`, not in the arithmetic of the machine that trained.

    Args:
      names: keys of `RECEIVERS`.
      params: as for `model_fn.model_fn`.
      data: what the network was trained on.
    """
    params = {**params, "precision": params["serving_precision"]}
    built = {}
    for name in names:
        with tf.name_scope(name), _reproducible_names():
            asked, images, more = RECEIVERS[name](data)
            # The scope as it is, so that variables keep the names they have in checkpoints.
            with v1.variable_scope(v1.get_variable_scope(), reuse=v1.AUTO_REUSE):
                mode = estimator.ModeKeys.PREDICT
                predictions = model_fn({inputs.IMAGES: images}, None, mode, params).predictions
            if name == CLASSIFY:
                built[name] = Signature(asked, _classified(predictions, data.class_names))
            elif name == FIXED:
                built[name] = Signature(asked, {PROBABILITIES: predictions[PROBABILITIES]})
            elif name == PREDICT_IMAGES:
                answers = _of_the_readable(predictions, more[PROBLEM])
                built[name] = Signature(asked, answers | more)
            else:
                built[name] = Signature(asked, predictions | more)
    return built


@contextlib.contextmanager
def _reproducible_names() -> Iterator[None]:
    """Builds loops and conditions as operations of the graph, as TensorFlow 1 did.

    As functions they are named by a counter of the whole process: a model that was exported after
    training, and the same one exported by a restarted run, would differ.
    """
    before = v1.control_flow_v2_enabled()
    v1.disable_control_flow_v2()
    try:
        yield
    finally:
        if before:
            v1.enable_control_flow_v2()


@contextlib.contextmanager
def restored(checkpoint: str) -> Iterator[v1.Session]:
    """A session of the current graph with the weights of a checkpoint.

    Raises:
      RunError: if it cannot be read, or is of another network.
    """
    with v1.Session() as session:
        try:
            with checkpoints.readable(checkpoint) as path:
                # TensorFlow takes other shapes, and what the record of a run says of its images
                # would decide how much memory each takes.
                checkpoints.check_variables(path, _shapes())
                v1.train.Saver().restore(session, path)
        except (tf.errors.OpError, ValueError) as error:
            raise RunError(f"{checkpoint}: cannot be restored: {error_line(error)}") from error
        yield session


def _shapes() -> dict[str, list[int]]:
    """Name and shape of each variable of the graph, as far as it has one."""
    variables = [v for v in v1.global_variables() if v.shape.is_fully_defined()]
    return {variable.op.name: variable.shape.as_list() for variable in variables}


@contextlib.contextmanager
def loaded(export_dir: str, name: str) -> Iterator[tuple[v1.Session, Signature]]:
    """A session with an exported model, and one of its signatures.

    Raises:
      RunError: if it cannot be read, or has no such signature.
    """
    with tf.Graph().as_default(), v1.Session() as session:
        for path in files.walk(export_dir):
            if not tf.io.gfile.isdir(path):
                files.check_plain(path)
        try:
            with _readable(export_dir) as path:
                tags = [tf.saved_model.SERVING]
                definitions = v1.saved_model.load(session, tags, path).signature_def
        except (tf.errors.OpError, OSError, RuntimeError, ValueError) as error:
            raise RunError(f"{export_dir}: cannot be loaded: {error_line(error)}") from error
        if name not in definitions:
            found = ", ".join(sorted(definitions)) or "none"
            raise RunError(f"{export_dir}: found signatures {found}, expected {name}")
        found = definitions[name]
        yield session, Signature(*(_tensors(session, found, side) for side in _SIDES))


def _readable(export_dir: str) -> contextlib.AbstractContextManager[str]:
    """A path by which TensorFlow can read an export: it takes that of the weights for a pattern."""
    if files.is_literal(export_dir):
        return contextlib.nullcontext(export_dir)
    names = (os.path.relpath(path, export_dir) for path in files.walk(export_dir))
    return files.in_memory(export_dir, names)


def _tensors(session: v1.Session, definition: Any, side: str) -> Tensors:
    tensors = getattr(definition, side)
    return {key: session.graph.get_tensor_by_name(info.name) for key, info in tensors.items()}


_SIDES = ("inputs", "outputs")
_ROUNDING = 0.01  # Of the scale: what pixels may lie outside of it.

# What a signature is asked, the images [N,H,W,C] for the network, and what it answers besides.
_Received = tuple[Tensors, tf.Tensor, Tensors]


def _receive_floats(data: Manifest | TrainedOn) -> _Received:
    images = v1.placeholder(tf.float32, None, inputs.IMAGES)
    return {inputs.IMAGES: images}, _scaled(_shaped(images, data.image_shape), data), {}


def _receive_bytes(data: Manifest | TrainedOn) -> _Received:
    images = v1.placeholder(tf.uint8, None, inputs.IMAGES)
    return {inputs.IMAGES: images}, _checked(_shaped(images, data.image_shape), data), {}


def _receive_fixed(data: Manifest | TrainedOn) -> _Received:
    images = v1.placeholder(tf.float32, [None, *data.image_shape], inputs.IMAGES)
    return {inputs.IMAGES: images}, images, {}


def _receive_pictures(data: Manifest | TrainedOn) -> _Received:
    encoded = v1.placeholder(tf.string, [None], IMAGE_BYTES)
    problems = preparation.problems(encoded)
    readable = tf.equal(problems, "")
    # In place of what cannot be read, so that the others are answered.
    blank = tf.io.encode_png(tf.zeros([1, 1, 1], tf.uint8))
    sound = tf.where(readable, encoded, blank)
    channels = data.image_shape[2]
    if data.pictures == DIGIT:
        images, has_ink = preparation.digit_images(sound, data.image_shape)
    elif channels <= preparation.MAX_CHANNELS:
        images, has_ink = preparation.plain_images(sound, data.image_shape), readable
    else:  # The other signatures take such images.
        line = f"a picture, which has no {channels} channels, as the images have"
        problems = tf.fill(tf.shape(encoded), line)
        images = tf.zeros([tf.size(encoded), *data.image_shape], tf.uint8)
        has_ink = tf.zeros_like(readable)
    answers = {HAS_INK: has_ink, PROBLEM: problems}
    return {IMAGE_BYTES: encoded}, _dimmed(images, data), answers


def _receive_examples(data: Manifest | TrainedOn) -> _Received:
    serialized = v1.placeholder(tf.string, [None], EXAMPLES)
    features = {IMAGE_KEY: tf.io.FixedLenFeature([], tf.string)}
    parsed = tf.io.parse_example(serialized, features)
    images = inputs.decode_images(parsed[IMAGE_KEY], data.image_shape)
    return {EXAMPLES: serialized}, _checked(images, data), {}


RECEIVERS: dict[str, Callable[[Manifest | TrainedOn], _Received]] = {
    SERVING_DEFAULT: _receive_floats,
    SERVING_UINT8: _receive_bytes,
    PREDICT_IMAGES: _receive_pictures,
    CLASSIFY: _receive_examples,
    FIXED: _receive_fixed,
}
EXPORTED = (SERVING_DEFAULT, SERVING_UINT8, PREDICT_IMAGES, CLASSIFY)


def _shaped(images: tf.Tensor, image_shape: Shape) -> tf.Tensor:
    """[N,H,W] or [N,H,W,C] -> [N,H,W,C]; any other shape is an error of the request."""
    height, width, channels = image_shape
    shape, rank = tf.shape(images), tf.rank(images)
    sizes = tf.pad(shape, [[0, 3]])  # So that there are three, also of a number or a list.
    # Not `==`, which in a graph compares the tensors as Python's objects.
    fits = tf.reduce_all(tf.equal(sizes[1:3], [height, width])) & (rank >= 3) & (rank <= 4)
    fits &= tf.equal(tf.size(images), sizes[0] * height * width * channels)
    # No images: JSON's empty list has the shape [0].
    fits |= tf.equal(tf.size(images), 0) & tf.equal(rank, 1)
    also = f" or [N,{height},{width}]" if channels == 1 else ""
    expected = f"expected images [N,{height},{width},{channels}]{also}, found shape"
    with tf.control_dependencies([v1.debugging.Assert(fits, [expected, shape])]):
        return tf.reshape(images, [-1, *image_shape])


def _checked(images: tf.Tensor, data: Manifest | TrainedOn) -> tf.Tensor:
    """uint8 [N,H,W,C] as it is; a pixel that is too bright is an error of the request."""
    white = full_scale(data.brightest_pixel)
    if white == 255:
        return images
    fits = images <= _limit(white)
    with tf.control_dependencies([_expect_pixels(fits, images, f"0 to {white}")]):
        return tf.identity(images)


def _scaled(images: tf.Tensor, data: Manifest | TrainedOn) -> tf.Tensor:
    """float32 [N,H,W,C], each image from 0 to 1 or from 0 to white as the records -> the latter.

    The brightest pixel of an image tells which. Between 1 and 2 lie neither images whose pixels are
    fractions nor images of whole numbers that show anything, so nothing is guessed there. A little
    is allowed for rounding: 255 times the float nearest to 1/255 is more than 1.
    """
    white = full_scale(data.brightest_pixel)
    brightest = tf.reduce_max(images, axis=[1, 2, 3], keepdims=True)
    are_fractions = brightest <= 1 + _ROUNDING
    # Every comparison with NaN is false.
    fits = (images >= -_ROUNDING) & (images <= _limit(white) * (1 + _ROUNDING))
    fits &= are_fractions | (brightest >= 2)
    expected = "0 to 1" + (f" or 0 to {white}" if white > 1 else "")
    with tf.control_dependencies([_expect_pixels(fits, images, expected)]):
        fractions = tf.clip_by_value(images, 0, 1) * white
        return tf.where(are_fractions, fractions, tf.clip_by_value(images, 0, _limit(white)))


def _limit(white: int) -> int:
    """The brightest that a pixel may be.

    An image may be brighter than all that the network was trained on, but not by far: then it has
    another scale.
    """
    return min(2 * white, 255)


def _expect_pixels(fits: tf.Tensor, images: tf.Tensor, expected: str) -> tf.Operation:
    """Fails unless all pixels fit; says what the first image that does not fit has."""
    wrong = tf.reduce_any(~fits, axis=[1, 2, 3])
    first = tf.boolean_mask(images, wrong)[:1]
    found = [tf.reduce_min(first), tf.reduce_max(first)]
    line = f"expected pixels from {expected} in each image, found from and to"
    return v1.debugging.Assert(~tf.reduce_any(wrong), [line, *found])


def _dimmed(images: tf.Tensor, data: Manifest | TrainedOn) -> tf.Tensor:
    """Images of pictures uint8 [N,H,W,C], from 0 to 255, on the scale of the data.

    A picture that is no brighter than the data's images may be has their scale already.
    """
    white = full_scale(data.brightest_pixel)
    if white == 255:
        return images
    brightest = tf.reduce_max(images, axis=[1, 2, 3], keepdims=True)
    dimmed = tf.round(tf.cast(images, tf.float32) * (white / 255))
    return tf.where(brightest > _limit(white), tf.cast(dimmed, tf.uint8), images)


def _of_the_readable(predictions: Tensors, problems: tf.Tensor) -> Tensors:
    """Predictions that name no class for a picture that cannot be read."""
    readable = tf.equal(problems, "")
    answers = {
        key: tf.where(readable[:, None], predictions[key], 0.0) for key in (PROBABILITIES, LOGITS)
    }
    classes = predictions[CLASSES]
    return answers | {CLASSES: tf.where(readable, classes, -tf.ones_like(classes))}


def _classified(predictions: Tensors, class_names: Sequence[str]) -> Tensors:
    scores = predictions[PROBABILITIES]
    names = tf.tile(tf.constant(np.array([class_names], object)), [tf.shape(scores)[0], 1])
    return {CLASSES: names, SCORES: scores}


def example_requests(image_shape: Shape) -> dict[str, dict[str, Any]]:
    """An input for each exported signature, as arrays or serialized examples, for one blank image.

    Servers send them to a model before they let it answer: the first request is slow.
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
