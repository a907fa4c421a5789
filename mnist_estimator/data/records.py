"""Prepared datasets: sharded TFRecords with a manifest that says what they hold.

A data_dir holds a dataset if and only if it holds `manifest.json`. Beside it lie, per split, files
such as `train-00000-of-00008.tfrecord` of `tf.train.Example {image_raw: bytes, label: int64}`: the
pixels of one uint8 image, row by row, and its class.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import os
import re
import shlex
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from google.protobuf import message

from mnist_estimator import InputError
from mnist_estimator.compat import tf, v1
from mnist_estimator.data import datasets
from mnist_estimator.data.splits import MAX_CLASSES, MAX_SHARDS, SPLITS, TRAIN
from mnist_estimator.pictures import methods
from mnist_estimator.runtime import files, json_files
from mnist_estimator.runtime.files import FileError, file_errors

IMAGE_KEY = "image_raw"
LABEL_KEY = "label"
MANIFEST = "manifest.json"
DIGEST = "sha256"  # In the manifest, of the manifest: no bit of it flips unnoticed.
FORMAT_VERSION = 2

MAX_IMAGE_BYTES = 2**30  # Of a dataset that is there already; protocol buffers end at 2 GiB.
MAX_NEW_IMAGE_BYTES = 200_000_000  # The 50 megapixels that a picture may have, in four channels.
_BLOCK_BYTES = 2**20
# A record is its length and the checksum of that, the data, and the checksum of those.
_LENGTH, _HEADER_BYTES, _FOOTER_BYTES = struct.Struct("<Q"), 12, 4
_MORE_THAN_PIXELS = 1024  # More than an example's bytes beside its pixels ever are.


class RecordsError(FileError):
    """Something about a data_dir that the user has to know."""


class NoDatasetError(RecordsError):
    """The data_dir holds no dataset."""


class ManifestError(RecordsError):
    """The data_dir's manifest.json is not a manifest."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """One TFRecord file: its name in the data_dir, number of records, size, sha256 in hex."""

    file: str
    examples: int
    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a data_dir holds; `splits` has the shards of "train", "validation" and "test".

    A split may have no shards; a shard is never empty. `class_names` has a name for every class.
    `sources` has the sha256 of the content that was converted, by role. `split_rule` says which of
    the source's training examples are the validation split. `class_examples` has, per split, the
    number of examples of each class. `brightest_pixel` is the largest pixel of the training and
    validation images, what 255 is for most data. `pictures` says how a picture becomes such an
    image, of `methods.PICTURES`.

    Format version 1 lacks the last three. Of such a dataset no class is counted, the brightest
    pixel is taken for 255, and pictures are prepared as it was done then, except for data that are
    known to show no digits.
    """

    format_version: int
    dataset: str
    image_shape: tuple[int, int, int]
    num_classes: int
    class_names: tuple[str, ...]
    splits: dict[str, tuple[Shard, ...]]
    sources: dict[str, str]
    split_rule: str
    class_examples: dict[str, tuple[int, ...]]
    brightest_pixel: int
    pictures: str

    def num_examples(self, split: str) -> int:
        """Examples of a split: 0 if the dataset has none."""
        return sum(shard.examples for shard in self.splits[split])

    def num_bytes(self, split: str) -> int:
        """Bytes of a split's shards."""
        return sum(shard.bytes for shard in self.splits[split])

    @property
    def digest(self) -> str:
        """sha256 in hex of the manifest, and so of every byte of the dataset."""
        return json_digest(self.content)

    @property
    def content(self) -> dict[str, Any]:
        """The manifest as manifest.json has it, but for the digest."""
        content = dataclasses.asdict(self)
        return {name: content[name] for name in _fields(self.format_version)}


@dataclasses.dataclass(frozen=True)
class TrainedOn:
    """What a network has to know of its data; a `Manifest` has these fields, too."""

    image_shape: tuple[int, int, int]
    num_classes: int
    class_names: tuple[str, ...]
    brightest_pixel: int
    pictures: str
    digest: str


def read_manifest(data_dir: str) -> Manifest:
    """Reads and checks the manifest of a data_dir.

    Raises:
      NoDatasetError: if there is none.
      ManifestError: if it is anything but a well-formed manifest.
    """
    manifest = find_manifest(data_dir)
    if manifest is None:
        raise NoDatasetError(
            f"{data_dir}: no {MANIFEST}, expected a prepared dataset; make one with "
            f"{prepare_command(data_dir)}"
        )
    return manifest


def find_manifest(data_dir: str) -> Manifest | None:
    """Reads and checks the manifest of a data_dir; None if it holds no dataset.

    Raises:
      ManifestError: if it is anything but a well-formed manifest.
    """
    path = os.path.join(data_dir, MANIFEST)
    with file_errors(path):
        try:
            size = tf.io.gfile.stat(path).length
        except (tf.errors.NotFoundError, tf.errors.FailedPreconditionError):
            return None  # The second one where data_dir is a file.
        if size > json_files.MOST_BYTES:
            raise ManifestError(f"{path}: {size} bytes, expected at most {json_files.MOST_BYTES}")
        with files.reading(path) as file:
            data = file.read(json_files.MOST_BYTES)
    try:
        return _parse_manifest(data)
    except ValueError as error:
        raise ManifestError(f"{path}: {error}; {prepare_again(data_dir)}") from None


def prepare_command(data_dir: str, *more: str) -> str:
    """The command that prepares a data_dir, on one line, as a shell takes it."""
    given = [word if word.isprintable() else ascii(word)[1:-1] for word in (data_dir, *more)]
    data_dir, *more = given
    return shlex.join(["python", "-m", "mnist_estimator.prepare", f"--data_dir={data_dir}", *more])


def prepare_again(data_dir: str, manifest: Manifest | None = None) -> str:
    """Advice to replace a dataset: the command, as far as its source is known."""
    name = manifest.dataset if manifest else ""
    if datasets.is_known(name):
        return f"replace it with {prepare_command(data_dir, f'--dataset={name}', '--force')}"
    command = prepare_command(data_dir, "--force")
    return f"replace it with {command} and the flags that name the files it was made of"


def usual_pictures(dataset: str) -> str:
    """How pictures become images of a dataset whose manifest does not say so."""
    known = datasets.DATASETS.get(dataset) if isinstance(dataset, str) else None
    return known.pictures if known else methods.DIGIT


def shard_paths(data_dir: str, manifest: Manifest, split: str) -> list[str]:
    """The paths of a split's shards, in order."""
    return [os.path.join(data_dir, shard.file) for shard in manifest.splits[split]]


def shard_name(split: str, index: int, count: int) -> str:
    """The file name of shard `index` of `count`."""
    return f"{split}-{index:05d}-of-{count:05d}.tfrecord"


def verify(data_dir: str, report: Callable[[str], None] = lambda line: None) -> list[str]:
    """Re-reads every record of a data_dir against its manifest.

    Args:
      report: is called with a line that says how far the work is, again and again.

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


def find_damage(
    data_dir: str, manifest: Manifest, report: Callable[[str], None] = lambda line: None
) -> str:
    """Returns what is wrong with the first damaged shard, and with which record; "" if nothing."""
    shards = [shard for split in SPLITS for shard in manifest.splits[split]]
    for number, shard in enumerate(shards):
        report(f"looking for the damage: {number:,} of {len(shards):,} shards")
        problems = list(_shard_problems(os.path.join(data_dir, shard.file), shard, manifest))
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
        size, sha256 = file_sha256(path)
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


def is_shard_name(name: str) -> bool:
    """Whether a file of this name in a data_dir would be taken for a shard."""
    return re.fullmatch(rf"({'|'.join(SPLITS)})-\d{{5}}-of-\d{{5}}\.tfrecord", name) is not None


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
      RecordsError: at the first record that is corrupt, by its number, or if the file cannot be
        read. The numbers count from 0. There is no going on after it: `ignore_errors` of tf.data
        can meet the same corrupt record forever.
    """
    files.check_plain(path)
    with file_errors(path):
        if not tf.io.gfile.stat(path).length:
            return
    number, overlong = 0, find_overlong(path, most)
    with file_errors(path):
        try:
            # TensorFlow sees none of that length. What is damaged before it, TensorFlow finds.
            readable = overlong and overlong.number
            for record in itertools.islice(v1.io.tf_record_iterator(path), readable):
                yield record
                number += 1
        except tf.errors.DataLossError as error:
            reason = re.split("[;']", error.message)[0]  # The rest is TensorFlow's own advice.
            raise RecordsError(f"{path}: record {number} is corrupt ({reason})") from None
    if overlong:
        raise RecordsError(f"{path}: {overlong}")


@dataclasses.dataclass(frozen=True)
class Overlong:
    """A record that is longer than it can be: its number, counted from 0, and why it cannot."""

    number: int
    reason: str

    def __str__(self) -> str:
        return f"record {self.number} is corrupt ({self.reason})"


def find_overlong(path: str, most: int | None = None) -> Overlong | None:
    """Returns the first record whose length is more than its file has, or than `most` bytes.

    To be called before TensorFlow opens a file of records: its reader believes a length whose
    checksum is right, and the process dies of one that no memory can hold. Only the lengths are
    looked at, so it may be a later record than the first that is damaged.

    Raises:
      RecordsError: if the file cannot be read.
    """
    with file_errors(path):
        size = tf.io.gfile.stat(path).length
        limit = size if most is None else most
        with tf.io.gfile.GFile(path, "rb") as file:
            return _first_overlong(file, size, limit)


def _first_overlong(file: tf.io.gfile.GFile, size: int, most: int) -> Overlong | None:
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
        count = min(_alike(block, place - start, length, step), (size - place) // step)
        number, place = number + count, place + count * step
    return None


def _alike(block: bytes, at: int, length: int, step: int) -> int:
    """How many lengths from `at` on are the same: nearly all of a dataset are."""
    count = (len(block) - at - _LENGTH.size) // step + 1
    same = np.ndarray(count, "<u8", block, at, step) == length
    return count if same.all() else int(same.argmin())


def most_record_bytes(manifest: Manifest) -> int:
    """The most bytes that a record of a dataset can have."""
    return math.prod(manifest.image_shape) + _MORE_THAN_PIXELS


def json_digest(value: dict[str, Any]) -> str:
    """sha256 in hex of what a value is as JSON, however that is spaced and ordered."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def file_sha256(path: str) -> tuple[int, str]:
    """Returns a file's size and the sha256 of its bytes in hex."""
    digest, size = hashlib.sha256(), 0
    with file_errors(path), files.reading(path) as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


def checked_shape(value: Any) -> tuple[int, int, int]:
    """Returns an `image_shape` that was read; raises ValueError if it is none."""
    json_files.expect(value, list, "image_shape")
    if len(value) != 3:
        raise ValueError(f"image_shape has {len(value)} numbers, expected 3")
    sides = (json_files.whole(side, "image_shape", 1, MAX_IMAGE_BYTES) for side in value)
    height, width, channels = sides
    if height * width * channels > MAX_IMAGE_BYTES:
        raise ValueError(f"image_shape is {value}, expected at most {MAX_IMAGE_BYTES} bytes")
    return height, width, channels


def checked_class_names(value: Any, num_classes: int) -> tuple[str, ...]:
    """Returns `class_names` that were read; raises ValueError if they are not so many names."""
    json_files.expect(value, list, "class_names")
    names = tuple(json_files.text(name, "class_names") for name in value)
    if len(names) != num_classes:
        raise ValueError(f"class_names has {len(names)}, expected {num_classes}")
    return names


def checked_sources(value: Any) -> dict[str, str]:
    """Returns `sources` that were read; raises ValueError unless each has a digest."""
    for role, digest in json_files.expect(value, dict, "sources").items():
        json_files.text(role, "sources")
        json_files.sha256(digest, "sources")
    return value


def _parse_manifest(data: bytes) -> Manifest:
    """Raises ValueError that says where `data` is not a manifest."""
    top = json_files.parse(data)
    json_files.expect(top, dict, "the whole")
    version = top.get("format_version")
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise ValueError(
            f"format_version is {json_files.shown(version)}, expected 1 to {FORMAT_VERSION}"
        )
    json_files.expect_keys(top, [*_fields(version), DIGEST], "the whole")
    top = _MISSING_IN_VERSION_1 | {"pictures": usual_pictures(top["dataset"])} | top
    num_classes = json_files.whole(top["num_classes"], "num_classes", 2, MAX_CLASSES)
    manifest = Manifest(
        format_version=version,
        dataset=json_files.text(top["dataset"], "dataset"),
        image_shape=checked_shape(top["image_shape"]),
        num_classes=num_classes,
        class_names=checked_class_names(top["class_names"], num_classes),
        splits=_splits(top["splits"]),
        sources=checked_sources(top["sources"]),
        split_rule=json_files.text(top["split_rule"], "split_rule"),
        class_examples=_class_examples(top["class_examples"]),
        brightest_pixel=json_files.whole(top["brightest_pixel"], "brightest_pixel", 1, 255),
        pictures=json_files.choice(top["pictures"], "pictures", methods.PICTURES),
    )
    _check_class_examples(manifest)
    if manifest.digest != json_files.sha256(top[DIGEST], DIGEST):
        raise ValueError(f"{DIGEST} is not that of the rest, which was changed or damaged")
    return manifest


_MISSING_IN_VERSION_1: dict[str, Any] = {
    "class_examples": {split: [] for split in SPLITS},
    "brightest_pixel": 255,
}


def _fields(version: int) -> list[str]:
    """The fields of a manifest.json of a format version."""
    names = [field.name for field in dataclasses.fields(Manifest)]
    later = [*_MISSING_IN_VERSION_1, "pictures"]
    return names if version > 1 else [name for name in names if name not in later]


def _class_examples(value: Any) -> dict[str, tuple[int, ...]]:
    json_files.expect_keys(
        json_files.expect(value, dict, "class_examples"), SPLITS, "class_examples"
    )
    return {
        split: tuple(
            json_files.whole(count, f"class_examples of {split}", 0, 2**63)
            for count in json_files.expect(value[split], list, f"class_examples of {split}")
        )
        for split in SPLITS
    }


def _check_class_examples(manifest: Manifest) -> None:
    if manifest.format_version == 1:
        return
    for split, counts in manifest.class_examples.items():
        if len(counts) != manifest.num_classes or sum(counts) != manifest.num_examples(split):
            raise ValueError(
                f"class_examples of {split} has {sum(counts)} examples of {len(counts)} classes, "
                f"expected {manifest.num_examples(split)} of {manifest.num_classes}"
            )


def _splits(value: Any) -> dict[str, tuple[Shard, ...]]:
    json_files.expect_keys(json_files.expect(value, dict, "splits"), SPLITS, "splits")
    splits = {}
    for split in SPLITS:
        shards = json_files.expect(value[split], list, split)
        if len(shards) > MAX_SHARDS or (split == TRAIN and not shards):
            raise ValueError(f"{split} has {len(shards)} shards, expected 1 to {MAX_SHARDS}")
        splits[split] = tuple(
            _shard(shard, shard_name(split, index, len(shards)))
            for index, shard in enumerate(shards)
        )
    return splits


def _shard(value: Any, name: str) -> Shard:
    fields = [field.name for field in dataclasses.fields(Shard)]
    json_files.expect_keys(json_files.expect(value, dict, name), fields, name)
    # The name follows from the place, so none can lead out of the folder or stand there twice.
    if value["file"] != name:
        raise ValueError(f"file is {json_files.shown(value['file'])}, expected {name!r}")
    return Shard(
        file=name,
        examples=json_files.whole(value["examples"], f"{name} examples", 1, 2**63),
        bytes=json_files.whole(value["bytes"], f"{name} bytes", 1, 2**63),
        sha256=json_files.sha256(value["sha256"], f"{name} sha256"),
    )
