"""Copies of a checkpoint: at every moment one, whatever is killed."""

from __future__ import annotations

import os

import pytest
from support.saved import DATA, flip, newest_whole

from mnist_estimator import RunError
from mnist_estimator.runs import checkpoints, copies


def test_a_copy_is_kept_and_only_one(model_dir):
    best = model_dir / "best"
    for step in (1, 3, 2):
        copies.keep_copy(f"{model_dir}/model.ckpt-{step}", str(best))
        assert newest_whole(best) == (step, [])
        assert {checkpoints.step_of(path.stem) for path in best.glob("model.*")} == {step}


def test_beside_the_copy_what_is_not_ours_stays(model_dir):
    best = model_dir / "best"
    best.mkdir()
    mine = {"model.ckpt-1.notes", "model.ckpt-9.index", "model.ckpt-1.txt.sha256", "notes"}
    for name in mine:
        (best / name).write_text("mine")
    for step in (1, 3):
        copies.keep_copy(f"{model_dir}/model.ckpt-{step}", str(best))
    assert mine <= {path.name for path in best.iterdir()}
    assert newest_whole(best) == (3, []) and not (best / "model.ckpt-1.index").exists()
    copies.drop_copies(str(best))
    assert {path.name for path in best.iterdir()} == mine


def test_a_folder_of_copies_alone_goes_with_them(model_dir):
    folder = model_dir / "evaluating"
    copies.keep_copy(f"{model_dir}/model.ckpt-1", str(folder))
    copies.drop_copies(str(folder))
    assert not folder.exists()


def test_of_a_killed_copy_the_one_before_is_left(model_dir, monkeypatch):
    best = str(model_dir / "best")
    copies.keep_copy(f"{model_dir}/model.ckpt-1", best)
    for killed_at in range(3):
        calls = iter(range(killed_at))

        def replace(old, new, calls=calls):
            if next(calls, None) is None:
                raise KeyboardInterrupt
            os.rename(old, new)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", replace)
            with pytest.raises(KeyboardInterrupt):
                copies.keep_copy(f"{model_dir}/model.ckpt-3", best)
        assert checkpoints.newest(best) == f"{best}/model.ckpt-1"
        assert not checkpoints.damage(f"{best}/model.ckpt-1")


def test_the_copy_before_is_there_until_the_new_one_is_recorded(model_dir):
    best = str(model_dir / "best")
    copies.keep_copy(f"{model_dir}/model.ckpt-1", best)

    def killed():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copies.keep_copy(f"{model_dir}/model.ckpt-3", best, killed)
    for step in (1, 3):
        assert not checkpoints.damage(f"{best}/model.ckpt-{step}")


def test_a_copy_that_is_not_whole_is_an_error(model_dir):
    flip(model_dir / DATA, 1)
    with pytest.raises(RunError, match=r"best/model.ckpt-3.data.* is damaged: .* after it was"):
        copies.keep_copy(f"{model_dir}/model.ckpt-3", str(model_dir / "best"))
