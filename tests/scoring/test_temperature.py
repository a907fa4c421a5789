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


@pytest.mark.parametrize("labels", [[0, 1, 2], [1, 2, 0]])
def test_answers_that_are_all_right_or_wrong_have_no_temperature(labels):
    assert temperature.fit(np.eye(3) * 9, np.array(labels)) is None


def test_a_class_that_is_ruled_out_has_no_weight():
    logits, labels = answers(3.0)
    wider = np.concatenate([logits, np.full([len(logits), 1], -np.inf, np.float32)], axis=1)
    assert temperature.fit(wider, labels) == pytest.approx(temperature.fit(logits, labels))
    assert temperature.fit(wider, np.full_like(labels, 5)) is None


def test_a_calibrated_run_has_a_smaller_loss_and_the_same_accuracy(tmp_path, make_dataset, capsys):
    data_dir = make_dataset(validation=40, wrong_every=5)
    train(tmp_path / "run", data_dir, model="softmax", precision="float32", learning_rate=0.3)
    run = open_run.open_run(str(tmp_path / "run"))
    calibrated = temperature.calibrated(run)
    fitted = calibrated.options["temperature"]
    assert fitted == calibrated.params["temperature"] != 1
    said = capsys.readouterr().err
    assert said.endswith(f"temperature {fitted:.3f}, fitted on the validation split\n")
    plain, fitted = (
        evaluation.evaluate_alone(each, *run.data(), "validation") for each in (run, calibrated)
    )
    assert fitted["accuracy"] == plain["accuracy"]
    assert fitted["loss"] < plain["loss"]


def test_a_run_that_no_temperature_fits_is_refused(tmp_path, make_dataset, monkeypatch):
    data_dir = make_dataset(validation=40)
    train(tmp_path / "run", data_dir, model="softmax", precision="float32", max_steps=2)
    monkeypatch.setattr(temperature, "fit", lambda logits, labels: None)
    line = "--calibrate: no temperature from 0.05 to 20 fits the 40 validation examples of .*data"
    with pytest.raises(InputError, match=line):
        temperature.calibrated(open_run.open_run(str(tmp_path / "run")))


def test_a_run_without_validation_data_is_refused(tmp_path, make_dataset):
    data_dir = make_dataset(validation=0, validation_split="0")
    train(tmp_path / "run", data_dir, model="softmax", precision="float32", max_steps=2)
    with pytest.raises(InputError, match="--calibrate: .* has no validation examples"):
        temperature.calibrated(open_run.open_run(str(tmp_path / "run")))


def test_other_data_than_the_run_s_own_are_refused(tmp_path, make_dataset):
    data_dir = make_dataset(validation=40, wrong_every=5)
    train(tmp_path / "run", data_dir, model="softmax", precision="float32", max_steps=2)
    other = make_dataset(validation=30, wrong_every=5)
    run = open_run.open_run(str(tmp_path / "run"))
    with pytest.raises(
        InputError, match="--calibrate: .* holds other data than .*run was trained on"
    ):
        temperature.calibrated(run, other)
