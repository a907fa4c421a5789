"""The Estimator model_fn: logits become loss, train_op, metrics, predictions and summaries."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from mnist_estimator import augmentation, predictions, weight_updates
from mnist_estimator.compat import estimator, tf, v1
from mnist_estimator.data import inputs
from mnist_estimator.optimizers import OPTIMIZERS
from mnist_estimator.predictions import CLASSES, LOGITS
from mnist_estimator.runs import saver

# Metric keys, the tags of TensorBoard's curves. Estimator adds "loss" and "global_step".
LOSS = "loss"
ACCURACY = "accuracy"
EXAMPLES = "examples"
CLASS_ACCURACY = "class_accuracy"  # followed by /0, /1, ...
LEARNING_RATE = "learning_rate"

# Collections of tensors for hooks, beside LEARNING_RATE.
SCORED = "scored"  # In an evaluation: the arguments of `scores.Scores.add`, in its order.
STOP_VOTES = "stop_votes"  # float32 [2], fed by a worker of synchronous training
STOP_TOTAL = "stop_total"  # float32 [2]: their sums over all workers

_GRID = 5  # rows and columns of the picture of input images


def model_fn(
    features: dict[str, tf.Tensor],
    labels: tf.Tensor | None,
    mode: str,
    params: Mapping[str, Any],
) -> estimator.EstimatorSpec:
    """Builds the graph of one mode.

    Args:
      features: as `inputs.train_batches` and `inputs.eval_batches` give them.
      labels: int64 [B], or None to predict.
      mode: an `estimator.ModeKeys`.
      params: `num_classes` and `full_scale` of the data, and the fields of
        `config.TrainConfig` that shape the network and its training, under their own names.
    """
    if mode == estimator.ModeKeys.EVAL:
        found = evaluation(features, labels, params)
        return estimator.EstimatorSpec(
            mode, found.predictions, found.loss, eval_metric_ops=found.metrics
        )
    training = mode == estimator.ModeKeys.TRAIN
    pixels, share = tf.cast(features[inputs.IMAGES], tf.float32), None
    if training:
        pixels, share = augmentation.augment(pixels, params)
    answers = predictions.predict(pixels, params, training=training)
    if mode == estimator.ModeKeys.PREDICT:
        return estimator.EstimatorSpec(mode, predictions=answers)
    with tf.name_scope("losses"):
        losses, minimized = _training_losses(labels, answers[LOGITS], share, params)
        # What is shown is the loss of the labels, which evaluations show too.
        loss, minimized = _reduced(losses, params), _reduced(minimized, params)
    saver.add_saver()
    _summarize(pixels / params["full_scale"], labels, answers[CLASSES])
    return estimator.EstimatorSpec(mode, answers, loss, train_op=_train_op(minimized, params))


class Evaluation(NamedTuple):
    """What an evaluation's graph computes of a batch; each metric is a value and its update."""

    predictions: dict[str, tf.Tensor]
    loss: tf.Tensor
    metrics: dict[str, tuple[tf.Tensor, tf.Operation]]


def evaluation(
    features: dict[str, tf.Tensor], labels: tf.Tensor, params: Mapping[str, Any]
) -> Evaluation:
    """Builds the graph of an evaluation; arguments as for `model_fn`.

    An EstimatorSpec of it would import Keras, to see whether a metric is one of Keras.
    """
    pixels = tf.cast(features[inputs.IMAGES], tf.float32)
    answers = predictions.predict(pixels, params, training=False)
    logits = answers[LOGITS]
    with tf.name_scope("losses"):
        # Estimator averages the loss of an evaluation over its batches. Each batch's sum is divided
        # by the mean batch size and not by its own, so that this is the mean over all examples even
        # though the last batch is smaller.
        loss = tf.reduce_sum(_losses(labels, logits)) / features[inputs.BATCH_MEAN]
    metrics = _metrics(labels, answers[CLASSES], params["num_classes"])
    for tensor in (labels, logits, features[inputs.IMAGES], features[inputs.INDEX]):
        v1.add_to_collection(SCORED, tensor)
    return Evaluation(answers, loss, metrics)


def _losses(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)


def _training_losses(
    labels: tf.Tensor, logits: tf.Tensor, share: tf.Tensor | None, params: Mapping[str, Any]
) -> tuple[tf.Tensor, tf.Tensor]:
    """The losses [B] of the labels, as an evaluation has them, and those that are minimized.

    The latter are of smoothed labels: Szegedy et al., "Rethinking the Inception Architecture", CVPR
    2016.

    Args:
      share: as in `augmentation.Mixed`; both losses are then of mixed labels.
    """
    if share is None:
        losses = _losses(labels, logits)
    else:
        targets = tf.one_hot(labels, logits.shape[1])
        others = augmentation.neighbours(targets)
        targets = others + (targets - others) * share[:, None]
        losses = tf.nn.softmax_cross_entropy_with_logits(labels=targets, logits=logits)
    smoothing = params["label_smoothing"]
    if not smoothing:
        return losses, losses
    shared_out = -tf.reduce_mean(tf.nn.log_softmax(logits), axis=1)  # Among all classes.
    return losses, losses * (1 - smoothing) + shared_out * smoothing


def _reduced(losses: tf.Tensor, params: Mapping[str, Any]) -> tf.Tensor:
    """The loss of a batch, float32 [], by `--loss_reduction`."""
    total = tf.reduce_sum(losses)
    if params["loss_reduction"] == "sum":
        # Estimator averages the losses of the replicas, so this gives the sum over all.
        return total * tf.distribute.get_replica_context().num_replicas_in_sync
    return total / tf.cast(tf.size(losses), tf.float32)


def learning_rate(step: tf.Tensor, params: Mapping[str, Any]) -> tf.Tensor:
    """The learning rate at a global step, float32 []: linear warm-up, then the schedule.

    Cosine: Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR
    2017, without the restarts. One cycle: Smith and Topin, "Super-Convergence: Very Fast Training
    of Neural Networks Using Large Learning Rates", 2018, with cosines in place of lines.
    """
    step = tf.cast(step, tf.float32)
    warmup = float(params["warmup_steps"])
    length = float(params["schedule_steps"])
    if params["schedule"] == "one_cycle":
        return params["learning_rate"] * _one_cycle(step, warmup or 0.3 * length, length)
    if params["schedule"] == "cosine":
        done = tf.clip_by_value((step - warmup) / max(length - warmup, 1.0), 0.0, 1.0)
        factor = 0.5 * (1 + tf.cos(math.pi * done))
    elif params["schedule"] == "exponential":
        factor = params["decay_rate"] ** (tf.maximum(step - warmup, 0.0) / length)
    else:
        factor = tf.constant(1.0)
    if warmup:
        factor *= tf.minimum((step + 1) / warmup, 1.0)
    return params["learning_rate"] * factor


def _one_cycle(step: tf.Tensor, rise: float, length: float) -> tf.Tensor:
    """The share of the peak at a step: up from a 25th of it, then down to 0."""
    up = tf.clip_by_value(step / rise, 0.0, 1.0)
    down = tf.clip_by_value((step - rise) / max(length - rise, 1.0), 0.0, 1.0)
    low = 1 / 25
    rising = low + (1 - low) * 0.5 * (1 - tf.cos(math.pi * up))
    return tf.where(step < rise, rising, 0.5 * (1 + tf.cos(math.pi * down)))


def _summarize(images: tf.Tensor, labels: tf.Tensor, classes: tf.Tensor) -> None:
    # Outside of any name scope, which would become part of the tags.
    with tf.name_scope("summaries"):
        correct = tf.cast(tf.equal(classes, labels), tf.float32)
        batch_accuracy, grid = tf.reduce_mean(correct), _image_grid(images)
    v1.summary.scalar(ACCURACY, batch_accuracy)
    v1.summary.image("images", grid, max_outputs=1)


def _train_op(loss: tf.Tensor, params: Mapping[str, Any]) -> tf.Operation:
    step = v1.train.get_or_create_global_step()
    with tf.name_scope("schedule"):
        rate = learning_rate(step, params)
    v1.summary.scalar(LEARNING_RATE, rate)
    v1.add_to_collection(LEARNING_RATE, rate)
    _sum_stop_votes()
    optimizer = weight_updates.refined(
        OPTIMIZERS[params["optimizer"]].make(v1.train, rate, params),
        rate,
        weight_decay=params["weight_decay"],
        ema_decay=params["ema_decay"],
    )
    gradients = optimizer.compute_gradients(loss)
    if params["clip_norm"]:
        gradients = _clip(gradients, params["clip_norm"])
    # Batch normalization updates its moving averages before the global step is increased.
    with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
        return optimizer.apply_gradients(gradients, global_step=step)


def _sum_stop_votes() -> None:
    """Sums the workers' votes in each step, so that synchronous workers stop after the same one."""
    replica = tf.distribute.get_replica_context()
    if replica.num_replicas_in_sync > 1:
        votes = v1.placeholder_with_default(tf.zeros([2]), [2], "stop_votes")
        v1.add_to_collection(STOP_VOTES, votes)
        v1.add_to_collection(STOP_TOTAL, replica.all_reduce(tf.distribute.ReduceOp.SUM, votes))


def _clip(
    gradients: list[tuple[tf.Tensor | tf.IndexedSlices | None, tf.Variable]], norm: float
) -> list[tuple[tf.Tensor, tf.Variable]]:
    known = [(gradient, variable) for gradient, variable in gradients if gradient is not None]
    # A gradient of rows that were looked up may hold a row twice; only their sum has the norm.
    values = [tf.convert_to_tensor(gradient) for gradient, _ in known]
    replica = tf.distribute.get_replica_context()
    replicas = replica.num_replicas_in_sync
    if replicas > 1:
        # Clips the gradient of the whole batch, not each replica's share of it.
        values = replica.all_reduce(tf.distribute.ReduceOp.SUM, values)
    clipped, _ = tf.clip_by_global_norm(values, norm)
    # apply_gradients adds up the gradients of the replicas.
    return [(value / replicas, var) for value, (_, var) in zip(clipped, known, strict=True)]


def _metrics(
    labels: tf.Tensor, classes: tf.Tensor, num_classes: int
) -> dict[str, tuple[tf.Tensor, tf.Operation]]:
    """The metrics of an evaluation, all of one variable: int64 [K,2], examples and correct ones.

    They are exact: TensorFlow's own count in float32, exact up to 2**24, and take variables and
    checks of their own for each class.
    """
    # Not by get_variable: a user's own network may have made one of this name.
    counts = v1.Variable(
        tf.zeros([num_classes, 2], tf.int64),
        trainable=False,
        collections=[v1.GraphKeys.LOCAL_VARIABLES, v1.GraphKeys.METRIC_VARIABLES],
        name="class_counts",
        use_resource=True,
    )
    correct = tf.cast(tf.equal(labels, classes), tf.int64)
    added = tf.stack([tf.ones_like(labels), correct], axis=1)
    update = counts.assign_add(tf.math.unsorted_segment_sum(added, labels, num_classes))
    examples, correct = tf.unstack(counts.read_value(), axis=1)
    accuracies = tf.unstack(_fraction(correct, examples))
    metrics = {
        ACCURACY: _fraction(tf.reduce_sum(correct), tf.reduce_sum(examples)),
        EXAMPLES: tf.reduce_sum(examples),
        **{f"{CLASS_ACCURACY}/{number}": value for number, value in enumerate(accuracies)},
    }
    return {name: (value, update) for name, value in metrics.items()}


def _fraction(part: tf.Tensor, whole: tf.Tensor) -> tf.Tensor:
    return tf.math.divide_no_nan(tf.cast(part, tf.float32), tf.cast(whole, tf.float32))


def _image_grid(images: tf.Tensor) -> tf.Tensor:
    """The first images [B,H,W,C] of a batch as one picture [1,rows*H,columns*W,C or 3]."""
    _, height, width, channels = images.shape
    shown = images[: _GRID * _GRID]
    shown = tf.pad(shown, [[0, _GRID * _GRID - tf.shape(shown)[0]], [0, 0], [0, 0], [0, 0]])
    rows = tf.reshape(shown, [_GRID, _GRID, height, width, channels])
    grid = tf.reshape(
        tf.transpose(rows, [0, 2, 1, 3, 4]), [1, _GRID * height, _GRID * width, channels]
    )
    # A PNG has 1, 3 or 4 channels; of images with other numbers the first channel is shown.
    return grid if channels in (1, 3, 4) else grid[..., :1]
