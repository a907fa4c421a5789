"""Turns the examples of sources into records, and counts what they look like meanwhile."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

import numpy as np

from mnist_estimator.data import example_arrays, frames, splits
from mnist_estimator.data.ahead import ahead, in_turn
from mnist_estimator.data.frames import Frames
from mnist_estimator.data.manifest import DatasetError
from mnist_estimator.data.outline import shape_text
from mnist_estimator.data.plan import Source, max_items
from mnist_estimator.data.shard_writer import ShardWriter
from mnist_estimator.data.statistics import Statistics
from mnist_estimator.runtime.progress import warn

# Checked examples: images, labels, and the numbers of their writers.
_Chunk = tuple[np.ndarray, np.ndarray, np.ndarray]
_Step = Callable[[Iterable[Any]], Generator[Any]]
_GROUP_EXAMPLES = 4096  # What is encoded at once, or so many bytes of pixels.
_GROUP_BYTES = 2**22
# Once so much has been freed, glibc keeps the memory of arrays for the next ones. Else it gives it
# back, and the kernel clears each page anew.
_KEPT_BYTES = 2**25 - 2**20
_MOST_BYTES = 2**23  # Of an image: of larger ones no more than one is in memory.


class Ticks:
    """Says how far work on `total` examples is, and shows that this process is alive."""

    def __init__(self, total: int, report: Callable[[str], None], beat: Callable[[], None]) -> None:
        self._total, self._report, self._beat = total, report, beat
        self._doing, self._done = "", 0

    def __call__(self, doing: str, examples: int) -> None:
        """Counts examples that something was done to."""
        self._done = examples if doing != self._doing else self._done + examples
        self._doing = doing
        self._beat()
        self._report(f"{doing}: {self._done:,} of {self._total:,} examples")


class Conversion:
    """One pass over the sources of a dataset.

    Attributes:
      statistics: of the examples converted so far.
    """

    def __init__(self, num_classes: int | None, tick: Callable[[str, int], None]) -> None:
        self.statistics = Statistics()
        self._num_classes, self._tick = num_classes or splits.MAX_CLASSES, tick

    def convert(
        self,
        source: Source,
        pick: Callable[[np.ndarray], np.ndarray],
        writers: Sequence[ShardWriter],
        rows: range | None = None,
    ) -> None:
        """Writes a source's examples.

        Args:
          pick: labels [N] of the next examples -> the numbers [N] of their writers.
          rows: the examples that are written; None: all.

        Raises:
          InputError: if the source is not what it promised to be.
        """
        np.empty(_KEPT_BYTES, np.uint8)
        step = ahead if math.prod(source.image_shape) <= _MOST_BYTES else in_turn
        checked = step(self._checked(step, source, pick, writers, rows))
        with contextlib.closing(step(_encoded(checked))) as encoded:
            for picked, found in encoded:
                numbers = np.concatenate(picked)
                for which, writer in enumerate(writers):
                    writer.add(found, np.flatnonzero(numbers == which))
                for chunk in picked:
                    self._tick("converting", len(chunk))

    def _checked(
        self,
        step: _Step,
        source: Source,
        pick: Callable[[np.ndarray], np.ndarray],
        writers: Sequence[ShardWriter],
        rows: range | None,
    ) -> Generator[_Chunk]:
        """Checks and counts the examples of a source."""
        wanted = range(source.num_examples) if rows is None else rows
        bounds = () if rows is None else (rows.start, rows.stop)
        place = wanted.start
        with contextlib.closing(step(source.chunks(max_items(source), *bounds))) as chunks:
            for images, labels in chunks:
                if place + len(images) > wanted.stop:
                    raise DatasetError(f"{source.name}: more than {wanted.stop} examples")
                self._check(source, images, labels, place)
                if place == wanted.start and example_arrays.are_planes(images):
                    warn(
                        f"{source.name}: the pixels look as if an image had one channel after the "
                        "other, as CIFAR-10 has; expected those of a pixel side by side (NumPy: "
                        "rows.reshape(-1, 3, H, W).transpose(0, 2, 3, 1))"
                    )
                picked = pick(labels)
                for which, writer in enumerate(writers):
                    self._count(writer.split, images, labels, picked == which)
                yield images, labels, picked
                place += len(labels)
        if place != wanted.stop:
            raise DatasetError(
                f"{source.name}: {place} examples, expected {wanted.stop}; did it change?"
            )

    def _count(
        self, split: str, images: np.ndarray, labels: np.ndarray, of_split: np.ndarray
    ) -> None:
        if not of_split.all():
            images, labels = images[of_split], labels[of_split]
        self.statistics.add(split, images, labels)

    def _check(self, source: Source, images: np.ndarray, labels: np.ndarray, first: int) -> None:
        if images.dtype != np.uint8 or images.shape[1:] != source.image_shape:
            raise DatasetError(
                f"{source.name}: {images.dtype} images of {shape_text(images.shape[1:])}, expected "
                f"uint8 of {shape_text(source.image_shape)}"
            )
        wrong = (labels < 0) | (labels >= self._num_classes)
        if wrong.any():
            at = int(wrong.argmax())
            raise DatasetError(
                f"{source.name}: example {first + at} has label {labels[at]}, expected 0 to "
                f"{self._num_classes - 1}"
            )


def _encoded(chunks: Generator[_Chunk]) -> Generator[tuple[list[np.ndarray], Frames]]:
    """Encodes chunks, several at once; yields the numbers of the writers, and the frames."""
    group: list[_Chunk] = []
    with contextlib.closing(chunks):
        for chunk in chunks:
            group.append(chunk)
            if _is_enough(group):
                yield _encode(group)
                group = []
    if group:
        yield _encode(group)


def _is_enough(group: Sequence[_Chunk]) -> bool:
    examples = sum(len(images) for images, _, _ in group)
    size = sum(images.size for images, _, _ in group)
    return examples >= _GROUP_EXAMPLES or size >= _GROUP_BYTES


def _encode(group: Sequence[_Chunk]) -> tuple[list[np.ndarray], Frames]:
    images, labels, picked = zip(*group, strict=True)
    if len(group) == 1:
        return list(picked), frames.encode(images[0], labels[0])
    return list(picked), frames.encode(np.concatenate(images), np.concatenate(labels))
