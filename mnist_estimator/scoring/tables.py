"""An evaluation as tables: for a terminal, and as JSON and CSV files."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

from mnist_estimator.runtime import files
from mnist_estimator.runtime.files import write_json, write_text
from mnist_estimator.scoring.scores import OVERALL_METRICS, Scores

JSON_FILE = "evaluation.json"
PER_CLASS_FILE = "per_class.csv"
CONFUSION_FILE = "confusion_matrix.csv"

# What each of these files has near its beginning.
_MARKS = {
    JSON_FILE: b'"global_step": ',
    PER_CLASS_FILE: b"class,precision,",
    CONFUSION_FILE: b"true\\predicted,",
}
_MAX_COLUMNS = 20  # A terminal has no room for a wider confusion matrix.


def as_lines(scores: Scores | None, class_names: Sequence[str]) -> list[str]:
    """The overall metrics, a table of the classes, and the confusion matrix if it is not wide.

    Without scores a line that says why.
    """
    if scores is None:
        return ["no confusion matrix: the data has more classes than can be looked through"]
    lines = [f"{metric.label} {metric.compute(scores):.4f}" for metric in OVERALL_METRICS]
    lines.append("")
    header, *rows = _per_class(scores, class_names)
    shown = [[name, *(f"{rate:.4f}" for rate in rates), f"{n:,}"] for name, *rates, n in rows]
    lines += _aligned([header, *shown])
    if len(class_names) <= _MAX_COLUMNS:
        matrix = [[str(cell) for cell in row] for row in _confusion(scores, class_names)]
        lines += ["", *_aligned(matrix)]
    return lines


def check_folder(folder: str) -> None:
    """Raises InputError if a folder has another program's file that `write` would replace."""
    for name, mark in _MARKS.items():
        files.check_ours(os.path.join(folder, name), mark)


def write(
    folder: str, metrics: dict[str, Any], scores: Scores | None, class_names: Sequence[str]
) -> None:
    """Writes the files of an evaluation; without scores only the JSON file, and removes the others.

    Raises:
      InputError: if one cannot be written.
    """
    files.make_folders(folder)
    write_json(os.path.join(folder, JSON_FILE), metrics)
    if scores:
        write_text(os.path.join(folder, PER_CLASS_FILE), _csv(_per_class(scores, class_names)))
        write_text(os.path.join(folder, CONFUSION_FILE), _csv(_confusion(scores, class_names)))
    else:  # Those of an earlier evaluation would be taken for this one's.
        for name in (PER_CLASS_FILE, CONFUSION_FILE):
            files.remove(os.path.join(folder, name))


def _per_class(scores: Scores, class_names: Sequence[str]) -> list[list[Any]]:
    rates = scores.per_class()
    columns = [values.tolist() for values in rates.values()]
    return [["class", *rates], *map(list, zip(class_names, *columns, strict=True))]


def _confusion(scores: Scores, class_names: Sequence[str]) -> list[list[Any]]:
    rows = zip(class_names, scores.confusion.tolist(), strict=True)
    return [["true\\predicted", *class_names], *([name, *counts] for name, counts in rows)]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]))
    return lines


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([map(_no_formula, row) for row in rows])
    return text.getvalue()


# Spreadsheets compute a cell that begins with one of these. Japanese keyboards have the wide forms.
_FORMULA = re.compile("[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


def _no_formula(cell: Any) -> Any:
    """Puts an apostrophe before a name that a spreadsheet would compute, which makes it text."""
    is_formula = isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell)
    return f"'{cell}" if is_formula else cell
