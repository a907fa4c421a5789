"""Checkpoints saved without a run, and what is found of them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from mnist_estimator.compat import tf, v1
from mnist_estimator.runs import checkpoints

STEPS = (1, 2, 3)
DATA = "model.ckpt-3.data-00000-of-00001"


def save(path: str, seal: bool = True) -> None:
    """Saves a checkpoint of one variable."""
    with tf.Graph().as_default(), v1.Session() as session:
        v1.get_variable("a", shape=[])
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, path, write_meta_graph=False)
    if seal:
        checkpoints.seal(path)


def remove(path: str) -> None:
    """Deletes a checkpoint and its seal."""
    v1.train.remove_checkpoint(path)
    checkpoints.remove_left_overs(os.path.dirname(path))


def save_steps(folder: Path, steps=STEPS, seal=True) -> list[str]:
    """Saves a checkpoint a step, in which the variable w is the step."""
    folder.mkdir(exist_ok=True)
    with tf.Graph().as_default(), v1.Session() as session:
        value = v1.placeholder(tf.float32, [])
        w = v1.get_variable("w", [3], initializer=v1.zeros_initializer())
        v1.get_variable("other", [2, 2], initializer=v1.ones_initializer())
        assign = w.assign(tf.fill([3], value))
        session.run(v1.global_variables_initializer())
        saver = v1.train.Saver(sharded=True, save_relative_paths=True)
        paths = []
        for step in steps:
            session.run(assign, {value: step})
            path = str(folder / checkpoints.BASENAME)
            paths.append(saver.save(session, path, global_step=step, write_meta_graph=False))
            if seal:
                checkpoints.seal(paths[-1])
        return paths


def newest_whole(folder: Path) -> tuple[int, list[str]]:
    """Step of the checkpoint to go on from, and the warnings."""
    warnings = []
    path = checkpoints.newest_whole(str(folder), warnings.append)
    step = checkpoints.step_of(path)
    if path:
        with checkpoints.opened(path) as reader:
            value = reader.get_tensor("w")
        np.testing.assert_array_equal(value, np.full(3, step, np.float32))
    return step, warnings


def flip(path: Path, place: int) -> None:
    """Flips a bit of a file."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << place % 8
    path.write_bytes(data)
