"""Variables of `tf.contrib.framework`: making, finding and restoring them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mnist_estimator.compat._loaded import tf, v1
from mnist_estimator.compat.contrib import arg_scopes

_KEYS = v1.GraphKeys


@arg_scopes.add_arg_scope
def variable(
    name: str,
    shape: Any = None,
    dtype: Any = None,
    initializer: Any = None,
    regularizer: Any = None,
    trainable: bool = True,
    collections: Iterable[str] | None = None,
    caching_device: Any = None,
    device: Any = None,
    partitioner: Any = None,
    custom_getter: Any = None,
    use_resource: bool | None = None,
    synchronization: Any = tf.VariableSynchronization.AUTO,
    aggregation: Any = v1.VariableAggregation.NONE,
) -> Any:
    """`v1.get_variable`, on a device."""
    getter = v1.get_variable
    if custom_getter is not None:
        reuse = v1.get_variable_scope().reuse
        getter = functools.partial(custom_getter, reuse=reuse)
    with v1.device(device or ""):
        return getter(
            name,
            shape=shape,
            dtype=dtype,
            initializer=initializer,
            regularizer=regularizer,
            trainable=trainable,
            collections=sorted(
                set([_KEYS.GLOBAL_VARIABLES] if collections is None else collections)
            ),
            caching_device=caching_device,
            partitioner=partitioner,
            use_resource=use_resource,
            synchronization=synchronization,
            aggregation=aggregation,
        )


@arg_scopes.add_arg_scope
def model_variable(
    name: str,
    shape: Any = None,
    dtype: Any = tf.float32,
    initializer: Any = None,
    regularizer: Any = None,
    trainable: bool = True,
    collections: Iterable[str] | None = None,
    caching_device: Any = None,
    device: Any = None,
    partitioner: Any = None,
    custom_getter: Any = None,
    use_resource: bool | None = None,
    synchronization: Any = tf.VariableSynchronization.AUTO,
    aggregation: Any = v1.VariableAggregation.NONE,
) -> Any:
    """`variable` that is also in the collection MODEL_VARIABLES."""
    return variable(
        name,
        shape=shape,
        dtype=dtype,
        initializer=initializer,
        regularizer=regularizer,
        trainable=trainable,
        collections=[*(collections or []), _KEYS.GLOBAL_VARIABLES, _KEYS.MODEL_VARIABLES],
        caching_device=caching_device,
        device=device,
        partitioner=partitioner,
        custom_getter=custom_getter,
        use_resource=use_resource,
        synchronization=synchronization,
        aggregation=aggregation,
    )


def local_variable(
    initial_value: Any,
    validate_shape: bool = True,
    name: str | None = None,
    use_resource: Any = None,
) -> Any:
    """A variable that checkpoints leave out."""
    return _untrained(_KEYS.LOCAL_VARIABLES, initial_value, validate_shape, name, use_resource)


def global_variable(
    initial_value: Any,
    validate_shape: bool = True,
    name: str | None = None,
    use_resource: Any = None,
) -> Any:
    """A variable that checkpoints hold and no optimizer changes."""
    return _untrained(_KEYS.GLOBAL_VARIABLES, initial_value, validate_shape, name, use_resource)


def add_model_variable(var: Any) -> None:
    """Adds a variable to the collection MODEL_VARIABLES, once."""
    if all(other is not var for other in v1.get_collection(_KEYS.MODEL_VARIABLES)):
        v1.add_to_collection(_KEYS.MODEL_VARIABLES, var)


def get_variables(
    scope: Any = None, suffix: str | None = None, collection: str = _KEYS.GLOBAL_VARIABLES
) -> list[Any]:
    """The variables of a collection whose name begins like a scope and ends with a suffix."""
    if isinstance(scope, v1.VariableScope):
        scope = scope.name
    if suffix is not None:
        scope = f"{scope or ''}.*{suffix}" + ("" if ":" in suffix else ":")
    return v1.get_collection(collection, scope)


def get_model_variables(scope: Any = None, suffix: str | None = None) -> list[Any]:
    """`get_variables` of the collection MODEL_VARIABLES."""
    return get_variables(scope, suffix, _KEYS.MODEL_VARIABLES)


def get_local_variables(scope: Any = None, suffix: str | None = None) -> list[Any]:
    """`get_variables` of the collection LOCAL_VARIABLES."""
    return get_variables(scope, suffix, _KEYS.LOCAL_VARIABLES)


def get_trainable_variables(scope: Any = None, suffix: str | None = None) -> list[Any]:
    """`get_variables` of the collection TRAINABLE_VARIABLES."""
    return get_variables(scope, suffix, _KEYS.TRAINABLE_VARIABLES)


def get_variables_by_suffix(suffix: str, scope: Any = None) -> list[Any]:
    """The variables whose name ends with a suffix."""
    return get_variables(scope, suffix)


def get_variables_by_name(given_name: str, scope: Any = None) -> list[Any]:
    """The variables whose name without the scopes around it is given."""
    return get_variables(scope, f"/{given_name}:|^{given_name}:")


def get_unique_variable(var_op_name: str) -> Any:
    """The variable of a whole name.

    Raises:
      ValueError: if there is none.
    """
    for candidate in get_variables(var_op_name):
        if candidate.op.name == var_op_name:
            return candidate
    raise ValueError(f"there is no variable {var_op_name}")


def get_variables_to_restore(
    include: Sequence[str] | None = None, exclude: Sequence[str] | None = None
) -> list[Any]:
    """The variables of some scopes, all if None, without those of others."""
    for argument in (include, exclude):
        if argument is not None and not isinstance(argument, (list, tuple)):
            raise TypeError(f"include and exclude are lists of scopes, found {argument!r}")
    wanted = get_variables() if include is None else _of_scopes(include)
    left_out = {id(var) for var in _of_scopes(exclude or ())}
    return [var for var in wanted if id(var) not in left_out]


def assign_from_values(var_names_to_values: Mapping[str, np.ndarray]) -> tuple[Any, dict[Any, Any]]:
    """An operation that gives variables values, and what to feed to it.

    Raises:
      ValueError: if there is no variable of a name, or it has another number of elements.
    """
    feed, operations = {}, []
    for name, value in var_names_to_values.items():
        var = get_unique_variable(name)
        holder = _placeholder(var)
        operations.append(var.assign(holder))
        feed[holder] = np.asarray(value).reshape(var.shape.as_list())
    return v1.group(*operations), feed


def assign_from_values_fn(var_names_to_values: Mapping[str, np.ndarray]) -> Callable[[Any], None]:
    """The same as a function of a session."""
    operation, feed = assign_from_values(var_names_to_values)
    return lambda session: session.run(operation, feed)


def assign_from_checkpoint(
    model_path: str, var_list: Any, ignore_missing_vars: bool = False
) -> tuple[Any, dict[Any, Any]]:
    """An operation that gives variables the values of a checkpoint, and what to feed to it.

    Args:
      var_list: variables, or a mapping of names in the checkpoint to variables or lists of them.

    Raises:
      ValueError: if the checkpoint lacks a variable, or has it in another shape.
    """
    reader = v1.train.NewCheckpointReader(model_path)
    feed, operations = {}, []
    for name, var in _named(var_list):
        if not reader.has_tensor(name):
            if not ignore_missing_vars:
                raise ValueError(f"{model_path} has no variable {name}")
            v1.logging.warning("%s has no variable %s", model_path, name)
            continue
        value = reader.get_tensor(name)
        if list(value.shape) != var.shape.as_list():
            found = f"{name} has the shape {value.shape} in {model_path}"
            raise ValueError(f"{found}, the variable {var.op.name} {var.shape}")
        holder = _placeholder(var)
        operations.append(var.assign(holder))
        feed[holder] = value
    return v1.group(*operations), feed


def assign_from_checkpoint_fn(
    model_path: str,
    var_list: Any,
    ignore_missing_vars: bool = False,
    reshape_variables: bool = False,
) -> Callable[[Any], None] | None:
    """A function of a session that gives variables the values of a checkpoint.

    Returns None if none of the variables is in the checkpoint and `ignore_missing_vars`.
    """
    if not var_list:
        raise ValueError("var_list is empty, expected variables to restore")
    if not isinstance(var_list, Mapping):
        var_list = {var.op.name: var for var in var_list}
    if ignore_missing_vars:
        reader = v1.train.NewCheckpointReader(model_path)
        for name in [name for name in var_list if not reader.has_tensor(name)]:
            v1.logging.warning("%s has no variable %s", model_path, name)
        var_list = {name: var for name, var in var_list.items() if reader.has_tensor(name)}
    if not var_list:
        v1.logging.warning("%s has none of the variables to restore", model_path)
        return None
    saver = v1.train.Saver(var_list, reshape=reshape_variables)
    return lambda session: saver.restore(session, model_path)


def _untrained(collection: str, initial_value: Any, validate_shape: bool, name: Any, resource: Any):
    return v1.Variable(
        initial_value,
        trainable=False,
        collections=[collection],
        validate_shape=validate_shape,
        use_resource=resource,
        name=name,
    )


def _of_scopes(scopes: Iterable[str]) -> list[Any]:
    return [var for scope in scopes for var in get_variables(scope)]


def _placeholder(var: Any) -> Any:
    return v1.placeholder(var.dtype.base_dtype, var.shape, name=f"placeholder/{var.op.name}")


def _named(var_list: Any) -> Iterable[tuple[str, Any]]:
    """Pairs of a name in a checkpoint and a variable."""
    if not isinstance(var_list, Mapping):
        var_list = {var.op.name: var for var in var_list}
    for name, found in var_list.items():
        for var in found if isinstance(found, (list, tuple)) else [found]:
            if getattr(var, "_save_slice_info", None):
                raise ValueError(f"{var.op.name} is a part of a variable; use v1.train.Saver")
            yield name, var
