"""A report evaluates a run on the test split, or on validation if there is no test split."""

from __future__ import annotations

import dataclasses
import types

import pytest

from mnist_estimator.config import TrainConfig
from mnist_estimator.data import splits
from mnist_estimator.reporting import results
from mnist_estimator.scoring import evaluation


@dataclasses.dataclass
class Manifest:
    """Stands for the manifest of a dataset without a test split, if `test` is 0."""

    test: int
    dataset: str = "squares"
    class_names: tuple[str, ...] = ("a", "b")

    def num_examples(self, split: str) -> int:
        return {splits.TEST: self.test, splits.VALIDATION: 1200}[split]


@pytest.mark.parametrize(
    ("asked", "test", "split"),
    [(None, 9, "test"), (None, 0, "validation"), ("validation", 9, "validation")],
)
def test_the_split_is_chosen_and_said(asked, test, split, monkeypatch, capsys):
    opened = []

    def data(data_dir, wanted):
        opened.append((data_dir, wanted))
        return "found", Manifest(test)

    run = types.SimpleNamespace(data=data, config=TrainConfig(model_dir="runs/a"))
    monkeypatch.setattr(evaluation, "make_scores", lambda manifest: None)
    monkeypatch.setattr(evaluation, "evaluate_alone", lambda *given, scores: {"split": given[3]})
    result = results.evaluate(run, "there", asked)
    assert (result.split, result.metrics, result.data_dir) == (split, {"split": split}, "found")
    assert (result.name, result.classes) == ("runs/a", ("a", "b"))
    assert opened == [("there", asked or "test")]
    count = "1,200" if split == "validation" else "9"
    line = f"evaluating runs/a on the {count} {split} examples of squares\n"
    assert capsys.readouterr().err == line
