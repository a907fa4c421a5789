"""The filesystems in TensorFlow."""

import ctypes
import os
import secrets
import subprocess
import sys

import numpy as np
import pytest

from mnist_estimator import InputError, storage
from mnist_estimator.compat import tf
from mnist_estimator.storage import _abi, _gs, _plugin

pytestmark = pytest.mark.skipif(not _abi.shim_path(), reason="the part in C needs a compiler")
gfile, errors = tf.io.gfile, tf.errors


@pytest.fixture
def folder():
    """A folder of a new bucket in memory."""
    storage.install()
    return f"memory://{secrets.token_hex(4)}/d"


def run(code, **environment):
    """Run a program in a process of its own, which must end in time."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_it_is_installed_once_and_for_all_schemes(folder):
    assert storage.install() >= {"s3", "az", "abfs", "abfss", "https", "memory"}
    assert storage.install() == storage.install()
    assert storage.is_ours(folder) and storage.is_ours("s3://b/a")
    assert not storage.is_ours("/tmp/a") and not storage.is_ours("gs://b/a")


def test_gs_cannot_be_had_any_more_and_that_is_said(folder, monkeypatch):
    with pytest.raises(InputError, match="before TensorFlow is imported"):
        storage.install(gs=True)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "127.0.0.1:1")
    with pytest.raises(InputError, match="gs://"):
        storage.install_for("gs://b/a")
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    storage.install_for("gs://b/a")
    assert not _gs.emulator()


@pytest.mark.parametrize("missing", ["obstore", "the part in C"])
def test_gs_is_left_to_tensorflow_where_something_is_missing(missing, monkeypatch):
    if missing == "obstore":
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    else:
        monkeypatch.setattr(_abi, "shim_path", lambda: None)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "127.0.0.1:1")
    monkeypatch.setattr(_gs, "reserve", lambda: pytest.fail("then nobody would serve gs://"))
    storage.before_tensorflow("gs://bucket")


def test_where_the_part_in_c_was_not_built_the_way_out_is_said(monkeypatch):
    monkeypatch.setattr(_plugin, "_served", set())
    monkeypatch.setattr(_abi, "shim_path", lambda: None)
    with pytest.raises(InputError, match="gcc.*pip install --force-reinstall") as raised:
        storage.install_for("/local", "memory://b/a")
    assert "\n" not in str(raised.value)
    storage.install_for("/local", "", "gs://b/a")


def test_files_and_folders(folder):
    gfile.makedirs(f"{folder}/e")
    assert gfile.isdir(f"{folder}/e") and gfile.listdir(f"{folder}/e") == []
    with gfile.GFile(f"{folder}/e/a.txt", "w") as file:
        file.write("one\ntwo\n")
    with gfile.GFile(f"{folder}/e/a.txt", "a") as file:
        file.write("three\n")
    with gfile.GFile(f"{folder}/e/a.txt") as file:
        assert file.size() == 14 and file.readlines() == ["one\n", "two\n", "three\n"]
        file.seek(4)
        assert file.read(3) == "two" and file.tell() == 7
    assert gfile.glob(f"{folder}/*/*.txt") == [f"{folder}/e/a.txt"]
    assert gfile.stat(f"{folder}/e/a.txt").length == 14
    assert list(gfile.walk(folder)) == [(folder, ["e"], []), (f"{folder}/e", [], ["a.txt"])]
    gfile.copy(f"{folder}/e/a.txt", f"{folder}/b")
    gfile.rename(f"{folder}/e", f"{folder}/f")
    assert sorted(gfile.listdir(folder)) == ["b", "f"]
    gfile.rmtree(folder)
    assert not gfile.exists(folder)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda path: gfile.GFile(path).read(), errors.NotFoundError),
        (lambda path: gfile.listdir(path), errors.NotFoundError),
        (lambda path: gfile.remove(path), errors.NotFoundError),
        (lambda path: gfile.stat(f"{path}/../b"), errors.InvalidArgumentError),
        (lambda path: gfile.GFile("https://127.0.0.1:1/a", "w").write("x"), errors.OpError),
        (lambda path: gfile.mkdir("https://127.0.0.1:1/a"), errors.UnimplementedError),
        (lambda path: storage.write_if(path, b"x", "{}"), storage.ChangedError),
    ],
)
def test_errors_are_tensorflow_s(folder, call, error):
    with pytest.raises(error):
        call(f"{folder}/no")


def test_files_over_others(folder):
    for name in ("a", "b"):
        with gfile.GFile(f"{folder}/{name}", "w") as file:
            file.write(name)
    with pytest.raises(errors.AlreadyExistsError):
        gfile.rename(f"{folder}/a", f"{folder}/b")
    with pytest.raises(errors.FailedPreconditionError):
        gfile.remove(folder)
    with pytest.raises(errors.FailedPreconditionError):
        gfile.GFile(folder, "w").write("x")
    gfile.rename(f"{folder}/a", f"{folder}/b", overwrite=True)
    assert gfile.GFile(f"{folder}/b").read() == "a" and not gfile.exists(f"{folder}/a")


def test_records_checkpoints_and_a_saved_model(folder):
    records = [secrets.token_bytes(1000) for _ in range(3000)]
    with tf.io.TFRecordWriter(f"{folder}/r") as writer:
        for record in records:
            writer.write(record)
    found = tf.data.TFRecordDataset(f"{folder}/r", buffer_size=65_536)
    assert [record.numpy() for record in found] == records

    values = np.arange(3_000_000, dtype="f4")
    variable = tf.Variable(values)
    path = tf.train.Checkpoint(v=variable).save(f"{folder}/ck/m")
    assert tf.train.latest_checkpoint(f"{folder}/ck") == path
    variable.assign(tf.zeros_like(variable))
    tf.train.Checkpoint(v=variable).restore(path).assert_consumed()
    assert np.array_equal(variable.numpy(), values)
    assert ("v/.ATTRIBUTES/VARIABLE_VALUE", [3_000_000]) in tf.train.list_variables(path)

    module = tf.Module()
    module.v = tf.Variable([2.0])
    module.double = tf.function(lambda x: x * module.v, input_signature=[tf.TensorSpec([1])])
    tf.saved_model.save(module, f"{folder}/saved")
    assert tf.saved_model.load(f"{folder}/saved").double([3.0]).numpy() == [6.0]


def test_events_are_read_by_tensorboard_while_they_are_written(folder, monkeypatch):
    from tensorboard.backend.event_processing import event_accumulator

    from mnist_estimator.storage import _writing

    monkeypatch.setattr(_writing, "SMALL_BYTES", 2000)
    writer = tf.summary.create_file_writer(folder)
    everything = {event_accumulator.TENSORS: 0}
    accumulator = event_accumulator.EventAccumulator(folder, size_guidance=everything)
    for step in range(100):
        with writer.as_default():
            tf.summary.scalar("loss", float(step), step=step)
        if step % 10 == 9:
            writer.flush()
            found = accumulator.Reload().Tensors("loss")
            assert [event.step for event in found] == list(range(step + 1))
    writer.close()
    assert len(gfile.listdir(folder)) > 3


def test_numbers_of_a_closed_gate_are_not_used_before(folder):
    shim = _plugin._kept[0]
    assert isinstance(shim, ctypes.CDLL) and len(_plugin._kept) == 4


TOGETHER = """
import faulthandler, threading, sys
faulthandler.dump_traceback_later(200, exit=True)
from mnist_estimator import storage
storage.before_tensorflow("gs://b/a")
import tensorflow as tf
storage.install()
folder, failed = "memory://b", []
v1 = tf.compat.v1

def records(n):
    with tf.io.TFRecordWriter(f"{folder}/r{n}") as writer:
        for _ in range(200):
            writer.write(b"x" * 20_000)
    files = tf.data.Dataset.from_tensor_slices([f"{folder}/r{i}" for i in range(3)] * 2)
    def read(name):
        found = tf.data.TFRecordDataset(name)
        return found.map(lambda x: tf.py_function(lambda y: len(y.numpy()), [x], tf.int64), 2)
    names = [f"{folder}/r{n}"] * 4
    data = tf.data.Dataset.from_tensor_slices(names).interleave(read, 4, num_parallel_calls=4)
    assert sum(1 for _ in data.prefetch(4)) == 800

def checkpoints(n):
    v = tf.Variable(tf.ones([200_000]))
    path = tf.train.Checkpoint(v=v).write(f"{folder}/ck{n}/m")
    for _ in range(10):
        tf.train.Checkpoint(v=v).read(path).assert_consumed()
        reader = tf.train.load_checkpoint(path)
        assert reader.get_tensor("v/.ATTRIBUTES/VARIABLE_VALUE").sum() == 200_000

def summaries(n):
    new = tf.summary.create_file_writer(f"{folder}/new{n}")
    with tf.Graph().as_default():
        old = v1.summary.FileWriter(f"{folder}/old{n}", flush_secs=1)
    for step in range(200):
        with new.as_default():
            tf.summary.scalar("a", 1.0, step=step)
        old.add_summary(v1.Summary(value=[v1.Summary.Value(tag="a", simple_value=1)]), step)
        if step % 20 == 0:
            new.flush(), old.flush()
    new.close(), old.close()

def files(n):
    for i in range(60):
        with tf.io.gfile.GFile(f"{folder}/f{n}/{i}", "w") as file:
            file.write("x" * 1000)
        tf.io.gfile.glob(f"{folder}/*/*"), tf.io.gfile.listdir(folder)
        tf.io.gfile.rename(f"{folder}/f{n}/{i}", f"{folder}/f{n}/y{i}")

def guarded(job, n):
    try:
        job(n)
    except BaseException as error:
        failed.append(repr(error))

jobs = [(job, n) for job in (records, checkpoints, summaries, files) for n in range(2)]
threads = [threading.Thread(target=guarded, args=each) for each in jobs]
[thread.start() for thread in threads]
[thread.join(180) for thread in threads]
assert not failed, failed
assert not any(thread.is_alive() for thread in threads)
print("together", len(tf.io.gfile.glob(f"{folder}/f*/y*")))

# It ends with files open, and with threads of TensorFlow's in the middle of calls.
left = tf.io.gfile.GFile(f"{folder}/left", "w"); left.write("x")
writer = tf.summary.create_file_writer(f"{folder}/open")
with writer.as_default():
    tf.summary.scalar("a", 1.0, step=1)
data = iter(tf.data.Dataset.from_tensors(0).repeat().map(
    lambda x: tf.io.read_file(f"{folder}/f0/y1"), 2).prefetch(8))
next(data)
"""


def test_input_checkpoints_summaries_and_files_go_together_and_end():
    done = run(TOGETHER)
    assert done.stdout == "together 120\n", done.stderr[-3000:]
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr and "Fatal" not in done.stderr


LIGHT = """
import sys
import mnist_estimator.storage as storage
storage.install_for("/tmp/a", "gs://b/a", "")
assert not storage.is_ours("/tmp/a")
print({"tensorflow", "obstore", "numpy", "ctypes"} & set(sys.modules))
"""


def test_not_used_it_imports_nothing():
    assert run(LIGHT).stdout == "set()\n"
