"""The only door to TensorFlow and Estimator, the same on TensorFlow 2.15 to 2.21.

    from mnist_estimator.compat import estimator, tf, v1

`tf` is TensorFlow, `v1` is `tf.compat.v1`, `estimator` is what `tf.estimator` was and
`estimator_v1` what `tf.compat.v1.estimator` was. TensorFlow 2.15 has both built in. Later ones do
not, but the package that they came from, tensorflow-estimator 2.15.0, works there once three gaps
are closed (`_close_gaps`), its TPU modules excepted, which stand on parts of TensorFlow that are
gone.

Canned estimators, heads, and Keras layers in a model_fn need Keras 2, which TensorFlow 2.16
replaced by Keras 3. `pip install 'mnist_estimator[keras]'` brings it back as tf-keras. TensorFlow
uses that one if it finds TF_USE_LEGACY_KERAS=1 when it is imported, so that is set here.

Left out are the lines that TensorFlow prints while it starts and its notices of deprecation:
nobody who runs a program can act on them. Errors are shown. TF_CPP_MIN_LOG_LEVEL=0 in the
environment shows all.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib.metadata
import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any

from mnist_estimator import InputError, RunError
from mnist_estimator.runtime import progress

OLDEST = (2, 15)
NEWEST = (2, 21)
ESTIMATOR = "2.15"

_PACKAGE = "tensorflow_estimator"
_NEEDS_KERAS = re.compile(
    rf"{_PACKAGE}\.python\.estimator\.(canned\.(?!parsing_utils)|head\.|keras_lib)"
)

_SWITCH, _ON = "TF_USE_LEGACY_KERAS", ("1", "true", "True")
_INSTALL_KERAS = "pip install 'mnist_estimator[keras]'"

# Written by TensorFlow's C++ libraries as they are loaded, whatever TF_CPP_MIN_LOG_LEVEL is.
_START_UP_NOISE = (
    r"Unable to register cu(DNN|FFT|BLAS) factory"  # 2.15 to 2.20, on every machine.
    r"|computation placer already registered"
    r"|All log messages before absl::InitializeLog\(\) is called"
    r"|oneDNN custom operations are on"  # 2.21.
    r"|Could not find cuda drivers on your machine"
    r"|failed call to cuInit"  # On a machine without a GPU.
)


class VersionError(InputError):
    """The TensorFlow or tensorflow-estimator that is installed cannot be used."""


class KerasError(AttributeError, InputError):
    """Asked for a part of Estimator that needs Keras 2, which is not in use.

    Also an AttributeError, so that `hasattr(estimator, "DNNClassifier")` tells whether it works.
    """


def check_versions(tensorflow: str | None, tensorflow_estimator: str | None) -> None:
    """Raises VersionError unless the two can be used: None is not installed, "" is not known."""
    works = "mnist_estimator works with TensorFlow {}.{} to {}.{}".format(*OLDEST, *NEWEST)
    below = f"{NEWEST[0]}.{NEWEST[1] + 1}"
    remedy = "pip install 'tensorflow>={}.{},<{}' 'tensorflow-estimator=={}.*'".format(
        *OLDEST, below, ESTIMATOR
    )
    found = None
    if tensorflow is None:
        found = "TensorFlow is not installed"
    elif tensorflow and not OLDEST <= _release(tensorflow) <= NEWEST:
        found = f"TensorFlow {tensorflow} is installed"
    elif tensorflow_estimator is None:
        found = "tensorflow-estimator is not installed"
    elif tensorflow_estimator and not tensorflow_estimator.startswith(f"{ESTIMATOR}."):
        found = f"tensorflow-estimator {tensorflow_estimator} is installed"
    if found:
        raise VersionError(f"{found}, {works} and tensorflow-estimator {ESTIMATOR}: {remedy}")


def _release(version: str) -> tuple[int, int]:
    """The first two numbers of a version: (2, 21) for "2.21.0-rc1"."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _import_tensorflow() -> Any:
    """Imports TensorFlow, after the check that it can be used, and without its noise."""
    estimator_version = _installed_version(_PACKAGE, "tensorflow-estimator")
    # Checked before, since a TensorFlow that is too old may fail to import in its own way.
    check_versions(_installed_version("tensorflow", "tensorflow"), estimator_version)
    with without_noise(_START_UP_NOISE):
        tf = _tensorflow()
        if not os.path.exists("/proc/driver/nvidia"):
            # TensorFlow looks for GPUs when the first session starts and reports as an error that
            # there is no driver. Having it look now, the line goes the way of the others.
            tf.config.list_physical_devices("GPU")
    check_versions(tf.__version__, estimator_version)
    if not _VERBOSE:
        _silence_deprecations()
    return tf


def _tensorflow() -> Any:
    try:
        import tensorflow as tf
    except (ImportError, MemoryError, OSError) as error:
        first: BaseException = error
        while first.__context__:  # What TensorFlow makes of it is many lines.
            first = first.__context__
        reason = " ".join(str(first).split()) or type(first).__name__
        raise RunError(
            f"TensorFlow cannot be imported: {reason}; the memory that a process may have "
            "(ulimit -v, or the job's) may be too little, else install TensorFlow again"
        ) from error
    return tf


def _installed_version(module: str, distribution: str) -> str | None:
    """The version of a package that need not be imported yet; None and "" as above."""
    if module in sys.modules:
        return getattr(sys.modules[module], "__version__", "")
    if importlib.util.find_spec(module) is None:
        return None
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""  # It came under another name, as tensorflow-cpu or a vendor's build.


@contextlib.contextmanager
def without_noise(pattern: str) -> Iterator[None]:
    """Passes what is written to standard error through `grep -v`, unless all is to be shown.

    The lines come from C++, below anything that Python could redirect. A process does it, and not
    a file read afterwards, because a TensorFlow that cannot run on this processor ends this process
    while it is imported, and its last words must come through.
    """
    if _VERBOSE:
        yield
        return
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # No standard error, or no grep: nothing is left out.
            stderr = stack.enter_context(open(os.dup(2), "wb"))
            command = ["grep", "-vE", pattern]
            grep = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stderr)
            os.dup2(stack.enter_context(grep).stdin.fileno(), 2)
            stack.callback(os.dup2, stderr.fileno(), 2)
        yield


def look_for_variables_every(secs: float) -> None:
    """How often a worker looks whether the chief has made the variables; TensorFlow: 30 s.

    Estimator's workers have no argument for it. A worker that comes a moment too early would start
    half a minute late, again after each parameter server's restart.
    """
    manager = v1.train.SessionManager
    original = vars(manager)["__init__"]
    original = getattr(original, "func", original)  # Of an earlier call.
    manager.__init__ = functools.partialmethod(original, recovery_wait_secs=secs)


def event_writer(folder: str, prefix: str) -> Any:
    """The `FileWriter` of a folder's events, one in a process.

    Args:
      prefix: what the path of its file begins with, if it is made now; "": what TensorFlow chooses.
    """
    cache = v1.summary.FileWriterCache
    with tf.Graph().as_default():  # Which a writer would keep.
        if prefix and folder not in cache._cache:
            made = v1.summary.FileWriter(folder)
            # No argument says it. The file is begun with the first event.
            events = made.event_writer
            events.close()
            events._ev_writer = type(events._ev_writer)(prefix.encode())
            events.reopen()
            cache._cache[folder] = made
        return cache.get(folder)


def _silence_deprecations() -> None:
    """Turns off notices about what this package, or Estimator, calls on the user's behalf."""
    from tensorflow.python.util import deprecation

    # "Use tf.keras instead", "Instructions for updating": from all of Estimator and much of
    # tf.compat.v1. The public way, `deprecation.silence`, covers only a block.
    deprecation._PRINT_DEPRECATION_WARNINGS = False
    # Estimator asks for the options of each dataset under a strategy of several workers.
    warnings.filterwarnings("ignore", "To make it possible to preserve tf.data options")


def _switch_to_keras_2() -> str:
    """Has TensorFlow use Keras 2 if it is installed. Returns what to do if it will not, else ""."""
    if importlib.util.find_spec("tf_keras") is None:
        if os.environ.get(_SWITCH) in _ON:
            # Many who use Estimator have it set for good. TensorFlow would fail where Estimator
            # only asks whether something is a metric of Keras.
            del os.environ[_SWITCH]
            progress.say(
                f"warning: {_SWITCH} is set, but tf-keras is not installed: went on without; "
                f"unset it, or {_INSTALL_KERAS}",
                sys.stderr,
            )
        return _INSTALL_KERAS
    if "tensorflow" not in sys.modules:
        os.environ.setdefault(_SWITCH, "1")
    # Set after TensorFlow was imported, it would have parts of both in use.
    switch = os.environ.get(_SWITCH)
    if switch is None:
        return f"import mnist_estimator.compat before tensorflow, or set {_SWITCH}=1"
    if switch not in _ON:
        return f"set {_SWITCH}=1, which is {switch!r} in the environment"
    return ""


def _close_gaps() -> tuple[Any, Any]:
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
        if _KERAS_REMEDY and _NEEDS_KERAS.match(f"{module}."):
            message = f"{name} needs Keras 2, which is not in use: {_KERAS_REMEDY}"
            raise KerasError(message, name=name, obj=None)  # No "Did you mean: 'DNNRegressor'?"
        value = getattr(__import__(module, fromlist=[symbol]), symbol)
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._origins})


if "keras" not in sys.modules:
    # Estimator asks TensorFlow for its Keras, which would import torch or jax for a user of those.
    os.environ["KERAS_BACKEND"] = "tensorflow"
_VERBOSE = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") == "0"
_KERAS_REMEDY = _switch_to_keras_2()
tf = _import_tensorflow()
v1 = tf.compat.v1
if _release(tf.__version__) < (2, 16):
    estimator, estimator_v1 = tf.estimator, v1.estimator
else:
    estimator, estimator_v1 = _close_gaps()
