"""Writes what TensorBoard shows of an evaluation beside its curves, and of a run's flags.

That is: the confusion matrix, the worst mistakes and the first layer's filters as pictures,
precision-recall curves, histograms of the weights; and the hparams page.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
from tensorboard.compat.proto import summary_pb2
from tensorboard.plugins.histogram import metadata as histogram_metadata
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.pr_curve import summary as pr_curve_summary

from mnist_estimator import model_fn, optimizers
from mnist_estimator.compat import tf, v1
from mnist_estimator.runs import checkpoints, events
from mnist_estimator.scoring.scores import THRESHOLDS, Scores

# Tags.
CONFUSION = "confusion_matrix"
MISTAKES = "worst_mistakes"
FILTERS = "first_layer"
PR_CURVES = "pr_curve"
WEIGHTS = "weights"

# Folders of a run's evaluations, which are groups of metrics to the hparams page. Estimator names
# them.
_EVALUATIONS = {"validation": "eval", "test": "eval_test"}
_MAX_CURVES = 20  # Classes that get a precision-recall curve: nobody looks through more.
_MAX_FILTERS = 64
_BUCKETS = 30  # Of a histogram, as in TensorBoard's own.
_BLOCK = 2**15  # Values that are counted at once: those of all weights would leave the caches.
# 3x5 pixels a character, a number of 3 bits a row: no library to draw text is installed.
_GLYPHS = {
    "0": "75557", "1": "26227", "2": "71747", "3": "71317", "4": "55711", "5": "74717",
    "6": "74757", "7": "71222", "8": "75757", "9": "75717", ">": "42124",
}  # fmt: skip
_SCALE = 2  # Pixels of a picture for each pixel of a glyph.
_WHITE, _BLACK, _GREEN, _RED = 255, 0, (90, 200, 90), (240, 90, 80)


def write_evaluation(
    folder: str,
    step: int,
    scores: Scores,
    checkpoint: str,
    image_shape: tuple[int, int, int],
) -> None:
    """Writes an evaluation's pictures, curves and histograms to `folder`, as events of `step`."""
    weights = trained_weights(checkpoint)
    pictures = {
        CONFUSION: confusion_picture(scores.confusion),
        MISTAKES: mistakes_picture(scores, image_shape),
    }
    filters = first_layer(weights, image_shape)
    if filters is not None:
        pictures[FILTERS] = filters_picture(filters)
    writer = events.writer(folder)
    for summary in _images(pictures):
        writer.add_summary(summary, step)
    for summary in _curves(scores):
        _add(writer, summary, step)
    for name, values in weights.items():
        writer.add_summary(_histogram(f"{WEIGHTS}/{name}", values), step)
    writer.flush()


def write_hparams(
    folder: str, values: Mapping[str, object], defaults: Mapping[str, object]
) -> None:
    """Writes a run's flags to `folder` for TensorBoard's hparams page; None is left out.

    The page compares the runs' last evaluations by the groups that are named here. Without them it
    begins with the accuracy of batches of training.

    Args:
      defaults: flags that do not have these values come first.
    """
    kinds = (bool, int, float, str)
    shown = {name: value for name, value in values.items() if isinstance(value, kinds)}
    writer = events.writer(folder)
    _add(writer, hparams_pb(shown), 0)
    _add(writer, _experiment(shown, defaults), 0)


def trained_weights(checkpoint: str) -> dict[str, np.ndarray]:
    """The float variables of a checkpoint by name, without those of optimizers."""
    with checkpoints.opened(checkpoint) as reader:
        types = reader.get_variable_to_dtype_map()
        floats = [name for name in sorted(types) if types[name].is_floating]
        names = [name for name in floats if not optimizers.is_optimizer_variable(name)]
        return {name: reader.get_tensor(name) for name in names}


def first_layer(
    weights: Mapping[str, np.ndarray], image_shape: tuple[int, int, int]
) -> np.ndarray | None:
    """The weights of the layer that sees the image, as images float32 [N,h,w,C].

    That layer is a convolution with a kernel [h,w,C,N], or a dense one with a kernel [H*W*C,N].
    Returns None if there is neither.
    """
    height, width, channels = image_shape
    layers = [value for _, value in sorted(weights.items()) if value.size]
    for value in layers:
        if value.ndim == 4 and value.shape[2] == channels:
            return np.moveaxis(value, -1, 0)
    for value in layers:
        if value.ndim == 2 and value.shape[0] == height * width * channels:
            return value.T.reshape(-1, height, width, channels)
    return None


def confusion_picture(confusion: np.ndarray) -> np.ndarray:
    """Draws a confusion matrix [K,K] as uint8 [H,W,3]: a row for each true class.

    Cells are green on the diagonal and red elsewhere, the stronger the larger their fraction of
    their row. The classes' numbers stand at the left and above.
    """
    classes = len(confusion)
    cell = max(8, min(32, 640 // classes))
    fractions = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    # The square root makes one mistake in a hundred examples visible.
    strength = np.sqrt(fractions)[..., np.newaxis]
    colours = np.where(np.eye(classes, dtype=bool)[..., np.newaxis], _GREEN, _RED)
    cells = (_WHITE + strength * (colours - _WHITE)).astype(np.uint8)
    picture = np.full([(classes + 1) * cell, (classes + 1) * cell, 3], _WHITE, np.uint8)
    picture[cell:, cell:] = cells.repeat(cell, axis=0).repeat(cell, axis=1)
    for number in range(classes):
        place = (number + 1) * cell
        _draw(picture, str(number), place, 0, cell)
        _draw(picture, str(number), 0, place, cell)
        for other in range(classes):
            if confusion[number, other]:
                _draw(picture, str(confusion[number, other]), place, (other + 1) * cell, cell)
    return picture


def mistakes_picture(scores: Scores, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Draws the worst mistakes in reading order, uint8 [H,W,3], each below "class>prediction"."""
    height, width, _ = image_shape
    columns = max(math.isqrt(max(len(scores.mistakes) - 1, 0)) + 1, 1)
    zoom = max(1, 48 // height)
    line = 5 * _SCALE + 4
    cell_height = height * zoom + line
    cell_width = max(width * zoom, 6 * 4 * _SCALE) + 2
    rows = max(-(-len(scores.mistakes) // columns), 1)
    picture = np.full([rows * cell_height, columns * cell_width, 3], _WHITE, np.uint8)
    for number, mistake in enumerate(scores.mistakes):
        top, left = number // columns * cell_height, number % columns * cell_width
        text = f"{mistake.label}>{mistake.prediction}"
        _draw(picture, text, top, left, cell_width, line)
        shown = mistake.image if mistake.image.shape[-1] == 3 else mistake.image[..., :1]
        shown = shown.repeat(zoom, axis=0).repeat(zoom, axis=1)
        picture[top + line : top + cell_height, left : left + width * zoom] = shown
    return picture


def filters_picture(filters: np.ndarray) -> np.ndarray:
    """Draws the first 64 of the filters [N,h,w,C] as one grey picture uint8 [H,W,1].

    Grey is 0, and each filter has its own scale. A filter of several channels is shown by their
    mean.
    """
    shown = filters[:_MAX_FILTERS].mean(axis=-1)
    limits = np.abs(shown).max(axis=(1, 2), keepdims=True)
    grey = (127.5 + 127.5 * shown / np.where(limits > 0, limits, 1)).astype(np.uint8)
    zoom = max(1, 40 // max(grey.shape[1:]))
    grey = grey.repeat(zoom, axis=1).repeat(zoom, axis=2)
    grey = np.pad(grey, [(0, 0), (1, 1), (1, 1)], constant_values=_WHITE)
    columns = math.isqrt(len(grey) - 1) + 1
    rows = -(-len(grey) // columns)
    _, height, width = grey.shape
    grid = np.full([rows * columns, height, width], _WHITE, np.uint8)
    grid[: len(grey)] = grey
    grid = grid.reshape(rows, columns, height, width).swapaxes(1, 2)
    return grid.reshape(rows * height, columns * width, 1)


def _curves(scores: Scores) -> Iterator[v1.Summary]:
    for label in range(min(scores.num_classes, _MAX_CURVES)):
        true, false = scores.true_positives[label], scores.false_positives[label]
        reached = true + false
        # If no example reaches a threshold, none of them is wrong.
        precision = np.where(reached, true / np.maximum(reached, 1), 1.0)
        yield pr_curve_summary.raw_data_pb(
            f"{PR_CURVES}/{label}",
            true_positive_counts=true,
            false_positive_counts=false,
            true_negative_counts=false[0] - false,
            false_negative_counts=true[0] - true,
            precision=precision,
            recall=true / max(true[0], 1),
            num_thresholds=THRESHOLDS,
        )


def _histogram(tag: str, values: np.ndarray) -> v1.Summary:
    """As TensorBoard's `histogram_pb`, which compares each value with each bucket's edges."""
    # Values that are not finite are in no bucket.
    with np.errstate(all="ignore"):
        buckets = _buckets(values.ravel())
    found = histogram_metadata.create_summary_metadata(display_name=None, description=None)
    # TensorBoard has a class of its own for the same message.
    metadata = v1.SummaryMetadata.FromString(found.SerializeToString())
    tensor = tf.make_tensor_proto(buckets, tf.float64)
    return v1.Summary(value=[v1.Summary.Value(tag=tag, metadata=metadata, tensor=tensor)])


def _buckets(values: np.ndarray) -> np.ndarray:
    """Left edge, right edge and count of each bucket: float64 [_BUCKETS,3]."""
    if not values.size:
        return np.zeros([_BUCKETS, 3])
    low, high = np.float64(values.min()), np.float64(values.max())
    if high - low == 0:
        counts = np.eye(_BUCKETS)[-1] * values.size
    else:
        counts = np.zeros(_BUCKETS, np.int64)
        for first in range(0, values.size, _BLOCK):
            block = values[first : first + _BLOCK].astype(np.float64)
            places = np.floor((block - low) / ((high - low) / _BUCKETS)).astype(np.int64)
            places = np.minimum(places, _BUCKETS - 1)
            counts += np.bincount(places[places >= 0], minlength=_BUCKETS)
    edges = np.linspace(low, high, _BUCKETS + 1)
    return np.stack([edges[:-1], edges[1:], counts], axis=1)


def _experiment(values: Mapping[str, object], defaults: Mapping[str, object]) -> object:
    """The summary by which the hparams page knows the types of flags, and what it compares."""
    flags = [
        api_pb2.HParamInfo(
            name=name, type=_data_type(value), differs=value != defaults.get(name, value)
        )
        for name, value in values.items()
    ]
    metrics = [
        api_pb2.MetricInfo(
            name=api_pb2.MetricName(group=group, tag=tag), display_name=f"{split} {tag}"
        )
        for split, group in _EVALUATIONS.items()
        for tag in (model_fn.ACCURACY, model_fn.LOSS)
    ]
    experiment = api_pb2.Experiment(hparam_infos=flags, metric_infos=metrics)
    content = plugin_data_pb2.HParamsPluginData(experiment=experiment)
    summary = summary_pb2.Summary()
    summary.value.add(
        tag=hparams_metadata.EXPERIMENT_TAG,
        metadata=hparams_metadata.create_summary_metadata(content),
        tensor=hparams_metadata.NULL_TENSOR,
    )
    return summary


def _data_type(value: object) -> int:
    if isinstance(value, bool):
        return api_pb2.DATA_TYPE_BOOL
    return api_pb2.DATA_TYPE_STRING if isinstance(value, str) else api_pb2.DATA_TYPE_FLOAT64


def _images(pictures: Mapping[str, np.ndarray]) -> Iterator[v1.Summary]:
    # A graph of its own: this is called during training, too.
    with tf.Graph().as_default(), v1.Session() as session:
        encoded = session.run({tag: tf.io.encode_png(each) for tag, each in pictures.items()})
    for tag, picture in pictures.items():
        height, width, channels = picture.shape
        image = v1.Summary.Image(
            height=height,
            width=width,
            colorspace=channels,
            encoded_image_string=encoded[tag],
        )
        yield v1.Summary(value=[v1.Summary.Value(tag=tag, image=image)])


def _add(writer: v1.summary.FileWriter, summary: object, step: int) -> None:
    # TensorBoard has a class of its own for the same message.
    writer.add_summary(v1.Summary.FromString(summary.SerializeToString()), step)


def _draw(
    picture: np.ndarray, text: str, top: int, left: int, width: int, height: int | None = None
) -> None:
    """Draws text in the middle of a box, unless it is too wide for the box."""
    height = height or width
    scale = _SCALE if len(text) * 4 * _SCALE <= width and height >= 5 * _SCALE else 1
    if len(text) * 4 * scale > width or 5 * scale > height:
        return
    bits = [[int(row) >> (2 - x) & 1 for x in range(3)] for c in text for row in _GLYPHS[c]]
    glyphs = np.array(bits, bool).reshape(len(text), 5, 3)
    glyphs = np.pad(glyphs, [(0, 0), (0, 0), (0, 1)]).transpose(1, 0, 2).reshape(5, -1)
    drawn = glyphs.repeat(scale, axis=0).repeat(scale, axis=1)
    top += (height - drawn.shape[0]) // 2
    left += (width - drawn.shape[1]) // 2
    picture[top : top + drawn.shape[0], left : left + drawn.shape[1]][drawn] = _BLACK
