"""Four small IDX files of the usual names, which can be made a known dataset's."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from mnist_estimator.data import idx, known_datasets

TRAIN, TEST = 12, 5


def arrays(shape: tuple[int, ...] = (3, 2)) -> dict[str, np.ndarray]:
    """Each part with a length of its own."""
    generator = np.random.default_rng(0)
    return {
        "train_images": generator.integers(256, size=(TRAIN, *shape), dtype=np.uint8),
        "train_labels": np.arange(TRAIN, dtype=np.uint8) % 3,
        "test_images": generator.integers(256, size=(TEST, *shape), dtype=np.uint8),
        "test_labels": np.arange(TEST, dtype=np.uint8) % 3,
    }


def put(folder: Path, arrays: dict[str, np.ndarray], compressed: bool = False) -> dict[str, str]:
    """Writes IDX files of the usual names; returns their paths by role."""
    paths = {}
    folder.mkdir(exist_ok=True)
    for role, array in arrays.items():
        path = folder / (known_datasets.FILE_NAMES[role] + (".gz" if compressed else ""))
        with (gzip.open if compressed else open)(path, "wb") as file:
            idx.write_idx(file, array)
        paths[role] = str(path)
    return paths


def make_known(monkeypatch: pytest.MonkeyPatch, paths: dict[str, str]) -> None:
    """Makes the content of these files the dataset "mnist"; its mirrors cannot be reached."""
    content = {}
    for role, path in paths.items():
        data = Path(path).read_bytes()
        content[role] = gzip.decompress(data) if path.endswith(".gz") else data
    known = known_datasets.KnownDataset(
        name="mnist",
        title="MNIST",
        class_names=("zero", "one", "two"),
        digests={role: hashlib.sha256(data).hexdigest() for role, data in content.items()},
        mirrors=("http://127.0.0.1:9/",),
        content_bytes={role: len(data) for role, data in content.items()},
    )
    monkeypatch.setitem(known_datasets.DATASETS, "mnist", known)
