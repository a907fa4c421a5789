"""The colour that a picture's paper would have without its ink, at each place."""

from __future__ import annotations

import numpy as np

from mnist_estimator.compat import tf

SIDE = 64  # A picture's longer side, at most, where its paper is estimated.
_ROUNDS = (1, 3, 3, 6, 6, 6, 6)  # Terms of the surface in each round, the first ones.
_SPREAD = 2.0  # Grey levels that every paper is allowed.
# Powers of x and of y: 1, x, y, xx, xy, yy, xxx and so on; the terms are the first six.
_MONOMIALS = [(degree - y, y) for degree in range(5) for y in range(degree + 1)]
_TERMS = _MONOMIALS[:6]
_PRODUCTS = [[_MONOMIALS.index((a + c, b + d)) for a, b in _TERMS] for c, d in _TERMS]
_PRODUCTS = np.array(_PRODUCTS, np.int32)  # Which monomial two terms make.
_IN_SQUARE = np.eye(9, dtype=np.float32)[[3 * y + x for x, y in _TERMS]]
_RIDGE = 1e-5


def fitted(small: tf.Tensor) -> tf.Tensor:
    """The colour that the paper of [h,w,c] would have at each place, as factors.

    A quadratic surface, which is what lamps and lenses make of a blank sheet, fitted by iteratively
    reweighted least squares: each round gives ink less weight. It starts flat, at the median, and
    bends only in later rounds, as it would bend towards the ink.
    """
    # Of a larger picture each other row and column say as much.
    shape = tf.shape(small)
    step = 1 + tf.cast(tf.reduce_max(shape[:2]) > SIDE // 2, tf.int32)
    channels = shape[2]
    values = tf.reshape(planes(small[::step, ::step]), [channels, -1])
    size = tf.shape(values)[1]
    monomials = _monomials(shape, step)
    terms = monomials[: len(_TERMS)]
    median = nth(values, size // 2)[:, None]
    # Of grey each of the three colours is as far away.
    scale = tf.sqrt(3 / tf.cast(channels, tf.float32))
    values = (values - median) * scale
    with_values = tf.reshape(terms[:, None] * values, [-1, size])
    # The small number keeps a picture of one row solvable.
    squares = tf.gather(monomials, np.diag(_PRODUCTS)) + _RIDGE
    products = tf.concat([squares, monomials, with_values], 0)
    near = tf.cast(0.4 * tf.cast(size - 1, tf.float32), tf.int32)
    weights = _weights(values, near)
    for count in _ROUNDS:
        sums = tf.reshape(tf.matmul(weights, products, transpose_b=True), [-1])
        surface = _solved(sums, count, channels)
        weights = _weights(values - tf.matmul(surface, terms[:count], transpose_a=True), near)
    surface = tf.transpose(surface) / scale + median * np.eye(1, len(_TERMS), dtype=np.float32)
    return tf.reshape(tf.matmul(surface, _IN_SQUARE), [-1, 3, 3])


def _monomials(shape: tf.Tensor, step: tf.Tensor):
    """The monomials of x and y at every so many rows and columns of a picture: float32 [15,n]."""
    y, x = places(shape[0])[::step, None], places(shape[1])[::step]
    y, x = (tf.reshape(values, [1, -1]) for values in (y + 0 * x, x + 0 * y))
    square = tf.concat([x * x, x * y, y * y], 0)
    cube = tf.concat([x * square, y * square[2:]], 0)
    return tf.concat([tf.ones_like(x), x, y, square, cube, x * cube, y * cube[3:]], 0)


def _solved(sums: tf.Tensor, count: int, channels: tf.Tensor):
    """The factors [count,c] of the first terms, from weighted sums.

    Args:
      sums: float32 [21+6c], of the terms' squares, of all monomials, and of each term times the
        values of each colour.
    """
    index = np.where(np.eye(count, dtype=bool), np.arange(count), 6 + _PRODUCTS[:count, :count])
    normal = tf.gather(sums, index)
    start = len(_TERMS) + len(_MONOMIALS)
    right = tf.reshape(tf.slice(sums, [start], [count * channels]), [count, -1])
    return tf.linalg.solve(normal, right)


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
    """How much each colour less the paper's [c,n] says about the paper, [1,n].

    Args:
      near: how many of them are closer to the paper than the one that tells their spread.
    """
    distance = tf.reduce_sum(tf.square(difference), 0, keepdims=True)
    spread = tf.maximum(4 * nth(distance, near), _SPREAD**2)
    return tf.math.reciprocal(tf.square(1 + distance / spread))


def nth(values: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """The value at a place, from 0, among sorted values [...,n]."""
    return tf.raw_ops.NthElement(input=values, n=place)
