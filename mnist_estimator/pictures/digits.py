"""The handwritten digit on a picture -> an image made the way MNIST's were made.

MNIST's digits were size-normalized to fit a 20x20 box, their aspect kept, with grey levels from
anti-aliasing, and placed in a 28x28 frame by their centre of mass (LeCun, Cortes and Burges, "The
MNIST database of handwritten digits"). A network that has seen only such images reads no others, so
`digit` finds the ink of any picture and does the same with it.
"""

from __future__ import annotations

from mnist_estimator.compat import tf
from mnist_estimator.pictures.decoding import shrunk

_BOX = 20 / 28  # Of the frame: the box that the digit fits.
WORK_SIDE = 256  # A picture's longer side, at most, where its digit is looked for.
_GRID_SIDE = 128  # The same where strokes are told from specks.
_PAPER_SIDE = 64  # The same where the paper is estimated.
_PAPER_ROUNDS = (1, 3, 3, 3, 6, 6, 6, 6, 6, 6)  # Terms of the surface in each round.
_PAPER_SPREAD = 2.0  # Grey levels that every paper is allowed.

# What is a stroke, in grey levels of 255 or as a share.
_LEAST_CONTRAST = 12.0
_LEAST_NOISES = 5.0  # Contrast over the paper's noise.
_LEAST_SIDE = 0.06  # Of the picture's longer side: what is smaller is a speck.
_MOST_COVER = 0.6  # Of the picture: what covers more is no ink.
_MOST_BORDER = 1.8  # Length on the picture's border over the longer side: what has more is an edge.
_MOST_WIDTH = 9 / 28  # Of a stroke, of the frame's side.
_LEAST_PART = 0.04  # Of the largest part's ink: what has less is a speck.
_NEAR = 0.3  # Of the largest part's longer side: what is farther off belongs to something else.


def digit(pixels: tf.Tensor, height: int, width: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the digit on one picture and places it in a frame.

    Args:
      pixels: float32 [h,w,1 to 4], from 0 to 255, as `decoding.decoded` gives them.

    Returns:
      image: uint8 [H,W], light strokes on black.
      has_ink: bool [], whether there is something like a digit; where not, the image is all 0.
    """
    pixels = _opaque(pixels)
    paper = _paper(pixels)
    grey = _grey(pixels - paper)
    polarity = _polarity(grey)
    ink, has_ink = _strokes(grey * tf.where(polarity < 0, -_light(paper), 1.0))
    fitted = _fitted(ink, height, width)
    has_ink &= ~_is_blob(fitted, min(height, width))
    image = _centred(fitted, height, width)
    image = tf.cast(tf.round(255 * image), tf.uint8)
    return tf.where(has_ink, image, tf.zeros_like(image)), has_ink


def _opaque(pixels: tf.Tensor):
    """[h,w,1 to 4] -> colours [h,w,3]: what is transparent gets a colour that keeps it apart."""
    channels = tf.shape(pixels)[2]
    colours = pixels[..., : channels - 1 + channels % 2] + tf.zeros([3])
    alpha = tf.where(tf.equal(channels % 2, 0), pixels[..., -1:] / 255, 1.0)
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


def _paper(pixels: tf.Tensor):
    """The colour that the paper would have at each place, float32 [h,w,3].

    A quadratic surface, which is what lamps and lenses make of a blank sheet, fitted to the small
    picture by iteratively reweighted least squares: each round gives ink less weight. It
    starts flat, at the median, and bends only in later rounds, as it would bend towards the ink.
    """
    small = shrunk(pixels, _PAPER_SIDE)
    every = _terms(tf.shape(small))
    values = tf.cast(tf.reshape(small, [-1, 3]), tf.float64)
    weights = _weights(values - tf.sort(values, axis=0)[tf.shape(values)[0] // 2])
    for count in _PAPER_ROUNDS:
        terms = every * tf.constant([1.0] * count + [0.0] * (6 - count), tf.float64)
        weighted = terms * weights
        # The small number keeps a picture of one row solvable.
        normal = tf.matmul(weighted, terms, transpose_a=True) + 1e-6 * tf.eye(6, dtype=tf.float64)
        surface = tf.linalg.solve(normal, tf.matmul(weighted, values, transpose_a=True))
        weights = _weights(values - tf.matmul(terms, surface))
    paper = tf.matmul(_terms(tf.shape(pixels)), surface)
    return tf.reshape(tf.cast(paper, tf.float32), tf.shape(pixels))


def _weights(difference: tf.Tensor):
    """How much each colour less the paper's [n,3] says about the paper, [n,1]."""
    distance = tf.norm(difference, axis=1, keepdims=True)
    spread = tf.maximum(2 * _quantile(distance, 0.4), _PAPER_SPREAD)
    return 1 / (1 + (distance / spread) ** 2) ** 2


def _terms(shape: tf.Tensor):
    """1, x, y, xx, xy, yy of every place of a picture: float64 [h*w,6]."""
    one = tf.constant(1.0, tf.float64)
    rows, columns = (tf.linspace(-one, one, shape[axis]) for axis in (0, 1))
    y, x = (tf.reshape(axis, [-1]) for axis in tf.meshgrid(rows, columns, indexing="ij"))
    return tf.stack([tf.ones_like(x), x, y, x * x, x * y, y * y], axis=1)


def _quantile(values: tf.Tensor, share: float):
    """The value that a share of `values` does not exceed."""
    ordered = tf.sort(tf.reshape(values, [-1]))
    return ordered[tf.cast(share * tf.cast(tf.size(ordered) - 1, tf.float32), tf.int32)]


def _grey(difference: tf.Tensor):
    """Colours less the paper's [h,w,3] -> grey levels [h,w] along the direction of most change.

    The first principal component, by squaring the matrix of second moments again and again: unlike
    iterating on a vector, that cannot start at a right angle to it. Lighter is positive.
    """
    flat = tf.reshape(difference, [-1, 3])
    moments = tf.matmul(flat, flat, transpose_a=True)
    for _ in range(6):
        moments /= tf.linalg.trace(moments) + 1e-30
        moments = tf.matmul(moments, moments)
    direction = moments[:, tf.argmax(tf.linalg.diag_part(moments))]
    direction *= tf.where(tf.reduce_sum(direction) < 0, -1.0, 1.0)
    direction /= tf.norm(direction) + 1e-30
    return tf.linalg.matvec(difference, direction) / 3**0.5


def _polarity(grey: tf.Tensor):
    """1.0 if the ink is lighter than the paper, which is at 0, else -1.0.

    Ink is what little there is far from the paper; near the border it may be the edge of a sheet.
    """
    rows, columns = (1 - 0.8 * tf.linspace(-1.0, 1.0, tf.shape(grey)[axis]) ** 4 for axis in (0, 1))
    return tf.where(tf.reduce_sum(grey**3 * rows[:, None] * columns) < 0, -1.0, 1.0)


def _light(paper: tf.Tensor):
    """Factors [h,w] that correct uneven light: in the shade ink differs less from the paper."""
    grey = tf.reduce_mean(paper, -1)
    mean = tf.reduce_mean(grey)
    return mean / tf.maximum(grey, mean / 4 + 1e-6)


def _strokes(ink: tf.Tensor):
    """Grey levels above the paper [h,w] -> the digit's ink from 0 to 1 [h,w], and if there is one.

    Specks, edges and the paper's noise become 0.
    """
    grid = shrunk(ink[..., None], _GRID_SIDE)[..., 0]
    noise = _noise(grid)
    least = tf.maximum(3.5 * noise, _LEAST_CONTRAST / 2)
    level = _level(grid, grid > least)
    mask = grid > tf.maximum(least, 0.3 * level)
    kept, has_ink = _largest(mask, tf.nn.relu(grid))
    level = _level(grid, mask & kept)
    has_ink &= (level > _LEAST_CONTRAST) & (level > _LEAST_NOISES * noise)
    kept = tf.image.resize(
        tf.cast(kept, tf.float32)[..., None],
        tf.shape(ink),
        tf.image.ResizeMethod.NEAREST_NEIGHBOR,
    )[..., 0]
    floor = tf.minimum(2.5 * _noise(ink), 0.4 * level)
    return kept * tf.clip_by_value((ink - floor) / (level - floor + 1e-6), 0, 1), has_ink


def _noise(ink: tf.Tensor):
    """The standard deviation of the paper, of which at least 40% is to be seen."""
    return _quantile(tf.abs(ink), 0.4) / 0.524  # Of a normal distribution.


def _level(ink: tf.Tensor, mask: tf.Tensor):
    """How dark the strokes under a mask are where they are not thinned out: float32 []."""
    values = tf.sort(tf.boolean_mask(ink, mask))
    values = tf.concat([[0.0], values], 0)
    return values[tf.cast(0.7 * tf.cast(tf.size(values) - 1, tf.float32), tf.int32)]


def _largest(mask: tf.Tensor, ink: tf.Tensor):
    """The part of a mask [h,w] that is the digit, with a margin: bool [h,w]; and if it is one."""
    # Parts that nearly touch are one.
    labels = _labels(_grown(mask))
    part = tf.reshape(labels, [-1])
    count = tf.size(part) + 1
    inked = tf.reshape(mask, [-1])

    def total(values: tf.Tensor):
        values = tf.where(inked, tf.reshape(values, [-1]), 0.0)
        return tf.math.unsorted_segment_sum(values, part, count)

    top, left, bottom, right = _boxes(part, inked, tf.shape(mask), count)
    side = tf.maximum(bottom - top, right - left)
    mass = total(ink)
    border = total(_border(tf.shape(mask)))
    # The edge of a sheet or a shadow lies along the border, a digit meets it here and there.
    likely = tf.where(border > 0, tf.maximum(0.5 * (1 - border / side), 0.05), 1.0)
    main = tf.argmax(mass * likely, output_type=tf.int32)
    near = _NEAR * side[main]
    keep = (
        (mass >= _LEAST_PART * mass[main])
        & ((border <= 0) | (border[main] > 0))
        & (top < bottom[main] + near)
        & (bottom > top[main] - near)
        & (left < right[main] + near)
        & (right > left[main] - near)
    )
    keep = (keep | tf.equal(tf.range(count), main)) & (mass > 0)
    longer = tf.cast(tf.reduce_max(tf.shape(mask)), tf.float32)
    inner = tf.where(border > 0, 0.0, mass)
    cover = tf.reduce_sum(tf.where(keep, total(tf.ones_like(ink)), 0.0))
    has_ink = (
        (side[main] >= tf.maximum(_LEAST_SIDE * longer, 3.0))
        & (border[main] <= _MOST_BORDER * side[main])
        & (cover <= _MOST_COVER * tf.cast(tf.size(mask), tf.float32))
        # Texture is strewn all over the paper.
        & (tf.reduce_sum(tf.where(keep, mass, 0.0)) >= 0.5 * tf.reduce_sum(inner))
    )
    return tf.gather(keep, labels), has_ink


def _boxes(part: tf.Tensor, inked: tf.Tensor, shape: tf.Tensor, count: tf.Tensor):
    """The first and the last row and column, exclusive, of each part: four of float32 [count]."""
    place = tf.range(tf.size(part))
    sides = []
    for numbers in (place // shape[1], place % shape[1]):
        numbers = tf.cast(numbers, tf.float32)
        first = tf.math.unsorted_segment_min(tf.where(inked, numbers, 1e6), part, count)
        last = tf.math.unsorted_segment_max(tf.where(inked, numbers, -1e6), part, count)
        sides.append((tf.minimum(first, 1e6), tf.maximum(last, -1e6) + 1))
    (top, bottom), (left, right) = sides
    return top, left, bottom, right


def _border(shape: tf.Tensor):
    """1.0 at the border of a picture and 0.0 within: float32 [h,w]."""
    return tf.pad(tf.zeros(tf.maximum(shape - 2, 0)), [[1, 1], [1, 1]], constant_values=1.0)[
        : shape[0], : shape[1]
    ]


def _grown(mask: tf.Tensor):
    """A mask [h,w] and its neighbours."""
    return _spread(tf.cast(mask, tf.float32)) > 0


def _spread(values: tf.Tensor):
    """The maximum over each place and its eight neighbours, [h,w]."""
    return tf.nn.max_pool2d(values[None, ..., None], 3, 1, "SAME")[0, ..., 0]


def _labels(mask: tf.Tensor):
    """Numbers the connected parts of a mask: int32 [h,w], 0 outside of them.

    In each round a place takes the highest number among its neighbours, and then the number that
    the place of that number has taken. So each round halves the distance that is left.
    """
    numbers = tf.reshape(tf.range(1, tf.size(mask) + 1), tf.shape(mask))

    def step(labels: tf.Tensor, _: tf.Tensor):
        spread = tf.cast(_spread(tf.cast(labels, tf.float32)), tf.int32)
        spread = tf.where(mask, spread, 0)
        known = tf.concat([[0], tf.reshape(spread, [-1])], 0)
        jumped = tf.gather(known, spread)
        return jumped, tf.reduce_any(tf.not_equal(jumped, labels))

    start = (tf.where(mask, numbers, 0), tf.constant(True))
    return tf.while_loop(lambda _, changed: changed, step, start)[0]


def _fitted(ink: tf.Tensor, height: int, width: int):
    """Ink [h,w] cut out and resized to the box of a frame, its aspect kept: [h',w'], 0 to 1."""
    bounds = []
    for axis in (1, 0):
        places = tf.where(tf.reduce_max(ink, axis) > 0.05)[:, 0]
        first = tf.reduce_min(tf.concat([places, [tf.int32.max]], 0))
        bounds.append((tf.minimum(first, tf.shape(ink, tf.int64)[1 - axis] - 1), places))
    (top, rows), (left, columns) = bounds
    bottom = tf.reduce_max(tf.concat([rows + 1, [top + 1]], 0))
    right = tf.reduce_max(tf.concat([columns + 1, [left + 1]], 0))
    cut = ink[top:bottom, left:right]
    size = tf.cast(tf.shape(cut), tf.float32)
    scale = tf.reduce_min([round(_BOX * height), round(_BOX * width)] / size)
    size = tf.maximum(tf.cast(tf.round(size * scale), tf.int32), 1)
    resized = tf.image.resize(
        cut[None, ..., None], size, tf.image.ResizeMethod.BICUBIC, antialias=True
    )[0, ..., 0]
    # Thin strokes have become grey.
    level = _level(resized, resized > 0.5 * tf.reduce_max(resized))
    return tf.clip_by_value(resized / tf.clip_by_value(level, 0.1, 1.0), 0, 1)


def _is_blob(digit: tf.Tensor, side: int):
    """Whether a digit made for a frame of `side` is filled wider than any stroke: bool []."""
    width = round(_MOST_WIDTH * side)
    filled = tf.cast(digit > 0.5, tf.float32)
    padded = tf.pad(filled, [[width, width], [width, width]])[None, ..., None]
    return tf.reduce_max(tf.nn.avg_pool2d(padded, width, 1, "VALID")) > 0.99


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
