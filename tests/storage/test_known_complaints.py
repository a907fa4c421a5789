"""What users of TensorFlow have reported about object stores, each as a test against a real server.

TensorBoard on s3:// is in test_tensorboard.py.
"""

from __future__ import annotations

import concurrent.futures
import sys

import numpy as np
import obstore
import pytest
from support import programs

from mnist_estimator import RunError
from mnist_estimator.compat import estimator, tf, v1
from mnist_estimator.storage import _moving, _objects, _paths, _stores

gfile = tf.io.gfile


def model_fn(features, labels, mode):
    """A line through 0; its slope is found in a few steps."""
    slope = v1.get_variable("slope", [], initializer=v1.zeros_initializer())
    found = {"y": slope * features["x"]}
    if mode == estimator.ModeKeys.PREDICT:
        outputs = {"serving_default": estimator.export.PredictOutput(found)}
        return estimator.EstimatorSpec(mode, predictions=found, export_outputs=outputs)
    loss = tf.reduce_mean(tf.square(found["y"] - labels))
    step = v1.train.get_global_step()
    return estimator.EstimatorSpec(
        mode, loss=loss, train_op=v1.train.GradientDescentOptimizer(0.1).minimize(loss, step)
    )


def input_fn():
    example = {"x": np.ones(4, "float32")}, np.full(4, 3, "float32")
    return tf.data.Dataset.from_tensors(example).repeat(8)


def receiver_fn():
    x = v1.placeholder(tf.float32, [None], name="x")
    return estimator.export.ServingInputReceiver({"x": x}, {"x": x})


# As a server of models or a notebook would, that has never seen the training program.
LOADER = """
import sys
import tensorflow as tf
from mnist_estimator import storage

storage.install()
folder = sys.argv[1]
served = tf.saved_model.load(folder).signatures["serving_default"]
print(float(served(x=tf.constant([2.0]))["y"][0]))
with tf.compat.v1.Session(graph=tf.Graph()) as session:
    tf.compat.v1.saved_model.load(session, ["serve"], folder)
    print(float(session.run("mul:0", {"x:0": [2.0]})[0]))
"""


def test_best_exporter_trains_to_s3_and_a_plain_process_loads_it(bucket, tmp_path):
    """tensorflow#60165: it renames a folder when it is done, and deletes those of before."""
    model_dir = f"{bucket}/run"
    trained = estimator.Estimator(
        model_fn, model_dir, config=estimator.RunConfig(save_checkpoints_steps=4, tf_random_seed=1)
    )
    exporter = estimator.BestExporter(
        serving_input_receiver_fn=receiver_fn, exports_to_keep=1, as_text=False
    )
    evaluate = estimator.EvalSpec(
        input_fn, steps=1, throttle_secs=0, start_delay_secs=0, exporters=exporter
    )
    estimator.train_and_evaluate(trained, estimator.TrainSpec(input_fn, max_steps=8), evaluate)
    # Each step takes the error times 0.8.
    slope = 3 * (1 - 0.8**8)
    assert trained.get_variable_value("slope") == pytest.approx(slope, rel=1e-5)
    exports = f"{model_dir}/export/best_exporter"
    (export,) = gfile.listdir(exports)
    assert export.isdigit()
    (tmp_path / "load.py").write_text(LOADER)
    done = programs.run_forked([sys.executable, tmp_path / "load.py", f"{exports}/{export}"])
    assert done.returncode == 0, done.stderr
    assert [float(line) for line in done.stdout.split()] == pytest.approx([2 * slope] * 2, rel=1e-5)


@pytest.fixture
def small_limit(monkeypatch):
    """A store that copies objects of at most 1,000 bytes by itself, as S3 does up to 5 GB."""
    copy = _objects.copy_within

    def copy_within(source, target):
        if _objects.head(source)["size"] > 1000:
            raise RunError("EntityTooLarge: the specified copy source is larger than the maximum")
        copy(source, target)

    monkeypatch.setattr(_objects, "COPY_LIMIT_BYTES", 1000)
    monkeypatch.setattr(_objects, "copy_within", copy_within)
    assert _moving._objects is _objects


@pytest.mark.parametrize("size", [1000, 1001])
def test_an_object_that_s3_does_not_copy_is_moved_all_the_same(size, bucket, small_limit):
    content = np.random.default_rng(size).bytes(size)
    with gfile.GFile(f"{bucket}/old/file", "wb") as file:
        file.write(content)
    gfile.copy(f"{bucket}/old/file", f"{bucket}/old/copy")
    gfile.rename(f"{bucket}/old", f"{bucket}/new")
    assert sorted(gfile.listdir(f"{bucket}/new")) == ["copy", "file"]
    for name in ("copy", "file"):
        assert gfile.GFile(f"{bucket}/new/{name}", "rb").read() == content
        assert not gfile.exists(f"{bucket}/old/{name}")


def test_a_folder_of_10_000_objects_is_listed_matched_and_deleted_whole(tmp_path):
    check_folder(f"memory://{tmp_path.name}/folder", 10_000)


def test_a_folder_of_more_than_one_page_is_so_on_a_server(bucket):
    check_folder(f"{bucket}/folder", 1_100)


def check_folder(folder, count):
    location = _paths.parse(folder)
    store = _stores.of(location)
    names = [f"{number:05}" for number in range(count)]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: obstore.put(store, location.below(name).key, b"x"), names))
    obstore.put(store, f"{location.key}-beside", b"x")
    assert sorted(gfile.listdir(folder)) == names
    assert sorted(gfile.glob(f"{folder}/*7")) == [f"{folder}/{name}" for name in names[7::10]]
    gfile.rmtree(folder)
    assert not gfile.exists(folder) and gfile.exists(f"{folder}-beside")
