"""Says which class pictures show: which digit, for a network trained on MNIST.

  python -m mnist_estimator.predict --model_dir=tboard/mod1 photo.png scan.jpg folder/ 'glob*.png'
  python -m mnist_estimator.predict --export_dir=tboard/mod1/export/best/5000 photo.png --json

Pictures may be of any size. For a network trained on handwritten digits they may be light on dark
or dark on light, coloured, transparent or photographed: each is brought into the form of MNIST's
images first. For one trained on other images they are resized, and else taken as they are. Which of
the two is done is said on stderr. Printed are the file, the class, its probability, and the
runner-up with its own. An unreadable file is one line on stderr, and the others still go through;
the command then ends with 2.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from mnist_estimator import InputError, config
from mnist_estimator.data.datasets import DIGIT
from mnist_estimator.pictures import picture_files
from mnist_estimator.runtime import flag_fields, program, progress, signals

if TYPE_CHECKING:
    from mnist_estimator.serving import predictors

_BATCH_BYTES = 2**24  # Encoded, or 32 pictures, whichever comes first.
_BATCH_PICTURES = 32


def define_flags() -> None:
    """Defines the command's flags."""
    config.define_run_flags(data=False)
    flag_fields.define_path(
        "export_dir",
        "",
        "Folder of an exported SavedModel, as MODEL_DIR/export/best/STEP, to use in place of a "
        "model_dir and its checkpoints.",
    )
    flags.DEFINE_bool("json", False, "Print an object of JSON a picture, a line each.")


def main(argv: list[str]) -> int:
    """Reads the flags and the pictures named behind them, and prints what they show."""
    given = flags.FLAGS
    if not argv[1:]:
        raise InputError("found no pictures, expected files, folders or patterns; see --help")
    for name in ("model_dir", "model"):
        if given.export_dir and given[name].present:
            raise InputError(f"--export_dir and --{name}: found both, expected one model")
    with progress.ProgressLine() as report:
        paths, problems = picture_files.find(list(map(_as_path, argv[1:])), report)
    for problem in problems:
        progress.complain(problem)
    if not paths:
        return signals.EXIT_INPUT
    os.environ.pop("TF_CONFIG", None)
    # TensorFlow takes seconds to import; wrong flags have been answered by now.
    from mnist_estimator.pictures import preparation
    from mnist_estimator.runs import open_run
    from mnist_estimator.serving import predictors

    if given.export_dir:
        opened = predictors.from_export(given.export_dir)
    else:
        run = open_run.open_run(given.model_dir, given.checkpoint, given.model)
        opened = predictors.from_checkpoint(run)
    with opened as predictor:
        how = f"{preparation.DESCRIPTIONS[predictor.pictures]} ({predictor.pictures})"
        progress.say(f"pictures: {how}", sys.stderr)
        failed = _predict_all(predictor, paths, as_json=given.json)
    return signals.EXIT_INPUT if failed or problems else 0


def _as_path(argument: str) -> str:
    """A picture's name as a shell would have read it, unless there is a file of this name."""
    if os.path.lexists(argument):
        return argument
    try:
        return flag_fields.as_path(argument)
    except ValueError as error:
        raise InputError(f"{argument}: {error}") from None


def _predict_all(predictor: predictors.Predictor, paths: Sequence[str], *, as_json: bool) -> int:
    """Prints an answer for each picture; returns how many could not be read."""
    failed = done = 0
    with progress.ProgressLine() as report:
        for batch in _batches(paths):
            encoded = [content for _, content in batch if isinstance(content, bytes)]
            answers = iter(predictor.predict(encoded))
            for path, content in batch:
                answer = next(answers) if isinstance(content, bytes) else content
                if isinstance(answer, Exception):
                    failed += 1
                    progress.complain(_with_path(path, answer))
                    if as_json:
                        error = {"file": path, "error": _with_path(path, answer)}
                        progress.tell(json.dumps(error))
                    continue
                if answer.doubt:
                    line = f"{path}: {answer.doubt}; its picture may be damaged, get it again"
                    progress.warn(line)
                is_digit = predictor.pictures == DIGIT
                shown = _as_json(path, answer, is_digit=is_digit) if as_json else ""
                progress.tell(shown or _as_text(path, answer))
            done += len(batch)
            report(f"{done:,} of {len(paths):,} pictures")
    return failed


def _batches(paths: Sequence[str]) -> Iterator[list[tuple[str, bytes | InputError]]]:
    """Yields a few pictures at a time, with what is wrong in place of one that cannot be read."""
    batch, size = [], 0
    for path in paths:
        try:
            content = picture_files.read(path)
            size += len(content)
        except InputError as error:
            content = error
        batch.append((path, content))
        if size >= _BATCH_BYTES or len(batch) >= _BATCH_PICTURES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _with_path(path: str, error: Exception) -> str:
    return str(error) if str(error).startswith(path) else f"{path}: {error}"


def _as_text(path: str, answer: predictors.Answer) -> str:
    if not answer.has_ink:
        return f"{path}: no digit found"
    (name, probability), (second, its) = answer.best
    return f"{path}: {name}  {probability:.4f}  (or {second}  {its:.4f})"


def _as_json(path: str, answer: predictors.Answer, *, is_digit: bool) -> str:
    (name, probability), (second, its) = answer.best
    found = name if answer.has_ink else None
    # Pictures of digits have had the first key before there were others.
    record: dict[str, Any] = {"file": path} | ({"digit": found} if is_digit else {})
    record["class"] = found
    if answer.has_ink:
        record |= {
            "probability": round(probability, 6),
            "runner_up": second,
            "runner_up_probability": round(its, 6),
        }
    if answer.doubt:
        record["warning"] = answer.doubt
    return json.dumps(record)


if __name__ == "__main__":
    define_flags()
    program.run(main, takes_arguments=True)
