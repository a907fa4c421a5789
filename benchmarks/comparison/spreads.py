"""Medians, spreads and paired ratios of the records of a part."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence

from benchmarks.comparison.parts import Record, Value


@dataclasses.dataclass(frozen=True)
class Spread:
    """A median or mean, and from where to where the numbers go."""

    middle: float
    least: float
    most: float
    count: int


@dataclasses.dataclass(frozen=True)
class Row:
    """What is known of one contender in one setting.

    Attributes:
      measured: None if it always failed.
      ratio: how many times as fast the part's own contender is, round by round; None if there is
        no round with both. Above 1 it is better than this one, whatever the unit.
      runs: how often it ran to its end, with this value or without.
      failed: why it failed the last time, or lacks the value; "" if it did not.
    """

    setting: str
    contender: str
    measured: Spread | None
    ratio: Spread | None
    runs: int = 0
    failed: str = ""


def spread(numbers: Sequence[float], average: str = "median") -> Spread | None:
    """The spread of numbers; None of none."""
    if not numbers:
        return None
    middle = statistics.mean(numbers) if average == "mean" else statistics.median(numbers)
    return Spread(middle, min(numbers), max(numbers), len(numbers))


def rows(records: Sequence[Record], value: Value, ours: str) -> list[Row]:
    """One row for each setting and contender, in the order of their first records."""
    pairs = dict.fromkeys((record["setting"], record["contender"]) for record in records)
    return [_row(records, value, ours, setting, contender) for setting, contender in pairs]


def _row(records: Sequence[Record], value: Value, ours: str, setting: str, contender: str) -> Row:
    own, mine = (_by_round(records, value, setting, name) for name in (contender, ours))
    shared = [(mine[number], own[number]) for number in sorted(own) if number in mine]
    ratios = [(a / b if value.larger_is_better else b / a) for a, b in shared if a > 0 and b > 0]
    all_of_it = [r for r in records if (r["setting"], r["contender"]) == (setting, contender)]
    failures = [record["failed"] for record in all_of_it if "failed" in record]
    runs = len(all_of_it) - len(failures)
    return Row(
        setting,
        contender,
        measured=spread(list(own.values()), value.average),
        ratio=spread(ratios),
        runs=runs,
        failed=failures[-1] if failures else value.absent if len(own) < runs else "",
    )


def _by_round(
    records: Sequence[Record], value: Value, setting: str, contender: str
) -> dict[int, float]:
    return {
        record["round"]: record["values"][value.key]
        for record in records
        if (record["setting"], record["contender"]) == (setting, contender)
        and record.get("values", {}).get(value.key) is not None
    }
