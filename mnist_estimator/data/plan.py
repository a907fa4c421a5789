"""What is to be written: the sources, checked, and whether the same dataset is there already."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import os
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from mnist_estimator.compat import tf
from mnist_estimator.data import known_datasets, outline, splits
from mnist_estimator.data.manifest import (
    MAX_NEW_IMAGE_BYTES,
    DatasetError,
    Manifest,
    find_manifest,
)
from mnist_estimator.data.outline import Outline, shape_text
from mnist_estimator.data.splits import TEST, TRAIN, VALIDATION
from mnist_estimator.data.statistics import add_counts
from mnist_estimator.pictures import methods

_CHUNK_BYTES = 2**23
CHUNK_EXAMPLES = 1024


class DatasetExistsError(DatasetError):
    """The data_dir holds another dataset already."""


class Source(Protocol):
    """Examples to write: how many, of what shape, and in chunks.

    One that can read its labels alone also has `label_chunks(max_items)`, which yields only them.
    """

    name: str
    num_examples: int
    image_shape: tuple[int, int, int]

    def chunks(
        self, max_items: int, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (images uint8 [N,H,W,C], labels int64 [N]), N <= max_items, in order.

        Args:
          start, stop: the examples wanted are `start` to `stop` - 1, by default all. The digests
            afterwards are of the whole content nevertheless.
        """

    def digests(self) -> dict[str, str]:
        """Returns sha256 of the content by role; reads the source if no pass has been made yet."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to write, checked."""

    dataset: str
    train: Source
    test: Source | None
    num_classes: int | None
    class_names: tuple[str, ...]
    split: tuple[str, int]
    shards: int
    pictures: str

    def __post_init__(self) -> None:
        text, seed = self.split
        splits.check_range("seed", seed, 0, splits.MAX_SEED)
        if self.pictures not in (splits.AUTO, *methods.PICTURES):
            raise DatasetError(
                f"pictures: found {self.pictures!r}, expected {splits.AUTO}, "
                f"{' or '.join(methods.PICTURES)}"
            )
        splits.check_range("shards", self.shards, 1, splits.MAX_SHARDS)
        if self.num_classes is not None:
            splits.check_range("num_classes", self.num_classes, 2, splits.MAX_CLASSES)
        for source in self.sources:
            _check_source(source)
        splits.validation_split(text, self.train.num_examples, seed)  # Before the labels are read.
        if self.test and self.test.image_shape != self.train.image_shape:
            raise DatasetError(
                f"{self.test.name}: images of {shape_text(self.test.image_shape)}, expected "
                f"{shape_text(self.train.image_shape)} as in {self.train.name}"
            )

    @property
    def sources(self) -> list[Source]:
        return [self.train, self.test] if self.test else [self.train]

    @functools.cached_property
    def rule(self) -> splits.ValidationSplit:
        """Which training examples validate. Where data may be sorted, that takes their labels."""
        text, seed = self.split
        total = self.train.num_examples
        # The others are known to be mixed, and their usual split is the first examples.
        may_be_sorted = not known_datasets.is_known(self.dataset)
        counted = text == splits.AUTO and may_be_sorted and total >= 10
        counts = _count_labels(self.train, self.num_classes) if counted else ()
        return splits.validation_split(text, total, seed, counts)

    @property
    def counts(self) -> dict[str, int]:
        """Examples by split."""
        held_out = self.rule.count
        return {
            TRAIN: self.train.num_examples - held_out,
            VALIDATION: held_out,
            TEST: self.test.num_examples if self.test else 0,
        }

    def digests(self) -> dict[str, str]:
        return {
            role: digest for source in self.sources for role, digest in source.digests().items()
        }

    def outline(self, sources: dict[str, str] | None = None) -> Outline:
        """What is known before the conversion.

        Args:
          sources: the sources' digests; None: as they are, which may take reading the sources.
        """
        return outline.make(
            dataset=self.dataset,
            image_shape=self.train.image_shape,
            num_classes=self.num_classes,
            class_names=self.class_names,
            pictures=self.pictures,
            shards=self.shards,
            counts=self.counts,
            split_rule=str(self.rule),
            sources=self.digests() if sources is None else sources,
        )


def existing(data_dir: str, plan: Plan) -> Manifest | None:
    """Returns the manifest of the same dataset, None if there is no dataset.

    Raises:
      DatasetExistsError: if there is another one.
    """
    manifest = find_manifest(data_dir)
    if manifest is not None:
        check_same(data_dir, _differences(manifest, plan) + damages(data_dir, manifest))
    return manifest


def check_same(data_dir: str, problems: Sequence[str]) -> None:
    """Raises DatasetExistsError if a data_dir's dataset has differences or damages."""
    if problems:
        raise DatasetExistsError(
            f"{data_dir}: holds another dataset: {'; '.join(problems)}; give another --data_dir, "
            "or --force to replace it"
        )


def _differences(manifest: Manifest, plan: Plan) -> list[str]:
    split_rule = str(_rule(manifest, plan))
    # The content last: it may have to be read from end to end.
    known = dataclasses.replace(plan.outline(manifest.sources), split_rule=split_rule)
    differing = outline.compare_manifest(manifest, known)
    if not differing and manifest.sources != plan.digests():
        differing = [outline.OTHER_CONTENT]
    return differing


def _rule(manifest: Manifest, plan: Plan) -> splits.ValidationSplit:
    """What auto means for a dataset that is there: in format version 1 always the first ones."""
    text, seed = plan.split
    if text == splits.AUTO and manifest.format_version == 1:
        return splits.validation_split(text, plan.train.num_examples, seed)
    return plan.rule


def damages(data_dir: str, manifest: Manifest) -> list[str]:
    """The first shard that is not there in full; a look at the sizes, not at the content."""
    for shard in itertools.chain.from_iterable(manifest.splits.values()):
        path = os.path.join(data_dir, shard.file)
        try:
            size = tf.io.gfile.stat(path).length
        except tf.errors.OpError:
            return [f"no {shard.file}"]
        if size != shard.bytes:
            return [f"{size} bytes in {shard.file}, not {shard.bytes}"]
    return []


def _check_source(source: Source) -> None:
    if source.num_examples < 1:
        raise DatasetError(f"{source.name}: no examples, expected 1 or more")
    size = math.prod(source.image_shape)
    if not 1 <= size <= MAX_NEW_IMAGE_BYTES:
        raise DatasetError(
            f"{source.name}: images of {shape_text(source.image_shape)}, which is {size} bytes "
            f"each, expected 1 to {MAX_NEW_IMAGE_BYTES}; make them smaller"
        )


def _count_labels(source: Source, num_classes: int | None) -> list[int]:
    """How many examples each class has. Of wrong labels the conversion says where they are."""
    counts = np.zeros(0, np.int64)
    for labels in labels_of(source):
        known = (labels >= 0) & (labels < (num_classes or splits.MAX_CLASSES))
        counts = add_counts(counts, labels[known])
    return counts.tolist()


def labels_of(source: Source) -> Iterator[np.ndarray]:
    """Yields a source's labels in chunks, without its images where it can do that."""
    if hasattr(source, "label_chunks"):
        yield from source.label_chunks(CHUNK_EXAMPLES)
        return
    for _, labels in source.chunks(max_items(source)):
        yield labels


def max_items(source: Source) -> int:
    """How many examples of a source are read at once."""
    return max(1, min(CHUNK_EXAMPLES, _CHUNK_BYTES // math.prod(source.image_shape)))
