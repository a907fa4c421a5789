"""Images whose rows and columns are swapped, as in EMNIST's files and those that MATLAB writes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import numpy as np

from mnist_estimator.data import plan

_SUFFIX = "_transposed"
# Training images of EMNIST's splits: letters (in two versions), balanced, digits, by class and by
# merge (Cohen, Afshar, Tapson and van Schaik, "EMNIST: an extension of MNIST to handwritten
# letters", 2017, and the files).
_EMNIST_EXAMPLES = (88_800, 124_800, 112_800, 240_000, 697_932)


class Transposed:
    """The examples of another source, each image with rows and columns swapped; a `plan.Source`.

    The role of the images' or the table's digest says so: the same files as they are make another
    dataset.
    """

    def __init__(self, source: plan.Source) -> None:
        self._source = source
        self.name, self.num_examples = source.name, source.num_examples
        height, width, channels = source.image_shape
        self.image_shape = (width, height, channels)

    def chunks(
        self, max_items: int, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (images uint8 [N,H,W,C], labels int64 [N]), N <= max_items; see `plan.Source`."""
        for images, labels in self._source.chunks(max_items, start, stop):
            yield images.swapaxes(1, 2), labels

    def label_chunks(self, max_items: int) -> Iterator[np.ndarray]:
        """Yields the labels alone, int64 [N]."""
        return self._source.label_chunks(max_items)

    def digests(self) -> dict[str, str]:
        """Returns sha256 of the content by role, as the other source has it."""
        digests = self._source.digests()
        return {_renamed(role): digest for role, digest in digests.items()}


def is_transposed(sources: Mapping[str, str]) -> bool:
    """Whether a manifest's `sources` are of images that were transposed."""
    return any(role.endswith(_SUFFIX) for role in sources)


def doubt(source: plan.Source, known: str, transpose: bool) -> str:
    """The reason against transposing a source's images, or against not doing so; "" if nothing.

    Args:
      source: the training examples, as their files have them.
      known: the title of the known dataset that they are, which is upright; "" if they are none.
      transpose: whether they will be transposed.
    """
    if known and transpose:
        return f"{source.name}: are {known}'s, which is upright; --transpose lays it on its side"
    if transpose or known:
        return ""
    by_name = re.search(r"(?<![a-z])emnist", source.name.lower())
    by_number = source.image_shape == (28, 28, 1) and source.num_examples in _EMNIST_EXAMPLES
    if not (by_name or by_number):
        return ""
    how = "by name" if by_name else f"by the number of images, {source.num_examples:,}"
    return (
        f"{source.name}: EMNIST's {how}, which has the rows and columns of each image swapped; if "
        "these are as EMNIST published them, prepare them with --transpose"
    )


def _renamed(role: str) -> str:
    return role if role.endswith("_labels") else role + _SUFFIX
