"""Examples from several IDX files of images and as many of labels, which go together in order."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import numpy as np

from mnist_estimator import InputError
from mnist_estimator.data.idx import IdxHeader
from mnist_estimator.data.idx_source import IdxSource
from mnist_estimator.data.many_files import Chained, Part, name_of


def open_pairs(
    images: Sequence[str], labels: Sequence[str], part: str, num_classes: int | None = None
) -> IdxSource | Chained:
    """Opens files of images and of their labels, whose examples follow each other.

    Args:
      part: train or test, begins the roles of the digests.

    Raises:
      InputError: if they are no pairs, or a file is not what it should be.
    """
    _check_pairs(images, labels, part)
    if len(images) == 1:
        return IdxSource(images[0], labels[0], part, num_classes)
    parts = [
        Part(one, number, len(images), others=(other,), what="pair")
        for number, (one, other) in enumerate(zip(images, labels, strict=True), 1)
    ]
    opened = []
    for pair in parts:
        with pair.errors():
            opened.append(IdxSource(pair.name, *pair.others, part, num_classes))
    name = f"{name_of(images)} with {name_of(labels)}"
    return Chained(name, opened, parts, role=part, headers=_joined(opened))


def _joined(sources: Sequence[IdxSource]) -> tuple[IdxHeader, IdxHeader]:
    """The headers of two files that would hold all images and all labels."""
    total = sum(source.num_examples for source in sources)
    images, labels = sources[0].headers
    types = {source.headers[1].dtype for source in sources}
    return (
        IdxHeader(images.dtype, (total, *images.shape[1:])),
        IdxHeader(
            types.pop() if len(types) == 1 else np.dtype(np.int32), (total, *labels.shape[1:])
        ),
    )


def _check_pairs(images: Sequence[str], labels: Sequence[str], part: str) -> None:
    """Raises InputError if the files, in their order, can be no pairs.

    Then there are not as many of both, or the numbers that tell the names of one kind apart are not
    those of the other.
    """
    flags = f"--{part}_images and --{part}_labels"
    if len(images) != len(labels):
        raise InputError(
            f"{flags}: found {len(images)} and {len(labels)} files, expected a file of labels for "
            "each of images"
        )
    numbers = [_varying_numbers(paths) for paths in (images, labels)]
    for number, (one, other) in enumerate(zip(*numbers, strict=False), 1):
        if one != other and len(one) == len(other):
            raise InputError(
                f"{flags}: pair {number} of {len(images)} would be {images[number - 1]} with "
                f"{labels[number - 1]}, expected the same numbers in both names; give lists, or "
                "names, that go together"
            )


def _varying_numbers(paths: Sequence[str]) -> list[tuple[int, ...]]:
    """Of each name the numbers that are not the same in all; none if they do not compare."""
    found = [[int(n) for n in re.findall("[0-9]+", os.path.basename(path))] for path in paths]
    if len({len(numbers) for numbers in found}) != 1:
        return []
    places = [place for place, column in enumerate(zip(*found, strict=True)) if len({*column}) > 1]
    return [tuple(numbers[place] for place in places) for numbers in found] if places else []
