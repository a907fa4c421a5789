"""The connected parts of a mask, and which of them are a digit."""

from __future__ import annotations

from typing import NamedTuple

from mnist_estimator.compat import tf

_LEAST_SIDE = 0.06  # Of the picture's longer side: what is smaller is a speck.
_MOST_COVER = 0.6  # Of the picture: what covers more is no ink.
_MOST_BORDER = 1.8  # Length on the picture's border over the longer side: what has more is an edge.
_LEAST_PART = 0.04  # Of the largest part's ink: what has less is a speck.
_NEAR = 0.3  # Of the largest part's longer side: what is farther off belongs to something else.
_LEAPS = 4  # In a round of numbering, each to the number of a number.
_MARGIN = 2  # Of places around the mask where runs are looked for.


class Digit(NamedTuple):
    """Where a digit is.

    Attributes:
      kept: bool [h,w], its strokes and their eight neighbours.
      box: int32 [2,2], the first row and column of what is kept, and those behind the last ones.
      is_digit: bool [], whether it is one.
    """

    kept: tf.Tensor
    box: tf.Tensor
    is_digit: tf.Tensor


class _Runs(NamedTuple):
    """Neighbours in a row of a mask that are True, all int32 [r].

    Attributes:
      row: where they are.
      first: their first column.
      end: the column behind the last one.
      part: the number of the part that they belong to.
    """

    row: tf.Tensor
    first: tf.Tensor
    end: tf.Tensor
    part: tf.Tensor


class _Parts(NamedTuple):
    """Parts of a mask, all float32 [p], but for the ends.

    Attributes:
      ends: [p,4], of their boxes: less the first row, less the first column, behind the last row,
        behind the last column.
      side: the longer one of the box.
      mass: of the ink.
      border: length on the picture's border.
      covered: places.
    """

    ends: tf.Tensor
    side: tf.Tensor
    mass: tf.Tensor
    border: tf.Tensor
    covered: tf.Tensor


def largest(mask: tf.Tensor, ink: tf.Tensor) -> Digit:
    """Looks for a digit among the ink on a picture.

    Args:
      mask: bool [h,w], where there is ink.
      ink: float32 [h,w], how much is there.
    """
    shape = tf.shape(mask)
    runs, wide_runs, wide, count = _numbered(mask)
    found = _measured(runs, count, ink * tf.cast(mask, tf.float32))
    # The edge of a sheet or a shadow lies along the border, a digit meets it here and there.
    along = tf.maximum(0.5 * (1 - found.border / found.side), 0.05)
    is_inner = tf.cast(found.border <= 0, tf.float32)
    likely = along * (1 - is_inner) + is_inner
    main = tf.argmax(found.mass * likely, output_type=tf.int32)
    belongs = _belonging(found, main)
    kept = wide & ~_drawn(wide_runs, ~tf.gather(belongs, wide_runs.part), shape)
    return Digit(kept, _box(found, belongs, shape), _is_digit(found, main, belongs, shape))


def _is_digit(found: _Parts, main: tf.Tensor, belongs: tf.Tensor, shape: tf.Tensor):
    side, border = tf.gather(found.side, main), tf.gather(found.border, main)
    size = tf.cast(shape, tf.float32)
    inner = found.mass * tf.cast(found.border <= 0, tf.float32)
    kept = tf.cast(belongs, tf.float32)
    return (
        (side >= tf.maximum(_LEAST_SIDE * tf.reduce_max(size), 3.0))
        & (border <= _MOST_BORDER * side)
        & (tf.reduce_sum(found.covered * kept) <= _MOST_COVER * tf.reduce_prod(size))
        # Texture is strewn all over the paper.
        & (tf.reduce_sum(found.mass * kept) >= 0.5 * tf.reduce_sum(inner))
    )


def _measured(runs: _Runs, count: tf.Tensor, ink: tf.Tensor):
    """Measures parts of which runs are known, and the ink [h,w], 0 where there are none."""
    height, width = tf.unstack(tf.shape(ink), num=2)
    mass = tf.reduce_sum(tf.gather(ink, runs.row) * _columns(runs.first, runs.end, width), 1)
    length = runs.end - runs.first
    at_sides = tf.cast(tf.equal(runs.first, 0), tf.int32) + tf.cast(runs.end >= width, tf.int32)
    lies_along = tf.cast(tf.equal(runs.row, 0) | (runs.row + 1 >= height), tf.int32)
    border = tf.minimum(at_sides + length * lies_along, length)
    covered_and_border = tf.cast(tf.stack([length, border], 1), tf.float32)
    totals = tf.concat([covered_and_border, mass[:, None]], 1)
    totals = tf.math.unsorted_segment_sum(totals, runs.part, count)
    covered, border, mass = tf.unstack(totals, num=3, axis=1)
    ends = tf.stack([-runs.row, -runs.first, runs.row + 1, runs.end], 1)
    ends = tf.math.unsorted_segment_max(tf.cast(ends, tf.float32), runs.part, count)
    ends = tf.maximum(ends, -1e6)  # Of a part without runs.
    side = tf.reduce_max(ends[:, 2:] + ends[:, :2], 1)
    return _Parts(ends, side, mass, border, covered)


def _belonging(found: _Parts, main: tf.Tensor):
    """Which parts belong to the main one: bool [p]."""
    of_main = _Parts(*(tf.gather(values, main) for values in found))
    near = _NEAR * of_main.side
    belongs = (
        (found.mass >= _LEAST_PART * of_main.mass)
        & ((found.border <= 0) | (of_main.border > 0))
        # Each begins before the other ends, or nearly so.
        & tf.reduce_all(found.ends > -tf.gather(of_main.ends, [2, 3, 0, 1]) - near, 1)
    )
    is_main = tf.equal(tf.range(tf.size(found.mass)), main)
    return (belongs | is_main) & (found.mass > 0)


def _box(found: _Parts, belongs: tf.Tensor, shape: tf.Tensor):
    """The box around some parts and their neighbours, int32 [2,2]: one place if there are none."""
    others = 1e6 * (1 - tf.cast(belongs, tf.float32))
    ends = tf.cast(tf.reduce_max(found.ends - others[:, None], 0), tf.int32)
    first = tf.clip_by_value(-ends[:2] - 1, 0, shape - 1)
    return tf.stack([first, tf.clip_by_value(ends[2:] + 1, first + 1, shape)])


def _drawn(runs: _Runs, chosen: tf.Tensor, shape: tf.Tensor):
    """A mask of this shape, bool [h,w], that is True where runs are that are chosen."""
    chosen = tf.where(chosen)[:, 0]
    row, first, end = (tf.gather(values, chosen) for values in runs[:3])
    is_row = tf.cast(tf.equal(tf.range(shape[0]), row[:, None]), tf.float32)
    return tf.matmul(is_row, _columns(first, end, shape[1]), transpose_a=True) > 0


def _columns(first: tf.Tensor, end: tf.Tensor, width: tf.Tensor):
    """Rows [r,width] that are 1.0 from a first column [r] up to an end [r], and else 0.0."""
    columns = tf.range(width)
    return tf.cast((columns >= first[:, None]) & (columns < end[:, None]), tf.float32)


def _numbered(mask: tf.Tensor):
    """Numbers the parts of a mask [h,w]. Parts that nearly touch are one.

    Returns:
      The runs of the mask; those of the mask and its neighbours, of which there are some hundred;
      the latter mask, bool [h,w]; and the number of parts, int32 [], of which one has no runs.
    """
    margin = _MARGIN + 1
    padded = tf.pad(mask, [[margin, margin], [margin, margin]])
    wide = _grown(padded)
    width = tf.shape(wide)[1]
    flat, starts, ends = _flat_runs(wide)
    count = tf.size(starts) + 1  # One more, so that there is a part.
    # Of two runs that touch, also at a corner, the one that starts later starts beside the other.
    around = starts[:, None] + tf.stack([-width - 1, -width, width - 1, width])
    touching = tf.where(tf.gather(flat, around))
    ones = tf.cast(touching[:, 0], tf.int32)
    others = _run_at(starts, tf.gather_nd(around, touching))
    numbers = _joined(tf.concat([ones, others], 0), tf.concat([others, ones], 0), count)
    _, first, end = _flat_runs(padded[1:-1, 1:-1])
    runs = _placed(first, end, width, tf.gather(numbers, _run_at(starts, first)))
    inner = slice(_MARGIN, -_MARGIN)
    return runs, _placed(starts, ends, width, numbers[:-1]), wide[inner, inner], count


def _flat_runs(mask: tf.Tensor):
    """A mask as one row, and the first places of its runs there, and those behind the last."""
    flat = tf.reshape(mask, [-1])
    changes = tf.cast(tf.where(tf.not_equal(flat[1:], flat[:-1])), tf.int32) + 1
    starts, ends = tf.unstack(tf.reshape(changes, [-1, 2]), num=2, axis=1)
    return flat, starts, ends


def _run_at(starts: tf.Tensor, places: tf.Tensor):
    """Which run each place is in, int32, if it is in one."""
    return tf.raw_ops.UpperBound(sorted_inputs=starts[None], values=places[None])[0] - 1


def _placed(starts: tf.Tensor, ends: tf.Tensor, width: tf.Tensor, part: tf.Tensor):
    row = starts // width
    left = row * width + _MARGIN
    return _Runs(row - _MARGIN, starts - left, ends - left, part)


def _joined(ones: tf.Tensor, others: tf.Tensor, count: tf.Tensor):
    """Numbers `count` things so that those that touch, in pairs [e], have the same number.

    In each round what has a number takes the highest among its neighbours, and then some times the
    number of that number. So each round leaves less than half of the distance.
    """

    def step(numbers: tf.Tensor, _: tf.Tensor):
        found = tf.math.unsorted_segment_max(
            tf.gather(numbers, others), tf.gather(numbers, ones), count
        )
        joined = tf.maximum(numbers, found)
        for _ in range(_LEAPS):
            joined = tf.gather(joined, joined)
        return joined, tf.reduce_any(tf.not_equal(joined, numbers))

    start = (tf.range(count), tf.constant(True))
    shapes = (tf.TensorShape([None]), tf.TensorShape([]))
    return tf.while_loop(lambda _, changed: changed, step, start, shapes, 1)[0]


def _grown(mask: tf.Tensor):
    """The places of a mask [h,w] and their eight neighbours, without the border: [h-2,w-2]."""
    wide = mask[:, :-2] | mask[:, 1:-1] | mask[:, 2:]
    return wide[:-2] | wide[1:-1] | wide[2:]
