"""Counts what a dataset's examples look like, while they are written."""

from __future__ import annotations

from typing import Any

import numpy as np

from mnist_estimator.data.splits import MAX_CLASSES, SPLITS, TEST, TRAIN, VALIDATION
from mnist_estimator.pictures.methods import DIGIT, PLAIN
from mnist_estimator.runtime import json_files

# MNIST's form: the digit lies in the middle by its centre of mass, and leaves the edge black.
_EDGE = 2 / 28  # Of the frame's side.
_OFF_CENTRE = 1 / 28  # The same: the most that the centre of mass is off.
_LEAST_SHARE = 0.5  # Of the images. MNIST has 0.88, its pixels as 0 and 1 0.81, Fashion-MNIST 0.

_MOST_COPIED = 2**22  # Pixels that are copied as floats; a chunk of small images has fewer.

_FIELDS = ("classes", "brightest", "examined", "like_mnist")
_MOST = 2**40  # Examples of a class in a part: more than any disk holds, and sums stay exact.


def full_scale(brightest_pixel: int) -> int:
    """The pixel that stands for white, in data with this brightest pixel.

    Images need not reach 255. But a brightest pixel below half of it shows that the data have
    another scale, such as 0 and 1, or 0 to 16.
    """
    return 255 if brightest_pixel > 127 else brightest_pixel


class Statistics:
    """Counts of the examples of all splits, chunk by chunk."""

    def __init__(self) -> None:
        self._classes: dict[str, np.ndarray] = {split: np.zeros(0, np.int64) for split in SPLITS}
        self._brightest = dict.fromkeys(SPLITS, 0)
        self._examined = self._like_mnist = 0

    def add(self, split: str, images: np.ndarray, labels: np.ndarray) -> None:
        """Counts examples of a split: images uint8 [N,H,W,C], labels int64 [N]."""
        self._classes[split] = add_counts(self._classes[split], labels)
        self._brightest[split] = max(self._brightest[split], int(images.max(initial=0)))
        if split != TEST:
            self._examined += len(images)
            self._like_mnist += _count_like_mnist(images)

    def add_all(self, other: Statistics) -> None:
        """Counts what another one has counted, too."""
        for split in SPLITS:
            few, many = sorted((self._classes[split], other._classes[split]), key=len)
            self._classes[split] = many + np.pad(few, (0, len(many) - len(few)))
            self._brightest[split] = max(self._brightest[split], other._brightest[split])
        self._examined += other._examined
        self._like_mnist += other._like_mnist

    def num_examples(self, split: str) -> int:
        """How many examples of a split were counted."""
        return int(self._classes[split].sum())

    @property
    def content(self) -> dict[str, Any]:
        """All that was counted, for JSON."""
        return {
            "classes": {split: counts.tolist() for split, counts in self._classes.items()},
            "brightest": dict(self._brightest),
            "examined": self._examined,
            "like_mnist": self._like_mnist,
        }

    @classmethod
    def parse(cls, value: Any) -> Statistics:
        """Returns what a `content` that was read has counted; raises ValueError if it is none."""
        json_files.expect_keys(json_files.expect(value, dict, "statistics"), _FIELDS, "statistics")
        found = cls()
        for split in SPLITS:
            where = f"classes of {split}"
            counts = _of_splits(value, "classes")[split]
            if len(json_files.expect(counts, list, where)) > MAX_CLASSES:
                raise ValueError(f"{where} has {len(counts)}, expected {MAX_CLASSES} at most")
            checked = [json_files.whole(count, where, 0, _MOST) for count in counts]
            found._classes[split] = np.array(checked, np.int64)
            pixel = _of_splits(value, "brightest")[split]
            found._brightest[split] = json_files.whole(pixel, f"brightest of {split}", 0, 255)
        trained = found.num_examples(TRAIN) + found.num_examples(VALIDATION)
        found._examined = json_files.whole(value["examined"], "examined", trained, trained)
        found._like_mnist = json_files.whole(value["like_mnist"], "like_mnist", 0, trained)
        return found

    @property
    def largest_label(self) -> int:
        """The largest label of any split."""
        return max(len(counts) for counts in self._classes.values()) - 1

    @property
    def brightest_pixel(self) -> int:
        """The largest pixel of the training and validation images; 1 if all of them are black."""
        return max(self._brightest[TRAIN], self._brightest[VALIDATION], 1)

    @property
    def are_black(self) -> bool:
        """Whether every pixel of the training and validation images is 0."""
        return not self._brightest[TRAIN] and not self._brightest[VALIDATION]

    @property
    def brightest_test_pixel(self) -> int:
        """The largest pixel of the test images."""
        return self._brightest[TEST]

    @property
    def pictures(self) -> str:
        """The method that makes such images: `methods.DIGIT` if these have the form of MNIST."""
        return DIGIT if self._like_mnist >= _LEAST_SHARE * max(self._examined, 1) else PLAIN

    def class_examples(self, num_classes: int) -> dict[str, tuple[int, ...]]:
        """How many examples each class has in each split."""
        return {
            split: (*counts.tolist(), *[0] * (num_classes - len(counts)))
            for split, counts in self._classes.items()
        }


def _of_splits(value: dict[str, Any], name: str) -> dict[str, Any]:
    found = json_files.expect(value[name], dict, name)
    json_files.expect_keys(found, SPLITS, name)
    return found


def add_counts(counts: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Adds labels to the counts by class, int64 [K]; there may be more classes afterwards."""
    added = np.bincount(labels, minlength=len(counts))
    added[: len(counts)] += counts
    return added


def _count_like_mnist(images: np.ndarray) -> int:
    """How many images have MNIST's form."""
    if images.shape[3] != 1:
        return 0
    found: Any = True
    for mass in _masses(images[..., 0]):
        side = mass.shape[1]
        edge = max(1, round(_EDGE * side))
        places = (np.arange(side) + 0.5) / side - 0.5
        total = mass.sum(1)
        centred = abs(mass @ places) <= _OFF_CENTRE * total
        black = (mass[:, :edge].sum(1) == 0) & (mass[:, -edge:].sum(1) == 0)
        found &= centred & black & (total > 0)
    return int(np.sum(found))


def _masses(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mass of each row, and of each column, of each image: uint8 [N,H,W] -> [N,H], [N,W]."""
    if pixels.size > _MOST_COPIED:
        return pixels.sum(2, dtype=np.float64), pixels.sum(1, dtype=np.float64)
    height, width = pixels.shape[1:]
    # float32 is exact for whole numbers below 2**24, in whichever order they are added.
    exact = np.float32 if 255 * max(height, width) < 2**24 else np.float64
    values = pixels.astype(exact)
    rows, columns = values @ np.ones(width, exact), np.matmul(np.ones(height, exact), values)
    return rows.astype(np.float64), columns.astype(np.float64)
