"""Writes the model card of an export beside it: README.md, and the picture of a confusion matrix.

The card of a SavedModel lies in its folder, beside saved_model.pb, where the Hugging Face hub looks
for it; TensorFlow and TensorFlow Serving read other files there. The card of a file lies in the
file's folder. A README.md that is no card, or that was edited, stays as it is.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from mnist_estimator.compat import tf, v1
from mnist_estimator.runs import checkpoints, layout, record, starts
from mnist_estimator.runs.open_run import OpenRun
from mnist_estimator.runtime import files, json_files, progress
from mnist_estimator.runtime.files import file_errors
from mnist_estimator.scoring import evaluation, summaries
from mnist_estimator.scoring.scores import Scores
from mnist_estimator.serving import card, loading, saved_model

_MOST_EXAMPLES = 2**40


def beside_saved_model(run: OpenRun, path: str, license: str = card.UNKNOWN) -> None:
    """Writes the card of a SavedModel into its folder."""
    export = loading.Export(loading.SAVED_MODEL, os.path.basename(path))
    facts = _facts(run, export, recorded_result(run), license)
    _write(facts, path, saved_model.CONFUSION_PATH)


def beside_file(
    run: OpenRun,
    path: str,
    export: loading.Export,
    result: card.Result | None,
    accuracy: float | None,
    license: str = card.UNKNOWN,
) -> None:
    """Writes the card of an exported file into its folder.

    Args:
      result: of the network that the file was made of.
      accuracy: of the file; None if it was not measured.
    """
    facts = _facts(run, export, result, license)
    facts = dataclasses.replace(facts, accuracy=accuracy)
    _write(facts, os.path.dirname(path), f"{os.path.basename(path)}.confusion_matrix.png")


def result_of(metrics: Mapping[str, Any], scores: Scores | None, dtype: str) -> card.Result:
    """The result of an evaluation: what `evaluation.evaluate` returned, and what it counted."""
    confusion = scores.confusion if scores else None
    examples, accuracy = metrics[evaluation.EXAMPLES], metrics[evaluation.ACCURACY]
    return card.Result(examples, accuracy, metrics[evaluation.LOSS], confusion, dtype)


def recorded_result(run: OpenRun) -> card.Result | None:
    """The result in a run's metrics.json; None if it is of another model, or there is none."""
    path = os.path.join(run.config.model_dir, layout.METRICS_FILE)
    if not _answers_as_trained(run):
        return None
    with file_errors(path):
        data = files.read_bytes(path, json_files.MOST_BYTES)
    if data is None:
        return None
    try:
        return _parsed(data, run)
    except ValueError as error:
        progress.warn(f"{path}: {error}; the model card has no test result")
        return None


def _answers_as_trained(run: OpenRun) -> bool:
    """Whether a run's own test is one of this model: one network, and one view of each image."""
    found = [run.params[name] for name in ("views", "temperature", "members")]
    return found == [1, 1, ()]


def _parsed(data: bytes, run: OpenRun) -> card.Result | None:
    """Raises ValueError that says where `data` are no metrics.json."""
    top = json_files.expect(json_files.parse(data), dict, "the whole")
    wanted = (evaluation.ACCURACY, evaluation.LOSS, evaluation.EXAMPLES, "global_step")
    json_files.require_keys(top, wanted, "the whole")
    if top["global_step"] != checkpoints.step_of(run.checkpoint):
        return None
    digest = checkpoints.digest(run.checkpoint)
    if top.get(layout.CHECKPOINT_SHA256, digest) != digest:  # Older files have none.
        return None
    examples = json_files.whole(top[evaluation.EXAMPLES], "examples", 1, _MOST_EXAMPLES)
    loss = json_files.number(top[evaluation.LOSS], "loss")
    accuracy = json_files.number(top[evaluation.ACCURACY], "accuracy")
    if not 0 <= accuracy <= 1:
        raise ValueError(f"accuracy is {accuracy}, expected 0 to 1")
    confusion = _confusion(top, run.trained_on.num_classes, examples)
    return card.Result(examples, accuracy, loss, confusion, run.record["compute_dtype"])


def _confusion(top: Mapping[str, Any], classes: int, examples: int) -> np.ndarray | None:
    if "confusion_matrix" not in top:
        return None
    name = "confusion_matrix"
    rows = json_files.expect(top[name], list, name)
    cells = [cell for row in rows for cell in json_files.expect(row, list, name)]
    for cell in cells:
        json_files.whole(cell, name, 0, examples)
    if len(rows) != classes or {len(row) for row in rows} != {classes} or sum(cells) != examples:
        raise ValueError(f"{name} is not of {classes} classes and {examples:,} examples")
    return np.array(rows, np.int64)


def _facts(
    run: OpenRun, export: loading.Export, result: card.Result | None, license: str
) -> card.Card:
    trained = [
        starts.trained(each.record, checkpoints.step_of(each.checkpoint))
        for each in (run, *run.others)
    ]
    return card.Card(
        step=checkpoints.step_of(run.checkpoint),
        data=run.trained_on,
        model=saved_model.describe(run.params, run.trained_on, run.checkpoint),
        record=run.record,
        flags=[record.learning_flags(each.config) for each in trained],
        earlier=(trained[0].since, trained[0].changed),
        result=result,
        export=export,
        license=license,
    )


def _write(facts: card.Card, folder: str, picture: str) -> None:
    path = os.path.join(folder, card.FILE)
    with file_errors(path):
        found = files.read_bytes(path, json_files.MOST_BYTES)
    if found is not None and not card.is_ours(found):
        progress.warn(f"{path}: is no model card, or was edited, so it stays as it is")
        return
    if facts.result and facts.result.confusion is not None:
        files.write_bytes(os.path.join(folder, picture), _png(facts.result.confusion))
        facts = dataclasses.replace(facts, picture=picture)
    content = card.text(facts).encode()
    if content != found:
        files.write_bytes(path, content)


def _png(confusion: np.ndarray) -> bytes:
    # A graph of its own: this is called at the end of training, too.
    with tf.Graph().as_default(), v1.Session() as session:
        return session.run(tf.io.encode_png(summaries.confusion_picture(confusion)))
