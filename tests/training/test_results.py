"""What is recorded of an evaluation."""

from __future__ import annotations

import types

from mnist_estimator.config import TrainConfig
from mnist_estimator.runs import copies
from mnist_estimator.runs.evaluations import Evaluations
from mnist_estimator.training import results
from mnist_estimator.training.run import Run


def test_an_evaluation_is_found_by_the_name_of_its_checkpoint(tmp_path, monkeypatch):
    found = {"accuracy": 0.5, "loss": 1.0, "global_step": 22, "checkpoint": "elsewhere"}
    monkeypatch.setattr(results, "_scored", lambda *_: (dict(found), None))
    monkeypatch.setattr(results.hooks, "drop_events_from", lambda *_: None)
    monkeypatch.setattr(copies, "keep_copy", lambda path, folder, record: record())
    evaluations = Evaluations(str(tmp_path))
    path = f"{tmp_path}/model.ckpt-20"  # Of asynchronous workers, who went on while it was saved.
    run = Run(TrainConfig(), None, None, evaluations, FakeEstimator())
    results.evaluate(run, path)
    assert evaluations.has(20)
    assert evaluations.best_checkpoint.endswith("best/model.ckpt-20")


def test_an_export_is_not_tested_on_a_split_that_stays_unseen(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(results.evaluation, "serves_otherwise", lambda config: asked.append(config))
    manifest = types.SimpleNamespace(num_examples=lambda split: 9)
    for final_test in (False, True):
        config = TrainConfig(model_dir=str(tmp_path), final_test=final_test)
        results._say_serving_accuracy(Run(config, manifest, None, None, None), "model.ckpt-1")
        assert len(asked) == final_test


class FakeEstimator:
    def eval_dir(self):
        return ""
