"""Predicts which class pictures show: which digit, for a network trained on MNIST.

  python -m mnist_estimator.predict --model_dir=tboard/mod1 photo.png scan.jpg folder/ 'glob*.png'
  python -m mnist_estimator.predict --export_dir=tboard/mod1/export/best/3500 photo.png --json

Pictures may be of any size. For a network trained on handwritten digits they may be light on dark
or dark on light, coloured, transparent or photographed: each is first brought into the form of
MNIST's images. For a network trained on other images they are only resized. A line on stderr says
which of the two is done. The command prints the file, the class and its probability, and the
runner-up with its own. A file that cannot be read is one line on stderr, and the others still get
their answers; the command then exits with 2.
"""

from __future__ import annotations

import os
import sys

from absl import flags

from mnist_estimator import InputError, config
from mnist_estimator.pictures import picture_files
from mnist_estimator.runtime import flag_fields, help_text, program, progress, signals


def define_flags() -> None:
    """Defines the command's flags."""
    config.define_run_flags(data=False)
    flag_fields.define_path(
        "export_dir",
        "",
        "Folder of an exported SavedModel, as MODEL_DIR/export/best/STEP, to use in place of a "
        "model_dir and its checkpoints.",
    )
    flags.DEFINE_bool("json", False, "Print a JSON object for each picture, one a line.")
    help_text.group("An exported model", ["export_dir"])
    help_text.group("The result", ["json"])


def main(argv: list[str]) -> int:
    """Reads the flags and the pictures named after them, and prints what they show."""
    given = flags.FLAGS
    if not argv[1:]:
        raise InputError("found no pictures, expected files, folders or patterns; see --help")
    for name in ("model_dir", "checkpoint", "model", "views"):
        if given.export_dir and given[name].present:
            raise InputError(f"--export_dir and --{name}: found both, expected one model")
    with progress.ProgressLine() as show_progress:
        paths, problems = picture_files.find(list(map(_as_path, argv[1:])), show_progress)
    for problem in problems:
        progress.complain(problem)
    if not paths:
        return signals.EXIT_INPUT
    # Imported here, because TensorFlow takes seconds and wrong flags need no TensorFlow.
    from mnist_estimator.pictures import preparation
    from mnist_estimator.runs import ensemble
    from mnist_estimator.serving import answers, predictors

    if given.export_dir:
        opened = predictors.from_export(given.export_dir)
    else:
        run = ensemble.open_runs(config.runs(given), given.checkpoint, views=int(given.views))
        opened = predictors.from_checkpoint(run)
    with opened as predictor:
        kind = predictor.pictures
        progress.say(f"pictures: {preparation.DESCRIPTIONS[kind]} ({kind})", sys.stderr)
        failed = answers.print_answers(predictor, paths, as_json=given.json)
    return signals.EXIT_INPUT if failed or problems else 0


def _as_path(argument: str) -> str:
    """A picture's name as a shell would have read it, unless a file has the name as it is."""
    if os.path.lexists(argument):
        return argument
    try:
        return flag_fields.as_path(argument)
    except ValueError as error:
        raise InputError(f"{argument}: {error}") from None


if __name__ == "__main__":
    define_flags()
    program.run(main, takes_arguments=True)
