"""Checks, before training begins, that a user's own network can be trained, saved and evaluated.

The network is built once for training and once for evaluation, each in a graph of its own, as
Estimator builds it. The graphs show mistakes that would otherwise stop the run hours later, or give
wrong results.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping
from typing import Any

from mnist_estimator import InputError, networks, randomness
from mnist_estimator.compat import tf, v1
from mnist_estimator.runtime.progress import warn

_VARIABLES = ("VarHandleOp", "VariableV2")
_ASSIGNMENTS = re.compile(r"Assign(Add|Sub)?(VariableOp)?")
_PYTHON = ("PyFunc", "PyFuncStateless", "EagerPyFunc")


def check(
    name: str, image_shape: tuple[int, int, int], dtype: tf.DType, params: Mapping[str, Any]
) -> None:
    """Raises InputError unless the network `module:function` can be used; warns of likely mistakes.

    Args:
      image_shape: height, width, channels.
      dtype: of the images that the network gets.
      params: as the network gets them.
    """
    if name in networks.NETWORKS:
        return
    built = {}
    for training in (True, False):
        with tf.Graph().as_default():
            v1.set_random_seed(params["seed"])
            v1.train.get_or_create_global_step()
            images = v1.placeholder(dtype, [None, *image_shape])
            built[training] = logits(name, images, params, training=training)
            _check_saved(name, built[training])
    _check_losses(name, built[True].graph)
    _check_trained(name, built[True], averaged=bool(params["ema_decay"]))
    _check_updates(name, built[True])
    _check_same_names(name, built[True].graph, built[False])
    _warn(name, built[True])


def logits(name: str, images: tf.Tensor, params: Mapping[str, Any], *, training: bool) -> tf.Tensor:
    """Returns a network's logits for images [B,H,W,C]: float [B,num_classes].

    Raises:
      InputError: if a user's network raises, or returns something else.
    """
    network, classes = networks.find(name), params["num_classes"]
    try:
        found = network(images, num_classes=classes, training=training, params=params)
    except Exception as error:
        if name in networks.NETWORKS or isinstance(error, InputError):
            raise
        raise InputError(
            f"--model={name}: raises {type(error).__name__}: {_first_line(error)} "
            f"({_raised_at(error)}), expected logits [batch, {classes}]"
        ) from error
    what = found.shape if tf.is_tensor(found) else type(found).__name__
    if not tf.is_tensor(found) or not found.shape.is_compatible_with([None, classes]):
        raise InputError(f"--model={name}: returns {what}, expected logits [batch, {classes}]")
    if not found.dtype.is_floating:
        raise InputError(f"--model={name}: returns {found.dtype.name}, expected float32 logits")
    return found


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _raised_at(error: Exception) -> str:
    """The line of the user's file that raised the error."""
    frames = traceback.extract_tb(error.__traceback__)[1:] or [None]
    inside = [frame for frame in frames if frame and frame.filename == frames[0].filename]
    return f"{inside[-1].filename}:{inside[-1].lineno}" if inside else "at its call"


def _check_saved(name: str, logits: tf.Tensor) -> None:
    """Raises InputError unless checkpoints have every variable that the logits depend on."""
    every = v1.global_variables()
    saved = {variable.op.name for variable in every}
    for operation in randomness.ancestors([logits.op]):
        if operation.type in _VARIABLES and operation.name not in saved:
            raise InputError(
                f"--model={name}: variable {operation.name} is not in the collection of global "
                "variables, so no checkpoint has it; make it by v1.get_variable"
            )
    for variable in every:
        if variable.to_proto().HasField("save_slice_info_def"):
            raise InputError(
                f"--model={name}: variable {variable.op.name} is a part of a partitioned variable, "
                "expected whole ones; make it without a partitioner"
            )


def _check_trained(name: str, logits: tf.Tensor, *, averaged: bool) -> None:
    """Raises InputError unless training changes a variable, or each one that has an average."""
    with logits.graph.as_default():
        variables = v1.trainable_variables()
        gradients = v1.gradients(logits, variables)
    untrained = [v.op.name for v, g in zip(variables, gradients, strict=True) if g is None]
    if len(untrained) == len(variables):
        raise InputError(
            f"--model={name}: its logits come from no variable that can be trained, expected some; "
            "make them by v1.get_variable or networks.dense"
        )
    if averaged and untrained:
        raise InputError(
            f"--model={name}: its logits do not come from variable {untrained[0]}, so --ema_decay "
            "has no moving average of it; make it with trainable=False, or leave it out"
        )


def _check_losses(name: str, graph: tf.Graph) -> None:
    """Raises InputError for a loss of the network's own, as of a regularizer."""
    for key in (v1.GraphKeys.REGULARIZATION_LOSSES, v1.GraphKeys.LOSSES):
        found = graph.get_collection(key)
        if found:
            raise InputError(
                f"--model={name}: adds the loss {found[0].op.name}, and training minimizes only "
                "that of the logits; use --weight_decay in place of a regularizer, or leave it out"
            )


def _check_updates(name: str, logits: tf.Tensor) -> None:
    """Raises InputError for a variable whose update no training step runs."""
    with logits.graph.as_default():
        updates = v1.get_collection(v1.GraphKeys.UPDATE_OPS)
        starts = {variable.initializer for variable in v1.global_variables()}
    done = {*randomness.ancestors([logits.op, *(getattr(each, "op", each) for each in updates)])}
    for operation in logits.graph.get_operations():
        if not _ASSIGNMENTS.fullmatch(operation.type) or operation in done | starts:
            continue
        raise InputError(
            f"--model={name}: nothing runs the update of {operation.inputs[0].op.name}, as Keras "
            "layers leave it; use networks.batch_norm and networks.dropout, or add the update to "
            "the collection UPDATE_OPS"
        )


def _check_same_names(name: str, training: tf.Graph, logits: tf.Tensor) -> None:
    """Raises InputError unless evaluation's variables have the names that training saves."""
    with training.as_default():
        trained = {variable.op.name for variable in v1.global_variables()}
    for operation in randomness.ancestors([logits.op]):
        if operation.type in _VARIABLES and operation.name not in trained:
            raise InputError(
                f"--model={name}: built again, it has a variable {operation.name} that it did not "
                "have for training, as layers of Keras 3 do; make variables by v1.get_variable, or "
                "use networks.dense"
            )


def _warn(name: str, logits: tf.Tensor) -> None:
    types = {operation.type for operation in randomness.ancestors([logits.op])}
    with logits.graph.as_default():
        draws = randomness.stateful_draws([logits.op])
    if draws:
        warn(
            f"--model={name}: draws random numbers that a resumed run draws anew, so it does not "
            "end with the same weights; use networks.dropout, or tf.random.stateless_uniform"
        )
    if types & {*_PYTHON}:
        warn(f"--model={name}: calls Python while it computes, so no export of it can be served")
    if logits.op.type == "Softmax":
        warn(f"--model={name}: returns probabilities, expected logits; leave the softmax out")
