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
      metrics: what `evaluation.evaluate` returns.
      scores: None if the data has too many classes.
    """

    run: OpenRun
    data_dir: str
    manifest: Manifest
    split: str
    metrics: dict[str, Any]
    scores: Scores | None

    @property
    def name(self) -> str:
        """The run's model_dir, as the user gave it."""
        return self.run.config.model_dir

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.manifest.class_names


def evaluate(run: OpenRun, data_dir: str = "", split: str | None = None) -> Result:
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
    count, name = manifest.num_examples(split), run.config.model_dir
    progress.say(
        f"evaluating {name} on the {count:,} {split} examples of {manifest.dataset}", sys.stderr
    )
    scores = evaluation.make_scores(manifest)
    metrics = evaluation.evaluate_alone(run, data_dir, manifest, split, scores=scores)
    return Result(run, data_dir, manifest, split, metrics, scores)
