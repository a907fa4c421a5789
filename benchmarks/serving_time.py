"""Measures how long an exported model takes to answer, for batches of 1 and of 128.

  python benchmarks/serving_time.py --export_dir=tboard/mod1/export/best/5000

Requests of the two sizes take turns (A B A B ...) in one process, with the signature
`serving_default` as tf.saved_model.load returns it. Prints the median and the 5th and 95th
percentiles of each size, and the ratio of the times for one image.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
from absl import app, flags

from mnist_estimator.compat import tf

_EXPORT_DIR = flags.DEFINE_string("export_dir", None, "Exported SavedModel.", required=True)
_TURNS = flags.DEFINE_integer("turns", 100, "Requests of each size.", lower_bound=20)
_SIZES = (1, 128)


def main(_: list[str]) -> None:
    """Measures and prints."""
    serve = tf.saved_model.load(_EXPORT_DIR.value).signatures["serving_default"]
    generator = np.random.default_rng(0)
    batches = [
        tf.constant(generator.integers(256, size=[size, 28, 28, 1]), tf.float32) for size in _SIZES
    ]
    for batch in batches:
        serve(images=batch)  # Warms up.
    times = [[seconds(serve, batch) for batch in batches] for _ in range(_TURNS.value)]
    for size, column in zip(_SIZES, zip(*times, strict=True), strict=True):
        low, *_, high = statistics.quantiles(column, n=20)
        median = statistics.median(column)
        print(
            f"batch {size}: median {1000 * median:.1f} ms ({1000 * low:.1f} to {1000 * high:.1f}), "
            f"{size / median:,.0f} images/s"
        )
    ratios = sorted(one * _SIZES[1] / (many * _SIZES[0]) for one, many in times)
    print(f"an image alone takes {statistics.median(ratios):.1f} times as long as one of 128")


def seconds(serve: tf.types.experimental.Callable, batch: tf.Tensor) -> float:
    """Time of one request, its answer in hand."""
    started = time.perf_counter()
    serve(images=batch)["classes"].numpy()
    return time.perf_counter() - started


if __name__ == "__main__":
    app.run(main)
