"""Corruptions: each does what its description says, and each image's follows from its number."""

import numpy as np
import pytest

from benchmarks import corruptions
from benchmarks.corruptions import CORRUPTIONS, corrupt

NOT_RANDOM = {"scale", "brightness", "stripe", "canny_edges"}
MANY = 200
kinds = pytest.mark.parametrize("kind", CORRUPTIONS)


def blobs(count, height=28, width=28):
    """Images that are no two alike: a soft grey blob on black."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    rows, columns, sizes = (
        random.uniform(low, high, (count, 1, 1)) for low, high in ((0.4, 0.6), (0.4, 0.6), (2, 3))
    )
    away = np.hypot(y - rows * height, x - columns * width)
    return np.clip(255 * (sizes + 1 - away), 0, 255).astype(np.uint8)


def full(grey, count=MANY):
    return np.full((count, 28, 28), grey, np.uint8)


def dot(row, column, count=MANY):
    """White dots of three by three pixels on black."""
    images = full(0, count)
    images[:, row - 1 : row + 2, column - 1 : column + 2] = 255
    return images


def middles(images):
    """How far below and to the right of the middle the light is on average, [N,2]."""
    weights = images / images.sum(axis=(1, 2), keepdims=True)
    places = np.arange(28) - 13.5
    return np.stack([weights.sum(axis=2) @ places, weights.sum(axis=1) @ places], axis=1)


def spreads(images):
    """Variance of the light across and along the direction in which it spreads most, [N,2]."""
    weights = images / images.sum(axis=(1, 2), keepdims=True)
    y, x = np.mgrid[:28, :28] - 13.5
    matrices = np.empty((len(images), 2, 2))
    means = middles(images)
    for row, first in enumerate((y, x)):
        for column, second in enumerate((y, x)):
            mean = (weights * first * second).sum(axis=(1, 2))
            matrices[:, row, column] = mean - means[:, row] * means[:, column]
    return np.linalg.eigvalsh(matrices)


@kinds
@pytest.mark.parametrize("shape", [(28, 28), (8, 8), (20, 33)])
def test_every_image_is_changed_and_keeps_its_shape(kind, shape):
    images = blobs(9, *shape)
    before = images.copy()
    found = corrupt(kind, images)
    assert (found.shape, found.dtype) == (images.shape, np.uint8)
    assert (found != images).any(axis=(1, 2)).all()
    assert (images == before).all()


@kinds
def test_an_image_follows_from_the_seed_and_its_number_alone(kind, monkeypatch):
    images = blobs(12)
    whole = corrupt(kind, images, seed=3)
    assert (corrupt(kind, images, seed=3) == whole).all()
    alone = [corrupt(kind, images[i : i + 1], seed=3, first=i) for i in range(12)]
    assert (np.concatenate(alone) == whole).all()
    monkeypatch.setattr(corruptions, "_BLOCK", 5)
    assert (corrupt(kind, images, seed=3) == whole).all()
    assert (corrupt(kind, images, seed=4) == whole).all() == (kind in NOT_RANDOM)


@pytest.mark.parametrize("kind", sorted(CORRUPTIONS.keys() - NOT_RANDOM))
def test_equal_images_are_corrupted_each_in_its_own_way(kind):
    found = corrupt(kind, np.repeat(blobs(1), 20, axis=0))
    assert len(np.unique(found, axis=0)) > 1


def test_each_kind_has_random_numbers_of_its_own():
    drawn = [corruptions.Draws(0, kind, [7]).uniform(4) for kind in CORRUPTIONS]
    assert len(np.unique(drawn)) == 4 * len(CORRUPTIONS)


def test_shot_noise_counts_photons():
    assert (corrupt("shot_noise", full(0)) == 0).all()
    for grey, mean in ((51, 1), (102, 2)):
        found = corrupt("shot_noise", full(grey))
        for photons, below in enumerate([1, mean, mean**2 / 2, mean**3 / 6, mean**4 / 24]):
            share = (found == 51 * photons).mean()
            assert share == pytest.approx(below * np.exp(-mean), abs=0.005)
    assert (corrupt("shot_noise", full(255)) == 255).mean() == pytest.approx(0.5595, abs=0.005)


def test_impulse_noise_makes_a_share_of_the_pixels_black_or_white():
    found = corrupt("impulse_noise", full(77))
    for grey, share in ((0, 0.075), (77, 0.85), (255, 0.075)):
        assert (found == grey).mean() == pytest.approx(share, abs=0.003)


def test_glass_blur_moves_light_a_little():
    assert (corrupt("glass_blur", full(90)) == 90).all()
    found = corrupt("glass_blur", dot(14, 14))
    assert not found[:, :7].any() and not found[:, :, 22:].any()
    assert found.mean() == pytest.approx(dot(14, 14).mean(), rel=0.05)
    # Of the dot, 2/3; of the five places that a pixel is taken from, 2; of the Gaussian, 1.
    assert spreads(found.sum(axis=0, dtype=int)[None]) == pytest.approx(3.67, rel=0.1)


def test_motion_blur_spreads_light_along_a_line():
    # Of the dot, 2/3; of nine places in a row, 20/3.
    across, along = spreads(corrupt("motion_blur", dot(14, 14))).T
    assert along == pytest.approx(22 / 3, rel=0.1)
    assert across == pytest.approx(2 / 3, abs=0.3)


def test_shear_moves_rows_by_half_their_distance_from_the_middle():
    found = middles(corrupt("shear", dot(5, 14)))
    assert found[:, 0] == pytest.approx(-8.5, abs=0.01)
    assert abs(found[:, 1] - 0.5) == pytest.approx(4.25, abs=0.01)
    assert {-4, 5} == set(np.round(found[:, 1]))


def test_scale_shrinks_to_the_middle():
    images = blobs(MANY)
    found, before = middles(corrupt("scale", images)), middles(images)
    assert found == pytest.approx(0.6 * before, abs=0.2)
    assert (found * before).sum() / (before**2).sum() == pytest.approx(0.6, abs=0.01)
    assert (corrupt("scale", full(255))[0] > 0).sum() == pytest.approx((0.6 * 28) ** 2, rel=0.15)


def test_rotate_turns_by_its_angle():
    found = middles(corrupt("rotate", dot(14, 22)))
    turned = np.degrees(np.arctan2(found[:, 0], found[:, 1])) - np.degrees(np.arctan2(0.5, 8.5))
    assert abs(turned) == pytest.approx(30, abs=0.5)
    assert 0.4 < (turned > 0).mean() < 0.6
    assert np.hypot(*found.T) == pytest.approx(np.hypot(0.5, 8.5), abs=0.05)


def test_brightness_adds():
    images = blobs(5)
    expected = np.minimum(images.astype(int) + 100, 255)
    assert (corrupt("brightness", images) == expected).all()


def test_translate_moves_exactly():
    images = blobs(60)
    found, ways = corrupt("translate", images), np.zeros(60, int)
    padded = np.pad(images, [(0, 0), (4, 4), (4, 4)])
    for down in (0, 8):
        for right in (0, 8):
            moved = padded[:, down : down + 28, right : right + 28]
            ways += (found == moved).all(axis=(1, 2)) << (down // 4 + right // 8)
    assert set(ways) == {1, 2, 4, 8}


def test_stripe_inverts_the_middle():
    images = blobs(5)
    expected = images.copy()
    expected[:, :, 11:17] = 255 - expected[:, :, 11:17]
    assert (corrupt("stripe", images) == expected).all()


def test_fog_mixes_in_haze():
    black, white = (corrupt("fog", full(grey)) for grey in (0, 255))
    assert set(black.min(axis=(1, 2))) == {0} and set(black.max(axis=(1, 2))) == {140}
    assert white.astype(int) - black == pytest.approx(115, abs=1)
    # Haze changes slowly: a tenth of what pixels drawn one by one would.
    assert abs(np.diff(black.astype(int), axis=1)).mean() < 10


def test_spatter_covers_its_share_with_drops():
    found = corrupt("spatter", full(0))
    covered = found == 180
    assert (covered.sum(axis=(1, 2)) == 94).all() and (covered | (found == 0)).all()
    beside = (covered[:, :, 1:] & covered[:, :, :-1]).sum() / covered[:, :, 1:].sum()
    assert beside > 0.5  # Of pixels drawn one by one 0.12.
    sides = np.concatenate([covered[:, [0, -1]], covered[:, :, [0, -1]].swapaxes(1, 2)])
    assert sides.mean() == pytest.approx(covered.mean(), rel=0.15)  # They are as any other part.


def test_lines_are_drawn_over_the_image():
    for kind in ("dotted_line", "zigzag"):
        images = blobs(50)
        assert (corrupt(kind, images) == np.maximum(images, corrupt(kind, full(0, 50)))).all()


def sides(images):
    """Whether light touches the top and the bottom, and the left and the right; bool [2,N]."""
    lit = images > 100
    down = lit[:, 0].any(axis=1) & lit[:, -1].any(axis=1)
    return np.stack([down, lit[:, :, 0].any(axis=1) & lit[:, :, -1].any(axis=1)])


def test_a_dotted_line_goes_straight_from_side_to_side():
    found = corrupt("dotted_line", full(0))
    across, along = spreads(found).T
    assert across.max() < 0.8 and along.min() > 60
    assert (sides(found).sum(axis=0) == 1).all() and 0.4 < sides(found)[0].mean() < 0.6
    # Eight dots of 3.4 pixels, and two that the sides cut.
    assert found.sum(axis=(1, 2)) / 255 == pytest.approx(32.6, rel=0.06)


def test_a_zigzag_swings_from_side_to_side():
    found = corrupt("zigzag", full(0))
    across, along = spreads(found).T
    # Of a line that goes from -2 to 2 evenly 4/3, of its width some tenths.
    assert across == pytest.approx(4 / 3 + 0.4, abs=0.5) and along.min() > 60
    assert 0.4 < sides(found)[0].mean() < 0.6


def test_canny_finds_the_edges_of_a_square():
    images = full(0, 2)
    images[:, 8:20, 8:20] = 255
    found = corrupt("canny_edges", images)
    assert set(np.unique(found)) == {0, 255}
    ring = np.zeros((28, 28), bool)
    ring[7:21, 7:21] = True
    ring[9:19, 9:19] = False
    assert not found[:, ~ring].any()
    assert ((found[:, 10:18] > 0).sum(axis=2) == 2).all()
    assert ((found[:, :, 10:18] > 0).sum(axis=1) == 2).all()


def test_canny_finds_edges_in_both_diagonals():
    half = np.tril(np.full((28, 28), 255, np.uint8))
    found = corrupt("canny_edges", np.stack([half, half[:, ::-1], half.T, half.T[:, ::-1]])) > 0
    y, x = np.mgrid[:28, :28]
    for edges in (found[0], found[1, :, ::-1], found[2], found[3, :, ::-1]):
        assert 20 <= edges.sum() <= 60 and abs(y - x)[edges].max() <= 1


def test_canny_wants_an_edge_to_be_steep_somewhere():
    steps = np.zeros((3, 28, 28), np.uint8)
    steps[0, :, 14:] = 100  # Smoothed, a step has a slope of 0.31 of its height: here 0.12.
    steps[1, :, 14:] = 200
    steps[2, :, 14:] = np.linspace(100, 200, 28)[:, None]
    found = corrupt("canny_edges", steps) > 0
    assert found.sum(axis=(1, 2)).tolist() == [0, 28, 28]
