"""Programs written for tf.estimator run with no line changed, and do not without the hook."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support import programs

from mnist_estimator.compat import _versions, tf

BUILT_IN = _versions.release(tf.__version__) < (2, 16)

# Each is a program of its own, as strangers write them.
PROGRAMS = {
    "attributes": """
import tensorflow as tf
assert issubclass(tf.estimator.Estimator, tf.compat.v1.estimator.Estimator)
assert tf.compat.v2.estimator.RunConfig is tf.estimator.RunConfig
for api in (tf.compat.v1.compat.v1, tf.compat.v2.compat.v1):
    assert api.estimator.inputs.numpy_input_fn
for api in (tf.compat.v1.compat.v2, tf.compat.v2.compat.v2):
    assert api.estimator.ModeKeys is tf.estimator.ModeKeys
""",
    "version 1, by its own path": """
from tensorflow.compat.v1 import estimator
import tensorflow.compat.v1 as tf
import tensorflow
assert estimator is tf.estimator is tensorflow.compat.v1.estimator
""",
    "import of the module": """
from tensorflow.estimator import ModeKeys, RunConfig
import tensorflow.estimator.experimental as experimental
import tensorflow.compat.v1.estimator.tpu
import tensorflow as tf
assert RunConfig is tf.estimator.RunConfig and ModeKeys.TRAIN == "train"
assert experimental is tf.estimator.experimental and experimental.make_early_stopping_hook
""",
    "private paths": """
from tensorflow.python.estimator import run_config
from tensorflow.python.estimator.canned import head as old
from tensorflow_estimator.python.estimator.canned import head as new
import tensorflow as tf
assert old._Head is new._Head
assert run_config.RunConfig is tf.estimator.RunConfig
""",
    "generated paths": """
from tensorflow_estimator.python.estimator.api._v1.estimator import inputs
from tensorflow_estimator.python.estimator.api._v2 import estimator
import tensorflow as tf
assert inputs.numpy_input_fn is tf.compat.v1.estimator.inputs.numpy_input_fn
assert estimator is tf.estimator
""",
    "tensorflow_estimator itself": """
import importlib
import tensorflow_estimator
from tensorflow_estimator.python.estimator import estimator_lib
import tensorflow as tf
assert tensorflow_estimator.estimator.Estimator is tf.compat.v1.estimator.Estimator
assert estimator_lib.stop_if_lower_hook is tf.estimator.experimental.stop_if_lower_hook
assert importlib.reload(tensorflow_estimator).estimator.RunConfig is tf.estimator.RunConfig
""",
    "TPUEstimator without a TPU": """
import tempfile
import numpy as np
import tensorflow.compat.v1 as tf

tpu = tf.estimator.tpu

def model_fn(features, labels, mode, params):
    w = tf.get_variable("w", [2, 1], initializer=tf.zeros_initializer())
    y = tf.matmul(features, w)
    if mode == tf.estimator.ModeKeys.PREDICT:
        return tpu.TPUEstimatorSpec(mode, predictions={"y": y})
    loss = tf.reduce_mean(tf.square(y - labels))
    optimizer = tf.tpu.CrossShardOptimizer(tf.train.GradientDescentOptimizer(0.1)) \
        if params.get("use_tpu") else tf.train.GradientDescentOptimizer(0.1)
    return tpu.TPUEstimatorSpec(
        mode,
        loss=loss,
        train_op=optimizer.minimize(loss, tf.train.get_global_step()),
        eval_metrics=(lambda labels: {"label": tf.metrics.mean(labels)}, [labels]),
    )

def input_fn(params):
    example = np.ones(2, "float32"), np.full(1, 4, "float32")
    return tf.data.Dataset.from_tensors(example).repeat(40).batch(
        params["batch_size"], drop_remainder=True
    )

def made(use_tpu):
    with tempfile.TemporaryDirectory() as folder:
        return tpu.TPUEstimator(
            model_fn,
            config=tpu.RunConfig(model_dir=folder, tpu_config=tpu.TPUConfig(2)),
            use_tpu=use_tpu,
            train_batch_size=4,
            eval_batch_size=4,
            predict_batch_size=4,
        )

trained = made(use_tpu=False).train(input_fn, max_steps=8)
# Each step halves the distance from 0 to 4, of two equal weights, by 0.1 * 2 * 2 of it.
assert abs(next(trained.predict(input_fn))["y"][0] - 4 * (1 - 0.6**8)) < 1e-4
assert trained.evaluate(input_fn, steps=2)["label"] == 4
""",
    "a model of Keras": """
import tensorflow as tf
model = tf.keras.Sequential([tf.keras.layers.Dense(1, input_shape=(2,))])
model.compile("sgd", "mse")
assert isinstance(tf.keras.estimator.model_to_estimator(model), tf.estimator.Estimator)
""",
    "removed hook of the input": """
import tensorflow as tf
assert tf.data.experimental.CheckpointInputPipelineHook
assert tf.compat.v1.data.experimental.CheckpointInputPipelineHook
""",
    "removed parameters of TPU embeddings": """
import tensorflow as tf
assert tf.compat.v1.tpu.experimental.AdamParameters(0.1).learning_rate == 0.1
""",
    "removed profiler": """
from tensorflow.python.eager import profiler
assert profiler.start and profiler.stop and profiler.Profiler
""",
    "moved trackables": """
from tensorflow.python.training.tracking import base, graph_view, util
from tensorflow.python.training.tracking.tracking import AutoTrackable
import tensorflow as tf
assert AutoTrackable is tf.__internal__.tracking.AutoTrackable
assert util.Checkpoint is tf.train.Checkpoint
""",
    "moved operations": """
from tensorflow.python.framework import ops
from tensorflow.python.ops import array_ops
from tensorflow.python.training import training_ops
from tensorflow.python.util import nest
assert nest.is_sequence([1]) and not nest.is_sequence(1)
assert array_ops.stack([1, 2]).shape == (2,)
assert ops.register_tensor_conversion_function and training_ops.apply_gradient_descent
""",
    "files in an object store": """
import sys
import tensorflow as tf
assert "obstore" not in sys.modules  # It is imported with the first path.
tf.io.gfile.makedirs("memory://bucket/run")
with tf.io.gfile.GFile("memory://bucket/run/file", "w") as file:
    file.write("text")
assert tf.io.gfile.listdir("memory://bucket/run") == ["file"]
assert "s3" in tf.io.gfile.get_registered_schemes()
""",
    "names of old NumPy": """
import numpy as np
import tensorflow as tf
from numpy import Inf
assert np.float is float and np.float_ is np.float64 and Inf == np.Inf == float("inf")
assert np.quantile([1, 2, 3], 0.6, interpolation="nearest") == 2
""",
}
# What 2.15 has, so that a program needs no hook there.
HAD_BY_2_15 = {
    "attributes",
    "version 1, by its own path",
    "import of the module",
    "private paths",
    "generated paths",
    "tensorflow_estimator itself",
    "TPUEstimator without a TPU",
    "a model of Keras",
    "removed hook of the input",
    "removed parameters of TPU embeddings",
    "removed profiler",
}
# Programs of TensorFlow 1.
PROGRAMS_1 = {
    "the whole of it": """
import tempfile
import numpy as np
import tensorflow as tf

def model_fn(features, labels, mode):
    logits = tf.layers.dense(features["x"], 2)
    loss = tf.losses.sparse_softmax_cross_entropy(labels, logits)
    step = tf.train.get_global_step()
    return tf.estimator.EstimatorSpec(
        mode,
        loss=loss,
        train_op=tf.train.AdamOptimizer(0.1).minimize(loss, step),
        eval_metric_ops={"accuracy": tf.metrics.accuracy(labels, tf.argmax(logits, 1))},
    )

def main(argv):
    tf.logging.set_verbosity(tf.logging.ERROR)
    features, labels = {"x": np.eye(2, dtype="float32")}, np.array([0, 1])
    train = tf.estimator.inputs.numpy_input_fn(features, labels, 2, num_epochs=50, shuffle=False)
    once = tf.estimator.inputs.numpy_input_fn(features, labels, shuffle=False)
    with tempfile.TemporaryDirectory() as folder:
        estimator = tf.estimator.Estimator(model_fn, folder)
        estimator.train(train)
        assert estimator.evaluate(once)["accuracy"] == 1
    main.done = True

if __name__ == "__main__":
    try:
        tf.app.run(main)
    except SystemExit:
        assert main.done
""",
    "parts by their paths": """
import tensorflow.estimator as estimator
from tensorflow import keras
from tensorflow.train import AdamOptimizer
import tensorflow as tf
assert estimator is tf.estimator and estimator.inputs
assert keras is tf.keras and AdamOptimizer is tf.train.AdamOptimizer
assert not tf.executing_eagerly() and tf.Session
""",
    "private Keras": """
from tensorflow.python.keras import models
import tensorflow as tf
model = models.Sequential([tf.keras.layers.Dense(1, input_shape=(2,))])
model.compile(tf.keras.optimizers.RMSprop(0.1), "mse")
estimator = tf.keras.estimator.model_to_estimator(model)
name, = model.input_names
data = lambda: tf.data.Dataset.from_tensors(({name: [[1.0, 1.0]]}, [[1.0]]))
estimator.train(data, steps=1)
""",
    "contrib": """
import tensorflow as tf
from tensorflow.contrib import cluster_resolver, data, tpu
from tensorflow.contrib.training.python.training import hparam
assert hparam.HParams(units=3).parse("units=4").units == 4
assert tf.contrib.training.HParams is hparam.HParams
assert tpu.TPUEstimator is tf.estimator.tpu.TPUEstimator and data.AUTOTUNE
assert tf.contrib.layers.l2_regularizer(0.1)
""",
    "a canned estimator after contrib": """
import tensorflow as tf
column = tf.contrib.layers.real_valued_column("x")
assert tf.estimator.LinearClassifier([column])
""",
    "a library keeps version 2": """
import tensorflow as tf
import importlib
assert importlib.import_module("tensorflow") is not tf
import tf_keras.src.backend as library
assert not hasattr(library.tf.compat.v2, "Session") and library.tf is not tf
"""
    if not BUILT_IN
    else """
import tensorflow as tf
import importlib
assert importlib.import_module("tensorflow") is not tf
""",
}

# Runs each program of a folder, and prints what became of it.
DRIVER = """
import json, pathlib, runpy, sys, traceback
folder, how = sys.argv[1:]
if how != "plain":
    from mnist_estimator import compat
    compat.install(tf1=how == "tf1")
found = {}
for path in sorted(pathlib.Path(folder).iterdir()):
    try:
        runpy.run_path(str(path), run_name="__main__")
        found[path.stem] = ""
    except BaseException:
        found[path.stem] = traceback.format_exc()
print(json.dumps(found))
"""


def outcomes(folder: Path, sources: dict[str, str], how: str) -> dict[str, str]:
    """What became of each program: "", or its traceback. One process runs all of them."""
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(source)
    finished = subprocess.run(
        [sys.executable, "-c", DRIVER, folder, how],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=programs.TIMEOUT_SECS,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def with_hook(tmp_path_factory):
    return outcomes(tmp_path_factory.mktemp("programs"), PROGRAMS, "hook")


@pytest.fixture(scope="module")
def with_version_1(tmp_path_factory):
    return outcomes(tmp_path_factory.mktemp("programs"), PROGRAMS_1, "tf1")


@pytest.fixture(scope="module")
def without_hook(tmp_path_factory):
    return outcomes(tmp_path_factory.mktemp("programs"), PROGRAMS | PROGRAMS_1, "plain")


@pytest.mark.smoke
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_runs_unchanged(name, with_hook):
    assert not with_hook[name], with_hook[name]


@pytest.mark.smoke
@pytest.mark.parametrize("name", PROGRAMS_1)
def test_a_program_of_version_1_runs_unchanged(name, with_version_1):
    assert not with_version_1[name], with_version_1[name]


@pytest.mark.parametrize("name", [*PROGRAMS, *PROGRAMS_1])
def test_without_the_hook_it_does_not(name, without_hook):
    assert (without_hook[name] == "") is (BUILT_IN and name in HAD_BY_2_15)
