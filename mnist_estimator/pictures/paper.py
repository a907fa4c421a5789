"""The colour that a picture's paper would have without its ink, at each place."""

from __future__ import annotations

import numpy as np

from mnist_estimator.compat import tf

SIDE = 64  # A picture's longer side, at most, where its paper is estimated.
_ROUNDS = (1, 3, 3, 6, 6, 6, 6)  # Terms of the surface in each round.
_SPREAD = 2.0  # Grey levels that every paper is allowed.
# Which of the terms 1, x, xx, y, yx, yxx, yy, yyx, yyxx there are in a round of so many: [9,1].
_USED = {
    count: np.isin(np.arange(9), terms).astype(np.float32)[:, None]
    for count, terms in {1: (0,), 3: (0, 1, 3), 6: (0, 1, 2, 3, 4, 6)}.items()
}
_RIDGE = 1e-5 * np.eye(9, dtype=np.float32)


def fitted(small: tf.Tensor) -> tf.Tensor:
    """The colour that the paper of [h,w,c] would have at each place, as factors.

    A quadratic surface, which is what lamps and lenses make of a blank sheet, fitted by iteratively
    reweighted least squares: each round gives ink less weight. It starts flat, at the median, and
    bends only in later rounds, as it would bend towards the ink.
    """
    # Of a larger picture each other row and column say as much.
    step = tf.where(tf.reduce_max(tf.shape(small)[:2]) > SIDE // 2, 2, 1)
    shape = tf.shape(small)
    values = tf.reshape(planes(small[::step, ::step]), [shape[2], -1])
    rows, columns = (powers(shape[axis])[:, ::step] for axis in (0, 1))
    terms = tf.reshape(rows[:, None, :, None] * columns[:, None], [9, -1])
    size = tf.size(terms) // 9
    median = tf.raw_ops.NthElement(input=values, n=size // 2)[:, None]
    # Of grey each of the three colours is as far away.
    scale = tf.sqrt(3 / tf.cast(shape[2], tf.float32))
    values = (values - median) * scale
    both = tf.concat([terms, values], 0)
    near = tf.cast(0.4 * tf.cast(size - 1, tf.float32), tf.int32)
    weights = _weights(values, near)
    for count in _ROUNDS:
        sums = tf.matmul(terms * weights, both, transpose_b=True) * _USED[count]
        # The small number keeps a picture of one row solvable, and the terms not used at 0.
        normal = sums[:, :9] + sums[0, 0] * _RIDGE
        surface = tf.linalg.solve(normal, sums[:, 9:])
        weights = _weights(values - tf.matmul(surface, terms, transpose_a=True), near)
    surface = tf.transpose(surface) / scale + median * _USED[1][:, 0]
    return tf.reshape(surface, [-1, 3, 3])


def colours(factors: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """The paper's colours [c,h,w] at the places whose powers are [3,h] and [3,w]."""
    return tf.matmul(tf.matmul(rows[None], factors, transpose_a=True), columns[None])


def planes(pixels: tf.Tensor) -> tf.Tensor:
    """[h,w,c] -> [c,h,w]."""
    return tf.transpose(pixels, [2, 0, 1])


def places(size: tf.Tensor) -> tf.Tensor:
    """Where the rows or columns of a picture are, from -1 to 1: float32 [size]."""
    return tf.raw_ops.LinSpace(start=-1.0, stop=1.0, num=size)


def powers(size: tf.Tensor) -> tf.Tensor:
    """1, x and xx of all rows or columns of a picture: float32 [3,size]."""
    x = places(size)
    return tf.stack([tf.ones_like(x), x, x * x])


def _weights(difference: tf.Tensor, near: tf.Tensor):
    """How much each colour less the paper's [c,n] says about the paper, [n].

    Args:
      near: how many of them are closer to the paper than the one that tells their spread.
    """
    distance = tf.reduce_sum(tf.square(difference), 0)
    spread = tf.maximum(4 * tf.raw_ops.NthElement(input=distance, n=near), _SPREAD**2)
    return tf.math.reciprocal(tf.square(1 + distance / spread))


def quantile(values: tf.Tensor, share: float) -> tf.Tensor:
    """The value that a share of `values` [n] does not exceed."""
    place = tf.cast(share * tf.cast(tf.size(values) - 1, tf.float32), tf.int32)
    return tf.raw_ops.NthElement(input=values, n=place)
