"""The panel with examples of the data: one of each class, and several of one class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mnist_estimator.compat import tf
from mnist_estimator.data import records
from mnist_estimator.data.manifest import Dataset
from mnist_estimator.data.statistics import full_scale
from mnist_estimator.reporting import page
from mnist_estimator.reporting.pngs import data_uri
from mnist_estimator.reporting.results import Result
from mnist_estimator.runtime import progress
from mnist_estimator.scoring.scores import visible

_MOST_CLASSES = 100
_GRID = 25

# An example is its place in the split and its image uint8 [H,W,C].
_Example = tuple[int, np.ndarray]


def section(names: Sequence[str], results: Sequence[Result], grid_class: int) -> str:
    """Examples of each run's split; only once, if all runs were evaluated on the same split."""
    same = len({(result.manifest.digest, result.split) for result in results}) == 1
    shown = results[:1] if same else results
    html = [_examples(result, grid_class) for result in shown]
    return page.section("Data", names[: len(html)], html)


def _examples(result: Result, grid_class: int) -> str:
    firsts, grid = _find_examples(result, grid_class)
    return page.pair(_one_of_each(result, firsts), _several(result, grid, grid_class))


def _one_of_each(result: Result, firsts: dict[int, _Example]) -> str:
    shown = [
        page.Picture(
            data_uri(image),
            f"{result.split} example {index}: {result.classes[label]}",
            (result.classes[label],),
        )
        for label, (index, image) in sorted(firsts.items())
    ]
    html = page.subheading(f"One of each class, {result.split} split")
    html += page.pictures(shown, "One of each class")
    if len(shown) < result.manifest.num_classes:
        html += page.note(f"Shown are {len(shown)} of {result.manifest.num_classes:,} classes.")
    return html


def _several(result: Result, grid: Sequence[_Example], label: int) -> str:
    name = result.classes[label]
    if not grid:
        note = page.note(f"The {result.split} split has no example of it.")
        return page.subheading(f"Class {name}") + note
    shown = [
        page.Picture(data_uri(image), f"{result.split} example {index}") for index, image in grid
    ]
    heading = page.subheading(f"{len(shown)} of class {name}")
    return heading + page.pictures(shown, f"Examples of class {name}", size="five")


def _find_examples(result: Result, grid_class: int) -> tuple[dict[int, _Example], list[_Example]]:
    """The first example of each of the first 100 classes, and the first 25 of one class."""
    num_classes = min(result.manifest.num_classes, _MOST_CLASSES)
    firsts, grid = {}, []
    with progress.ProgressLine() as show_progress:
        for index, (label, image) in enumerate(_read_examples(result)):
            show_progress(f"looking for examples of each class: {index:,} read")
            if label < num_classes:
                firsts.setdefault(label, (index, image))
            if label == grid_class and len(grid) < _GRID:
                grid.append((index, image))
            if len(firsts) == num_classes and len(grid) == _GRID:
                break
    return firsts, grid


def _read_examples(result: Result) -> Iterator[tuple[int, np.ndarray]]:
    """Yields (label, image uint8 [H,W,C]) of the split, in the order of the records."""
    shape = result.manifest.image_shape
    for path in Dataset(result.data_dir, result.manifest).shard_paths(result.split):
        for record in records.read_records(path):
            features = tf.train.Example.FromString(record).features.feature
            pixels = features[records.IMAGE_KEY].bytes_list.value[0]
            image = np.frombuffer(pixels, np.uint8).reshape(shape)
            label = features[records.LABEL_KEY].int64_list.value[0]
            yield label, visible(image, full_scale(result.manifest.brightest_pixel))
