"""Opens several runs as one, whose predictions are the mean of theirs."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mnist_estimator import InputError
from mnist_estimator.compat import tf, v1
from mnist_estimator.optimizers import AVERAGE, is_optimizer_variable
from mnist_estimator.predictions import member_scope
from mnist_estimator.runs import checkpoints, open_run
from mnist_estimator.runs.open_run import OpenRun
from mnist_estimator.runtime import files

_SAME = ("image_shape", "class_names", "brightest_pixel", "pictures")


def open_runs(models: Mapping[str, str], checkpoint: str = "", views: int = 1) -> OpenRun:
    """Opens one run, or several that answer together.

    Args:
      models: the model_dirs, one or more, each with its `model` for `open_run.open_run`.
      checkpoint: as for `open_run.open_run`, for each run.
      views: how often each network looks at an image, 1, 5 or 9.

    Returns:
      The run; of several the first one, whose checkpoint, in memory, holds the weights of all.

    Raises:
      InputError: if the runs were trained on images or classes that are not alike, or as
        `open_run.open_run`.
    """
    runs = [open_run.open_run(model_dir, checkpoint, model) for model_dir, model in models.items()]
    options: dict[str, Any] = {"views": views}
    if len(runs) == 1:
        return dataclasses.replace(runs[0], options=options)
    for run in runs[1:]:
        _check_alike(runs[0], run)
    members = tuple({**run.params, "use_ema": False} for run in runs)
    config = dataclasses.replace(runs[0].config, use_ema=False)
    options = {**options, "members": members}
    return dataclasses.replace(
        runs[0],
        config=config,
        options=options,
        checkpoint=_joined(runs),
        others=tuple(runs[1:]),
    )


def _check_alike(first: OpenRun, other: OpenRun) -> None:
    for name in _SAME:
        expected, found = (getattr(run.trained_on, name) for run in (first, other))
        if found != expected:
            raise InputError(
                f"--model_dir: {other.config.model_dir} was trained on data with {name} {found}, "
                f"{first.config.model_dir} with {expected}; expected runs on the same kind of data"
            )


def _joined(runs: Sequence[OpenRun]) -> str:
    """A checkpoint in memory with the weights of all runs, each below its `member_scope`."""
    values: dict[str, np.ndarray] = {}
    steps = []
    for number, run in enumerate(runs):
        weights, step = _weights(run)
        values |= {f"{member_scope(number)}/{name}": value for name, value in weights.items()}
        steps.append(step)
    values[v1.GraphKeys.GLOBAL_STEP] = np.array(max(steps), np.int64)
    path = os.path.join(
        _folders.enter_context(files.memory_folder()), f"{checkpoints.BASENAME}-{max(steps)}"
    )
    _save(path, values)
    return path


def _weights(run: OpenRun) -> tuple[dict[str, np.ndarray], int]:
    """The variables of a run's network as it answers, by name; and the checkpoint's step."""
    averaged = run.config.ema_decay and run.config.use_ema
    with checkpoints.opened(run.checkpoint) as reader:
        names = set(reader.get_variable_to_shape_map())
        found = {}
        for name in sorted(names - {v1.GraphKeys.GLOBAL_STEP}):
            if not is_optimizer_variable(name):
                average = f"{name}/{AVERAGE}"
                stored = average if averaged and average in names else name
                found[name] = reader.get_tensor(stored)
        return found, int(reader.get_tensor(v1.GraphKeys.GLOBAL_STEP))


def _save(path: str, values: Mapping[str, np.ndarray]) -> None:
    names = sorted(values)
    with tf.Graph().as_default(), v1.Session() as session:
        fed = {v1.placeholder(values[name].dtype): values[name] for name in names}
        saved = tf.raw_ops.SaveV2(
            prefix=path, tensor_names=names, shape_and_slices=[""] * len(names), tensors=list(fed)
        )
        session.run(saved, fed)


# The joined checkpoints last as long as the process; TensorFlow, which removes them, must still be
# there.
_folders = contextlib.ExitStack()
atexit.register(_folders.close)
