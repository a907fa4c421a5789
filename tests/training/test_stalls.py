"""What a task does that stands still: whom it asks, whom it waits for, what the chief records."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest
from support import short_runs

from mnist_estimator.cluster import hello, roles
from mnist_estimator.compat import tf
from mnist_estimator.config import TrainConfig
from mnist_estimator.data import inputs
from mnist_estimator.runs import status
from mnist_estimator.runtime import watchdog
from mnist_estimator.training import stalls


def free_address():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


CHIEF, WORKER = free_address(), free_address()
JOBS = {"chief": (CHIEF,), "worker": (WORKER,)}


def stall(phase: str = watchdog.STEP) -> watchdog.State:
    return watchdog.State(phase, 7, 61.0, 60.0, 0.0)


@contextlib.contextmanager
def a_chief_that_does(config, doing="", busy=""):
    """A chief that answers, in the block."""
    said = hello.Hello("chief", config.model_dir, "f", "r", "host", "1", doing, busy)
    with hello.answering(CHIEF, lambda: said):
        yield


@pytest.fixture
def config(tmp_path):
    return TrainConfig(model_dir=str(tmp_path))


def ended(stall_end, found=None) -> list[dict]:
    """What the end was given; nothing if the task goes on."""
    given = []
    stall_end(found or stall(), end=lambda stall, **options: given.append(options))
    return given


@pytest.fixture
def worker(config):
    return stalls.StallEnd(config, roles.Task(JOBS, "worker", 0))


def test_a_chief_that_is_gone_is_named(worker, config):
    (given,) = ended(worker)
    assert (given["folder"], given["name"]) == (config.model_dir, "worker 0")
    assert given["missing"] == [f"chief at {CHIEF} is gone"]
    assert given["others"] == [f"chief at {CHIEF}: its port refused; its process does not answer"]


def test_a_chief_whose_port_answers_and_whose_process_does_not_stands_still(worker):
    host, _, port = CHIEF.rpartition(":")
    with socket.create_server((host, int(port))):
        (given,) = ended(worker)
    assert given["missing"] == [f"chief at {CHIEF} does not answer"]
    assert given["others"] == [f"chief at {CHIEF}: its port answers; its process does not answer"]


def test_what_the_others_do_is_in_the_report(worker, config):
    with a_chief_that_does(config, "step after step 7, nothing has moved for 60 s"):
        (given,) = ended(worker)
    assert given["missing"] == []
    assert given["others"] == [
        f"chief at {CHIEF}: its port refused; step after step 7, nothing has moved for 60 s"
    ]


@pytest.mark.parametrize("phase", [watchdog.STEP, watchdog.SET_UP])
def test_a_worker_waits_for_a_chief_that_evaluates(worker, config, phase):
    with a_chief_that_does(config, busy=watchdog.EVALUATION):
        assert not ended(worker, stall(phase))
    assert ended(worker, stall(phase))


@pytest.mark.parametrize("phase", [watchdog.PREPARING, watchdog.CHECKPOINT, watchdog.EVALUATION])
def test_what_a_task_does_by_itself_waits_for_nobody(worker, config, phase):
    with a_chief_that_does(config, busy=watchdog.EVALUATION):
        assert ended(worker, stall(phase))


def test_a_process_on_its_own_has_nobody_to_ask(config):
    (given,) = ended(stalls.StallEnd(config, roles.Task()))
    assert (given["name"], given["missing"], given["others"]) == ("chief", [], [])


def test_the_chief_records_that_it_stood_still_and_says_what_is_saved(config):
    chief = stalls.StallEnd(config, roles.Task())
    recorder = status.Recorder(config.model_dir, False)
    recorder.write(status.TRAINING)
    with chief.recording(recorder):
        (given,) = ended(chief)
        saved = given["record"]("stands still: step")
    found = status.read(config.model_dir)
    assert (found.state, found.exit_code, found.reason) == ("stalled", 138, "stands still: step")
    assert saved == "nothing is saved yet; the same command begins anew"


def test_no_other_task_records_it_nor_does_a_chief_that_has_not_begun(worker, config):
    for stall_end in (worker, stalls.StallEnd(config, roles.Task())):
        (given,) = ended(stall_end)
        given["record"]("stands still: step")
    assert status.read(config.model_dir) is None


@pytest.mark.parametrize(("state", "code", "expected"), [("done", 0, 0), ("preempted", 143, 143)])
def test_a_worker_that_hangs_when_the_chief_has_ended_ends_like_it(
    worker, config, state, code, expected
):
    worker.follower = status.Follower(config.model_dir)
    assert [given["code"] for given in ended(worker)] == [138]
    status.Recorder(config.model_dir, False).write(state, exit_code=code)
    assert [given["code"] for given in ended(worker)] == [expected]


def test_a_task_is_watched_with_the_limit_of_its_flag(config):
    with stalls.watching(config, roles.Task()):
        assert watchdog.state().limit_secs == 600
    off = TrainConfig(model_dir=config.model_dir, stall_timeout_secs=0)
    with stalls.watching(off, roles.Task()):
        assert watchdog.state() is None


def test_a_run_says_in_which_phase_it_is(tmp_path, make_dataset, monkeypatch):
    entered = []

    class Noted(watchdog.Watchdog):
        def end_step(self, step):
            super().end_step(step)
            entered.append(step)

        @contextlib.contextmanager
        def phase(self, name):
            entered.append(name)
            with super().phase(name):
                moves = self._moves
                yield
            entered.append(("moved", self._moves > moves + 1))

    monkeypatch.setattr(watchdog, "Watchdog", Noted)
    config = {"max_steps": 2, "save_checkpoints_steps": 2, "export": "final", "model": "softmax"}
    short_runs.train(tmp_path / "run", make_dataset(), **config)
    moved, still = ("moved", True), ("moved", False)
    assert entered == [
        *("preparing data", still),  # It is there.
        *("checkpoint", still, 1, 2, "checkpoint", still),
        *("evaluation", moved, "evaluation", moved, "export", still),
    ]


def test_an_input_that_sleeps_is_a_step_that_stands_still(tmp_path, make_dataset, monkeypatch):
    woken = threading.Event()

    def sleep_at(number):
        if number == 4:
            woken.wait(60)
        return number

    def give(number, batch):
        with tf.control_dependencies([tf.numpy_function(sleep_at, [number], tf.int64)]):
            return tf.nest.map_structure(tf.identity, batch)

    def train_input_fn(*arguments, **options):
        input_fn = inputs_fn(*arguments, **options)
        return lambda: input_fn().enumerate().map(give)

    def end(self, stall):
        # Whatever else stands still here for a second, does so because the machine is busy.
        if (stall.phase, stall.step) == (watchdog.STEP, 4):
            woken.set()

    inputs_fn = inputs.train_input_fn
    monkeypatch.setattr(inputs, "train_input_fn", train_input_fn)
    monkeypatch.setattr(stalls.StallEnd, "__call__", end)
    monkeypatch.setattr(watchdog, "_LOOK_SECS", 0.05)
    options = {"model": "softmax", "stall_timeout_secs": 1, "max_steps": 6}
    short_runs.train(tmp_path / "run", make_dataset(), **options)
    assert woken.is_set()
