"""What a classifier got right and wrong, against sums done by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.scored import LABELS, PROBABILITIES, scored

from mnist_estimator import RunError
from mnist_estimator.scoring import scores


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_the_counts_do_not_depend_on_the_batches(batch):
    found = scored(LABELS, PROBABILITIES, batch=batch)
    assert found.examples == 6
    assert found.confusion.tolist() == [[2, 1, 0], [1, 1, 0], [1, 0, 0]]
    assert found.accuracy == pytest.approx(3 / 6)
    likelihood = [0.8, 0.6, 0.2, 0.8, 0.3, 0.05]
    assert found.log_loss == pytest.approx(-np.log(likelihood).mean())


def test_each_class_has_precision_recall_and_f1():
    rates = scored(LABELS, PROBABILITIES).per_class()
    assert rates["precision"].tolist() == pytest.approx([2 / 4, 1 / 2, 0])
    assert rates["recall"].tolist() == pytest.approx([2 / 3, 1 / 2, 0])
    assert rates["f1"].tolist() == pytest.approx([4 / 7, 1 / 2, 0])
    assert rates["examples"].tolist() == [3, 2, 1]


def test_calibration_compares_confidence_with_accuracy():
    # Two bins: three answers at 0.8 of which two are right, one at 0.55 that is wrong.
    found = scored([0, 0, 1, 1], [[0.8, 0.2], [0.8, 0.2], [0.8, 0.2], [0.55, 0.45]])
    bins = list(found.calibration())
    assert [count for count, _, _ in bins] == [1, 3]
    assert bins[1][1:] == pytest.approx((0.8, 2 / 3))
    assert found.calibration_error == pytest.approx((3 * abs(0.8 - 2 / 3) + 0.55) / 4)


def test_thresholds_count_what_reaches_them():
    found = scored(LABELS, PROBABILITIES)
    at_half = (scores.THRESHOLDS - 1) // 2
    assert (found.true_positives[0][0], found.false_positives[0][0]) == (3, 3)
    assert found.true_positives[0][at_half + 1] == 2  # 0.8 and 0.6.
    assert found.false_positives[0][at_half + 1] == 1  # 0.9; 0.5 is less than 0.51.
    assert (np.diff(found.true_positives, axis=1) <= 0).all()


def test_the_worst_mistakes_come_first_and_are_few():
    found = scored(LABELS, PROBABILITIES, batch=2, worst=2)
    assert [(m.index, m.label, m.prediction) for m in found.mistakes] == [(5, 2, 0), (2, 0, 1)]
    assert found.mistakes[0].label_probability == pytest.approx(0.05)
    assert found.mistakes[0].probability == pytest.approx(0.9)
    assert found.mistakes[0].image.tolist() == np.full([2, 3, 1], 5).tolist()


def test_of_equal_mistakes_the_first_are_kept():
    found = scored([1, 1, 1], [[0.9, 0.1]] * 3, batch=1, worst=2)
    assert sorted(m.index for m in found.mistakes) == [0, 1]


def test_a_hopeless_answer_has_a_finite_loss():
    found = scores.Scores(2)
    one = np.zeros([1, 1, 1, 1], np.uint8)
    found.add(np.array([1]), np.array([[1000.0, 0.0]]), one, np.array([0]))
    assert found.log_loss == pytest.approx(1000)
    assert math.isfinite(found.calibration_error)


def test_the_report_is_ready_for_json():
    report = scored(LABELS, PROBABILITIES).to_json()
    assert report["confusion_matrix"] == [[2, 1, 0], [1, 1, 0], [1, 0, 0]]
    assert report["macro_recall"] == pytest.approx((2 / 3 + 1 / 2) / 3)
    assert len(report["precision"]) == len(report["recall"]) == len(report["f1"]) == 3


def test_mistakes_on_dark_images_can_be_seen():
    kept = scores.Scores(2, brightest_pixel=16)
    images = np.array([[[[16]], [[8]], [[20]]]], np.uint8)
    kept.add(np.array([0]), np.array([[0.0, 1.0]]), images, np.array([0]))
    assert kept.mistakes[0].image.ravel().tolist() == [255, 127, 255]


def test_a_metric_of_the_tables_is_in_json(monkeypatch):
    """As it is for whoever adds one."""
    half = scores.Metric("half", "half", lambda found: np.full(found.num_classes, 0.5))
    share = scores.Metric("share", "share", lambda found: found.accuracy)
    monkeypatch.setattr(scores, "CLASS_METRICS", (*scores.CLASS_METRICS, half))
    monkeypatch.setattr(scores, "OVERALL_METRICS", (*scores.OVERALL_METRICS, share))
    found = scored(LABELS, PROBABILITIES)
    values = found.to_json()
    assert (values["macro_half"], values["half"], values["share"]) == (0.5, [0.5] * 3, 0.5)
    assert list(found.per_class()) == ["precision", "recall", "f1", "half", "examples"]
    names = ["macro_precision", "macro_recall", "macro_f1", "macro_half", "calibration_error"]
    names += ["share", "precision", "recall", "f1", "half", "confusion_matrix"]
    assert list(values) == names


@pytest.mark.parametrize("logits", [[0, math.nan], [math.inf, 0], [-math.inf, -math.inf]])
def test_an_answer_that_is_no_number_is_an_error(logits):
    found = scores.Scores(2)
    images = np.zeros([2, 1, 1, 1], np.uint8)
    with pytest.raises(RunError, match="example 8: the network's answer is not a number"):
        found.add(np.array([0, 1]), np.array([[0, 1.0], logits]), images, np.array([7, 8]))
    found.add(np.array([0]), np.array([[0, -math.inf]]), images[:1], np.array([7]))
    assert found.accuracy == 1
