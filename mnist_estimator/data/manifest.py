"""The manifest: what a prepared dataset holds, and how it is read.

A data_dir holds a dataset if and only if it holds `manifest.json`. The manifest lists the shards,
with the size and the digest of each, and has a digest of its own.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
from typing import Any

from mnist_estimator.compat import tf
from mnist_estimator.data import known_datasets
from mnist_estimator.data.splits import MAX_CLASSES, MAX_SHARDS, SPLITS, TRAIN
from mnist_estimator.pictures import methods
from mnist_estimator.runtime import files, json_files
from mnist_estimator.runtime.files import FileError, file_errors

MANIFEST = "manifest.json"
DIGEST = "sha256"  # The manifest's digest of itself, so that no damage goes unnoticed.
FORMAT_VERSION = 2

MAX_IMAGE_BYTES = 2**30  # Of a dataset that is there already; protocol buffers end at 2 GiB.
MAX_NEW_IMAGE_BYTES = 200_000_000  # The 50 megapixels that a picture may have, in four channels.


class DatasetError(FileError):
    """A data_dir whose dataset cannot be read or written."""


class NoDatasetError(DatasetError):
    """The data_dir holds no dataset."""


class ManifestError(DatasetError):
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

    Format version 1 lacks the last three. For such a dataset the classes are not counted, the
    brightest pixel counts as 255, and pictures are prepared as digits, unless the dataset is known
    to show none.
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
        return json_files.digest(self.content)

    @property
    def content(self) -> dict[str, Any]:
        """The manifest as manifest.json has it, but for the digest."""
        content = dataclasses.asdict(self)
        return {name: content[name] for name in _fields(self.format_version)}


@dataclasses.dataclass(frozen=True)
class TrainedOn:
    """What a network has to know about its data; a `Manifest` has these fields, too."""

    image_shape: tuple[int, int, int]
    num_classes: int
    class_names: tuple[str, ...]
    brightest_pixel: int
    pictures: str
    digest: str


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A prepared dataset: the folder that holds it, and its manifest."""

    folder: str
    manifest: Manifest

    def shard_paths(self, split: str) -> list[str]:
        """The paths of a split's shards, in order."""
        return [os.path.join(self.folder, shard.file) for shard in self.manifest.splits[split]]


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
    if known_datasets.is_known(name):
        return f"replace it with {prepare_command(data_dir, f'--dataset={name}', '--force')}"
    command = prepare_command(data_dir, "--force")
    return f"replace it with {command} and the flags that name the files it was made of"


def usual_pictures(dataset: str) -> str:
    """How pictures become images of a dataset whose manifest does not say so."""
    known = known_datasets.DATASETS.get(dataset) if isinstance(dataset, str) else None
    return known.pictures if known else methods.DIGIT


def shard_name(split: str, index: int, count: int) -> str:
    """The file name of shard `index` of `count`."""
    return f"{split}-{index:05d}-of-{count:05d}.tfrecord"


def is_shard_name(name: str) -> bool:
    """Whether a file of this name in a data_dir would be taken for a shard."""
    return re.fullmatch(rf"({'|'.join(SPLITS)})-\d{{5}}-of-\d{{5}}\.tfrecord", name) is not None


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
