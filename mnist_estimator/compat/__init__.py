"""The only door to TensorFlow and Estimator, the same on TensorFlow 2.15 to 2.21.

    from mnist_estimator.compat import estimator, tf, v1

`tf` is TensorFlow, `v1` is `tf.compat.v1`, `estimator` is what `tf.estimator` was and
`estimator_v1` what `tf.compat.v1.estimator` was. TensorFlow 2.15 has both built in. Later ones do
not, but the package that they came from, tensorflow-estimator 2.15.0, works there once three gaps
are closed. Its TPU modules do not: they need parts of TensorFlow that are gone.

TensorFlow is imported when the first of these names is. That import changes nothing for the rest
of the program: no environment variable, open file, process, warnings filter or setting of
TensorFlow. A program that wants neither TensorFlow's start-up lines nor its deprecation notices
says so before it:

    from mnist_estimator import compat
    compat.quiet()

Canned estimators, heads, and Keras layers in a model_fn need Keras 2, which TensorFlow 2.16
replaced by Keras 3. `pip install 'mnist_estimator[keras]'` brings it back as tf-keras. TensorFlow
uses it if these names are imported before anything else imports TensorFlow.

This package imports nothing else of mnist_estimator. The modules whose names begin with _ are its
private halves.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

# For modules that are imported later, when a program's own module may have this package's name.
from mnist_estimator import InputError as InputError
from mnist_estimator.compat._keras import KerasError, defer_keras
from mnist_estimator.compat._quiet import quiet, without_noise
from mnist_estimator.compat._versions import VersionError

if TYPE_CHECKING:
    from mnist_estimator.compat._internals import (
        event_writer,
        graph_to_save,
        graphs_of,
        look_for_variables_every,
    )
    from mnist_estimator.compat._loaded import estimator, estimator_v1, tf, v1

__all__ = [
    "KerasError",
    "VersionError",
    "defer_keras",
    "estimator",
    "estimator_v1",
    "event_writer",
    "graph_to_save",
    "graphs_of",
    "install",
    "look_for_variables_every",
    "on_import",
    "quiet",
    "tf",
    "v1",
    "without_noise",
]

# The names whose module imports TensorFlow, which takes seconds, and may find it missing.
_MODULES = {
    "estimator": "_loaded",
    "estimator_v1": "_loaded",
    "tf": "_loaded",
    "v1": "_loaded",
    "event_writer": "_internals",
    "graph_to_save": "_internals",
    "graphs_of": "_internals",
    "look_for_variables_every": "_internals",
}


def install(tf1: bool = False) -> None:
    """Puts back into TensorFlow what 2.15 had of Estimator: `tf.estimator` and its import paths.

    Call it before TensorFlow is imported, so that Keras 2 is used where it is installed:

        from mnist_estimator import compat
        compat.install()
        import tensorflow as tf  # tf.estimator, tf.compat.v1.estimator, ... are there.

    On TensorFlow 2.15, which has Estimator, it adds only names that were gone there already.
    Where the extra `storage` is installed, TensorFlow takes paths as s3://bucket/key, too.

    Args:
      tf1: the program was written for TensorFlow 1: in its own files, not in libraries, `import
        tensorflow` means `tf.compat.v1`, with the behaviour of version 1 and a small `tf.contrib`.

    Raises:
      VersionError: by the import of TensorFlow, if the versions that are installed cannot be used.
    """
    importlib.import_module(f"{__name__}._hook").install(tf1=tf1)


def on_import(call: Callable[[], object]) -> None:
    """Has a function called when TensorFlow is imported here, or at once if it has been."""
    if f"{__name__}._loaded" in sys.modules:
        call()
    else:
        calls_on_import.append(call)


calls_on_import: list[Callable[[], object]] = []


def __getattr__(name: str) -> Any:
    """Imports TensorFlow when the first name that needs it is asked for.

    Raises:
      VersionError: if the TensorFlow or tensorflow-estimator that is installed cannot be used.
      RunError: if TensorFlow cannot be imported.
    """
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
