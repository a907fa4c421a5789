"""Summaries of `tf.contrib.layers`: of tensors, collections and activations."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from mnist_estimator.compat._loaded import tf, v1


def summarize_tensor(tensor: Any, tag: str | None = None) -> Any:
    """A scalar or a histogram, by the rank; None for strings and booleans."""
    if tensor.dtype.base_dtype in (tf.string, tf.bool):
        return None
    kind = v1.summary.scalar if tensor.shape.rank == 0 else v1.summary.histogram
    return kind(tag or f"{tensor.op.name}_summary", tensor)


def summarize_activation(op: Any) -> Any:
    """A histogram; for Relu, Softplus and Relu6 also how much of it is cut off, as scalars."""
    name, kind = op.op.name, op.op.type
    if kind in ("Relu", "Softplus", "Relu6"):
        _add_part(f"{name}/zeros", op.op.inputs[0] < 0)
    if kind == "Relu6":
        _add_part(f"{name}/sixes", op.op.inputs[0] > 6)
    return v1.summary.histogram(f"{name}/activation", op)


def summarize_tensors(
    tensors: Iterable[Any], summarizer: Callable[[Any], Any] = summarize_tensor
) -> list[Any]:
    """A summary each."""
    return [summarizer(tensor) for tensor in tensors]


def summarize_collection(
    collection: str,
    name_filter: str | None = None,
    summarizer: Callable[[Any], Any] = summarize_tensor,
) -> list[Any]:
    """A summary of each tensor of a collection whose name begins like a regular expression."""
    tensors = v1.get_collection(collection)
    return summarize_tensors(
        (each for each in tensors if name_filter is None or re.match(name_filter, each.op.name)),
        summarizer,
    )


def summarize_activations(
    name_filter: str | None = None, summarizer: Callable[[Any], Any] = summarize_activation
) -> list[Any]:
    """A summary of each tensor of the collection ACTIVATIONS."""
    return summarize_collection(v1.GraphKeys.ACTIVATIONS, name_filter, summarizer)


def _add_part(tag: str, condition: Any) -> None:
    v1.summary.scalar(tag, tf.reduce_mean(tf.cast(condition, tf.float32)))
