"""The record of evaluations: the best model, and when training has stopped getting better."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mnist_estimator import InputError
from mnist_estimator.runs import copies, lock
from mnist_estimator.runs.evaluations import Evaluations
from mnist_estimator.runtime import json_files, leases


@pytest.fixture(autouse=True)
def copied(monkeypatch):
    """Which checkpoints were copied to which folder; none really is."""
    calls = []

    def keep_copy(path, folder, record):
        calls.append((path, folder))
        record()

    monkeypatch.setattr(copies, "keep_copy", keep_copy)
    return calls


def evaluated(folder: Path, *values: float, first=1, metric="accuracy") -> Evaluations:
    """A new record of the folder, to which a value a step has been added."""
    record = Evaluations(str(folder), metric)
    for step, value in enumerate(values, first):
        add(record, step, value, metric)
    return record


def add(record: Evaluations, step: int, value: float, metric="accuracy") -> None:
    result = {"accuracy": 0.5, "loss": 0.5, "global_step": step, metric: value}
    record.add(result, f"model.ckpt-{step}")


def test_the_best_is_kept_over_a_restart(tmp_path, copied):
    evaluated(tmp_path, 0.7, 0.9, 0.8)
    record = evaluated(tmp_path, 0.85, first=4)
    assert record.best["global_step"] == 2
    assert record.best_checkpoint == f"{tmp_path}/best/model.ckpt-2"
    assert copied == [
        ("model.ckpt-1", f"{tmp_path}/best"),
        ("model.ckpt-2", f"{tmp_path}/best"),
    ]


def test_a_run_that_goes_back_forgets_what_came_after(tmp_path):
    record = evaluated(tmp_path, 0.9, 0.8, 0.7)
    record.forget_after(2)
    for each in (record, Evaluations(str(tmp_path))):
        assert [entry["global_step"] for entry in each.history] == [1, 2]
        assert each.best["global_step"] == 1
        assert not each.stops_at(3, 2)
    before = (tmp_path / "evaluations.json").stat().st_ino
    record.forget_after(2)
    assert (tmp_path / "evaluations.json").stat().st_ino == before


def test_the_best_is_there_whenever_it_is_killed(tmp_path, monkeypatch, copied):
    record = evaluated(tmp_path, 0.7)
    there = ["model.ckpt-1"]

    def keep_copy(path, folder, write):
        there.append(path)
        write()
        assert Evaluations(str(tmp_path)).best["global_step"] == 2
        raise KeyboardInterrupt

    monkeypatch.setattr(copies, "keep_copy", keep_copy)
    with pytest.raises(KeyboardInterrupt):
        add(record, 2, 0.9)
    assert there == ["model.ckpt-1", "model.ckpt-2"]


def test_of_two_equals_the_first_is_the_best(tmp_path, copied):
    assert evaluated(tmp_path, 0.9, 0.9).best["global_step"] == 1
    assert len(copied) == 1


def test_a_smaller_loss_is_better(tmp_path):
    assert evaluated(tmp_path, 0.3, 0.1, 0.2, metric="loss").best["global_step"] == 2


def test_a_result_that_is_no_number_is_never_the_best(tmp_path):
    assert evaluated(tmp_path, 0.3, float("nan"), metric="loss").best["global_step"] == 1


def test_nothing_is_best_before_an_evaluation(tmp_path):
    record = evaluated(tmp_path)
    assert (record.best, record.best_checkpoint, record.has(1)) == (None, "", False)


def test_a_run_that_went_back_drops_what_comes_again_but_not_the_best(tmp_path):
    evaluated(tmp_path, 0.7, 0.8, 0.95)
    record = evaluated(tmp_path, 0.6, first=2)
    assert [(e["global_step"], e["accuracy"]) for e in record.history] == [(1, 0.7), (2, 0.6)]
    assert record.best["accuracy"] == 0.95
    assert (record.has(2), record.has(3)) == (True, False)


@pytest.mark.parametrize(
    ("values", "patience", "stops"),
    [
        ([0.5, 0.6, 0.7, 0.8], 1, [False, False, False, False]),
        ([0.5, 0.6, 0.6, 0.6], 2, [False, False, False, True]),
        ([0.5, 0.4, 0.6, 0.5], 2, [False, False, False, False]),
        ([0.5, 0.4, 0.3, 0.6], 2, [False, False, True, True]),  # It stopped there for good.
        ([0.5, 0.4, 0.3, 0.2], 0, [False, False, False, False]),
    ],
)
def test_patience_counts_evaluations_since_the_best(tmp_path, values, patience, stops):
    evaluated(tmp_path, *values)
    record = Evaluations(str(tmp_path))  # As after a restart.
    assert [record.stops_at(step, patience) for step in (1, 2, 3, 4)] == stops
    assert not record.stops_at(0, patience)


def test_the_metric_of_the_record_is_the_one_it_was_made_with(tmp_path):
    evaluated(tmp_path, 0.3, metric="loss")
    record = Evaluations(str(tmp_path))
    add(record, 2, 0.2, "loss")
    assert record.best["global_step"] == 2


def test_every_bit_of_the_record_counts(tmp_path):
    evaluated(tmp_path, 0.7, 0.9)
    path = tmp_path / "evaluations.json"
    whole = path.read_bytes()
    harmless = 0
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            assert Evaluations(str(tmp_path)).best["accuracy"] == 0.9
            harmless += 1
        except InputError as error:
            assert "evaluations.json: damaged, so the best model is not known" in str(error)
    assert harmless < len(whole) / 10  # White space, where it makes no difference.


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"sha256": 3}', "nonsense"])
def test_what_is_no_record_is_named(tmp_path, text):
    (tmp_path / "evaluations.json").write_text(text)
    with pytest.raises(InputError, match="evaluations.json: damaged"):
        Evaluations(str(tmp_path))


ENTRY = {"global_step": 1, "accuracy": 0.5, "loss": 0.5}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"metric": "f1"}, "metric is 'f1', expected accuracy or loss"),
        ({"best": [1]}, "best is a list, expected a dict"),
        ({"best": {"global_step": 1, "accuracy": 1}}, "best has no loss"),
        ({"best": ENTRY | {"global_step": 1.0}}, "best, global_step is 1.0"),
        ({"evaluations": {}}, "evaluations is a dict"),
        ({"evaluations": [ENTRY | {"global_step": "1"}]}, "evaluations, global_step is '1'"),
        ({"evaluations": [ENTRY | {"global_step": -1}]}, "evaluations, global_step is -1"),
        ({"evaluations": [ENTRY | {"loss": "nan"}]}, "'loss', is 'nan', expected a number"),
        ({"evaluations": [ENTRY | {"accuracy": True}]}, "'accuracy', is True"),
        ({"evaluations": [ENTRY | {"accuracy": 10**30}]}, "'accuracy', is 10*, expected"),
        ({"later": 1}, "the whole has 'later'"),
    ],
)
def test_a_record_of_another_shape_is_named_though_its_digest_is_right(tmp_path, change, line):
    record = {"metric": "accuracy", "best": None, "evaluations": [ENTRY]} | change
    text = json.dumps(record | {"sha256": json_files.digest(record)})
    (tmp_path / "evaluations.json").write_text(text)
    with pytest.raises(InputError, match=rf"evaluations.json: damaged, .* \(.*{line}.*\); bring"):
        Evaluations(str(tmp_path))


def test_results_that_are_no_finite_numbers_are_read_back(tmp_path):
    evaluated(tmp_path, float("inf"), float("nan"), metric="loss")
    assert [str(e["loss"]) for e in Evaluations(str(tmp_path)).history] == ["inf", "nan"]


def test_the_record_can_be_read_by_others(tmp_path):
    evaluated(tmp_path, 0.7)
    record = json.loads((tmp_path / "evaluations.json").read_text())
    assert record["best"] == {"accuracy": 0.7, "loss": 0.5, "global_step": 1}
    assert record["evaluations"] == [record["best"]]


@pytest.mark.parametrize("lost_at", [0, 1])
def test_who_has_lost_the_model_dir_records_nothing(tmp_path, monkeypatch, lost_at):
    checks = []

    def check(model_dir):
        checks.append(model_dir)
        if len(checks) > lost_at:
            raise leases.LostError("taken over")

    monkeypatch.setattr(lock, "check", check)
    with pytest.raises(leases.LostError):
        evaluated(tmp_path, 0.7)
    assert list(tmp_path.iterdir()) == []
