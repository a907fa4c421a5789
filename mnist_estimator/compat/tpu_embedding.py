"""What TensorFlow 2.15 had as `tensorflow.python.tpu.tpu_embedding`, on later ones.

It stands in for the module as far as a program needs it without a TPU. The parameters of an
optimizer, the configurations of tables and features, and the tuples of names and data hold what
they are given, with the arguments, defaults and limits of 2.15. `TPUEmbedding`, which needs a TPU,
raises when it is called.
"""

from __future__ import annotations

import ast
import dataclasses
import math
from collections import namedtuple
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import tensorflow as tf
from tensorflow.core.protobuf.tpu import tpu_embedding_configuration_pb2

from mnist_estimator.compat import _refusals

TRAINING = tpu_embedding_configuration_pb2.TPUEmbeddingConfiguration.TRAINING
INFERENCE = tpu_embedding_configuration_pb2.TPUEmbeddingConfiguration.INFERENCE

TPUEmbedding = _refusals.refusing_class(
    "tensorflow.python.tpu.tpu_embedding.TPUEmbedding", _refusals.NEEDS_TPU
)


class _OptimizationParameters:
    """What the optimizers of TPU embeddings have in common."""

    limits: ClassVar[dict[str, tuple[str, Callable[[float], bool]]]] = {}
    # What a subclass may hold, or not.
    use_gradient_accumulation = True
    lazy_adam = True

    def __post_init__(self) -> None:
        for name, (limit, holds) in self.limits.items():
            if not holds(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected {limit}")
        clipped = (self.clip_gradient_min, self.clip_gradient_max) != (None, None)
        if not self.use_gradient_accumulation and (clipped or not self.lazy_adam):
            raise ValueError(
                "use_gradient_accumulation is False; expected True with clip_gradient_min, "
                "clip_gradient_max or lazy_adam=False"
            )


_COMMON = (
    "use_gradient_accumulation=True, clip_weight_min=None, clip_weight_max=None, "
    "weight_decay_factor=None, multiply_weight_decay_factor_by_learning_rate=None"
)
_CLIPS = "clip_gradient_min=None, clip_gradient_max=None"
_REGULARIZED = "l1_regularization_strength=0.0, l2_regularization_strength=0.0"

_POSITIVE = ("more than 0", lambda value: value > 0)
_NOT_NEGATIVE = ("0 or more", lambda value: value >= 0)
_NOT_POSITIVE = ("0 or less", lambda value: value <= 0)
_DECAY = ("at least 0 and less than 1", lambda value: 0 <= value < 1)
_BETAS = {"beta1": _DECAY, "beta2": _DECAY, "epsilon": _POSITIVE}
_STRENGTHS = {
    "l1_regularization_strength": _NOT_NEGATIVE,
    "l2_regularization_strength": _NOT_NEGATIVE,
}


def _parameters(name: str, arguments: str, **attributes: Any) -> Any:
    """A class that is called with `arguments`, written as in a `def`, and holds them."""
    return dataclasses.make_dataclass(
        name,
        list(_fields(arguments)),
        bases=(_OptimizationParameters,),
        namespace={"__module__": __name__, "__doc__": f"Holds {arguments}.", **attributes},
        eq=False,
    )


def _fields(arguments: str) -> Iterator[Any]:
    for argument in arguments.split(", "):
        name, _, default = argument.partition("=")
        value = ast.literal_eval(default) if default else dataclasses.MISSING
        yield name, Any, dataclasses.field(default=value)


AdagradParameters = _parameters(
    "AdagradParameters",
    f"learning_rate, initial_accumulator=0.1, {_COMMON}, {_CLIPS}",
    limits={"initial_accumulator": _POSITIVE},
)
AdagradMomentumParameters = _parameters(
    "AdagradMomentumParameters",
    "learning_rate, momentum, use_nesterov=False, exponent=2, beta2=1, epsilon=1e-10, "
    f"{_COMMON}, {_CLIPS}",
    limits={"epsilon": _POSITIVE, "exponent": _POSITIVE},
)
ProximalAdagradParameters = _parameters(
    "ProximalAdagradParameters",
    f"learning_rate, initial_accumulator=0.1, {_REGULARIZED}, {_COMMON}, {_CLIPS}",
    limits={"initial_accumulator": _POSITIVE, **_STRENGTHS},
)
AdamParameters = _parameters(
    "AdamParameters",
    "learning_rate, beta1=0.9, beta2=0.999, epsilon=1e-08, lazy_adam=True, sum_inside_sqrt=True, "
    f"{_COMMON}, {_CLIPS}",
    limits=_BETAS,
)
FtrlParameters = _parameters(
    "FtrlParameters",
    f"learning_rate, learning_rate_power=-0.5, initial_accumulator_value=0.1, {_REGULARIZED}, "
    f"{_COMMON}, multiply_linear_by_learning_rate=False, beta=0, allow_zero_accumulator=False, "
    f"{_CLIPS}",
    limits={
        "learning_rate_power": _NOT_POSITIVE,
        "initial_accumulator_value": _NOT_NEGATIVE,
        **_STRENGTHS,
    },
    initial_linear_value=0.0,
)
ProximalYogiParameters = _parameters(
    "ProximalYogiParameters",
    f"learning_rate=0.01, beta1=0.9, beta2=0.999, epsilon=0.001, {_REGULARIZED}, "
    f"initial_accumulator_value=1e-06, {_COMMON}, {_CLIPS}",
    limits={**_BETAS, **_STRENGTHS},
)
MomentumParameters = _parameters(
    "MomentumParameters", f"learning_rate, momentum, use_nesterov=False, {_COMMON}, {_CLIPS}"
)
RMSPropParameters = _parameters(
    "RMSPropParameters", f"learning_rate, rho, momentum, epsilon, {_COMMON}, {_CLIPS}"
)
StochasticGradientDescentParameters = _parameters(
    "StochasticGradientDescentParameters", f"learning_rate, {_COMMON}, {_CLIPS}"
)
FrequencyEstimatorParameters = _parameters(
    "FrequencyEstimatorParameters",
    "tau, max_delta, outlier_threshold, weight_exponent",
    learning_rate=1.0,
    clip_weight_min=None,
    clip_weight_max=None,
    weight_decay_factor=None,
    multiply_weight_decay_factor_by_learning_rate=None,
    clip_gradient_min=None,
    clip_gradient_max=None,
)

AdagradSlotVariableNames = namedtuple("AdagradSlotVariableNames", "accumulator")
AdagradMomentumSlotVariableNames = namedtuple(
    "AdagradMomentumSlotVariableNames", "accumulator momenta"
)
AdamSlotVariableNames = namedtuple("AdamSlotVariableNames", "m v")
FrequencyEstimatorSlotVariableNames = namedtuple(
    "FrequencyEstimatorSlotVariableNames", "last_hit_step"
)
FtrlSlotVariableNames = namedtuple("FtrlSlotVariableNames", "accumulator linear")
MomentumSlotVariableNames = namedtuple("MomentumSlotVariableNames", "momenta")
ProximalAdagradSlotVariableNames = namedtuple("ProximalAdagradSlotVariableNames", "accumulator")
ProximalYogiSlotVariableNames = namedtuple("ProximalYogiSlotVariableNames", "v m")
RMSPropSlotVariableNames = namedtuple("RMSPropSlotVariableNames", "ms mom")


class _Table(NamedTuple):
    vocabulary_size: int
    dimension: int
    initializer: Any = None
    combiner: str | None = "mean"
    hot_id_replication: bool = False
    learning_rate: float | None = None
    learning_rate_fn: Any = None
    optimization_parameters: Any = None


class TableConfig(_Table):
    """A table of embeddings: `vocabulary_size` rows of `dimension` numbers."""

    __slots__ = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> TableConfig:
        table = super().__new__(cls, *args, **kwargs)
        for name in ("vocabulary_size", "dimension"):
            _check_count(name, getattr(table, name), least=1)
        if table.combiner not in ("mean", "sum", "sqrtn", None):
            raise ValueError(f"combiner is {table.combiner!r}; expected mean, sum, sqrtn or None")
        if None not in (table.learning_rate, table.learning_rate_fn):
            raise ValueError("learning_rate and learning_rate_fn are given; expected one at most")
        if not isinstance(table.optimization_parameters, _OptimizationParameters | None):
            raise ValueError(
                f"optimization_parameters is {table.optimization_parameters!r}; expected an "
                "object of a class of this module, such as AdamParameters"
            )
        if table.initializer is None:
            stddev = 1 / math.sqrt(table.dimension)
            return table._replace(
                initializer=tf.compat.v1.truncated_normal_initializer(stddev=stddev)
            )
        if not callable(table.initializer):
            raise ValueError(f"initializer is {table.initializer!r}; expected a function")
        return table


class _Feature(NamedTuple):
    table_id: str
    max_sequence_length: int = 0
    weight_key: str | None = None


class FeatureConfig(_Feature):
    """A feature: the table that it is looked up in; a sequence if it has a length."""

    __slots__ = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> FeatureConfig:
        feature = super().__new__(cls, *args, **kwargs)
        _check_count("max_sequence_length", feature.max_sequence_length, least=0)
        return feature


def _check_count(name: str, value: Any, *, least: int) -> None:
    if not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is {value!r}; expected a whole number, {least} or more")


class EnqueueData(NamedTuple):
    """Indices to look up, and the examples that they belong to."""

    embedding_indices: Any
    sample_indices: Any = None
    aggregation_weights: Any = None

    @staticmethod
    def from_sparse_tensor(sp_tensor: Any, weights: Any = None) -> EnqueueData:
        """The data of a SparseTensor of indices, and of one of their weights."""
        return EnqueueData(sp_tensor.values, sp_tensor.indices, weights and weights.values)


class RaggedEnqueueData(NamedTuple):
    """Indices to look up, and where each example's begin."""

    embedding_indices: Any
    row_splits: Any = None
    aggregation_weights: Any = None

    @staticmethod
    def from_ragged_tensor(rg_tensor: Any, weights: Any = None) -> RaggedEnqueueData:
        """The data of a RaggedTensor of indices, and of one of their weights."""
        return RaggedEnqueueData(rg_tensor.values, rg_tensor.row_splits, weights and weights.values)


def get_enqueue_datas_list_from_sparse_tensors_list(
    sp_tensors_list: Sequence[dict[str, Any]],
) -> list[dict[str, EnqueueData]]:
    """What a TPU's cores are to look up, of each core's SparseTensors by feature."""
    make = EnqueueData.from_sparse_tensor
    return [{key: make(value) for key, value in each.items()} for each in sp_tensors_list]


def get_enqueue_datas_list_from_ragged_tensors_list(
    rg_tensors_list: Sequence[dict[str, Any]],
) -> list[dict[str, RaggedEnqueueData]]:
    """What a TPU's cores are to look up, of each core's RaggedTensors by feature."""
    make = RaggedEnqueueData.from_ragged_tensor
    return [{key: make(value) for key, value in each.items()} for each in rg_tensors_list]
