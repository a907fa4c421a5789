"""What each program of strangers.py finds at its start; Python imports this by itself.

Most of the programs set no seed, so that no two runs of one print the same. Here Python's and
NumPy's generators get one, and so does a RunConfig that is made without. The programs download
their data. Here Keras's `get_file` takes a file that lies in its cache as it is, whatever its
hash: the judge has put its own small data there. TensorFlow's logger shows the lines of INFO,
which have the metrics. No program's code is changed, and both sides get the same.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import logging
import random
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

SEED = 15


def _seed(module: ModuleType) -> None:
    module.seed(SEED)


def _take_any_hash(module: ModuleType) -> None:
    get_file: Callable[..., str] = module.get_file

    def get_file_of_any_hash(*args: Any, **kwargs: Any) -> str:
        # Its fourth and fifth arguments are hashes, which no program here gives by position.
        return get_file(*args, **{**kwargs, "file_hash": None, "md5_hash": None})

    module.get_file = get_file_of_any_hash


def _seed_keras(module: ModuleType) -> None:
    # Its initializers draw their seeds from here, as after keras.utils.set_random_seed. Else they
    # draw from Python's generator, of which each version has taken another number before.
    if hasattr(module, "_SEED_GENERATOR"):
        module._SEED_GENERATOR.generator = random.Random(SEED)


def _give_run_configs_a_seed(module: ModuleType) -> None:
    initialize: Callable[..., None] = module.RunConfig.__init__

    def initialize_with_seed(
        self: Any,
        model_dir: Any = None,
        tf_random_seed: int | None = None,
        *rest: Any,
        **named: Any,
    ) -> None:
        seed = SEED if tf_random_seed is None else tf_random_seed
        initialize(self, model_dir, seed, *rest, **named)

    module.RunConfig.__init__ = initialize_with_seed


_CHANGES = {
    "numpy.random.mtrand": _seed,
    "keras.src.backend": _seed_keras,
    "tf_keras.src.backend": _seed_keras,
    "keras.src.utils.data_utils": _take_any_hash,
    "keras.src.utils.file_utils": _take_any_hash,
    "tf_keras.src.utils.data_utils": _take_any_hash,
    "tensorflow_estimator.python.estimator.run_config": _give_run_configs_a_seed,
}


class _Finder(importlib.abc.MetaPathFinder):
    """Changes a module of `_CHANGES` as soon as it is loaded."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in _CHANGES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                _CHANGES[name](module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


random.seed(SEED)
logging.getLogger("tensorflow").setLevel(logging.INFO)
sys.meta_path.insert(0, _Finder())
