"""The profiler by its old name: one profile at a time, in files that TensorBoard reads."""

from __future__ import annotations

import importlib

import pytest

from mnist_estimator.compat import tf

# Once `tf` has been imported from compat, which chooses Keras.
eager_profiler = importlib.import_module("mnist_estimator.compat.eager_profiler")


def test_a_block_is_profiled_into_a_file_that_names_its_operations(tmp_path):
    for _ in range(2):
        with eager_profiler.Profiler(str(tmp_path)):
            tf.linalg.matmul(tf.ones([8, 8]), tf.ones([8, 8])).numpy()
    profiles = [*tmp_path.glob("plugins/profile/*/*")]
    assert {path.name.partition(".")[2] for path in profiles} == {"xplane.pb"}
    assert b"MatMul" in profiles[0].read_bytes()
    assert len([*tmp_path.glob("events.out.tfevents.*.profile-empty")]) == 1


def test_one_profile_at_a_time():
    with pytest.raises(eager_profiler.ProfilerNotRunningError, match="call start"):
        eager_profiler.stop()
    eager_profiler.start()
    try:
        with pytest.raises(eager_profiler.ProfilerAlreadyRunningError, match="call stop"):
            eager_profiler.start()
    finally:
        assert isinstance(eager_profiler.stop(), bytes)
    eager_profiler.start({"host_tracer_level": 1})
    eager_profiler.stop()


def test_a_profile_that_another_part_of_the_program_takes(tmp_path):
    tf.profiler.experimental.start(str(tmp_path))
    try:
        with pytest.raises(eager_profiler.ProfilerAlreadyRunningError, match="another part"):
            eager_profiler.start()
    finally:
        tf.profiler.experimental.stop(save=False)
    eager_profiler.start()  # The one that failed is not in the way.
    eager_profiler.stop()


def test_the_server_starts(monkeypatch):
    ports = []
    monkeypatch.setattr(tf.profiler.experimental.server, "start", ports.append)
    eager_profiler.start_profiler_server(6009)
    assert ports == [6009]


def test_its_names_are_those_of_2_15():
    names = {"Profiler", "ProfilerAlreadyRunningError", "ProfilerNotRunningError", "save", "start"}
    names |= {"stop", "start_profiler_server", "maybe_create_event_file"}
    assert not [name for name in names if not hasattr(eager_profiler, name)]
