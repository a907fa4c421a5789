"""That each name of the table is there, and each that is gone says so."""

from __future__ import annotations

import functools
import importlib

import pytest

from mnist_estimator.compat import v1
from mnist_estimator.compat.contrib import _catalog

# compat closes this one in another place.
ELSEWHERE = {"tf.contrib.data.CheckpointInputPipelineHook"}


def topic_of(contrib, path):
    return functools.reduce(getattr, filter(None, path.split(".")), contrib)


def test_every_name_is_there(contrib):
    missing = set()
    for path, topic in _catalog.CONTRIB.items():
        for name in topic.names:
            try:
                getattr(topic_of(contrib, path), name)
            except AttributeError as error:
                assert "does not have" in str(error)
                missing.add(f"tf.contrib.{path}.{name}")
    assert missing <= ELSEWHERE


def test_every_name_that_is_gone_says_what_to_do(contrib):
    for path, topic in _catalog.CONTRIB.items():
        for name, advice in topic.gone.items():
            with pytest.raises(AttributeError) as error:
                getattr(topic_of(contrib, path), name or "any_other")
            assert str(error.value).endswith(f"; {advice}")


def test_every_path_is_importable(contrib):
    for package, topics in (("contrib", _catalog.CONTRIB), ("examples", _catalog.EXAMPLES)):
        for path, topic in topics.items():
            module = importlib.import_module(f"tensorflow.{package}.{path}".rstrip("."))
            for other in topic.paths.split():
                assert importlib.import_module(f"tensorflow.{package}.{other}") is module


@pytest.mark.parametrize(
    "line",
    [
        "from tensorflow.contrib.training.python.training import hparam; hparam.HParams",
        "from tensorflow.contrib.layers.python.layers import initializers, regularizers",
        "from tensorflow.contrib.framework.python.ops import add_arg_scope, arg_scope",
        "from tensorflow.contrib.tpu.python.tpu import tpu_config, tpu_estimator",
        "from tensorflow.contrib.learn.python.learn.estimators.run_config import RunConfig",
        "from tensorflow.contrib.learn.python.learn.datasets.mnist import read_data_sets",
        "import tensorflow.contrib.layers as layers; layers.l2_regularizer",
        "import tensorflow.examples.tutorials.mnist.input_data as input_data; input_data.DataSet",
    ],
)
def test_lines_of_programs(contrib, line):
    exec(line)


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("import tensorflow.contrib.slim as slim", "tf_slim"),
        ("from tensorflow.contrib import slim", "tf_slim"),
        ("from tensorflow.contrib.slim.nets import inception", "tf.contrib.slim"),
        ("from tensorflow.contrib.learn import learn_runner", "tf.estimator.train_and_evaluate"),
        ("from tensorflow.contrib.seq2seq import sequence_loss", "tf.contrib.seq2seq"),
    ],
)
def test_lines_that_cannot_work_say_what_to_do(contrib, line, advice):
    with pytest.raises(ImportError, match="is not among the stand-ins") as error:
        exec(line)
    assert advice in str(error.value)


def test_names_that_are_there_under_another_one(contrib):
    assert contrib.framework.get_or_create_global_step is v1.train.get_or_create_global_step
    assert contrib.layers.conv2d is contrib.layers.convolution2d
    assert contrib.distribute.get_distribution_strategy is v1.distribute.get_strategy
    examples = v1.examples.tutorials.mnist.input_data
    assert contrib.learn.datasets.mnist.read_data_sets is examples.read_data_sets


def test_summaries_are_written_from_a_graph(contrib, evaluate, tmp_path):
    step = v1.train.create_global_step()
    summary = contrib.summary
    with summary.create_file_writer(str(tmp_path)).as_default(), summary.always_record_summaries():
        summary.scalar("loss", 0.5, step=step)
    with summary.create_file_writer(str(tmp_path)).as_default(), summary.never_record_summaries():
        summary.scalar("never", 0.5, step=step)
        flush = summary.flush()
    evaluate(summary.summary_writer_initializer_op())
    evaluate(summary.all_summary_ops())
    evaluate(flush)
    values = [value for event in events(tmp_path) for value in event.summary.value]
    assert [value.tag for value in values] == ["loss"]


def events(folder):
    for path in sorted(folder.iterdir()):
        yield from v1.train.summary_iterator(str(path))
