"""Writes a prepared dataset: all of it, verified, or nothing.

Shards are written to a temporary folder inside the data_dir, synced, read back, and renamed into
place, the manifest last. A run killed at any moment so leaves a whole dataset or none; the next one
removes what lies about.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from mnist_estimator import InputError
from mnist_estimator.compat import tf
from mnist_estimator.data import doubts, known_datasets, records, splits, workspace
from mnist_estimator.data.manifest import (
    DIGEST,
    FORMAT_VERSION,
    MANIFEST,
    MAX_NEW_IMAGE_BYTES,
    DatasetError,
    Manifest,
    Shard,
    find_manifest,
    read_manifest,
    shard_name,
)
from mnist_estimator.data.splits import TEST, TRAIN, VALIDATION
from mnist_estimator.data.statistics import Statistics, add_counts
from mnist_estimator.pictures import methods
from mnist_estimator.runtime import files, progress

_CHUNK_BYTES = 2**23
_CHUNK_EXAMPLES = 1024


class DatasetExistsError(DatasetError):
    """The data_dir holds another dataset already."""


class Source(Protocol):
    """Examples to write: how many, of what shape, and in chunks.

    One that can read its labels alone also has `label_chunks(max_items)`, which yields only them.
    """

    name: str
    num_examples: int
    image_shape: tuple[int, int, int]

    def chunks(self, max_items: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (images uint8 [N,H,W,C], labels int64 [N]), N <= max_items, from the start."""

    def digests(self) -> dict[str, str]:
        """Returns sha256 of the content by role; reads the source if no pass has been made yet."""


def write_dataset(
    data_dir: str,
    *,
    dataset: str,
    train: Source,
    test: Source | None = None,
    num_classes: int | None = None,
    class_names: Sequence[str] = (),
    pictures: str = splits.AUTO,
    validation_split: str = splits.AUTO,
    shards: int = 8,
    seed: int = 0,
    force: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> Manifest:
    """Converts sources to a dataset in `data_dir`, in memory that does not grow with their size.

    Example j of a split goes to shard j mod `shards`, so that a source sorted by label still gives
    shards with every label. A split smaller than `shards` gets as many shards as it has examples.
    The same sources and arguments give the same bytes.

    Args:
      data_dir: where to; any path that TensorFlow's filesystems know.
      dataset: the name that the manifest gives it.
      train, test: the examples; without `test` the test split is empty.
      num_classes: labels must be less; None: the largest label plus 1.
      class_names: a name for each class; by default its number.
      pictures: how pictures become such images, of `methods.PICTURES`; auto: as for MNIST if the
        images have its form, else as they are.
      validation_split, seed: see `splits.validation_split`.
      force: replace a dataset that is there. Without it the same dataset is left as it is.
      report: is called with a line that says how far the work is, again and again.

    Raises:
      DatasetExistsError: if another dataset is there.
      BusyError: if another process is writing there.
      InputError: for a source, an argument or a filesystem that does not allow it.
    """
    split = (validation_split, seed)
    plan = _Plan(dataset, train, test, num_classes, tuple(class_names), split, shards, pictures)
    found = None if force else _existing(data_dir, plan)
    if found:
        workspace.tidy(data_dir)
        return found
    with workspace.open_workspace(data_dir, force) as (folder, beat):
        # Again, because another process may have been faster until the folder was ours alone.
        found = None if force else _existing(data_dir, plan)
        if found:
            return found
        manifest = _Writing(folder, plan, report, beat).run()
        workspace.publish(data_dir, folder, manifest)
    return manifest


@dataclasses.dataclass(frozen=True)
class _Plan:
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
                f"{self.test.name}: images of {_by(self.test.image_shape)}, expected "
                f"{_by(self.train.image_shape)} as in {self.train.name}"
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


def _check_source(source: Source) -> None:
    if source.num_examples < 1:
        raise DatasetError(f"{source.name}: no examples, expected 1 or more")
    size = math.prod(source.image_shape)
    if not 1 <= size <= MAX_NEW_IMAGE_BYTES:
        raise DatasetError(
            f"{source.name}: images of {_by(source.image_shape)}, which is {size} bytes each, "
            f"expected 1 to {MAX_NEW_IMAGE_BYTES}; make them smaller"
        )


def _count_labels(source: Source, num_classes: int | None) -> list[int]:
    """How many examples each class has. Of wrong labels the conversion says where they are."""
    counts = np.zeros(0, np.int64)
    for labels in _labels(source):
        known = (labels >= 0) & (labels < (num_classes or splits.MAX_CLASSES))
        counts = add_counts(counts, labels[known])
    return counts.tolist()


def _labels(source: Source) -> Iterator[np.ndarray]:
    """Yields a source's labels in chunks, without its images where it can do that."""
    if hasattr(source, "label_chunks"):
        yield from source.label_chunks(_CHUNK_EXAMPLES)
        return
    for _, labels in source.chunks(_max_items(source)):
        yield labels


def _max_items(source: Source) -> int:
    return max(1, min(_CHUNK_EXAMPLES, _CHUNK_BYTES // math.prod(source.image_shape)))


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _existing(data_dir: str, plan: _Plan) -> Manifest | None:
    """Returns the manifest of the same dataset, None if there is no dataset.

    Raises:
      DatasetExistsError: if there is another one.
    """
    manifest = find_manifest(data_dir)
    if manifest is None:
        return None
    problems = _differences(manifest, plan) + damages(data_dir, manifest)
    if problems:
        raise DatasetExistsError(
            f"{data_dir}: holds another dataset: {'; '.join(problems)}; give another --data_dir, "
            "or --force to replace it"
        )
    return manifest


def _differences(manifest: Manifest, plan: _Plan) -> list[str]:
    pairs = {
        "dataset": (manifest.dataset, plan.dataset),
        "image shape": (_by(manifest.image_shape), _by(plan.train.image_shape)),
        "classes": (manifest.num_classes, plan.num_classes or manifest.num_classes),
        "validation split": (manifest.split_rule, str(_rule(manifest, plan))),
    }
    if plan.pictures != splits.AUTO:
        pairs["pictures"] = (manifest.pictures, plan.pictures)
    for split, count in plan.counts.items():
        pairs[f"{split} examples"] = (manifest.num_examples(split), count)
        shards = (len(manifest.splits[split]), min(plan.shards, count))
        pairs[f"{split} shards"] = shards
    differing = [f"{what} {old}, not {new}" for what, (old, new) in pairs.items() if old != new]
    # The content last: it may have to be read from end to end.
    if not differing and manifest.sources != plan.digests():
        differing = ["examples of other content"]
    return differing


def _rule(manifest: Manifest, plan: _Plan) -> splits.ValidationSplit:
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


class _Writing:
    """One pass over the sources into a folder."""

    def __init__(
        self, folder: str, plan: _Plan, report: Callable[[str], None], beat: Callable[[], None]
    ) -> None:
        self._folder, self._plan = folder, plan
        self._report, self._beat = report, beat
        self._done = 0
        self._statistics = Statistics()

    def run(self) -> Manifest:
        """Returns the manifest of what is then in the folder, synced and read back."""
        plan = self._plan
        train, validation, test = (
            _SplitWriter(self._folder, split, plan.shards, count)
            for split, count in plan.counts.items()
        )
        with train, validation:
            self._convert(plan.train, plan.rule.picks(), (train, validation))
        if plan.test:
            with test:
                self._convert(plan.test, np.zeros_like, (test,))
            self._check_scale(plan.test.name)
        self._done = 0
        written = {writer.split: self._read_back(writer) for writer in (train, validation, test)}
        manifest = self._manifest(written)
        _write_manifest(self._folder, manifest)
        return manifest

    def _convert(
        self,
        source: Source,
        picks: Callable[[np.ndarray], np.ndarray],
        writers: Sequence[_SplitWriter],
    ) -> None:
        count = 0
        for images, labels in source.chunks(_max_items(source)):
            self._check(source, images, labels, count)
            picked = picks(labels)
            for image, label, which in zip(images, labels.tolist(), picked.tolist(), strict=True):
                writers[which].add(records.encode_example(image.tobytes(), label))
            for which, writer in enumerate(writers):
                self._statistics.add(writer.split, images[picked == which], labels[picked == which])
            count += len(labels)
            self._tick("converting", len(labels))
        if count != source.num_examples:
            raise DatasetError(
                f"{source.name}: {count} examples, expected {source.num_examples}; did it change?"
            )
        for writer in writers:
            # The labels are read before, where the split is by class.
            if writer.added != self._plan.counts[writer.split]:
                raise DatasetError(f"{source.name}: changed while it was read; prepare it again")

    def _check(self, source: Source, images: np.ndarray, labels: np.ndarray, first: int) -> None:
        if first + len(images) > source.num_examples:
            raise DatasetError(f"{source.name}: more than {source.num_examples} examples")
        if images.dtype != np.uint8 or images.shape[1:] != source.image_shape:
            raise DatasetError(
                f"{source.name}: {images.dtype} images of {_by(images.shape[1:])}, expected uint8 "
                f"of {_by(source.image_shape)}"
            )
        classes = self._plan.num_classes or splits.MAX_CLASSES
        wrong = (labels < 0) | (labels >= classes)
        if wrong.any():
            at = int(wrong.argmax())
            raise DatasetError(
                f"{source.name}: example {first + at} has label {labels[at]}, expected 0 to "
                f"{classes - 1}"
            )

    def _check_scale(self, name: str) -> None:
        found, trained = self._statistics.brightest_test_pixel, self._statistics.brightest_pixel
        doubt = doubts.check_scale(name, found, trained, self._plan.train.name)
        if doubt:
            progress.warn(doubt)

    def _read_back(self, writer: _SplitWriter) -> tuple[Shard, ...]:
        shards = []
        for path, (count, digest) in writer.written():
            files.sync(path)
            found, content = 0, hashlib.sha256()
            for record in records.read_records(path):
                content.update(record)
                found += 1
                if found % _CHUNK_EXAMPLES == 0:
                    self._tick("verifying", _CHUNK_EXAMPLES)
            size, sha256 = files.size_and_sha256(path)
            if (found, content.digest()) != (count, digest):
                raise DatasetError(
                    f"{path}: reads back other than it was written; is the disk sound?"
                )
            shards.append(Shard(os.path.basename(path), found, size, sha256))
        return tuple(shards)

    def _tick(self, doing: str, examples: int) -> None:
        self._done += examples
        self._beat()
        self._report(f"{doing}: {self._done:,} of {sum(self._plan.counts.values()):,} examples")

    def _manifest(self, written: dict[str, tuple[Shard, ...]]) -> Manifest:
        plan = self._plan
        num_classes = plan.num_classes or self._statistics.largest_label + 1
        if num_classes < 2:
            raise DatasetError(
                f"{plan.train.name}: every label is 0, expected two classes or more; "
                "give --num_classes"
            )
        names = plan.class_names or tuple(map(str, range(num_classes)))
        if len(names) != num_classes:
            raise DatasetError(
                f"{plan.dataset}: {len(names)} class names, expected {num_classes}, one a class"
            )
        return Manifest(
            format_version=FORMAT_VERSION,
            dataset=plan.dataset,
            image_shape=plan.train.image_shape,
            num_classes=num_classes,
            class_names=names,
            splits=written,
            sources=plan.digests(),
            split_rule=str(plan.rule),
            class_examples=self._statistics.class_examples(num_classes),
            brightest_pixel=self._statistics.brightest_pixel,
            pictures=self._pictures(),
        )

    def _pictures(self) -> str:
        return (
            self._statistics.pictures if self._plan.pictures == splits.AUTO else self._plan.pictures
        )


class _SplitWriter:
    """The shards of one split, open for writing while it is entered."""

    def __init__(self, folder: str, split: str, shards: int, examples: int) -> None:
        self.split = split
        count = min(shards, examples)
        self._paths = [
            os.path.join(folder, shard_name(split, index, count)) for index in range(count)
        ]
        self._digests = [hashlib.sha256() for _ in self._paths]
        self.added = 0

    def __enter__(self) -> _SplitWriter:
        self._writers = []
        for path in self._paths:
            with files.file_errors(path):
                self._writers.append(tf.io.TFRecordWriter(path))
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        for path, writer in zip(self._paths, self._writers, strict=False):
            # A second error, on closing, must not hide the first.
            hide = contextlib.suppress(InputError) if kind else contextlib.nullcontext()
            with hide, files.file_errors(path):
                writer.close()

    def add(self, record: bytes) -> None:
        index = self.added % len(self._paths)
        with files.file_errors(self._paths[index]):
            self._writers[index].write(record)
        self._digests[index].update(record)
        self.added += 1

    def written(self) -> Iterator[tuple[str, tuple[int, bytes]]]:
        """Yields each shard's path with the number and digest of the records given to it."""
        for index, (path, digest) in enumerate(zip(self._paths, self._digests, strict=True)):
            yield path, (len(range(index, self.added, len(self._paths))), digest.digest())


def _write_manifest(folder: str, manifest: Manifest) -> None:
    path = os.path.join(folder, MANIFEST)
    with files.created(path) as file:
        content = manifest.content | {DIGEST: manifest.digest}
        file.write(json.dumps(content, indent=1).encode() + b"\n")
    files.sync(path)
    files.sync(folder)
    if read_manifest(folder) != manifest:
        raise DatasetError(f"{path}: reads back other than it was written; is the disk sound?")
