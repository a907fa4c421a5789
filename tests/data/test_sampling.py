"""A choice by whole chunks is the choice of the algorithm that looks at one example at a time."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest

from mnist_estimator.data import sampling
from mnist_estimator.data.sampling import Sampling


def _one_by_one(
    groups: Sequence[tuple[int, int]], seed: int | None, examples: Sequence[int]
) -> list[bool]:
    needed, left = map(list, zip(*groups, strict=True))
    words = np.random.Philox(key=seed or 0).random_raw(len(examples)).tolist()
    found = []
    for group in examples:
        if not 0 <= group < len(groups) or not needed[group]:
            found.append(False)
            continue
        word = 0 if seed is None else words.pop(0)
        found.append(word * left[group] < needed[group] * 2**64)
        needed[group] -= found[-1]
        left[group] -= 1
    return found


def _picked(sampler: Sampling, examples: np.ndarray, chunk: int) -> list[bool]:
    firsts = range(0, len(examples), chunk)
    return [picked for first in firsts for picked in sampler.pick(examples[first : first + chunk])]


@pytest.mark.parametrize("few", [0, 2, 64, 10**6])
@pytest.mark.parametrize("share", [Fraction(0), Fraction(1, 200), Fraction(3, 10), Fraction(1)])
@pytest.mark.parametrize("seed", [None, 0, 7])
def test_same_choice(monkeypatch, few: int, share: Fraction, seed: int | None):
    monkeypatch.setattr(sampling, "_FEW", few)
    generator = np.random.default_rng(1)
    for number_of_groups, chunk in ((1, 100), (3, 1), (3, 500), (40, 64), (200, 1024)):
        examples = generator.integers(number_of_groups, size=1500)
        counts = np.bincount(examples, minlength=number_of_groups).tolist()
        groups = [(int(share * count), count) for count in counts]
        picked = _picked(Sampling(groups, seed), examples, chunk)
        assert picked == _one_by_one(groups, seed, examples.tolist())
        assert sum(picked) == sum(count for count, _ in groups)


@pytest.mark.parametrize("few", [0, 64])
def test_examples_of_no_group_and_more_than_were_counted(monkeypatch, few: int):
    monkeypatch.setattr(sampling, "_FEW", few)
    generator = np.random.default_rng(2)
    for chunk in (1, 7, 100):
        examples = generator.integers(-2, 6, size=400)
        groups = [(int(generator.integers(5)), int(generator.integers(60))) for _ in range(4)]
        picked = _picked(Sampling(groups, 3), examples, chunk)
        assert picked == _one_by_one(groups, 3, examples.tolist())


def test_a_few_of_very_many():
    groups = [(10**15 // 100, 10**15), (1, 2**53)]
    examples = np.arange(4000) % 2
    picked = _picked(Sampling(groups, 5), examples, 1024)
    assert picked == _one_by_one(groups, 5, examples.tolist())
    assert 5 < sum(picked) < 50


def test_no_examples():
    assert Sampling([(1, 2)], 0).pick(np.zeros(0, np.int64)).tolist() == []
