"""What a classifier got right and wrong, counted while the examples go by.

Memory does not grow with the number of examples: the confusion matrix, counts by confidence and by
threshold, and the worst mistakes are all that is kept.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Iterator
from typing import Any

import numpy as np

from mnist_estimator.data.statistics import full_scale

MAX_CLASSES = 1000  # Of more classes a confusion matrix is neither held nor looked at.
THRESHOLDS = 101  # Points of a precision-recall curve.
_BINS = 15  # Of the calibration error, as in the paper below.


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
    """An image, uint8, made to be looked at: the pixel that is white in its data becomes 255."""
    return np.minimum(image.astype(np.int64) * 255 // white, 255).astype(np.uint8)


class Scores:
    """Counts of a classifier's answers over any number of examples.

    Attributes:
      examples: how many were added.
      confusion: int64 [K,K], examples by their class (row) and the predicted one (column).
      true_positives, false_positives: int64 [K,THRESHOLDS], examples of a class, and of the others,
        that were given at least the probability of each threshold, i / (THRESHOLDS - 1).
    """

    def __init__(self, num_classes: int, *, worst: int = 25, brightest_pixel: int = 255) -> None:
        """Counts nothing yet.

        Args:
          worst: how many mistakes are kept.
          brightest_pixel: of the images; in the mistakes it is white, so that they can be seen.
        """
        self.num_classes = num_classes
        self._white = full_scale(brightest_pixel)
        self.examples = 0
        self.confusion = np.zeros([num_classes, num_classes], np.int64)
        self.true_positives = np.zeros([num_classes, THRESHOLDS], np.int64)
        self.false_positives = np.zeros([num_classes, THRESHOLDS], np.int64)
        self._worst_kept = worst
        self._worst: list[tuple[float, int, Mistake]] = []
        self._loss = 0.0
        self._bins = np.zeros([3, _BINS])  # Examples, their confidence summed, correct ones.

    def add(
        self, labels: np.ndarray, logits: np.ndarray, images: np.ndarray, index: np.ndarray
    ) -> None:
        """Adds a batch: labels int64 [B], logits [B,K], images uint8 [B,H,W,C], index int64 [B]."""
        logits = np.asarray(logits, np.float64)
        logits = logits - logits.max(axis=1, keepdims=True)
        log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        probabilities = np.exp(log_probabilities)
        predictions = probabilities.argmax(axis=1)
        rows = np.arange(len(labels))
        self.examples += len(labels)
        self._loss -= log_probabilities[rows, labels].sum()
        np.add.at(self.confusion, (labels, predictions), 1)
        self._add_confidence(probabilities[rows, predictions], predictions == labels)
        self._add_thresholds(labels, probabilities)
        for row in np.flatnonzero(predictions != labels):
            self._add_mistake(
                Mistake(
                    visible(images[row], self._white),
                    int(index[row]),
                    int(labels[row]),
                    int(predictions[row]),
                    float(probabilities[row, labels[row]]),
                    float(probabilities[row, predictions[row]]),
                )
            )

    @property
    def mistakes(self) -> list[Mistake]:
        """The worst mistakes, the one with the least probability of its true class first."""
        return [mistake for _, _, mistake in sorted(self._worst, key=lambda kept: kept[:2])][::-1]

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
        """`precision`, `recall`, `f1`, float64 [K], and `examples`, int64 [K], of each class.

        A class that is never predicted has precision 0, as in scikit-learn.
        """
        correct = np.diagonal(self.confusion).astype(float)
        examples, predicted = self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        return {
            "precision": _divided(correct, predicted),
            "recall": _divided(correct, examples),
            "f1": _divided(2 * correct, examples + predicted),
            "examples": examples,
        }

    def report(self) -> dict[str, Any]:
        """What `evaluate --json` has beside accuracy and loss, ready for JSON."""
        per_class = self.per_class()
        return {
            **{f"macro_{name}": float(per_class[name].mean()) for name in _RATES},
            "calibration_error": self.calibration_error,
            **{name: per_class[name].tolist() for name in _RATES},
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
        # A heap of the least bad on top; of equals the one that came first stays.
        entry = (-mistake.label_probability, -mistake.index, mistake)
        if len(self._worst) < self._worst_kept:
            heapq.heappush(self._worst, entry)
        elif self._worst and entry[:2] > self._worst[0][:2]:
            heapq.heapreplace(self._worst, entry)


_RATES = ("precision", "recall", "f1")


def _divided(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(
        numerator, denominator, out=np.zeros(len(numerator)), where=np.asarray(denominator) > 0
    )
