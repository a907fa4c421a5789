from __future__ import annotations

import itertools
import subprocess
import sys

import pytest

from mnist_estimator import InputError, splits


@pytest.mark.parametrize(
    ("text", "total", "rule"),
    [
        ("auto", 60000, "first 5000 of 60000"),
        ("auto", 4000, "first 400 of 4000"),
        ("auto", 9, "none"),
        ("5000", 60000, "first 5000 of 60000"),
        ("0", 60000, "none"),
        ("0.0", 60000, "none"),
        ("0.3", 60000, "18000 of 60000 by selection sampling, seed 7"),
        (".25", 10, "2 of 10 by selection sampling, seed 7"),
    ],
)
def test_rule(text: str, total: int, rule: str):
    assert str(splits.validation_split(text, total, seed=7)) == rule


@pytest.mark.parametrize("text", ["", "-1", "1.0", "1.5", "0.3.1", "x", "1e3", "nan", "5,000", "٣"])
def test_malformed(text: str):
    with pytest.raises(InputError, match="--validation_split: found"):
        splits.check_validation_split(text)


@pytest.mark.parametrize("text", ["100", "101", "0.001", "0.999"])
def test_leaves_nothing_for_one_side(text: str):
    with pytest.raises(InputError, match="of the 100 training examples|than the 100 training"):
        splits.validation_split(text, 100, seed=0)


def test_front():
    picks = list(splits.validation_split("3", 8, seed=0).picks())
    assert picks == [True] * 3 + [False] * 5


@pytest.mark.parametrize("seed", [0, 1, splits.MAX_SEED])
def test_random_choice_has_exactly_the_count(seed: int):
    picks = list(splits.validation_split("0.3", 10001, seed).picks())
    assert (len(picks), sum(picks)) == (10001, 3000)


def test_random_choice_is_pinned():
    # If this changes, so do datasets that users have prepared.
    picks = splits.validation_split("0.3", 20, seed=0).picks()
    assert [at for at, picked in enumerate(picks) if picked] == [0, 1, 2, 9, 11, 17]


def test_seeds_choose_differently():
    chosen = {tuple(splits.validation_split("0.5", 64, seed).picks()) for seed in range(20)}
    assert len(chosen) == 20


def test_every_subset_is_as_likely():
    chosen = [tuple(splits.validation_split("0.5", 4, seed).picks()) for seed in range(3000)]
    counts = [chosen.count(subset) for subset in set(chosen)]
    # 6 subsets, 500 expected of each, standard deviation 20.
    assert len(counts) == 6 and min(counts) > 400 and max(counts) < 600


def test_picks_need_no_list_of_the_examples():
    picks = splits.validation_split("0.3", 10**15, seed=0).picks()
    assert 200 < sum(itertools.islice(picks, 1000)) < 400


def test_imports_no_tensorflow():
    code = "import sys, mnist_estimator.splits; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
