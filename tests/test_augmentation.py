"""Augmentation, each ingredient against what numpy computes from the same numbers."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from mnist_estimator import augmentation, config, draws
from mnist_estimator.compat import tf, v1

EVERY = {
    **{"rotate": 20.0, "scale": 0.2, "shear": 10.0, "shift": 3.0, "flip": 0.5},
    **{"elastic": 1.0, "erase": 0.5, "mixup": 0.3},
}


def augmented(images, *, step=0, seed=0, **options):
    """The images and shares of `augmentation.augment` in a graph of its own."""
    params = dataclasses.asdict(config.TrainConfig(seed=seed, **options))
    with tf.Graph().as_default(), v1.Session() as session:
        global_step = v1.train.get_or_create_global_step()
        shaped = tf.ensure_shape(tf.constant(images, tf.float32), [None, *images.shape[1:]])
        found = augmentation.augment(shaped, params)
        session.run(global_step.assign(step))
        return session.run([found.images, () if found.share is None else found.share])


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)


def draw(monkeypatch, kind, values):
    """Has a draw give these values [N] for each image."""

    def given(rows, shape, **key):
        del shape
        return key["change"](tf.tile(tf.constant([values], tf.float32), [rows, 1]))

    monkeypatch.setattr(draws, kind, given)


def draw_affine(monkeypatch, *, angle=0.0, scale=0.0, shear=0.0, down=0.0, right=0.0):
    """Has the affine draw give these shares of the flags' values, -1 to 1, and no flip."""
    drawn = (np.array([angle, scale, shear, down, right]) + 1) / 2
    draw(monkeypatch, "uniform", [*drawn.tolist(), 1.0])


def test_without_flags_an_image_stays_as_it_is():
    images = noise(3, 5, 7, 2)
    unchanged, share = augmented(images)
    np.testing.assert_array_equal(unchanged, images)
    assert share == ()


@pytest.mark.parametrize("flag", EVERY)
def test_each_flag_changes_images_by_seed_and_step(flag):
    images = noise(40, 12, 10, 1)
    first, again, later, other = (
        augmented(images, step=step, seed=seed, **{flag: EVERY[flag]})[0]
        for step, seed in ((3, 0), (3, 0), (4, 0), (3, 1))
    )
    np.testing.assert_array_equal(first, again)
    for changed in (images, later, other):
        assert not np.array_equal(first, changed)


@pytest.mark.parametrize("flag", EVERY)
def test_a_replica_does_to_its_images_what_one_device_would(flag, monkeypatch):
    class Replica:
        num_replicas_in_sync = 2
        replica_id_in_sync_group = 1

    images = noise(8, 12, 10, 1)
    whole, shares = augmented(images, **{flag: EVERY[flag]})
    monkeypatch.setattr(tf.distribute, "get_replica_context", Replica)
    half, half_shares = augmented(images[4:], **{flag: EVERY[flag]})
    np.testing.assert_array_equal(half, whole[4:])
    np.testing.assert_array_equal(half_shares, shares[4:])


def test_flip_mirrors_some_images_and_leaves_the_others():
    images = noise(200, 5, 6, 2)
    drawn, _ = augmented(images, flip=0.3)
    same = (drawn == images).all(axis=(1, 2, 3))
    mirrored = (drawn == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert 30 < mirrored.sum() < 90


def test_shift_moves_an_image_and_black_follows(monkeypatch):
    draw_affine(monkeypatch, down=1.0, right=-0.5)
    images = noise(2, 8, 9, 3)
    moved, _ = augmented(images, shift=4.0)
    expected = np.zeros_like(images)
    expected[:, 4:, :-2] = images[:, :-4, 2:]
    np.testing.assert_array_equal(moved, expected)


@pytest.mark.parametrize("share", [1.0, -1.0])
def test_rotate_turns_an_image_clockwise(monkeypatch, share):
    draw_affine(monkeypatch, angle=share)
    images = noise(2, 7, 7, 1)
    turned, _ = augmented(images, rotate=90.0)
    expected = np.rot90(images, -int(share), axes=(1, 2))
    np.testing.assert_allclose(turned, expected, atol=1e-3)


def test_scale_makes_an_image_larger_around_its_middle(monkeypatch):
    images = np.zeros([1, 41, 41, 1], np.float32)
    images[0, 15:26, 10:31] = 200.0
    draw_affine(monkeypatch, scale=1.0)
    large, _ = augmented(images, scale=0.5)
    draw_affine(monkeypatch, scale=-1.0)
    small, _ = augmented(images, scale=0.5)
    area = images.sum()
    assert large.sum() == pytest.approx(area * 1.5**2, rel=0.01)
    assert small.sum() == pytest.approx(area * 0.5**2, rel=0.06)
    for scaled in (large, small):
        np.testing.assert_allclose(scaled, scaled[:, ::-1, ::-1], atol=1e-3)


def test_shear_moves_rows_sideways_by_their_height(monkeypatch):
    draw_affine(monkeypatch, shear=1.0)
    images = np.zeros([1, 9, 9, 1], np.float32)
    images[0, :, 4] = 100.0
    slanted, _ = augmented(images, shear=45.0)
    np.testing.assert_allclose(slanted[0, :, :, 0], np.eye(9)[:, ::-1] * 100.0, atol=1e-3)


def test_a_place_between_pixels_is_their_weighted_mean():
    images = noise(2, 4, 5, 2)
    random = np.random.default_rng(1)
    rows, columns = random.uniform(-4, 8, (2, 2, 4, 5)).astype(np.float32)
    with tf.Graph().as_default(), v1.Session() as session:
        found = session.run(augmentation._look_up(tf.constant(images), rows, columns))

    def pixel(image, row, column):
        inside = 0 <= row < 4 and 0 <= column < 5
        return image[row, column] if inside else np.zeros(2)

    for place in np.ndindex(2, 4, 5):
        row, column = rows[place], columns[place]
        expected = sum(
            pixel(images[place[0]], y, x) * max(0, 1 - abs(row - y)) * max(0, 1 - abs(column - x))
            for y in range(math.floor(row), math.floor(row) + 2)
            for x in range(math.floor(column), math.floor(column) + 2)
        )
        np.testing.assert_allclose(found[place], expected, atol=0.01)


def test_channels_move_together():
    grey = noise(4, 9, 9, 1)
    moved, _ = augmented(np.repeat(grey, 3, axis=-1), rotate=30.0, elastic=1.0, erase=1.0)
    np.testing.assert_array_equal(moved[..., 0], moved[..., 2])
    alone, _ = augmented(grey, rotate=30.0, elastic=1.0, erase=1.0)
    np.testing.assert_array_equal(moved[..., :1], alone)


def test_elastic_bends_smoothly_by_the_pixels_that_it_says():
    params = dataclasses.asdict(config.TrainConfig(elastic=2.5))
    with tf.Graph().as_default(), v1.Session() as session:
        v1.train.get_or_create_global_step()
        moves = augmentation._displacements(tf.constant(2000), 28, 14, params)
        session.run(v1.global_variables_initializer())
        moves = session.run(moves)
    assert moves.shape == (2, 2000, 28, 14)
    np.testing.assert_allclose(moves.std(axis=1), 2.5, rtol=0.1)
    assert np.abs(moves.mean(axis=1)).max() < 0.4

    def correlation(first, second):
        return (first * second).mean() / 2.5**2

    assert correlation(moves[:, :, 1:], moves[:, :, :-1]) > 0.95
    assert abs(correlation(moves[:, :, 0], moves[:, :, 27])) < 0.05
    assert abs(correlation(moves[0], moves[1])) < 0.05


def test_erase_covers_a_rectangle_of_as_many_images_as_it_says():
    images = np.ones([2000, 28, 28, 1], np.float32)
    covered, _ = augmented(images, erase=0.25)
    black = covered[..., 0] == 0
    touched = black.any(axis=(1, 2))
    assert touched.mean() == pytest.approx(0.25, abs=0.03)
    areas = black[touched].sum(axis=(1, 2))
    heights, widths = black[touched].any(axis=2).sum(axis=1), black[touched].any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(areas, heights * widths)  # Full rectangles.
    assert 0.01 < areas.min() / 28**2 < 0.04 and 0.16 < areas.max() / 28**2 < 0.22
    assert np.median(heights / widths) == pytest.approx(1, abs=0.15)


def test_mixup_adds_neighbours_in_shares():
    images = noise(5, 4, 4, 1)
    mixed, share = augmented(images, mixup=0.5)
    others = images[[1, 0, 3, 2, 4]]
    weights = share[:, None, None, None]
    np.testing.assert_allclose(mixed, weights * images + (1 - weights) * others, atol=0.01)
    assert len(set(share.tolist())) == 5
