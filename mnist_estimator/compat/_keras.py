"""Which Keras TensorFlow uses: Keras 2, which Estimator needs, wherever tf-keras is installed.

TensorFlow takes tf-keras if it finds TF_USE_LEGACY_KERAS=1 in the environment: while it is
imported, and once more when each of its lazy `keras` modules is first used. So the variable is set
only while TensorFlow is imported, the lazy modules are made to choose, and the environment is
restored.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator

from mnist_estimator import InputError

_SWITCH, _ON = "TF_USE_LEGACY_KERAS", ("1", "true", "True")
_BACKEND = "KERAS_BACKEND"
INSTALL = "pip install 'mnist_estimator[keras]'"

# What TensorFlow imports at its end, and does without if it cannot.
_OPTIMIZERS = ("tf_keras.src.optimizers", "keras.src.optimizers")

_is_chosen = False
_is_deferred = False
remedy = ""  # What to do to have Keras 2, where it is not in use.


class KerasError(AttributeError, InputError):
    """Asked for a part of Estimator that needs Keras 2, which is not in use.

    Also an AttributeError, so that `hasattr(estimator, "DNNClassifier")` tells whether it works.
    """


def defer_keras() -> None:
    """Has Keras imported when it is first used, and not with TensorFlow, of which it is a tenth.

    For a program that has its process for itself: in the environment there stay the variables by
    which TensorFlow then chooses Keras. Call it before TensorFlow is imported.
    """
    global _is_deferred
    _is_deferred = True


@contextlib.contextmanager
def chosen() -> Iterator[None]:
    """Has TensorFlow, which is imported in the block, use Keras 2 if it can; sets `remedy`.

    The environment is as before afterwards, unless Keras is deferred.
    """
    global remedy, _is_chosen
    if _is_chosen:  # TensorFlow is imported, and the environment as it was.
        yield
        return
    before = {name: os.environ.get(name) for name in (_SWITCH, _BACKEND)}
    try:
        if "keras" not in sys.modules:
            # Without tf-keras, TensorFlow imports Keras 3, which would import torch or jax for a
            # user of those.
            os.environ[_BACKEND] = "tensorflow"
        remedy = switch_to_keras_2()
        with _left_out() if _is_deferred else contextlib.nullcontext():
            yield
        if not _is_deferred:
            _choose_now()
        _is_chosen = True
    finally:
        if not _is_deferred:
            for name, value in before.items():
                _restore(name, value)


@contextlib.contextmanager
def _left_out() -> Iterator[None]:
    """Has the block find no Keras to import."""
    names = [name for name in _OPTIMIZERS if name not in sys.modules]
    for name in names:
        sys.modules[name] = None  # type: ignore[assignment]  # Python's way to halt an import.
    try:
        yield
    finally:
        for name in names:
            sys.modules.pop(name, None)


def switch_to_keras_2() -> str:
    """Sets the variable for Keras 2 if that is installed.

    Returns:
      What to do to have Keras 2 if TensorFlow will not use it, else "".
    """
    if importlib.util.find_spec("tf_keras") is None:
        if os.environ.get(_SWITCH) in _ON:
            # Many who use Estimator have it set for good. TensorFlow would fail where Estimator
            # only asks whether something is a metric of Keras.
            del os.environ[_SWITCH]
            print(
                f"warning: {_SWITCH} is set, but tf-keras is not installed: went on without; "
                f"unset it, or {INSTALL}",
                file=sys.stderr,
                flush=True,
            )
        return INSTALL
    # A loader that executes TensorFlow has put an empty module there.
    if not hasattr(sys.modules.get("tensorflow"), "__version__"):
        os.environ.setdefault(_SWITCH, "1")
    # Set after TensorFlow was imported, it would have parts of both in use.
    switch = os.environ.get(_SWITCH)
    if switch is None:
        return (
            "import estimator from mnist_estimator.compat before tensorflow is imported, or set "
            f"{_SWITCH}=1"
        )
    if switch not in _ON:
        return f"set {_SWITCH}=1, which is {switch!r} in the environment"
    return ""


def _choose_now() -> None:
    """Has TensorFlow's lazy Keras modules choose their Keras, which they would do at first use."""
    try:
        from tensorflow.python.util import lazy_loader
    except ImportError:  # Another TensorFlow than those whose version is checked next.
        return
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "tensorflow":
            for value in list(vars(module).values()):
                if type(value) is lazy_loader.KerasLazyLoader and not _has_chosen(value):
                    with contextlib.suppress(ImportError):  # No Keras at all: for the first use.
                        value._initialize()


def _has_chosen(loader: object) -> bool:
    found = vars(loader)  # Not by getattr, which would load all of Keras. 2.15 has another name.
    return bool(found.get("_tfll_initialized") or found.get("_initialized"))


def _restore(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
