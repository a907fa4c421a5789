"""A picture of a digit -> an image like MNIST's, with Pillow and numpy as a person would do it."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

_SIDE, _BOX = 28, 20


def prepared(picture: bytes) -> np.ndarray:
    """A dark digit on light paper, a PNG or JPEG file -> uint8 [28,28,1], light on black."""
    ink = 255 - np.asarray(Image.open(io.BytesIO(picture)).convert("L"))
    ink = np.where(ink > 64, ink, 0).astype(np.uint8)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    frame = np.zeros([_SIDE, _SIDE], np.uint8)
    if not rows.size:
        return frame[..., None]
    cut = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = _BOX / max(cut.shape)
    height, width = (max(1, round(side * scale)) for side in cut.shape)
    small = np.asarray(Image.fromarray(cut).resize((width, height), Image.Resampling.LANCZOS))
    top, left = _corner(small)
    frame[top : top + height, left : left + width] = small
    return frame[..., None]


def _corner(small: np.ndarray) -> list[int]:
    """Where an image goes so that its centre of mass is in the middle of the frame."""
    total = max(1, int(small.sum()))
    centre = [
        (np.arange(side) * small.sum(axis=1 - axis)).sum() / total
        for axis, side in enumerate(small.shape)
    ]
    wanted = [round((_SIDE - 1) / 2 - place) for place in centre]
    return [
        min(max(place, 0), _SIDE - side) for place, side in zip(wanted, small.shape, strict=True)
    ]
