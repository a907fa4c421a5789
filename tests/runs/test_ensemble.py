"""Several runs that are opened as one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.datasets import CLASSES, TEST, array_source
from support.short_runs import train

from mnist_estimator import InputError
from mnist_estimator.data import writer
from mnist_estimator.runs import checkpoints, ensemble, open_run
from mnist_estimator.scoring import evaluation

OPTIONS = {"model": "softmax", "precision": "float32", "learning_rate": 0.1}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two runs on the same data, the second one with moving averages."""
    folder = tmp_path_factory.mktemp("ensemble")
    data_dir = str(folder / "data")
    writer.write_dataset(
        data_dir,
        dataset="squares",
        train=array_source(80),
        test=array_source(TEST, seed=1),
        num_classes=CLASSES,
        validation_split="10",
        shards=1,
    )
    train(folder / "a", data_dir, **OPTIONS)
    train(folder / "b", data_dir, seed=1, max_steps=9, ema_decay=0.5, **OPTIONS)
    return {str(folder / name): "" for name in "ab"}


class Answers:
    """Keeps what an evaluation gives to `Scores.add`."""

    def __init__(self, run):
        self.probabilities = np.zeros([TEST, 0])
        data_dir, manifest = run.data()
        self.metrics = evaluation.evaluate_alone(run, data_dir, manifest, "test", scores=self)

    def add(self, labels, logits, images, index):
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        self.probabilities = shares / shares.sum(axis=1, keepdims=True)


def test_one_run_is_opened_as_it_is(models):
    model_dir = next(iter(models))
    run = ensemble.open_runs({model_dir: ""}, views=5)
    assert run == dataclasses.replace(open_run.open_run(model_dir), options={"views": 5})


def test_runs_answer_with_the_mean_of_their_probabilities(models):
    together = ensemble.open_runs(models)
    alone = [Answers(open_run.open_run(model_dir)).probabilities for model_dir in models]
    found = Answers(together)
    assert np.abs(alone[0] - alone[1]).max() > 0.01
    np.testing.assert_allclose(found.probabilities, np.mean(alone, axis=0), rtol=1e-4, atol=1e-6)
    assert found.metrics["global_step"] == 12 == checkpoints.step_of(together.checkpoint)


def test_the_joined_checkpoint_has_the_weights_that_answer(models):
    together = ensemble.open_runs(models)
    last = checkpoints.opened(open_run.open_run(list(models)[1]).checkpoint)
    with checkpoints.opened(together.checkpoint) as joined, last as alone:
        expected = alone.get_tensor("logits/kernel/ExponentialMovingAverage")
        np.testing.assert_array_equal(joined.get_tensor("member1/logits/kernel"), expected)
        assert sorted(joined.get_variable_to_shape_map()) == [
            "global_step",
            *(f"member{number}/logits/{name}" for number in (0, 1) for name in ("bias", "kernel")),
        ]


def test_runs_on_other_data_are_refused(models, monkeypatch):
    def opened(model_dir, *given):
        run = whole(model_dir, *given)
        dataset = {
            **run.record["dataset"],
            "pictures": "plain" if model_dir[-1] == "a" else "digit",
        }
        return dataclasses.replace(run, record={**run.record, "dataset": dataset})

    whole = open_run.open_run
    monkeypatch.setattr(open_run, "open_run", opened)
    line = r"--model_dir: .*b was trained on data with pictures digit, .*a with plain; expected"
    with pytest.raises(InputError, match=line):
        ensemble.open_runs(models)


def test_every_run_is_checked_against_the_data(models, capsys):
    """Here the second one was trained on the examples that are evaluated."""
    run = ensemble.open_runs(models)
    (other,) = run.others
    trained = other.record["dataset"] | {"manifest_sha256": "0" * 64, "sources": {"train": "5a"}}
    other = dataclasses.replace(other, record=other.record | {"dataset": trained})
    data_dir, manifest = run.data()
    manifest = dataclasses.replace(manifest, sources={"test": "5a"})
    capsys.readouterr()
    dataclasses.replace(run, others=(other,)).check(data_dir, manifest, "test")
    said = capsys.readouterr().err
    what = "the test examples are those that the run was trained on, so the accuracy says little"
    assert f"{data_dir}: {what}" in said and said.endswith(f"({other.config.model_dir})\n")
    assert said.count(what) == 1
