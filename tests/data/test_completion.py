"""The manifest that a dataset gets, and what is refused before it is written."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from support import part_sets

from mnist_estimator import InputError
from mnist_estimator.data import completion
from mnist_estimator.data.manifest import Shard, read_manifest
from mnist_estimator.data.statistics import Statistics

_OUTLINE = part_sets.plan_of(train=3, test=0, split=("0", 0)).outline()
_WRITTEN = {
    "train": (Shard("train-00000-of-00001.tfrecord", 3, 9, "0" * 64),),
    "validation": (),
    "test": (),
}


def _statistics(*labels: int, pixel: int = 9, split: str = "train") -> Statistics:
    statistics = Statistics()
    images = np.full((len(labels), 2, 3, 3), pixel, np.uint8)
    statistics.add(split, images, np.array(labels, np.int64))
    return statistics


def test_manifest_is_read_as_it_was_written(tmp_path: Path):
    manifest = completion.manifest_of(_OUTLINE, _statistics(0, 2, 2), _WRITTEN, "train")
    completion.write_manifest(str(tmp_path), manifest)
    found = read_manifest(str(tmp_path))
    assert found == manifest and found.num_classes == 3 and found.pictures == "plain"
    assert found.class_examples["train"] == (1, 0, 2) and found.brightest_pixel == 9


def test_one_class_is_refused():
    with pytest.raises(InputError, match="mine: every label is 0, expected two classes or more"):
        completion.manifest_of(_OUTLINE, _statistics(0, 0, 0), _WRITTEN, "mine")


def test_black_images_are_refused():
    statistics = _statistics(0, 1, pixel=0)
    statistics.add_all(_statistics(0, split="test"))
    with pytest.raises(InputError, match="mine: every pixel of every image is 0, expected images"):
        completion.manifest_of(_OUTLINE, statistics, _WRITTEN, "mine")


def test_a_name_for_each_class():
    named = dataclasses.replace(_OUTLINE, class_names=("a", "b"))
    with pytest.raises(InputError, match="tiny: 2 class names, expected 3, one a class"):
        completion.manifest_of(named, _statistics(0, 1, 2), _WRITTEN, "train")


def test_another_scale_is_refused_or_said(capsys):
    for pixel in (9, 30, 255):
        statistics = _statistics(0, 1)
        statistics.add_all(_statistics(0, pixel=pixel, split="test"))
        if pixel == 255:
            with pytest.raises(InputError, match="tests: the brightest pixel is 255, .* in those"):
                completion.check_scale(statistics, "those", "tests")
            continue
        completion.check_scale(statistics, "those", "tests")
        assert ("tests: the brightest pixel is" in capsys.readouterr().err) == (pixel == 30)
