"""Sessions with a trained network: the weights of a checkpoint, or an exported model."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from mnist_estimator import RunError
from mnist_estimator.compat import tf, v1
from mnist_estimator.runs import checkpoints, saver
from mnist_estimator.runtime import files
from mnist_estimator.runtime.files import error_line
from mnist_estimator.serving.signatures import Signature, Tensors


@contextlib.contextmanager
def restore(checkpoint: str, *, averages: bool = False) -> Iterator[v1.Session]:
    """A session of the current graph with the weights of a checkpoint.

    Args:
      averages: whether weights get their moving averages.

    Raises:
      RunError: if the checkpoint cannot be read, or is of another network.
    """
    with v1.Session() as session:
        try:
            with checkpoints.readable(checkpoint) as path:
                # TensorFlow restores other shapes, too. Then the image size in a run's record would
                # decide how much memory each image takes.
                variables = saver.stored_variables(averages=averages)
                shapes = {name: variable.shape.as_list() for name, variable in variables.items()}
                saver.check_variables(path, shapes)
                v1.train.Saver(variables).restore(session, path)
        except (tf.errors.OpError, ValueError) as error:
            raise RunError(f"{checkpoint}: cannot be restored: {error_line(error)}") from error
        yield session


@contextlib.contextmanager
def load(export_dir: str, name: str) -> Iterator[tuple[v1.Session, Signature]]:
    """A session with an exported model, and the signature of this name.

    Raises:
      RunError: if the export cannot be read, or has no such signature.
    """
    with tf.Graph().as_default(), v1.Session() as session:
        definitions = _load_definitions(export_dir, session)
        if name not in definitions:
            found = ", ".join(sorted(definitions)) or "none"
            raise RunError(f"{export_dir}: found signatures {found}, expected {name}")
        definition = definitions[name]
        yield (
            session,
            Signature(_tensors(session, definition.inputs), _tensors(session, definition.outputs)),
        )


def load_eagerly(export_dir: str) -> Any:
    """An exported model as TensorFlow loads it outside of graphs and sessions.

    Raises:
      RunError: if the export cannot be read.
    """
    with _reading(export_dir) as path:
        return tf.saved_model.load(path)


def _load_definitions(export_dir: str, session: v1.Session) -> Mapping[str, Any]:
    """Loads an export into a session; returns its SignatureDefs by name."""
    with _reading(export_dir) as path:
        return v1.saved_model.load(session, [tf.saved_model.SERVING], path).signature_def


@contextlib.contextmanager
def _reading(export_dir: str) -> Iterator[str]:
    for path in files.walk(export_dir):
        if not tf.io.gfile.isdir(path):
            files.check_plain(path)
    try:
        with _readable(export_dir) as path:
            yield path
    except (tf.errors.OpError, OSError, RuntimeError, ValueError) as error:
        raise RunError(f"{export_dir}: cannot be loaded: {error_line(error)}") from error


def _readable(export_dir: str) -> contextlib.AbstractContextManager[str]:
    """A path of an export for TensorFlow, which takes the path of the weights for a pattern."""
    if files.is_literal(export_dir):
        return contextlib.nullcontext(export_dir)
    names = (os.path.relpath(path, export_dir) for path in files.walk(export_dir))
    return files.in_memory(export_dir, names)


def _tensors(session: v1.Session, infos: Mapping[str, Any]) -> Tensors:
    return {key: session.graph.get_tensor_by_name(info.name) for key, info in infos.items()}
