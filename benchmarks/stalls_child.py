"""The training program of stalls.py: the real one, which comes to stand still in one place.

  STALLS_HANG=input python benchmarks/stalls_child.py [train flags]

The places are those of `PLACES`, and `input` and `pipe`: the training input does not give a batch,
because Python sleeps, or because C++ waits at a pipe that nobody writes to. When it is there, the
program makes a file PLACE.hangs in the working folder. With `slow` as the place each batch takes
0.1 s. Without one it just trains.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import pathlib
import runpy
import threading
import time
from collections.abc import Callable

import numpy as np

HANG, SLOW = "STALLS_HANG", "slow"
# A function, and in which call of it a lock is waited for that nobody gives back.
PLACES = {
    "hook": ("training.hooks", "FiniteGuard.after_run", 250),
    "checkpoint": ("runs.checkpoints", "seal", 3),
    "evaluation": ("scoring.one_graph", "OneGraph._run_batches", 2),
    "export": ("serving.saved_model", "export", 1),
    "preparing": ("data.shard_writer", "ShardWriter.read_back", 1),
}
_BATCH = 250  # The one that an input does not give.
_PIPE = "nobody.writes"


def main() -> None:
    """Trains, up to the place."""
    place = os.environ.get(HANG, "")
    if place in PLACES:
        module, path, call = PLACES[place]
        _wrap(f"mnist_estimator.{module}", path, functools.partial(_hang, place, call, [0]))
    elif place:
        _hang_in_input(place)
    runpy.run_module("mnist_estimator.train", run_name="__main__", alter_sys=True)


def _wrap(module: str, path: str, before: Callable[[], None]) -> None:
    """Has a function call `before` before it does its work."""
    *owners, name = path.split(".")
    owner = functools.reduce(getattr, owners, importlib.import_module(module))
    work = getattr(owner, name)

    @functools.wraps(work)
    def wrapped(*arguments: object, **options: object) -> object:
        before()
        return work(*arguments, **options)

    setattr(owner, name, wrapped)


def _hang(place: str, call: int, calls: list[int]) -> None:
    calls[0] += 1
    if calls[0] == call:
        _tell(place)
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()


def _tell(place: str) -> None:
    pathlib.Path(f"{place}.hangs").touch()


def _hang_in_input(place: str) -> None:
    from mnist_estimator.compat import tf
    from mnist_estimator.data import inputs

    real = inputs.train_input_fn
    if place == "pipe":
        os.mkfifo(_PIPE)

    def note(number: np.ndarray) -> np.ndarray:
        if place == SLOW:
            time.sleep(0.1)
        elif number == _BATCH:
            _tell(place)
            time.sleep(0 if place == "pipe" else 86_400)
        return number

    def give(number: tf.Tensor, batch: tuple) -> tuple:
        features, labels = batch
        number = tf.numpy_function(note, [number], tf.int64)
        number.set_shape([])
        if place == "pipe":
            content = tf.io.read_file(tf.where(tf.equal(number, _BATCH), _PIPE, os.devnull))
            # What nothing depends on is not read.
            labels += tf.cast(tf.strings.length(content), labels.dtype)
        with tf.control_dependencies([number]):
            return features, tf.identity(labels)

    def train_input_fn(*arguments: object, **options: object) -> Callable[[], tf.data.Dataset]:
        input_fn = real(*arguments, **options)

        @functools.wraps(input_fn)
        def given(*arguments: object, **options: object) -> tf.data.Dataset:
            return input_fn(*arguments, **options).enumerate().map(give)

        # Estimator passes only what the signature names, such as a worker's share.
        given.__signature__ = inspect.signature(input_fn)
        return given

    inputs.train_input_fn = train_input_fn


if __name__ == "__main__":
    main()
