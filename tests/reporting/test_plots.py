"""Plots as SVG: their curves, their scale, and that the same data give the same bytes."""

from __future__ import annotations

import re

import numpy as np
import pytest
from support.reports import Content

plots = pytest.importorskip("mnist_estimator.reporting.plots", exc_type=ImportError)


def curves(problem: str = "", steps: int = 3, evaluated: bool = True) -> plots.Curves:
    points = (list(range(1, steps + 1)), [1 / step for step in range(1, steps + 1)])
    metrics = dict.fromkeys(plots.METRICS, points)
    return plots.Curves(metrics, metrics if evaluated else {}, problem)


def test_the_same_curves_give_the_same_bytes():
    series = [plots.Series([1, 2], [0.5, 0.25]), plots.Series([1, 2], [1.0, 2.0], colour=1)]
    drawn = [plots.over_steps("name", series, label="loss", description="a < b") for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert 'aria-label="a &lt; b"' in drawn[0] and drawn[0].startswith("<svg viewBox=")
    assert "var(--c0)" in drawn[0] and "var(--c1)" in drawn[0]
    assert re.findall("#[0-9a-f]{6}", drawn[0]) == []
    Content(drawn[0])


def test_ids_begin_with_the_plot_and_are_all_referred_to():
    drawn = plots.over_steps("run 0", [plots.Series([1], [1.0])], label="x", description="")
    ids = set(re.findall(r' id="([^"]+)"', drawn))
    assert ids and all(name.startswith("run-0-") for name in ids)
    assert ids == set(re.findall(r'(?:href="#|url\(#)([^")]+)', drawn))


@pytest.mark.parametrize(("values", "is_log"), [([1.0, 0.001], True), ([1.0, 0.5], False)])
def test_values_far_apart_are_drawn_logarithmically(values, is_log, monkeypatch):
    scales = []
    monkeypatch.setattr(
        plots, "_svg", lambda figure, *_: scales.append(figure.axes[0].get_yscale()) or ""
    )
    plots.over_steps("x", [plots.Series([1, 2], values)], label="loss", description="")
    assert scales == ["log" if is_log else "linear"]


def test_a_runs_charts_say_what_is_missing():
    both = plots.run_charts("run0", curves())
    assert both.count("<svg") == len(plots.METRICS) and "evaluation</li>" in both
    alone = plots.run_charts("run0", curves("It is <damaged>.", evaluated=False))
    assert "It is &lt;damaged&gt;." in alone and "No evaluation was recorded" in alone
    assert "evaluation</li>" not in alone
    nothing = plots.run_charts("run0", plots.Curves({}, {}, "gone"))
    assert "<svg" not in nothing and "gone" in nothing


def test_a_comparison_is_of_several_runs():
    assert plots.comparison(["a"], [curves()]) == ""
    assert plots.comparison(["a", "b"], [curves(), curves(evaluated=False)]) == ""
    compared = plots.comparison(["a", "b"], [curves(), curves()])
    assert compared.count("<svg") == len(plots.METRICS) and compared.count("dashed") >= 1


def test_a_reliability_diagram_tells_the_error():
    html = plots.calibration("run0", [(5, 0.55, 0.4), (95, 0.99, 0.98)], 0.0234)
    assert html.count("<svg") == 1 and "Expected calibration error 0.0234" in html


def test_pixels_of_a_confusion_matrix():
    pixels = plots.confusion_pixels(np.array([[4, 0], [2, 2]]))
    assert pixels.shape == (2, 2, 3) and pixels[0, 1].tolist() == [255] * 3
    red, green, _ = pixels[0, 0].astype(int)
    assert green > red
    red, green, _ = pixels[1, 0].astype(int)
    assert red > green


@pytest.mark.parametrize("scale", [1.0, 1e-6, 0.0])
def test_pixels_of_weights_have_their_own_scale(scale):
    blue, white, orange = plots.signed_pixels(scale * np.array([[-1.0, 0, 1]]))[0].astype(int)
    assert white.tolist() == [255] * 3
    if scale:
        assert blue[2] > blue[0] and orange[0] > orange[2]
