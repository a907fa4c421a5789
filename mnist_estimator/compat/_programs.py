"""Which code is the program's own, and what `import tensorflow` means to it with `tf1`."""

from __future__ import annotations

import builtins
import functools
import importlib.machinery
import os
import sys
import sysconfig
import types
from collections.abc import Mapping, Sequence
from typing import Any

from mnist_estimator.compat import _versions

_NAME = __name__.partition(".")[0]
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_KERAS = "tensorflow.python.keras"  # TensorFlow's own copy of Keras 2, which tf.keras is not.


def is_program(frame: types.FrameType) -> bool:
    """Whether the code of a frame is the program's own, and not a library's."""
    return _is_program(frame.f_globals)


def _is_program(namespace: Mapping[str, Any]) -> bool:
    """Whether the module with these globals is the program's own.

    Libraries lie in Python's own folders, in any site-packages, and here.
    """
    file = namespace.get("__file__")
    if not file:  # A cell of a notebook, `python -c`; or what a library executes by `exec`.
        return namespace.get("__name__") == "__main__"
    path = os.path.abspath(file)
    parts = path.split(os.sep)
    in_packages = "site-packages" in parts or "dist-packages" in parts
    return not in_packages and not path.startswith(_library_folders())


@functools.cache
def _library_folders() -> tuple[str, ...]:
    """Where else libraries are: Python's own, this package, and TensorFlow wherever it is."""
    found = importlib.machinery.PathFinder.find_spec("tensorflow")
    folders = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), _PACKAGE]
    folders += (found and found.submodule_search_locations) or []
    return tuple(os.path.join(os.path.abspath(folder), "") for folder in folders)


def give_name_back(main_script: str = "") -> None:
    """Leaves the name of this package to a module of the program that has it, too.

    Only the name is given back: what is imported from this package by its full name is still found.

    Args:
      main_script: if this is the module of that name, it does not mean itself, and gets nothing.
    """
    spec = importlib.machinery.PathFinder.find_spec(_NAME)
    origin = os.path.realpath(spec.origin) if spec and spec.origin else ""
    own = (os.path.join(_PACKAGE, "__init__.py"), os.path.abspath(main_script))
    if origin and origin not in map(os.path.realpath, own):
        sys.modules.pop(_NAME, None)


def mean_version_1() -> None:
    """Has `import tensorflow` mean `tf.compat.v1` in the program's own files from now on."""
    plain = builtins.__import__

    @functools.wraps(plain)
    def import_(
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        if level or name.partition(".")[0] != "tensorflow" or not _is_program(globals or {}):
            return plain(name, globals, locals, fromlist, level)
        tf = plain("tensorflow")
        if fromlist and f"{name}.".startswith(f"{_KERAS}."):
            name = _source_of_keras(tf) + name.removeprefix(_KERAS)
        elif fromlist:
            found = _version_1_module(tf.compat.v1, name)
            if found is not None:
                return found
        module = plain(name, globals, locals, fromlist, level)
        return tf.compat.v1 if module is tf else module

    builtins.__import__ = import_


def _version_1_module(v1: Any, name: str) -> Any:
    """The module that a name as `tensorflow.train` has in version 1; None if it has none."""
    module = v1
    for part in name.split(".")[1:]:
        module = getattr(module, part, None)
        if not isinstance(module, types.ModuleType):
            return None
    return module


def _source_of_keras(tf: Any) -> str:
    """The package with the modules of the Keras 2 that is in use."""
    package = tf.keras.layers.Layer.__module__.partition(".")[0]
    is_keras_2 = package == "tf_keras" or _versions.release(tf.__version__) < (2, 16)
    return f"{package}.src" if is_keras_2 else _KERAS
