"""When the chief evaluates what an earlier process has not, and how it ends."""

from __future__ import annotations

import dataclasses
import types

import pytest
from support.saved import save

from mnist_estimator import InputError
from mnist_estimator.cluster import roles
from mnist_estimator.config import TrainConfig
from mnist_estimator.runs import checkpoints, open_run
from mnist_estimator.runs.evaluations import Evaluations
from mnist_estimator.training import chief, results
from mnist_estimator.training.run import Run


def make(tmp_path, task=None, **options):
    config = TrainConfig(model_dir=str(tmp_path), **options)
    return Run(config, None, task or roles.Task(), Evaluations(str(tmp_path)), None)


@pytest.mark.parametrize(
    ("step", "evaluated", "expected"),
    [(0, [], []), (20, [], [20]), (20, [20], []), (25, [], []), (30, [], [30]), (31, [], [31])],
)
def test_an_evaluation_that_was_missed_is_made_up_for(
    tmp_path, monkeypatch, step, evaluated, expected
):
    made = []
    monkeypatch.setattr(results, "evaluate", lambda run, path: made.append(path))
    run = make(tmp_path, save_checkpoints_steps=10, max_steps=30)
    run.evaluations.history += [{"global_step": done} for done in evaluated]
    chief._evaluate_if_missed(run, f"model.ckpt-{step}" if step else "")
    assert [checkpoints.step_of(path) for path in made] == expected


def test_a_patience_without_evaluations_is_refused(tmp_path):
    config = TrainConfig(model_dir=str(tmp_path), early_stop_patience=3)
    manifest = types.SimpleNamespace(num_examples=lambda split: 9 * (split == "train"))
    with pytest.raises(InputError, match="early_stop_patience: found it for data without examples"):
        chief._check(config, manifest)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"momentum": 0.5}, "--momentum=0.5: not read with --optimizer=adam"),
        ({"decay_rate": 0.5}, "--decay_rate=0.5: not read with --schedule=cosine"),
        ({"model": "softmax", "dropout_rate": 0.1}, "--dropout_rate=0.1: not read with --model=so"),
        ({"model": "a:b", "dropout_rate": 0.1}, ""),
        ({"optimizer": "momentum", "momentum": 0.5}, ""),
        ({}, ""),
    ],
)
def test_a_flag_that_nothing_reads_is_named(capsys, options, line):
    chief._warn_of_unread(TrainConfig(**options))
    error = capsys.readouterr().err
    assert line in error and bool(line) == bool(error)


BESIDE_EVALUATOR = roles.Task(has_evaluator=True)


@pytest.mark.parametrize(
    ("task", "asked", "exported"),
    [
        (None, "best", "best"),
        (BESIDE_EVALUATOR, "best", "final"),
        (BESIDE_EVALUATOR, "none", "none"),
    ],
)
def test_the_best_model_is_left_to_the_evaluator(tmp_path, task, asked, exported):
    run = make(tmp_path, task, export=asked)
    assert chief._without_best(run).config.export == exported


def test_without_a_final_test_the_test_split_stays_unseen(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(open_run, "chosen_checkpoint", lambda config: "model.ckpt-7")
    tested, exported = [], []
    monkeypatch.setattr(results, "test", lambda *call: tested.append(call) or "metrics")
    monkeypatch.setattr(results, "export", lambda *call: exported.append(call))
    for final_test, result in ((False, None), (True, "metrics")):
        run = make(tmp_path, final_test=final_test)
        manifest = types.SimpleNamespace(num_examples=lambda split: 9)
        assert chief._finish(dataclasses.replace(run, manifest=manifest)) == result
        assert len(tested) == final_test
    assert len(exported) == 2
    assert "trained to step 7; not tested\n" in capsys.readouterr().out


@pytest.mark.parametrize(("max_steps", "state"), [(9, "done"), (10, "early_stopped")])
def test_how_a_run_has_ended_is_told_by_its_last_step(tmp_path, max_steps, state):
    save(f"{tmp_path}/model.ckpt-9")
    assert chief._final_state(TrainConfig(model_dir=str(tmp_path), max_steps=max_steps)) == state


def test_a_run_does_not_begin_anew_with_the_best_model_of_another(tmp_path):
    save(f"{tmp_path}/model.ckpt-9")
    chief._check_begins(str(tmp_path))
    result = {"global_step": 9, "accuracy": 0.5, "loss": 1.0}
    Evaluations(str(tmp_path)).add(result, f"{tmp_path}/model.ckpt-9")
    line = r"holds the evaluations of a run \(evaluations.json, best/\), but none of its check"
    with pytest.raises(InputError, match=line):
        chief._check_begins(str(tmp_path))
