"""Changes the images of a training batch at random: moves, bends, covers and mixes them.

All is drawn by (seed, global step), as in `draws`, and works on the whole batch at once. Moving and
bending are one look-up: each pixel of the result says where in the image it comes from, and takes
the mean of the four pixels around that place, weighted by how near they are. Outside of an image
is 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mnist_estimator import draws
from mnist_estimator.compat import tf

_MOVES = ("rotate", "scale", "shear", "shift", "flip", "elastic")
# The displacements of neighbours are alike: a Gaussian of so many pixels smooths them, as in the
# paper, for images of 28 pixels.
_ELASTIC_SMOOTHING = 4 / 28
# What a covered rectangle is like, as in the paper except for its largest area, 0.4 there.
_ERASED_AREA = (0.02, 0.2)
_ERASED_ASPECT = 1 / 0.3


class Mixed(NamedTuple):
    """Images of which each is mixed with its neighbour.

    Attributes:
      images: float32 [B,H,W,C].
      share: float32 [B], the share of the image's own, 0 to 1; None if nothing is mixed.
    """

    images: tf.Tensor
    share: tf.Tensor | None


def augment(images: tf.Tensor, params: Mapping[str, Any]) -> Mixed:
    """Changes each image of a training batch as the flags say.

    Args:
      images: float32 [B,H,W,C]; 0 is the background.
      params: as for `model_fn.model_fn`.
    """
    with tf.name_scope("augment"):
        if any(params[name] for name in _MOVES):
            images = _warp(images, params)
        if params["erase"]:
            images = _erase(images, params)
        if params["mixup"]:
            return _mix(images, params)
        return Mixed(images, None)


def neighbours(values: tf.Tensor) -> tf.Tensor:
    """The rows [B,...] of each row's neighbour: 0 and 1 change places, 2 and 3, and so on.

    The last one of an odd number is its own neighbour.
    """
    rows = tf.shape(values)[0]
    numbers = tf.range(rows)
    return tf.gather(values, tf.minimum(tf.bitwise.bitwise_xor(numbers, 1), rows - 1))


def _warp(images: tf.Tensor, params: Mapping[str, Any]) -> tf.Tensor:
    """Moves and bends each image by its own draw."""
    _, height, width, _ = images.shape
    rows, columns = _affine_places(tf.shape(images)[0], height, width, params)
    if params["elastic"]:
        down, right = tf.unstack(_displacements(tf.shape(images)[0], height, width, params))
        rows, columns = rows + down, columns + right
    return _look_up(images, rows, columns)


def _affine_places(
    count: tf.Tensor, height: int, width: int, params: Mapping[str, Any]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Row and column from which each pixel comes, float32 [B,H,W] each."""
    drawn = draws.uniform(
        count,
        [6],
        seed=params["seed"],
        name="affine",
        change=lambda shares: _affine(shares, params),
    )
    cos, sin, shear, down, right, side = tf.unstack(drawn[:, :, None, None], axis=1)
    y = tf.range(height, dtype=tf.float32)[:, None] - (height - 1) / 2 - down
    x = (tf.range(width, dtype=tf.float32)[None, :] - (width - 1) / 2) * side - right
    y, x = cos * y - sin * x, sin * y + cos * x
    return y + (height - 1) / 2, x + shear * y + (width - 1) / 2


def _affine(shares: tf.Tensor, params: Mapping[str, Any]) -> tf.Tensor:
    """What is done to each image, [B,6]: cosine and sine over its scale, shear, shifts, side.

    The side is -1 for an image that is mirrored, and 1 for others.

    Args:
      shares: uniform in [0,1), [B,6]: where between the least and the most of a flag; the last one
        is compared with the probability of a flip.
    """
    flipped = tf.where(shares[:, 5] < params["flip"], -1.0, 1.0)
    angle, scale, shear, down, right = tf.unstack(shares[:, :5] * 2 - 1, axis=1)
    angle, scale = angle * math.radians(params["rotate"]), 1 + scale * params["scale"]
    shear = tf.tan(shear * math.radians(params["shear"]))
    shifts = down * params["shift"], right * params["shift"]
    return tf.stack([tf.cos(angle) / scale, tf.sin(angle) / scale, shear, *shifts, flipped], axis=1)


def _displacements(
    count: tf.Tensor, height: int, width: int, params: Mapping[str, Any]
) -> tf.Tensor:
    """How far each pixel is moved down and right, float32 [2,B,H,W].

    Elastic distortion: Simard, Steinkraus and Platt, "Best Practices for Convolutional Neural
    Networks Applied to Visual Document Analysis", ICDAR 2003. Their factor `alpha` times a smoothed
    field is here a field of the standard deviation that the flag gives.
    """
    rows, columns = _smoothing(height), _smoothing(width)
    shape = [2, rows.shape[1], columns.shape[1]]
    drawn = draws.normal(count, shape, seed=params["seed"], name="elastic")
    smooth = tf.linalg.matmul(rows, tf.linalg.matmul(drawn, columns, transpose_b=True))
    return tf.transpose(smooth, [1, 0, 2, 3]) * params["elastic"]


def _smoothing(size: int) -> np.ndarray:
    """A matrix [size,N] that makes smooth noise of N numbers with a standard deviation of 1.

    It adds up Gaussians around N places, which are one standard deviation apart and begin and end
    two of them outside of the image.
    """
    stddev = _ELASTIC_SMOOTHING * size
    places = np.arange(-2 * stddev, size + 2 * stddev, stddev)
    weights = np.exp(-(((np.arange(size)[:, None] - places) / stddev) ** 2) / 2)
    return (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)


def _look_up(images: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """The images' values at fractional places, bilinear; rows and columns are [B,H,W]."""
    count = tf.shape(images)[0]
    _, height, width, _ = images.shape
    rows = tf.clip_by_value(rows, -1.0, float(height)) + 1
    columns = tf.clip_by_value(columns, -1.0, float(width)) + 1
    top, left = tf.floor(rows), tf.floor(columns)
    first = tf.range(count)[:, None, None] * ((height + 2) * (width + 2))
    places = first + tf.cast(top, tf.int32) * (width + 2) + tf.cast(left, tf.int32)
    found = tf.gather(_corners(images), places)
    value, to_right, to_below, both = tf.split(found, 4, axis=-1)
    down, right = (rows - top)[..., None], (columns - left)[..., None]
    return value + to_right * right + (to_below + both * right) * down


def _corners(images: tf.Tensor) -> tf.Tensor:
    """What a bilinear look-up needs of each pixel and its neighbours, [B*(H+2)*(W+2),4*C].

    The pixel, what the one to its right has more, what the one below has more, and what the one to
    the right and below has more than these three say. One black pixel is around each image.
    """
    padded = tf.pad(images, [[0, 0], [1, 2], [1, 2], [0, 0]])
    to_right = padded[:, :, 1:] - padded[:, :, :-1]
    to_below = padded[:, 1:, :-1] - padded[:, :-1, :-1]
    both = to_right[:, 1:] - to_right[:, :-1]
    corners = tf.stack([padded[:, :-1, :-1], to_right[:, :-1], to_below, both])
    # To stack them along the last axis takes three times as long.
    by_pixel = tf.transpose(tf.reshape(corners, [4, -1, images.shape[-1]]), [1, 0, 2])
    return tf.reshape(by_pixel, [-1, 4 * images.shape[-1]])


def _erase(images: tf.Tensor, params: Mapping[str, Any]) -> tf.Tensor:
    """Makes a rectangle of some images 0.

    Random erasing: Zhong et al., "Random Erasing Data Augmentation", AAAI 2020.
    """
    count, (_, height, width, _) = tf.shape(images)[0], images.shape
    drawn = draws.uniform(count, [5], seed=params["seed"], name="erase", change=_erased)
    chosen, tall, wide, down, right = tf.unstack(drawn[:, :, None], axis=1)  # [B,1] each
    inside = []
    for size, part, first in ((height, tall, down), (width, wide, right)):
        length = part * size
        start = first * (size - length)
        places = tf.range(size, dtype=tf.float32) + 0.5
        inside.append((places >= start) & (places < start + length))
    rows, columns = inside
    erased = rows[:, :, None] & columns[:, None, :] & (chosen < params["erase"])[:, :, None]
    return tf.where(erased[..., None], 0.0, images)


def _erased(shares: tf.Tensor) -> tf.Tensor:
    """Probability, height, width and place of each rectangle, shares of what there is, [B,5]."""
    chosen, area, aspect, down, right = tf.unstack(shares, axis=1)
    low, high = _ERASED_AREA
    side = tf.sqrt(low + area * (high - low))
    stretch = tf.exp((aspect - 0.5) * math.log(_ERASED_ASPECT))
    return tf.stack([chosen, side * stretch, side / stretch, down, right], axis=1)


def _mix(images: tf.Tensor, params: Mapping[str, Any]) -> Mixed:
    """Adds to each image its neighbour in the batch, both weighted.

    Mixup: Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018. Neighbours are on
    the same replica, and a batch is in random order.
    """
    count = tf.shape(images)[0]
    share = draws.beta(count, params["mixup"], seed=params["seed"], name="mixup")
    others = neighbours(images)
    return Mixed(others + (images - others) * share[:, None, None, None], share)
