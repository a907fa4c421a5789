"""The handwritten digit on a picture -> an image made the way MNIST's were made.

MNIST's digits were size-normalized to fit a 20x20 box, their aspect kept, with grey levels from
anti-aliasing, and placed in a 28x28 frame by their centre of mass (LeCun, Cortes and Burges, "The
MNIST database of handwritten digits"). A network that has seen only such images reads no others, so
`digit` finds the ink of any picture and does the same with it.
"""

from __future__ import annotations

from typing import NamedTuple

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
      paper: float32 [3,3], the paper's grey level, a surface as of `paper.level`.
      shade: float32 [3,3], the paper's mean colour; of dark paper, which has none, 1.
      least_shade: float32 [], what is darker counts as this.
      ink: float32 [], turns grey levels less the paper's, divided by the shade, into ink.
    """

    direction: tf.Tensor
    paper: tf.Tensor
    shade: tf.Tensor
    least_shade: tf.Tensor
    ink: tf.Tensor


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
    sheet = _sheet(small, paper.fitted(shrunk(small, paper.SIDE)))
    kept, level, has_ink = _strokes(_ink(small, sheet, *_powers(small)))
    # A digit that is large on the grid is cut out there, as what is more would be averaged away.
    box = [_ends(tf.reduce_any(kept, 1 - axis)) for axis in (0, 1)]
    side = tf.reduce_max([last - first for first, last in box])
    is_large = side >= _LARGE * max(height, width)
    source = tf.cond(is_large, lambda: tf.identity(small), lambda: tf.identity(pixels))
    fitted = _fitted(_cut_out(source, sheet, kept, box, level), height, width)
    image = _centred(fitted, height, width)
    has_ink &= ~_is_blob(image, height, width)
    image = tf.cast(tf.round(255 * image), tf.uint8)
    return tf.where(has_ink, image, tf.zeros_like(image)), has_ink


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
    """What is known of the sheet on [h,w,c] whose paper has the colours `surface` [c,3,3]."""
    rows, columns = _powers(pixels)
    difference = paper.planes(pixels) - paper.colours(surface, rows, columns)
    flat = tf.reshape(difference, [tf.shape(pixels)[2], -1])
    direction = _direction(flat)
    grey = tf.reshape(tf.matmul(direction, flat), tf.shape(pixels)[:2])
    is_dark = _is_dark(grey)
    mean = tf.reduce_mean(surface, 0)
    level = tf.reduce_mean(paper.level(mean, rows, columns))
    flat = tf.constant([[1.0, 0, 0], [0, 0, 0], [0, 0, 0]])
    return _Sheet(
        tf.transpose(direction),
        tf.reshape(tf.matmul(direction, tf.reshape(surface, [-1, 9])), [3, 3]),
        tf.where(is_dark, mean, flat),
        tf.where(is_dark, level / 4 + 1e-6, 1.0),
        tf.where(is_dark, -level, 1.0),
    )


def _powers(pixels: tf.Tensor):
    return [paper.powers(tf.shape(pixels)[axis]) for axis in (0, 1)]


def _direction(difference: tf.Tensor):
    """The direction of most change of colours less the paper's [c,n]: float32 [1,c].

    The first principal component. Lighter is positive.
    """
    moments = tf.matmul(difference, difference, transpose_b=True)
    direction = tf.linalg.eigh(moments)[1][:, -1]
    direction *= tf.where(tf.reduce_sum(direction) < 0, -1.0, 1.0)
    return direction[None] / tf.sqrt(tf.cast(tf.size(direction), tf.float32))


def _is_dark(grey: tf.Tensor):
    """Whether the ink among grey levels less the paper's [h,w] is darker than the paper: bool [].

    Ink is what little there is far from the paper; near the border it may be the edge of a sheet.
    """
    rows, columns = (1 - 0.8 * paper.places(tf.shape(grey)[axis]) ** 4 for axis in (0, 1))
    inner = tf.matmul(rows[None], grey * grey * grey)
    return tf.reduce_sum(inner * columns) < 0


def _ink(pixels: tf.Tensor, sheet: _Sheet, rows: tf.Tensor, columns: tf.Tensor):
    """The ink [h,w] of pixels [h,w,c] that are at places of a sheet with these powers.

    Corrects uneven light: in the shade dark ink differs less from the paper.
    """
    grey = tf.cond(
        tf.equal(tf.shape(pixels)[2], 1),
        lambda: tf.identity(pixels),  # The direction is 1.
        lambda: tf.matmul(tf.reshape(pixels, [-1, 3]), sheet.direction),
    )
    grey = tf.reshape(grey, tf.shape(pixels)[:2]) - paper.level(sheet.paper, rows, columns)
    shade = tf.maximum(paper.level(sheet.shade, rows, columns), sheet.least_shade)
    return grey * (sheet.ink / shade)


def _strokes(ink: tf.Tensor):
    """Looks for the digit's strokes among grey levels above the paper [h,w].

    Returns:
      kept: bool [h,w], the strokes and a margin; no specks, no edges.
      level: float32 [], how dark they are.
      has_ink: bool [], whether they are a digit's.
    """
    noise = _noise(ink)
    least = tf.maximum(3.5 * noise, _LEAST_CONTRAST / 2)
    level = _level(_chosen(ink, ink > least)[0])
    mask = ink > tf.maximum(least, 0.3 * level)
    values, places = _chosen(ink, mask)
    is_kept, has_ink = parts.largest(mask, places, values)
    kept = tf.where(is_kept)
    level = _level(tf.gather_nd(values, kept))
    has_ink &= (level > _LEAST_CONTRAST) & (level > _LEAST_NOISES * noise)
    return parts.grown(parts.mask(tf.gather_nd(places, kept), tf.shape(ink))), level, has_ink


def _chosen(ink: tf.Tensor, mask: tf.Tensor):
    """The ink under a mask, float32 [n], and its rows and columns, int64 [n,2]."""
    places = tf.where(mask)
    return tf.gather_nd(ink, places), places


def _noise(ink: tf.Tensor):
    """The standard deviation of the paper, of which at least 40% is to be seen."""
    return paper.quantile(tf.reshape(tf.abs(ink), [-1]), 0.4) / 0.524  # Of a normal distribution.


def _level(ink: tf.Tensor):
    """How dark strokes of this ink [n] are where they are not thinned out: float32 []."""
    return paper.quantile(tf.concat([[0.0], ink], 0), 0.7)


def _cut_out(
    pixels: tf.Tensor,
    sheet: _Sheet,
    kept: tf.Tensor,
    box: list[tuple[tf.Tensor, tf.Tensor]],
    level: tf.Tensor,
):
    """The ink, from 0 to 1, of the part of [h,w,c] that a smaller mask keeps: [h',w'].

    Args:
      box: the ends of what is kept, of its rows and of its columns.
    """
    shape, grid = tf.shape(pixels), tf.shape(kept)
    floor = tf.minimum(2.5 * _noise(_sampled_ink(pixels, sheet)), 0.4 * level)
    bounds, nearest = [], []
    for axis, (first, last) in enumerate(box):
        first = first * shape[axis] // grid[axis]
        last = (last * shape[axis] + grid[axis] - 1) // grid[axis]
        middles = 2 * tf.range(first, last) + 1
        nearest.append(middles * grid[axis] // (2 * shape[axis]))
        bounds.append((first, last))
    rows, columns = (slice(*bound) for bound in bounds)
    kept = tf.gather(tf.gather(kept, nearest[1], axis=1), nearest[0])
    ink = (_ink_at(pixels, sheet, rows, columns) - floor) / (level - floor + 1e-6)
    return tf.clip_by_value(ink, 0, 1) * tf.cast(kept, tf.float32)


def _sampled_ink(pixels: tf.Tensor, sheet: _Sheet):
    """The ink of rows and columns of [h,w,c], of each as many as tell how noisy they are."""
    step = (tf.reduce_max(tf.shape(pixels)[:2]) + paper.SIDE - 1) // paper.SIDE
    return _ink_at(pixels, sheet, slice(None, None, step), slice(None, None, step))


def _ink_at(pixels: tf.Tensor, sheet: _Sheet, rows: slice, columns: slice):
    """The ink of some rows and columns of [h,w,c]."""
    all_rows, all_columns = _powers(pixels)
    return _ink(pixels[rows, columns], sheet, all_rows[:, rows], all_columns[:, columns])


def _ends(found: tf.Tensor):
    """The first place of [n] that is True, and the one behind the last: one place if none is."""
    places = tf.cast(tf.where(found)[:, 0], tf.int32)
    first = tf.reduce_min(tf.concat([places, [tf.size(found) - 1]], 0))
    return first, tf.reduce_max(tf.concat([places, [first]], 0)) + 1


def _fitted(ink: tf.Tensor, height: int, width: int):
    """Ink [h,w] cut out and resized to the box of a frame, its aspect kept: [h',w'], 0 to 1."""
    top, bottom = _ends(tf.reduce_max(ink, 1) > 0.05)
    left, right = _ends(tf.reduce_max(ink, 0) > 0.05)
    cut = ink[top:bottom, left:right]
    size = tf.cast(tf.shape(cut), tf.float32)
    scale = tf.reduce_min([round(_BOX * height), round(_BOX * width)] / size)
    wanted = tf.maximum(tf.cast(tf.round(size * scale), tf.int32), 1)
    resized = tf.raw_ops.ScaleAndTranslate(
        images=cut[None, ..., None],
        size=wanted,
        scale=tf.cast(wanted, tf.float32) / size,
        translation=[0.0, 0.0],
        kernel_type="keyscubic",
        antialias=True,
    )[0, ..., 0]
    # Thin strokes have become grey.
    level = _level(_chosen(resized, resized > 0.5 * tf.reduce_max(resized))[0])
    return tf.clip_by_value(resized / tf.clip_by_value(level, 0.1, 1.0), 0, 1)


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
    mass = tf.reduce_sum(digit) + 1e-6
    offsets = []
    for axis, length in ((1, height), (0, width)):
        profile = tf.reduce_sum(digit, axis)
        size = tf.shape(profile)[0]
        centre = tf.reduce_sum(profile * tf.range(tf.cast(size, tf.float32))) / mass
        # Whole pixels, as anything between would blur what is anti-aliased already.
        offset = tf.cast(tf.round(length / 2 - centre), tf.int32)
        offset = tf.clip_by_value(offset, 0, length - size)
        offsets.append([offset, length - size - offset])
    image = tf.pad(digit, offsets)
    return tf.ensure_shape(image, [height, width])
