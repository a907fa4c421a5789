"""Corrupts images in the fifteen ways of MNIST-C.

The kinds are those of Mu and Gilmer, "MNIST-C: A Robustness Benchmark for Computer Vision",
arXiv:1906.02337. How each one is done, and how strong it is, is this module's own, chosen by the
look of twelve digits and before any network was evaluated. So accuracies are not to be compared
with those on the files of MNIST-C.

All kinds take images uint8 [N,H,W], in which 0 is the background and 255 is white, and give images
like them. Pixels as a unit are those of an image with 28 of them: on others lengths grow with the
shorter side. What is random in an image follows from the seed, the kind and the image's number.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Callable, Iterable

import numpy as np

from benchmarks import canny

_BLOCK = 256  # Images at once: their arrays of floats stay in a core's cache.
_WHITE = 255
_SIDE = 28

# How strong each kind is.
_PHOTONS = 5
_IMPULSES = 0.15
_GLASS_REACH, _GLASS_STDDEV = 2, 1.0
_MOTION_PLACES = 9
_SHEAR = 0.5
_SCALE = 0.6
_DEGREES = 30
_BRIGHTNESS = 100
_SHIFT = 4
_STRIPE = 6
_FOG = 0.55
_SPATTERED, _SPATTER_STDDEV, _SPATTER_GREY = 0.12, 1.2, 180
_DOTS = 10
_ZIGZAG_CORNERS, _ZIGZAG_REACH = 9, 2
_CANNY_STDDEV, _CANNY_LOW, _CANNY_HIGH = 1.0, 0.1, 0.2


class Draws:
    """Random numbers for images, each image's from a stream of its own."""

    def __init__(self, seed: int, kind: str, numbers: Iterable[int]) -> None:
        """Starts the streams of the images with these numbers.

        Args:
          seed: from 0 to 2**32 - 1.
        """
        first = seed << 32 | zlib.crc32(kind.encode())
        keys = (np.array([first, number], np.uint64) for number in numbers)
        self._generators = [np.random.Generator(np.random.Philox(key=key)) for key in keys]

    def uniform(self, *shape: int) -> np.ndarray:
        """The next numbers of each image, at least 0 and below 1, float32 [N,*shape]."""
        drawn = np.empty([len(self._generators), *shape], np.float32)
        for row, generator in zip(drawn, self._generators, strict=True):
            generator.random(dtype=np.float32, out=row)
        return drawn

    def signs(self, *shape: int) -> np.ndarray:
        """-1 or 1, each as likely, float32 [N,*shape]."""
        return np.where(self.uniform(*shape) < 0.5, np.float32(-1), np.float32(1))


def corrupt(kind: str, images: np.ndarray, *, seed: int = 0, first: int = 0) -> np.ndarray:
    """Corrupts images uint8 [N,H,W] in one of the ways of CORRUPTIONS.

    Args:
      seed: as for `Draws`.
      first: the number of the first image among those that it belongs to.
    """
    corrupted = np.empty_like(images)
    for start in range(0, len(images), _BLOCK):
        block = images[start : start + _BLOCK]
        numbers = range(first + start, first + start + len(block))
        corrupted[start : start + _BLOCK] = CORRUPTIONS[kind](block, Draws(seed, kind, numbers))
    return corrupted


def shot_noise(images: np.ndarray, draws: Draws) -> np.ndarray:
    """Counts light in whole photons, Poisson: 5 on average where a pixel is white.

    A pixel gets a fifth of white for each photon, and white for 5 or more.
    """
    means = np.arange(_WHITE + 1) * (_PHOTONS / _WHITE)
    term = most = np.exp(-means)  # The probability of so many photons, and of at most so many.
    drawn = draws.uniform(*images.shape[1:])
    photons = np.zeros(images.shape, np.uint8)
    for photon in range(1, _PHOTONS + 1):
        photons += drawn >= most[images]
        term = term * means / photon
        most = most + term
    return photons * np.uint8(_WHITE // _PHOTONS)


def impulse_noise(images: np.ndarray, draws: Draws) -> np.ndarray:
    """Makes 15% of the pixels black or white, each as likely."""
    drawn = draws.uniform(*images.shape[1:])
    white = np.where(drawn >= 1 - _IMPULSES / 2, np.uint8(_WHITE), images)
    return np.where(drawn < _IMPULSES / 2, np.uint8(0), white)


def glass_blur(images: np.ndarray, draws: Draws) -> np.ndarray:
    """Shows in place of each pixel one that is up to 2 pixels away along both axes, as glass does.

    Then smooths with a Gaussian of one pixel.
    """
    count, height, width = images.shape
    reach = max(1, round(_GLASS_REACH * _unit(images)))
    steps = np.floor(draws.uniform(2, height, width) * (2 * reach + 1)).astype(int) - reach
    rows = np.clip(np.arange(height)[:, None] + steps[:, 0], 0, height - 1)
    columns = np.clip(np.arange(width) + steps[:, 1], 0, width - 1)
    shown = images[np.arange(count)[:, None, None], rows, columns]
    return _to_bytes(_smooth(shown, _GLASS_STDDEV * _unit(images)))


def motion_blur(images: np.ndarray, draws: Draws) -> np.ndarray:
    """Gives each pixel the mean of 9 places, a pixel apart, on a line in any direction."""
    angle = draws.uniform(1, 1) * np.float32(math.pi)
    down, right = np.sin(angle), np.cos(angle)
    y, x = _places(images)
    total = np.zeros(images.shape, np.float32)
    for place in range(_MOTION_PLACES):
        along = np.float32((place - _MOTION_PLACES // 2) * _unit(images))
        total += _look_up(images, y + along * down, x + along * right)
    return _to_bytes(total / _MOTION_PLACES)


def shear(images: np.ndarray, draws: Draws) -> np.ndarray:
    """Moves each row sideways by half its distance from the middle, to the left or the right."""
    y, x = _places(images)
    return _to_bytes(_look_up(images, y, x - _SHEAR * draws.signs(1, 1) * y))


def scale(images: np.ndarray, draws: Draws) -> np.ndarray:
    """Shrinks to 60% in both directions."""
    del draws
    y, x = _places(images)
    return _to_bytes(_look_up(images, y / _SCALE, x / _SCALE))


def rotate(images: np.ndarray, draws: Draws) -> np.ndarray:
    """Turns by 30 degrees, one way or the other."""
    cosine, sine = math.cos(math.radians(_DEGREES)), math.sin(math.radians(_DEGREES))
    sines = np.float32(sine) * draws.signs(1, 1)
    y, x = _places(images)
    return _to_bytes(_look_up(images, cosine * y - sines * x, sines * y + cosine * x))


def brightness(images: np.ndarray, draws: Draws) -> np.ndarray:
    """Adds 100 to each pixel; white is the most."""
    del draws
    return _to_bytes(images.astype(np.float32) + _BRIGHTNESS)


def translate(images: np.ndarray, draws: Draws) -> np.ndarray:
    """Moves by 4 pixels up or down, and by 4 pixels to the left or the right."""
    steps = max(1, round(_SHIFT * _unit(images))) * draws.signs(2, 1, 1)
    y, x = _places(images)
    return _to_bytes(_look_up(images, y - steps[:, 0], x - steps[:, 1]))


def stripe(images: np.ndarray, draws: Draws) -> np.ndarray:
    """Inverts a vertical stripe in the middle, 6 pixels wide."""
    del draws
    width = images.shape[2]
    wide = max(1, round(_STRIPE * _unit(images)))
    left = (width - wide) // 2
    striped = images.copy()
    striped[:, :, left : left + wide] = _WHITE - images[:, :, left : left + wide]
    return striped


def fog(images: np.ndarray, draws: Draws) -> np.ndarray:
    """Mixes 45% of the image with 55% of haze, which goes from black to white.

    Haze is a sum of random surfaces: each one is drawn on a grid that is finer than the one before,
    weighs half as much, and is bilinear in between.
    """
    height, width = images.shape[1:]
    haze = np.zeros(images.shape, np.float32)
    for octave in range(4):
        points = 2 ** (octave + 1) + 1
        surface = _bilinear(height, points) @ draws.uniform(points, points)
        haze += surface @ _bilinear(width, points).T / 2**octave
    least, most = (limit(haze, axis=(1, 2), keepdims=True) for limit in (np.min, np.max))
    return _to_bytes((1 - _FOG) * images + _FOG * _WHITE * (haze - least) / (most - least))


def spatter(images: np.ndarray, draws: Draws) -> np.ndarray:
    """Covers 12% of the image with grey drops: where smooth noise is highest.

    The noise is smoothed with a Gaussian of 1.2 pixels; the grey is 180.
    """
    count, height, width = images.shape
    stddev = _SPATTER_STDDEV * _unit(images)
    margin = math.ceil(3 * stddev)  # Without it, noise is rougher at the sides.
    drawn = draws.uniform(height + 2 * margin, width + 2 * margin)
    rows, columns = _gaussian(height, stddev, margin), _gaussian(width, stddev, margin)
    noise = rows @ drawn @ columns.T
    covered = round(_SPATTERED * height * width)
    least = np.partition(noise.reshape(count, -1), -covered, axis=1)[:, -covered]
    return np.where(noise >= least[:, None, None], np.uint8(_SPATTER_GREY), images)


def dotted_line(images: np.ndarray, draws: Draws) -> np.ndarray:
    """Draws a straight line of 10 white dots from one side to the opposite one."""
    start, end = _ends(images, draws)
    along = np.linspace(0, 1, _DOTS, dtype=np.float32)
    return _drawn(images, [(place, place) for place in (start + (end - start) * t for t in along)])


def zigzag(images: np.ndarray, draws: Draws) -> np.ndarray:
    """Draws a white zigzag from one side to the opposite one.

    Its 9 corners are by turns 2 pixels to the left and to the right of a straight line.
    """
    start, end = _ends(images, draws)
    way = end - start
    across = way[:, ::-1] * np.float32([1, -1]) / np.linalg.norm(way, axis=1, keepdims=True)
    corners = [
        start + way * t + across * np.float32((-1) ** number * _ZIGZAG_REACH * _unit(images))
        for number, t in enumerate(np.linspace(0, 1, _ZIGZAG_CORNERS, dtype=np.float32))
    ]
    return _drawn(images, list(itertools.pairwise(corners)))


def canny_edges(images: np.ndarray, draws: Draws) -> np.ndarray:
    """Shows the edges alone, white on black, as Canny's detector finds them.

    The image is smoothed with a Gaussian of a pixel. A slope of 0.2 of white in a pixel makes an
    edge, and one of 0.1 continues it.
    """
    del draws
    smooth = _smooth(images, _CANNY_STDDEV) / _WHITE
    return canny.edges(smooth, low=_CANNY_LOW, high=_CANNY_HIGH) * np.uint8(_WHITE)


CORRUPTIONS: dict[str, Callable[[np.ndarray, Draws], np.ndarray]] = {
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "glass_blur": glass_blur,
    "motion_blur": motion_blur,
    "shear": shear,
    "scale": scale,
    "rotate": rotate,
    "brightness": brightness,
    "translate": translate,
    "stripe": stripe,
    "fog": fog,
    "spatter": spatter,
    "dotted_line": dotted_line,
    "zigzag": zigzag,
    "canny_edges": canny_edges,
}


def _unit(images: np.ndarray) -> float:
    """The length of a pixel of an image with 28 of them, in pixels of these images."""
    return min(images.shape[1:]) / _SIDE


def _to_bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.round(values), 0, _WHITE).astype(np.uint8)


def _places(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far below and to the right of the middle each pixel is, float32 [H,1] and [1,W]."""
    _, height, width = images.shape
    y = np.arange(height, dtype=np.float32) - (height - 1) / 2
    x = np.arange(width, dtype=np.float32) - (width - 1) / 2
    return y[:, None], x[None, :]


def _look_up(images: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The images' values so far from the middle, float32 [N,H,W]: bilinear, 0 outside."""
    count, height, width = images.shape
    # A frame of black pixels, in which all places outside find what they need.
    framed = np.pad(images, [(0, 0), (1, 2), (1, 2)]).astype(np.float32).ravel()
    rows = np.clip(y + (height - 1) / 2, -1, height) + 1
    columns = np.clip(x + (width - 1) / 2, -1, width) + 1
    top, left = np.floor(rows), np.floor(columns)
    down, right = rows - top, columns - left
    first = np.arange(count)[:, None, None] * ((height + 3) * (width + 3))
    place = first + top.astype(int) * (width + 3) + left.astype(int)
    above, below = (
        framed[row] + (framed[row + 1] - framed[row]) * right for row in (place, place + width + 3)
    )
    return above + (below - above) * down


def _gaussian(size: int, stddev: float, margin: int = 0) -> np.ndarray:
    """A matrix float32 [size,size+2*margin] that smooths; each row adds up to 1."""
    away = np.arange(size)[:, None] - np.arange(-margin, size + margin)
    weights = np.exp(-((away / stddev) ** 2) / 2)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _smooth(images: np.ndarray, stddev: float) -> np.ndarray:
    _, height, width = images.shape
    return _gaussian(height, stddev) @ images.astype(np.float32) @ _gaussian(width, stddev).T


def _bilinear(size: int, points: int) -> np.ndarray:
    """A matrix float32 [size,points] that interpolates between values at even distances."""
    places = np.linspace(0, points - 1, size)[:, None]
    return np.maximum(0, 1 - abs(places - np.arange(points))).astype(np.float32)


def _ends(images: np.ndarray, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of two places on opposite sides, float32 [N,2] each.

    The sides are left and right or top and bottom, and the places anywhere but in the corners.
    """
    most = np.float32(images.shape[1:]) - 1
    ends = 0.1 + 0.8 * draws.uniform(2, 2)
    is_down = draws.uniform(1) < 0.5
    sides = np.concatenate([is_down, ~is_down], axis=1)  # The axis along which the line goes.
    start, end = np.where(sides, 0, ends[:, 0]), np.where(sides, 1, ends[:, 1])
    return (start * most).astype(np.float32), (end * most).astype(np.float32)


def _drawn(images: np.ndarray, strokes: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Draws straight strokes, each from one place [N,2] to another, two pixels wide.

    A pixel is white up to half a pixel from the middle of a stroke, and grey up to 1.5. The strokes
    of small images are as wide: thinner ones would pass between pixels.
    """
    _, height, width = images.shape
    y = np.arange(height, dtype=np.float32)[:, None]
    x = np.arange(width, dtype=np.float32)[None, :]
    nearest = np.full(images.shape, np.inf, np.float32)
    for start, end in strokes:
        way = end - start
        length = np.maximum((way**2).sum(axis=1), np.float32(1e-12))[:, None, None]
        (top, left), (down, right) = start.T[:, :, None, None], way.T[:, :, None, None]
        along = np.clip(((y - top) * down + (x - left) * right) / length, 0, 1)
        away = np.hypot(y - top - along * down, x - left - along * right)
        nearest = np.minimum(nearest, away)
    ink = _WHITE * np.clip(1.5 - nearest / max(1, _unit(images)), 0, 1)
    return _to_bytes(np.maximum(images, ink))
