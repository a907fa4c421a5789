"""Measures runs on corrupted test images, side by side: accuracy and calibration.

  python -m benchmarks.robustness --model_dir=tboard/mod1 --model_dir=tboard/mod2
  python -m benchmarks.robustness --model_dir=run1,run2,run3 --views=5 --output=robustness
  python -m benchmarks.robustness --model_dir=tboard/mod1 --examples=1000 --picture=kinds.png

Each --model_dir is a run, or are runs with commas in between that answer together. They are
evaluated on the same test images: as they are, and corrupted in the fifteen ways of
`corruptions.py`. It prints a table: the accuracy on each kind, and the calibration error before and
after temperature scaling. The temperature is fitted on the clean validation images of the run's
data; without any there is none. Nothing may be chosen by these numbers: they are of the test split.

--output writes robustness.csv. --picture shows the first twelve images, a row for each kind.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from absl import flags

from mnist_estimator import InputError
from mnist_estimator.runtime import flag_fields, program, progress

if TYPE_CHECKING:
    from benchmarks.robustness_scores import Result

CSV_FILE = "robustness.csv"


def define_flags() -> None:
    """Defines the program's flags."""
    flags.DEFINE_multi_string("model_dir", [], "Folder of a run, or of several")
    flag_fields.define_path("data_dir", "", "Folder with prepared records. Default: each run's.")
    flags.DEFINE_enum("views", "1", ("1", "5", "9"), "How often a network looks at each image.")
    flags.DEFINE_integer("seed", 0, "Of the corruptions.", lower_bound=0, upper_bound=2**32 - 1)
    flags.DEFINE_integer("examples", 0, "First test examples; 0 for all.", lower_bound=0)
    flag_fields.define_path("output", "", "Folder to write the table to, as CSV.")
    flag_fields.define_path("picture", "", "PNG file to write the first images to.")


def main(_: list[str]) -> None:
    """Measures each run, and prints the table."""
    given = flags.FLAGS
    names = given.model_dir
    if not names or len(set(names)) < len(names):
        found = ", ".join(names) or "none"
        raise InputError(f"--model_dir: found {found}, expected one or more, each of them once")
    # Imported here, because TensorFlow takes seconds and wrong flags need no TensorFlow.
    from mnist_estimator.runtime import files

    results = _measure(names, given)
    if given.output:
        files.make_folders(given.output)
        files.write_text(os.path.join(given.output, CSV_FILE), as_csv(results))
    progress.tell(*as_lines(results))


def as_lines(results: Mapping[str, Result]) -> list[str]:
    """A table in Markdown with a column for each run."""
    every = [result.rows() for result in results.values()]
    lines = [["", *results], ["---", *["--:"] * len(results)]]
    for rows in zip(*every, strict=True):
        lines.append([rows[0].images, *(f"{100 * row.accuracy:.2f}%" for row in rows)])
    for place in (0, -1):  # Clean, and the mean.
        rows = [found[place] for found in every]
        name = f"calibration error, {rows[0].images}"
        lines.append([name, *(_shown(row.calibration_error) for row in rows)])
        lines.append([f"{name}, scaled", *(_shown(row.scaled_calibration_error) for row in rows)])
    lines.append(["temperature", *(_shown(result.temperature) for result in results.values())])
    return [f"| {' | '.join(line)} |" for line in lines]


def as_csv(results: Mapping[str, Result]) -> str:
    """A row for each run and each kind of images."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ("images", "accuracy", "calibration_error", "scaled_calibration_error")
    writer.writerow(["run", *columns, "temperature"])
    for name, result in results.items():
        writer.writerows([name, *row, result.temperature] for row in result.rows())
    return text.getvalue()


def _measure(names: Sequence[str], given: flags.FlagValues) -> dict[str, Result]:
    from benchmarks import robustness_scores

    runs = {name: robustness_scores.open_runs(name, int(given.views)) for name in names}
    test = robustness_scores.read_test(runs, given.data_dir, given.examples)
    if given.picture:
        robustness_scores.write_picture(given.picture, test.images, seed=given.seed)
    results = {}
    with progress.ProgressLine() as show:
        for name, run in runs.items():
            results[name] = robustness_scores.measure(
                run,
                test,
                data_dir=given.data_dir,
                seed=given.seed,
                show=lambda line, name=name: show(f"{name}: {line}"),
            )
    return results


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


if __name__ == "__main__":
    define_flags()
    program.run(main)
