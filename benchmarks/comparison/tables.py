"""The results as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from benchmarks.comparison import spreads
from benchmarks.comparison.parts import Part, Record, Value
from benchmarks.comparison.spreads import Row, Spread

_COLUMNS = (
    *("part", "setting", "contender", "value", "unit", "middle", "least", "most", "rounds"),
    *("ratio_middle", "ratio_least", "ratio_most", "ratio_rounds", "failed"),
)


def markdown(part: Part, records: Sequence[Record]) -> str:
    """The section of a part: its text, a table and a plot for each value, and what it adds."""
    shown = [record for record in records if part.shown(record["contender"])]
    blocks = [f"### {part.title}", part.text]
    for value in part.values:
        rows = spreads.rows(shown, value, part.ours)
        blocks += [f"**{value.title}, {value.unit}, {value.average}**", _table(rows, part)]
        blocks.append(f"![{value.title}]({plot_name(part, value)})")
    return "\n\n".join(filter(None, [*blocks, part.more(records)]))


def plot_name(part: Part, value: Value) -> str:
    """The path of a value's plot, from the folder of the page."""
    return f"results/{part.name}_{value.key}.svg"


def csv_text(part: Part, records: Sequence[Record]) -> str:
    """The same numbers as CSV, one line a setting, contender and value."""
    shown = [record for record in records if part.shown(record["contender"])]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for value in part.values:
        for row in spreads.rows(shown, value, part.ours):
            head = (part.name, row.setting, row.contender, value.key, value.unit)
            writer.writerow([*head, *_cells(row.measured), *_cells(row.ratio), row.failed])
    return text.getvalue()


def number(value: float) -> str:
    """Three digits at least, thousands with commas."""
    for least, decimals in ((99.95, 0), (9.995, 1), (0.9995, 2)):
        if abs(value) >= least:
            return f"{value:,.{decimals}f}"
    return f"{value:.3g}"


def spread_text(found: Spread | None) -> str:
    """A middle, and in brackets from where to where; "" of none."""
    if found is None:
        return ""
    if found.count == 1:
        return number(found.middle)
    return f"{number(found.middle)} ({number(found.least)} to {number(found.most)})"


def _table(rows: Sequence[Row], part: Part) -> str:
    settings = list(dict.fromkeys(row.setting for row in rows))
    cells = {(row.contender, row.setting): row for row in rows}
    heads = [f"{setting} | ratio" for setting in settings]
    lines = ["| | " + " | ".join(heads) + " |", "| --- |" + " ---: | ---: |" * len(settings)]
    for contender in dict.fromkeys(row.contender for row in rows):
        found = [cells.get((contender, setting)) for setting in settings]
        name = f"**{contender}**" if contender == part.ours else contender
        lines.append(f"| {name} | " + " | ".join(_cell(row, part.ours) for row in found) + " |")
    return "\n".join(lines)


def _cell(row: Row | None, ours: str) -> str:
    if row is None:
        return " | "
    # A bar would end the cell.
    reason = row.failed.replace("|", "/")
    if row.measured is None:
        return f"*{reason}* | "
    reason = f"; *in {row.measured.count} rounds, else {reason}*" if reason else ""
    ratio = "1" if row.contender == ours else spread_text(row.ratio)
    return f"{spread_text(row.measured)}{reason} | {ratio}"


def _cells(found: Spread | None) -> tuple[float | int | str, ...]:
    return (found.middle, found.least, found.most, found.count) if found else ("", "", "", 0)
