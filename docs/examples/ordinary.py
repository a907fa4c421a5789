"""An ordinary Estimator program: trains a network on digits and prints its accuracy.

python ordinary.py MODEL_DIR
"""

import gzip
import sys
from importlib import resources

import numpy as np

from mnist_estimator import compat

compat.install()
import tensorflow as tf

SAMPLE = resources.files("mnist_estimator") / "sample"


def digits(name):
    """Images float32 [n,28,28,1] from 0 to 1, and labels int32 [n]."""
    images, labels = (
        np.frombuffer(gzip.decompress((SAMPLE / f"{name}-{kind}-ubyte.gz").read_bytes()), np.uint8)
        for kind in ("images-idx3", "labels-idx1")
    )
    return images[16:].reshape(-1, 28, 28, 1) / np.float32(255), labels[8:].astype(np.int32)


def train_input():
    images, labels = digits("train")
    dataset = tf.data.Dataset.from_tensor_slices(({"image": images}, labels))
    return dataset.shuffle(4000).repeat().batch(32)


def test_input():
    images, labels = digits("t10k")
    return tf.data.Dataset.from_tensor_slices(({"image": images}, labels)).batch(200)


def dense(values, units, name):
    with tf.compat.v1.variable_scope(name):
        kernel = tf.compat.v1.get_variable("kernel", [values.shape[1], units])
        bias = tf.compat.v1.get_variable("bias", [units], initializer=tf.zeros_initializer)
        return values @ kernel + bias


def model_fn(features, labels, mode):
    kernel = tf.compat.v1.get_variable("conv/kernel", [5, 5, 1, 8])
    hidden = tf.nn.relu(tf.nn.conv2d(features["image"], kernel, strides=2, padding="SAME"))
    hidden = tf.nn.relu(dense(tf.reshape(hidden, [-1, 14 * 14 * 8]), 64, "dense"))
    if mode == tf.estimator.ModeKeys.TRAIN:
        hidden = tf.nn.dropout(hidden, 0.4)
    logits = dense(hidden, 10, "logits")
    loss = tf.compat.v1.losses.sparse_softmax_cross_entropy(labels, logits)
    if mode == tf.estimator.ModeKeys.EVAL:
        accuracy = tf.compat.v1.metrics.accuracy(labels, tf.argmax(logits, 1))
        return tf.estimator.EstimatorSpec(mode, loss=loss, eval_metric_ops={"accuracy": accuracy})
    optimizer = tf.compat.v1.train.AdamOptimizer()
    train_op = optimizer.minimize(loss, tf.compat.v1.train.get_global_step())
    return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train_op)


config = tf.estimator.RunConfig(
    sys.argv[1], tf_random_seed=1, save_checkpoints_steps=30, save_summary_steps=10
)
classifier = tf.estimator.Estimator(model_fn, config=config)
train_spec = tf.estimator.TrainSpec(train_input, max_steps=300)
eval_spec = tf.estimator.EvalSpec(test_input, steps=None, throttle_secs=0)
tf.estimator.train_and_evaluate(classifier, train_spec, eval_spec)
print("accuracy", classifier.evaluate(test_input)["accuracy"])
