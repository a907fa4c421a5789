"""JSON that is damaged, or written by somebody else, and the checks of its fields."""

import pytest

from mnist_estimator.runtime import json_files


def test_a_value_comes_back():
    assert json_files.parse(b'{"a": [1, 2.5, "x", null, true]}') == {"a": [1, 2.5, "x", None, True]}


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b'{"a": 1, "a": 2}', "a key stands twice"),
        (b"NaN", "NaN is no JSON number"),
        (b"1e999", "too large a number"),
        (b"1" * 41, "a number has 41 digits, expected at most 40"),
        (b"[" * 9 + b"]" * 9, "nested too deeply"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * (2**21 + 1), "lists and objects"),
    ],
)
def test_what_is_refused(data, problem):
    with pytest.raises(ValueError, match=problem):
        json_files.parse(data)


def test_numbers_that_json_does_not_have_can_be_allowed():
    assert json_files.parse(b"[Infinity]", finite=False) == [float("inf")]


@pytest.mark.parametrize(
    ("check", "value", "problem"),
    [
        (lambda value: json_files.expect(value, int, "x"), True, "x is True, expected a int"),
        (lambda value: json_files.expect_keys(value, ["a"], "x"), {}, "x has no a"),
        (
            lambda value: json_files.expect_keys(value, [], "x"),
            {"b": 1},
            "x has 'b', expected only",
        ),
        (lambda value: json_files.whole(value, "x", 1, 2), 3, "x is 3, expected 1 to 2"),
        (lambda value: json_files.number(value, "x"), 2**63, "expected a number"),
        (lambda value: json_files.text(value, "x"), "a\n", "expected printable text"),
        (lambda value: json_files.choice(value, "x", ["a", "b"]), "c", "expected a or b"),
        (lambda value: json_files.sha256(value, "x"), "0" * 63, "expected 64 hex digits"),
    ],
)
def test_a_wrong_value_names_its_field(check, value, problem):
    with pytest.raises(ValueError, match=problem):
        check(value)


def test_a_value_is_shown_short_and_in_ascii():
    assert json_files.shown({"a": 1}) == "a dict"
    assert json_files.shown("\u00e9") == r"'\xe9'"
    assert len(json_files.shown("x" * 10_000)) == 60
