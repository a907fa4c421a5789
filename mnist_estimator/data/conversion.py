"""Turns the examples of sources into records, and counts what they look like meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mnist_estimator.data import records, splits
from mnist_estimator.data.manifest import DatasetError
from mnist_estimator.data.outline import shape_text
from mnist_estimator.data.plan import Source, max_items
from mnist_estimator.data.shard_writer import ShardWriter
from mnist_estimator.data.statistics import Statistics


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
        wanted = range(source.num_examples) if rows is None else rows
        bounds = () if rows is None else (rows.start, rows.stop)
        place = wanted.start
        for images, labels in source.chunks(max_items(source), *bounds):
            if place + len(images) > wanted.stop:
                raise DatasetError(f"{source.name}: more than {wanted.stop} examples")
            self._check(source, images, labels, place)
            self._write(images, labels, pick(labels), writers)
            place += len(labels)
            self._tick("converting", len(labels))
        if place != wanted.stop:
            raise DatasetError(
                f"{source.name}: {place} examples, expected {wanted.stop}; did it change?"
            )

    def _write(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        picked: np.ndarray,
        writers: Sequence[ShardWriter],
    ) -> None:
        for image, label, which in zip(images, labels.tolist(), picked.tolist(), strict=True):
            writers[which].add(records.encode_example(image.tobytes(), label))
        for which, writer in enumerate(writers):
            self.statistics.add(writer.split, images[picked == which], labels[picked == which])

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
