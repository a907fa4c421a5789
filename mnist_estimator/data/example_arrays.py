"""What arrays of images and of labels have to be, whichever file they come from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_MOST_CHANNELS = 4


@dataclass(frozen=True)
class Problem:
    """Why an array does not do: what is expected, and what to do."""

    expected: str
    advice: str


def image_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(H, W, C) of images of a shape NxHxW or NxHxWxC; without channels they have one."""
    return (*shape[1:], 1)[:3]


def images_problem(shape: tuple[int, ...], dtype: np.dtype) -> Problem | None:
    """Why an array of this shape and dtype is not images, uint8 [N,H,W] or [N,H,W,C]; else None."""
    expected = "uint8 images, NxHxW or NxHxWxC"
    if len(shape) < 2:
        return Problem(expected, "give the images here")
    if len(shape) == 2:
        side = math.isqrt(shape[1])
        form = f"{shape[0]}x{side}x{side}" if side * side == shape[1] else "NxHxW"
        return Problem(expected, f"save them as {form}")
    if len(shape) > 4:
        return Problem(expected, "save them in that shape")
    if len(shape) == 4 and shape[1] <= _MOST_CHANNELS < min(shape[2:]):
        advice = "move that axis to the end (numpy: images.transpose(0, 2, 3, 1))"
        return Problem("the channels last, NxHxWxC", advice)
    return None if dtype == np.uint8 else Problem(expected, _as_uint8(dtype))


def labels_problem(shape: tuple[int, ...], dtype: np.dtype) -> Problem | None:
    """Why an array of this shape and dtype is not labels, integers [N] or [N,1]; else None."""
    expected = "integer labels, one an image"
    if len(shape) not in (1, 2):
        return Problem(expected, "give the labels here")
    if len(shape) == 2 and shape[1] != 1:
        advice = "save one whole number an image; of one-hot rows the place of the 1 (numpy: "
        return Problem(expected, advice + "labels.argmax(1))")
    if dtype.kind not in "iu":
        return Problem(expected, "save them as integers, the classes numbered from 0")
    return None


def rows_of(
    chunks: Iterator[tuple[np.ndarray, np.ndarray]], start: int, stop: int | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The examples `start` to `stop` - 1 of (images, labels) chunks, all of which are read.

    Only so a source knows the digest of its content afterwards.
    """
    first = 0
    for images, labels in chunks:
        low = max(start - first, 0)
        high = len(labels) if stop is None else min(stop - first, len(labels))
        if low < high:
            yield images[low:high], labels[low:high]
        first += len(labels)


def _as_uint8(dtype: np.dtype) -> str:
    if dtype.kind in "fb":
        return "save them as uint8, 0 to 255; times 255 first where they are 0 to 1"
    if dtype == np.int8:
        return "save them as uint8: as int8, pixels above 127 are negative"
    return "save them as uint8, 0 to 255"


def are_planes(images: np.ndarray) -> bool:
    """Whether images [N,H,W,3] look as if each had one channel after the other.

    Rows of an image are alike. So if a value is nearer to the one W values on than to the one 3 W
    values on, W values are a row, and not a third of one.
    """
    height, width, channels = images.shape[1:]
    if channels != 3 or min(height, width) < 8:
        return False
    flat = images[:64].reshape(len(images[:64]), -1).astype(np.int16)
    near, far = (np.abs(flat[:, lag:] - flat[:, :-lag]).mean() for lag in (width, 3 * width))
    return bool(near < 0.7 * far)
