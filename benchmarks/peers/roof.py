"""The roof by TensorFlow: products of square matrices, and memory traffic.

python roof.py --seconds=4 --types=float32,bfloat16
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor

import common
import numpy as np

_WEIGHTS = 3_274_634  # Of the network; the optimizer passes over four arrays of this size.


def main() -> None:
    """Reads the flags and measures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--types", default="float32", help="float32,bfloat16")
    flags = parser.parse_args()
    memory = traffic(flags.seconds)  # Before TensorFlow has started its threads.
    found = {dtype: products(dtype, flags.seconds) for dtype in flags.types.split(",")}
    common.report(memory=memory, **found)


def products(dtype: str, seconds: float) -> float:
    """GFLOP/s of a product of two square matrices, the best of two sizes."""
    import tensorflow as tf

    def of(size: int) -> float:
        a, b = (tf.cast(tf.random.uniform([size, size]), dtype) for _ in range(2))

        def work() -> int:
            tf.linalg.matmul(a, b).numpy()
            return 2 * size**3

        return common.per_second(work, seconds / 2) / 1e9

    return max(of(1024), of(2048))


def traffic(seconds: float) -> float:
    """GB/s of sums of arrays that take turns, as large as what the optimizer reads and writes."""
    arrays = [
        [np.ones(_WEIGHTS // common.THREADS, np.float32) for _ in range(4)]
        for _ in range(common.THREADS)
    ]

    def add(own: list[np.ndarray]) -> int:
        done = 0
        for target in range(4):
            np.add(own[target - 1], own[target - 2], out=own[target])
            done += 3 * own[target].nbytes
        return done

    with ThreadPoolExecutor(common.THREADS) as pool:
        return common.per_second(lambda: sum(pool.map(add, arrays)), seconds) / 1e9


if __name__ == "__main__":
    main()
