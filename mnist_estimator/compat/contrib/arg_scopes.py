"""`arg_scope`: defaults for the arguments of decorated functions, for as long as a block lasts."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Scope = dict[Any, dict[str, Any]]  # Decorated function -> its arguments' defaults.

_scopes: list[Scope] = [{}]
_arguments: dict[Any, tuple[str, ...]] = {}


def add_arg_scope(func: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a function, so that `arg_scope` can give its arguments defaults."""

    @functools.wraps(func)
    def with_defaults(*args: Any, **kwargs: Any) -> Any:
        return func(*args, **{**_scopes[-1].get(_key(func), {}), **kwargs})

    _arguments[_key(func)] = tuple(
        name
        for name, parameter in inspect.signature(func).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    )
    with_defaults._key_op = _key(func)
    return with_defaults


@contextlib.contextmanager
def arg_scope(list_ops_or_scope: Sequence[Any] | Scope, **kwargs: Any) -> Iterator[Scope]:
    """Gives decorated functions these defaults inside the block, over those of blocks around it.

    Args:
      list_ops_or_scope: decorated functions; or what an earlier `arg_scope` gave, to be used again.
    """
    if isinstance(list_ops_or_scope, Mapping):
        if kwargs:
            raise ValueError("arg_scope takes a scope to use again, or functions and arguments")
        scope = dict(list_ops_or_scope)
    elif isinstance(list_ops_or_scope, (list, tuple)):
        scope = dict(_scopes[-1])
        for op in list_ops_or_scope:
            if not has_arg_scope(op):
                raise ValueError(f"{op} is not decorated with @add_arg_scope")
            scope[_key(op)] = {**scope.get(_key(op), {}), **kwargs}
    else:
        raise TypeError("arg_scope takes a list or tuple of functions, or a scope to use again")
    _scopes.append(scope)
    try:
        yield scope
    finally:
        _scopes.pop()


def current_arg_scope() -> Scope:
    """The defaults that hold now."""
    return _scopes[-1]


def has_arg_scope(func: Any) -> bool:
    """Whether a function is decorated with `add_arg_scope`."""
    return _key(func) in _arguments


def arg_scoped_arguments(func: Any) -> tuple[str, ...]:
    """The arguments of a decorated function that have defaults."""
    return _arguments[_key(func)]


def arg_scope_func_key(op: Any) -> Any:
    """What a function is called in the mapping that `arg_scope` gives."""
    return _key(op)


def _key(op: Any) -> Any:
    # A string, and one key for a function and what decorates it, as in TensorFlow 1.
    return getattr(op, "_key_op", str(op))
