"""What a part of the comparison is: its tasks, and what is shown of their results.

A part is a module with one constant, `PART`. Its tasks are small programs in `benchmarks/peers/`.
Each runs in one of the pinned environments and prints one line of JSON, the last of its output:
`{"images_per_second": 2130.4}`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

BFLOAT16 = "bfloat16"  # What a task may need: a processor that multiplies bfloat16 in hardware.

# For the texts of the parts that train.
ONEDNN = """\
All that runs on TensorFlow has oneDNN switched on (`TF_ENABLE_ONEDNN_OPTS=1`): this package's
commands do so by themselves, TensorFlow does so only on newer processors."""

Record = dict[str, Any]  # A line of the results, as `results.Results` describes it.


@dataclasses.dataclass(frozen=True)
class Options:
    """What the command was asked for.

    Attributes:
      data_dir: folder with MNIST's IDX files.
      work_dir: for environments, prepared data and raw results.
      rounds: how often all contenders take their turn.
      seeds: how often they train to a target, each time from another seed.
      quick: only a look: short measurements, few settings.
      threads: processor cores that each contender gets.
      keep: leave large files of a part where they are.
    """

    data_dir: Path
    work_dir: Path
    rounds: int = 5
    seeds: int = 5
    quick: bool = False
    threads: int = 2
    keep: bool = False


@dataclasses.dataclass(frozen=True)
class Task:
    """What is measured once a round.

    Attributes:
      contender: its row in the table, or its column if there are many settings.
      setting: what it is compared in, as "batch 100".
      environment: the name of a requirement file in `benchmarks/peers/`, without .txt.
      program: a file in `benchmarks/peers/`.
      arguments: of the program.
      deadline: seconds after which the program is killed and counts as failed.
      needs: BFLOAT16, or "".
    """

    contender: str
    setting: str
    environment: str
    program: str
    arguments: tuple[str, ...] = ()
    deadline: float = 600.0
    needs: str = ""


@dataclasses.dataclass(frozen=True)
class Value:
    """One number of a task's JSON line: its key there, and how it is shown.

    Attributes:
      absent: what is said where a program ran but gave null for it.
      average: of the rounds: median or mean.
    """

    key: str
    title: str
    unit: str
    larger_is_better: bool = True
    absent: str = "no result"
    average: str = "median"


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of the comparison.

    Attributes:
      name: as in `--parts`.
      text: Markdown under the title: what is measured, and how.
      values: each gets a table and a plot.
      ours: the contender that the others are compared with.
      tasks: the tasks of a round, 0, 1, ..., in their order.
      rounds: how many rounds.
      prepare: makes what the tasks need, below work_dir, unless it is there.
      clean: removes what is too large to stay, unless it is to be kept.
      shown: whether a contender belongs into the tables and plots.
      settings_down: whether the table has a row for each setting, and its columns are contenders.
      more: Markdown to add below the tables, from the records of the part.
    """

    name: str
    title: str
    text: str
    values: tuple[Value, ...]
    ours: str
    tasks: Callable[[Options, int], Sequence[Task]]
    rounds: Callable[[Options], int] = lambda options: options.rounds
    prepare: Callable[[Options], None] = lambda options: None
    clean: Callable[[Options], None] = lambda options: None
    shown: Callable[[str], bool] = lambda contender: True
    settings_down: bool = False
    more: Callable[[Sequence[Record]], str] = lambda records: ""
