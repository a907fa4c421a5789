"""What a report knows of a run: its record, and the evaluation of its checkpoint."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

from mnist_estimator.data import splits
from mnist_estimator.data.manifest import Manifest
from mnist_estimator.runs.open_run import OpenRun
from mnist_estimator.runtime import progress
from mnist_estimator.scoring import evaluation
from mnist_estimator.scoring.scores import Scores


@dataclasses.dataclass(frozen=True)
class Result:
    """A run, and the evaluation of its checkpoint on a split.

    Attributes:
      name: the run's model_dir, as the user gave it.
      metrics: what `evaluation.evaluate` returns.
      scores: None if the data has too many classes.
    """

    name: str
    run: OpenRun
    data_dir: str
    manifest: Manifest
    split: str
    metrics: dict[str, Any]
    scores: Scores | None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.manifest.class_names


def evaluate(name: str, run: OpenRun, data_dir: str = "", split: str | None = None) -> Result:
    """Evaluates an open run.

    Args:
      data_dir: folder of the records; "" for the run's own.
      split: None for the test split, or for validation if the data has no test split.

    Raises:
      InputError: if there are no records, or they do not fit the network.
      RunError: if the checkpoint or a record cannot be read.
    """
    data_dir, manifest = run.data(data_dir, split or splits.TEST)
    if split is None:
        split = splits.TEST if manifest.num_examples(splits.TEST) else splits.VALIDATION
    progress.say(
        f"evaluating {name} on the {manifest.num_examples(split):,} {split} examples of "
        f"{manifest.dataset}",
        sys.stderr,
    )
    scores = evaluation.make_scores(manifest)
    metrics = evaluation.evaluate_alone(run, data_dir, manifest, split, scores=scores)
    return Result(name, run, data_dir, manifest, split, metrics, scores)
