"""Makes tensorflow-estimator 2.15 work on TensorFlow 2.16 and later, which dropped Estimator."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import pathlib
import re
import sys
import types
from typing import Any

from mnist_estimator.compat import _keras, _removed
from mnist_estimator.compat._finder import finder

_PACKAGE = "tensorflow_estimator"
_NEEDS_KERAS = re.compile(
    rf"{_PACKAGE}\.python\.estimator\.(canned\.(?!parsing_utils)|head\.|keras_lib)"
)


@functools.cache
def close() -> tuple[Any, Any]:
    """Makes tensorflow-estimator work on TensorFlow 2.16 and later. Returns its APIs 2 and 1.

    TensorFlow is imported by now.
    """
    from tensorflow.python.util import tf_export

    # Its public symbols are decorated with their names in an API that 2.16 dropped from these
    # tables. The attributes must be ones that Estimator, which checks its subclasses for any other,
    # knows. For version 1 they are TensorFlow's own: `tf_export.get_v1_names` looks at no others.
    tf_export.ESTIMATOR_API_NAME = "estimator"
    tf_export.API_ATTRS_V1["estimator"] = tf_export.API_ATTRS_V1["tensorflow"]
    tf_export.API_ATTRS["estimator"] = tf_export.API_ATTRS["tensorflow"]._replace(
        names="_estimator_api_names", constants="_estimator_api_constants"
    )

    # Its modules import some of TensorFlow that is gone.
    finder.add_aliases(_removed.ALIASES)
    finder.add_maker(_removed.stand_in)
    _removed.guard_tpus()

    # Its __init__ imports all of it. A package that is never executed still tells Python where to
    # find its modules.
    package = importlib.util.module_from_spec(importlib.util.find_spec(_PACKAGE))
    sys.modules[_PACKAGE] = package
    # Other people's code imports this one for a name or two.
    _namespace(f"{_PACKAGE}.python.estimator.estimator_lib")
    package.estimator = estimator_v1 = _namespace(f"{_PACKAGE}._api.v1.estimator")
    return _namespace(f"{_PACKAGE}._api.v2.estimator"), estimator_v1


def _namespace(name: str) -> _Namespace:
    """Puts a namespace, and those below it, in place of the module of this name."""
    namespace = sys.modules[name] = _Namespace(name)
    # The same files are there a second time.
    sys.modules[name.replace("._api.v", ".python.estimator.api._v")] = namespace
    parent, _, last = name.rpartition(".")
    setattr(importlib.import_module(parent), last, namespace)
    for below in namespace.below:
        _namespace(f"{name}.{below}")
    return namespace


class _Namespace(types.ModuleType):
    """The names that a module of tensorflow-estimator imports, each imported when first asked for.

    So what cannot be used without Keras 2 is not in the way of the rest.
    """

    def __init__(self, source: str) -> None:
        super().__init__(source)
        self.below: list[str] = []
        self._origins: dict[str, tuple[str, str]] = {}
        path = _path(source)
        is_package = path.name == "__init__.py"
        self.__file__ = str(path)
        self.__package__ = source if is_package else source.rpartition(".")[0]
        if is_package:
            self.__path__ = [str(path.parent)]
        self.__spec__ = importlib.util.spec_from_file_location(source, path)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.module.startswith(_PACKAGE):
                for alias in node.names:
                    self._add(alias.asname or alias.name, node.module, alias.name)

    def _add(self, name: str, module: str, symbol: str) -> None:
        if name == "*":
            for name in _functions(module):
                self._origins[name] = (module, name)
        elif module == self.__name__:
            self.below.append(symbol)
        else:
            self._origins[name] = (module, symbol)

    def __getattr__(self, name: str) -> Any:
        if name not in self._origins:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        module, symbol = self._origins[name]
        if _keras.remedy and _NEEDS_KERAS.match(f"{module}."):
            message = f"{name} needs Keras 2, which is not in use: {_keras.remedy}"
            # Without obj Python does not ask "Did you mean: 'DNNRegressor'?".
            raise _keras.KerasError(message, name=name, obj=None)
        value = getattr(__import__(module, fromlist=[symbol]), symbol)
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._origins})


def _path(module: str) -> pathlib.Path:
    """The file of a module of tensorflow-estimator, which is not imported."""
    path = pathlib.Path(sys.modules[_PACKAGE].__path__[0], *module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _functions(module: str) -> list[str]:
    """The names of a module's public functions."""
    nodes = ast.parse(_path(module).read_text(encoding="utf-8")).body
    names = [node.name for node in nodes if isinstance(node, ast.FunctionDef)]
    return [name for name in names if not name.startswith("_")]
