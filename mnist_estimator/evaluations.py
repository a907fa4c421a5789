"""What evaluations while training found, kept in the model_dir: the history and the best one.

From `evaluations.json` follows, after any number of restarts, which model is the best so far and
whether training has stopped getting better. The best checkpoint itself is kept in `best/`, which
the newest ones do not push out.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

from mnist_estimator import InputError, checkpoints
from mnist_estimator.files import file_errors, read_bytes, write_json
from mnist_estimator.records import json_digest

EVALUATIONS_FILE = "evaluations.json"
BEST_FOLDER = "best"
STEP = "global_step"
_DIGEST = "sha256"  # Of the rest, so that no flipped bit makes a worse model the best.
_LARGER_IS_BETTER = {"accuracy": True, "loss": False}


class Evaluations:
    """The evaluations of a run; each is a dict of `global_step` and metrics."""

    def __init__(self, model_dir: str, metric: str = "accuracy") -> None:
        """Reads the record of a model_dir; without one, `metric` decides which model is best.

        Raises:
          InputError: if the record is damaged.
        """
        self._model_dir = model_dir
        self._path = os.path.join(model_dir, EVALUATIONS_FILE)
        self._metric = metric
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None
        self.reload()

    def reload(self) -> None:
        """Reads the record once more: of a cluster, the evaluator writes it."""
        with file_errors(self._path):
            text = read_bytes(self._path)
        if text is None:
            return
        record = self._parsed(text)
        self._metric = record["metric"]
        self.history, self.best = record["evaluations"], record["best"]

    def add(self, result: dict[str, Any], checkpoint: str) -> None:
        """Records an evaluation; a checkpoint better than all before is copied to `best/` first.

        What was recorded for this step or later ones is dropped: the run went back to an older
        checkpoint, and comes by again. The best one stays the best all the same.
        """
        step = result[STEP]
        self.history = [entry for entry in self.history if entry[STEP] < step] + [result]
        if self.best is None or self._better(result, self.best):
            # Before it is recorded: killed in between, the same evaluation copies it once more.
            checkpoints.keep_copy(checkpoint, os.path.join(self._model_dir, BEST_FOLDER))
            self.best = result
        record = {"metric": self._metric, "best": self.best, "evaluations": self.history}
        write_json(self._path, record | {_DIGEST: json_digest(record)})

    def has(self, step: int) -> bool:
        """Whether the checkpoint of a step has been evaluated."""
        return any(entry[STEP] == step for entry in self.history)

    def stops_at(self, step: int, patience: int) -> bool:
        """Whether, up to a step, the last `patience` evaluations were no better than one before.

        With a patience of 0 never.
        """
        if not patience:
            return False
        past = [entry for entry in self.history if entry[STEP] <= step]
        if not past:
            return False
        best = past[0]
        waited = 0
        for entry in past[1:]:
            if self._better(entry, best):
                best, waited = entry, 0
            else:
                waited += 1
        return waited >= patience

    @property
    def best_checkpoint(self) -> str:
        """Path of the copy of the best checkpoint; "" if nothing has been evaluated yet."""
        if self.best is None:
            return ""
        name = f"{checkpoints.BASENAME}-{self.best[STEP]}"
        return os.path.join(self._model_dir, BEST_FOLDER, name)

    def _better(self, result: dict[str, Any], other: dict[str, Any]) -> bool:
        sign = 1 if _LARGER_IS_BETTER[self._metric] else -1
        return sign * result[self._metric] > sign * other[self._metric]

    def _parsed(self, text: bytes) -> dict[str, Any]:
        with contextlib.suppress(ValueError, TypeError, AttributeError, KeyError):
            record = json.loads(text)
            if record.pop(_DIGEST) == json_digest(record):
                return record
        raise InputError(
            f"{self._path}: damaged, so the best model is not known; bring it back from a copy, or "
            "remove it to choose among the models to come"
        )
