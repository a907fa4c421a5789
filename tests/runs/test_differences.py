"""Variables are the same only if every bit is."""

from __future__ import annotations

import numpy as np
import pytest
from support.saved import save

from mnist_estimator.compat import tf
from mnist_estimator.runs import differences

VALUES = {
    "a": np.array([[1.0, -0.0], [np.nan, 4.0]], np.float32),
    "b": np.array([1.5, 2.5], tf.bfloat16.as_numpy_dtype),
    "empty": np.zeros([0, 3], np.float32),
    "step": np.array(7, np.int64),
    "text": np.array([b"x", b"y"], object),
}


def changed(name, value):
    return VALUES | {name: value}


def test_what_is_the_same_gives_no_line():
    assert differences.find(VALUES, {name: value.copy() for name, value in VALUES.items()}) == []


FLIPPED = VALUES["a"].copy()
FLIPPED.view(np.uint32)[1, 1] ^= 1


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("a", FLIPPED, "a: 1 of 4 elements differ, by at most 4.77e-07"),
        ("a", np.abs(VALUES["a"]), "a: 1 of 4 elements differ, by at most 0"),  # 0.0 is not -0.0.
        ("a", VALUES["a"] * 2, "a: 2 of 4 elements differ, by at most 4"),
        ("a", VALUES["a"].astype(np.float64), "a: float32 of shape [2, 2] in the run, float64 of"),
        ("a", VALUES["a"].reshape(4), "in the run, float32 of shape [4] when computed again"),
        ("b", VALUES["b"] + VALUES["b"], "b: 2 of 2 elements differ, by at most 2.5"),
        ("step", np.array(9), "step: 1 of 1 elements differ, by at most 2"),
        ("text", np.array([b"x", b"z"], object), "text: 1 of 2 elements differ"),
        ("more", np.zeros(2), "more: the run does not have it"),
    ],
)
def test_each_difference_is_a_line(name, value, line):
    (found,) = differences.find(VALUES, changed(name, value))
    assert line in found


def test_what_is_missing_is_a_line():
    (found,) = differences.find(VALUES, {name: VALUES[name] for name in VALUES if name != "b"})
    assert found == "b: only the run has it"


def test_an_infinite_distance_is_no_warning():
    old, new = {"a": np.array([np.inf, 1])}, {"a": np.array([-np.inf, 2])}
    assert differences.find(old, new) == ["a: 2 of 2 elements differ, by at most inf"]


def test_all_variables_of_a_checkpoint_are_read(tmp_path):
    save(f"{tmp_path}/model.ckpt-3")
    found = differences.values_of(f"{tmp_path}/model.ckpt-3")
    assert found.keys() == {"a"}
    assert found["a"] == tf.train.load_checkpoint(f"{tmp_path}/model.ckpt-3").get_tensor("a")
