"""Evaluates a trained model on every example of a split.

  python -m mnist_estimator.evaluate --model_dir=tboard/mod1 --split=test --json

The network and the data are those that run.json in the model_dir records.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile

from absl import flags

from mnist_estimator import config, splits


def define_flags() -> None:
    """Defines the command's flags."""
    flags.DEFINE_string("model_dir", "tboard/mod1", "Folder of the run.")
    flags.DEFINE_string("data_dir", "", "Folder with prepared records. Default: the run's own.")
    flags.DEFINE_enum("split", "test", splits.SPLITS, "Split to evaluate.")
    flags.DEFINE_string(
        "checkpoint",
        "",
        "Checkpoint to evaluate: best, newest, or its path. Default: the one that training chose, "
        "by its --export.",
    )
    flags.DEFINE_integer("batch_size", 1000, "Examples a batch.", lower_bound=1)
    flags.DEFINE_bool("json", False, "Print one line of JSON.")


def main(argv: list[str]) -> None:
    """Reads the flags, evaluates and prints."""
    given = flags.FLAGS
    # This process works alone, even where the environment describes a cluster.
    os.environ.pop("TF_CONFIG", None)
    # TensorFlow takes seconds to import; wrong flags have been answered by now.
    from mnist_estimator import records, runs

    settings, record = runs.read_run(given.model_dir)
    data_dir = given.data_dir or record["dataset"]["data_dir"]
    manifest = records.read_manifest(data_dir)
    runs.check_fits(record, data_dir, manifest)
    settings = dataclasses.replace(settings, model_dir=given.model_dir)
    checkpoint = (
        runs.find_checkpoint(given.model_dir, given.checkpoint)
        if given.checkpoint
        else runs.chosen_checkpoint(settings)
    )
    # Estimator writes each evaluation to its model_dir for TensorBoard, which takes one of an older
    # checkpoint for a restart and drops the points after it. The run's curves are to stay.
    with tempfile.TemporaryDirectory() as scratch:
        settings = dataclasses.replace(settings, model_dir=scratch, strategy="none")
        metrics = runs.evaluate(
            runs.make_estimator(settings, manifest),
            data_dir,
            manifest,
            given.split,
            batch_size=given.batch_size,
            checkpoint=checkpoint,
        )
    print(json.dumps(metrics) if given.json else runs.describe(metrics, given.split, manifest))


if __name__ == "__main__":
    define_flags()
    config.run(main)
