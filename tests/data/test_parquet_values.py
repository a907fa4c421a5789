from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from mnist_estimator import InputError
from mnist_estimator.data import parquet_values as values


@pytest.mark.parametrize("kind", [pa.uint8(), pa.int8(), pa.uint64(), pa.float32(), pa.float64()])
def test_labels(kind: pa.DataType):
    found = values.labels("x", pa.array([0, 2, 1], kind), 0, 3)
    assert found.dtype == np.int64 and found.tolist() == [0, 2, 1]
    assert values.labels("x", pa.array([1, 1, 0], kind).dictionary_encode(), 0, 2).sum() == 2


@pytest.mark.parametrize(
    ("array", "line"),
    [
        (pa.array([0, 3]), r"row 11 .*: the label is 3, expected a whole number from 0 to 2$"),
        (pa.array([-2, 0]), "row 10 .*: the label is -2, expected"),
        (
            pa.array([0, -1]),
            "row 11 .*: the label is -1, .*; the hub writes -1 where labels are kept",
        ),
        (pa.array([0, 2**64 - 1], pa.uint64()), "row 11 .*: the label is 18446744073709551615"),
        (pa.array([0, 0.5]), "row 11 .*: the label is 0.5, expected a whole number"),
        (pa.array([np.nan, 1.0], from_pandas=False), "row 10 .*: the label is nan"),
        (pa.array([0, np.inf]), "row 11 .*: the label is inf"),
        (pa.array([0, None]), "row 11 .*: no label .null., expected one"),
        (pa.array([0, None]).dictionary_encode(), "row 11 .*: no label"),
    ],
)
def test_labels_that_are_none(array: pa.Array, line: str):
    with pytest.raises(InputError, match=f"^x: {line}"):
        values.labels("x", array, 10, 3)


@pytest.mark.parametrize("kind", [pa.uint8(), pa.int16(), pa.uint64(), pa.float32()])
def test_pixel_lists(kind: pa.DataType):
    rows = [[[1, 2], [3, 250]], [[5, 6], [7, 8]], [[9, 9], [9, 9]]]
    array = pa.array(rows, pa.list_(pa.list_(kind)))
    found = values.pixel_lists("x", array, 0)
    assert found.dtype == np.uint8 and found.tolist() == rows
    assert values.pixel_lists("x", array[1:], 0).tolist() == rows[1:]
    fixed = pa.array(rows, pa.list_(pa.list_(kind, 2), 2))
    assert values.pixel_lists("x", fixed[1:], 0).tolist() == rows[1:]


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (
            [[[1, 2], [3, 4]], [[1, 2], [3]]],
            "row 11 .*: a list of 1 values, expected 2 as before it",
        ),
        ([[[1, 2], [3, 4]], [[1, 2]]], "row 11 .*: a list of 1 values, expected 2"),
        ([[[1, 2]], [[1, 256]]], "row 11 .*: pixel is 256, expected a whole number from 0 to 255$"),
        ([[[1, -1]], [[1, 2]]], "row 10 .*: pixel is -1"),
        (
            [[[0.0, 0.5]], [[1, 2]]],
            "row 10 .*: pixel is 0.5, .*; multiply pixels from 0 to 1 by 255",
        ),
        ([[[0.0, 1.0]], [[1, float("nan")]]], "row 11 .*: pixel is nan"),
        ([[[0, 1]], None], "row 11 .*: no list of pixels .null."),
        ([[[0, 1]], [None]], "row 11 .*: no list of pixels .null."),
        ([[[0, 1]], [[2, None]]], "row 11 .*: no pixel .null."),
        ([[[]], [[]]], "row 10 .*: an empty list, expected pixels"),
        ([[], []], "row 10 .*: an empty list, expected pixels"),
    ],
)
def test_lists_that_are_no_pixels(rows: list, line: str):
    kind = pa.float64() if any(isinstance(n, float) for n in np.ravel(rows[0])) else pa.int64()
    with pytest.raises(InputError, match=f"^x: {line}"):
        values.pixel_lists("x", pa.array(rows, pa.list_(pa.list_(kind))), 10)


def test_lists_of_the_expected_lengths():
    array = pa.array([[1, 2], [3, 4]], pa.list_(pa.uint8()))
    assert values.pixel_lists("x", array, 0, (2,)).shape == (2, 2)
    with pytest.raises(InputError, match="row 5 .*: a list of 2 values, expected 3 as before it"):
        values.pixel_lists("x", array, 5, (3,))


def test_pixel_columns():
    batch = pa.record_batch({"b": pa.array([1, 2]), "a": pa.array([3.0, 255.0])})
    found = values.pixel_columns("x", batch, ["a", "b"], 0)
    assert found.dtype == np.uint8 and found.tolist() == [[3, 1], [255, 2]]
    for wrong, line in ((300, "pixel 'c' is 300, expected"), (None, "no pixel 'c' .null.")):
        batch = pa.record_batch({"c": pa.array([1, wrong])})
        with pytest.raises(InputError, match=rf"^x: row 8 \(counted from 0\): {line}"):
            values.pixel_columns("x", batch, ["c"], 7)


def test_pictures():
    rows = [{"bytes": b"one"}, {"bytes": b"two"}, {"bytes": None}, None]
    array = pa.array(rows, pa.struct([("bytes", pa.binary())]))
    assert values.pictures("x", array[:2], 0) == [b"one", b"two"]
    assert values.pictures("x", array[1:2], 0) == [b"two"]
    assert values.pictures("x", pa.array([b"one"]), 0) == [b"one"]
    with pytest.raises(InputError, match="^x: row 2 .*: no picture .its bytes, where only a path"):
        values.pictures("x", array[:3], 0)
    with pytest.raises(InputError, match="^x: row 3 .*: no picture .null."):
        values.pictures("x", array, 0)
    with pytest.raises(InputError, match="^x: row 5 .*: no picture"):
        values.pictures("x", pa.array([None, b""], pa.binary()), 5)
