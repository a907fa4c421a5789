"""The Estimator of a run: the strategy that a machine's GPUs call for."""

from __future__ import annotations

import pytest

from mnist_estimator import estimators
from mnist_estimator.compat import tf
from mnist_estimator.config import TrainConfig


@pytest.mark.parametrize(
    ("strategy", "gpus", "batch_size", "expected"),
    [
        ("auto", 0, 100, "none"),
        ("auto", 1, 100, "none"),
        ("auto", 4, 100, "mirrored"),
        ("auto", 8, 100, "none"),
        ("none", 4, 100, "none"),
        ("mirrored", 1, 100, "mirrored"),
        ("ps", 4, 100, "ps"),
    ],
)
def test_the_gpus_of_a_machine_decide_what_auto_is(
    monkeypatch, capsys, strategy, gpus, batch_size, expected
):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind] * gpus)
    config = TrainConfig(strategy=strategy, batch_size=batch_size)
    assert estimators.with_strategy(config) == TrainConfig(strategy=expected, batch_size=batch_size)
    warned = "training on one of 8 GPUs: --batch_size=100 cannot be shared evenly"
    assert (warned in capsys.readouterr().err) == (gpus == 8)
