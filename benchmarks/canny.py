"""Finds the edges in images.

The detector is that of Canny, "A Computational Approach to Edge Detection", PAMI 1986.
"""

from __future__ import annotations

import math

import numpy as np

# Where the slope goes to the side, down, down to the right and down to the left.
_DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))


def edges(images: np.ndarray, *, low: float, high: float) -> np.ndarray:
    """Where the edges are, bool [N,H,W].

    An edge is where the slope, by Sobel's masks, is steepest along its own direction: if it is at
    least `high`, or if it is at least `low` and the pixel touches an edge.

    Args:
      images: smoothed already, float32 [N,H,W].
      low, high: change from one pixel to the next.
    """
    down, right = _slope(images), _slope(images.swapaxes(1, 2)).swapaxes(1, 2)
    steepness = np.hypot(down, right)
    ridge = _is_steepest(steepness, down, right)
    possible, found = ridge & (steepness >= low), ridge & (steepness >= high)
    grown = _touching(found) & possible
    while not np.array_equal(grown, found):
        found, grown = grown, _touching(grown) & possible
    return found


def _slope(values: np.ndarray) -> np.ndarray:
    """How much values grow from row to row, by Sobel's mask; beyond its sides an image goes on."""
    padded = np.pad(values, [(0, 0), (1, 1), (1, 1)], mode="edge")
    across = (padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]) / 4
    return (across[:, 2:] - across[:, :-2]) / 2


def _is_steepest(steepness: np.ndarray, down: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Whether no pixel before or behind, in the direction of the slope, is steeper; bool [N,H,W].

    Of two neighbours that are as steep the first one counts.
    """
    flat = math.tan(math.pi / 8)
    level, upright = abs(down) <= flat * abs(right), abs(right) <= flat * abs(down)
    steps = np.select([level, upright, down * right > 0], [0, 1, 2], 3)
    steepest = np.zeros(steepness.shape, bool)
    for number, (step, aside) in enumerate(_DIRECTIONS):
        before, behind = _neighbour(steepness, -step, -aside), _neighbour(steepness, step, aside)
        steepest |= (steps == number) & (steepness > before) & (steepness >= behind)
    return steepest


def _touching(edges: np.ndarray) -> np.ndarray:
    """Whether a pixel or one of its eight neighbours is an edge; bool [N,H,W]."""
    wide = edges | _neighbour(edges, 0, -1) | _neighbour(edges, 0, 1)
    return wide | _neighbour(wide, -1, 0) | _neighbour(wide, 1, 0)


def _neighbour(values: np.ndarray, down: int, right: int) -> np.ndarray:
    """The value of the pixel so far away, at most 1 along each axis; 0 outside."""
    _, height, width = values.shape
    padded = np.pad(values, [(0, 0), (1, 1), (1, 1)])
    return padded[:, 1 + down : 1 + down + height, 1 + right : 1 + right + width]
