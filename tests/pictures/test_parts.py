"""Parts of a mask, and which of them are a digit."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_estimator.compat import tf, v1
from mnist_estimator.pictures import parts


def numbered(mask: np.ndarray) -> np.ndarray:
    """The number of each place's part, as `largest` tells parts apart."""
    with tf.Graph().as_default(), v1.Session() as session:
        found = tf.constant(mask)
        return session.run(parts._numbered(found, tf.where(found))[0])


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


def largest(ink: np.ndarray) -> tuple[np.ndarray, bool]:
    with tf.Graph().as_default(), v1.Session() as session:
        mask = tf.constant(ink > 0)
        places = tf.where(mask)
        values = tf.gather_nd(tf.constant(ink, tf.float32), places)
        kept, is_digit = session.run(parts.largest(mask, places, values))
    found = np.zeros(ink.shape, bool)
    found[ink > 0] = kept
    return found, bool(is_digit)


def test_specks_edges_and_what_is_far_off_do_not_belong():
    ink = np.zeros((80, 100))
    ink[20:60, 30:34] = 9  # The main part,
    ink[20:40, 40:44] = 9  # what belongs to it,
    ink[22, 38] = 9  # a speck that nearly touches that,
    ink[50, 50] = 9  # one that does not,
    ink[20:60, 90:93] = 9  # a stroke far off,
    ink[:, 0] = 30  # and the edge of a sheet.
    kept, is_digit = largest(ink)
    expected = np.zeros(ink.shape, bool)
    expected[20:60, 30:34] = expected[20:40, 40:44] = expected[22, 38] = True
    np.testing.assert_array_equal(kept, expected)
    assert is_digit


def test_nothing_is_no_digit():
    kept, is_digit = largest(np.zeros((20, 30)))
    assert not kept.any() and not is_digit


def test_places_grow_by_their_neighbours():
    mask = np.zeros((5, 6), bool)
    mask[0, 0] = mask[3, 4] = True
    grown = parts.grown(tf.constant(mask)).numpy()
    expected = np.zeros_like(mask)
    expected[:2, :2] = expected[2:5, 3:6] = True
    np.testing.assert_array_equal(grown, expected)
