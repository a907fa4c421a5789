"""Compares the cost of a training step computed in two ways.

  python benchmarks/step_time.py --data_dir=data/mnist --compare=precision
  python benchmarks/step_time.py --data_dir=data/mnist --compare=pooling
  python benchmarks/step_time.py --data_dir=data/mnist --compare=input
  python benchmarks/step_time.py --data_dir=data/mnist --compare=determinism
  python benchmarks/step_time.py --data_dir=data/mnist --compare=augmentation

precision: float32 against bfloat16. pooling: bias and ReLU before the pooling, as in the textbook,
against after it. input: streamed from disk against gathered in memory. determinism: only
deterministic operations against any. augmentation: images that are moved, bent, covered and mixed
against images as they are; affine: only moved. averages: weight decay and moving averages against
neither. batch_norm: all layers but the last normalized against none. label_smoothing: labels that
share out among all classes against labels as they are. Both sides run in one process and take turns
(A B A B ...), so that a machine that speeds up or slows down does so for both.

The commands switch oneDNN on; TensorFlow by itself does not on every processor. Set
TF_ENABLE_ONEDNN_OPTS=1 to measure what a run of `train` takes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from typing import Any

from absl import app, flags

from mnist_estimator import model_fn, networks
from mnist_estimator.compat import estimator, tf, v1
from mnist_estimator.config import TrainConfig
from mnist_estimator.data import inputs
from mnist_estimator.data.manifest import Dataset, read_manifest

_DATA_DIR = flags.DEFINE_string("data_dir", "data/mnist", "Folder with prepared records.")
_STEPS = flags.DEFINE_integer("steps", 30, "Steps a turn.", lower_bound=1)
_TURNS = flags.DEFINE_integer("turns", 15, "Turns of each side.", lower_bound=3)

_AFFINE = {"rotate": 10.0, "scale": 0.1, "shear": 8.0, "shift": 2.0}
_SIDES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "determinism": ({"deterministic": True}, {"deterministic": False}),
    "precision": ({"precision": "float32"}, {"precision": "bfloat16"}),
    "pooling": ({"model": "pool_last"}, {"model": "cnn"}),
    "input": ({"cache_mb": 0}, {"cache_mb": 1024}),
    "affine": (_AFFINE, {}),
    "augmentation": (_AFFINE | {"elastic": 0.8, "erase": 0.2, "mixup": 0.2}, {}),
    "averages": ({"weight_decay": 0.01, "ema_decay": 0.999}, {}),
    "batch_norm": ({"batch_norm": "all"}, {}),
    "label_smoothing": ({"label_smoothing": 0.05}, {"label_smoothing": 0.0}),
}


_COMPARE = flags.DEFINE_enum("compare", "precision", sorted(_SIDES), "What.")


def main(_: list[str]) -> None:
    """Measures the two sides in turn and prints their ratio."""
    names = [", ".join(f"{k}={v}" for k, v in side.items()) for side in _SIDES[_COMPARE.value]]
    sides = [seconds_per_step(side) for side in _SIDES[_COMPARE.value]]
    for side in sides:
        next(side)  # Warms up.
    times = [[next(side) for side in sides] for _ in range(_TURNS.value)]
    for name, column in zip(names, zip(*times, strict=True), strict=True):
        print(f"{name}: {1000 * statistics.median(column):.1f} ms a step (median)")
    ratios = sorted(first / second for first, second in times)
    print(
        f"ratio of the first to the second: median {statistics.median(ratios):.2f}, "
        f"{ratios[0]:.2f} to {ratios[-1]:.2f} over {len(ratios)} pairs"
    )


def seconds_per_step(options: dict[str, object]) -> Iterator[float]:
    """Yields again and again the mean time of a step over a turn, without end."""
    manifest = read_manifest(_DATA_DIR.value)
    model = options.get("model", "cnn")
    config = TrainConfig(**{k: v for k, v in options.items() if k != "model"})
    params = config.model_params(manifest) | {"model": model}
    allow_any_operation(not config.is_deterministic)
    with tf.Graph().as_default():
        v1.train.create_global_step()
        batches = inputs.train_batches(
            Dataset(_DATA_DIR.value, manifest),
            start_step=0,
            batch_size=config.batch_size,
            seed=0,
            cache_bytes=config.cache_mb * 2**20,
            shuffle_buffer=config.shuffle_buffer,
        )
        iterator = v1.data.make_initializable_iterator(batches)
        spec = model_fn.model_fn(*iterator.get_next(), estimator.ModeKeys.TRAIN, params)
        session = v1.Session()
        session.run([v1.global_variables_initializer(), iterator.initializer])
        while True:
            allow_any_operation(not config.is_deterministic)
            started = time.perf_counter()
            for _ in range(_STEPS.value):
                session.run(spec.train_op)
            yield (time.perf_counter() - started) / _STEPS.value


def allow_any_operation(any_operation: bool) -> None:
    """Switches what `--deterministic` switches, for the whole process."""
    # The public function has no way back.
    from tensorflow.python.framework import config as framework

    (framework.disable_op_determinism if any_operation else framework.enable_op_determinism)()


def _pool_last(
    images: tf.Tensor,
    name: str,
    *,
    filters: int,
    normalize: bool,
    training: bool,
    params: Mapping[str, Any],
) -> tf.Tensor:
    with v1.variable_scope(name):
        kernel = networks._weights("kernel", [5, 5, images.shape[-1], filters], params)
        values = tf.nn.conv2d(images, tf.cast(kernel, images.dtype), strides=1, padding="SAME")
        values = tf.nn.relu(networks._add_bias(values, params))
        return tf.nn.max_pool2d(values, ksize=2, strides=2, padding="SAME")


def pool_last(images: tf.Tensor, **options: Any) -> tf.Tensor:
    """The cnn with bias and ReLU on the whole picture, before the pooling."""
    pool_first, networks.conv_pool_relu = networks.conv_pool_relu, _pool_last
    try:
        return networks.cnn(images, **options)
    finally:
        networks.conv_pool_relu = pool_first


networks.NETWORKS["pool_last"] = pool_last

if __name__ == "__main__":
    app.run(main)
