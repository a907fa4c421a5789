"""Restores checkpoints into a graph: by their exact path, and only if the variables fit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import numpy as np

from mnist_estimator import InputError
from mnist_estimator.compat import tf, v1
from mnist_estimator.optimizers import AVERAGE
from mnist_estimator.runs import checkpoints
from mnist_estimator.runtime import files


def add_saver() -> None:
    """Makes the graph's sessions restore, and the run's hook save, with a `Saver`."""
    if not v1.get_collection(v1.GraphKeys.SAVERS):
        v1.add_to_collection(v1.GraphKeys.SAVERS, Saver())


@contextlib.contextmanager
def store_errors() -> Iterator[None]:
    """Raises a store's error as an OutageError.

    Sessions that are monitored take it for that of a lost task, and try again without end.
    """
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError) as error:
        if not files.is_outage(error):
            raise
        raise files.OutageError(files.error_line(error)) from error


def graph_variables() -> dict[str, list[int]]:
    """Name and shape of each variable as a checkpoint has it.

    Of mirrored variables that is the first copy, of the parts of a variable the whole.
    """
    found = {}
    for variable in v1.global_variables():
        part = getattr(variable, "_save_slice_info", None)
        if part:
            found[part.full_name] = list(part.full_shape)
        elif variable.shape.is_fully_defined() and "/replica_" not in variable.op.name:
            found[variable.op.name] = variable.shape.as_list()
    return found


def stored_variables(*, averages: bool) -> dict[str, tf.Variable]:
    """The graph's variables, each by the name under which a checkpoint has its value.

    Args:
      averages: whether weights get their moving averages.
    """
    averaged = v1.trainable_variables() if averages else []
    names = {variable.op.name: f"{variable.op.name}/{AVERAGE}" for variable in averaged}
    every = v1.global_variables()
    return {names.get(variable.op.name, variable.op.name): variable for variable in every}


def check_variables(path: str, expected: Mapping[str, list[int]]) -> None:
    """Raises InputError unless a checkpoint has each of the graph's variables in its shape.

    Args:
      expected: as `graph_variables` returns it.
    """
    with checkpoints.opened(path) as reader:
        found = reader.get_variable_to_shape_map()
    for name, shape in expected.items():
        if name not in found and name.endswith(f"/{AVERAGE}"):
            raise InputError(
                f"{path}: holds no moving averages of the weights; go on without --ema_decay, or "
                "give another --model_dir"
            )
        if found.get(name) != shape:
            has = f"of shape {found[name]}" if name in found else "not at all"
            raise InputError(
                f"{path}: holds another network: {name} {has}, expected it of shape {shape}; "
                "continue with the flags it was trained with, or give another --model_dir"
            )


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    """Raises InputError where a variable's parts cannot be read together, under their names."""
    try:
        yield
    except ValueError as error:
        raise InputError(
            f"{path}: cannot be restored from a path with * ? [ or \\ in it: {error}; give "
            "another model_dir"
        ) from error


def _part(value: np.ndarray, spec: str) -> np.ndarray:
    """The part of a variable's value that a RestoreV2 with this spec gives; all of it for "".

    The spec of rows 2 to 4 of [10,3] is "10 3 2,3:0,3": the shape, then start and size by axis.
    """
    if not spec:
        return value
    ranges = (map(int, each.split(",")) for each in spec.split(" ")[-1].split(":"))
    return value[tuple(slice(start, start + size) for start, size in ranges)]


class Saver(v1.train.Saver):
    """Restores the files of exactly this path, and deletes nothing."""

    def __init__(self) -> None:
        # With 0 TensorFlow deletes none: it would delete all that matches the path as a pattern.
        super().__init__(
            sharded=True,
            max_to_keep=0,
            defer_build=True,
            allow_empty=True,
            save_relative_paths=True,
        )

    def restore(self, sess: v1.Session, save_path: str) -> None:
        """Restores the variables. If the path is not literal, this process reads the values."""
        if files.is_literal(save_path):
            with store_errors():
                super().restore(sess, save_path)
            return
        filename = sess.graph.get_tensor_by_name(self.saver_def.filename_tensor_name)
        readers = [op for op in filename.consumers() if op.type == "RestoreV2"]
        with checkpoints.opened(save_path) as reader, _explained(save_path):
            # Values that are fed are not read by any device, parameter servers included.
            values = {
                tensor: _part(reader.get_tensor(name.decode()), part.decode())
                for op in readers
                for name, part, tensor in zip(
                    *map(tf.get_static_value, (op.inputs[1], op.inputs[2])),
                    op.outputs,
                    strict=True,
                )
            }
        sess.run(self.saver_def.restore_op_name, values)

    def recover_last_checkpoints(self, checkpoint_paths: list[str]) -> None:
        """Does nothing: TensorFlow would look for matching files, to delete them later."""
