"""A plain Estimator, in the manner of tensorflow/models' `official/r1/mnist`: speed and race.

python estimator_mnist.py speed --batch=100 --seconds=10
python estimator_mnist.py race --recipe=same --seed=0
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import common
import numpy as np
import tensorflow as tf

v1 = tf.compat.v1
_OWN_RATE, _OWN_BATCH, _OWN_EPOCHS = 1e-4, 100, 40


def main() -> None:
    """Reads the flags and does what they say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("speed", "race"))
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--recipe", default="same")
    parser.add_argument("--limit", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    if flags.what == "speed":
        speed(flags.batch, flags.seconds)
    else:
        race(common.Race(flags.limit), flags.recipe == "same", flags.seed)


def model_fn(features: tf.Tensor, labels: tf.Tensor, mode: str, params: dict[str, Any]) -> Any:
    """The network of the comparison, which is that of the official model, too."""
    training = mode == tf.estimator.ModeKeys.TRAIN
    logits = _network()(features, training=training)
    loss = v1.losses.sparse_softmax_cross_entropy(labels, logits)
    if not training:
        metrics = {"accuracy": v1.metrics.accuracy(labels, tf.argmax(logits, 1))}
        return tf.estimator.EstimatorSpec(mode, loss=loss, eval_metric_ops=metrics)
    step = v1.train.get_or_create_global_step()
    rate = params["rate"]
    if params["decays"]:
        rate = v1.train.cosine_decay(rate, step, common.STEPS)
    train_op = v1.train.AdamOptimizer(rate).minimize(loss, step)
    return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train_op)


def _network() -> tf.keras.Model:
    layers = tf.keras.layers
    return tf.keras.Sequential(
        [
            layers.Reshape((28, 28, 1), input_shape=(784,)),
            layers.Conv2D(32, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(2, 2, padding="same"),
            layers.Conv2D(64, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(2, 2, padding="same"),
            *(layers.Flatten(), layers.Dense(1024, activation="relu"), layers.Dropout(0.4)),
            layers.Dense(10),
        ]
    )


def arrays(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images float32 [N,784] and labels of a split."""
    images, labels = common.mnist(split)
    return images.reshape(-1, 784).astype("float32") / 255, labels


def batches(data: tuple[np.ndarray, ...], batch: int, epochs: int | None) -> tf.data.Dataset:
    """Shuffled by a buffer of 50,000, as the official model does; None epochs: without end."""
    examples = tf.data.Dataset.from_tensor_slices(data).cache().shuffle(50_000)
    return examples.repeat(epochs).batch(batch)


class _Clock(v1.train.SessionRunHook):
    """Stops after some seconds, and counts the steps in them."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._steps, self._warm_until = seconds, 0, float("inf")
        self.measured, self._start = 0.0, (0, 0.0)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        now = time.perf_counter()
        self._steps += 1
        if self._steps == 10:
            self._warm_until = now + self._seconds / 3
        if now < self._warm_until:
            self._start = (self._steps, now)
        elif now > self._start[1] + self._seconds:
            self.measured = (self._steps - self._start[0]) / (now - self._start[1])
            run_context.request_stop()


def speed(batch: int, seconds: float) -> None:
    """Measures steps within Estimator's own loop."""
    clock, data = _Clock(seconds), arrays("train")
    params = {"rate": common.RATE, "decays": False}
    classifier = tf.estimator.Estimator(model_fn, "model", params=params)
    classifier.train(lambda: batches(data, batch, None), hooks=[clock])
    common.report(images_per_second=clock.measured * batch)


class _Scorer(v1.train.CheckpointSaverListener):
    """Scores each checkpoint, then evaluates as `train_and_evaluate` does on one machine."""

    def __init__(self, score: Callable[[int], bool], evaluate: Callable[[], object]) -> None:
        self._score, self._evaluate = score, evaluate

    def after_save(self, session: v1.Session, global_step_value: int) -> bool:
        del session
        if not global_step_value:
            return False
        over = self._score(int(global_step_value))
        if not over:
            self._evaluate()
        return over


def race(run: common.Race, same: bool, seed: int) -> None:
    """The same schedule in one call of `train`; the official model's in one for each epoch."""
    train, test = (common.of_race(arrays(split)) for split in ("train", "test"))
    params = {"rate": common.RATE if same else _OWN_RATE, "decays": same}
    config = tf.estimator.RunConfig(tf_random_seed=seed)
    if same:
        config = config.replace(save_checkpoints_steps=common.EVERY)
    classifier = tf.estimator.Estimator(model_fn, "model", config, params)

    def evaluate(data: tuple[np.ndarray, ...]) -> float:
        # Without a name the scored evaluations would be in the way of the others.
        batch = 1000 if same else _OWN_BATCH
        found = classifier.evaluate(
            lambda: tf.data.Dataset.from_tensor_slices(data).batch(batch),
            name="test" if data is test else "validation",
        )
        return float(found["accuracy"])

    def score(step: int) -> bool:
        return run.saved(step, lambda: evaluate(test))

    if same:
        # A call for each checkpoint would begin the shuffled data anew, and never see most of them.
        validation = tuple(array[: common.VALIDATION] for array in train)
        rest = tuple(array[common.VALIDATION :] for array in train)
        classifier.train(
            lambda: batches(rest, common.BATCH, None),
            steps=common.STEPS,
            saving_listeners=[_Scorer(score, lambda: evaluate(validation))],
        )
    else:
        for _ in range(_OWN_EPOCHS):
            classifier.train(lambda: batches(train, _OWN_BATCH, 1))
            if score(int(classifier.get_variable_value("global_step"))):
                break
            evaluate(test)  # The official model's own evaluation, on the clock.
    run.report()


if __name__ == "__main__":
    main()
