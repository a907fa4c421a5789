"""Temperatures that make probabilities fit what happens."""

from __future__ import annotations

import numpy as np
import pytest
from support.short_runs import train

from mnist_estimator import InputError
from mnist_estimator.runs import open_run
from mnist_estimator.scoring import evaluation, temperature


def answers(scale):
    """Logits that are `scale` times as large as their labels' odds say, and those labels."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (20_000, 5))
    gumbel = random.gumbel(size=logits.shape)  # The largest sum is a draw by the softmax.
    return (logits * scale).astype(np.float32), (logits + gumbel).argmax(axis=1)


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_the_temperature_undoes_what_logits_are_too_large(scale):
    assert temperature.fit(*answers(scale)) == pytest.approx(scale, rel=0.03)


def test_no_temperature_has_a_smaller_loss():
    logits, labels = answers(3.0)

    def loss(value):
        scaled = logits / value
        chosen = scaled[np.arange(len(labels)), labels]
        return (np.log(np.exp(scaled).sum(axis=1)) - chosen).mean()

    fitted = temperature.fit(logits, labels)
    assert loss(fitted) < min(loss(fitted * 0.99), loss(fitted * 1.01))


def test_answers_that_are_all_right_or_wrong_have_a_limit():
    assert 0.05 <= temperature.fit(np.eye(3) * 9, np.arange(3)) < 1
    assert temperature.fit(np.eye(3) * 9, np.array([1, 2, 0])) == pytest.approx(20)


def test_a_calibrated_run_has_a_smaller_loss_and_the_same_accuracy(tmp_path, make_dataset):
    data_dir = make_dataset(validation=40)
    train(tmp_path / "run", data_dir, model="softmax", precision="float32", learning_rate=0.3)
    run = open_run.open_run(str(tmp_path / "run"))
    calibrated = temperature.calibrated(run)
    assert calibrated.options["temperature"] == calibrated.params["temperature"] != 1
    plain, fitted = (
        evaluation.evaluate_alone(each, *run.data(), "validation") for each in (run, calibrated)
    )
    assert fitted["accuracy"] == plain["accuracy"]
    assert fitted["loss"] < plain["loss"]


def test_a_run_without_validation_data_is_refused(tmp_path, make_dataset):
    data_dir = make_dataset(validation=0, validation_split="0")
    train(tmp_path / "run", data_dir, model="softmax", precision="float32", max_steps=2)
    with pytest.raises(InputError, match="--calibrate: .* has no validation examples"):
        temperature.calibrated(open_run.open_run(str(tmp_path / "run")))
