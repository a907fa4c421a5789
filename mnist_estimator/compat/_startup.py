"""Written by `python -m mnist_estimator.compat --enable`, removed by `--disable`.

Python imports it when it starts. It imports nothing until a program imports TensorFlow.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # As typing's, which takes milliseconds to import.
if TYPE_CHECKING:
    import types
    from importlib.machinery import ModuleSpec
    from typing import Any

_PACKAGE = ""  # The folder of mnist_estimator.
_TF1 = False
_NAME = "mnist_estimator"
_SCRIPT = ("/mnist_estimator.py", "\\mnist_estimator.py")


class _Waiting:
    """Hands over to the hook of mnist_estimator when TensorFlow is first looked for."""

    @classmethod
    def find_spec(
        cls, name: str, path: Any = None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == _NAME and _main_script().endswith(_SCRIPT):  # Which does not mean itself.
            return _spec_of_package()
        if name not in ("tensorflow", "tensorflow_estimator"):
            return None
        return sys.meta_path[0].find_spec(name, path, target) if _hand_over() else None


def _hand_over() -> bool:
    """Puts the hook in the place of what waits here; False if it cannot be imported."""
    if _Waiting in sys.meta_path:
        sys.meta_path.remove(_Waiting)
    hook = _import_hook()
    if hook is not None:
        hook.install(tf1=_TF1, insist=False)
    return hook is not None


def _wait_for_import() -> None:
    """Has the hook in place before the first `import tensorflow`, which is to mean version 1."""
    import builtins

    plain = builtins.__import__

    def import_(name: str, *arguments: Any, **options: Any) -> Any:
        if name.partition(".")[0] not in ("tensorflow", "tensorflow_estimator"):
            return plain(name, *arguments, **options)
        builtins.__import__ = plain
        _hand_over()  # Sets another one.
        return builtins.__import__(name, *arguments, **options)

    builtins.__import__ = import_


def _import_hook() -> Any:
    """Imports it from the recorded folder, as the program may have a module of the same name."""
    import importlib

    of_program = sys.modules.get(_NAME)
    try:
        if of_program is None or not _is_package(of_program):
            spec = _spec_of_package()
            sys.modules[_NAME] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[_NAME])
        hook = importlib.import_module(f"{_NAME}.compat._hook")
        programs = importlib.import_module(f"{_NAME}.compat._programs")
        programs.give_name_back(_main_script())
        return hook
    except (ImportError, OSError) as error:
        sys.modules.pop(_NAME, None)
        print(
            f"tf.estimator is not put back: {_PACKAGE} cannot be imported ({error}): install "
            f"{_NAME} again, or delete {__file__} and the .pth file beside it",
            file=sys.stderr,
        )
        return None
    finally:
        if of_program is not None:
            sys.modules[_NAME] = of_program


def _spec_of_package() -> Any:
    import importlib.util

    return importlib.util.spec_from_file_location(
        _NAME, f"{_PACKAGE}/__init__.py", submodule_search_locations=[_PACKAGE]
    )


def _is_package(module: types.ModuleType) -> bool:
    return _PACKAGE in getattr(module, "__path__", ())


def _main_script() -> str:
    return str(getattr(sys.modules.get("__main__"), "__file__", None) or "")


if _PACKAGE:
    sys.meta_path.insert(0, _Waiting)
    if _TF1:
        _wait_for_import()
