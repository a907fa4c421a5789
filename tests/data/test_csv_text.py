"""The lines of a CSV file in one form. What programs write is tested by what `CsvSource` reads."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest

from mnist_estimator import InputError
from mnist_estimator.data.csv_text import CsvError, CsvText, without_blanks


def _text(tmp_path: Path, content: bytes) -> CsvText:
    (tmp_path / "a.csv").write_bytes(content)
    return CsvText(str(tmp_path / "a.csv"))


@pytest.mark.parametrize(
    "content",
    [
        b"label,p0,p1\n1,2,3\n4,5,6\n",
        b"label;p0;p1\r\n1;2;3\r\n4;5;6\r\n",
        b'"label"\t"p0"\t"p1"\n"1"\t"2"\t"3"\n4\t5\t6',
        "label,p0,p1\n1,2,3\n4,5,6\n".encode("utf-16"),
        gzip.compress(b"label,p0,p1\n1,2,3\n4,5,6\n"),
    ],
    ids=["commas", "semicolons", "quotes", "UTF-16", "gzip"],
)
def test_lines_have_one_form(tmp_path: Path, content: bytes):
    text = _text(tmp_path, content)
    assert (text.names, text.num_fields, text.first_line) == (["label", "p0", "p1"], 3, 2)
    assert list(text.lines()) == [(2, b"1,2,3"), (3, b"4,5,6")]
    plain = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    assert text.digest == hashlib.sha256(plain).hexdigest()


def test_without_a_header_there_are_no_names(tmp_path: Path):
    text = _text(tmp_path, b"1,2,3\n4,5,6\n")
    assert (text.names, text.first_line) == ([], 1)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "line 1: found no examples, expected a label and pixels"),
        (b"<html>", "found an HTML or XML page, expected text"),
        (b"PK\x03\x04", "found a ZIP archive, Excel or .npz file, expected text; unpack it"),
    ],
)
def test_what_is_no_text_is_named(tmp_path: Path, content: bytes, problem: str):
    with pytest.raises(InputError, match=problem):
        _text(tmp_path, content)


def test_a_blank_line_may_only_end_the_file(tmp_path: Path):
    text = _text(tmp_path, b"1,2\n\n3,4\n")
    with pytest.raises(CsvError, match="line 2: found nothing"):
        list(text.lines())


def test_blanks_around_commas_go_however_many_they_are():
    """A million at a place that no comma follows took minutes."""
    many = b" \t" * 500_000
    assert without_blanks(b" 1 ,\t2 3 , 4\r") == b"1,2 3,4"
    assert without_blanks(b"1" + many + b"2, 3") == b"1" + many + b"2,3"
