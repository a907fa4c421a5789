"""Which checkpoint a command works on, and what it says where there is none."""

from __future__ import annotations

import shutil

import pytest
from support.saved import flip

from mnist_estimator import InputError, RunError
from mnist_estimator.runs import open_run


def test_a_model_dir_without_a_checkpoint_says_so(tmp_path):
    with pytest.raises(InputError, match="empty: found no checkpoint, expected one; train first"):
        open_run.find_checkpoint(str(tmp_path / "empty"), "newest")
    with pytest.raises(InputError, match="no checkpoint has been evaluated, so none is the best"):
        open_run.find_checkpoint(str(tmp_path / "empty"), "best")


def test_a_checkpoint_is_found_by_its_path(model_dir):
    path = f"{model_dir}/model.ckpt-2"
    assert open_run.find_checkpoint(str(model_dir), path) == path
    with pytest.raises(InputError, match=r"--checkpoint: .*-7 not found, expected one of .*run"):
        open_run.find_checkpoint(str(model_dir), f"{model_dir}/model.ckpt-7")


def test_a_checkpoint_of_another_run_is_refused(model_dir, tmp_path):
    path = f"{model_dir}/model.ckpt-2"
    link = tmp_path / "link"
    link.symlink_to(model_dir)
    # A copy that is in no run's folder may be one of this run.
    assert open_run.find_checkpoint(str(tmp_path / "other"), path) == path
    (model_dir / "run.json").write_text("{}")
    assert open_run.find_checkpoint(str(link), path) == path
    for found in (path, f"{link}/model.ckpt-2"):
        with pytest.raises(InputError, match="model.ckpt-2 is one of the run in .*; give --model"):
            open_run.find_checkpoint(str(tmp_path / "other"), found)
    shutil.copytree(model_dir, model_dir / "best")
    best = f"{model_dir}/best/model.ckpt-2"
    (model_dir / "best/run.json").unlink()
    assert open_run.find_checkpoint(str(model_dir), best) == best
    with pytest.raises(InputError, match="is one of the run in"):
        open_run.find_checkpoint(str(tmp_path / "other"), best)


def test_a_damaged_checkpoint_that_was_named_is_not_replaced_by_another(model_dir):
    flip(model_dir / "model.ckpt-2.index", 5)
    with pytest.raises(RunError, match=r"model.ckpt-2.index is damaged: .*; take another one"):
        open_run.find_checkpoint(str(model_dir), f"{model_dir}/model.ckpt-2")


def test_a_folder_that_is_gone_is_one_line(tmp_path):
    gone = str(tmp_path / "gone")
    with (
        pytest.raises(RunError, match="gone: is gone, stopped evaluating"),
        open_run.raise_when_folder_gone(gone, "evaluating"),
    ):
        raise ValueError("Estimator's")


@pytest.mark.parametrize("error", [ValueError, InputError])
def test_another_mistake_in_a_value_stays_what_it_is(tmp_path, error):
    with (
        pytest.raises(error, match="what it is"),
        open_run.raise_when_folder_gone(str(tmp_path), "evaluating"),
    ):
        raise error("what it is")
