"""What `install` brings, in a program of TensorFlow 1."""

from __future__ import annotations

import ast
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from mnist_estimator.compat import contrib as package
from mnist_estimator.compat import estimator_v1, v1

ROOT = pathlib.Path(__file__).resolve().parents[3]

# As programs of its time are, but for the import of TensorFlow, which is compat's work.
PROGRAM = """
import sys
import numpy as np
from mnist_estimator import compat
compat.quiet()
from mnist_estimator.compat import contrib, estimator_v1, v1 as tf
tf.disable_v2_behavior()
contrib.install(tf, estimator_v1)

from tensorflow.contrib import layers
from tensorflow.contrib.framework.python.ops import arg_scope
from tensorflow.contrib.training.python.training.hparam import HParams
from tensorflow.examples.tutorials.mnist import input_data

hparams = HParams(units=4, rate=0.5).parse(sys.argv[2])
mnist = input_data.read_data_sets(sys.argv[1], one_hot=True, validation_size=2)

def model_fn(features, labels, mode, params):
    training = {"is_training": mode == tf.estimator.ModeKeys.TRAIN}
    l2 = layers.l2_regularizer(1e-4)
    with arg_scope([layers.conv2d, layers.fully_connected], weights_regularizer=l2):
        net = tf.reshape(features, [-1, 4, 3, 1])
        net = layers.conv2d(net, params.units, 2, normalizer_fn=layers.batch_norm,
                            normalizer_params=training)
        logits = layers.linear(layers.flatten(net), 10, scope="logits")
    loss = tf.losses.softmax_cross_entropy(labels, logits)
    total = loss + tf.losses.get_regularization_loss()
    train_op = layers.optimize_loss(total, tf.train.get_global_step(), params.rate, "SGD")
    return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train_op)

def input_fn():
    data = tf.data.Dataset.from_tensor_slices((mnist.train.images, mnist.train.labels)).repeat()
    return data.apply(tf.contrib.data.batch_and_drop_remainder(4))

tf.estimator = estimator_v1
config = tf.contrib.learn.RunConfig(model_dir=sys.argv[3], tf_random_seed=1)
estimator = tf.estimator.Estimator(model_fn, config=config, params=hparams)
estimator.train(input_fn, steps=30)
loss = estimator.evaluate(lambda: input_fn().take(2))["loss"]
print(sorted(estimator.get_variable_names()))
moving_mean = estimator.get_variable_value("Conv/BatchNorm/moving_mean")
print("moved", not np.allclose(moving_mean, 0), "loss", loss < 1.5)
"""


@pytest.mark.smoke
def test_a_program_of_tensorflow_1_trains(tmp_path, idx_folder):
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "program.py", str(idx_folder), "units=3", "model"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    names, result = done.stdout.splitlines()
    assert ast.literal_eval(names) == [
        "Conv/BatchNorm/beta",
        "Conv/BatchNorm/moving_mean",
        "Conv/BatchNorm/moving_variance",
        "Conv/weights",
        "OptimizeLoss/learning_rate",
        "global_step",
        "logits/biases",
        "logits/weights",
    ]
    assert result == "moved True loss True"


@pytest.fixture
def idx_folder(tmp_path):
    """The four files, with labels that the images show."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    for part, count in (("train", 22), ("t10k", 4)):
        labels = np.arange(count, dtype=np.uint8) % 4
        images = np.repeat(labels[:, None] * 60, 12, axis=1).astype(np.uint8)
        header = np.array([2051, count, 4, 3], ">u4").tobytes()
        (folder / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        header = np.array([2049, count], ">u4").tobytes()
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())
    return folder


def test_install_twice_gives_the_same_modules(contrib):
    package.install(v1, estimator_v1)
    assert v1.contrib is contrib
    assert sum("_Missing" in type(finder).__name__ for finder in sys.meta_path) == 2
