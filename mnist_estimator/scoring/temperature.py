"""Fits the temperature by which logits are divided so that probabilities are calibrated.

Temperature scaling: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017. It changes
no class, only how sure an answer is.
"""

from __future__ import annotations

import dataclasses
import sys

import numpy as np

from mnist_estimator import InputError
from mnist_estimator.runs.open_run import OpenRun
from mnist_estimator.runtime import progress
from mnist_estimator.scoring import evaluation

_LOWEST, _HIGHEST = 0.05, 20.0
_HALVINGS = 60


def calibrated(run: OpenRun, data_dir: str = "", split: str = "validation") -> OpenRun:
    """Returns the run with the temperature that fits a split best.

    Args:
      data_dir: of the split; "" for the run's own.

    Raises:
      InputError: if the split has no examples, or no temperature fits them.
    """
    data_dir, manifest = run.data(data_dir, split)
    others = (each for each in (run, *run.others) if each.trained_on.digest != manifest.digest)
    for other in others:
        raise InputError(
            f"--calibrate: {data_dir} holds other data than {other.config.model_dir} was trained "
            f"on, which may have been trained on examples of that {split} split"
        )
    if not manifest.num_examples(split):
        raise InputError(f"--calibrate: {data_dir} has no {split} examples, expected some")
    answers = _Answers()
    evaluation.evaluate_alone(run, data_dir, manifest, split, scores=answers)
    fitted = fit(np.concatenate(answers.logits), np.concatenate(answers.labels))
    if fitted is None:
        raise InputError(
            f"--calibrate: no temperature from {_LOWEST:g} to {_HIGHEST:g} fits the "
            f"{manifest.num_examples(split):,} {split} examples of {data_dir}, as where all are "
            "answered right; leave it out, or give the run more of them"
        )
    progress.say(f"temperature {fitted:.3f}, fitted on the {split} split", sys.stderr)
    return dataclasses.replace(run, options={**run.options, "temperature": fitted})


def fit(logits: np.ndarray, labels: np.ndarray) -> float | None:
    """The temperature with the least mean loss, if it is between 0.05 and 20; else None.

    The loss is a convex function of the inverse, so its slope has one zero, which halving finds.

    Args:
      logits: float [N,K]; -inf for a class that is ruled out.
      labels: int64 [N].
    """
    logits = logits.astype(np.float64)
    right = logits[np.arange(len(labels)), labels]
    possible = np.where(np.isneginf(logits), 0.0, logits)  # The others have no weight.

    def slope(inverse: float) -> float:
        scaled = logits * inverse
        weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        expected = (weights * possible).sum(axis=1) / weights.sum(axis=1)
        return float((expected - right).mean())

    low, high = 1 / _HIGHEST, 1 / _LOWEST
    if not slope(low) < 0 < slope(high):
        return None
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
