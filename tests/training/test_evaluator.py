"""Which checkpoints an evaluator evaluates while the chief saves and deletes them."""

from __future__ import annotations

import pytest
from support.saved import remove, save

from mnist_estimator import InputError, RunError
from mnist_estimator.config import TrainConfig
from mnist_estimator.runs import checkpoints, copies
from mnist_estimator.runs.evaluations import Evaluations
from mnist_estimator.training import evaluator, results
from mnist_estimator.training.run import Run


class Newest:
    """Stands for a chief that saves: each look finds the next of these steps.

    It keeps so few checkpoints that each is gone by the time at which it is evaluated.
    """

    def __init__(self, monkeypatch, steps, fails=()):
        self.steps, self.evaluated, self.fails = list(steps), [], dict(fails)
        self.seal, self._of_folder = True, checkpoints.newest
        monkeypatch.setattr(evaluator, "_LOOK_SECS", 0)
        monkeypatch.setattr(checkpoints, "newest", self.newest)
        monkeypatch.setattr(results, "evaluate", self.evaluate)

    def newest(self, model_dir):
        if model_dir.endswith("evaluating"):
            return self._of_folder(model_dir)
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        self.path = f"{model_dir}/model.ckpt-{step}"
        if step:
            save(self.path, seal=self.seal)
        return self.path

    def is_over(self):
        return len(self.steps) == 1

    def evaluate(self, run, checkpoint):
        step = checkpoints.step_of(checkpoint)
        remove(self.path)
        assert not checkpoints.damage(checkpoint)
        if step in self.fails:
            raise self.fails[step]
        self.evaluated.append(step)
        run.evaluations.history.append({"global_step": step})


def follow(tmp_path, is_over):
    config = TrainConfig(model_dir=str(tmp_path), max_steps=100)
    evaluations = Evaluations(str(tmp_path))
    evaluator._evaluate_each(Run(config, None, None, evaluations, None), is_over)


def test_the_evaluator_ends_when_the_chief_saves_no_more(tmp_path, monkeypatch):
    # Asynchronous workers: the chief saves at its last step, and once more where they have ended.
    chief = Newest(monkeypatch, [0, 20, 20, 60, 100, 100, 101])
    follow(tmp_path, chief.is_over)
    assert chief.evaluated == [20, 60, 100, 101]
    assert not (tmp_path / "evaluating").exists()


def test_after_the_chiefs_end_the_last_checkpoint_is_evaluated(tmp_path, monkeypatch):
    chief = Newest(monkeypatch, [20, 60, 60])
    follow(tmp_path, lambda: True)
    assert chief.evaluated == [20, 60]


def test_a_checkpoint_is_evaluated_when_it_has_been_written_to_the_end(tmp_path, monkeypatch):
    chief = Newest(monkeypatch, [20, 20, 60, 60])
    chief.seal = False
    follow(tmp_path, chief.is_over)
    assert chief.evaluated == [60]  # When nothing more is written to it.


def test_a_damaged_checkpoint_is_passed_over_as_the_chief_does(tmp_path, monkeypatch):
    chief = Newest(monkeypatch, [60, 20, 60, 60])
    keep_copy = copies.keep_copy

    def damaged_first(path, folder):
        if not chief.evaluated and path.endswith("-60"):
            (tmp_path / "model.ckpt-60.index").write_bytes(b"damaged")
        keep_copy(path, folder)

    monkeypatch.setattr(copies, "keep_copy", damaged_first)
    follow(tmp_path, chief.is_over)
    assert chief.evaluated == [20, 60]


def test_a_checkpoint_that_is_gone_before_it_was_copied_is_passed_over(tmp_path, monkeypatch):
    chief = Newest(monkeypatch, [20, 60, 100])
    keep_copy = copies.keep_copy

    def late(path, folder):
        if path.endswith("-20"):
            remove(path)
        keep_copy(path, folder)

    monkeypatch.setattr(copies, "keep_copy", late)
    follow(tmp_path, chief.is_over)
    assert chief.evaluated == [60, 100]


def test_a_copy_that_fails_is_tried_again(tmp_path, monkeypatch, capsys):
    chief = Newest(monkeypatch, [20, 20, 20, 20])
    keep_copy, failures = copies.keep_copy, [InputError("no space"), InputError("no space")]

    def failing(path, folder):
        if failures:
            raise failures.pop()
        keep_copy(path, folder)

    monkeypatch.setattr(copies, "keep_copy", failing)
    follow(tmp_path, chief.is_over)
    assert chief.evaluated == [20]
    assert capsys.readouterr().err.count("no space: not evaluated yet") == 1


def test_a_checkpoint_that_cannot_be_copied_is_an_error(tmp_path, monkeypatch):
    chief = Newest(monkeypatch, [20, 100])
    (tmp_path / "evaluating").write_text("no folder")
    with pytest.raises(InputError, match="evaluating"):
        follow(tmp_path, chief.is_over)


def test_a_checkpoint_that_cannot_be_evaluated_is_an_error(tmp_path, monkeypatch):
    Newest(monkeypatch, [20, 100], {20: RunError("a record is damaged")})
    with pytest.raises(RunError, match="damaged"):
        follow(tmp_path, lambda: False)
