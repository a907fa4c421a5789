"""Has every program of a Python environment find Estimator, and has it no longer.

Python runs the lines of a .pth file in its site-packages when it starts. The line written here
imports a small module beside it, which waits for the first `import tensorflow`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pathlib
import sys
import sysconfig
import tempfile
from collections.abc import Iterator

import mnist_estimator
from mnist_estimator import InputError, RunError
from mnist_estimator.compat import _keras, _startup, _versions

_MODULE = "_mnist_estimator_startup"
_LINE = f"import {_MODULE}\n"


def enable(*, tf1: bool) -> str:
    """Writes the two files. Returns a line for the user.

    Raises:
      InputError: if Estimator cannot work in this environment, or it must not be changed.
      RunError: if the files cannot be written.
    """
    _check_versions()
    folder = _folder()
    if sys.prefix == sys.base_prefix and _externally_managed().exists():
        raise InputError(
            f"{sys.prefix}: belongs to the operating system, and nothing is written there; make a "
            "virtual environment (python -m venv .venv), install mnist_estimator in it, and enable "
            "it there"
        )
    with _errors_of_files():
        texts = _files(folder, tf1=tf1)
        for path in texts:
            _check_ours(path)
        for path, text in texts.items():
            _write(path, text)
    means = ", in which TensorFlow means version 1 to programs" if tf1 else ""
    line = (
        f"enabled: programs of {sys.prefix} find tf.estimator at their first import of tensorflow"
        f"{means}; undo it with python -m mnist_estimator.compat --disable"
    )
    return line + _keras_hint()


def disable() -> str:
    """Removes what `enable` has written. Returns a line for the user.

    Raises:
      InputError: if a file of that name is not one that `enable` has written.
      RunError: if the files cannot be removed.
    """
    removed = False
    with _errors_of_files():
        paths = list(_files(_folder(), tf1=False))
        for path in paths:
            _check_ours(path)
        for path in paths:
            compiled = pathlib.Path(importlib.util.cache_from_source(str(path)))
            for file in (path, compiled) if path.suffix == ".py" else (path,):
                with contextlib.suppress(FileNotFoundError):
                    file.unlink()
                    removed = True
    if removed:
        return f"disabled: programs of {sys.prefix} run as without mnist_estimator"
    return f"{sys.prefix}: was not enabled; there is nothing to remove"


def _check_versions() -> None:
    _versions.check_versions(
        _versions.installed("tensorflow", "tensorflow"),
        _versions.installed("tensorflow_estimator", "tensorflow-estimator"),
    )


def _keras_hint() -> str:
    if _versions.release(_versions.installed("tensorflow", "tensorflow") or "") < (2, 16):
        return ""  # Keras 2 is built in, or which version it is is not known.
    if importlib.util.find_spec("tf_keras") is not None:
        return ""
    return f"; canned estimators and heads need Keras 2: {_keras.INSTALL}"


def _folder() -> pathlib.Path:
    return pathlib.Path(sysconfig.get_path("purelib"))


def _externally_managed() -> pathlib.Path:
    return pathlib.Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")


def _files(folder: pathlib.Path, *, tf1: bool) -> dict[pathlib.Path, str]:
    """The files and what is in them; the one that Python runs is the last."""
    package = str(pathlib.Path(mnist_estimator.__file__).resolve().parent)
    module = pathlib.Path(_startup.__file__).read_text(encoding="utf-8")
    for constant, value in (('_PACKAGE = ""', package), ("_TF1 = False", tf1)):
        if constant not in module:
            raise RunError(f"{_startup.__file__}: {constant} is not in it; install it again")
        module = module.replace(constant, f"{constant.partition(' = ')[0]} = {value!a}", 1)
    return {folder / f"{_MODULE}.py": module, folder / f"{_MODULE}.pth": _LINE}


def _check_ours(path: pathlib.Path) -> None:
    """Raises InputError if there is a file of this name that `enable` has not written."""
    if not os.path.lexists(path):
        return
    begin = (_startup.__doc__ or "").partition("\n")[0] if path.suffix == ".py" else _LINE
    if path.is_symlink() or not path.is_file() or begin not in _begin(path):
        raise InputError(f"{path}: is not what --enable has written; nothing was changed")


def _begin(path: pathlib.Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(1000)


def _write(path: pathlib.Path, text: str) -> None:
    """Writes a file whole or not at all."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="ascii") as file:
        try:
            file.write(text)
            file.close()
            os.chmod(file.name, 0o666 & ~_umask())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def _errors_of_files() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(f"{error.filename or _folder()}: {error.strerror}") from error
