"""Answers are printed one line for each picture, whatever its name."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest

from mnist_estimator.pictures import methods
from mnist_estimator.serving import answers, predictors

PNG_HEADER = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s2I5BI", 13, b"IHDR", 28, 28, 8, *[0] * 5)

NAMES = [
    ("plain.png", "plain.png"),
    ("new\nline.png", r"new\nline.png"),
    ("\x1b[31mred\t.png", r"\x1b[31mred\t.png"),
    ("数字.png", "数字.png"),
    (os.fsdecode(b"latin\xe9.png"), r"latin\xe9.png"),
]


class Sevens:
    """Stands for a predictor: whatever it is shown is a 7."""

    pictures = methods.DIGIT

    def predict(self, encoded):
        return [predictors.Answer(True, (("7", 0.9), ("1", 0.1)))] * len(encoded)


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("kind", ["digit", "plain"])
def test_an_answer_is_one_line_that_fits_the_data(kind, as_json, tmp_path, capsys):
    class Predictor:
        pictures = kind

        def predict(self, encoded):
            best = (("shoe", 0.75), ("bag", 0.25))
            return [predictors.Answer(True, best, "Corrupt")] * len(encoded)

    path = tmp_path / "a\n\x1b[31m\udce9.png"
    path.write_bytes(PNG_HEADER)
    assert answers.print_answers(Predictor(), [str(path)], as_json=as_json) == 0
    out, err = capsys.readouterr()
    shown = f"{tmp_path}/a\\n\\x1b[31m\\xe9.png"
    assert err == f"warning: {shown}: Corrupt; its picture may be damaged, get it again\n"
    if not as_json:
        assert out == f"{shown}: shoe  0.7500  (or bag  0.2500)\n"
        return
    found = json.loads(out)
    assert found.pop("digit", "absent") == ("shoe" if kind == "digit" else "absent")
    assert found == {
        "file": str(path),
        "class": "shoe",
        "probability": 0.75,
        "runner_up": "bag",
        "runner_up_probability": 0.25,
        "warning": "Corrupt",
    }


@pytest.mark.parametrize("is_picture", [True, False])
@pytest.mark.parametrize(("name", "shown"), NAMES)
def test_every_name_gets_its_answer_in_one_line(
    name, shown, is_picture, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(PNG_HEADER if is_picture else b"no picture")
    failed = answers.print_answers(Sevens(), [name], as_json=False)
    said = capsys.readouterr()
    assert failed == (not is_picture)
    line = said.out if is_picture else said.err.partition(": ")[2]
    assert line.startswith(f"{shown}: ")
    assert said.out.count("\n") + said.err.count("\n") == 1
    answers.print_answers(Sevens(), [name], as_json=True)
    out = capsys.readouterr().out
    assert json.loads(out)["file"] == name
    assert out.count("\n") == 1 and out.isascii()
