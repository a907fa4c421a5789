"""How long commands take to start, beside Python's own start and TensorFlow's import."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.comparison import spreads, tables
from benchmarks.comparison.parts import Options, Part, Record, Task, Value

_TEXT = """\
Seconds from the start of a command to its end, and the processor's, on the bundled sample. Here the
row in bold is a process that only imports TensorFlow: a ratio of 2 says that the command takes
twice as long. The table at the end has the ratios to `python -c pass`."""

_IMPORT = 'python -c "import tensorflow"'
_PYTHON = "python -c pass"
_ROWS = {
    _PYTHON: "python",
    _IMPORT: "import",
    "train --help": "help",
    "train, a wrong flag": "flag_error",
    "launch --help": "launch_help",
    "launch, a wrong flag": "launch_error",
    "submit --dry_run": "dry_run",
    "train --explain of a cluster": "explain",
    "train, until the first step": "first_step",
    "train, continued by one step": "resume",
    "train of one step, with evaluations and export": "one_step",
    "evaluate a checkpoint": "evaluate",
}
_SETTING = "from start to end"


def _tasks(options: Options, round_number: int) -> list[Task]:
    return [
        Task(row, _SETTING, "tensorflow", "start_up.py", (f"--command={command}",))
        for row, command in _ROWS.items()
    ]


def _ratios(records: Sequence[Record]) -> str:
    lines = [f"**How many times `{_PYTHON}`**", "", "| | seconds | processor's seconds |"]
    lines.append("| --- | ---: | ---: |")
    found = [spreads.rows(records, value, _PYTHON) for value in _VALUES]
    for wall, cpu in zip(*found, strict=True):
        cells = [tables.number(row.ratio.middle) if row.ratio else "" for row in (wall, cpu)]
        lines.append(f"| {wall.contender} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


_VALUES = (
    Value("seconds", "Start-up", "s", larger_is_better=False),
    Value("cpu_seconds", "Processor's time of a start", "s", larger_is_better=False),
)

PART = Part(
    name="start_up",
    title="Starting",
    text=_TEXT,
    values=_VALUES,
    ours=_IMPORT,
    tasks=_tasks,
    more=_ratios,
)
