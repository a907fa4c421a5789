"""The feature column of `tf.contrib.layers` that works with the canned estimators of today."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mnist_estimator.compat._loaded import tf


def real_valued_column(
    column_name: str,
    dimension: int = 1,
    default_value: float | Sequence[float] | None = None,
    dtype: Any = tf.float32,
    normalizer: Callable[[Any], Any] | None = None,
) -> Any:
    """A column of `dimension` numbers: `tf.feature_column.numeric_column` by its first name.

    Raises:
      ValueError: for dimension=None, a column of any length, which has no successor.
    """
    if dimension is None:
        raise ValueError(
            f"real_valued_column({column_name!r}): found dimension=None, expected a number; "
            "the columns of tf.feature_column have one"
        )
    return tf.feature_column.numeric_column(
        column_name, (dimension,), default_value, dtype, normalizer
    )
