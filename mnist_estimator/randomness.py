"""Finds what a restart of a graph does not repeat: random numbers that come from a state.

TensorFlow's stateful random operations count on from where the process is. After a restart they
begin their sequence again, at another step.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from mnist_estimator.compat import tf, v1

_SEEDS = ("seed", "seed2")
_VARIABLES = ("VarHandleOp", "VariableV2", "Variable")
_ASSIGNMENTS = ("AssignAddVariableOp", "AssignVariableOp", "AssignAdd", "Assign")


def training_roots(loss: tf.Tensor) -> list[tf.Operation]:
    """The operations whose ancestors are a step of training.

    These are the loss, the global step's rise, and what optimizers and layers update. An optimizer
    raises the global step after it has changed the variables; one beside it raises none.
    """
    step = v1.train.get_global_step()
    rises = [op for op in step.op.outputs[0].consumers() if op.type in _ASSIGNMENTS]
    keys = (v1.GraphKeys.TRAIN_OP, v1.GraphKeys.UPDATE_OPS)
    updates = [getattr(each, "op", each) for key in keys for each in v1.get_collection(key)]
    return [loss.op, *(op for op in rises if op is not step.initializer), *updates]


def stateful_draws(roots: Iterable[tf.Operation]) -> list[str]:
    """Names of the operations that the roots follow from, and that draw from a state."""
    functions = _Functions()
    return [op.name for op in ancestors(roots) if _draws(op) or functions.draws(op)]


def local_variables(roots: Iterable[tf.Operation]) -> list[str]:
    """Names of the variables that the roots follow from, and that no checkpoint holds."""
    local = {variable.op.name for variable in v1.local_variables()}
    return [op.name for op in ancestors(roots) if op.type in _VARIABLES and op.name in local]


def unrepeatable(dataset: tf.data.Dataset) -> str:
    """Says why a dataset may give other elements the next time; "" if nothing shows it does."""
    with warnings.catch_warnings():  # That a graph may know less of the options than it does.
        warnings.simplefilter("ignore", UserWarning)
        options = dataset.options()
    if options.deterministic is False:
        return "its options say deterministic = False"
    functions = _Functions()
    for op in ancestors([tf.data.experimental.to_variant(dataset).op]):
        if _attribute(op, "deterministic") == b"false" or _attribute(op, "sloppy") is True:
            return f"{op.name} gives elements in the order in which they are ready"
        if op.type.startswith("Shuffle") and not any(_shuffle_seeds(op)):
            return f"{op.name} has no seed"
        if op.type.startswith("Parallel") and functions.draws(op):
            return f"{op.name} draws random numbers in parallel, in no fixed order"
    return ""


def ancestors(roots: Iterable[tf.Operation]) -> Iterator[tf.Operation]:
    """The operations and all others that have to run before them, each once."""
    seen, left = set(), list(roots)
    while left:
        op = left.pop()
        if op not in seen:
            seen.add(op)
            yield op
            left += [*(tensor.op for tensor in op.inputs), *op.control_inputs]


def _draws(op: tf.Operation) -> bool:
    # What draws from a state has two attributes for its seed; what is stateless has inputs.
    return set(_SEEDS) <= set(op.node_def.attr)


def _attribute(op: tf.Operation, name: str) -> Any:
    return op.get_attr(name) if name in op.node_def.attr else None


def _shuffle_seeds(op: tf.Operation) -> list[Any]:
    """The seeds of an operation that shuffles a dataset; 1 for one that is computed."""
    inputs = zip(op.op_def.input_arg, op.inputs, strict=True)
    seeds = [tf.get_static_value(tensor) for argument, tensor in inputs if argument.name in _SEEDS]
    return [1 if seed is None else seed for seed in seeds]


class _Functions:
    """The functions of the default graph, which its operations call by name."""

    def __init__(self) -> None:
        self._functions: dict[str, Any] | None = None

    def draws(self, op: tf.Operation) -> bool:
        """Whether a function that the operation calls draws from a state."""
        return self._any_draws(_called(op.node_def), set())

    def _any_draws(self, names: set[str], seen: set[str]) -> bool:
        for name in names - seen:
            seen.add(name)
            nodes = self._nodes(name)
            if any(set(_SEEDS) <= set(node.attr) for node in nodes):
                return True
            called = set().union(*({node.op} | _called(node) for node in nodes))
            if self._any_draws(called, seen):
                return True
        return False

    def _nodes(self, name: str) -> list[Any]:
        if self._functions is None:
            library = v1.get_default_graph().as_graph_def().library
            self._functions = {each.signature.name: each.node_def for each in library.function}
        return list(self._functions.get(name, ()))


def _called(node: Any) -> set[str]:
    return {attr.func.name for attr in node.attr.values() if attr.HasField("func")} | {
        func.name for attr in node.attr.values() for func in attr.list.func
    }
