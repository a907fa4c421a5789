"""Puts Estimator back into TensorFlow: when TensorFlow is imported, or now if it is already.

Until then it costs nothing: TensorFlow's own loader is wrapped, and what is missing is put back as
soon as that loader is done.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Sequence
from typing import Any

from mnist_estimator.compat import (
    _gaps,
    _keras,
    _moved,
    _numpy,
    _programs,
    _removed,
    _stores,
    _versions,
)
from mnist_estimator.compat._finder import finder

_TENSORFLOW, _ESTIMATOR = "tensorflow", "tensorflow_estimator"
_PUBLIC, _PRIVATE = f"{_ESTIMATOR}._api", f"{_ESTIMATOR}.python.estimator"

# The paths by which programs import Estimator, and where tensorflow-estimator has it.
_PATHS = {
    "tensorflow.estimator": f"{_PUBLIC}.v2.estimator",
    "tensorflow.compat.v2.estimator": f"{_PUBLIC}.v2.estimator",
    "tensorflow._api.v2.estimator": f"{_PUBLIC}.v2.estimator",
    "tensorflow._api.v2.compat.v2.estimator": f"{_PUBLIC}.v2.estimator",
    "tensorflow.compat.v1.estimator": f"{_PUBLIC}.v1.estimator",
    "tensorflow._api.v2.compat.v1.estimator": f"{_PUBLIC}.v1.estimator",
    "tensorflow.python.estimator": _PRIVATE,
    "tensorflow.python.estimator.keras": f"{_PRIVATE}.keras_lib",
}


def install(*, tf1: bool = False, insist: bool = True) -> None:
    """Puts back what TensorFlow 2.15 had, at the next `import tensorflow` or now.

    Args:
      tf1: TensorFlow means version 1 to the program.
      insist: raise VersionError where it cannot work; else say so in a line and go on without.
    """
    if tf1 and not _State.tf1:
        _State.tf1 = True
        _programs.mean_version_1()
    tf = sys.modules.get(_TENSORFLOW)
    if tf is not None:
        _put_back(tf, insist=insist)
    elif not any(isinstance(other, _FirstImport) for other in sys.meta_path):
        sys.meta_path.insert(0, _FirstImport(insist=insist))


class _State:
    """What has been asked for and done; TensorFlow belongs to the whole process."""

    tf1 = False
    names_are_back = False
    version_1_is_on = False


class _FirstImport(importlib.abc.MetaPathFinder):
    """Finds TensorFlow as Python would, with a loader that puts back what is missing."""

    def __init__(self, *, insist: bool) -> None:
        self._insist = insist

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in (_TENSORFLOW, _ESTIMATOR):
            return None
        for other in sys.meta_path:
            find = getattr(other, "find_spec", None)  # Before 3.12 a finder may have none.
            spec = find(fullname, path, target) if find and other is not self else None
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader, insist=self._insist)
                return spec
        return None


class _Loader(importlib.abc.Loader):
    """The loader of TensorFlow, or of tensorflow-estimator, which imports TensorFlow first."""

    def __init__(self, own: Any, *, insist: bool) -> None:
        self._own, self._insist = own, insist

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        if spec.name == _ESTIMATOR:
            importlib.import_module(_TENSORFLOW)
            return sys.modules.get(_ESTIMATOR)
        _stores.before_tensorflow()
        return self._own.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._own
        if module.__name__ == _TENSORFLOW:
            # Before, as a TensorFlow that is too old may fail to import in its own way.
            version = _versions.of_distribution(_TENSORFLOW)
            if version and not _can_be_used(version, insist=self._insist):
                self._own.exec_module(module)
                return
            # 2.15 has Keras 2.
            with contextlib.nullcontext() if _has_estimator(version) else _keras.chosen():
                self._own.exec_module(module)
            _put_back(module, insist=self._insist)
        elif "estimator" not in vars(module):  # Else it is the package that `_gaps` has made.
            self._own.exec_module(module)


def _has_estimator(version: str) -> bool:
    return (0, 0) < _versions.release(version) < (2, 16)


def _put_back(tf: Any, *, insist: bool) -> None:
    if not _can_be_used(tf.__version__, insist=insist):
        return
    if not _State.names_are_back:
        _State.names_are_back = True
        if not _has_estimator(tf.__version__):
            _put_estimator_back(tf)
        _removed.install(tf, tf.compat.v1)
        _moved.install(tf)
        finder.add_aliases(_moved.ALIASES)
        finder.add_maker(_moved.stand_in)
        _numpy.install(_programs.is_program)
        _stores.offer()
    if _State.tf1 and not _State.version_1_is_on:
        _State.version_1_is_on = True
        _switch_to_version_1(tf)


def _can_be_used(version: str, *, insist: bool) -> bool:
    """Whether this TensorFlow can be used. Else raises VersionError, or says so in a line."""
    try:
        _versions.check_versions(version, _versions.installed(_ESTIMATOR, "tensorflow-estimator"))
    except _versions.VersionError as error:
        if insist:
            raise
        print(f"tf.estimator is not put back: {error}", file=sys.stderr, flush=True)
        return False
    return True


def _put_estimator_back(tf: Any) -> None:
    estimator, estimator_v1 = _gaps.close()
    compat = tf.compat
    # By these paths Python would load the modules a second time.
    for name, module in (("", compat), (".v1", compat.v1), (".v2", compat.v2)):
        sys.modules.setdefault(f"tensorflow.compat{name}", module)
    loaded = sys.modules["tensorflow.compat.v1"], sys.modules["tensorflow.compat.v2"]
    for api in (compat.v1, compat.v1.compat.v1, compat.v2.compat.v1, loaded[0]):
        api.estimator = estimator_v1
    for api in (tf, compat.v2, compat.v1.compat.v2, compat.v2.compat.v2, loaded[1]):
        api.estimator = estimator
    finder.add_aliases(_PATHS)


def _switch_to_version_1(tf: Any) -> None:
    from tensorflow.python.util import deprecation

    from mnist_estimator.compat import contrib

    v1 = tf.compat.v1
    with deprecation.silence():  # Of the switch itself; the program has asked for it.
        v1.disable_v2_behavior()
    # Version 1 had these two packages as attributes.
    v1.core, v1.python = sys.modules["tensorflow.core"], sys.modules["tensorflow.python"]
    contrib.install(v1, v1.estimator)
