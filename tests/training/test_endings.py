"""How a task ends that is not the chief."""

from __future__ import annotations

import pytest
from support.saved import save

from mnist_estimator.cluster import roles
from mnist_estimator.compat import tf
from mnist_estimator.config import TrainConfig
from mnist_estimator.runs import status
from mnist_estimator.runtime import signals
from mnist_estimator.training import endings


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
        endings.exit_when_peer_lost(CLUSTER),
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
        endings.exit_when_peer_lost(CLUSTER),
    ):
        raise tf.errors.FailedPreconditionError(None, None, message)
    assert caught.value.exit_code == 138


@pytest.mark.parametrize(
    "message", ["Blas GEMM launch failed", "/presets/train-0; No such file", "reset_gate/MatMul"]
)
def test_a_mistake_in_a_program_is_not_retryable(message):
    with pytest.raises(tf.errors.InternalError), endings.exit_when_peer_lost(CLUSTER):
        raise tf.errors.InternalError(None, None, message)


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
        with endings.ignore_loss_after_chief(TrainConfig(model_dir=str(tmp_path)), follower):
            raise LOST
    except signals.Interruption as interruption:
        found = interruption.exit_code
    assert found == code


def test_one_who_is_cut_off_after_the_last_step_was_saved_has_lost_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(endings, "_RECORD_SECS", 0)  # The chief evaluates it before it records.
    config = TrainConfig(model_dir=str(tmp_path), max_steps=9)
    save(f"{tmp_path}/model.ckpt-9")
    with endings.ignore_loss_after_chief(config, status.Follower(str(tmp_path))):
        raise LOST


def test_where_the_folder_is_lost_too_it_is_the_loss_that_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(endings, "_RECORD_SECS", 0)
    save(f"{tmp_path}/model.ckpt-9")
    (tmp_path / "evaluations.json").write_text("unreadable")
    config = TrainConfig(model_dir=str(tmp_path), max_steps=9)
    follower = status.Follower(str(tmp_path))
    with (
        pytest.raises(signals.Interruption, match="gone"),
        endings.ignore_loss_after_chief(config, follower),
    ):
        raise LOST


def test_a_signal_is_nobodys_loss(tmp_path):
    config, follower = TrainConfig(model_dir=str(tmp_path)), status.Follower(str(tmp_path))
    status.Recorder(str(tmp_path), False).write("done", 0)
    with (
        pytest.raises(signals.Interruption, match="SIGTERM"),
        endings.ignore_loss_after_chief(config, follower),
    ):
        raise signals.Interruption("SIGTERM", 143)


def test_a_process_on_its_own_has_nobody_to_lose():
    with pytest.raises(tf.errors.AbortedError), endings.exit_when_peer_lost(roles.Task()):
        raise tf.errors.AbortedError(None, None, "what")
