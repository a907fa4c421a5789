"""What watches training, each hook with a train_op that only counts, and a clock of its own."""

from __future__ import annotations

import io
import math
import shutil
import signal

import pytest

from mnist_estimator import InputError, RunError, model_fn
from mnist_estimator.compat import tf, v1
from mnist_estimator.runs import checkpoints
from mnist_estimator.runtime import signals
from mnist_estimator.training import hooks, stopping


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run(*watchers, steps, start=0, loss=0.25, build=lambda: None):
    """Runs a train_op that counts steps under hooks, until `steps` are done or a hook stops it."""
    with tf.Graph().as_default():
        step = v1.train.get_or_create_global_step()
        build()
        v1.add_to_collection(v1.GraphKeys.LOSSES, tf.constant(loss))
        v1.add_to_collection(model_fn.LEARNING_RATE, tf.constant(0.5))
        v1.add_to_collection(v1.GraphKeys.SAVERS, v1.train.Saver(sharded=True, max_to_keep=9))
        train_op = step.assign_add(1)
        init = tf.group(v1.global_variables_initializer(), step.initializer)
        if start:
            with tf.control_dependencies([init]):
                init = step.assign(start)
        creator = v1.train.ChiefSessionCreator(v1.train.Scaffold(init_op=init))
        with v1.train.MonitoredSession(creator, hooks=watchers) as session:
            for _ in range(steps):
                if session.should_stop():
                    break
                session.run(train_op)


def train(stream, *, steps, max_steps, start=0, model_dir="", extra=()):
    """Runs steps under Progress, each taking half a second by its clock."""
    ticks = iter(range(10**6))
    progress = hooks.Progress(
        model_dir=model_dir,
        max_steps=max_steps,
        batch_size=10,
        every_steps=4,
        write_summaries=bool(model_dir),
        stream=stream,
        clock=lambda: next(ticks) * 0.5,
    )
    run(progress, *extra, steps=steps, start=start, build=lambda: v1.summary.scalar("x", 1.5))


def test_a_log_gets_a_line_every_few_steps_and_at_the_end():
    log = io.StringIO()
    train(log, steps=10, max_steps=10)
    assert log.getvalue().splitlines() == [
        "step 4/10  loss 0.2500  20 examples/s  0m03s left",
        "step 8/10  loss 0.2500  20 examples/s  0m01s left",
        "step 10/10  loss 0.2500  20 examples/s  0m00s left",
    ]


def test_reports_stay_at_the_same_steps_after_a_restart():
    log = io.StringIO()
    train(log, start=6, steps=4, max_steps=99)
    assert log.getvalue().startswith("step 8/99  loss 0.2500  20 examples/s  0m46s left")


def test_a_terminal_gets_one_line_kept_up_to_date(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    train(terminal, steps=8, max_steps=8)
    assert terminal.getvalue().count("\n") == 1
    assert terminal.getvalue().startswith("\r\x1b[Kstep 4/8  ")
    assert "\r\x1b[Kstep 8/8  " in terminal.getvalue()


def points(folder):
    """The (step, tag, value) of all events of a folder, in the order they were written."""
    return [
        (event.step, value.tag, value.simple_value)
        for path in sorted(folder.glob("events.*"))
        for event in v1.train.summary_iterator(str(path))
        for value in event.summary.value
    ]


def test_summaries_come_at_the_same_steps_after_a_restart(tmp_path):
    train(io.StringIO(), start=6, steps=6, max_steps=11, model_dir=str(tmp_path))
    assert points(tmp_path) == [
        (step, *point)
        for step in (8, 11, 12)
        for point in (("examples_per_second", 20.0), ("x", 1.5))
    ]


def test_a_restart_drops_what_came_after_its_checkpoint(tmp_path):
    train(io.StringIO(), start=6, steps=2, max_steps=99, model_dir=str(tmp_path))
    (events,) = tmp_path.glob("events.*")
    starts = [
        event.step
        for event in v1.train.summary_iterator(str(events))
        if event.session_log.status == v1.SessionLog.START
    ]
    assert starts == [7]


def test_a_step_back_is_not_reported_as_a_speed():
    class Restore(v1.train.SessionRunHook):
        """As when parameter servers come back with an older checkpoint."""

        def begin(self):
            self._back = v1.train.get_global_step().assign(1)
            self._steps = 0

        def after_run(self, run_context, run_values):
            self._steps += 1
            if self._steps == 7:
                run_context.session.run(self._back)

    log = io.StringIO()
    train(log, steps=12, max_steps=99, extra=[Restore()])
    rates = [line.split("  ")[2] for line in log.getvalue().splitlines()]
    assert rates == ["20 examples/s", "20 examples/s"], log.getvalue()


def test_saving_and_evaluating_do_not_count_as_training(tmp_path):
    log = io.StringIO()
    saver = hooks.CheckpointSaver(str(tmp_path), every_steps=4, after_save=lambda path: None)
    # All of it takes ticks of the same clock; only what is between a step's two is counted.
    train(log, steps=8, max_steps=8, model_dir=str(tmp_path), extra=[saver])
    assert [line.split("  ")[2] for line in log.getvalue().splitlines()] == ["20 examples/s"] * 2


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
    saver = hooks.CheckpointSaver(str(tmp_path), every_steps=5, others=others, clock=lambda: 0.0)
    line = f"step {value}: the global step was 7 0.0 s before, and .* ports; nothing of it was"
    with pytest.raises(RunError, match=line):
        run(SetStep(value, after=8), saver, steps=20)
    assert checkpoints.newest(str(tmp_path)) == f"{tmp_path}/model.ckpt-5"


def test_a_step_that_jumps_after_the_last_one_is_noticed_too(tmp_path):
    saver = hooks.CheckpointSaver(str(tmp_path), every_steps=5)
    with pytest.raises(RunError, match="step 400: the global step was 8 "):
        run(saver, SetStep(400, after=8), steps=8)
    assert checkpoints.newest(str(tmp_path)) == f"{tmp_path}/model.ckpt-5"


def test_a_step_that_jumps_while_it_is_saved_gets_no_seal(tmp_path, monkeypatch):
    save = v1.train.Saver.save

    def jump_and_save(self, session, *arguments, global_step, **options):
        if global_step == 10:
            session.run(stranger._set)
        return save(self, session, *arguments, global_step=global_step, **options)

    monkeypatch.setattr(v1.train.Saver, "save", jump_and_save)
    stranger = SetStep(400, after=99)
    saver = hooks.CheckpointSaver(str(tmp_path), every_steps=5)
    with pytest.raises(RunError, match="step 400: the global step was 10 "):
        run(stranger, saver, steps=20)
    assert not checkpoints.is_sealed(f"{tmp_path}/model.ckpt-10")
    assert checkpoints.newest_whole(str(tmp_path)) == f"{tmp_path}/model.ckpt-5"


def test_a_step_that_is_not_the_restored_one_is_noticed(tmp_path):
    saves(tmp_path, steps=5)
    saver = hooks.CheckpointSaver(str(tmp_path), every_steps=5)
    with pytest.raises(RunError, match="step 6: the global step was 5 "):
        run(saver, start=6, steps=1)


def test_a_checkpoint_may_hold_a_later_step_than_its_name(tmp_path):
    """As one of parameter servers does, which other workers move on while it is saved."""
    saves(tmp_path, steps=5)
    for path in tmp_path.glob("model.ckpt-5.*"):
        path.rename(str(path).replace("ckpt-5", "ckpt-4"))
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-4"\n')
    run(hooks.CheckpointSaver(str(tmp_path), every_steps=5), start=5, steps=1)
    assert checkpoints.newest(str(tmp_path)) == f"{tmp_path}/model.ckpt-6"


def test_steps_of_other_workers_are_expected(tmp_path):
    # In the 10 ms of a step the two others may make 40.
    seconds = iter(range(100))
    options = {"others": 2, "clock": lambda: next(seconds) / 100}
    saver = hooks.CheckpointSaver(str(tmp_path), every_steps=100, **options)
    run(SetStep(40, after=3), saver, steps=5)


def test_a_new_session_may_go_back_to_the_newest_checkpoint_and_no_further(tmp_path):
    with tf.Graph().as_default(), v1.Session() as session:
        step = v1.train.get_or_create_global_step()
        steps = hooks._Steps(str(tmp_path), 0, lambda: 0.0)
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
    saver = hooks.CheckpointSaver(str(tmp_path), every_steps=1)
    line = f"step 7: loss is {loss} at learning rate 0.5; nothing of it was saved, the newest .*-6;"
    with pytest.raises(RunError, match=line):
        run(guard, saver, steps=1, start=6, loss=loss)
    assert checkpoints.newest(str(tmp_path)) == f"{tmp_path}/model.ckpt-6"


def test_a_variable_that_is_not_finite_never_reaches_a_checkpoint(tmp_path):
    def build():
        v1.get_variable("fine", initializer=[1.0, 2.0])
        v1.get_variable("bad", initializer=[1.0, math.inf])

    saver = hooks.CheckpointSaver(str(tmp_path), every_steps=1)
    with pytest.raises(RunError, match="step 0: variable bad is not finite at learning rate 0.5"):
        run(saver, steps=1, build=build)
    assert not checkpoints.newest(str(tmp_path))


def saves(folder, *, steps, start=0, every=10, stop_at=None):
    """Steps at which `after_save` was called, and the steps of the checkpoints there are."""
    seen = []

    def after_save(path):
        step = checkpoints.step_of(path)
        seen.append(step)
        assert path == f"{folder}/model.ckpt-{step}"
        assert not checkpoints.damage(path)

    folder.mkdir(exist_ok=True)
    saver = hooks.CheckpointSaver(str(folder), every_steps=every, after_save=after_save)
    stopper = stopping.Stopper(lambda: stop_at in seen)
    run(saver, stopper, steps=steps, start=start)
    return seen, sorted(checkpoints.step_of(str(p.with_suffix(""))) for p in folder.glob("*.index"))


def test_checkpoints_come_at_the_same_steps_after_a_restart(tmp_path):
    assert saves(tmp_path / "whole", steps=35) == ([10, 20, 30, 35], [0, 10, 20, 30, 35])
    assert saves(tmp_path / "resumed", steps=17) == ([10, 17], [0, 10, 17])
    resumed = saves(tmp_path / "resumed", start=17, steps=18)
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
    saver = hooks.CheckpointSaver(str(tmp_path / "run"), every_steps=1)
    with pytest.raises(RunError, match="run: is gone, stopped training at step 1"):
        run(Remove(), saver, steps=9)
    assert not (tmp_path / "run").exists()


def test_an_evaluation_may_stop_the_run(tmp_path):
    assert saves(tmp_path, steps=99, stop_at=20) == ([10, 20], [0, 10, 20])


def test_a_checkpoint_of_another_network_is_refused_before_it_is_restored(tmp_path):
    saves(tmp_path, steps=1)
    saver = hooks.CheckpointSaver(str(tmp_path), every_steps=1)
    with pytest.raises(InputError, match="holds another network: more not at all"):
        run(saver, steps=1, build=lambda: v1.get_variable("more", initializer=1.0))


def test_a_parameter_server_that_has_to_go_can_ask_for_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(hooks, "_LOOK_SECS", 0)
    request = tmp_path / hooks.SAVE_REQUEST
    saver = hooks.CheckpointSaver(str(tmp_path), every_steps=99)
    run(saver, Asking(request, 2), steps=5)
    assert sorted(path.name for path in tmp_path.glob("*.index")) == [
        f"model.ckpt-{step}.index" for step in (0, 2, 5)
    ]
    assert not request.exists()


def test_a_request_that_was_left_behind_asks_for_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(hooks, "_LOOK_SECS", 0)
    (tmp_path / hooks.SAVE_REQUEST).write_text("")
    assert saves(tmp_path, steps=3)[1] == [0, 3]
    assert not (tmp_path / hooks.SAVE_REQUEST).exists()


class Asking(v1.train.SessionRunHook):
    """Asks for a checkpoint during a step, as a parameter server does."""

    def __init__(self, request, step):
        self._request, self._steps_left = request, step

    def before_run(self, run_context):
        self._steps_left -= 1
        if not self._steps_left:
            self._request.write_text("")


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
    saver = hooks.CheckpointSaver(
        str(tmp_path),
        every_steps=10,
        after_save=lambda path: evaluated.append(checkpoints.step_of(path)),
    )
    with pytest.raises(signals.Interruption), signals.deferrable():
        run(saver, stopping.Stopper(), Signal(13), steps=99)
    assert checkpoints.newest(str(tmp_path)) == f"{tmp_path}/model.ckpt-13"
    assert evaluated == [10]


def test_a_run_that_came_to_its_end_elsewhere_stops(tmp_path, monkeypatch):
    monkeypatch.setattr(hooks, "_LOOK_SECS", 0)
    answers = iter([False, False, True])
    run(
        hooks.CheckpointSaver(str(tmp_path), every_steps=99),
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
    run(stopping.Together(watch, 5), steps=steps, build=votes(others=others))
    assert watch.stopped == stopped


def begin_twice(build):
    hook = stopping.Together(Watched(), 9)
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
    saver = hooks.CheckpointSaver(str(tmp_path), every_steps=99)
    run(saver, stopper, steps=4, build=votes(others=others))
    assert checkpoints.newest(str(tmp_path)) == f"{tmp_path}/model.ckpt-{steps}"
    assert stopper.preempted_by_other == preempted


@pytest.mark.usefixtures("handled")
def test_a_worker_votes_when_it_gets_a_signal(tmp_path):
    stopper = stopping.Stopper()
    saver = hooks.CheckpointSaver(str(tmp_path), every_steps=99)
    with pytest.raises(signals.Interruption), signals.deferrable():
        run(saver, stopper, Signal(3), steps=99, build=votes(others=[0.0, 0.0]))
    # It comes too late for the vote of the step that it falls into.
    assert checkpoints.newest(str(tmp_path)) == f"{tmp_path}/model.ckpt-4"
    assert not stopper.preempted_by_other
