"""The colour that a picture's paper would have without its ink, at each place."""

from __future__ import annotations

import numpy as np

from mnist_estimator.compat import tf

SIDE = 64  # A picture's longer side, at most, where its paper is estimated.
_ROUNDS = (1, 3, 3, 6, 6, 6, 6)  # Terms of the surface in each round, the first ones.
_SPREAD = 2.0  # Grey levels that every paper is allowed.
# The terms 1, x, y, xx, yx, yy: powers of y and of x.
_TERMS = ((0, 0), (0, 1), (1, 0), (0, 2), (1, 1), (2, 0))
_IN_SQUARE = np.eye(9, dtype=np.float32)[[3 * y + x for y, x in _TERMS]]
_RIDGE = 1e-5 * np.eye(len(_TERMS), dtype=np.float32)


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
    size = tf.shape(values)[1]
    rows, columns = (
        tf.gather(powers(shape[axis])[:, ::step], [term[axis] for term in _TERMS])
        for axis in (0, 1)
    )
    terms = tf.reshape(rows[:, :, None] * columns[:, None], [len(_TERMS), -1])
    median = tf.raw_ops.NthElement(input=values, n=size // 2)[:, None]
    # Of grey each of the three colours is as far away.
    scale = tf.sqrt(3 / tf.cast(shape[2], tf.float32))
    values = (values - median) * scale
    both = tf.concat([terms, values], 0)
    near = tf.cast(0.4 * tf.cast(size - 1, tf.float32), tf.int32)
    weights = _weights(values, near)
    for count in _ROUNDS:
        used = both if count == len(_TERMS) else tf.concat([terms[:count], values], 0)
        sums = tf.matmul(used[:count] * weights, used, transpose_b=True)
        # The small number keeps a picture of one row solvable.
        normal = sums[:, :count] + sums[0, 0] * _RIDGE[:count, :count]
        surface = tf.linalg.solve(normal, sums[:, count:])
        weights = _weights(values - tf.matmul(surface, used[:count], transpose_a=True), near)
    surface = tf.transpose(surface) / scale + median * np.eye(1, len(_TERMS), dtype=np.float32)
    return tf.reshape(tf.matmul(surface, _IN_SQUARE), [-1, 3, 3])


def colours(factors: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """The paper's colours [c,h,w] at the places whose powers are [3,h] and [3,w]."""
    both = tf.matmul(tf.reshape(tf.transpose(factors, [0, 2, 1]), [-1, 3]), rows)
    both = tf.transpose(tf.reshape(both, [-1, 3, tf.shape(rows)[1]]), [0, 2, 1])
    flat = tf.matmul(tf.reshape(both, [-1, 3]), columns)
    return tf.reshape(flat, [-1, tf.shape(rows)[1], tf.shape(columns)[1]])


def level(factors: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """The values [h,w] of a surface with the factors [3,3], at places as for `colours`."""
    half = tf.raw_ops.MatMul(a=rows, b=factors, transpose_a=True)
    return tf.raw_ops.MatMul(a=half, b=columns)


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
