"""Sessions with the weights of checkpoints and of exports."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnist_estimator import RunError
from mnist_estimator.compat import tf, v1
from mnist_estimator.serving import sessions


def kernel(size: int) -> None:
    v1.get_variable("kernel", [size], initializer=v1.zeros_initializer())


def test_a_network_of_another_size_than_the_checkpoint_takes_no_memory(tmp_path: Path):
    path = str(tmp_path / "model.ckpt-1")
    with tf.Graph().as_default(), v1.Session() as session:
        kernel(3)
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, path)
    line = r"cannot be restored: .*kernel of shape \[3\], expected it of shape \[1099511627776\]"
    with tf.Graph().as_default():
        kernel(2**40)
        with pytest.raises(RunError, match=line), sessions.restore(path):
            pytest.fail("restored")


def test_a_signature_that_an_export_lacks_is_named(exported):
    with (
        pytest.raises(RunError, match=r"found signatures .*serving_default.*, expected other"),
        sessions.load(exported.path, "other"),
    ):
        pass
