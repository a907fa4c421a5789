"""Evaluations count every example once, and say in one line what went wrong."""

from __future__ import annotations

import types

import numpy as np
import pytest

from mnist_estimator import InputError, RunError
from mnist_estimator.compat import tf
from mnist_estimator.config import TrainConfig
from mnist_estimator.data import checked_records, inputs, records
from mnist_estimator.data.manifest import TrainedOn
from mnist_estimator.scoring import evaluation, scores

MANIFEST = types.SimpleNamespace(num_examples=lambda split: 1234, dataset="squares")
FOUND = {"accuracy": np.float32(0.9), "loss": np.float32(0.3), "examples": 1234, "global_step": 7}


class Model:
    """Stands for an Estimator: its evaluation returns `result`, or raises it."""

    def __init__(self, result):
        self.result, self.asked = result, {}

    def evaluate(self, input_fn, **asked):
        self.asked = asked
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.fixture
def evaluate(monkeypatch, tmp_path):
    """Returns a function that evaluates a checkpoint, which is there, with a stand-in."""
    monkeypatch.setattr(inputs, "check_split", lambda *given: None)
    monkeypatch.setattr(checked_records, "prepare_split", lambda *given: None)
    monkeypatch.setattr(records, "find_damage", lambda *given: "")
    checkpoint = str(tmp_path / "model.ckpt-7")
    (tmp_path / "model.ckpt-7.index").touch()

    def run(model, **given):
        given = {"batch_size": 50, "checkpoint": checkpoint} | given
        return evaluation.evaluate(model, "data", MANIFEST, "test", **given)

    return run


def test_numbers_have_the_digits_of_their_float32(evaluate, tmp_path):
    metrics = evaluate(Model(FOUND))
    assert metrics == {
        "accuracy": 0.9,
        "loss": 0.3,
        "examples": 1234,
        "global_step": 7,
        "checkpoint": f"{tmp_path}/model.ckpt-7",
    }
    line = evaluation.describe(metrics, "test", MANIFEST)
    assert line == "step 7: test accuracy 0.9000, loss 0.3000 on 1,234 examples of squares"
    assert evaluation.describe(metrics, "", MANIFEST).startswith("step 7: accuracy 0.9000, ")


def test_scores_are_asked_for_only_if_there_are_any(evaluate):
    model = Model(FOUND)
    evaluate(model, name="test")
    assert (model.asked["hooks"], model.asked["name"]) == (None, "test")
    evaluate(model, scores=scores.Scores(2))
    (hook,) = model.asked["hooks"]
    assert isinstance(hook, evaluation.ScoresHook)


def test_the_shards_are_made_ready_before_each_evaluation(evaluate, monkeypatch):
    steps, model = [], Model(FOUND)
    monkeypatch.setattr(checked_records, "prepare_split", lambda *given: steps.append(given[1]))
    monkeypatch.setattr(model, "evaluate", lambda *given, **_: steps.append("session") or FOUND)
    for _ in range(2):
        evaluate(model)
    assert steps == ["test", "session"] * 2


def test_an_example_that_was_not_counted_is_an_error(evaluate):
    with pytest.raises(RunError, match="counted 1233 test examples, expected 1234"):
        evaluate(Model(FOUND | {"examples": 1233}))


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"),
            "a batch of 50 examples to evaluate needs more memory than there is .*--batch_size",
        ),
        (tf.errors.DataLossError(None, None, "corrupted"), "model.ckpt-7 on data: corrupted"),
    ],
)
def test_what_tensorflow_raises_is_one_line(evaluate, error, line):
    with pytest.raises(RunError, match=line):
        evaluate(Model(error))


def test_a_damaged_record_is_named(evaluate, monkeypatch):
    monkeypatch.setattr(records, "find_damage", lambda *given: "shard 3: damaged")
    monkeypatch.setattr(evaluation, "prepare_again", lambda *given: "prepare it again")
    with pytest.raises(RunError, match="data: shard 3: damaged; stopped; prepare it again"):
        evaluate(Model(tf.errors.DataLossError(None, None, "corrupted")))


def test_a_checkpoint_that_has_been_deleted_is_named(evaluate, tmp_path):
    gone = str(tmp_path / "model.ckpt-5")
    with pytest.raises(RunError, match="model.ckpt-5: has been deleted; take another one"):
        evaluate(Model(ValueError("not found")), checkpoint=gone)


@pytest.mark.parametrize("error", [InputError("mine"), ValueError("a mistake")])
def test_other_errors_stay_what_they_are(evaluate, error):
    with pytest.raises(type(error), match=str(error)):
        evaluate(Model(error))


def test_too_many_classes_have_no_scores():
    data = TrainedOn((2, 2, 1), 1000, ("x",) * 1000, 16, "plain", "")
    assert evaluation.make_scores(data).num_classes == 1000
    more = TrainedOn((2, 2, 1), 1001, ("x",) * 1001, 16, "plain", "")
    assert evaluation.make_scores(more) is None


@pytest.mark.parametrize(
    ("precision", "serving", "otherwise"),
    [("float32", "float32", False), ("bfloat16", "float32", True), ("bfloat16", "bfloat16", False)],
)
def test_exports_may_compute_otherwise(precision, serving, otherwise):
    config = TrainConfig(precision=precision, serving_precision=serving)
    assert evaluation.serves_otherwise(config) == otherwise
