"""Makes tensorflow-estimator 2.15 work on TensorFlow 2.16 and later, which dropped Estimator."""

from __future__ import annotations

import ast
import importlib.util
import pathlib
import re
import sys
import types
from typing import Any

from mnist_estimator.compat import _keras

_PACKAGE = "tensorflow_estimator"
_NEEDS_KERAS = re.compile(
    rf"{_PACKAGE}\.python\.estimator\.(canned\.(?!parsing_utils)|head\.|keras_lib)"
)


def close() -> tuple[Any, Any]:
    """Makes tensorflow-estimator work on TensorFlow 2.16 and later. Returns its APIs 2 and 1."""
    # Its __init__ imports all of it, the TPU modules too. A package that is never executed still
    # tells Python where to find its modules.
    package = importlib.util.module_from_spec(importlib.util.find_spec(_PACKAGE))
    sys.modules[_PACKAGE] = package

    # Its public symbols are decorated with their names in an API that 2.16 dropped from these
    # tables. The attributes must be ones that Estimator, which checks its subclasses for any other,
    # knows. For version 1 they are TensorFlow's own: `tf_export.get_v1_names` looks at no others.
    from tensorflow.python.util import tf_export

    tf_export.ESTIMATOR_API_NAME = "estimator"
    tf_export.API_ATTRS_V1["estimator"] = tf_export.API_ATTRS_V1["tensorflow"]
    tf_export.API_ATTRS["estimator"] = tf_export.API_ATTRS["tensorflow"]._replace(
        names="_estimator_api_names", constants="_estimator_api_constants"
    )

    # Imported by run_config, training and estimator; removed in 2.16.
    from mnist_estimator.compat import estimator_training

    sys.modules["tensorflow.python.distribute.estimator_training"] = estimator_training

    # Other people's code imports these two, which import TPUEstimator, for a name or two.
    package.estimator = estimator_v1 = _Namespace(f"{_PACKAGE}._api.v1.estimator")
    library = f"{_PACKAGE}.python.estimator.estimator_lib"
    sys.modules[library] = _Namespace(library)
    return _Namespace(f"{_PACKAGE}._api.v2.estimator"), estimator_v1


class _Namespace(types.ModuleType):
    """The names that a module of tensorflow-estimator imports, each imported when first asked for.

    So what cannot be imported (TPU), or not used without Keras 2, is not in the way of the rest.
    """

    def __init__(self, source: str) -> None:
        super().__init__(source)
        self._origins = {}
        path = pathlib.Path(sys.modules[_PACKAGE].__path__[0], *source.split(".")[1:])
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.module.startswith(_PACKAGE):
                for alias in node.names:
                    self._add(alias.asname or alias.name, node.module, alias.name)

    def _add(self, name: str, module: str, symbol: str) -> None:
        if module != self.__name__:
            self._origins[name] = (module, symbol)
        elif name != "tpu":
            setattr(self, name, _Namespace(f"{module}.{symbol}"))

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
