"""What counts as the end of a run, and what is said of it."""

from __future__ import annotations

import pytest
from support.saved import save

from mnist_estimator.config import TrainConfig
from mnist_estimator.runs.evaluations import Evaluations
from mnist_estimator.training.run import (
    describe_saved,
    is_complete,
    is_known_complete,
    was_complete,
)


def test_a_run_is_complete_at_its_last_step_or_when_nothing_more_is_learned(tmp_path):
    config = TrainConfig(model_dir=str(tmp_path), max_steps=30, early_stop_patience=2)
    evaluations = Evaluations(str(tmp_path))
    assert not is_complete(config, evaluations, 29)
    assert is_complete(config, evaluations, 30)
    for step in (10, 20, 25):
        evaluations.history.append({"global_step": step, "accuracy": 0.5, "loss": 1.0})
    assert is_complete(config, evaluations, 25)
    assert not is_complete(config, evaluations, 20)


def test_a_folder_without_a_whole_checkpoint_is_not_complete(tmp_path):
    config = TrainConfig(model_dir=str(tmp_path), max_steps=1)
    assert not was_complete(config)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-9"\n')
    assert not was_complete(config)


def test_a_record_that_cannot_be_read_is_not_known_to_be_complete(tmp_path):
    config = TrainConfig(model_dir=str(tmp_path), max_steps=9)
    save(f"{tmp_path}/model.ckpt-9")
    assert was_complete(config) and is_known_complete(config)
    (tmp_path / "evaluations.json").write_text("unreadable")
    assert not is_known_complete(config)


@pytest.mark.parametrize(
    ("saved", "line"),
    [
        (False, "nothing is saved yet; the same command begins anew"),
        (True, "step 9 is saved in {}; the same command continues from there"),
    ],
)
def test_what_is_saved_is_said(tmp_path, saved, line):
    if saved:
        save(f"{tmp_path}/model.ckpt-9")
    assert describe_saved(str(tmp_path)) == line.format(tmp_path)
