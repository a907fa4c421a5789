"""The evaluations of a run while it trains: their history and the best one, in the model_dir.

After any number of restarts `evaluations.json` tells which model is the best so far, and whether
the models have stopped getting better. `best/` holds a copy of the best checkpoint, which stays
when the checkpoint itself is deleted.
"""

from __future__ import annotations

import os
from typing import Any

from mnist_estimator import InputError
from mnist_estimator.runs import checkpoints, copies, formats, lock
from mnist_estimator.runtime import json_files
from mnist_estimator.runtime.files import file_errors, read_bytes, write_json

EVALUATIONS_FILE = "evaluations.json"
BEST_FOLDER = "best"
STEP = "global_step"
_DIGEST = "sha256"  # Of the other fields, so that no flipped bit makes a worse model the best.
_LARGER_IS_BETTER = {"accuracy": True, "loss": False}


class Evaluations:
    """The evaluations of a run; each is a dict of `global_step` and metrics."""

    def __init__(self, model_dir: str, metric: str = "accuracy") -> None:
        """Reads the record of a model_dir; if there is none, `metric` tells which model is best.

        Raises:
          InputError: if the record is damaged, or a newer package wrote it.
        """
        self._model_dir = model_dir
        self._path = os.path.join(model_dir, EVALUATIONS_FILE)
        self._metric = metric
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None
        self.reload()

    def reload(self) -> None:
        """Reads the record again, as in a cluster another task writes it."""
        with file_errors(self._path):
            data = read_bytes(self._path, json_files.MOST_BYTES)
        if data is None:
            return
        record = self._parsed(data)
        self._metric = record["metric"]
        self.history, self.best = record["evaluations"], record["best"]

    def add(self, result: dict[str, Any], checkpoint: str) -> None:
        """Records an evaluation; copies the checkpoint to `best/` first if it is the best so far.

        Drops earlier results of this step and later ones: the run went back to an older checkpoint
        and trains these steps again. The best one remains the best all the same.
        """
        lock.check(self._model_dir)
        self.reload()  # A chief beside an evaluator may have gone back meanwhile.
        step = result[STEP]
        self.history = [entry for entry in self.history if entry[STEP] < step] + [result]
        if self.best is not None and not self._better(result, self.best):
            self._write()
            return
        self.best = result
        # Recorded when both copies are there: so that of the best one is, whenever this is killed.
        copies.keep_copy(checkpoint, os.path.join(self._model_dir, BEST_FOLDER), self._write)

    def forget_after(self, step: int) -> None:
        """Drops the results of later steps: the run goes on from this one and trains them again.

        The best one remains the best, as in `add`.
        """
        kept = [entry for entry in self.history if entry[STEP] <= step]
        if kept != self.history:
            self.history = kept
            self._write()

    def has(self, step: int) -> bool:
        """Whether the checkpoint of a step has been evaluated."""
        return any(entry[STEP] == step for entry in self.history)

    def stops_at(self, step: int, patience: int) -> bool:
        """Whether `patience` evaluations in a row, up to a step, were no better than one before.

        If so, it stays so: the checkpoint with which a run stopped may be better again, where an
        evaluator looks at it afterwards. Never with a patience of 0.
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
            if waited >= patience:
                return True
        return False

    @property
    def best_checkpoint(self) -> str:
        """Path of the copy of the best checkpoint; "" if nothing has been evaluated yet."""
        if self.best is None:
            return ""
        name = f"{checkpoints.BASENAME}-{self.best[STEP]}"
        return os.path.join(self._model_dir, BEST_FOLDER, name)

    def _write(self) -> None:
        record = {
            formats.KEY: formats.VERSION,
            "metric": self._metric,
            "best": self.best,
            "evaluations": self.history,
        }
        lock.check(self._model_dir)
        write_json(self._path, record | {_DIGEST: json_files.digest(record)})

    def _better(self, result: dict[str, Any], other: dict[str, Any]) -> bool:
        sign = 1 if _LARGER_IS_BETTER[self._metric] else -1
        return sign * result[self._metric] > sign * other[self._metric]

    def _parsed(self, data: bytes) -> dict[str, Any]:
        try:
            return _checked(json_files.parse(data, finite=False))
        except formats.NewerFormatError as error:
            raise InputError(f"{self._path}: {error}") from None
        except ValueError as error:
            raise InputError(
                f"{self._path}: damaged, so the best model is not known ({error}); bring it back "
                "from a copy, or remove it to choose among the models to come"
            ) from None


def _checked(record: Any) -> dict[str, Any]:
    """Returns a record without its digest; raises ValueError that names what is wrong with it."""
    json_files.expect(record, dict, "the whole")
    formats.check(record)
    keys = ["metric", "best", "evaluations", _DIGEST]
    if formats.KEY in record:
        keys.insert(0, formats.KEY)
    json_files.expect_keys(record, keys, "the whole")
    json_files.choice(record["metric"], "metric", [*_LARGER_IS_BETTER])
    for entry in json_files.expect(record["evaluations"], list, "evaluations"):
        _check_entry(entry, "evaluations")
    if record["best"] is not None:
        _check_entry(record["best"], "best")
    digest = json_files.sha256(record.pop(_DIGEST), _DIGEST)
    if digest != json_files.digest(record):
        raise ValueError(f"{_DIGEST} is not that of the rest")
    return record


def _check_entry(entry: Any, where: str) -> None:
    json_files.require_keys(
        json_files.expect(entry, dict, where), [STEP, *_LARGER_IS_BETTER], where
    )
    json_files.whole(entry[STEP], f"{where}, {STEP}", 0, 2**63 - 1)
    for name, value in entry.items():
        json_files.number(value, f"{where}, {json_files.shown(name)},")
