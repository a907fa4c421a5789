"""Counts what a classifier gets right and wrong, batch by batch.

Memory does not grow with the number of examples: only the confusion matrix, counts by confidence
and by threshold, and the worst mistakes are kept. The metrics that follow from the counts are
listed at the end, in CLASS_METRICS and OVERALL_METRICS. What is listed there is in metrics.json, in
all that `evaluate` prints and writes, and on the page of `report`.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mnist_estimator import RunError
from mnist_estimator.data.statistics import full_scale

MAX_CLASSES = 1000  # With more classes nothing is counted: nobody reads such a confusion matrix.
UNDEFINED = "is not a number; its weights or pixels are too large, or it divides by 0"
THRESHOLDS = 101  # Points of a precision-recall curve.
_BINS = 15  # Of the calibration error, as in the paper cited below.


@dataclasses.dataclass(frozen=True)
class Metric:
    """A number that follows from the counts of a `Scores`.

    Attributes:
      name: its name in JSON and CSV files.
      label: its name for readers.
      compute: takes the `Scores`; returns a float, or float64 [K] for a metric of each class.
    """

    name: str
    label: str
    compute: Callable[[Scores], Any]


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A misclassified example: image uint8 [H,W,C], and the probabilities of two classes."""

    image: np.ndarray
    index: int
    label: int
    prediction: int
    label_probability: float
    probability: float


def visible(image: np.ndarray, white: int) -> np.ndarray:
    """Brightens an image, uint8, for viewing: `white`, the white of its data, becomes 255."""
    return np.minimum(image.astype(np.int64) * 255 // white, 255).astype(np.uint8)


class Scores:
    """Counts of a classifier's answers over any number of examples.

    Attributes:
      examples: how many were added.
      confusion: int64 [K,K], examples by true class (row) and predicted class (column).
      true_positives, false_positives: int64 [K,THRESHOLDS], examples of the class, and of all other
        classes, to which the classifier gave at least the probability i / (THRESHOLDS - 1).
    """

    def __init__(self, num_classes: int, *, worst: int = 25, brightest_pixel: int = 255) -> None:
        """Starts with all counts at 0.

        Args:
          worst: how many mistakes are kept.
          brightest_pixel: of the images. The kept mistakes show it as white.
        """
        self.num_classes = num_classes
        self._white = full_scale(brightest_pixel)
        self.examples = 0
        self.confusion = np.zeros([num_classes, num_classes], np.int64)
        self.true_positives = np.zeros([num_classes, THRESHOLDS], np.int64)
        self.false_positives = np.zeros([num_classes, THRESHOLDS], np.int64)
        self._most_mistakes = worst
        self._worst: list[tuple[float, int, Mistake]] = []
        self._loss = 0.0
        self._bins = np.zeros([3, _BINS])  # Examples, their confidence summed, correct ones.

    def add(
        self, labels: np.ndarray, logits: np.ndarray, images: np.ndarray, index: np.ndarray
    ) -> None:
        """Adds a batch: labels int64 [B], logits [B,K], images uint8 [B,H,W,C], index int64 [B].

        Raises:
          RunError: if an answer is no number.
        """
        undefined = ~np.isfinite(logits.max(axis=1))  # One is NaN or infinite, or all are -inf.
        if undefined.any():
            raise RunError(f"example {index[undefined.argmax()]}: the network's answer {UNDEFINED}")
        log_probabilities = _log_softmax(logits)
        probabilities = np.exp(log_probabilities)
        predictions = probabilities.argmax(axis=1)
        rows = np.arange(len(labels))
        self.examples += len(labels)
        self._loss -= log_probabilities[rows, labels].sum()
        np.add.at(self.confusion, (labels, predictions), 1)
        self._add_confidence(probabilities[rows, predictions], predictions == labels)
        self._add_thresholds(labels, probabilities)
        for row in np.flatnonzero(predictions != labels):
            label, prediction = int(labels[row]), int(predictions[row])
            self._add_mistake(
                Mistake(
                    visible(images[row], self._white),
                    int(index[row]),
                    label,
                    prediction,
                    float(probabilities[row, label]),
                    float(probabilities[row, prediction]),
                )
            )

    @property
    def mistakes(self) -> list[Mistake]:
        """The worst mistakes; the one with the least probability of its true class comes first."""
        worst_first = sorted(self._worst, key=lambda entry: entry[:2], reverse=True)
        return [mistake for _, _, mistake in worst_first]

    @property
    def accuracy(self) -> float:
        """Correct examples as a fraction of all."""
        return float(np.trace(self.confusion) / self.examples)

    @property
    def log_loss(self) -> float:
        """Mean cross-entropy in nats."""
        return float(self._loss / self.examples)

    @property
    def calibration_error(self) -> float:
        """Expected calibration error over 15 bins (Guo et al., ICML 2017)."""
        _, confidence, correct = self._bins
        return float(np.abs(confidence - correct).sum() / self.examples)

    def calibration(self) -> Iterator[tuple[int, float, float]]:
        """Yields (examples, mean confidence, accuracy) of each bin that has any."""
        for examples, confidence, correct in self._bins.T:
            if examples:
                yield int(examples), float(confidence / examples), float(correct / examples)

    def per_class(self) -> dict[str, np.ndarray]:
        """Each of CLASS_METRICS, float64 [K], and `examples`, int64 [K]: how many a class has."""
        rates = {metric.name: metric.compute(self) for metric in CLASS_METRICS}
        return {**rates, "examples": self.confusion.sum(axis=1)}

    def to_json(self) -> dict[str, Any]:
        """What metrics.json and `evaluate --json` add to accuracy and loss, ready for JSON."""
        rates = {metric.name: metric.compute(self) for metric in CLASS_METRICS}
        return {
            **{f"macro_{name}": float(values.mean()) for name, values in rates.items()},
            **{metric.name: metric.compute(self) for metric in OVERALL_METRICS},
            **{name: values.tolist() for name, values in rates.items()},
            "confusion_matrix": self.confusion.tolist(),
        }

    def _add_confidence(self, confidence: np.ndarray, correct: np.ndarray) -> None:
        # Bins are open below and closed above, as in the paper.
        bins = np.clip(np.ceil(confidence * _BINS).astype(int) - 1, 0, _BINS - 1)
        for row, weights in zip(self._bins, (None, confidence, correct), strict=True):
            row += np.bincount(bins, weights, minlength=_BINS)

    def _add_thresholds(self, labels: np.ndarray, probabilities: np.ndarray) -> None:
        reached = np.minimum((probabilities * (THRESHOLDS - 1)).astype(int), THRESHOLDS - 1)
        for label in range(self.num_classes):
            positive = labels == label
            for total, chosen in (
                (self.true_positives, positive),
                (self.false_positives, ~positive),
            ):
                counts = np.bincount(reached[chosen, label], minlength=THRESHOLDS)
                total[label] += counts[::-1].cumsum()[::-1]

    def _add_mistake(self, mistake: Mistake) -> None:
        # A heap, the least bad mistake on top. Of equal ones the first stays.
        entry = (-mistake.label_probability, -mistake.index, mistake)
        if len(self._worst) < self._most_mistakes:
            heapq.heappush(self._worst, entry)
        elif self._worst and entry[:2] > self._worst[0][:2]:
            heapq.heapreplace(self._worst, entry)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = np.asarray(logits, np.float64)
    logits = logits - logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def _precision(scores: Scores) -> np.ndarray:
    # A class that is never predicted has precision 0, as in scikit-learn.
    return _divide(np.diagonal(scores.confusion), scores.confusion.sum(axis=0))


def _recall(scores: Scores) -> np.ndarray:
    return _divide(np.diagonal(scores.confusion), scores.confusion.sum(axis=1))


def _f1(scores: Scores) -> np.ndarray:
    examples, predicted = scores.confusion.sum(axis=1), scores.confusion.sum(axis=0)
    return _divide(2 * np.diagonal(scores.confusion), examples + predicted)


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divides element by element; 0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator > 0)


CLASS_METRICS = (
    Metric("precision", "precision", _precision),
    Metric("recall", "recall", _recall),
    Metric("f1", "F1", _f1),
)
OVERALL_METRICS = (
    Metric("calibration_error", "calibration error", lambda scores: scores.calibration_error),
)
