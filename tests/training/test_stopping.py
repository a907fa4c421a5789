"""How training stops: after a whole step, alone and among synchronous workers."""

from __future__ import annotations

import signal

import pytest
from support.steps import run_steps

from mnist_estimator import model_fn
from mnist_estimator.compat import tf, v1
from mnist_estimator.runs import checkpoints
from mnist_estimator.runtime import files, signals
from mnist_estimator.training import hooks, stopping
from mnist_estimator.training.checkpoint_saver import CheckpointSaver


class Signal(v1.train.SessionRunHook):
    """Sends this process SIGTERM during a step."""

    def __init__(self, step):
        self._steps_left = step

    def before_run(self, run_context):
        self._steps_left -= 1
        if not self._steps_left:
            signal.raise_signal(signal.SIGTERM)


@pytest.fixture
def handled():
    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    with signals.handled():
        yield
    for number in numbers:
        signal.signal(number, before[number])


@pytest.mark.usefixtures("handled")
def test_a_signal_ends_training_after_the_step_and_saves_it(tmp_path):
    evaluated = []
    saver = CheckpointSaver(
        str(tmp_path),
        every_steps=10,
        after_save=lambda path: evaluated.append(checkpoints.step_of(path)),
    )
    with pytest.raises(signals.Interruption), signals.deferrable():
        run_steps(saver, stopping.Stopper(), Signal(13), steps=99)
    assert checkpoints.newest(str(tmp_path)) == f"{tmp_path}/model.ckpt-13"
    assert evaluated == [10]


def test_a_run_that_came_to_its_end_elsewhere_stops(tmp_path, monkeypatch):
    monkeypatch.setattr(hooks, "_LOOK_SECS", 0)
    answers = iter([False, False, True])
    run_steps(
        CheckpointSaver(str(tmp_path), every_steps=99),
        stopping.Stopper(lambda: next(answers)),
        steps=99,
    )
    assert checkpoints.newest(str(tmp_path)) == f"{tmp_path}/model.ckpt-3"


def votes(*, others):
    """As in synchronous training: what this worker and the others vote, [preempted, finished]."""

    def build():
        own = v1.placeholder_with_default(tf.zeros([2]), [2])
        v1.add_to_collection(model_fn.STOP_VOTES, own)
        v1.add_to_collection(model_fn.STOP_TOTAL, own + tf.constant(others))

    return build


class Watched:
    """Stands for a watch over the other workers: remembers whether it was stopped."""

    stopped = False

    def stop(self):
        self.stopped = True


@pytest.mark.parametrize(
    ("steps", "others", "stopped"),
    [(4, [0.0, 0.0], False), (5, [0.0, 0.0], True), (1, [1.0, 0.0], True), (1, [0.0, 1.0], True)],
)
def test_the_others_may_go_after_the_last_step_together(steps, others, stopped):
    watch = Watched()
    run_steps(stopping.SessionGuard(watch, 5), steps=steps, build=votes(others=others))
    assert watch.stopped == stopped


def begin_twice(build):
    hook = stopping.SessionGuard(Watched(), 9)
    with tf.Graph().as_default():
        step = v1.train.get_or_create_global_step()
        build()
        hook.begin()
        with v1.Session() as session:
            session.run(step.initializer)
            for _ in range(2):
                hook.after_create_session(session, None)


def test_synchronous_workers_do_not_go_on_in_a_new_session():
    with pytest.raises(signals.Interruption, match="another worker is gone") as caught:
        begin_twice(votes(others=[0.0, 0.0]))
    assert caught.value.exit_code == 138
    begin_twice(lambda: None)  # With parameter servers they do.


@pytest.mark.parametrize(
    ("others", "steps", "preempted"),
    [([0.0, 0.0], 4, False), ([1.0, 0.0], 1, True), ([0.0, 1.0], 1, False)],
)
def test_a_worker_stops_when_another_one_votes_for_it(tmp_path, others, steps, preempted):
    stopper = stopping.Stopper()
    saver = CheckpointSaver(str(tmp_path), every_steps=99)
    run_steps(saver, stopper, steps=4, build=votes(others=others))
    assert checkpoints.newest(str(tmp_path)) == f"{tmp_path}/model.ckpt-{steps}"
    assert stopper.preempted_by_other == preempted


@pytest.mark.usefixtures("handled")
def test_a_worker_votes_when_it_gets_a_signal(tmp_path):
    stopper = stopping.Stopper()
    saver = CheckpointSaver(str(tmp_path), every_steps=99)
    with pytest.raises(signals.Interruption), signals.deferrable():
        run_steps(saver, stopper, Signal(3), steps=99, build=votes(others=[0.0, 0.0]))
    # It comes too late for the vote of the step that it falls into.
    assert checkpoints.newest(str(tmp_path)) == f"{tmp_path}/model.ckpt-4"
    assert not stopper.preempted_by_other


def test_a_process_on_its_own_does_not_begin_sessions_without_end():
    class Fail(v1.train.SessionRunHook):
        times = 0

        def after_run(self, run_context, run_values):
            self.times += 1
            assert self.times < 5
            raise tf.errors.UnavailableError(None, None, "s3://bucket/shard: no answer")

    guard = stopping.SessionGuard(None, 9, is_alone=True)
    with pytest.raises(files.OutageError, match="a file in a store could not be read"):
        run_steps(guard, Fail(), steps=3)


def test_the_first_hook_says_that_a_step_has_ended(monkeypatch):
    ended = []
    monkeypatch.setattr(stopping.watchdog, "end_step", ended.append)
    run_steps(stopping.SessionGuard(Watched(), 9), steps=3, start=4)
    assert ended == [5, 6, 7]
