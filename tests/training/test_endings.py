"""How a task ends that is not the chief, and what counts as the end of a run."""

from __future__ import annotations

import os
import socket

import pytest

from mnist_estimator import InputError, RunError
from mnist_estimator.cluster import ports, roles
from mnist_estimator.compat import tf, v1
from mnist_estimator.config import TrainConfig
from mnist_estimator.runs import checkpoints, status
from mnist_estimator.runs.evaluations import Evaluations
from mnist_estimator.runtime import signals
from mnist_estimator.training import endings, evaluator


def save(path, seal=True):
    with tf.Graph().as_default(), v1.Session() as session:
        v1.get_variable("a", shape=[])
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, path, write_meta_graph=False)
    if seal:
        checkpoints.seal(path)


def remove(path):
    v1.train.remove_checkpoint(path)
    checkpoints.tidy(os.path.dirname(path))


def ended(state, code, reason=""):
    return status.Status(state, code, 7, reason, "run", "now", False)


@pytest.mark.parametrize("how", [None, ended("trained", 0), ended("done", 0)])
def test_after_a_good_end_a_task_ends_well(how):
    endings.end_like_the_chief(how)


@pytest.mark.parametrize(
    ("how", "line", "code"),
    [
        (ended("preempted", 143, "SIGTERM"), r"the chief ended: preempted \(SIGTERM\)", 143),
        (ended("lost", 138), "the chief ended: lost", 138),
    ],
)
def test_a_retryable_end_is_everybodys(how, line, code):
    with pytest.raises(signals.Interruption, match=line) as caught:
        endings.end_like_the_chief(how)
    assert caught.value.exit_code == code


@pytest.mark.parametrize(
    ("code", "state"), [(143, "preempted"), (130, "interrupted"), (129, "interrupted")]
)
def test_a_signal_is_recorded_by_what_it_meant(code, state, tmp_path):
    with pytest.raises(signals.Interruption), status.recorded(str(tmp_path)):
        raise signals.Interruption("SIGNAL", code)
    found = status.read(str(tmp_path))
    assert (found.state, found.exit_code, found.reason) == (state, code, "SIGNAL")


@pytest.mark.parametrize("code", [1, 2])
def test_a_permanent_failure_is_one_everywhere(code):
    with pytest.raises(Exception, match=r"^the chief ended: failed \(loss is nan\)$") as caught:
        endings.end_like_the_chief(ended("failed", code, "loss is nan"))
    assert signals.exit_code_of(caught.value) == code


CLUSTER = roles.Task({"worker": ("a:1", "b:1")}, "worker", 1)


@pytest.mark.parametrize("error", [tf.errors.UnavailableError, tf.errors.AbortedError])
def test_what_another_tasks_end_causes_is_retryable(error):
    with (
        pytest.raises(signals.Interruption, match="another task is gone") as caught,
        endings.naming_the_lost(CLUSTER),
    ):
        raise error(None, None, "Connection reset by peer")
    assert caught.value.exit_code == 138


@pytest.mark.parametrize(
    "message",
    [
        "The error could be from a previous operation. Restart your program to reset.",
        "worker 0's current incarnation doesn't match with one in the group",
        "Session was reset",
    ],
)
def test_what_a_stranger_to_the_cluster_causes_is_retryable(message):
    with (
        pytest.raises(signals.Interruption, match=message.split(";")[0][:30]) as caught,
        endings.naming_the_lost(CLUSTER),
    ):
        raise tf.errors.FailedPreconditionError(None, None, message)
    assert caught.value.exit_code == 138


@pytest.mark.parametrize(
    "message", ["Blas GEMM launch failed", "/presets/train-0; No such file", "reset_gate/MatMul"]
)
def test_a_mistake_in_a_program_is_not_retryable(message):
    with pytest.raises(tf.errors.InternalError), endings.naming_the_lost(CLUSTER):
        raise tf.errors.InternalError(None, None, message)


def free_address():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def pair(role, index=0):
    return roles.Task({"chief": (CHIEF,), "worker": (WORKER,)}, role, index)


CHIEF, WORKER = free_address(), free_address()


def test_a_worker_joins_the_chief_of_its_run_and_not_that_of_another(tmp_path, monkeypatch):
    monkeypatch.setattr(endings, "_TRIES", 2)
    ours, other = tmp_path / "ours", tmp_path / "other"
    for folder in (ours, other):
        folder.mkdir()
        status.Recorder(str(folder), False).write("training")
    (tmp_path / "link").symlink_to(ours)  # As a folder that is mounted elsewhere, too.
    with endings.joined(TrainConfig(model_dir=str(ours)), pair("chief")):
        for folder in (ours, tmp_path / "link"):
            with endings.joined(TrainConfig(model_dir=str(folder)), pair("worker")):
                pass
        config = TrainConfig(model_dir=str(other))
        line = rf"chief at {CHIEF} is chief of the run in .*ours .* worker 0 of the run in .*other "
        with (
            pytest.raises(signals.Interruption, match=line) as caught,
            endings.joined(config, pair("worker")),
        ):
            pytest.fail("joined")
    assert caught.value.exit_code == 138


def test_a_task_whose_port_is_taken_does_not_begin(tmp_path, monkeypatch):
    monkeypatch.setattr(ports, "_TRIES", 0)
    host, _, port = CHIEF.rpartition(":")
    config = TrainConfig(model_dir=str(tmp_path))
    with (
        socket.create_server((host, int(port))),
        pytest.raises(InputError, match=f"port {port} of chief at {CHIEF} is in use"),
        endings.joined(config, pair("chief")),
    ):
        pytest.fail("joined")


LOST = signals.Interruption("another worker is gone", 138)


@pytest.mark.parametrize(
    ("record", "code"), [(None, 138), (("done", 0), 0), (("preempted", 143), 143)]
)
def test_one_who_is_cut_off_in_the_last_step_ends_like_the_chief(
    tmp_path, monkeypatch, record, code
):
    monkeypatch.setattr(endings, "_RECORD_SECS", 0)
    follower = status.Follower(str(tmp_path))
    if record:
        status.Recorder(str(tmp_path), False).write(*record)
    found = 0
    try:
        with endings.cut_off(TrainConfig(model_dir=str(tmp_path)), follower):
            raise LOST
    except signals.Interruption as interruption:
        found = interruption.exit_code
    assert found == code


def test_one_who_is_cut_off_after_the_last_step_was_saved_has_lost_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(endings, "_RECORD_SECS", 0)  # The chief evaluates it before it records.
    config = TrainConfig(model_dir=str(tmp_path), max_steps=9)
    save(f"{tmp_path}/model.ckpt-9")
    with endings.cut_off(config, status.Follower(str(tmp_path))):
        raise LOST


def test_where_the_folder_is_lost_too_it_is_the_loss_that_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(endings, "_RECORD_SECS", 0)
    save(f"{tmp_path}/model.ckpt-9")
    (tmp_path / "evaluations.json").write_text("unreadable")
    config = TrainConfig(model_dir=str(tmp_path), max_steps=9)
    follower = status.Follower(str(tmp_path))
    with pytest.raises(signals.Interruption, match="gone"), endings.cut_off(config, follower):
        raise LOST


def test_a_signal_is_nobodys_loss(tmp_path):
    config, follower = TrainConfig(model_dir=str(tmp_path)), status.Follower(str(tmp_path))
    status.Recorder(str(tmp_path), False).write("done", 0)
    with pytest.raises(signals.Interruption, match="SIGTERM"), endings.cut_off(config, follower):
        raise signals.Interruption("SIGTERM", 143)


def test_a_process_on_its_own_has_nobody_to_lose():
    with pytest.raises(tf.errors.AbortedError), endings.naming_the_lost(roles.Task()):
        raise tf.errors.AbortedError(None, None, "what")


def test_a_run_is_complete_at_its_last_step_or_when_nothing_more_is_learned(tmp_path):
    config = TrainConfig(model_dir=str(tmp_path), max_steps=30, early_stop_patience=2)
    evaluations = Evaluations(str(tmp_path))
    assert not endings.is_complete(config, evaluations, 29)
    assert endings.is_complete(config, evaluations, 30)
    for step in (10, 20, 25):
        evaluations.history.append({"global_step": step, "accuracy": 0.5, "loss": 1.0})
    assert endings.is_complete(config, evaluations, 25)
    assert not endings.is_complete(config, evaluations, 20)


def test_a_folder_without_a_whole_checkpoint_is_not_complete(tmp_path):
    config = TrainConfig(model_dir=str(tmp_path), max_steps=1)
    assert not endings.was_complete(config)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-9"\n')
    assert not endings.was_complete(config)


def test_an_evaluation_is_found_by_the_name_of_its_checkpoint(tmp_path, monkeypatch):
    found = {"accuracy": 0.5, "loss": 1.0, "global_step": 22, "checkpoint": "elsewhere"}
    monkeypatch.setattr(evaluator, "_scored", lambda *_: (dict(found), None))
    monkeypatch.setattr(evaluator.hooks, "drop_events_from", lambda *_: None)
    monkeypatch.setattr(checkpoints, "keep_copy", lambda *_: None)
    evaluations = Evaluations(str(tmp_path))
    path = f"{tmp_path}/model.ckpt-20"  # Of asynchronous workers, who went on while it was saved.
    evaluator.evaluate(FakeRun(), TrainConfig(), None, evaluations, path)
    assert evaluations.has(20)
    assert evaluations.best_checkpoint.endswith("best/model.ckpt-20")


class FakeRun:
    def eval_dir(self):
        return ""


class Newest:
    """Stands for a chief that saves: each look finds the next of these steps.

    It keeps so few checkpoints that each is gone by the time at which it is evaluated.
    """

    def __init__(self, monkeypatch, steps, fails=()):
        self.steps, self.evaluated, self.fails = list(steps), [], dict(fails)
        self.seal, self._of_folder = True, checkpoints.newest
        monkeypatch.setattr(evaluator, "_LOOK_SECS", 0)
        monkeypatch.setattr(checkpoints, "newest", self.newest)
        monkeypatch.setattr(evaluator, "evaluate", self.evaluate)

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

    def evaluate(self, run, config, manifest, evaluations, checkpoint):
        step = checkpoints.step_of(checkpoint)
        remove(self.path)
        assert not checkpoints.damage(checkpoint)
        if step in self.fails:
            raise self.fails[step]
        self.evaluated.append(step)
        evaluations.history.append({"global_step": step})


def follow(tmp_path, is_over):
    config = TrainConfig(model_dir=str(tmp_path), max_steps=100)
    evaluations = Evaluations(str(tmp_path))
    evaluator._evaluate_as_they_come(None, config, None, evaluations, is_over)


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
    keep_copy = checkpoints.keep_copy

    def damaged_first(path, folder):
        if not chief.evaluated and path.endswith("-60"):
            (tmp_path / "model.ckpt-60.index").write_bytes(b"damaged")
        keep_copy(path, folder)

    monkeypatch.setattr(checkpoints, "keep_copy", damaged_first)
    follow(tmp_path, chief.is_over)
    assert chief.evaluated == [20, 60]


def test_a_checkpoint_that_is_gone_before_it_was_copied_is_passed_over(tmp_path, monkeypatch):
    chief = Newest(monkeypatch, [20, 60, 100])
    keep_copy = checkpoints.keep_copy

    def late(path, folder):
        if path.endswith("-20"):
            remove(path)
        keep_copy(path, folder)

    monkeypatch.setattr(checkpoints, "keep_copy", late)
    follow(tmp_path, chief.is_over)
    assert chief.evaluated == [60, 100]


def test_a_copy_that_fails_is_tried_again(tmp_path, monkeypatch, capsys):
    chief = Newest(monkeypatch, [20, 20, 20, 20])
    keep_copy, failures = checkpoints.keep_copy, [InputError("no space"), InputError("no space")]

    def failing(path, folder):
        if failures:
            raise failures.pop()
        keep_copy(path, folder)

    monkeypatch.setattr(checkpoints, "keep_copy", failing)
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
