"""Flags that are defined by the fields of a dataclass, and checked by their limits."""

from __future__ import annotations

import dataclasses

import pytest
from absl import flags

from mnist_estimator import InputError
from mnist_estimator.runtime import flag_fields


@dataclasses.dataclass(frozen=True)
class Values:
    folder: str = flag_fields.setting("~/x", "A folder.", is_path=True)
    kind: str = flag_fields.setting("a", "A choice.", choices=("a", "b"))
    rate: float = flag_fields.setting(0.5, "A rate.", least=0.1, most=1)
    count: int | None = flag_fields.setting(None, "A number, or none.", least=1)
    plain: int = 3  # No flag.


def test_fields_become_flags(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    values = flags.FlagValues()
    flag_fields.define(flag_fields.fields_of(Values), values)
    values(["program", "--kind=b", "--count=2"])
    assert flag_fields.read(Values, values) == {
        "folder": "/home/me/x",
        "kind": "b",
        "rate": 0.5,
        "count": 2,
    }


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("kind", "c", "--kind: found 'c', expected one of a, b"),
        ("rate", 2.0, "--rate: found 2.0, expected at most 1"),
        ("rate", float("nan"), "--rate: found nan, expected at least 0.1"),
        ("count", 0, "--count: found 0, expected at least 1"),
        ("count", True, "--count: found True, expected a whole number"),
        ("folder", None, "--folder: found None, expected text"),
    ],
)
def test_a_value_outside_its_limits_names_the_flag(name, value, problem):
    field = next(field for field in dataclasses.fields(Values) if field.name == name)
    with pytest.raises(InputError) as raised:
        flag_fields.check(field, value)
    assert str(raised.value) == problem


def test_no_value_is_fine_where_it_may_be_missing():
    field = next(field for field in dataclasses.fields(Values) if field.name == "count")
    flag_fields.check(field, None)
