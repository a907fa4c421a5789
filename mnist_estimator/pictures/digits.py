"""The handwritten digit on a picture -> an image made the way MNIST's were made.

MNIST's digits were size-normalized to fit a 20x20 box, their aspect kept, with grey levels from
anti-aliasing, and placed in a 28x28 frame by their centre of mass (LeCun, Cortes and Burges, "The
MNIST database of handwritten digits"). A network that has seen only such images reads no others, so
`digit` finds the ink of any picture and does the same with it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mnist_estimator.compat import tf
from mnist_estimator.pictures import paper, parts
from mnist_estimator.pictures.decoding import shrunk

_BOX = 20 / 28  # Of the frame: the box that the digit fits.
WORK_SIDE = 320  # A picture's longer side, at most, where its digit is cut out.
_GRID_SIDE = 128  # The same where its digit is looked for.
_LARGE = 3  # Sides of a frame: a digit of so many pixels loses nothing that the frame would show.

# What is a stroke, in grey levels of 255 or as a share.
_LEAST_CONTRAST = 12.0
_LEAST_NOISES = 5.0  # Contrast over the paper's noise.
_MOST_WIDTH = 9 / 28  # Of a stroke, of the frame's side.


class _Sheet(NamedTuple):
    """What is known of a picture's paper and ink.

    Attributes:
      direction: float32 [c,1], from colours to grey levels.
      surface: float32 [c,3,3], the paper's colours, a surface each as of `paper.level`.
      is_dark: bool [], whether the ink is darker than the paper.
      level: float32 [], of the paper's mean colour, its mean.
    """

    direction: tf.Tensor
    surface: tf.Tensor
    is_dark: tf.Tensor
    level: tf.Tensor


class _Strokes(NamedTuple):
    """The strokes of a digit on the grid.

    Attributes:
      ink: float32 [h,w], grey levels above the paper.
      kept: bool [h,w], the strokes and a margin; no specks, no edges.
      box: int32 [2,2], the first row and column that are kept, and those behind the last ones.
      level: float32 [], how dark they are.
    """

    ink: tf.Tensor
    kept: tf.Tensor
    box: tf.Tensor
    level: tf.Tensor


def digit(pixels: tf.Tensor, height: int, width: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the digit on one picture and places it in a frame.

    Args:
      pixels: float32 [h,w,1 to 4], from 0 to 255, as `decoding.decoded` gives them.

    Returns:
      image: uint8 [H,W], light strokes on black.
      has_ink: bool [], whether there is something like a digit; where not, the image is all 0.
    """
    pixels = _opaque(pixels)
    small = shrunk(pixels, _GRID_SIDE)
    sheet, ink = _sheet(small, paper.fitted(shrunk(small, paper.SIDE)))
    strokes, has_ink = _strokes(ink)
    # A digit that is large on the grid is cut out there, as what is more would be averaged away.
    is_large = tf.reduce_max(strokes.box[1] - strokes.box[0]) >= _LARGE * max(height, width)
    cut = tf.cond(
        is_large | tf.reduce_all(tf.equal(tf.shape(small), tf.shape(pixels))),
        lambda: _cut_from_grid(strokes),
        lambda: _cut_from_picture(pixels, sheet, strokes),
    )
    image = _centred(_fitted(_cleaned(*cut, strokes.level), height, width), height, width)
    has_ink &= ~_is_blob(image, height, width)
    image = tf.cast(tf.round(255 * image), tf.uint8)
    return image * tf.cast(has_ink, tf.uint8), has_ink


def _opaque(pixels: tf.Tensor):
    """[h,w,1 to 4] -> [h,w,1 or 3]: what is transparent gets a colour that keeps it apart."""
    return tf.cond(
        tf.equal(tf.shape(pixels)[2] % 2, 0),
        lambda: _filled(pixels[..., :-1] + tf.zeros([3]), pixels[..., -1:] / 255),
        lambda: tf.identity(pixels),
    )


def _filled(colours: tf.Tensor, alpha: tf.Tensor):
    # An alpha that is the same everywhere has no meaning: a BMP's fourth byte is often 0.
    varies = tf.reduce_max(alpha) - tf.reduce_min(alpha) > 0.1
    alpha = tf.where(varies, alpha, 1.0)
    mean, spread = _mean(colours, alpha)
    contrast = tf.where(tf.reduce_mean(mean) < 127.5, 255.0, 0.0)
    # A sheet of its own with a digit on it, cut out: what lies around is to look like the sheet.
    typical = alpha * tf.cast(tf.norm(colours - mean, axis=-1, keepdims=True) <= spread, tf.float32)
    cut_out = (tf.reduce_mean(alpha) > 0.5) & (spread > 40)
    fill = tf.where(cut_out, _mean(colours, typical)[0], contrast)
    return colours * alpha + fill * (1 - alpha)


def _mean(colours: tf.Tensor, weights: tf.Tensor):
    """The mean [3] of colours [h,w,3] and how far they are from it, float32 []."""
    total = tf.reduce_sum(weights) + 1e-6
    mean = tf.reduce_sum(colours * weights, [0, 1]) / total
    return mean, tf.sqrt(tf.reduce_sum(weights * (colours - mean) ** 2) / total)


def _sheet(pixels: tf.Tensor, surface: tf.Tensor):
    """What is known of the sheet on [h,w,c] whose paper has the colours `surface` [c,3,3].

    Returns also the ink, as of `_ink`, which is found on the way.
    """
    rows, columns = _powers(pixels)
    direction, grey = tf.cond(
        tf.equal(tf.shape(pixels)[2], 1),
        lambda: (tf.ones([1, 1]), pixels[..., 0] - paper.level(surface[0], rows, columns)),
        lambda: _grey(paper.planes(pixels) - paper.colours(surface, rows, columns)),
    )
    is_dark = _is_dark(grey, rows, columns)
    light = paper.level(tf.reduce_mean(surface, 0), rows, columns)
    sheet = _Sheet(direction, surface, is_dark, tf.reduce_mean(light))
    return sheet, _without_shade(grey, light, sheet)


def _powers(pixels: tf.Tensor):
    return [paper.powers(tf.shape(pixels)[axis]) for axis in (0, 1)]


def _grey(difference: tf.Tensor):
    """Of colours less the paper's [c,h,w] the direction [c,1] and the grey levels [h,w]."""
    shape = tf.shape(difference)
    flat = tf.reshape(difference, [shape[0], -1])
    direction = _direction(flat)
    return tf.transpose(direction), tf.reshape(tf.matmul(direction, flat), shape[1:])


def _direction(difference: tf.Tensor):
    """The direction of most change of colours less the paper's [c,n]: float32 [1,c].

    The first principal component. Lighter is positive.
    """
    moments = tf.matmul(difference, difference, transpose_b=True)
    direction = tf.linalg.eigh(moments)[1][:, -1]
    direction *= tf.where(tf.reduce_sum(direction) < 0, -1.0, 1.0)
    return direction[None] / tf.sqrt(tf.cast(tf.size(direction), tf.float32))


def _is_dark(grey: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor):
    """Whether the ink among grey levels less the paper's [h,w] is darker than the paper: bool [].

    Ink is what little there is far from the paper; near the border it may be the edge of a sheet.

    Args:
      rows: float32 [3,h], the powers of places.
      columns: float32 [3,w].
    """
    inner = tf.matmul(1 - 0.8 * tf.square(rows[2:]), grey * grey * grey)
    return tf.reduce_sum(inner * (1 - 0.8 * tf.square(columns[2:]))) < 0


def _ink(pixels: tf.Tensor, sheet: _Sheet, rows: tf.Tensor, columns: tf.Tensor):
    """The ink [h,w] of pixels [h,w,c] that are at places of a sheet with these powers."""
    grey = tf.reshape(
        tf.matmul(tf.reshape(pixels, [-1, tf.shape(pixels)[2]]), sheet.direction),
        tf.shape(pixels)[:2],
    )
    surface = tf.tensordot(sheet.direction[:, 0], sheet.surface, 1)
    grey -= paper.level(surface, rows, columns)
    light = paper.level(tf.reduce_mean(sheet.surface, 0), rows, columns)
    return _without_shade(grey, light, sheet)


def _without_shade(grey: tf.Tensor, light: tf.Tensor, sheet: _Sheet):
    """Turns grey levels less the paper's [h,w] into ink.

    Corrects uneven light: in the shade dark ink differs less from the paper.

    Args:
      light: float32 [h,w], the paper's mean colour.
    """
    by_shade = -sheet.level / tf.maximum(light, sheet.level / 4 + 1e-6)
    # Not tf.where: it takes ten times as long where it repeats a condition.
    is_dark = tf.cast(sheet.is_dark, tf.float32)
    return grey * (by_shade * is_dark + (1 - is_dark))


def _strokes(ink: tf.Tensor):
    """Looks for the digit's strokes among grey levels above the paper [h,w].

    Returns the strokes, and whether they are a digit's, bool [].
    """
    noise = _noise(ink)
    least = tf.maximum(3.5 * noise, _LEAST_CONTRAST / 2)
    least = tf.maximum(least, 0.3 * _level(ink, least))
    kept, box, is_digit = parts.largest(ink > least, ink)
    inner = _slice(ink, box)
    is_stroke = _slice(kept, box) & (inner > least)
    level = _level(inner * tf.cast(is_stroke, tf.float32), 0.0)
    is_digit &= (level > _LEAST_CONTRAST) & (level > _LEAST_NOISES * noise)
    return _Strokes(ink, kept, box, level), is_digit


def _slice(values: tf.Tensor, box: tf.Tensor):
    """What of [h,w] is in a box [2,2]."""
    return tf.slice(values, box[0], box[1] - box[0])


def _noise(ink: tf.Tensor):
    """The standard deviation of the paper, of which at least 40% is to be seen."""
    flat = tf.abs(tf.reshape(ink, [-1]))
    place = tf.cast(0.4 * tf.cast(tf.size(flat) - 1, tf.float32), tf.int32)
    return paper.nth(flat, place) / 0.524  # Of a normal distribution.


def _level(ink: tf.Tensor, least: tf.Tensor | float):
    """How dark strokes are, of ink [h,w] above `least`, where they are not thinned out: [].

    The value that 70% of them and a 0 do not exceed.
    """
    flat = tf.reshape(ink, [-1])
    count = tf.reduce_sum(tf.cast(flat > least, tf.float32))
    place = tf.cast(0.7 * count, tf.int32)
    # They are the largest of all.
    found = paper.nth(flat, tf.size(flat) - tf.maximum(tf.cast(count, tf.int32) - place + 1, 1))
    return found * tf.cast(place > 0, tf.float32)


def _cut_from_grid(strokes: _Strokes):
    """The ink, and what is kept, of the box around a digit: [h',w'] both; and the noise there."""
    step = _step(strokes.ink)
    kept = tf.cast(_slice(strokes.kept, strokes.box), tf.float32)
    return _slice(strokes.ink, strokes.box), kept, _noise(strokes.ink[::step, ::step])


def _cut_from_picture(pixels: tf.Tensor, sheet: _Sheet, strokes: _Strokes):
    """The same as `_cut_from_grid` of [h,w,c], which has more pixels than the grid."""
    shape, grid = tf.shape(pixels)[:2], tf.shape(strokes.kept)
    first = strokes.box[0] * shape // grid
    last = (strokes.box[1] * shape + grid - 1) // grid
    rows, columns = (slice(first[axis], last[axis]) for axis in (0, 1))
    kept = strokes.kept
    for axis in (0, 1):
        middles = 2 * tf.range(first[axis], last[axis]) + 1
        kept = tf.gather(kept, middles * grid[axis] // (2 * shape[axis]), axis=axis)
    ink = _ink_at(pixels, sheet, rows, columns)
    some = slice(None, None, _step(pixels))
    return ink, tf.cast(kept, tf.float32), _noise(_ink_at(pixels, sheet, some, some))


def _step(pixels: tf.Tensor):
    """Of rows and columns of [h,w,...] each so many tell how noisy they are."""
    return (tf.reduce_max(tf.shape(pixels)[:2]) + paper.SIDE - 1) // paper.SIDE


def _ink_at(pixels: tf.Tensor, sheet: _Sheet, rows: slice, columns: slice):
    """The ink of some rows and columns of [h,w,c]."""
    all_rows, all_columns = _powers(pixels)
    return _ink(pixels[rows, columns], sheet, all_rows[:, rows], all_columns[:, columns])


def _cleaned(ink: tf.Tensor, kept: tf.Tensor, noise: tf.Tensor, level: tf.Tensor):
    """Ink [h,w] that is brought to 0 to 1, without what is not kept."""
    floor = tf.minimum(2.5 * noise, 0.4 * level)
    return tf.clip_by_value((ink - floor) / (level - floor + 1e-6), 0, 1) * kept


def _fitted(ink: tf.Tensor, height: int, width: int):
    """Ink [h,w] cut out and resized to the box of a frame, its aspect kept: [h',w'], 0 to 1."""
    box = tf.stack([_ends(tf.reduce_max(ink, 1 - axis) > 0.05) for axis in (0, 1)], 1)
    size = tf.cast(box[1] - box[0], tf.float32)
    scale = tf.reduce_min([round(_BOX * height), round(_BOX * width)] / size)
    wanted = tf.maximum(tf.cast(tf.round(size * scale), tf.int32), 1)
    rows, columns = (_cubic(size[axis], wanted[axis]) for axis in (0, 1))
    resized = tf.matmul(tf.matmul(rows, _slice(ink, box)), columns, transpose_b=True)
    # Thin strokes have become grey.
    level = _level(resized, 0.5 * tf.reduce_max(resized))
    return tf.clip_by_value(resized / tf.clip_by_value(level, 0.1, 1.0), 0, 1)


def _cubic(size: tf.Tensor, wanted: tf.Tensor):
    """Weights [wanted,size] that resize an axis, by cubic convolution (Keys 1981), anti-aliased."""
    step = size / tf.cast(wanted, tf.float32)
    middles = (tf.range(tf.cast(wanted, tf.float32)) + 0.5) * step
    distance = tf.abs(tf.range(size) + 0.5 - middles[:, None]) / tf.maximum(step, 1.0)
    # Two cubics, the one up to a distance of 2, and what is more up to 1.
    outer = tf.maximum(2 - distance, 0)
    inner = tf.maximum(1 - distance, 0)
    weights = 0.5 * outer * outer * (outer - 1) + inner * inner * (1 - 2 * inner)
    return weights / tf.reduce_sum(weights, 1, keepdims=True)


def _ends(found: tf.Tensor):
    """The first place of [n] that is True, and the one behind the last: one place if none is."""
    found, size = tf.cast(found, tf.int32), tf.size(found)
    up = tf.range(1, size + 1)
    first = tf.minimum(size - tf.reduce_max(found * (size + 1 - up)), size - 1)
    return tf.stack([first, tf.maximum(tf.reduce_max(found * up), first + 1)])


def _is_blob(image: tf.Tensor, height: int, width: int):
    """Whether a digit in its frame [H,W] is filled wider than any stroke: bool []."""
    side = round(_MOST_WIDTH * min(height, width))
    # Sums over all squares of this side: a pooling of one channel takes a hundred times as long.
    rows, columns = (
        tf.constant(
            [[float(0 <= at - start < side) for at in range(whole)] for start in range(whole)]
        )
        for whole in (height, width)
    )
    filled = tf.matmul(rows, tf.cast(image > 0.5, tf.float32))
    return tf.reduce_max(tf.matmul(filled, columns, transpose_b=True)) > 0.99 * side * side


def _centred(digit: tf.Tensor, height: int, width: int):
    """Places a digit in the frame [H,W] with its centre of mass in the middle."""
    size = tf.shape(digit)
    moments = []
    for axis in (0, 1):
        profile = tf.reduce_sum(digit, 1 - axis)
        moments.append(tf.reduce_sum(profile * tf.range(tf.cast(size[axis], tf.float32))))
    centre = tf.stack(moments) / (tf.reduce_sum(digit) + 1e-6)
    # Whole pixels, as anything between would blur what is anti-aliased already.
    offset = tf.cast(tf.round(np.float32([height / 2, width / 2]) - centre), tf.int32)
    spare = [height, width] - size
    offset = tf.clip_by_value(offset, 0, spare)
    image = tf.pad(digit, tf.stack([offset, spare - offset], 1))
    return tf.ensure_shape(image, [height, width])
