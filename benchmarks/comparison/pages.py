"""Writes the page, the CSV files and the plots.

A part that has no results of this version and machine stays on the page as it was.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.comparison import environments, machine, plots, rounds, spreads, tables
from benchmarks.comparison.parts import Options, Part, Record
from benchmarks.comparison.results import KEY, Results

PAGE = "results.md"
BEGIN = "<!-- Written by `python -m benchmarks.run`: begin -->"
END = "<!-- Written by `python -m benchmarks.run`: end -->"
_PART = "<!-- Part `{}` -->"
_TITLE = "## Beside other packages"
_ABOUT = """\
`python -m benchmarks.run` measures this package and its peers alternately in one run and writes
what follows. Each part says on which machine and when it was measured: compare numbers within a
part only. Each number is the median or the mean over the rounds, with the least and the most
in brackets; a number of fewer rounds than others in its table says of how many. A *ratio* says how
many times as fast this package (in bold) is in the same round: above 1 this package is ahead; it is
the median of the rounds that both have, with the least and the most. A
contender that gives no result stays in the table with its reason."""


def write(parts: Sequence[Part], options: Options, results: Results, docs_dir: Path) -> None:
    """Writes the generated section of the page, and its files in `results/` beside it."""
    (docs_dir / "results").mkdir(parents=True, exist_ok=True)
    page = docs_dir / PAGE
    old = page.read_text(encoding="utf-8") if page.exists() else ""
    blocks = _blocks(old)
    for part in parts:
        planned = rounds.plan(part, options)
        records = records_of(planned, results)
        if not records:
            continue
        blocks[part.name] = "\n\n".join(
            [tables.markdown(part, records), _measured(options, planned, records)]
        )
        _write(docs_dir / "results" / f"{part.name}.csv", tables.csv_text(part, records))
        shown = [record for record in records if part.shown(record["contender"])]
        for value in part.values:
            plot = plots.bars(part, value, spreads.rows(shown, value, part.ours))
            _write(docs_dir / tables.plot_name(part, value), plot)
    section = [_TITLE, _ABOUT]
    for part in parts:
        if part.name in blocks:
            section += [_PART.format(part.name), blocks[part.name]]
    _write(page, merged(old, "\n\n".join(section)))


def _blocks(page: str) -> dict[str, str]:
    """The parts that a page has, by name."""
    generated = page.partition(BEGIN)[2].partition(END)[0]
    _, *found = re.split(_PART.format("(.*)"), generated)
    return {name: block.strip() for name, block in zip(found[::2], found[1::2], strict=True)}


def merged(page: str, section: str) -> str:
    """A page with its generated section replaced, or with one added at its end."""
    generated = f"{BEGIN}\n\n{section}\n\n{END}"
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if begin and end:
        return before + generated + after
    return (page.rstrip("\n") + "\n\n" if page else "") + generated + "\n"


def records_of(planned: Sequence[rounds.Planned], results: Results) -> list[Record]:
    """The records of a plan, as far as they are there."""
    found = {tuple(record[name] for name in KEY): record for record in results.latest()}
    keys = [tuple(entry.key[name] for name in KEY) for entry in planned]
    return [found[key] for key in keys if key in found]


def _measured(
    options: Options, planned: Sequence[rounds.Planned], records: Sequence[Record]
) -> str:
    """When, on which machine and in which environments a part was measured."""
    days = sorted({record["date"] for record in records})
    lines = [f"Measured on {', '.join(days)}", *machine.describe(options.threads)]
    used = sorted({entry.task.environment for entry in planned})
    lines += [f"Environment `{name}`: {environments.pins(name)}" for name in used]
    return "\n".join(f"- {line}" for line in lines)


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
