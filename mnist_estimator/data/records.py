"""The records of a prepared dataset: how an example is encoded, and whether a shard is damaged.

Shards are TFRecord files such as `train-00000-of-00008.tfrecord`. A record is a
`tf.train.Example {image_raw: bytes, label: int64}`: the pixels of one uint8 image, row by row, and
its class.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
import math
import os
import re
import struct
from collections.abc import Callable, Iterator
from typing import IO

import numpy as np
from google.protobuf import message

from mnist_estimator import InputError
from mnist_estimator.compat import tf, v1
from mnist_estimator.data.manifest import (
    MANIFEST,
    Dataset,
    DatasetError,
    Manifest,
    Shard,
    read_manifest,
)
from mnist_estimator.data.splits import SPLITS
from mnist_estimator.runtime import files, json_files
from mnist_estimator.runtime.files import file_errors

IMAGE_KEY = "image_raw"
LABEL_KEY = "label"
_BLOCK_BYTES = 2**20
# A record is its length and the checksum of that, the data, and the checksum of those.
_LENGTH, _HEADER_BYTES, _FOOTER_BYTES = struct.Struct("<Q"), 12, 4
_MORE_THAN_PIXELS = 1024  # More than an example's bytes beside its pixels ever are.


def verify(data_dir: str, report: Callable[[str], None] = lambda line: None) -> list[str]:
    """Re-reads every record of a data_dir against its manifest.

    Args:
      report: is called often, with a line that says how far the work is.

    Returns:
      What is wrong, a line each, of a shard's records only the first; nothing if all is whole.

    Raises:
      NoDatasetError, ManifestError: as `read_manifest`.
    """
    manifest = read_manifest(data_dir)
    with file_errors(data_dir):
        names = {name.rstrip("/") for name in tf.io.gfile.listdir(data_dir)}
    shards = [shard for split in SPLITS for shard in manifest.splits[split]]
    extra = names - {shard.file for shard in shards}
    problems = [
        f"{name}: not in {MANIFEST}" for name in sorted(extra) if name.endswith(".tfrecord")
    ]
    for number, shard in enumerate(shards):
        report(f"verifying: {number:,} of {len(shards):,} shards")
        if shard.file in names:
            problems += _shard_problems(os.path.join(data_dir, shard.file), shard, manifest)
        else:
            problems.append(f"{shard.file}: missing")
    return problems


def find_damage(dataset: Dataset, report: Callable[[str], None] = lambda line: None) -> str:
    """Returns what is wrong with the first damaged shard, and with which record; "" if nothing."""
    manifest = dataset.manifest
    shards = [shard for split in SPLITS for shard in manifest.splits[split]]
    for number, shard in enumerate(shards):
        report(f"looking for the damage: {number:,} of {len(shards):,} shards")
        problems = list(_shard_problems(os.path.join(dataset.folder, shard.file), shard, manifest))
        if problems:
            return problems[-1]  # The records come after the size and the digest of the whole.
    return ""


def _shard_problems(path: str, shard: Shard, manifest: Manifest) -> Iterator[str]:
    try:
        with file_errors(path):
            size = tf.io.gfile.stat(path).length
        if not size:  # Nor does a FIFO or a device have a size, and reading one need not end.
            yield f"{shard.file}: 0 bytes, expected {shard.bytes}"
            return
        size, sha256 = files.size_and_sha256(path)
        if size != shard.bytes:
            yield f"{shard.file}: {size} bytes, expected {shard.bytes}"
        if sha256 != shard.sha256:
            yield f"{shard.file}: sha256 {sha256}, expected {shard.sha256}"
        count = 0
        for record in read_records(path, most=most_record_bytes(manifest)):
            problem = _example_problem(record, manifest)
            if problem:
                yield f"{shard.file}: record {count} {problem}"
                return
            count += 1
        if count != shard.examples:
            yield f"{shard.file}: {count} records, expected {shard.examples}"
    except files.OutageError:
        raise
    except InputError as error:
        yield str(error).removeprefix(os.path.join(os.path.dirname(path), ""))


def _example_problem(record: bytes, manifest: Manifest) -> str:
    """What is wrong with a serialized example; empty if nothing is."""
    try:
        features = tf.train.Example.FromString(record).features.feature
    except message.DecodeError:
        return "is not a tf.train.Example"
    if sorted(features) != [IMAGE_KEY, LABEL_KEY]:
        found = json_files.shown(", ".join(sorted(features)))
        return f"has features {found}, expected {IMAGE_KEY} and {LABEL_KEY}"
    images, labels = features[IMAGE_KEY].bytes_list.value, features[LABEL_KEY].int64_list.value
    if len(images) != 1 or len(labels) != 1:
        return f"has {len(images)} images and {len(labels)} labels, expected one of each"
    size, label = len(images[0]), labels[0]
    if size != math.prod(manifest.image_shape):
        return f"has an image of {size} bytes, expected {math.prod(manifest.image_shape)}"
    if not 0 <= label < manifest.num_classes:
        return f"has label {label}, expected 0 to {manifest.num_classes - 1}"
    return ""


def encode_example(pixels: bytes, label: int) -> bytes:
    """Serializes one example; the same bytes in every version of Python and TensorFlow."""
    example = tf.train.Example()
    example.features.feature[IMAGE_KEY].bytes_list.value.append(pixels)
    example.features.feature[LABEL_KEY].int64_list.value.append(label)
    return example.SerializeToString(deterministic=True)


def read_records(path: str, *, most: int | None = None) -> Iterator[bytes]:
    """Yields a shard's records as serialized examples, each with its checksum verified.

    Args:
      most: the bytes that a record may have; None for all that its file has.

    Raises:
      DatasetError: at the first record that is corrupt, by its number, or if the file cannot be
        read. Records are numbered from 0. Reading cannot go on after it: `ignore_errors` of
        tf.data can meet the same corrupt record forever.
    """
    with _numbered(path, most) as numbered:
        for record, _ in numbered:
            yield record


def counts(path: str, at_once: int) -> Iterator[int]:
    """Yields how many more records are read, each with its checksum verified, again and again.

    Args:
      at_once: the most of them.

    Raises:
      DatasetError: as `read_records`.
    """
    found = 0
    with _numbered(path) as numbered:
        # Python code for each record would add to the time.
        while last := collections.deque(itertools.islice(numbered, at_once), maxlen=1):
            ((_, number),) = last
            yield number + 1 - found
            found = number + 1


@contextlib.contextmanager
def _numbered(path: str, most: int | None = None) -> Iterator[Iterator[tuple[bytes, int]]]:
    """The records of a shard and their numbers, from 0; errors are as in `read_records`."""
    files.check_plain(path)
    with file_errors(path):
        is_empty = not tf.io.gfile.stat(path).length
    if is_empty:
        yield iter(())
        return
    numbers, overlong = itertools.count(), find_overlong(path, most)
    with file_errors(path):
        try:
            # TensorFlow reads only what comes before it, and finds what is damaged there.
            readable = overlong and overlong.number
            read = itertools.islice(v1.io.tf_record_iterator(path), readable)
            yield zip(read, numbers, strict=False)
        except tf.errors.DataLossError as error:
            reason = re.split("[;']", error.message)[0]  # The rest is TensorFlow's own advice.
            raise DatasetError(f"{path}: record {next(numbers)} is corrupt ({reason})") from None
    if overlong:
        raise DatasetError(f"{path}: {overlong}")


@dataclasses.dataclass(frozen=True)
class Overlong:
    """A record that is longer than it can be: its number, counted from 0, and why it cannot."""

    number: int
    reason: str

    def __str__(self) -> str:
        return f"record {self.number} is corrupt ({self.reason})"


def find_overlong(path: str, most: int | None = None) -> Overlong | None:
    """Returns the first record whose length is more than its file has, or than `most` bytes.

    Call it before TensorFlow opens a file of records. Its reader trusts a length whose checksum is
    right, and a length that no memory can hold ends the process. Only lengths are checked here, so
    an earlier record may be damaged, too.

    Raises:
      DatasetError: if the file cannot be read.
    """
    with file_errors(path):
        size = tf.io.gfile.stat(path).length
        limit = size if most is None else most
        with files.reading(path) as file:
            return _first_overlong(file, size, limit)


def _first_overlong(file: IO[bytes], size: int, most: int) -> Overlong | None:
    number, place, block, start = 0, 0, b"", 0
    while size - place >= _HEADER_BYTES:
        if place - start + _LENGTH.size > len(block):
            file.seek(place)
            block, start = file.read(_BLOCK_BYTES), place
            if len(block) < _LENGTH.size:
                return None  # It has become shorter, which TensorFlow finds.
        (length,) = _LENGTH.unpack_from(block, place - start)
        step = _HEADER_BYTES + length + _FOOTER_BYTES
        if step > size - place:
            return Overlong(number, "it is longer than the file")
        if length > most:
            return Overlong(number, f"it has {length:,} bytes, expected at most {most:,}")
        count = min(_count_equal(block, place - start, length, step), (size - place) // step)
        number, place = number + count, place + count * step
    return None


def _count_equal(block: bytes, at: int, length: int, step: int) -> int:
    """How many lengths from `at` on are equal, as nearly all of a dataset are."""
    count = (len(block) - at - _LENGTH.size) // step + 1
    same = np.ndarray(count, "<u8", block, at, step) == length
    return count if same.all() else int(same.argmin())


def most_record_bytes(manifest: Manifest) -> int:
    """The most bytes that a record of a dataset can have."""
    return math.prod(manifest.image_shape) + _MORE_THAN_PIXELS
