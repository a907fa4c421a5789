"""What TensorFlow 2.16 to 2.21 removed besides Estimator, and programs of Estimator say.

    ALIASES          modules that another one replaces: the same module by its old name
    stand_in         modules of functions and classes that raise when they are called
    install(tf, v1)  public names
    guard_tpus()     the check of `use_tpu`

Whoever looks for modules must ask ALIASES and `stand_in` last: on TensorFlow 2.15 all of these
modules are there, and on later ones some. `install` replaces no name that is there, so that it does
nothing on 2.15. Source: every public name of 2.15.1 to depth 4, its classes' members and its
private modules, compared with 2.21 (benchmarks/api_walk.py).
"""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import sys
import types
from collections.abc import Sequence
from typing import Any

from mnist_estimator import RunError
from mnist_estimator.compat import _refusals

_PYTHON = "tensorflow.python."
_HERE = "mnist_estimator.compat."
_TPU = "tensorflow_estimator.python.estimator.tpu."
_TPU_ESTIMATOR = f"{_TPU}tpu_estimator"

ALIASES: dict[str, str] = {
    f"{_PYTHON}distribute.estimator_training": f"{_HERE}estimator_training",
    f"{_PYTHON}eager.profiler": f"{_HERE}eager_profiler",
    # Which 2.15 had without a name in it.
    f"{_PYTHON}pywrap_tensorflow_internal": f"{_PYTHON}pywrap_tensorflow",
    f"{_PYTHON}tpu.error_handling": f"{_TPU}error_handling",
    f"{_PYTHON}tpu.tpu_config": f"{_TPU}tpu_config",
    f"{_PYTHON}tpu.tpu_context": f"{_TPU}tpu_context",
    f"{_PYTHON}tpu.tpu_embedding": f"{_HERE}tpu_embedding",
    f"{_PYTHON}tpu.tpu_estimator": _TPU_ESTIMATOR,
    f"{_PYTHON}tpu.util": f"{_TPU}util",
    f"{_PYTHON}training.gen_training_ops": f"{_PYTHON}ops.gen_training_ops",
    f"{_PYTHON}training.training_ops": f"{_PYTHON}ops.gen_training_ops",
}

# A module: why its names are not there, and the names.
_STAND_INS = {
    f"{_PYTHON}eager.profiler_client": (
        "TensorFlow 2.20 removed it; call tf.profiler.experimental.client.trace or monitor",
        "monitor start_tracing",
    ),
    f"{_PYTHON}tpu.async_checkpoint": (
        "TensorFlow 2.16 removed it; take tf.compat.v1.train.CheckpointSaverHook",
        "AsyncCheckpointSaverHook",
    ),
    f"{_PYTHON}tpu.session_support": (
        _refusals.NEEDS_TPU,
        "GracefulShutdownHook ResetComputation ShutdownAllWorkers ShutdownLameWorkers "
        "WatchdogManager WorkerHeartbeatManager all_worker_devices start_worker_watchdog "
        "stop_worker_watchdog",
    ),
    f"{_PYTHON}tpu.tpu_embedding_gradient": (
        _refusals.NEEDS_TPU,
        "create_dummy_table_variables get_gradients_through_compute_gradients "
        "get_gradients_through_dummy_table_variables hook_dummy_table_variables_to_activations",
    ),
}
# Programs name it in an `except`.
_ERRORS = {f"{_PYTHON}tpu.session_support": "CoordinatorResetError"}

_PARAMETERS = (
    "AdagradParameters",
    "AdamParameters",
    "FtrlParameters",
    "StochasticGradientDescentParameters",
)


def stand_in(name: str) -> types.ModuleType | None:
    """Makes the module `name`, whose functions and classes raise RunError when they are called.

    Returns:
      None if `name` is not one of these modules.
    """
    if name not in _STAND_INS:
        return None
    reason, names = _STAND_INS[name]
    module = types.ModuleType(name, f"Not there: {reason}.")
    for each in names.split():
        # As everywhere in TensorFlow, a class begins with a capital letter.
        make = _refusals.refusing_class if each[0].isupper() else _refusals.refusing_function
        setattr(module, each, make(f"{name}.{each}", reason))
    if name in _ERRORS:
        errors = importlib.import_module(f"{_PYTHON}framework.errors_impl")
        error = _ERRORS[name]
        setattr(module, error, type(error, (errors.AbortedError,), {"__module__": name}))
    return module


def install(tf: Any, v1: Any) -> None:
    """Puts back public names that are missing. To call it twice changes nothing more."""
    hook = ("input_pipeline_hook", ("CheckpointInputPipelineHook",))
    _add("tensorflow.data", tf.data, *hook)
    _add("tensorflow.compat.v1.data", v1.data, *hook)
    _add("tensorflow.compat.v2.data", tf.compat.v2.data, *hook)
    _add("tensorflow.compat.v1.tpu", v1.tpu, "tpu_embedding", _PARAMETERS)
    for private in ("data.experimental", "data.experimental.ops.iterator_ops"):
        _set_missing(importlib.import_module(_PYTHON + private), *hook)


def guard_tpus() -> None:
    """Has `TPUEstimator` refuse `use_tpu=True`, now or as soon as its module is imported.

    To call it twice changes nothing more.
    """
    if _TPU_ESTIMATOR in sys.modules:
        guard_tpu_estimator(sys.modules[_TPU_ESTIMATOR])
    elif not any(isinstance(finder, _Guard) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Guard())


def guard_tpu_estimator(module: types.ModuleType) -> None:
    """Has `TPUEstimator` of `module` refuse `use_tpu=True`, its default, before all else.

    It would fail later at the first part of TensorFlow that is gone.
    """
    original = module.TPUEstimator.__init__
    if getattr(original, "refuses_tpus", False):
        return
    signature = inspect.signature(original)

    @functools.wraps(original)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        if signature.bind(self, *args, **kwargs).arguments.get("use_tpu", True):
            raise RunError(
                "TPUEstimator with use_tpu=True (the default) cannot run: TensorFlow 2.16 removed "
                "what drives the TPUs; pass use_tpu=False to run on CPUs and GPUs, or install "
                "TensorFlow 2.15 to run on TPUs"
            )
        original(self, *args, **kwargs)

    checked.refuses_tpus = True
    module.TPUEstimator.__init__ = checked


def _add(path: str, space: Any, module: str, names: Sequence[str]) -> None:
    """Sets `names` of a module of this package in `space.experimental`, where they are missing.

    Args:
      path: by which a program imports `space`.
    """
    if _set_missing(space.experimental, module, names):
        # Else Python would load the file of TensorFlow's API once more for `import PATH`.
        sys.modules.setdefault(path, space)
        by_path = sys.modules.setdefault(f"{path}.experimental", space.experimental)
        _set_missing(by_path, module, names)


def _set_missing(space: Any, module: str, names: Sequence[str]) -> bool:
    """Sets `names` of a module of this package in `space`; returns whether any was missing."""
    missing = [name for name in names if not hasattr(space, name)]
    for name in missing:
        setattr(space, name, getattr(importlib.import_module(_HERE + module), name))
    return bool(missing)


class _Guard(importlib.abc.MetaPathFinder):
    """Finds the module of TPUEstimator as the others do, and guards it once it is loaded."""

    def find_spec(
        self, name: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != _TPU_ESTIMATOR or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)  # So that the others are asked.
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def exec_module(module: types.ModuleType) -> None:
            load(module)
            guard_tpu_estimator(module)

        spec.loader.exec_module = exec_module
        return spec
