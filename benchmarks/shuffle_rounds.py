"""Measures how well TensorFlow's index shuffle mixes with different numbers of rounds.

  python benchmarks/shuffle_rounds.py

Prints, for 55,000 examples sorted by class, the largest correlation between the orders of two
epochs, and how the classes spread over batches of 100: chi-squared of ten classes, which for random
batches has a mean of 9 and a variance of 18.
"""

from __future__ import annotations

import numpy as np
from absl import app

from mnist_estimator.compat import tf

EXAMPLES, BATCH, EPOCHS, CLASSES = 55_000, 100, 6, 10


def main(_: list[str]) -> None:
    """Prints a table."""
    print("rounds  correlation of epochs  chi-squared: mean  variance")
    for rounds in (4, 8, 16, 24):
        orders = np.array([order(epoch, rounds) for epoch in range(EPOCHS)])
        between = np.abs(np.corrcoef(orders) - np.eye(EPOCHS)).max()
        spread = [chi_squared(batch) for batch in orders[0].reshape(-1, BATCH)]
        print(f"{rounds:6}  {between:21.4f}  {np.mean(spread):17.2f}  {np.var(spread):8.2f}")


def order(epoch: int, rounds: int) -> np.ndarray:
    """One epoch's permutation, int64 [EXAMPLES]."""
    return tf.raw_ops.RandomIndexShuffle(
        index=tf.range(EXAMPLES, dtype=tf.int64),
        seed=tf.tile(tf.constant([[0, epoch, 0]], tf.int64), [EXAMPLES, 1]),
        max_index=tf.constant(EXAMPLES - 1, tf.int64),
        rounds=rounds,
    ).numpy()


def chi_squared(batch: np.ndarray) -> float:
    """How far a batch is from having as many examples of each class."""
    counts = np.bincount(batch * CLASSES // EXAMPLES, minlength=CLASSES)
    expected = BATCH / CLASSES
    return float(((counts - expected) ** 2 / expected).sum())


if __name__ == "__main__":
    app.run(main)
