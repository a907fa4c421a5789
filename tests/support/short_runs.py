"""Short runs, and what is left of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mnist_estimator.cluster.roles import Task
from mnist_estimator.compat import tf
from mnist_estimator.config import TrainConfig
from mnist_estimator.training import training

STEPS = 12


def train(model_dir: Path, data_dir: str, **options):
    """Trains a short run; the schedule's length is fixed, so that stopping early changes
    nothing. It is exported only where that is asked for, as an export takes as long. It computes
    in float32, so that what is tested does not depend on the processor."""
    short = {"max_steps": STEPS, "decay_steps": STEPS, "batch_size": 16, "log_steps": 4}
    options = short | {"export": "none", "precision": "float32"} | options
    config = TrainConfig(model_dir=str(model_dir), data_dir=data_dir, **options)
    return training.train(config, Task())


def variables(model_dir: Path) -> dict[str, bytes]:
    """Every variable of the newest checkpoint: weights, optimizer slots, global step."""
    reader = tf.train.load_checkpoint(str(model_dir))
    names = reader.get_variable_to_shape_map()
    return {name: np.asarray(reader.get_tensor(name)).tobytes() for name in names}
