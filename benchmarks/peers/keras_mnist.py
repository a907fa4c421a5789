"""Keras 3 on TensorFlow: the training speed of `fit`, and the race to the targets.

python keras_mnist.py speed --batch=100 --seconds=10 --jit=1 --steps_per_execution=50
python keras_mnist.py race --recipe=same --seed=0
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import common
import keras
import numpy as np
import tensorflow as tf


def main() -> None:
    """Reads the flags and does what they say."""
    flags = _flags()
    keras.utils.set_random_seed(flags.seed)
    keras.config.set_dtype_policy(flags.dtype)
    if flags.what == "speed":
        speed(compiled(flags, common.RATE), flags.batch, flags.seconds)
    elif flags.recipe == "same":
        schedule = keras.optimizers.schedules.CosineDecay(common.RATE, common.STEPS)
        race_same(common.Race(flags.limit), compiled(flags, schedule), flags.seed)
    else:
        race_own(common.Race(flags.limit))


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("speed", "race"))
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--jit", type=int, default=1)
    parser.add_argument("--steps_per_execution", type=int, default=50)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--recipe", default="same")
    parser.add_argument("--limit", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def compiled(flags: argparse.Namespace, rate: Any) -> keras.Model:
    """The network of the comparison, ready for `fit`; the rate is a number or a schedule."""
    model = network()
    model.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=bool(flags.jit),
        steps_per_execution=flags.steps_per_execution,
    )
    return model


def network() -> keras.Model:
    """The network of the comparison."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            *(layers.Conv2D(32, 5, padding="same", activation="relu"), layers.MaxPooling2D(2)),
            *(layers.Conv2D(64, 5, padding="same", activation="relu"), layers.MaxPooling2D(2)),
            *(layers.Flatten(), layers.Dense(1024, activation="relu"), layers.Dropout(0.4)),
            layers.Dense(10, dtype="float32"),
        ]
    )


def arrays(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images float32 [N,28,28,1] and labels of a split."""
    images, labels = common.mnist(split)
    return images[..., None].astype("float32") / 255, labels


class _Clock(keras.callbacks.Callback):
    """Counts images a second, and ends `fit` when it has measured for long enough."""

    def __init__(self, batch: int, seconds: float) -> None:
        super().__init__()
        self._batch, self._seconds = batch, seconds
        self._calls = self._steps = 0
        self._start = self._last = (0, 0.0)
        self._warm_until = float("inf")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        # `batch` is the last step of an execution of several, counted in the epoch.
        self._steps += batch + 1 - self._in_epoch
        self._in_epoch = batch + 1
        self._calls += 1
        now = time.perf_counter()
        if self._calls == 2:  # The first compiles.
            self._warm_until = now + self._seconds / 3
        if now < self._warm_until:
            self._start = (self._steps, now)
        self._last = (self._steps, now)
        self.model.stop_training = now > self._start[1] + self._seconds and self._calls > 4
        if self.model.stop_training:
            raise _EnoughError

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._in_epoch = 0

    def images_per_second(self) -> float:
        steps, seconds = (last - first for first, last in zip(self._start, self._last, strict=True))
        return steps * self._batch / seconds


class _EnoughError(Exception):
    """Ends `fit` within an epoch, which `stop_training` does not."""


def speed(model: keras.Model, batch: int, seconds: float) -> None:
    """Measures `fit` on arrays in memory."""
    clock = _Clock(batch, seconds)
    try:
        model.fit(*arrays("train"), batch_size=batch, epochs=1000, verbose=0, callbacks=[clock])
    except _EnoughError:
        common.report(images_per_second=clock.images_per_second())


class _Scorer(keras.callbacks.Callback):
    """Saves the model after each epoch and scores it, before `fit` evaluates it.

    `ModelCheckpoint` saves in `on_epoch_end`, which comes after the evaluation.
    """

    def __init__(self, race: common.Race, test: tuple[np.ndarray, np.ndarray]) -> None:
        super().__init__()
        self._race, self._test, self._done = race, test, 0

    def on_test_begin(self, logs: Any = None) -> None:
        self._done += self.params["steps"]
        self.model.save(f"checkpoint-{self._done}.keras")
        self.model.stop_training = self._race.saved(self._done, self._accuracy)

    def _accuracy(self) -> float:
        images, labels = self._test
        found = self.model.predict(images, batch_size=1000, verbose=0).argmax(1)
        return float((found == labels).mean())


def _fit(race: common.Race, model: keras.Model, *data: Any, **options: Any) -> None:
    scorer = _Scorer(race, common.of_race(arrays("test")))
    model.fit(*data, verbose=0, callbacks=[scorer], **options)
    race.report()


def race_same(race: common.Race, model: keras.Model, seed: int) -> None:
    """The schedule of `common`: an epoch of Keras is what lies between two evaluations."""
    images, labels = common.of_race(arrays("train"))
    cut = common.VALIDATION
    data = tf.data.Dataset.from_tensor_slices((images[cut:], labels[cut:]))
    data = data.shuffle(len(labels) - cut, seed=seed).repeat().batch(common.BATCH).prefetch(2)
    _fit(
        race,
        model,
        data,
        steps_per_epoch=common.EVERY,
        epochs=common.STEPS // common.EVERY,
        validation_data=(images[:cut], labels[:cut]),
        validation_batch_size=1000,
    )


def race_own(race: common.Race) -> None:
    """As Keras' own example "Simple MNIST convnet" trains: batches of 128, 15 epochs."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            *(layers.Conv2D(32, 3, activation="relu"), layers.MaxPooling2D(2)),
            *(layers.Conv2D(64, 3, activation="relu"), layers.MaxPooling2D(2)),
            *(layers.Flatten(), layers.Dropout(0.5), layers.Dense(10, activation="softmax")),
        ]
    )
    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    images, labels = common.of_race(arrays("train"))
    one_hot = keras.utils.to_categorical(labels, 10)
    _fit(race, model, images, one_hot, batch_size=128, epochs=15, validation_split=0.1)


if __name__ == "__main__":
    main()
