"""Trains recipes with several seeds, and says how accurate they are and whether they differ.

  python benchmarks/quality.py --source_dir=mnist_idx --seeds=10 recipes/cnn_adam.flags
  python benchmarks/quality.py --source_dir=mnist_idx --without=elastic,ema_decay my_recipe.flags
  python benchmarks/quality.py --source_dir=mnist_idx --on=validation recipes/*.flags

The rule: what a recipe says is chosen on the validation split, with --on=validation, where 5,000
training images are set apart, or as many as --validation_split says. With --on=test it trains on
all training images, and the test split is looked at once for each seed, at the final step. There is
no best of several steps or seeds.

--without also trains the first recipe once for each of these flags, with the flag switched off.
Flags that belong together are joined by +: --without=rotate+scale,elastic.

Each finished seed is a row of the CSV file. The same command goes on where it was: a run that was
killed continues from its last checkpoint, and what has a row is not trained again. A row counts as
long as the recipe's flags and the prepared data are the same; it does not know the defaults of
flags that the recipe does not name.

It prints the mean, the standard deviation, the least and the most of each recipe. For every other
recipe it prints the mean difference from the first one over the seeds that both have, its 95%
interval (Student's t), and McNemar's exact test on the examples that only one of both gets right,
all seeds together.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import functools
import hashlib
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

_COLUMNS = (
    *("recipe", "on", "data", "flags", "seed", "examples", "accuracy", "loss", "steps", "seconds"),
    "wrong",
)
# Flags that a study sets itself.
_OWN = ("--model_dir", "--data_dir", "--dataset", "--validation_split", "--export", "--seed")
_OWN += ("--eval_split", "--keep_checkpoint_max", "--final_test")
# The 0.975 quantile of Student's t with 1, 2, ... degrees of freedom; 1.96 for more.
_STUDENT = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
)
# What switches off a flag whose default is not off.
_OFF = {"label_smoothing": "0"}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Flags of `train` under a name."""

    name: str
    flags: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Tells these flags from others."""
        return hashlib.sha256("\n".join(self.flags).encode()).hexdigest()[:12]


@dataclasses.dataclass(frozen=True)
class Data:
    """Prepared data, and the split that is evaluated.

    Attributes:
      held_out: training images in the validation split, which is evaluated; 0: the test split is.
    """

    data_dir: str
    held_out: int

    @property
    def on(self) -> str:
        """The split that is evaluated."""
        return "validation" if self.held_out else "test"

    @functools.cached_property
    def digest(self) -> str:
        """The first digits of the digest of the manifest."""
        return json.loads(Path(self.data_dir, "manifest.json").read_bytes())["sha256"][:12]


@dataclasses.dataclass(frozen=True)
class Row:
    """A finished seed.

    Attributes:
      data: the digest of the prepared data.
      flags: the recipe's digest.
      wrong: the numbers of the examples that it gets wrong.
    """

    recipe: str
    on: str
    data: str
    flags: str
    seed: int
    examples: int
    accuracy: float
    loss: float
    steps: int
    seconds: float
    wrong: tuple[int, ...]


def main(argv: Sequence[str]) -> None:
    """Trains what has no row yet, and prints what the rows say."""
    given = _parser().parse_args(argv)
    recipes = [_read(Path(path)) for path in given.recipes]
    recipes += [without(recipes[0], name) for name in filter(None, given.without.split(","))]
    names = [recipe.name for recipe in recipes]
    for name in names:
        if names.count(name) > 1:
            sys.exit(f"quality.py: found two recipes {name}, expected a name for each")
    rows = read_rows(given.csv)
    held_out = given.validation_split if given.on == "validation" else 0
    data = prepare(given.source_dir, held_out, given.work_dir)
    for seed in range(given.seeds):  # All recipes of a seed first: differences are of pairs.
        for recipe in recipes:
            if not any(_is_of(row, recipe, data) and row.seed == seed for row in rows):
                row = train(recipe, seed, data, given.work_dir)
                add_row(given.csv, row)
                rows.append(row)
                print(f"{recipe.name} seed {seed}: {data.on} accuracy {row.accuracy:.4f}")
    print(table(recipes, rows, data))


def without(recipe: Recipe, flags: str) -> Recipe:
    """The recipe with a flag, or several joined by +, switched off."""
    kept = {line.partition("=")[0]: line for line in recipe.flags}
    for flag in flags.split("+"):
        if not kept.pop(f"--{flag}", None):
            sys.exit(f"quality.py: --without: {recipe.name} has no --{flag}")
        if flag in _OFF:
            kept[f"--{flag}"] = f"--{flag}={_OFF[flag]}"
    return Recipe(f"{recipe.name} without {flags}", tuple(kept.values()))


def prepare(source_dir: str, held_out: int, work_dir: Path) -> Data:
    """Prepares the four IDX files of a folder; does nothing if they are prepared already.

    Args:
      held_out: as in `Data`.
    """
    digest = hashlib.sha256(os.path.abspath(source_dir).encode()).hexdigest()[:12]
    data_dir = work_dir / f"data-{digest}-{held_out}"
    command = [
        *(sys.executable, "-m", "mnist_estimator.prepare", f"--source_dir={source_dir}"),
        *(f"--data_dir={data_dir}", f"--validation_split={held_out}"),
    ]
    if subprocess.run(command, check=False).returncode:
        sys.exit(f"quality.py: {source_dir} cannot be prepared")
    return Data(str(data_dir), held_out)


def train(recipe: Recipe, seed: int, data: Data, work_dir: Path) -> Row:
    """Trains a recipe to its last step, or goes on with it, and evaluates the final weights."""
    folder = work_dir / f"{recipe.name.replace(' ', '_')}-{recipe.digest}"
    model_dir = folder / f"{data.on}-{data.digest}-{seed}"
    began = time.time()
    command = [
        *(sys.executable, "-m", "mnist_estimator.train", *recipe.flags),
        *(f"--data_dir={data.data_dir}", f"--model_dir={model_dir}", f"--seed={seed}"),
        *(f"--validation_split={data.held_out}", "--eval_split=none", "--export=none"),
        # The test split stays unseen while a recipe is chosen; else it is evaluated once, below.
        *("--keep_checkpoint_max=1", "--final_test=false"),
    ]
    if subprocess.run(command, check=False).returncode:
        sys.exit(f"quality.py: {recipe.name} seed {seed}: the run in {model_dir} has failed")
    metrics, wrong = _evaluate(str(model_dir), data.on)
    return Row(
        recipe=recipe.name,
        on=data.on,
        data=data.digest,
        flags=recipe.digest,
        seed=seed,
        examples=metrics["examples"],
        accuracy=metrics["accuracy"],
        loss=metrics["loss"],
        steps=metrics["global_step"],
        seconds=round(time.time() - began, 1),
        wrong=tuple(wrong),
    )


def table(recipes: Sequence[Recipe], rows: Sequence[Row], data: Data) -> str:
    """What the rows say of the recipes on these data, as Markdown."""
    of = {recipe.name: [row for row in rows if _is_of(row, recipe, data)] for recipe in recipes}
    lines = [
        f"| recipe | seeds | mean {data.on} accuracy | deviation | least | most "
        "| difference from the first | McNemar's p |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for recipe in recipes:
        found = [row.accuracy for row in of[recipe.name]]
        if not found:
            continue
        deviation = f"{statistics.stdev(found):.5f}" if len(found) > 1 else ""
        cells = [recipe.name, str(len(found)), f"{statistics.mean(found):.5f}", deviation]
        cells += [f"{min(found):.4f}", f"{max(found):.4f}"]
        cells += _difference(of[recipes[0].name], of[recipe.name])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def interval(differences: Sequence[float]) -> tuple[float, float]:
    """The 95% interval of the mean of two or more differences, by Student's t."""
    freedom = len(differences) - 1
    quantile = _STUDENT[freedom - 1] if freedom <= len(_STUDENT) else 1.96
    half = quantile * statistics.stdev(differences) / math.sqrt(len(differences))
    return statistics.mean(differences) - half, statistics.mean(differences) + half


def mcnemar(first_only: int, second_only: int) -> float:
    """The two-sided exact p of McNemar's test.

    McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika, 1947; exact by the binomial distribution.

    Args:
      first_only, second_only: how many examples only one of both gets wrong.
    """
    count = first_only + second_only
    tail = sum(math.comb(count, k) for k in range(min(first_only, second_only) + 1))
    return min(1.0, 2 * tail / 2**count)


def read_rows(path: Path) -> list[Row]:
    """The rows of the CSV file; none if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [
            Row(
                **{name: line.get(name, "") for name in ("recipe", "on", "data", "flags")},
                **{name: int(line[name]) for name in ("seed", "examples", "steps")},
                **{name: float(line[name]) for name in ("accuracy", "loss", "seconds")},
                wrong=tuple(map(int, line["wrong"].split())),
            )
            for line in csv.DictReader(file)
            if line["wrong"] is not None  # A row that a kill cut off counts for nothing.
        ]


def add_row(path: Path, row: Row) -> None:
    """Adds a row, which is on disk when this returns."""
    rows = [*read_rows(path), row]
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.tmp")
    with scratch.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for each in rows:
            values = dataclasses.asdict(each) | {"wrong": " ".join(map(str, each.wrong))}
            writer.writerow([values[name] for name in _COLUMNS])
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)


def _difference(first: Sequence[Row], other: Sequence[Row]) -> list[str]:
    """The cells of the mean difference with its interval, and of McNemar's p."""
    by_seed = {row.seed: row for row in first}
    pairs = [(by_seed[row.seed], row) for row in other if row.seed in by_seed]
    if not pairs or first == other:
        return ["", ""]
    differences = [row.accuracy - start.accuracy for start, row in pairs]
    text = f"{statistics.mean(differences):+.5f}"
    if len(pairs) > 1:
        low, high = interval(differences)
        text += f" ({low:+.5f} to {high:+.5f})"
    only = [(set(a.wrong) - set(b.wrong), set(b.wrong) - set(a.wrong)) for a, b in pairs]
    p = mcnemar(sum(len(a) for a, _ in only), sum(len(b) for _, b in only))
    return [text, f"{p:.2g}"]


def _evaluate(model_dir: str, on: str) -> tuple[dict[str, float], list[int]]:
    """The metrics of a run's final weights, and the numbers of the examples they get wrong."""
    from mnist_estimator import compat

    compat.quiet()
    from mnist_estimator.runs import open_run
    from mnist_estimator.scoring import evaluation

    wrong: list[int] = []

    class Wrong:
        def add(
            self, labels: np.ndarray, logits: np.ndarray, images: np.ndarray, index: np.ndarray
        ) -> None:
            del images
            wrong.extend(index[logits.argmax(axis=1) != labels].tolist())

    run = open_run.open_run(model_dir, open_run.NEWEST)
    metrics = evaluation.evaluate_alone(run, *run.data(split=on), on, scores=Wrong())
    return metrics, sorted(wrong)


def _read(path: Path) -> Recipe:
    flags = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        sys.exit(f"quality.py: {path}: {error}")
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line.startswith("--") and line and line[0] != "#":
            sys.exit(f"quality.py: {path}, line {number}: found {line!r}, expected --flag=value")
        if line.startswith("--flagfile"):
            sys.exit(f"quality.py: {path}, line {number}: found --flagfile, expected its flags")
        if line.startswith("--") and line.partition("=")[0] not in _OWN:
            flags.append(line)
    return Recipe(path.stem, tuple(flags))


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected 1 or more")
    return int(text)


def _is_of(row: Row, recipe: Recipe, data: Data) -> bool:
    found = (row.recipe, row.flags, row.on, row.data)
    return found == (recipe.name, recipe.digest, data.on, data.digest)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("recipes", nargs="+", help="files of flags of train")
    parser.add_argument("--source_dir", required=True, help="folder with the four IDX files")
    parser.add_argument("--seeds", type=_positive, default=5, help="seeds 0, 1, ... of each recipe")
    parser.add_argument(
        "--on", choices=("test", "validation"), default="test", help="what is evaluated"
    )
    parser.add_argument(
        "--validation_split",
        type=_positive,
        default=5000,
        help="training images set apart with --on=validation",
    )
    parser.add_argument(
        "--without", default="", help="flags left out, one (or one+other) at a time"
    )
    parser.add_argument("--work_dir", type=Path, default=Path("benchmarks/.work/quality"))
    parser.add_argument("--csv", type=Path, default=Path("benchmarks/.work/quality.csv"))
    return parser


if __name__ == "__main__":
    # The training that goes on ends with this program.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    main(sys.argv[1:])
