"""What `tf.contrib.data` had and `tf.data` has in another form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mnist_estimator.compat._loaded import v1

_Transformation = Callable[[Any], Any]  # For `dataset.apply`.


def batch_and_drop_remainder(batch_size: Any) -> _Transformation:
    """`dataset.batch` without the last batch if that is smaller."""
    return lambda dataset: dataset.batch(batch_size, drop_remainder=True)


def padded_batch_and_drop_remainder(
    batch_size: Any, padded_shapes: Any, padding_values: Any = None
) -> _Transformation:
    """`dataset.padded_batch` without the last batch if that is smaller."""
    return lambda dataset: dataset.padded_batch(
        batch_size, padded_shapes, padding_values, drop_remainder=True
    )


def sloppy_interleave(
    map_func: Callable[..., Any], cycle_length: int, block_length: int = 1
) -> _Transformation:
    """`parallel_interleave` that may give elements in another order, each time another one."""
    return v1.data.experimental.parallel_interleave(
        map_func, cycle_length, block_length, sloppy=True
    )


def assert_element_shape(expected_shapes: Any) -> _Transformation:
    """Has the dataset's elements known to be of these shapes, and checked to be."""

    def apply(dataset: Any) -> Any:
        nest = v1.nest
        shapes = v1.data.get_output_shapes(dataset)
        known = nest.map_structure(lambda shape, wanted: shape.merge_with(wanted), shapes, wanted)

        def check(*element: Any) -> Any:
            element = element if len(element) > 1 or isinstance(shapes, tuple) else element[0]
            return nest.map_structure(v1.ensure_shape, element, known)

        return dataset.map(check)

    wanted = expected_shapes
    return apply
