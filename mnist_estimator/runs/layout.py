"""The files and folders that a run makes in its model_dir, and what it refuses to replace there."""

from __future__ import annotations

import os

from mnist_estimator import InputError
from mnist_estimator.compat import tf
from mnist_estimator.runs import status
from mnist_estimator.runs.evaluations import BEST_FOLDER, EVALUATIONS_FILE
from mnist_estimator.runs.record import RUN_FILE, read_run
from mnist_estimator.runtime import files

METRICS_FILE = "metrics.json"
CHECKPOINT_SHA256 = "checkpoint_sha256"  # In it: of which checkpoint the metrics are.
REPORT_MARK = "Made by mnist_estimator "  # In the page of a report, before the version.
EXPORT_FOLDER = "export"
BEST, FINAL, NONE = "best", "final", "none"  # Which model is exported.
# TensorFlow chooses the names of the last four.
FOLDERS = (
    BEST_FOLDER,
    EXPORT_FOLDER,
    os.path.join(EXPORT_FOLDER, BEST),
    os.path.join(EXPORT_FOLDER, FINAL),
    "eval",
    "eval_test",
    "plugins",
    os.path.join("plugins", "profile"),
)


def check_folder(model_dir: str) -> None:
    """Raises InputError if a model_dir has files of other programs that a run would replace.

    Or if one of the folders in it is a link: what is in there is replaced and deleted.
    """
    check_no_links(model_dir)
    if tf.io.gfile.exists(os.path.join(model_dir, RUN_FILE)):
        read_run(model_dir)
        return
    ours = (
        METRICS_FILE,
        EVALUATIONS_FILE,
        *([] if status.read(model_dir) else [status.STATUS_FILE]),
    )
    for name in ours:
        if tf.io.gfile.exists(os.path.join(model_dir, name)):
            raise InputError(
                f"{model_dir}: found {name} without a run's {RUN_FILE}, so it may not be this "
                "package's; move it away, or give another --model_dir"
            )


def check_no_links(model_dir: str) -> None:
    """Raises InputError if a folder that a run has in its model_dir is a symbolic link.

    The model_dir itself may be one.
    """
    for name in FOLDERS:
        files.check_no_link(os.path.join(model_dir, name))
