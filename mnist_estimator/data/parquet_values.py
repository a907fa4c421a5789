"""The values in a Parquet file's columns -> labels, pixels and encoded pictures, each checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mnist_estimator import InputError
from mnist_estimator.data import parquet_columns

if TYPE_CHECKING:
    import pyarrow


def labels(path: str, array: pyarrow.Array, first: int, num_classes: int) -> np.ndarray:
    """Returns the labels of rows as int64 [N].

    Args:
      first: the number of the first row, for errors.
      num_classes: labels must be less.

    Raises:
      InputError: if one is missing, no whole number, or out of range.
    """
    values = _numbers(path, array, first, "label")
    wrong = ~((values >= 0) & (values < num_classes))
    if values.dtype.kind == "f":
        wrong |= values != np.floor(values)
    if wrong.any():
        at = int(wrong.argmax())
        hidden = "; the hub writes -1 where labels are kept secret" if values[at] == -1 else ""
        raise InputError(
            f"{row(path, first + at)}: the label is {values[at]}, expected a whole number from 0 "
            f"to {num_classes - 1}{hidden}"
        )
    return values.astype(np.int64)


def pixel_lists(
    path: str, array: pyarrow.Array, first: int, expected: Sequence[int] = ()
) -> np.ndarray:
    """Returns lists of pixels as uint8 [N, ...], with a dimension for each level of the lists.

    Args:
      expected: the lengths of the lists of each level; none: as in the first row.

    Raises:
      InputError: if one is missing, lists differ in length, or a value is no pixel.
    """
    import pyarrow as arrow
    import pyarrow.compute

    rows, sizes, items = len(array), [], len(array)
    array = _stored(array)
    while parquet_columns.is_list(array.type):
        _check_whole(path, array, first, items // max(rows, 1), "list of pixels")
        lengths = arrow.compute.list_value_length(array).to_numpy(zero_copy_only=False)
        length = int(expected[len(sizes)] if expected else lengths[0])
        other = lengths != length
        if other.any():
            at = int(other.argmax())
            raise InputError(
                f"{row(path, first + at // (items // rows))}: a list of {lengths[at]} values, "
                f"expected {length} as before it"
            )
        sizes.append(length)
        items *= sizes[-1]
        array = _stored(array.flatten())
        if not items:
            raise InputError(f"{row(path, first)}: an empty list, expected pixels")
    flat = _pixels(path, array, first, items // rows)
    return flat.reshape(rows, *sizes)


def pixel_columns(
    path: str, batch: pyarrow.RecordBatch, names: Sequence[str], first: int
) -> np.ndarray:
    """Returns the pixels of a column each as uint8 [N, number of columns].

    Raises:
      InputError: if one is missing or no pixel.
    """
    columns = [_pixels(path, batch.column(name), first, 1, f"pixel {name!r}") for name in names]
    return np.stack(columns, axis=1)


def pictures(path: str, array: pyarrow.Array, first: int) -> list[bytes]:
    """Returns the encoded pictures of rows.

    Raises:
      InputError: if one is missing.
    """
    import pyarrow as arrow

    if arrow.types.is_struct(array.type):
        _check_whole(path, array, first, 1, "picture")
        array = array.field("bytes")
    _check_whole(path, array, first, 1, "picture (its bytes, where only a path may stand)")
    return array.to_pylist()


def _stored(array: pyarrow.Array) -> pyarrow.Array:
    import pyarrow as arrow

    return array.storage if isinstance(array, arrow.ExtensionArray) else array


def _pixels(
    path: str, array: pyarrow.Array, first: int, each: int, what: str = "pixel"
) -> np.ndarray:
    """Values as uint8 [N], of which each row has `each`."""
    values = _numbers(path, array, first, what, each)
    if values.dtype == np.uint8:
        return values
    with np.errstate(invalid="ignore"):
        wrong = ~((values >= 0) & (values <= 255))
        if values.dtype.kind == "f":
            wrong |= values != np.floor(values)
    if wrong.any():
        at = int(wrong.argmax())
        scaled = 0 < values[at] < 1
        advice = "; multiply pixels from 0 to 1 by 255 and round them" if scaled else ""
        raise InputError(
            f"{row(path, first + at // each)}: {what} is {values[at]}, expected a whole number "
            f"from 0 to 255{advice}"
        )
    return values.astype(np.uint8)


def _numbers(path: str, array: pyarrow.Array, first: int, what: str, each: int = 1) -> np.ndarray:
    import pyarrow as arrow

    if arrow.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    _check_whole(path, array, first, each, what)
    return array.to_numpy(zero_copy_only=False)


def _check_whole(path: str, array: pyarrow.Array, first: int, each: int, what: str) -> None:
    if array.null_count:
        at = int(array.is_null().to_numpy(zero_copy_only=False).argmax())
        raise InputError(f"{row(path, first + at // each)}: no {what} (null), expected one")


def row(path: str, number: int) -> str:
    """Which row an error is of."""
    return f"{path}: row {number:,} (counted from 0)"
