"""Draws the plots of a report with matplotlib, as SVG for the page's HTML.

Their colours are the page's custom properties (`--ink`, `--grid`, `--c0`, ...), so they follow its
theme. Their text stays text, in the page's font. The same data give the same bytes. matplotlib
comes with the package's `report` extra.
"""

from __future__ import annotations

import contextlib
import dataclasses
import html
import io
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from mnist_estimator.reporting import page

METRICS = ("loss", "accuracy")
Points = tuple[list[int], list[float]]  # Steps and values.

COLOURS = 6  # The page has --c0 to --c5.

# matplotlib has no custom properties. These colours, used for nothing else, stand for them.
_INK, _GRID = "#010203", "#010204"
_SERIES = [f"#0102{16 + number:02x}" for number in range(COLOURS)]
_PROPERTIES = {_INK: "--ink", _GRID: "--grid"}
_PROPERTIES |= {colour: f"--c{number}" for number, colour in enumerate(_SERIES)}
_STYLE = {
    "svg.fonttype": "none",
    "font.size": 9,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _GRID,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "grid.linewidth": 0.8,
}
_SIZE = (4.3, 2.7)  # Inches of 72 units. At this size, text of size 9 is legible on a telephone.
_LOG_RATIO = 10.0  # Values whose largest is more than so many times the smallest get a log axis.
_MOST_MARKERS = 40
_MOST_POINTS = 1500  # More than a screen has columns.
# What refers to an id. matplotlib writes many ids that nothing refers to.
_REFERENCE = re.compile(r'(?:xlink:href="#|url\(#)([^")]+)')


@dataclasses.dataclass(frozen=True)
class Curves:
    """Points of each metric from training and from evaluations, and what is wrong with them."""

    training: dict[str, Points]
    evaluation: dict[str, Points]
    problem: str


@dataclasses.dataclass(frozen=True)
class Series:
    """A curve: its steps and values, the number of its colour, and how to draw it."""

    steps: Sequence[int]
    values: Sequence[float]
    colour: int = 0
    dashed: bool = False
    faint: bool = False  # For the values of single batches, which scatter.


def run_charts(name: str, curves: Curves) -> str:
    """A run's training and evaluation curves in the same plots, as HTML."""
    charts = [_run_chart(name, metric, curves) for metric in METRICS]
    notes = [curves.problem] if curves.problem else []
    if not curves.evaluation:
        notes.append("No evaluation was recorded while training.")
    drawn = page.pair(*charts) if any(charts) else ""
    return drawn + "".join(map(page.note, notes))


def _run_chart(name: str, metric: str, curves: Curves) -> str:
    series, legend = [], []
    if metric in curves.training:
        series.append(Series(*curves.training[metric], colour=0, faint=True))
        legend.append(page.Legend("training (batch)", 0))
    if metric in curves.evaluation:
        series.append(Series(*curves.evaluation[metric], colour=1))
        legend.append(page.Legend("evaluation", 1))
    if not series:
        return ""
    described = f"{metric} over steps: {' and '.join(entry.name for entry in legend)}"
    svg = over_steps(f"{name}-{metric}", series, label=metric, description=described)
    return page.chart(svg, metric.capitalize(), legend)


def comparison(names: Sequence[str], curves: Sequence[Curves]) -> str:
    """A section with all runs' evaluation curves in the same plots; "" with less than two."""
    have = [number for number, found in enumerate(curves) if found.evaluation]
    if len(have) < 2:
        return ""
    charts = []
    for metric in METRICS:
        series, legend = [], []
        for number in have:
            drawn: dict[str, Any] = {"colour": number % COLOURS, "dashed": number % 2 == 1}
            series.append(Series(*curves[number].evaluation[metric], **drawn))
            legend.append(page.Legend(names[number], **drawn))
        described = f"{metric} of the evaluations of {len(have)} runs over steps"
        svg = over_steps(f"all-{metric}", series, label=metric, description=described)
        charts.append(page.chart(svg, metric.capitalize(), legend))
    return page.section("Evaluations compared", [""], [page.pair(*charts)])


def calibration(name: str, bins: Sequence[tuple[int, float, float]], error: float) -> str:
    """A reliability diagram with an explanation, as HTML; `bins` as for `reliability`."""
    described = f"accuracy over confidence, expected calibration error {error:.4f}"
    svg = reliability(f"{name}-bins", bins, described)
    legend = [page.Legend("accuracy", 0), page.Legend("distance from the confidence", 1)]
    return page.chart(svg, "Reliability", legend) + page.note(
        f"Expected calibration error {error:.4f}: how far confidence and accuracy are apart, on "
        "average over the examples. On the dashed line they are the same."
    )


def over_steps(name: str, series: Sequence[Series], *, label: str, description: str) -> str:
    """Curves over the global step as SVG.

    Args:
      name: makes the ids of the page's plots unique.
      label: of the vertical axis.
      description: what the plot shows, for screen readers.
    """
    with _use_style(name):
        figure, (axes,) = _figure(1)
        for one in series:
            _draw(axes, one)
        values = [value for one in series for value in one.values if math.isfinite(value)]
        if values and min(values) > 0 and max(values) / min(values) > _LOG_RATIO:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set_xlim(left=0)
        axes.set_xlabel("step")
        axes.set_ylabel(label)
        return _svg(figure, name, description)


def reliability(name: str, bins: Sequence[tuple[int, float, float]], description: str) -> str:
    """A reliability diagram as SVG, above the number of examples in each bin.

    Args:
      bins: (examples, mean confidence, accuracy) of each bin, as `Scores.calibration` gives them.
    """
    examples, confidence, accuracy = np.array(bins, float).reshape(-1, 3).T
    with _use_style(name):
        figure, (upper, lower) = _figure(2)
        upper.plot([0, 1], [0, 1], color=_INK, linewidth=0.8, linestyle=(0, (4, 3)), alpha=0.6)
        upper.vlines(confidence, confidence, accuracy, color=_SERIES[1], linewidth=1.2)
        upper.plot(confidence, accuracy, color=_SERIES[0], marker="o", markersize=4, linewidth=1.4)
        upper.set(xlim=(0, 1.02), ylim=(0, 1.05), ylabel="accuracy")
        upper.tick_params(labelbottom=False)
        lower.vlines(confidence, 0.5, examples, color=_SERIES[0], linewidth=5)
        lower.set(xlim=(0, 1.02), xlabel="confidence", ylabel="examples", yscale="log")
        lower.set_ylim(bottom=0.5)
        lower.yaxis.set_major_locator(LogLocator(numticks=4))
        lower.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        lower.yaxis.set_minor_formatter(NullFormatter())
        return _svg(figure, name, description)


def confusion_pixels(confusion: np.ndarray) -> np.ndarray:
    """Draws a confusion matrix [K,K] of many classes as uint8 [K,K,3], one pixel for each cell.

    Pixels are green on the diagonal and red elsewhere, the stronger the larger their fraction of
    their row.
    """
    fractions = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    diagonal = np.eye(len(confusion), dtype=bool)[..., np.newaxis]
    colours = np.where(diagonal, (30, 140, 80), (214, 69, 48))
    return (255 + np.sqrt(fractions)[..., np.newaxis] * (colours - 255)).astype(np.uint8)


def signed_pixels(weights: np.ndarray) -> np.ndarray:
    """Draws weights [h,w] as uint8 [h,w,3]: white is 0, blue negative, orange positive."""
    limit = np.abs(weights).max()
    strength = (weights / limit if limit > 0 else weights)[..., np.newaxis]
    colours = np.where(strength < 0, (0, 84, 150), (200, 80, 0))
    return (255 + np.abs(strength) * (colours - 255)).astype(np.uint8)


@contextlib.contextmanager
def _use_style(name: str) -> Iterator[None]:
    # A user's matplotlibrc does not count: the same data give the same bytes.
    with style.context(["default", _STYLE | {"svg.hashsalt": name}]):
        yield


def _figure(rows: int) -> tuple[Figure, Any]:
    width, height = _SIZE
    # pyplot would keep the figure in memory and look for a screen.
    figure = Figure(figsize=(width, height * (1.25 if rows > 1 else 1)), layout="constrained")
    FigureCanvasSVG(figure)
    ratios = [3, 1][:rows]
    axes = figure.subplots(rows, 1, squeeze=False, gridspec_kw={"height_ratios": ratios})
    return figure, axes[:, 0]


def _draw(axes: Axes, series: Series) -> None:
    every = max(1, -(-len(series.steps) // _MOST_POINTS))
    few = len(series.steps) <= _MOST_MARKERS
    axes.plot(
        series.steps[::every],
        series.values[::every],
        color=_SERIES[series.colour % COLOURS],
        alpha=0.7 if series.faint else 1,
        linewidth=1.0 if series.faint else 1.6,
        linestyle=(0, (4, 2)) if series.dashed else "-",
        # A single point draws no line.
        marker="o" if few and (not series.faint or len(series.steps) == 1) else "",
        markersize=3.5,
    )


def _svg(figure: Figure, name: str, description: str) -> str:
    out = io.StringIO()
    no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(out, format="svg", transparent=True, metadata=no_metadata)
    body = out.getvalue()
    # The declarations before <svg>, and most of its attributes, are for an SVG file of its own.
    body = body[body.index("<svg") :]
    (box,) = re.findall(r'viewBox="([\d. ]+)"', body)
    body = body[body.index(">") + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    # A <style> would hold for the whole page; the page has these rules for its plots.
    body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)
    body = _with_unique_ids(body, name)
    # Older versions of matplotlib write size and family as one property, newer ones as two.
    body = re.sub(r"font: ([^;\"']*?px) [^;\"]*", r"font-size: \1", body)
    body = re.sub(r"font-family: [^;\"]*", "font-family: inherit", body)
    for colour, custom in _PROPERTIES.items():
        body = body.replace(colour, f"var({custom})")
    body = re.sub(r"\s*\n\s*", "\n", body)
    return f'<svg viewBox="{box}" role="img" aria-label="{html.escape(description)}">{body.strip()}'


def _with_unique_ids(svg: str, name: str) -> str:
    """Removes the ids that nothing refers to, and puts the plot's name before the others."""
    used = set(_REFERENCE.findall(svg))
    prefix = re.sub(r"[^\w-]", "-", name)

    def identifier(found: re.Match[str]) -> str:
        return f' id="{prefix}-{found[1]}"' if found[1] in used else ""

    svg = re.sub(r' id="([^"]+)"', identifier, svg)
    svg = svg.replace('xlink:href="#', f'href="#{prefix}-')
    return svg.replace("url(#", f"url(#{prefix}-")
