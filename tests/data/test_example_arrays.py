"""What arrays of images and of labels have to be."""

import numpy as np
import pytest

from mnist_estimator.data import example_arrays

_UINT8 = np.dtype(np.uint8)


@pytest.mark.parametrize("shape", [(5, 4, 3), (5, 4, 3, 1), (5, 28, 28, 4)])
def test_images(shape):
    assert example_arrays.images_problem(shape, _UINT8) is None
    assert example_arrays.image_shape(shape) == (*shape[1:], 1)[:3]


@pytest.mark.parametrize(
    ("shape", "dtype", "advice"),
    [
        ((5,), np.uint8, "give the images here"),
        ((5, 784), np.uint8, "save them as 5x28x28"),
        ((5, 3, 28, 28), np.uint8, "move that axis to the end"),
        ((5, 28, 28), np.float32, "times 255 first"),
        ((5, 28, 28), np.int8, "pixels above 127 are negative"),
    ],
)
def test_no_images(shape, dtype, advice):
    assert advice in example_arrays.images_problem(shape, np.dtype(dtype)).advice


def test_labels():
    for shape in ((5,), (5, 1)):
        assert example_arrays.labels_problem(shape, np.dtype(np.int32)) is None
    assert "labels.argmax(1)" in example_arrays.labels_problem((5, 10), _UINT8).advice
    assert "as integers" in example_arrays.labels_problem((5,), np.dtype(float)).advice


def test_channels_one_after_the_other_are_seen():
    rows, columns = np.mgrid[:32, :32]
    grey = 120 + 60 * np.sin(rows / 5 + columns / 9)
    colours = np.stack([grey, 250 - grey, 60 + grey / 2], 2)
    images = np.stack([colours, colours[::-1]]).astype(np.uint8)
    planes = images.transpose(0, 3, 1, 2).reshape(images.shape)
    assert example_arrays.are_planes(planes) and not example_arrays.are_planes(images)
    assert not example_arrays.are_planes(np.zeros_like(images))
    assert not example_arrays.are_planes(images[..., :1])


@pytest.mark.parametrize(("start", "stop"), [(0, None), (0, 10), (2, 7), (4, 4), (9, 10), (3, 99)])
def test_rows_of_chunks_all_of_which_are_read(start: int, stop: int | None):
    read = []

    def chunks():
        for first in range(0, 10, 3):
            labels = np.arange(first, min(first + 3, 10))
            read.extend(labels)
            yield labels * 2, labels

    found = list(example_arrays.rows_of(chunks(), start, stop))
    labels = [label for _, labels in found for label in labels]
    assert labels == list(range(10))[start:stop] and read == list(range(10))
    assert [image for images, _ in found for image in images] == [2 * label for label in labels]
    assert all(len(labels) for _, labels in found)
