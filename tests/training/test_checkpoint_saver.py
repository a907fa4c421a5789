"""When checkpoints are saved, and which global steps are refused."""

from __future__ import annotations

import math
import shutil

import pytest
from support.steps import run_steps

from mnist_estimator import InputError, RunError
from mnist_estimator.compat import tf, v1
from mnist_estimator.runs import checkpoints
from mnist_estimator.runtime import leases
from mnist_estimator.training import checkpoint_saver, hooks, stopping
from mnist_estimator.training.checkpoint_saver import SAVE_REQUEST, CheckpointSaver


class SetStep(v1.train.SessionRunHook):
    """Sets the global step after so many steps, as a stranger to the cluster does."""

    def __init__(self, value, *, after):
        self._value, self._after = value, after

    def begin(self):
        self._set = v1.train.get_global_step().assign(self._value)
        self._steps = 0

    def after_run(self, run_context, run_values):
        self._steps += 1
        if self._steps == self._after:
            run_context.session.run(self._set)


@pytest.mark.parametrize("others", [0, 3])
@pytest.mark.parametrize("value", [1_999_999, 100, 6])
def test_a_step_that_jumps_ends_training_and_nothing_is_saved(tmp_path, value, others):
    saver = CheckpointSaver(str(tmp_path), every_steps=5, others=others, clock=lambda: 0.0)
    line = f"step {value}: the global step was 7 0.0 s before, and .* ports; nothing of it was"
    with pytest.raises(RunError, match=line):
        run_steps(SetStep(value, after=8), saver, steps=20)
    assert checkpoints.newest(str(tmp_path)) == f"{tmp_path}/model.ckpt-5"


def test_a_step_that_jumps_after_the_last_one_is_noticed_too(tmp_path):
    saver = CheckpointSaver(str(tmp_path), every_steps=5)
    with pytest.raises(RunError, match="step 400: the global step was 8 "):
        run_steps(saver, SetStep(400, after=8), steps=8)
    assert checkpoints.newest(str(tmp_path)) == f"{tmp_path}/model.ckpt-5"


def test_a_step_that_jumps_while_it_is_saved_gets_no_seal(tmp_path, monkeypatch):
    save = v1.train.Saver.save

    def jump_and_save(self, session, *arguments, global_step, **options):
        if global_step == 10:
            session.run(stranger._set)
        return save(self, session, *arguments, global_step=global_step, **options)

    monkeypatch.setattr(v1.train.Saver, "save", jump_and_save)
    stranger = SetStep(400, after=99)
    saver = CheckpointSaver(str(tmp_path), every_steps=5)
    with pytest.raises(RunError, match="step 400: the global step was 10 "):
        run_steps(stranger, saver, steps=20)
    assert not checkpoints.is_sealed(f"{tmp_path}/model.ckpt-10")
    assert checkpoints.newest_whole(str(tmp_path)) == f"{tmp_path}/model.ckpt-5"


@pytest.mark.parametrize("value", [400, 9, 7])
def test_steps_that_are_counted_are_compared_before_a_checkpoint_is_used(tmp_path, value):
    saver = CheckpointSaver(str(tmp_path), every_steps=5, is_alone=True)
    with pytest.raises(RunError, match=f"step {value + 2}: the global step was 10 "):
        run_steps(SetStep(value, after=8), saver, steps=20)
    assert checkpoints.newest_whole(str(tmp_path)) == f"{tmp_path}/model.ckpt-5"


def test_a_step_that_is_not_the_restored_one_is_noticed(tmp_path):
    saves(tmp_path, steps=5)
    saver = CheckpointSaver(str(tmp_path), every_steps=5)
    with pytest.raises(RunError, match="step 6: the global step was 5 "):
        run_steps(saver, start=6, steps=1)


def test_a_checkpoint_may_hold_a_later_step_than_its_name(tmp_path):
    """As one of parameter servers does, which other workers move on while it is saved."""
    saves(tmp_path, steps=5)
    for path in tmp_path.glob("model.ckpt-5.*"):
        path.rename(str(path).replace("ckpt-5", "ckpt-4"))
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-4"\n')
    run_steps(CheckpointSaver(str(tmp_path), every_steps=5), start=5, steps=1)
    assert checkpoints.newest(str(tmp_path)) == f"{tmp_path}/model.ckpt-6"


def test_steps_of_other_workers_are_expected(tmp_path):
    # In the 10 ms of a step the two others may make 40.
    seconds = iter(range(100))
    options = {"others": 2, "clock": lambda: next(seconds) / 100}
    saver = CheckpointSaver(str(tmp_path), every_steps=100, **options)
    run_steps(SetStep(40, after=3), saver, steps=5)


def test_a_new_session_may_go_back_to_the_newest_checkpoint_and_no_further(tmp_path):
    with tf.Graph().as_default(), v1.Session() as session:
        step = v1.train.get_or_create_global_step()
        steps = checkpoint_saver._StepGuard(str(tmp_path), 0, lambda: 0.0)
        steps.begin()
        for value in (5, 6, 7, 5):  # The first and the last one are restored.
            session.run(step.assign(value))
            read = steps.read_restored(session, 5) if value == 5 else steps.read(session)
            assert read == value
        session.run(step.assign(4))
        with pytest.raises(RunError, match="step 4: the global step was 5 "):
            steps.read_restored(session, 5)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops_before_anything_is_saved(tmp_path, loss):
    saves(tmp_path, steps=6)
    guard = hooks.FiniteGuard(str(tmp_path))
    saver = CheckpointSaver(str(tmp_path), every_steps=1)
    line = f"step 7: loss is {loss} at learning rate 0.5; nothing of it was saved, the newest .*-6;"
    with pytest.raises(RunError, match=line):
        run_steps(guard, saver, steps=1, start=6, loss=loss)
    assert checkpoints.newest(str(tmp_path)) == f"{tmp_path}/model.ckpt-6"


def test_a_variable_that_is_not_finite_never_reaches_a_checkpoint(tmp_path):
    def build():
        v1.get_variable("fine", initializer=[1.0, 2.0])
        v1.get_variable("bad", initializer=[1.0, math.inf])

    saver = CheckpointSaver(str(tmp_path), every_steps=1)
    with pytest.raises(RunError, match="step 0: variable bad is not finite at learning rate 0.5"):
        run_steps(saver, steps=1, build=build)
    assert not checkpoints.newest(str(tmp_path))


def saves(folder, *, steps, start=0, every=10, stop_at=None, is_alone=False):
    """Steps at which `after_save` was called, and the steps of the checkpoints there are."""
    seen = []

    def after_save(path):
        step = checkpoints.step_of(path)
        seen.append(step)
        assert path == f"{folder}/model.ckpt-{step}"
        assert not checkpoints.damage(path)

    folder.mkdir(exist_ok=True)
    saver = CheckpointSaver(
        str(folder), every_steps=every, after_save=after_save, is_alone=is_alone
    )
    stopper = stopping.Stopper(lambda: stop_at in seen)
    run_steps(saver, stopper, steps=steps, start=start)
    return seen, sorted(checkpoints.step_of(str(p.with_suffix(""))) for p in folder.glob("*.index"))


@pytest.mark.parametrize("is_alone", [False, True])
def test_checkpoints_come_at_the_same_steps_after_a_restart(tmp_path, is_alone):
    whole = saves(tmp_path / "whole", steps=35, is_alone=is_alone)
    assert whole == ([10, 20, 30, 35], [0, 10, 20, 30, 35])
    assert saves(tmp_path / "resumed", steps=17, is_alone=is_alone) == ([10, 17], [0, 10, 17])
    resumed = saves(tmp_path / "resumed", start=17, steps=18, is_alone=is_alone)
    assert resumed == ([20, 30, 35], [0, 10, 17, 20, 30, 35])


def test_the_last_checkpoint_is_saved_once(tmp_path):
    assert saves(tmp_path, steps=20) == ([10, 20], [0, 10, 20])


def test_what_was_restored_is_not_saved_again(tmp_path):
    saves(tmp_path, steps=17)
    before = (tmp_path / "model.ckpt-17.index").stat().st_mtime_ns
    assert saves(tmp_path, start=17, steps=1) == ([18], [0, 10, 17, 18])
    assert (tmp_path / "model.ckpt-17.index").stat().st_mtime_ns == before


def test_a_folder_that_vanished_is_not_made_again(tmp_path):
    class Remove(v1.train.SessionRunHook):
        def after_run(self, run_context, run_values):
            shutil.rmtree(tmp_path / "run")

    (tmp_path / "run").mkdir()
    saver = CheckpointSaver(str(tmp_path / "run"), every_steps=1)
    with pytest.raises(RunError, match="run: is gone, stopped training at step 1"):
        run_steps(Remove(), saver, steps=9)
    assert not (tmp_path / "run").exists()


def test_an_evaluation_may_stop_the_run(tmp_path):
    assert saves(tmp_path, steps=99, stop_at=20) == ([10, 20], [0, 10, 20])


def test_a_checkpoint_of_another_network_is_refused_before_it_is_restored(tmp_path):
    saves(tmp_path, steps=1)
    saver = CheckpointSaver(str(tmp_path), every_steps=1)
    with pytest.raises(InputError, match="holds another network: more not at all"):
        run_steps(saver, steps=1, build=lambda: v1.get_variable("more", initializer=1.0))


def test_a_parameter_server_that_has_to_go_can_ask_for_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(hooks, "_LOOK_SECS", 0)
    request = tmp_path / SAVE_REQUEST
    saver = CheckpointSaver(str(tmp_path), every_steps=99)
    run_steps(saver, Asking(request, 2), steps=5)
    assert sorted(path.name for path in tmp_path.glob("*.index")) == [
        f"model.ckpt-{step}.index" for step in (0, 2, 5)
    ]
    assert not request.exists()


def test_a_request_that_was_left_behind_asks_for_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(hooks, "_LOOK_SECS", 0)
    (tmp_path / SAVE_REQUEST).write_text("")
    assert saves(tmp_path, steps=3)[1] == [0, 3]
    assert not (tmp_path / SAVE_REQUEST).exists()


class Asking(v1.train.SessionRunHook):
    """Asks for a checkpoint during a step, as a parameter server does."""

    def __init__(self, request, step):
        self._request, self._steps_left = request, step

    def before_run(self, run_context):
        self._steps_left -= 1
        if not self._steps_left:
            self._request.write_text("")


@pytest.mark.parametrize("lost_at", [0, 1, 2, 3, 4])
def test_a_trainer_that_has_lost_its_model_dir_saves_nothing_more(tmp_path, monkeypatch, lost_at):
    checks = []

    def check(model_dir):
        checks.append(model_dir)
        if len(checks) > 3 + lost_at:  # The first three are of the save of step 0.
            raise leases.LostError("taken over")

    monkeypatch.setattr(checkpoint_saver.lock, "check", check)
    saver = CheckpointSaver(str(tmp_path), every_steps=2)
    with pytest.raises(leases.LostError):
        run_steps(saver, steps=4)
    assert set(checks) == {str(tmp_path)}
    assert checkpoints.newest(str(tmp_path)) == f"{tmp_path}/model.ckpt-0"
