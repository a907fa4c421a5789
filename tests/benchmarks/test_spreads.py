"""Middles, spreads and paired ratios."""

import pytest

from benchmarks.comparison.parts import Value
from benchmarks.comparison.spreads import Spread, rows, spread

SPEED = Value("speed", "Speed", "images/s")
TIME = Value("time", "Time", "s", larger_is_better=False, absent="not reached", average="mean")


def record(contender, number, **fields):
    key = {"part": "p", "setting": "s", "contender": contender, "round": number, "versions": "v"}
    return key | fields


def of(records, value):
    return {row.contender: row for row in rows(records, value, "ours")}


def test_a_spread_has_the_middle_and_both_ends():
    assert spread([3.0, 1.0, 8.0]) == Spread(3.0, 1.0, 8.0, 3)
    assert spread([3.0, 1.0, 8.0], "mean") == Spread(4.0, 1.0, 8.0, 3)
    assert spread([]) is None


def test_ratios_are_of_the_same_round():
    # The machine is three times as slow in round 1, for both.
    records = [
        record("ours", 0, values={"speed": 300.0}),
        record("peer", 0, values={"speed": 200.0}),
        record("ours", 1, values={"speed": 100.0}),
        record("peer", 1, values={"speed": 50.0}),
        record("peer", 2, values={"speed": 1.0}),  # Without its pair.
    ]
    peer = of(records, SPEED)["peer"]
    assert peer.ratio == Spread(1.75, 1.5, 2.0, 2)
    assert peer.measured == Spread(50.0, 1.0, 200.0, 3)


def test_above_one_is_ahead_whatever_the_unit():
    records = [
        record("ours", 0, values={"time": 10.0}),
        record("peer", 0, values={"time": 25.0}),
    ]
    assert of(records, TIME)["peer"].ratio.middle == pytest.approx(2.5)
    assert of(records, TIME)["ours"].ratio.middle == 1.0


def test_a_failure_and_a_missing_value_keep_their_reason():
    records = [
        record("ours", 0, values={"time": 10.0}),
        record("broken", 0, failed="out of memory"),
        record("slow", 0, values={"time": None}),
        record("slow", 1, values={"time": 30.0}),
    ]
    found = of(records, TIME)
    assert (found["broken"].measured, found["broken"].failed) == (None, "out of memory")
    assert (found["slow"].runs, found["slow"].measured.count) == (2, 1)
    assert found["slow"].failed == "not reached"
    assert found["ours"].failed == ""
