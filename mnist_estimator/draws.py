"""Random numbers of a training step, drawn by (seed, name, global step).

A step draws the same numbers however often a run is resumed. Replicas that train synchronously draw
the numbers of the whole batch and use those of their own rows, so that the result does not depend
on how many they are.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

from mnist_estimator.compat import tf, v1


def uniform(
    rows: tf.Tensor,
    shape: Sequence[int | tf.Tensor],
    *,
    seed: int,
    name: str,
    change: Callable[[tf.Tensor], tf.Tensor] = lambda drawn: drawn,
) -> tf.Tensor:
    """Numbers from 0 to below 1, float32 [rows, *shape], for the rows of this replica.

    Args:
      rows: int32 [], examples of this replica.
      shape: of the numbers of an example.
      name: draws of other names are independent of one another.
      change: is applied to the numbers of the whole batch. The last bit of a function like the
        cosine may depend on how many numbers it is given.
    """

    def draw(whole: Sequence[int | tf.Tensor]) -> tf.Tensor:
        return change(tf.random.stateless_uniform(whole, _key(seed, name), alg="philox"))

    return _own_rows(rows, shape, draw)


def normal(rows: tf.Tensor, shape: Sequence[int | tf.Tensor], *, seed: int, name: str) -> tf.Tensor:
    """Numbers of the standard normal distribution; as `uniform` otherwise."""
    return _own_rows(
        rows, shape, lambda whole: tf.random.stateless_normal(whole, _key(seed, name), alg="philox")
    )


def beta(rows: tf.Tensor, concentration: float, *, seed: int, name: str) -> tf.Tensor:
    """Numbers of Beta(concentration, concentration), float32 [rows]; as `uniform` otherwise."""

    def gamma(part: str) -> tf.Tensor:
        return _own_rows(
            rows,
            [],
            lambda whole: tf.random.stateless_gamma(
                whole,
                _key(seed, f"{name}/{part}"),
                alpha=tf.constant(concentration, tf.float64),
                dtype=tf.float64,
            ),
        )

    first = gamma("first")
    return tf.cast(first / (first + gamma("second")), tf.float32)


def _key(seed: int, name: str) -> tf.Tensor:
    step = tf.cast(v1.train.get_or_create_global_step(), tf.int64)
    return tf.stack([tf.constant(seed + zlib.crc32(name.encode()), tf.int64), step])


def _own_rows(
    rows: tf.Tensor,
    shape: Sequence[int | tf.Tensor],
    draw: Callable[[Sequence[int | tf.Tensor]], tf.Tensor],
) -> tf.Tensor:
    replica = tf.distribute.get_replica_context()
    drawn = draw([replica.num_replicas_in_sync * rows, *shape])
    first = tf.cast(replica.replica_id_in_sync_group, tf.int32) * rows
    return drawn[first : first + rows]
