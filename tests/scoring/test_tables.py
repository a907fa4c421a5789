"""The files of an evaluation: exact as JSON, harmless in a spreadsheet as CSV."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from support.scored import LABELS, PROBABILITIES, scored

from mnist_estimator import InputError
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


def test_lines_for_a_terminal_are_aligned():
    lines = tables.as_lines(scored(LABELS, PROBABILITIES), ["a", "long name", "c"])
    assert lines[0].startswith("calibration error 0.") and lines[1] == ""
    header, *rows = lines[2:6]
    assert header.split() == ["class", "precision", "recall", "f1", "examples"]
    assert rows[0].split() == ["a", "0.5000", "0.6667", "0.5714", "3"]
    assert len({len(line) for line in (header, *rows)}) == 1
    assert lines[7].split() == ["true\\predicted", "a", "long", "name", "c"]
    assert [line.split()[-3:] for line in lines[8:]] == [
        ["2", "1", "0"], ["1", "1", "0"], ["1", "0", "0"]
    ]  # fmt: skip


def test_a_wide_confusion_matrix_is_left_out_and_so_is_one_that_was_not_counted():
    wide = Scores(21)
    wide.add(np.array([0]), np.zeros([1, 21]), np.zeros([1, 2, 2, 1], np.uint8), np.array([0]))
    lines = tables.as_lines(wide, [f"class{number}" for number in range(21)])
    assert len(lines) == 2 + 1 + 21 and "" not in lines[2:]
    (line,) = tables.as_lines(None, ["a"])
    assert line.startswith("no confusion matrix: the data has more classes")


def test_no_table_of_an_earlier_evaluation_stays(tmp_path):
    tables.write(str(tmp_path), {}, scored(LABELS, PROBABILITIES), ["a", "b", "c"])
    tables.write(str(tmp_path), {}, None, ["a", "b", "c"])
    assert [path.name for path in tmp_path.iterdir()] == [tables.JSON_FILE]


def test_files_of_another_program_are_not_replaced(tmp_path):
    found = scored(LABELS, PROBABILITIES)
    folder = str(tmp_path / "results")
    tables.check_folder(folder)
    for _ in range(2):
        tables.write(folder, {"accuracy": 0.5, "global_step": 7}, found, ["a", "b", "c"])
        tables.check_folder(folder)
    for name in (tables.JSON_FILE, tables.PER_CLASS_FILE, tables.CONFUSION_FILE):
        whole = (tmp_path / "results" / name).read_bytes()
        (tmp_path / "results" / name).write_text('{"class": 7}')
        with pytest.raises(InputError, match=f"{name}: a file of another program is there"):
            tables.check_folder(folder)
        (tmp_path / "results" / name).write_bytes(whole)
