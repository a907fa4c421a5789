from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest

from mnist_estimator import InputError
from mnist_estimator.data import splits


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


def _picks(rule: splits.ValidationSplit, labels: Sequence[int] | None = None) -> list[bool]:
    """Which examples validate, asked for in chunks, as data are read."""
    labels = np.zeros(rule.total, np.int64) if labels is None else np.array(labels, np.int64)
    pick = rule.picks()
    return [bool(picked) for at in range(0, len(labels), 7) for picked in pick(labels[at : at + 7])]


def test_front():
    assert _picks(splits.validation_split("3", 8, seed=0)) == [True] * 3 + [False] * 5


@pytest.mark.parametrize("seed", [0, 1, splits.MAX_SEED])
def test_random_choice_has_exactly_the_count(seed: int):
    picks = _picks(splits.validation_split("0.3", 10001, seed))
    assert (len(picks), sum(picks)) == (10001, 3000)


def test_random_choice_is_pinned():
    # If this changes, so do datasets that users have prepared.
    picks = _picks(splits.validation_split("0.3", 20, seed=0))
    assert [at for at, picked in enumerate(picks) if picked] == [0, 1, 2, 9, 11, 17]


def test_seeds_choose_differently():
    chosen = {tuple(_picks(splits.validation_split("0.5", 64, seed))) for seed in range(20)}
    assert len(chosen) == 20


def test_every_subset_is_as_likely():
    chosen = [tuple(_picks(splits.validation_split("0.5", 4, seed))) for seed in range(3000)]
    counts = [chosen.count(subset) for subset in set(chosen)]
    # 6 subsets, 500 expected of each, standard deviation 20.
    assert len(counts) == 6 and min(counts) > 400 and max(counts) < 600


def test_picks_need_no_list_of_the_examples():
    pick = splits.validation_split("0.3", 10**15, seed=0).picks()
    assert 200 < pick(np.zeros(1000, np.int64)).sum() < 400


# auto, of data that may be sorted by class.

_CLASSES = {
    "sorted": (np.repeat(np.arange(10), 400), [40] * 10),
    "sorted descending": (np.repeat(np.arange(9, -1, -1), 400), [40] * 10),
    "blocks of classes": (np.tile(np.repeat(np.arange(4), 25), 5), [13, 12, 12, 13]),
    "99:1": (np.repeat([0, 1], [9900, 100]), [990, 10]),
    "99:1 with 50 classes": (np.repeat(np.arange(50), [4950] + [1] * 49), [495] + [0] * 49),
    "two examples a class": (np.repeat(np.arange(5), 2), [0, 0, 0, 1, 0]),
    "one example a class": (np.arange(50), [0] * 50),
    "a class without examples": (np.repeat([0, 2], 20), [2, 0, 2]),
    "too few to validate": (np.repeat([0, 1], [4, 5]), [0, 0]),
}


@pytest.mark.parametrize("name", _CLASSES)
def test_auto_chooses_in_proportion_to_the_classes(name: str):
    labels, expected = _CLASSES[name]
    counts = np.bincount(labels).tolist()
    rule = splits.validation_split("auto", len(labels), 3, counts)
    picked = np.array(_picks(rule, labels))
    validate = np.bincount(labels[picked], minlength=len(counts))
    assert validate.tolist() == expected
    assert rule.count == picked.sum() <= len(labels) // 10
    assert (counts - validate >= np.minimum(counts, 1)).all()  # A class is left to training.


def test_auto_takes_no_more_than_the_usual_number():
    rule = splits.validation_split("auto", 10**6, 0, [10**6 - 7, 7])
    assert [taken for taken, _ in rule.classes] == [5000, 0]


def test_choice_in_each_class_is_pinned():
    # If this changes, so do datasets that users have prepared.
    rule = splits.validation_split("auto", 40, 0, [20, 20])
    picks = _picks(rule, [0, 1] * 20)
    assert str(rule) == "4 of 40 by selection sampling in each class, seed 0"
    assert [at for at, picked in enumerate(picks) if picked] == [0, 11, 21, 38]


def test_auto_differs_by_seed():
    labels = np.tile(np.arange(3), 20)
    rules = [splits.validation_split("auto", 60, seed, [20] * 3) for seed in range(20)]
    assert len({tuple(_picks(rule, labels)) for rule in rules}) > 15


def test_labels_that_were_not_there_before_pick_nothing():
    pick = splits.validation_split("auto", 20, 0, [10, 10]).picks()
    assert not pick(np.full(100, 2)).any()


def test_imports_no_tensorflow():
    code = "import sys, mnist_estimator.data.splits; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


def test_parts_share_all_examples_in_order():
    for total in (0, 1, 7, 4000):
        for count in (1, 3, 16, 1000):
            rows = [splits.Part(number, count).rows(total) for number in range(1, count + 1)]
            assert [row for part in rows for row in part] == list(range(total))
            sizes = [len(part) for part in rows]
            assert max(sizes) - min(sizes) <= 1


def test_part():
    assert splits.parse_part("3/16") == splits.Part(3, 16)
    assert str(splits.parse_part("1000/1000")) == "1000/1000"


@pytest.mark.parametrize(
    "text", ["0/3", "4/3", "3", "3/", "1/1001", "-1/3", "1/3/4", "a/b", " 1/3"]
)
def test_no_part(text: str):
    with pytest.raises(InputError, match=re.escape(f"--part: found {text!r}, expected I/N")):
        splits.parse_part(text)
