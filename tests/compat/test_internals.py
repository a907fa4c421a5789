"""What is changed in TensorFlow 1's classes: how workers look, where events go, what is saved."""

from __future__ import annotations

import os

import pytest

from mnist_estimator.compat import _internals, tf, v1


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


def test_a_saved_model_has_the_graph_as_it_was_changed(tmp_path):
    folder = str(tmp_path / "saved")
    with tf.Graph().as_default(), v1.Session() as session:
        tf.constant(1, name="before")
        builder = v1.saved_model.Builder(folder)
        builder.add_meta_graph_and_variables(session, ["serve"])
    graph = _internals.graph_to_save(builder)
    (node,) = [node for node in graph.graph_def.node if node.name == "before"]
    node.name = "after"
    builder.save()
    with tf.Graph().as_default() as loaded, v1.Session() as session:
        v1.saved_model.load(session, ["serve"], folder)
        assert [op.name for op in loaded.get_operations() if op.type == "Const"] == ["after"]
