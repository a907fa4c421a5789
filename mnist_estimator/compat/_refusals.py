"""Functions and classes that cannot do what their name says, and say so when they are called.

A program may import one, subclass it, or ask `isinstance` about it: only a call raises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from mnist_estimator import RunError

# Why a part of TensorFlow that only drives TPUs is not there.
NEEDS_TPU = (
    "TensorFlow 2.16 removed it, and only a TPU needs it; run with use_tpu=False, or on a TPU with "
    "TensorFlow 2.15"
)


def refusing_function(name: str, reason: str) -> Callable[..., NoReturn]:
    """A function that raises RunError.

    Args:
      name: its dotted name, module included.
      reason: why it cannot work, and what to do.
    """

    def refuse(*_args: Any, **_kwargs: Any) -> NoReturn:
        raise RunError(f"{name} is not there: {reason}")

    refuse.__module__, _, refuse.__name__ = name.rpartition(".")
    refuse.__qualname__ = refuse.__name__
    refuse.__doc__ = f"Not there: {reason}."
    return refuse


def refusing_class(name: str, reason: str) -> type:
    """A class that raises RunError when an object of it, or of a subclass, is made.

    Args:
      name: its dotted name, module included.
      reason: why it cannot work, and what to do.
    """
    module, _, own = name.rpartition(".")
    refuse = refusing_function(name, reason)
    return type(own, (), {"__new__": refuse, "__module__": module, "__doc__": refuse.__doc__})
