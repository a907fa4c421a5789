"""Prints what pictures show, one line for each picture."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from mnist_estimator import InputError
from mnist_estimator.pictures import picture_files
from mnist_estimator.pictures.methods import DIGIT
from mnist_estimator.runtime import progress
from mnist_estimator.serving.predictors import Answer, Predictor

# A batch ends when it has this many encoded bytes, or this many pictures.
_BATCH_BYTES = 2**24
_BATCH_PICTURES = 128

_Batch = list[tuple[str, bytes | InputError]]  # Each picture's path, and its content or its error.


def print_answers(predictor: Predictor, paths: Sequence[str], *, as_json: bool) -> int:
    """Prints an answer for each picture; returns how many could not be read.

    What is wrong with a picture goes to standard error, and with `as_json` to standard output, too.
    """
    failed = done = 0
    with progress.ProgressLine() as show_progress:
        for batch in _read_batches(paths):
            for path, answer in _predict_batch(predictor, batch):
                if isinstance(answer, InputError):
                    failed += 1
                _print_answer(path, answer, as_json=as_json, is_digit=predictor.pictures == DIGIT)
            done += len(batch)
            show_progress(f"{done:,} of {len(paths):,} pictures")
    return failed


def _read_batches(paths: Sequence[str]) -> Iterator[_Batch]:
    """Yields a few pictures at a time; for one that cannot be read, its error."""
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


def _predict_batch(
    predictor: Predictor, batch: _Batch
) -> Iterator[tuple[str, Answer | InputError]]:
    encoded = [content for _, content in batch if isinstance(content, bytes)]
    answers = iter(predictor.predict(encoded))
    for path, content in batch:
        yield path, next(answers) if isinstance(content, bytes) else content


def _print_answer(path: str, answer: Answer | InputError, *, as_json: bool, is_digit: bool) -> None:
    if isinstance(answer, InputError):
        line = str(answer) if str(answer).startswith(path) else f"{path}: {answer}"
        progress.complain(line)
        if as_json:
            progress.tell(json.dumps({"file": path, "error": line}))
        return
    if answer.doubt:
        progress.warn(f"{path}: {answer.doubt}; its picture may be damaged, get it again")
    if as_json:
        progress.tell(json.dumps(_as_record(path, answer, is_digit=is_digit)))
    else:
        progress.tell(_as_text(path, answer))


def _as_text(path: str, answer: Answer) -> str:
    if not answer.has_ink:
        return f"{path}: no digit found"
    (name, probability), (second, its) = answer.best
    return f"{path}: {name}  {probability:.4f}  (or {second}  {its:.4f})"


def _as_record(path: str, answer: Answer, *, is_digit: bool) -> dict[str, Any]:
    (name, probability), (second, its) = answer.best
    found = name if answer.has_ink else None
    record: dict[str, Any] = {"file": path}
    if is_digit:
        record["digit"] = found  # The key from the time when all pictures were of digits.
    record["class"] = found
    if answer.has_ink:
        record["probability"] = round(probability, 6)
        record["runner_up"] = second
        record["runner_up_probability"] = round(its, 6)
    if answer.doubt:
        record["warning"] = answer.doubt
    return record
