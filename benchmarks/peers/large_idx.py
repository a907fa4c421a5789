"""A large IDX file: MNIST's training digits drawn by a seed and shifted, chunk by chunk."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import common
import numpy as np

TESTED = 10_000  # MNIST's own test images, which are prepared with them.
_CHUNK = 20_000
_MOST_SHIFT = 2  # Pixels.
# The file, the records made of it, and room for the run: bytes an image.
_BYTES = 785 + 900 + 100


def folder(images: int) -> Path:
    """Where the files are, and what is made of them."""
    return common.WORK / f"large_{images}"


def flags(images: int) -> list[str]:
    """The flags with which `prepare` reads the files, which are written first if need be."""
    written(images)
    names = {"images": "images-idx3-ubyte", "labels": "labels-idx1-ubyte"}
    train = [f"--train_{kind}={folder(images) / kind}" for kind in names]
    test = [f"--test_{kind}={_test_file(name)}" for kind, name in names.items()]
    return train + test


def written(images: int) -> None:
    """Writes the two files unless they are there; ends the program where they have no room."""
    place = folder(images)
    if (place / "images").exists():
        return
    place.mkdir(parents=True, exist_ok=True)
    free, needed = shutil.disk_usage(place).free, images * _BYTES
    if free < needed:
        sys.exit(f"{place}: found {free / 1e9:.1f} GB free, expected {needed / 1e9:.1f} GB")
    with (
        open(place / "images.unfinished", "wb") as pixels,
        open(place / "labels", "wb") as labels,
    ):
        pixels.write(np.array([2051, images, 28, 28], ">i4").tobytes())
        labels.write(np.array([2049, images], ">i4").tobytes())
        for chunk in _chunks(images):
            pixels.write(chunk[0].tobytes())
            labels.write(chunk[1].tobytes())
    os.replace(place / "images.unfinished", place / "images")


def _chunks(images: int):
    source, classes = common.mnist("train")
    random = np.random.default_rng(0)
    for first in range(0, images, _CHUNK):
        drawn = random.integers(len(source), size=min(_CHUNK, images - first))
        shift = tuple(random.integers(-_MOST_SHIFT, _MOST_SHIFT + 1, size=2))
        yield np.roll(source[drawn], shift, axis=(1, 2)), classes[drawn].astype(np.uint8)


def _test_file(name: str) -> Path:
    plain = common.DATA / f"t10k-{name}"
    return plain if plain.exists() else plain.with_name(f"{plain.name}.gz")
