"""Parts of a mask, and which of them are a digit."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_estimator.compat import tf, v1
from mnist_estimator.pictures import parts


def numbered(mask: np.ndarray) -> np.ndarray:
    """The number of each place's part, as `largest` tells parts apart."""
    with tf.Graph().as_default(), v1.Session() as session:
        runs = session.run(parts._numbered(tf.constant(mask))[0])
    return np.repeat(runs.part, runs.end - runs.first)


def by_flooding(mask: np.ndarray) -> np.ndarray:
    """The same, by filling one part after the other: places up to two steps apart touch."""
    numbers, places = np.zeros(mask.shape, int), list(zip(*np.nonzero(mask), strict=True))
    for number, place in enumerate(places, start=1):
        stack = [place] if not numbers[place] else []
        while stack:
            y, x = stack.pop()
            if mask[y, x] and not numbers[y, x]:
                numbers[y, x] = number
                rows, columns = (range(max(0, at - 3), at + 4) for at in (y, x))
                stack += [
                    (row, column)
                    for row in rows
                    for column in columns
                    if row < mask.shape[0] and column < mask.shape[1]
                ]
    return numbers[mask]


def spiral(side: int) -> np.ndarray:
    """One part, the longest way from end to end; its turns are four places apart."""
    mask = np.zeros((side, side), bool)
    for ring in range(0, side // 2 - 4, 5):
        mask[ring, ring : side - ring] = mask[side - 1 - ring, ring : side - ring] = True
        mask[ring : side - ring, side - 1 - ring] = mask[ring + 5 : side - ring, ring] = True
        mask[ring + 5, ring : ring + 6] = True
    return mask


def comb(*, upside_down: bool) -> np.ndarray:
    mask = np.zeros((30, 60), bool)
    mask[5:, ::6] = mask[5] = True
    return mask[::-1] if upside_down else mask


_MASKS = {
    "spiral": spiral(60),
    "comb": comb(upside_down=False),
    "comb upside down": comb(upside_down=True),
    "sparse": np.random.default_rng(0).random((40, 50)) < 0.01,
    "dense": np.random.default_rng(1).random((40, 50)) < 0.04,
    "one place": np.eye(1, 9, 4, dtype=bool),
    "all": np.ones((7, 5), bool),
}


@pytest.mark.parametrize("name", _MASKS)
def test_places_that_touch_have_one_number(name):
    found, expected = numbered(_MASKS[name]), by_flooding(_MASKS[name])
    pairs = set(zip(found.tolist(), expected.tolist(), strict=True))
    assert len(pairs) == len(set(found)) == len(set(expected))


def largest(ink: np.ndarray) -> parts.Digit:
    with tf.Graph().as_default(), v1.Session() as session:
        return session.run(parts.largest(tf.constant(ink > 0), tf.constant(ink, tf.float32)))


def test_specks_edges_and_what_is_far_off_do_not_belong():
    ink = np.zeros((80, 100))
    ink[20:60, 30:34] = 9  # The main part,
    ink[20:40, 40:44] = 9  # what belongs to it,
    ink[22, 38] = 9  # a speck that nearly touches that,
    ink[50, 50] = 9  # one that does not,
    ink[20:60, 90:93] = 9  # a stroke far off,
    ink[:, 0] = 30  # and the edge of a sheet.
    found = largest(ink)
    expected = np.zeros(ink.shape, bool)
    expected[20:60, 30:34] = expected[20:40, 40:44] = expected[22, 38] = True
    np.testing.assert_array_equal(found.kept & (ink > 0), expected)
    assert found.is_digit


def test_neighbours_are_kept_too_and_the_box_is_around_them():
    ink = np.zeros((40, 50))
    ink[0:20, 4:7] = ink[30:34, 46:50] = 9
    found = largest(ink)
    expected = np.zeros(ink.shape, bool)
    expected[0:21, 3:8] = True
    np.testing.assert_array_equal(found.kept, expected)
    assert found.box.tolist() == [[0, 3], [21, 8]]


def test_nothing_is_no_digit():
    found = largest(np.zeros((20, 30)))
    assert not found.kept.any() and not found.is_digit
    assert (found.box[1] > found.box[0]).all()
