"""What a dataset gets when its shards are written: the checks of the whole, and its manifest."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from mnist_estimator.data import doubts, splits
from mnist_estimator.data.manifest import (
    DIGEST,
    FORMAT_VERSION,
    MANIFEST,
    DatasetError,
    Manifest,
    Shard,
    read_manifest,
)
from mnist_estimator.data.outline import Outline
from mnist_estimator.data.shard_writer import reads_otherwise
from mnist_estimator.data.statistics import Statistics
from mnist_estimator.runtime import files, progress


def check_scale(statistics: Statistics, train: str, test: str) -> None:
    """Compares the pixels of the training and the test examples, which messages call so.

    Raises:
      InputError: if they are of different scales for certain.
    """
    found, trained = statistics.brightest_test_pixel, statistics.brightest_pixel
    doubt = doubts.check_scale(test, found, trained, train)
    if doubt:
        progress.warn(doubt)


def manifest_of(
    outline: Outline, statistics: Statistics, written: Mapping[str, tuple[Shard, ...]], train: str
) -> Manifest:
    """Returns the manifest of a dataset with these shards.

    Args:
      train: what messages call the training examples.

    Raises:
      DatasetError: if all images are black, if there is one class, or not a name for each.
    """
    if statistics.are_black:
        raise DatasetError(
            f"{train}: every pixel of every image is 0, expected images; of 16 bits a pixel the "
            "upper 8 are used: scale such pictures to 0 to 65535"
        )
    num_classes = outline.num_classes or statistics.largest_label + 1
    if num_classes < 2:
        raise DatasetError(
            f"{train}: every label is 0, expected two classes or more; give --num_classes"
        )
    names = outline.class_names or tuple(map(str, range(num_classes)))
    if len(names) != num_classes:
        raise DatasetError(
            f"{outline.dataset}: {len(names)} class names, expected {num_classes}, one a class"
        )
    is_open = outline.pictures == splits.AUTO
    return Manifest(
        format_version=FORMAT_VERSION,
        dataset=outline.dataset,
        image_shape=outline.image_shape,
        num_classes=num_classes,
        class_names=names,
        splits=dict(written),
        sources=outline.sources,
        split_rule=outline.split_rule,
        class_examples=statistics.class_examples(num_classes),
        brightest_pixel=statistics.brightest_pixel,
        pictures=statistics.pictures if is_open else outline.pictures,
    )


def write_manifest(folder: str, manifest: Manifest) -> None:
    """Writes a manifest beside its shards, and reads it back."""
    path = os.path.join(folder, MANIFEST)
    with files.created(path) as file:
        content = manifest.content | {DIGEST: manifest.digest}
        file.write(json.dumps(content, indent=1).encode() + b"\n")
    files.sync(path)
    files.sync(folder)
    if read_manifest(folder) != manifest:
        raise reads_otherwise(path)
