"""What is counted of a dataset's examples."""

import json
import tracemalloc

import numpy as np
import pytest

from mnist_estimator.data import idx, known_datasets
from mnist_estimator.data.statistics import Statistics, _masses, full_scale


def _sample() -> np.ndarray:
    """Digits of the bundled sample, uint8 [N,28,28,1]."""
    path = f"{known_datasets.sample_dir()}/t10k-images-idx3-ubyte.gz"
    with open(path, "rb") as file:
        return idx.read_idx(file, name=path)[..., None]


def _pictures(images: np.ndarray) -> str:
    statistics = Statistics()
    statistics.add("train", images, np.zeros(len(images), np.int64))
    return statistics.pictures


_CHANGES = {
    "as it is": (lambda x: x, "digit"),
    "0 and 1": (lambda x: (x > 127).astype(np.uint8), "digit"),
    "56x56": (lambda x: np.kron(x, np.ones((1, 2, 2, 1), np.uint8)), "digit"),
    "dark on light": (lambda x: 255 - x, "plain"),
    "off the middle": (lambda x: np.roll(x, 3, axis=2), "plain"),
    "cut to the box": (lambda x: x[:, 4:24, 4:24], "plain"),
    "coloured": (lambda x: np.repeat(x, 3, axis=3), "plain"),
    "noise": (lambda x: np.random.default_rng(0).integers(0, 256, x.shape, np.uint8), "plain"),
    "black": (np.zeros_like, "plain"),
    "one pixel": (lambda x: x[:, 14:15, 14:15], "plain"),
}


@pytest.mark.parametrize("change", _CHANGES)
def test_digits_like_those_of_mnist_are_recognized(change: str):
    changed, expected = _CHANGES[change]
    assert _pictures(changed(_sample())) == expected


def test_examples_are_counted_by_class_and_split():
    statistics = Statistics()
    for split, labels in (("train", [0, 2]), ("train", [2]), ("test", [4, 0, 0])):
        images = np.full([len(labels), 1, 1, 1], 7 if split == "train" else 200, np.uint8)
        statistics.add(split, images, np.array(labels, np.int64))
    assert statistics.largest_label == 4
    assert statistics.class_examples(6) == {
        "train": (1, 0, 2, 0, 0, 0),
        "validation": (0,) * 6,
        "test": (2, 0, 0, 0, 1, 0),
    }
    # What the network is scaled by must not depend on the test examples.
    assert statistics.brightest_pixel == 7


def test_black_images_have_a_brightest_pixel_to_divide_by():
    assert Statistics().brightest_pixel == 1


@pytest.mark.parametrize(
    ("brightest", "white"), [(255, 255), (249, 255), (128, 255), (127, 127), (16, 16), (1, 1)]
)
def test_white_is_255_unless_the_data_have_another_scale(brightest: int, white: int):
    assert full_scale(brightest) == white


def test_counts_of_parts_add_up_also_through_json():
    images, labels = _sample(), np.arange(1000) % 7
    whole, total = Statistics(), Statistics()
    for split, start, stop in (("train", 0, 400), ("test", 400, 410), ("train", 410, 1000)):
        part = Statistics()
        for statistics in (whole, part):
            statistics.add(split, images[start:stop], labels[start:stop])
        total.add_all(Statistics.parse(json.loads(json.dumps(part.content))))
    assert total.content == whole.content
    assert (total.pictures, total.num_examples("train")) == ("digit", 990)


@pytest.mark.parametrize("shape", [(40, 28, 28), (3, 1, 300), (1, 2000, 2100), (5, 7, 70_000)])
def test_masses_are_the_same_however_they_are_summed(monkeypatch, shape: tuple[int, int, int]):
    pixels = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    found = []
    for most in (0, 2**40):
        monkeypatch.setattr("mnist_estimator.data.statistics._MOST_COPIED", most)
        found.append(_masses(pixels))
    for one, other in zip(*found, strict=True):
        assert one.dtype == other.dtype == np.float64 and np.array_equal(one, other)


def test_large_images_are_not_copied():
    images = np.zeros((1, 3000, 3000, 1), np.uint8)
    tracemalloc.start()
    try:
        _pictures(images)
        assert tracemalloc.get_traced_memory()[1] < images.size / 4
    finally:
        tracemalloc.stop()
