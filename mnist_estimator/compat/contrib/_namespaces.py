"""Modules made of a table: what each name of an old package is now, or what to do without it."""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mnist_estimator.compat import _keras

_HERE = __name__.rpartition(".")[0]
_OF_KERAS = ("v1.keras.", "v1.nn.rnn_cell.")  # They fail in other ways where it is Keras 3.
_TAKE_CODE = (
    "it went with TensorFlow 2.0: write it with what tf.compat.v1 has, or take its code from the "
    "source of TensorFlow 1.15"
)


@dataclass(frozen=True)
class Topic:
    """One old package.

    Attributes:
      names: name -> where it is now. A target begins with "v1." or "estimator." (what `install` was
        given), "tensorflow." or "tensorflow_estimator." (a module of theirs), or "own." (a module
        beside this one).
      sources: targets of modules whose public names are all names of this package too.
      gone: name -> what to do, of names that are known and not there; "": of all others.
      paths: other paths of the package below the one that all have in common, between spaces.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    sources: Sequence[str] = ()
    gone: Mapping[str, str] = field(default_factory=dict)
    paths: str = ""


class Namespace(types.ModuleType):
    """The names of one topic, each looked up when it is first asked for."""

    def __init__(self, name: str, topic: Topic, roots: Mapping[str, Any]) -> None:
        super().__init__(name)
        self.__path__ = []  # So that Python asks `_Missing` for what an import does not find.
        self._topic, self._roots = topic, roots

    def __getattr__(self, name: str) -> Any:
        # What Python and tools ask any module for, as __all__, needs no advice.
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = self._value(name)
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        found = {*self._topic.names, *super().__dir__()}
        for source in self._topic.sources:
            try:
                found |= set(_public(_resolve(source, self._roots)))
            except (AttributeError, ImportError):  # A root may lack it, as an estimator its tpu.
                continue
        return sorted(found)

    def has(self, name: str) -> bool:
        """Whether a name is set, or in the table."""
        return name in vars(self) or name in self._topic.names

    def _value(self, name: str) -> Any:
        target = self._topic.names.get(name)
        if target:
            try:
                return _resolve(target, self._roots)
            except (AttributeError, ImportError) as error:
                raise _lacking(f"{_spoken(self.__name__)}.{name}", target, error) from error
        for source in self._topic.sources:
            try:
                module = _resolve(source, self._roots)
            except (AttributeError, ImportError):
                continue
            if name in _public(module):
                return getattr(module, name)
        raise AttributeError(_missing(f"{self.__name__}.{name}", self._topic))


def install(package: str, topics: Mapping[str, Topic], roots: Mapping[str, Any]) -> Namespace:
    """Makes a package importable, with the packages below it.

    Args:
      package: the path that all topics have in common.
      topics: path below it -> topic; "" is the package itself, and parents come first.
      roots: what the targets of the topics begin with -> object.

    Returns: the package.
    """
    if package in sys.modules:
        return sys.modules[package]
    made: dict[str, Namespace] = {}
    for path, topic in topics.items():
        name = f"{package}.{path}".rstrip(".")
        made[name] = sys.modules[name] = Namespace(name, topic, roots)
        parent, _, last = name.rpartition(".")
        if parent in made:
            setattr(made[parent], last, made[name])
    for path, topic in topics.items():
        for alias in topic.paths.split():
            _add_alias(f"{package}.{alias}", made[f"{package}.{path}".rstrip(".")], roots)
    sys.meta_path.append(_Missing(package, topics))
    return made[package]


class _Missing:
    """The last finder that Python asks: says of a path below a package that it is not there."""

    def __init__(self, package: str, topics: Mapping[str, Topic]) -> None:
        self._package, self._topics = package, topics

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not name.startswith(f"{self._package}."):
            return None
        parent, _, _ = name.removeprefix(f"{self._package}.").rpartition(".")
        message = _missing(name, self._topics.get(parent, self._topics[""]))
        # Without the name: `from PACKAGE import NAME` hides an error that has it.
        raise ModuleNotFoundError(message)


def _add_alias(name: str, module: Namespace, roots: Mapping[str, Any]) -> None:
    """Makes `module` importable by a second path. Packages on the way to it are made."""
    sys.modules[name] = module
    parent, _, last = name.rpartition(".")
    while parent not in sys.modules:
        package = Namespace(parent, Topic(), roots)
        setattr(package, last, sys.modules[name])
        sys.modules[parent] = package
        name, (parent, _, last) = parent, parent.rpartition(".")
    above = sys.modules[parent]
    # framework.python.ops.arg_scope is a module, but framework.arg_scope a function.
    if not (isinstance(above, Namespace) and above.has(last)):
        setattr(above, last, sys.modules[name])


def _resolve(target: str, roots: Mapping[str, Any]) -> Any:
    root, *names = target.split(".")
    if root == "own":
        value = importlib.import_module(f"{_HERE}.{names.pop(0)}")
    elif root in ("tensorflow", "tensorflow_estimator"):
        value = _imported(target)
        names = names[len(value.__name__.split(".")) - 1 :]
    else:
        value = roots[root]
    for name in names:
        value = getattr(value, name)
    return value


def _imported(target: str) -> types.ModuleType:
    """The module of a target that is a module or a name in one."""
    try:
        return importlib.import_module(target)
    except ModuleNotFoundError:
        return importlib.import_module(target.rpartition(".")[0])


def _public(module: types.ModuleType) -> Iterator[str]:
    return (name for name in dir(module) if not name.startswith("_"))


def _lacking(name: str, target: str, error: Exception) -> Exception:
    """The error for a name that is here, but whose target the TensorFlow in use does not have."""
    if isinstance(error, _keras.KerasError):
        return _keras.KerasError(f"{name}: {error}", name=name, obj=None)
    where = target.replace("v1.", "tf.compat.v1.", 1) if target.startswith("v1.") else target
    if _keras.remedy and target.startswith(_OF_KERAS):
        message = f"{name} is {where}, which needs Keras 2: {_keras.remedy}"
        return _keras.KerasError(message, name=name, obj=None)
    return AttributeError(f"{name} is {where}, which the TensorFlow in use does not have: {error}")


def _missing(name: str, topic: Topic) -> str:
    advice = topic.gone.get(name.rpartition(".")[2], topic.gone.get("", _TAKE_CODE))
    package = ".".join(_spoken(name).split(".")[:2])
    return f"{_spoken(name)} is not among the stand-ins of {package} that compat has; {advice}"


def _spoken(name: str) -> str:
    return name.replace("tensorflow.", "tf.", 1)
