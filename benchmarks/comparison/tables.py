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
        most = _most(rows)
        caption = f"{value.title}, {value.unit}, {value.average} of {_rounds(most)}"
        blocks += [f"**{caption}**", _table(rows, part, most)]
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


def _most(rows: Sequence[Row]) -> int:
    """The rounds of the contender that has most results."""
    return max((row.measured.count for row in rows if row.measured), default=0)


def _rounds(count: int) -> str:
    return f"{count} round" + "s" * (count != 1)


def _table(rows: Sequence[Row], part: Part, most: int) -> str:
    settings, contenders = (
        dict.fromkeys(getattr(row, name) for row in rows) for name in ("setting", "contender")
    )
    cells = {(row.setting, row.contender): _cell(row, part.ours, most) for row in rows}
    down, across = contenders, settings
    if part.settings_down:
        down, across = settings, contenders
    else:
        cells = {(contender, setting): cell for (setting, contender), cell in cells.items()}
    heads = [f"{_name(name, part)} | ratio" for name in across]
    lines = ["| | " + " | ".join(heads) + " |", "| --- |" + " ---: | ---: |" * len(across)]
    for name in down:
        found = [cells.get((name, other), " | ") for other in across]
        lines.append(f"| {_name(name, part)} | " + " | ".join(found) + " |")
    return "\n".join(lines)


def _name(name: str, part: Part) -> str:
    return f"**{name}**" if name == part.ours else name


def _cell(row: Row, ours: str, most: int) -> str:
    # A bar would end the cell.
    reason = row.failed.replace("|", "/")
    if row.measured is None:
        few = f"; *in {_rounds(row.runs)}*" if 0 < row.runs < most else ""
        return f"*{reason}*{few} | "
    count = row.measured.count
    few = f"; *in {_rounds(count)}*" if count < most else ""
    if reason:
        few = f"; *in {_rounds(count)}, else {reason}*"
    ratio = "1" if row.contender == ours else spread_text(row.ratio)
    if row.ratio and row.ratio.count < count:
        ratio += f"; *in {_rounds(row.ratio.count)}*"
    return f"{spread_text(row.measured)}{few} | {ratio}"


def _cells(found: Spread | None) -> tuple[float | int | str, ...]:
    return (found.middle, found.least, found.most, found.count) if found else ("", "", "", 0)
