"""A small dataset for the tests of the manifest and of the records, and a way to edit it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mnist_estimator.data import writer
from mnist_estimator.data.manifest import DIGEST, MANIFEST

SHAPE, CLASSES = (2, 3, 3), 300


class _Arrays:
    """2x3 pictures in colour, of 300 classes."""

    image_shape = SHAPE

    def __init__(self, name: str, examples: int):
        self.name, self.num_examples = name, examples

    def chunks(self, max_items: int):
        images = np.random.default_rng(len(self.name)).integers(
            256, size=(self.num_examples, *SHAPE), dtype=np.uint8
        )
        yield images, np.arange(self.num_examples) * 37 % CLASSES

    def digests(self) -> dict[str, str]:
        return {self.name: "0" * 64}


def write(folder: Path) -> None:
    """Writes 28, 3 and 7 examples to three shards a split."""
    writer.write_dataset(
        str(folder),
        dataset="colours",
        train=_Arrays("train", 31),
        test=_Arrays("test", 7),
        num_classes=CLASSES,
        shards=3,
        validation_split="3",
    )


def edit(data_dir: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes a manifest, and gives it the digest that then is right."""
    path = data_dir / MANIFEST
    manifest = json.loads(path.read_text())
    change(manifest)
    # Otherwise its own digest would be all that is found wrong.
    rest = {name: value for name, value in manifest.items() if name != DIGEST}
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    manifest[DIGEST] = hashlib.sha256(canonical.encode()).hexdigest()
    path.write_text(json.dumps(manifest))
