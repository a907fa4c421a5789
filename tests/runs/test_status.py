"""The record of how a run stands, and how it ends for those that follow it."""

from __future__ import annotations

import contextlib
import datetime
import json
import signal

import pytest

from mnist_estimator import InputError, RunError
from mnist_estimator.compat import tf
from mnist_estimator.runs import status
from mnist_estimator.runtime import signals

RECORD = json.dumps(
    {
        "state": "done",
        "exit_code": 0,
        "step": 5,
        "reason": "",
        "run": "a",
        "time": "2026-01-02T03:04:05.678+00:00",
        "has_evaluator": False,
    }
)


def test_a_filesystem_that_fails_now_has_no_record_yet(tmp_path, monkeypatch):
    def read_bytes(path, most):
        raise tf.errors.UnavailableError(None, None, "try again")

    monkeypatch.setattr(status, "read_bytes", read_bytes)
    assert status.read(str(tmp_path)) is None


def test_a_record_is_read(tmp_path):
    (tmp_path / "status.json").write_text(RECORD)
    assert status.read(str(tmp_path)).step == 5


def test_a_folder_without_a_record_has_none(tmp_path):
    assert status.read(str(tmp_path)) is None
    assert status.Follower(str(tmp_path)).ended() is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        '{"state": "done"}',
        b"\xff",
        '{"state": "lunch"}',
        RECORD.replace("2026-", "in "),
        RECORD.replace("done", "lunch"),
        RECORD.replace('"done"', "[]"),
        RECORD.replace('"exit_code": 0', '"exit_code": "0"'),
        RECORD.replace('"exit_code": 0', '"exit_code": true'),
        RECORD.replace('"exit_code": 0', '"exit_code": 256'),
        RECORD.replace('"step": 5', '"step": 5.5'),
        RECORD.replace('"step": 5', '"step": -1'),
        RECORD.replace('"reason": ""', '"reason": null'),
        RECORD.replace("false", '"no"'),
        RECORD.replace("2026-01-02T03:04:05.678+00:00", "0001-01-01T00:00:00+14:00"),
        RECORD.replace("{", '{"later": 1, '),
        "[" * 100_000,
        "1" * 5000,
        " " * 2**20 + RECORD,
    ],
)
def test_what_is_no_record_counts_as_none(tmp_path, text):
    (tmp_path / "status.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert status.read(str(tmp_path)) is None


def test_no_password_is_recorded(tmp_path):
    with contextlib.suppress(RunError), status.record_outcome(str(tmp_path)):
        raise RunError("https://me:hunter2@host/data?sig=hunter2: is gone")
    assert status.read(str(tmp_path)).reason == "https://host/data is gone"


@pytest.mark.parametrize(
    ("error", "state", "code", "reason"),
    [
        (signals.Interruption("SIGTERM", 143), "preempted", 143, "SIGTERM"),
        (signals.Interruption("SIGINT", 130), "interrupted", 130, "SIGINT"),
        (signals.Interruption("worker 0 is gone", 138), "lost", 138, "worker 0 is gone"),
        (RunError("loss\nis nan"), "failed", 1, "loss is nan"),
        (InputError("--flag: no"), "failed", 2, "--flag: no"),
        (OSError("no disk"), "failed", 2, "no disk"),
        (KeyError("x"), "failed", 1, "'x'"),
    ],
)
def test_whatever_ends_the_chief_is_recorded(tmp_path, error, state, code, reason):
    with pytest.raises(type(error)), status.record_outcome(str(tmp_path)):
        assert status.read(str(tmp_path)).is_training
        raise error
    found = status.read(str(tmp_path))
    assert (found.state, found.exit_code, found.reason) == (state, code, reason)
    assert not found.is_training


def test_followers_see_the_end(tmp_path):
    follower = status.Follower(str(tmp_path))
    with status.record_outcome(str(tmp_path), has_evaluator=True) as recorder:
        assert follower.ended() is None
        assert follower.now().has_evaluator
        recorder.write(status.TRAINED, exit_code=0)
        assert follower.ended().state == "trained"
        recorder.write(status.DONE, exit_code=0)
    assert follower.ended().state == "done"


def test_an_earlier_end_is_none(tmp_path):
    with status.record_outcome(str(tmp_path)) as recorder:
        recorder.write(status.DONE, exit_code=0)
    follower = status.Follower(str(tmp_path))
    assert follower.ended() is None
    with status.record_outcome(str(tmp_path)) as recorder:
        assert follower.ended() is None
        recorder.write(status.DONE, exit_code=0)
        assert follower.ended().state == "done"


def test_a_chief_that_fails_while_a_task_starts_has_ended_for_it(tmp_path):
    began = datetime.datetime.now().astimezone()
    with pytest.raises(InputError), status.record_outcome(str(tmp_path)):
        raise InputError("no data")
    assert status.Follower(str(tmp_path), since=began).ended().reason == "no data"
    # That failure is an earlier start's for whoever begins only now.
    later = datetime.datetime.now().astimezone() + datetime.timedelta(seconds=1)
    assert status.Follower(str(tmp_path), since=later).ended() is None


def test_a_chief_that_comes_back_has_not_ended_for_a_task_that_starts(tmp_path):
    began = datetime.datetime.now().astimezone()
    with pytest.raises(signals.Interruption), status.record_outcome(str(tmp_path)):
        raise signals.Interruption("worker 0 is gone", signals.EXIT_LOST)
    assert status.Follower(str(tmp_path), since=began).ended() is None


def test_a_run_keeps_its_name_and_each_start_has_a_record_of_its_own(tmp_path):
    found = []
    for folder in (tmp_path / "a", tmp_path / "a", tmp_path / "b"):
        folder.mkdir(exist_ok=True)
        with status.record_outcome(str(folder)):
            found.append(status.read(str(folder)))
    assert found[0].run_name == found[1].run_name != found[2].run_name
    assert found[0] != found[1]


def test_a_disk_that_is_full_does_not_hide_the_error(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(RunError, match="loss"), status.record_outcome(str(folder)):
        (folder / "status.json").unlink()
        folder.rmdir()
        raise RunError("loss is nan")


@pytest.mark.parametrize(
    ("code", "state"), [(143, "preempted"), (130, "interrupted"), (129, "interrupted")]
)
def test_a_signal_is_recorded_by_what_it_meant(code, state, tmp_path):
    with pytest.raises(signals.Interruption), status.record_outcome(str(tmp_path)):
        raise signals.Interruption("SIGNAL", code)
    found = status.read(str(tmp_path))
    assert (found.state, found.exit_code, found.reason) == (state, code, "SIGNAL")


def test_an_error_that_replaces_an_interruption_is_recorded_as_one(tmp_path):
    with (
        pytest.raises(signals.Interruption),
        signals.handled(restore=True),
        status.record_outcome(str(tmp_path)),
    ):
        try:
            signal.raise_signal(signal.SIGTERM)
        except signals.Interruption:
            raise KeyError("lost") from None
    found = status.read(str(tmp_path))
    assert (found.state, found.exit_code) == ("preempted", 143)
    assert found.reason == "SIGTERM, then KeyError: 'lost'"


def test_a_failure_before_a_task_started_is_told_until_a_chief_begins(tmp_path):
    with pytest.raises(InputError), status.record_outcome(str(tmp_path)):
        raise InputError("no data")
    when = status.read(str(tmp_path)).written.isoformat(sep=" ", timespec="seconds")
    follower = status.Follower(str(tmp_path))
    expected = f"the chief's last start failed, recorded at {when}: no data"
    assert follower.earlier_failure() == expected
    status.Recorder(str(tmp_path), False).write(status.TRAINING)
    assert follower.earlier_failure() == ""


@pytest.mark.parametrize("code", [0, 143])
def test_another_end_before_a_task_started_is_no_failure(tmp_path, code):
    status.Recorder(str(tmp_path), False).write(status.DONE, exit_code=code)
    assert status.Follower(str(tmp_path)).earlier_failure() == ""
    assert status.Follower(str(tmp_path / "none")).earlier_failure() == ""
