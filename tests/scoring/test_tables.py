"""The files of an evaluation: exact as JSON, harmless in a spreadsheet as CSV."""

from __future__ import annotations

import csv

import pytest

from mnist_estimator.scoring import tables
from mnist_estimator.scoring.scores import Scores


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("zero", "zero"),
        ("-1", "-1"),
        ("+2.5", "+2.5"),
        ("a=b", "a=b"),
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("-1+cmd|x", "'-1+cmd|x"),
        ("+cmd", "'+cmd"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "'\t=1"),
        ("\uff1d1+1", "'\uff1d1+1"),
    ],
)
def test_a_class_name_is_no_formula_in_a_spreadsheet(tmp_path, name, cell):
    scores = Scores(2, brightest_pixel=255)
    tables.write(str(tmp_path), {"accuracy": 1.0}, scores, [name, "other"])
    for file, row, column in ((tables.PER_CLASS_FILE, 1, 0), (tables.CONFUSION_FILE, 0, 1)):
        with open(tmp_path / file, newline="", encoding="utf-8") as opened:
            assert list(csv.reader(opened))[row][column] == cell
