"""Fits the temperature by which logits are divided so that probabilities are honest.

Temperature scaling: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017. It changes
no class, only how sure an answer is.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from mnist_estimator import InputError
from mnist_estimator.runs.open_run import OpenRun
from mnist_estimator.scoring import evaluation

_LOWEST, _HIGHEST = 0.05, 20.0
_HALVINGS = 60


def calibrated(run: OpenRun, data_dir: str = "", split: str = "validation") -> OpenRun:
    """Returns the run with the temperature that fits a split best.

    Args:
      data_dir: of the split; "" for the run's own.

    Raises:
      InputError: if the split has no examples.
    """
    data_dir, manifest = run.data(data_dir, split)
    if not manifest.num_examples(split):
        raise InputError(f"--calibrate: {data_dir} has no {split} examples, expected some")
    answers = _Answers()
    evaluation.evaluate_alone(run, data_dir, manifest, split, scores=answers)
    fitted = fit(np.concatenate(answers.logits), np.concatenate(answers.labels))
    return dataclasses.replace(run, options={**run.options, "temperature": fitted})


def fit(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature with the least mean loss, from 0.05 to 20.

    The loss is a convex function of the inverse, so its slope has one zero, which halving finds.

    Args:
      logits: float [N,K].
      labels: int64 [N].
    """
    logits = logits.astype(np.float64)
    right = logits[np.arange(len(labels)), labels]

    def slope(inverse: float) -> float:
        scaled = logits * inverse
        weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        expected = (weights * logits).sum(axis=1) / weights.sum(axis=1)
        return float((expected - right).mean())

    low, high = 1 / _HIGHEST, 1 / _LOWEST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 2 / (low + high)


class _Answers:
    """Keeps the logits and labels of an evaluation."""

    def __init__(self) -> None:
        self.logits: list[np.ndarray] = []
        self.labels: list[np.ndarray] = []

    def add(
        self, labels: np.ndarray, logits: np.ndarray, images: np.ndarray, index: np.ndarray
    ) -> None:
        """Adds a batch, as `scores.Scores.add`."""
        del images, index
        self.logits.append(logits)
        self.labels.append(labels)
