"""What is changed in TensorFlow 1's classes: how often a worker looks, where events are written."""

from __future__ import annotations

import os

import pytest

from mnist_estimator.compat import _internals, v1


def test_a_worker_looks_for_variables_as_often_as_the_last_call_says(monkeypatch):
    manager = v1.train.SessionManager
    monkeypatch.setattr(manager, "__init__", vars(manager)["__init__"])  # Restored afterwards.
    for secs in (2.0, 0.5):
        _internals.look_for_variables_every(secs)
        assert manager(graph=None)._recovery_wait_secs == secs
    assert manager(recovery_wait_secs=7)._recovery_wait_secs == 7


@pytest.mark.parametrize("prefix", ["", "mine"])
def test_the_events_of_a_folder_have_one_writer(tmp_path, prefix):
    folder = str(tmp_path / "events")
    prefix = prefix and f"{folder}/{prefix}"
    writer = _internals.event_writer(folder, prefix)
    writer.add_summary(v1.Summary(), 1)
    writer.flush()
    assert _internals.event_writer(folder, prefix) is writer
    assert _internals.event_writer(folder, f"{folder}/other") is writer
    writer.close()
    (name,) = os.listdir(folder)
    assert name.startswith("mine.out.tfevents." if prefix else "events.out.tfevents.")
