"""Shows trained runs side by side on one HTML page: curves, confusion matrix, mistakes.

  python -m mnist_estimator.report --model_dir=tboard/mod1 --output=report.html
  python -m mnist_estimator.report --model_dir=tboard/mod1,tboard/mod2 --split=validation

Each run's checkpoint is evaluated on every example of a split. The page loads nothing from
elsewhere. matplotlib draws the plots: pip install 'mnist_estimator[report]'.
"""

from __future__ import annotations

import importlib.util
import logging
import sys

from absl import flags

from mnist_estimator import InputError, config
from mnist_estimator.data import splits
from mnist_estimator.runtime import flag_fields, help_text, program, progress


def define_flags() -> None:
    """Defines the command's flags."""
    config.define_run_flags(answers=False)
    flags.FLAGS["model_dir"].help = "Folder of the run; for several runs, folders with commas."
    flags.FLAGS["model"].help += " For several runs: one for all, or one each, with commas."
    flags.DEFINE_enum(
        "split",
        None,
        splits.SPLITS,
        "Split to evaluate. Default: test, or validation where the data has no test split.",
    )
    flags.DEFINE_integer("grid_class", 0, "Class of which 25 examples are shown.")
    flag_fields.define_path("output", "report.html", "File to write.")
    flags.DEFINE_string("title", "", "Title of the page. Default: the runs' names.")
    help_text.group("The data", ["split", "grid_class"])
    help_text.group("The page", ["output", "title"])


def main(argv: list[str]) -> None:
    """Reads the flags, evaluates the runs and writes the page."""
    given = flags.FLAGS
    models = config.runs(given)
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError(
            "matplotlib not found, which draws the plots; pip install 'mnist_estimator[report]'"
        )
    for name in ("matplotlib", "tensorboard"):
        # They log caches that are built, also while they are imported, and restarts of runs.
        logging.getLogger(name).setLevel(logging.ERROR)
    # Imported here, because TensorFlow takes seconds and wrong flags need no TensorFlow.
    from mnist_estimator.reporting import panels, results
    from mnist_estimator.runs import open_run
    from mnist_estimator.runtime import files

    runs = [
        open_run.open_run(model_dir, given.checkpoint, model) for model_dir, model in models.items()
    ]
    for run in runs:
        splits.check_range("grid_class", given.grid_class, 0, run.trained_on.num_classes - 1)
    _check_output(given.output, is_named=given["output"].present)
    evaluated = [results.evaluate(run, given.data_dir, given.split) for run in runs]
    text = panels.document(evaluated, given.title, given.grid_class)
    files.write_text(given.output, text)
    size = len(text.encode()) / 1e6
    progress.say(f"{given.output}: {size:.2f} MB, {', '.join(models)}", sys.stdout)


def _check_output(path: str, *, is_named: bool) -> None:
    """Raises InputError if the page cannot be written, before evaluations take their time.

    Args:
      is_named: whether the user gave the name.
    """
    from mnist_estimator.compat import tf
    from mnist_estimator.runs import layout
    from mnist_estimator.runtime import files

    if not path or tf.io.gfile.isdir(path):
        raise InputError(f"--output: found {path or 'nothing'}, expected the name of a file")
    if not is_named:
        files.check_ours(path, layout.REPORT_MARK.encode())
    files.check_writable(path)


if __name__ == "__main__":
    define_flags()
    program.run(main)
