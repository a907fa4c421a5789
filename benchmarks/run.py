"""Measures this package and its peers alternately, and writes docs/results.md.

  python -m benchmarks.run --data_dir=DIR              everything: hours
  python -m benchmarks.run --data_dir=DIR --quick      a look at everything, for minutes
  python -m benchmarks.run --data_dir=DIR --parts=training,input --rounds=3
  python -m benchmarks.run --data_dir=DIR --parts=accuracy --only="this package" --only="Keras 3"

DIR holds the four IDX files of MNIST, .gz or not; nothing but the contenders' environments is
downloaded. All contenders take turns (A B C A B C ...), one at a time, each in a pinned virtual
environment that is made the first time. Leave the machine alone meanwhile. Killed and started
again with the same flags, it goes on where it was; what is measured is in WORK_DIR/results.jsonl.
Cut off at any time, the same flags and --only_write make the page of what is there. Round 1 of all
contenders of a part comes before round 2. With --quick the page is written to WORK_DIR/quick.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from benchmarks.comparison import pages, rounds
from benchmarks.comparison.parts import Options, Part
from benchmarks.comparison.results import Results

_HERE = Path(__file__).resolve().parent
# Their modules in benchmarks/comparison, in the order of the page.
PARTS = ("training", "accuracy", "input", "prepare", "answers", "start_up")


def main(argv: list[str] | None = None) -> None:
    """Reads the flags, measures what is missing, and writes the page."""
    parser = _parser()
    flags = parser.parse_args(argv)
    options = Options(
        data_dir=flags.data_dir,
        work_dir=flags.work_dir,
        rounds=flags.rounds or (1 if flags.quick else 5),
        seeds=flags.seeds or (1 if flags.quick else 5),
        quick=flags.quick,
        threads=flags.threads,
        keep=flags.keep,
    )
    chosen = [part(name) for name in flags.parts]
    plan = {one: rounds.plan(one, options) for one in chosen}
    names = dict.fromkeys(entry.task.contender for planned in plan.values() for entry in planned)
    for name in flags.only:
        if name not in names:
            parser.error(f"--only: found {name!r}, expected one of {', '.join(map(repr, names))}")
    results = Results(options.work_dir / "results.jsonl")
    if flags.again:
        results.forget_failures()
    if not flags.only_write:
        _measure(plan, flags.only or list(names), options, results)
    docs_dir = flags.docs_dir or (
        options.work_dir / "quick" if flags.quick else _HERE.parent / "docs"
    )
    pages.write([part(name) for name in PARTS if has(name)], options, results, docs_dir)
    print(f"wrote {docs_dir / pages.PAGE}")


def _measure(
    plan: dict[Part, list[rounds.Planned]], names: list[str], options: Options, results: Results
) -> None:
    try:
        for one in plan:
            one.prepare(options)
        planned = [entry for part in plan.values() for entry in part]
        planned = [entry for entry in planned if entry.task.contender in names]
        rounds.make_environments(planned, options)
        rounds.run(planned, options, results)
    finally:
        for one in [] if options.keep else plan:
            one.clean(options)


def has(name: str) -> bool:
    """Whether the part of a name is there."""
    return (_HERE / "comparison" / f"{name}.py").exists()


def part(name: str) -> Part:
    """The part of a name in `PARTS`."""
    return importlib.import_module(f"benchmarks.comparison.{name}").PART


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data_dir", type=_folder, required=True, help="Folder with MNIST's IDX files.")
    add(
        "--parts",
        type=_names,
        default=list(PARTS),
        help=f"Which parts, with commas: {','.join(PARTS)}. Default: all.",
    )
    add(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="A contender, as the page names it; give it again for more. Default: all.",
    )
    add("--rounds", type=_positive, help="Turns of each contender. Default: 5, quick 1.")
    add("--seeds", type=_positive, help="Runs to a target accuracy. Default: 5, quick 1.")
    add("--threads", type=_positive, default=2, help="Cores of each contender. Default: 2.")
    add("--quick", action="store_true", help="A short look: small measurements, few settings.")
    add("--again", action="store_true", help="Try again what failed before.")
    add("--keep", action="store_true", help="Leave the large files that were made (14 GB).")
    add("--only_write", action="store_true", help="Measure nothing, write the page anew.")
    add(
        "--work_dir",
        type=Path,
        default=_HERE / ".work",
        help="For environments, data and raw results. Default: benchmarks/.work.",
    )
    add("--docs_dir", type=Path, help="Where the page is written. Default: docs.")
    return parser


def _folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"found no folder {text!r}")
    return Path(text)


def _names(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in PARTS:
            raise argparse.ArgumentTypeError(f"found {name!r}, expected any of {','.join(PARTS)}")
    return [name for name in PARTS if name in names]


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number from 1")
    return int(text)


if __name__ == "__main__":
    main()
