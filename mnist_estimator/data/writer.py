"""Writes a prepared dataset: all of it, verified, or nothing.

Shards are written to a temporary folder inside the data_dir, synced, read back, and renamed into
place, the manifest last. So a process that is killed at any moment leaves a whole dataset or none,
and the next one removes what is left over.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from mnist_estimator import InputError
from mnist_estimator.compat import tf
from mnist_estimator.data import doubts, records, splits, workspace
from mnist_estimator.data.manifest import (
    DIGEST,
    FORMAT_VERSION,
    MANIFEST,
    DatasetError,
    Manifest,
    Shard,
    read_manifest,
    shard_name,
)
from mnist_estimator.data.plan import CHUNK_EXAMPLES, Plan, Source, existing, max_items, shape_text
from mnist_estimator.data.statistics import Statistics
from mnist_estimator.runtime import files, progress


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
    """Converts sources to a dataset in `data_dir`. The memory does not grow with their size.

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
      report: is called often, with a line that says how far the work is.

    Raises:
      DatasetExistsError: if another dataset is there.
      BusyError: if another process is writing there.
      InputError: for a source, an argument or a filesystem that does not allow it.
    """
    split = (validation_split, seed)
    plan = Plan(dataset, train, test, num_classes, tuple(class_names), split, shards, pictures)
    found = None if force else existing(data_dir, plan)
    if found:
        workspace.tidy(data_dir)
        return found
    with workspace.open_workspace(data_dir, force) as (folder, beat):
        # Again, because another process may have been faster until the folder was ours alone.
        found = None if force else existing(data_dir, plan)
        if found:
            return found
        manifest = _Writing(folder, plan, report, beat).run()
        workspace.publish(data_dir, folder, manifest)
    return manifest


class _Writing:
    """One pass over the sources into a folder."""

    def __init__(
        self, folder: str, plan: Plan, report: Callable[[str], None], beat: Callable[[], None]
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
        for images, labels in source.chunks(max_items(source)):
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
                f"{source.name}: {images.dtype} images of {shape_text(images.shape[1:])}, expected "
                f"uint8 of {shape_text(source.image_shape)}"
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
                if found % CHUNK_EXAMPLES == 0:
                    self._tick("verifying", CHUNK_EXAMPLES)
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
