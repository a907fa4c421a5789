"""Measures what Estimator, hooks, input, progress and summaries add to a training step.

  python benchmarks/loop_overhead.py --data_dir=data/mnist
  python benchmarks/loop_overhead.py --data_dir=data/mnist --model=softmax --batch_size=1

Trains as `train` does, in one process. After every turn of --steps steps, which holds one progress
line and its summaries, the bare loop `session.run(train_op)` takes a turn, of the same graph on
constant data (A B A B ...). Checkpoints are outside of the turns. A small network and batch show
the cost of the loop in microseconds, as the step itself costs little there.

The commands switch oneDNN on; TensorFlow by itself does not on every processor. Set
TF_ENABLE_ONEDNN_OPTS=1 to measure what a run of `train` takes.
"""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from collections.abc import Callable

from absl import app, flags

from mnist_estimator import model_fn
from mnist_estimator.cluster import roles
from mnist_estimator.compat import estimator, tf, v1
from mnist_estimator.config import TrainConfig
from mnist_estimator.data import inputs
from mnist_estimator.data.manifest import Dataset, Manifest, read_manifest
from mnist_estimator.training import chief, endings, loop
from mnist_estimator.training.run import make_run

_DATA_DIR = flags.DEFINE_string("data_dir", "data/mnist", "Folder with prepared records.")
_MODEL = flags.DEFINE_string("model", "cnn", "Network.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 100, "Examples a step.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 50, "Steps a turn.", lower_bound=1)
_TURNS = flags.DEFINE_integer("turns", 15, "Turns of each side.", lower_bound=3)
_CACHE_MB = flags.DEFINE_integer("cache_mb", 1024, "0 streams the data.")

Times = tuple[float, float]  # Wall-clock and processor seconds a step.


def main(_: list[str]) -> None:
    """Trains, and prints the cost of a step of both loops and their ratio."""
    manifest = read_manifest(_DATA_DIR.value)
    with tempfile.TemporaryDirectory() as model_dir:
        config = TrainConfig(
            data_dir=_DATA_DIR.value,
            model_dir=model_dir,
            model=_MODEL.value,
            batch_size=_BATCH_SIZE.value,
            cache_mb=_CACHE_MB.value,
            max_steps=(_TURNS.value + 1) * _STEPS.value,
            log_steps=_STEPS.value,
            save_checkpoints_steps=2**30,
        )
        tf.config.experimental.enable_op_determinism()
        turns = _Turns(_bare_step(config, manifest), _STEPS.value)
        _train(config, manifest, turns)
    pairs = turns.pairs[1:]  # The first turn warms up.
    for place, unit in enumerate(("wall clock", "processor time")):
        _print([(whole[place], bare[place]) for whole, bare in pairs], unit)


class _Turns(v1.train.SessionRunHook):
    """The last hook: lets the bare loop take a turn after each turn of the training loop."""

    def __init__(self, bare_step: Callable[[], object], steps: int) -> None:
        self._bare_step, self._steps = bare_step, steps
        self.pairs: list[tuple[Times, Times]] = []

    def after_create_session(self, session: v1.Session, coord: tf.train.Coordinator) -> None:
        self._done, self._started = 0, _now()

    def after_run(
        self, run_context: v1.train.SessionRunContext, run_values: v1.train.SessionRunValues
    ) -> None:
        self._done += 1
        if self._done % self._steps:
            return
        whole, started = self._since(self._started), _now()
        for _ in range(self._steps):
            self._bare_step()
        self.pairs.append((whole, self._since(started)))
        self._started = _now()

    def _since(self, started: Times) -> Times:
        wall, processor = _now()
        return (wall - started[0]) / self._steps, (processor - started[1]) / self._steps


def _now() -> Times:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), used.ru_utime + used.ru_stime


def _bare_step(config: TrainConfig, manifest: Manifest) -> Callable[[], object]:
    """Makes a session of the training graph over one batch that stays; returns a step of it."""
    batches = inputs.train_batches(
        Dataset(config.data_dir, manifest),
        start_step=0,
        batch_size=config.batch_size,
        seed=1,
        cache_bytes=2**40,
        shuffle_buffer=1,
    )
    batch = next(iter(batches.as_numpy_iterator()))
    with tf.Graph().as_default():
        v1.set_random_seed(config.seed)
        v1.train.create_global_step()
        # Variables, as nothing can be computed ahead from them.
        features, labels = tf.nest.map_structure(
            lambda array: v1.get_variable(
                f"constant{array.ndim}_{array.dtype}",
                initializer=array,
                trainable=False,
                use_resource=True,
            ).read_value(),
            ({inputs.IMAGES: batch[0][inputs.IMAGES]}, batch[1]),
        )
        params = config.model_params(manifest)
        spec = model_fn.model_fn(features, labels, estimator.ModeKeys.TRAIN, params)
        session = v1.Session()
        session.run(v1.global_variables_initializer())
        return lambda: session.run(spec.train_op)


def _train(config: TrainConfig, manifest: Manifest, turns: _Turns) -> None:
    """Trains as `chief` does, with one hook more."""
    task = roles.Task()
    run = make_run(config, manifest, task)
    hooks_of = loop._hooks
    loop._hooks = lambda *arguments: [*hooks_of(*arguments), turns]
    watch = endings.watch_peers(config, task)
    loop.train(run, watch, saver=chief._saver(run, evaluates=False))


def _print(pairs: list[tuple[float, float]], unit: str) -> None:
    for name, column in zip(("train", "bare loop"), zip(*pairs, strict=True), strict=True):
        print(f"{unit}, {name}: {1e3 * statistics.median(column):.3f} ms a step (median)")
    ratios = sorted(whole / bare for whole, bare in pairs)
    extra = statistics.median(whole - bare for whole, bare in pairs)
    print(
        f"{unit}, ratio of the first to the second: median {statistics.median(ratios):.3f}, "
        f"{ratios[0]:.3f} to {ratios[-1]:.3f} over {len(ratios)} pairs; "
        f"{1e6 * extra:.0f} microseconds more a step"
    )


if __name__ == "__main__":
    app.run(main)
