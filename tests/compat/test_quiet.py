"""Which of the lines that TensorFlow's libraries print are left out."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mnist_estimator.compat import _quiet


def test_start_up_noise_is_left_out_and_errors_are_not(capfd):
    with _quiet.without_noise(_quiet.START_UP_NOISE):
        os.write(2, b"E0000 cuda_dnn.cc:8579] Unable to register cuDNN factory: Attempting ...\n")
        os.write(2, b"E0000 other.cc:1] Something is wrong\n")
        os.write(2, b"I0000 port.cc:153] oneDNN custom operations are on. ...\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "E0000 other.cc:1] Something is wrong\nafter\n"


@pytest.fixture
def state(monkeypatch):
    """What this process has asked for, restored after the test."""
    monkeypatch.setattr(_quiet._State, "asked", False)
    monkeypatch.setattr(_quiet._State, "shows_all", False)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "")  # So that what a test sets is undone after it.
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # As if it were not imported yet.
    return monkeypatch


@pytest.mark.parametrize(("level", "expected"), [(None, "2"), ("0", "0"), ("1", "1"), ("3", "3")])
def test_a_log_level_that_the_user_has_set_stays(state, level, expected):
    if level:
        state.setenv("TF_CPP_MIN_LOG_LEVEL", level)
    assert not _quiet.is_asked()
    _quiet.quiet()
    assert _quiet.is_asked()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == expected


@pytest.mark.parametrize(("level", "asks"), [("2", False), ("0", True)])
def test_nothing_is_left_out_if_nobody_asked_or_at_level_0(state, capfd, level, asks):
    state.setenv("TF_CPP_MIN_LOG_LEVEL", level)
    if asks:
        _quiet.quiet()
    state.setattr(subprocess, "Popen", pytest.fail)
    with _quiet.without_noise("."):
        os.write(2, b"noise\n")
    assert capfd.readouterr().err == "noise\n"


def test_without_grep_everything_is_printed(state, capfd):
    _quiet.quiet()
    state.setenv("PATH", "")
    with _quiet.without_noise("."):
        os.write(2, b"noise\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "noise\nafter\n"
