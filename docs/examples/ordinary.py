"""An ordinary Estimator program: trains a network on digits and prints its accuracy.

python ordinary.py MODEL_DIR
"""

import gzip
import sys
from importlib import resources

import numpy as np

from mnist_estimator.compat import estimator, tf, v1

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
    with v1.variable_scope(name):
        kernel = v1.get_variable("kernel", [values.shape[1], units])
        return values @ kernel + v1.get_variable("bias", [units], initializer=tf.zeros_initializer)


def model_fn(features, labels, mode):
    kernel = v1.get_variable("conv/kernel", [5, 5, 1, 8])
    hidden = tf.nn.relu(tf.nn.conv2d(features["image"], kernel, strides=2, padding="SAME"))
    hidden = tf.nn.relu(dense(tf.reshape(hidden, [-1, 14 * 14 * 8]), 64, "dense"))
    if mode == estimator.ModeKeys.TRAIN:
        hidden = tf.nn.dropout(hidden, 0.4)
    logits = dense(hidden, 10, "logits")
    loss = v1.losses.sparse_softmax_cross_entropy(labels, logits)
    if mode == estimator.ModeKeys.EVAL:
        accuracy = v1.metrics.accuracy(labels, tf.argmax(logits, 1))
        return estimator.EstimatorSpec(mode, loss=loss, eval_metric_ops={"accuracy": accuracy})
    train_op = v1.train.AdamOptimizer().minimize(loss, v1.train.get_global_step())
    return estimator.EstimatorSpec(mode, loss=loss, train_op=train_op)


config = estimator.RunConfig(
    sys.argv[1], tf_random_seed=1, save_checkpoints_steps=40, save_summary_steps=10
)
classifier = estimator.Estimator(model_fn, config=config)
train_spec = estimator.TrainSpec(train_input, max_steps=200)
eval_spec = estimator.EvalSpec(test_input, steps=None, throttle_secs=0)
estimator.train_and_evaluate(classifier, train_spec, eval_spec)
print("accuracy", classifier.evaluate(test_input)["accuracy"])
