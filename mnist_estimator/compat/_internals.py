"""What TensorFlow 1's classes have no argument for."""

from __future__ import annotations

import functools
from typing import Any

from mnist_estimator.compat._loaded import tf, v1


def look_for_variables_every(secs: float) -> None:
    """How often a worker looks whether the chief has made the variables; TensorFlow: 30 s.

    Estimator's workers have no argument for it. A worker that comes a moment too early would start
    half a minute late, again after each parameter server's restart.
    """
    manager = v1.train.SessionManager
    # Of an earlier call's partialmethod, partialmethod takes the function and the argument apart.
    original = vars(manager)["__init__"]
    manager.__init__ = functools.partialmethod(original, recovery_wait_secs=secs)


def event_writer(folder: str, prefix: str) -> Any:
    """The `FileWriter` of a folder's events, one in a process.

    Args:
      prefix: what the path of its file begins with, if it is made now; "": what TensorFlow chooses.
    """
    cache = v1.summary.FileWriterCache
    with tf.Graph().as_default():  # Which a writer would keep.
        if prefix and folder not in cache._cache:
            made = v1.summary.FileWriter(folder)
            # No argument says it. The file is begun with the first event.
            events = made.event_writer
            events.close()
            events._ev_writer = type(events._ev_writer)(prefix.encode())
            events.reopen()
            cache._cache[folder] = made
        return cache.get(folder)


def graphs_of(content: bytes) -> list[Any]:
    """The MetaGraphDefs in the file of a SavedModel; none if it is damaged."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    try:
        return list(saved_model_pb2.SavedModel.FromString(content).meta_graphs)
    except DecodeError:
        return []


def graph_to_save(builder: Any) -> Any:
    """The MetaGraphDef that was added to a builder of a SavedModel; it is saved as it is then."""
    (graph,) = builder._saved_model.meta_graphs
    return graph
