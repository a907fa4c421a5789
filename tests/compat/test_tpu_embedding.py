"""The module of TPU embeddings: what holds values does, what needs a TPU raises."""

from __future__ import annotations

import importlib
import importlib.machinery
import inspect

import pytest

from mnist_estimator import RunError
from mnist_estimator.compat import _versions, tf

# Once `tf` has been imported from compat, which chooses Keras.
tpu_embedding = importlib.import_module("mnist_estimator.compat.tpu_embedding")

MODULE = "tensorflow.python.tpu.tpu_embedding"
BUILT_IN = _versions.release(tf.__version__) < (2, 16)
HOLDERS = [name for name in vars(tpu_embedding) if name.endswith(("Parameters", "VariableNames"))]
HOLDERS = [name for name in HOLDERS if not name.startswith("_")]


def test_parameters_hold_what_they_are_given():
    adam = tpu_embedding.AdamParameters(0.1, epsilon=1e-6, clip_weight_max=2.0)
    assert (adam.learning_rate, adam.beta1, adam.epsilon) == (0.1, 0.9, 1e-6)
    assert (adam.clip_weight_min, adam.clip_weight_max, adam.lazy_adam) == (None, 2.0, True)
    estimator = tpu_embedding.FrequencyEstimatorParameters(1.0, 2.0, 3.0, 4.0)
    assert (estimator.learning_rate, estimator.weight_exponent) == (1.0, 4.0)
    assert tpu_embedding.FtrlParameters(0.1).initial_linear_value == 0.0
    assert tpu_embedding.AdamSlotVariableNames("a", "b").v == "b"


def signature(holder):
    return [(p.name, p.default, p.kind) for p in inspect.signature(holder).parameters.values()]


@pytest.mark.smoke
def test_arguments_and_defaults_are_those_of_2_15_whose_module_is_gone_later():
    if not BUILT_IN:
        package = importlib.import_module(MODULE.rpartition(".")[0])
        assert importlib.machinery.PathFinder.find_spec(MODULE, package.__path__) is None
        return
    theirs = importlib.import_module(MODULE)
    for name in HOLDERS:
        ours, original = (getattr(module, name) for module in (tpu_embedding, theirs))
        assert signature(ours) == signature(original), name
    assert {name for name in vars(theirs) if name.endswith("Parameters") and name[0] != "_"} == {
        name for name in HOLDERS if name.endswith("Parameters")
    }


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("AdamParameters", {"beta1": 1.0}, "beta1 is 1.0; expected at least 0 and less than 1"),
        ("AdamParameters", {"epsilon": 0}, "epsilon is 0; expected more than 0"),
        ("AdamParameters", {"lazy_adam": False}, "expected True with .* lazy_adam=False"),
        ("StochasticGradientDescentParameters", {"clip_gradient_min": 0.0}, "expected True with"),
        ("FtrlParameters", {"learning_rate_power": 0.5}, "is 0.5; expected 0 or less"),
        ("FtrlParameters", {"l1_regularization_strength": -1.0}, "is -1.0; expected 0 or more"),
        ("AdagradParameters", {"initial_accumulator": 0}, "is 0; expected more than 0"),
    ],
)
def test_parameters_that_make_no_sense(name, arguments, message):
    holder = getattr(tpu_embedding, name)
    with pytest.raises(ValueError, match=message):
        holder(0.1, **arguments, use_gradient_accumulation=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocabulary_size": 0}, "vocabulary_size is 0; expected a whole number, 1 or more"),
        ({"dimension": 2.5}, "dimension is 2.5; expected a whole number, 1 or more"),
        ({"combiner": "max"}, "combiner is 'max'"),
        ({"learning_rate": 0.1, "learning_rate_fn": "f"}, "expected one at most"),
        ({"optimization_parameters": "adam"}, "optimization_parameters is 'adam'"),
        ({"initializer": "zeros"}, "initializer is 'zeros'; expected a function"),
    ],
)
def test_a_table_that_makes_no_sense(arguments, message):
    with pytest.raises(ValueError, match=message):
        tpu_embedding.TableConfig(**{"vocabulary_size": 10, "dimension": 4, **arguments})


def test_tables_and_features():
    adam = tpu_embedding.AdamParameters(0.1)
    table = tpu_embedding.TableConfig(10, 4, optimization_parameters=adam)
    assert (table.vocabulary_size, table.dimension, table.combiner) == (10, 4, "mean")
    assert table.optimization_parameters is adam
    assert table.initializer.get_config()["stddev"] == 0.5
    assert tpu_embedding.FeatureConfig("words").max_sequence_length == 0
    with pytest.raises(ValueError, match="max_sequence_length is -1"):
        tpu_embedding.FeatureConfig("words", max_sequence_length=-1)


def test_data_of_tensors():
    sparse = tf.sparse.from_dense([[0, 5], [7, 0]])
    (data,) = tpu_embedding.get_enqueue_datas_list_from_sparse_tensors_list([{"x": sparse}])
    assert data["x"].embedding_indices.numpy().tolist() == [5, 7]
    assert data["x"].sample_indices.numpy().tolist() == [[0, 1], [1, 0]]
    assert data["x"].aggregation_weights is None
    weighted = tpu_embedding.EnqueueData.from_sparse_tensor(sparse, sparse)
    assert weighted.aggregation_weights.numpy().tolist() == [5, 7]
    ragged = tf.ragged.constant([[5], [], [7, 8]])
    (data,) = tpu_embedding.get_enqueue_datas_list_from_ragged_tensors_list([{"x": ragged}])
    assert data["x"].row_splits.numpy().tolist() == [0, 1, 1, 3]


def test_what_needs_a_tpu_says_so():
    with pytest.raises(RunError, match="TPUEmbedding is not there: .*use_tpu=False, or on a TPU"):
        tpu_embedding.TPUEmbedding({}, {}, 8, tpu_embedding.TRAINING)
    assert tpu_embedding.TRAINING != tpu_embedding.INFERENCE
