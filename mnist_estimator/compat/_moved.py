"""Names that TensorFlow moved before 2.15, where programs of that time look for them.

They are private: no release promised them. Programs import them all the same, and 2.15 has them
under another name or in another module.

    ALIASES       modules that became another one: the same module by its old name
    stand_in      modules whose names are now in several, put together again
    install(tf)   names that left a module which is still there

A name that a module has is never replaced. What has no successor with the same meaning is missing
here as well. Sources: the modules of TensorFlow 1.15, 2.4, 2.15.1 and 2.21, compared by name.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import types
from collections.abc import Callable, Iterator
from typing import Any

_ROOT = "tensorflow.python."
# Places whose name begins with one of these are not below _ROOT.
_ABSOLUTE = ("mnist_estimator", "tensorflow_estimator")


def _find_keras() -> str:
    """The package that Keras 2 is in: TensorFlow 2.15's, or tf-keras beside a later one."""
    return "tf_keras" if importlib.util.find_spec("tf_keras") else "keras"


_KERAS = _find_keras()
# What is gone from TensorFlow's own copy of Keras, and does not depend on whose layers are in use:
# packages, with the modules below them.
_KERAS_PACKAGES = {
    "applications": (
        "densenet efficientnet imagenet_utils inception_resnet_v2 inception_v3 mobilenet "
        "mobilenet_v2 mobilenet_v3 nasnet resnet resnet_v2 vgg16 vgg19 xception"
    ),
    "datasets": "boston_housing cifar cifar10 cifar100 fashion_mnist imdb mnist reuters",
    "feature_column": "dense_features dense_features_v2",
    "preprocessing": "image sequence text",
}

ALIASES: dict[str, str] = {
    _ROOT + old: _ROOT + new
    for old, new in {
        "_pywrap_util_port": "util._pywrap_util_port",
        "data.experimental.ops.distribute_options": "data.ops.options",
        "data.experimental.ops.optimization_options": "data.ops.options",
        "data.experimental.ops.threading_options": "data.ops.options",
        "distribute.distribution_strategy_context": "distribute.distribute_lib",
        "ops.rnn_cell_wrapper_impl": "keras.layers.legacy_rnn.rnn_cell_wrapper_impl",
        "training.distribute": "distribute.distribute_lib",
        "training.distribution_strategy_context": "distribute.distribute_lib",
        "training.saving.checkpoint_options": "checkpoint.checkpoint_options",
        "training.saving.functional_saver": "checkpoint.functional_saver",
        "training.tracking.autotrackable": "trackable.autotrackable",
        "training.tracking.data_structures": "trackable.data_structures",
        "training.tracking.graph_view": "checkpoint.graph_view",
        "training.tracking.layer_utils": "trackable.layer_utils",
        "training.tracking.object_identity": "util.object_identity",
        "training.tracking.python_state": "trackable.python_state",
        "training.tracking.resource": "trackable.resource",
        "training.tracking.util": "checkpoint.checkpoint",
    }.items()
}
for _package, _names in _KERAS_PACKAGES.items():
    # Of the last, half of the names are in no private module of that name any more.
    _home = f"{_KERAS}.{'' if _package == 'preprocessing' else 'src.'}"
    for _name in (_package, *(f"{_package}.{_module}" for _module in _names.split())):
        ALIASES[f"{_ROOT}keras.{_name}"] = _home + _name
for _name in ("dense_features", "dense_features_v2"):
    ALIASES[f"{_ROOT}feature_column.{_name}"] = f"{_KERAS}.src.feature_column.{_name}"

# An old module: those that have its names now, the more important first. Of none: only a package,
# for the modules below it.
_GATHERED = {
    "training.tracking": (),
    "training.tracking.base": ("trackable.base", "checkpoint.restore", "trackable.constants"),
    "training.tracking.tracking": (
        "trackable.autotrackable",
        "trackable.resource",
        "trackable.asset",
    ),
}

# An old module: where its names are now: their names. "OLD=NEW" was renamed too. A place that
# begins with "tf." is public.
_NAMES = {
    "data.ops.dataset_ops": {"data.ops.options": "AutotuneAlgorithm Options"},
    "data.util.nest": {"data.util.nest": "is_sequence=is_nested"},
    "distribute.distribute_lib": {
        "distribute.distribute_utils": "create_mirrored_variable get_loss_reduction"
    },
    "distribute.input_lib": {
        "distribute.input_util": "get_distributed_dataset get_distributed_datasets_from_function",
        "distribute.v1.input_lib": (
            "DatasetIterator DistributedDatasetV1 DistributedDatasetsFromFunctionV1 "
            "DistributedIteratorV1 InputFunctionIterator"
        ),
        "types.distribute": "DistributedDatasetInterface DistributedIteratorInterface",
    },
    "distribute.values": {
        "distribute.distribute_utils": (
            "is_distributed_variable regroup select_replica update_regroup validate_colocate "
            "validate_colocate_distributed_variable value_container"
        ),
        "distribute.ps_values": "AggregatingVariable",
        "distribute.tpu_values": "TPUMirroredVariable TPUSyncOnReadVariable TPUVariableMixin",
    },
    "eager.def_function": {
        "eager.polymorphic_function.eager_function_run": (
            "experimental_functions_run_eagerly experimental_run_functions_eagerly"
        ),
    },
    "eager.tape": {
        "eager.record": (
            "VariableWatcher could_possibly_record record_operation "
            "record_operation_backprop_only record_operation_forwardprop_only "
            "should_record_backprop stop_recording"
        )
    },
    "feature_column.feature_column_v2": {
        "feature_column.feature_column_v2_types": "FeatureColumn",
    },
    "framework.func_graph": {"eager.polymorphic_function.polymorphic_function": "function"},
    "framework.graph_util": {"framework.convert_to_constants": "convert_variables_to_constants"},
    "framework.graph_util_impl": {
        "framework.convert_to_constants": "convert_variables_to_constants"
    },
    "framework.ops": {
        "framework.indexed_slices": (
            "IndexedSlices IndexedSlicesValue convert_n_to_tensor_or_indexed_slices "
            "convert_to_tensor_or_indexed_slices internal_convert_n_to_tensor_or_indexed_slices "
            "internal_convert_to_tensor_or_indexed_slices"
        ),
        "framework.stack": "default_session",
        "framework.tensor": "Tensor disable_tensor_equality enable_tensor_equality",
        "framework.tensor_conversion": (
            "convert_to_tensor_v1 convert_to_tensor_v1_with_dispatch convert_to_tensor_v2 "
            "convert_to_tensor_v2_with_dispatch"
        ),
        "framework.tensor_conversion_registry": "register_tensor_conversion_function",
    },
    "framework.tensor_shape": {
        __name__: "scalar=_scalar_shape vector=_vector_shape matrix=_matrix_shape"
    },
    "framework.tensor_util": {"ops.shape_util": "maybe_set_static_shape shape_tensor"},
    "keras.layers": {
        "tf.keras.layers": (
            "AlphaDropout BatchNormalization Bidirectional GRU GRUCell GaussianDropout "
            "GaussianNoise LSTM LSTMCell LayerNormalization MultiHeadAttention TimeDistributed"
        ),
        "tf.compat.v1.keras.layers": "CuDNNGRU CuDNNLSTM",
    },
    "keras.optimizers": {
        "keras.optimizer_v1": "Adadelta Adagrad Adam Adamax Nadam RMSprop SGD",
    },
    "keras.utils": {
        "tf.keras.utils": (
            "OrderedEnqueuer Progbar Sequence SequenceEnqueuer deserialize_keras_object "
            "get_custom_objects get_file model_to_dot normalize plot_model "
            "serialize_keras_object to_categorical"
        )
    },
    "ops.array_ops": {"ops.array_ops_stack": "stack unstack"},
    "ops.control_flow_ops": {
        "ops.cond": "cond cond_for_tf_v2",
        "ops.control_flow_assert": "Assert",
        "ops.control_flow_case": "case case_v2",
        "ops.control_flow_switch_case": "execute_fn_for_device switch_case",
        "ops.while_loop": "while_loop while_loop_v2",
    },
    "ops.gen_dataset_ops": {
        "ops.gen_optional_ops": (
            "optional_from_value optional_get_value optional_has_value optional_none"
        )
    },
    "ops.gen_math_ops": {"ops.gen_special_math_ops": "bessel_i0e bessel_i1e"},
    "ops.gradients_util": {"eager.backprop_util": "IsTrainable"},
    "ops.math_ops": {
        "framework.override_binary_operator": "maybe_promote_tensors",
        "ops.bincount_ops": "bincount_v1",
    },
    "ops.nn_impl": {"ops.nn_impl_distribute": "compute_average_loss scale_regularization_loss"},
    "ops.random_ops": {"ops.random_crop_ops": "random_crop stateless_random_crop"},
    "ops.resource_variable_ops": {"ops.ref_variable": "_from_proto_fn _to_proto_fn"},
    "ops.stateful_random_ops": {"ops.random_ops_util": "Algorithm"},
    "ops.variable_scope": {
        "ops.ref_variable": "default_variable_creator",
        "ops.resource_variable_ops": "default_variable_creator_v2",
        "ops.resource_variables_toggle": (
            "disable_resource_variables enable_resource_variables resource_variables_enabled"
        ),
        "ops.variable_v1": "variable=VariableV1",
    },
    "ops.variables": {
        "ops.ref_variable": "RefVariable",
        "ops.variable_v1": "VariableV1 is_variable_initialized",
    },
    "pywrap_tensorflow": {
        "client._pywrap_device_lib": "list_devices",
        "client._pywrap_events_writer": "EventsWriter",
        "pywrap_tfe": "TFE_Py_Execute TFE_Py_FastPathExecute",
        "training.py_checkpoint_reader": "CheckpointReader NewCheckpointReader",
        "util._pywrap_util_port": "IsGoogleCudaEnabled",
    },
    "saved_model.utils_impl": {
        "saved_model.path_helpers": (
            "get_assets_dir get_debug_dir get_or_create_assets_dir get_or_create_debug_dir "
            "get_or_create_variables_dir get_saved_model_pb_path get_saved_model_pbtxt_path "
            "get_variables_dir get_variables_path"
        )
    },
    "tpu.tpu": {
        "tpu.tpu_replication": "TPUReplicateContext is_tpu_strategy outside_compilation",
    },
    "tpu.tpu_strategy_util": {
        "distribute.cluster_resolver.tpu.tpu_cluster_resolver": (
            "initialize_tpu_system shutdown_tpu_system"
        )
    },
    "util.nest": {"util.nest": "is_sequence=is_nested"},
    "util.tf_export": {
        "tensorflow_estimator.python.estimator.estimator_export": "estimator_export",
    },
}


def stand_in(name: str) -> types.ModuleType | None:
    """Makes a module whose names are in several modules today; None if `name` is no such module."""
    homes = _GATHERED.get(name.removeprefix(_ROOT)) if name.startswith(_ROOT) else None
    if homes is None:
        return None
    module = types.ModuleType(name, f"What TensorFlow had as {name}, from where it is today.")
    for home in reversed(homes):
        found = vars(importlib.import_module(_ROOT + home))
        vars(module).update({key: found[key] for key in found if not key.startswith("__")})
    if any(other.startswith(f"{name}.") for other in ALIASES):
        module.__path__ = []
    return module


def install(tf: Any) -> None:
    """Has each module that names have left look for them where they are, when they are asked for.

    Nothing is imported for it: Python asks a module's `__getattr__` for what the module does not
    have. To call it twice changes nothing more.
    """
    for old, homes in _NAMES.items():
        _answer(importlib.import_module(_ROOT + old), dict(_places(homes)), tf)


def _places(homes: dict[str, str]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Each old name with the place that has it, and its name there."""
    for home, names in homes.items():
        for name in names.split():
            old, _, new = name.partition("=")
            yield old, (home, new or old)


def _answer(module: types.ModuleType, places: dict[str, tuple[str, str]], tf: Any) -> None:
    """Makes `module` find the names of `places`, after those that it finds by itself."""
    before = vars(module).get("__getattr__")
    if isinstance(before, _Answers):
        return
    vars(module)["__getattr__"] = _Answers(module, before, places, tf)


@dataclasses.dataclass(frozen=True)
class _Answers:
    """A module's `__getattr__`. `before` is the one that the module had, or None."""

    module: types.ModuleType
    before: Callable[[str], Any] | None
    places: dict[str, tuple[str, str]]
    tf: Any

    def __call__(self, name: str) -> Any:
        if name not in self.places:
            if self.before:
                return self.before(name)
            raise AttributeError(f"module {self.module.__name__!r} has no attribute {name!r}")
        home, new = self.places[name]
        try:
            value = getattr(self._open(home), new)
        except ImportError as error:  # Which `hasattr` would not take for an answer.
            raise AttributeError(f"{self.module.__name__}.{name} is not there: {error}") from error
        setattr(self.module, name, value)
        return value

    def _open(self, home: str) -> Any:
        first, *rest = home.split(".")
        if first == "tf":
            return functools.reduce(getattr, rest, self.tf)
        return importlib.import_module(home if first in _ABSOLUTE else _ROOT + home)


def _scalar_shape() -> Any:
    return _shape([])


def _vector_shape(length: Any) -> Any:
    return _shape([length])


def _matrix_shape(rows: Any, cols: Any) -> Any:
    return _shape([rows, cols])


def _shape(dimensions: list[Any]) -> Any:
    return importlib.import_module(f"{_ROOT}framework.tensor_shape").TensorShape(dimensions)
