"""The connected parts of a mask, and which of them are a digit."""

from __future__ import annotations

from typing import NamedTuple

from mnist_estimator.compat import tf

_LEAST_SIDE = 0.06  # Of the picture's longer side: what is smaller is a speck.
_MOST_COVER = 0.6  # Of the picture: what covers more is no ink.
_MOST_BORDER = 1.8  # Length on the picture's border over the longer side: what has more is an edge.
_LEAST_PART = 0.04  # Of the largest part's ink: what has less is a speck.
_NEAR = 0.3  # Of the largest part's longer side: what is farther off belongs to something else.


class _Parts(NamedTuple):
    """Parts of a mask, all float32 [p]: their boxes, the ends exclusive, and what is in them.

    Attributes:
      mass: of the ink.
      border: length on the picture's border.
      covered: places.
    """

    top: tf.Tensor
    left: tf.Tensor
    bottom: tf.Tensor
    right: tf.Tensor
    side: tf.Tensor
    mass: tf.Tensor
    border: tf.Tensor
    covered: tf.Tensor


def largest(mask: tf.Tensor, places: tf.Tensor, ink: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Looks for a digit among the ink on a picture.

    Args:
      mask: bool [h,w], where there is ink.
      places: int64 [n,2], the same: its rows and columns, as of `tf.where`.
      ink: float32 [n], how much is there.

    Returns:
      Which of the ink is the digit's, bool [n]; and if it is one, bool [].
    """
    shape = tf.shape(mask)
    part, count = _numbered(mask, places)
    found = _measured(places, ink, shape, part, count)
    # The edge of a sheet or a shadow lies along the border, a digit meets it here and there.
    along = tf.maximum(0.5 * (1 - found.border / found.side), 0.05)
    likely = tf.where(found.border > 0, along, 1.0)
    main = tf.one_hot(tf.argmax(found.mass * likely), count)
    kept = _belonging(found, main > 0)
    side, border = (tf.reduce_sum(values * main) for values in (found.side, found.border))
    size = tf.cast(shape, tf.float32)
    inner = tf.where(found.border > 0, 0.0, found.mass)
    is_digit = (
        (side >= tf.maximum(_LEAST_SIDE * tf.reduce_max(size), 3.0))
        & (border <= _MOST_BORDER * side)
        & (tf.reduce_sum(found.covered * kept) <= _MOST_COVER * tf.reduce_prod(size))
        # Texture is strewn all over the paper.
        & (tf.reduce_sum(found.mass * kept) >= 0.5 * tf.reduce_sum(inner))
    )
    return tf.gather(kept, part) > 0, is_digit


def _measured(
    places: tf.Tensor, ink: tf.Tensor, shape: tf.Tensor, part: tf.Tensor, count: tf.Tensor
):
    at_border = tf.equal(places, 0) | tf.equal(places + 1, tf.cast(shape, tf.int64))
    at_border = tf.cast(tf.reduce_any(at_border, 1), tf.float32)
    totals = tf.stack([ink, at_border, tf.ones_like(ink)], 1)
    mass, border, covered = tf.unstack(
        tf.math.unsorted_segment_sum(totals, part, count), num=3, axis=1
    )
    places = tf.cast(places, tf.float32)
    ends = tf.math.unsorted_segment_max(tf.concat([-places, places + 1], 1), part, count)
    top, left, bottom, right = tf.unstack(tf.maximum(ends, -1e6), num=4, axis=1)
    top, left = -top, -left
    side = tf.maximum(bottom - top, right - left)
    return _Parts(top, left, bottom, right, side, mass, border, covered)


def _belonging(found: _Parts, is_main: tf.Tensor):
    """1.0 for each part that belongs to the main one, and else 0.0."""
    main = _Parts(*(tf.reduce_sum(tf.where(is_main, values, 0.0)) for values in found))
    near = _NEAR * main.side
    belongs = (
        (found.mass >= _LEAST_PART * main.mass)
        & ((found.border <= 0) | (main.border > 0))
        & (found.top < main.bottom + near)
        & (found.bottom > main.top - near)
        & (found.left < main.right + near)
        & (found.right > main.left - near)
    )
    return tf.cast((belongs | is_main) & (found.mass > 0), tf.float32)


def _numbered(mask: tf.Tensor, places: tf.Tensor):
    """The number of the part that each place [n,2] of a mask belongs to, int32 [n]; their limit.

    Parts that nearly touch are one. The unit is a run, the neighbours in a row of the grown mask,
    of which there are some hundred.
    """
    width = tf.shape(mask)[1] + 2
    padded = tf.reshape(tf.pad(grown(mask), [[1, 1], [1, 1]]), [-1])
    starts = tf.cast(tf.where(padded[1:] & ~padded[:-1])[:, 0], tf.int32) + 1
    count = tf.size(starts) + 1  # One more, so that there is a part.

    def run_at(place: tf.Tensor):
        return tf.raw_ops.UpperBound(sorted_inputs=starts[None], values=place[None])[0] - 1

    # Of two runs that touch, also at a corner, the one that starts later starts beside the other.
    around = starts[:, None] + tf.stack([-width - 1, -width, width - 1, width])
    touching = tf.where(tf.gather(padded, around))
    ones, others = tf.cast(touching[:, 0], tf.int32), run_at(tf.gather_nd(around, touching))
    numbers = _joined(tf.concat([ones, others], 0), tf.concat([others, ones], 0), count)
    row, column = tf.unstack(tf.cast(places, tf.int32), num=2, axis=1)
    return tf.gather(numbers, run_at((row + 1) * width + column + 1)), count


def _joined(ones: tf.Tensor, others: tf.Tensor, count: tf.Tensor):
    """Numbers `count` things so that those that touch, in pairs [e], have the same number.

    In each round what has a number takes the highest among its neighbours, and then the number of
    that number, twice. So each round at least halves the distance that is left.
    """

    def step(numbers: tf.Tensor, _: tf.Tensor):
        found = tf.math.unsorted_segment_max(
            tf.gather(numbers, others), tf.gather(numbers, ones), count
        )
        joined = tf.maximum(numbers, found)
        joined = tf.gather(joined, joined)
        joined = tf.gather(joined, joined)
        return joined, tf.reduce_any(tf.not_equal(joined, numbers))

    start = (tf.range(count), tf.constant(True))
    shapes = (tf.TensorShape([None]), tf.TensorShape([]))
    return tf.while_loop(lambda _, changed: changed, step, start, shapes, 1)[0]


def grown(mask: tf.Tensor) -> tf.Tensor:
    """The places of a mask, bool [h,w], and their eight neighbours."""
    wide = tf.pad(mask, [[0, 0], [1, 1]])
    wide = wide[:, :-2] | wide[:, 1:-1] | wide[:, 2:]
    high = tf.pad(wide, [[1, 1], [0, 0]])
    return high[:-2] | high[1:-1] | high[2:]


def mask(places: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """A mask of this shape that is True at some places [n,2]."""
    return tf.scatter_nd(places, tf.ones(tf.shape(places)[:1]), tf.cast(shape, tf.int64)) > 0
