"""A digit on a picture becomes an image like MNIST's."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from support.drawing import (
    STROKES,
    difference,
    drawn,
    encoded,
    expected_image,
    image_of,
    page,
    prepared,
)


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    return expected_image()


def on_colours(ink: np.ndarray, stroke: tuple, paper: tuple) -> np.ndarray:
    return ink[..., None] * stroke + (1 - ink[..., None]) * np.array(paper, float)


def shaded(ink: np.ndarray) -> np.ndarray:
    """Lit from the left, dim at the corners, noisy."""
    y, x = (np.linspace(-1, 1, side) for side in ink.shape)
    light = (0.75 - 0.25 * x) * (1 - 0.15 * (x**2 + y[:, None] ** 2))
    return (230 - 180 * ink) * light + np.random.default_rng(0).normal(0, 5, ink.shape)


def with_edges(ink: np.ndarray) -> np.ndarray:
    """A sheet photographed with what lies behind it, and with dust on it."""
    sheet = 230 - 190 * np.pad(ink, 20)
    sheet[:8] = sheet[:, -12:] = 25
    sheet[30:33, 60:63] = sheet[-20:-17, 30:33] = 25
    return sheet


def opaque_strokes(ink: np.ndarray, grey: int) -> np.ndarray:
    return np.dstack([np.full((*ink.shape, 3), grey), 255 * ink])


_DRAWINGS = {
    "dark on light": lambda ink: 255 * (1 - ink),
    "light on dark": lambda ink: 255 * ink,
    "low contrast": lambda ink: 150 - 30 * ink,
    "colours of one luminance": lambda ink: on_colours(ink, (200, 30, 30), (20, 123, 30)),
    "the same, swapped": lambda ink: on_colours(ink, (20, 123, 30), (200, 30, 30)),
    "shaded paper": shaded,
    "edges and specks": with_edges,
    "grey and alpha": lambda ink: np.dstack([0 * ink, 255 * ink]),
    "black strokes opaque": lambda ink: opaque_strokes(ink, 0),
    "white strokes opaque": lambda ink: opaque_strokes(ink, 255),
    "black paper opaque": lambda ink: opaque_strokes(1 - ink, 0),
    "white paper opaque": lambda ink: opaque_strokes(1 - ink, 255),
    "alpha of no meaning": lambda ink: np.dstack([255 * (1 - ink)] * 3 + [0 * ink]),
    "a sheet cut out": lambda ink: np.pad(
        np.dstack([255 * (1 - ink)] * 3 + [255 + 0 * ink]), ((30, 30), (30, 30), (0, 0))
    ),
}


@pytest.mark.parametrize("drawing", _DRAWINGS)
def test_ink_is_found_whatever_it_is_drawn_with(drawing, expected):
    image = image_of(encoded(_DRAWINGS[drawing](page(drawn()))))
    assert difference(expected, image) < 0.15


def mnist_like(name: str) -> np.ndarray:
    """A 28x28 image as MNIST has them: 20 pixels high, the centre of mass at (14, 14)."""
    image = image_of(encoded(255 * (1 - page(drawn(name)))))
    assert image.any(1).sum() == 20
    return image


@pytest.mark.parametrize("name", STROKES)
def test_an_image_of_mnist_comes_out_as_it_went_in(name):
    image = mnist_like(name)
    again = image_of(encoded(image))
    assert np.abs(image - again).max() < 40 and difference(image, again) < 0.05


@pytest.mark.parametrize("name", STROKES)
def test_the_middle_is_the_centre_of_mass(name):
    image = image_of(encoded(255 * (1 - page(drawn(name), top=170, left=90))))
    for axis in (0, 1):
        profile = image.sum(1 - axis)
        assert abs((profile * np.arange(28)).sum() / profile.sum() - 14) <= 0.51


def test_the_aspect_is_kept():
    image = image_of(encoded(255 * (1 - page(drawn("1")))))
    assert image.any(1).sum() == 20 and image.any(0).sum() <= 5


@pytest.mark.parametrize("size", [(31, 45), (83, 61), (460, 700), (900, 1201)])
def test_the_size_of_the_picture_does_not_matter(size, expected):
    image = Image.fromarray((255 * (1 - page(drawn()))).astype(np.uint8))
    aspect = image.width / image.height
    scaled = image.resize((round(size[1] * aspect), size[1]), Image.Resampling.BICUBIC)
    assert difference(expected, image_of(encoded(np.asarray(scaled)))) < 0.3


_SIDES = np.mgrid[:120, :160] / 120.0
_BLANK = {
    "white": np.full((50, 70), 255),
    "black": np.zeros((50, 70)),
    "one pixel": np.full((1, 1), 77),
    "one row": np.full((1, 50), 77),
    "gradient": 40 + 100 * _SIDES.sum(0),
    "noise": np.random.default_rng(0).integers(0, 256, (120, 160)),
    "faint": 200 - 5 * page(drawn()),
    "checkers": (np.mgrid[:120, :160] // 8).sum(0) % 2 * 255,
    "half": np.where(_SIDES[1] < 0.6, 0, 255),
    "a speck": np.where(np.hypot(*(_SIDES - 0.5)) < 0.012, 0, 255),
    "transparent": np.zeros((50, 70, 4)),
}


@pytest.mark.parametrize("blank", _BLANK)
def test_no_ink(blank):
    images, has_ink = prepared(encoded(_BLANK[blank]))
    assert has_ink.tolist() == [False]
    assert not images.any()


def test_no_pictures():
    images, has_ink = prepared()
    assert images.shape == (0, 28, 28, 1) and has_ink.shape == (0,)


def test_bits_do_not_depend_on_the_batch():
    files = [encoded(draw(page(drawn(name)))) for name in "147" for draw in _DRAWINGS.values()]
    together, ink = prepared(*files, encoded(_BLANK["noise"]))
    backwards, _ = prepared(*files[::-1])
    for place in range(0, len(files), 5):
        alone, _ = prepared(files[place])
        np.testing.assert_array_equal(alone[0], together[place])
    np.testing.assert_array_equal(backwards[::-1], together[:-1])
    assert ink.tolist() == [True] * len(files) + [False]


def test_other_shapes():
    file = encoded(255 * (1 - page(drawn())))
    images, _ = prepared(file, shape=(42, 84, 3))
    assert images.shape == (1, 42, 84, 3)
    assert (images == images[..., :1]).all()
    assert images[0, ..., 0].any(1).sum() == 30
