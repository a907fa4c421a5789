"""What TensorFlow 2.16 to 2.21 removed: there again, or an error that says what to do."""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
import types

import pytest

from mnist_estimator import RunError
from mnist_estimator.compat import _removed, _versions, tf, v1

# Once `tf` has been imported from compat, which chooses Keras.
tpu_embedding = importlib.import_module("mnist_estimator.compat.tpu_embedding")

RELEASE = _versions.release(tf.__version__)
BUILT_IN = RELEASE < (2, 16)
# The first release without a module, where it is not 2.16.
FIRST_WITHOUT = {
    "tensorflow.python.eager.profiler": (2, 20),
    "tensorflow.python.eager.profiler_client": (2, 20),
    "tensorflow.python.pywrap_tensorflow_internal": (2, 19),
}
STAND_INS = [
    (module, name) for module, (_, names) in _removed._STAND_INS.items() for name in names.split()
]


def is_there(name):
    """Whether TensorFlow itself has the module."""
    folder = importlib.import_module(name.rpartition(".")[0]).__path__
    return importlib.machinery.PathFinder.find_spec(name, folder) is not None


@pytest.mark.smoke
@pytest.mark.parametrize("name", [*_removed.ALIASES, *_removed._STAND_INS])
def test_the_modules_are_those_that_2_15_has_and_later_ones_have_not(name):
    assert is_there(name) == (FIRST_WITHOUT.get(name, (2, 16)) > RELEASE)


@pytest.mark.smoke
@pytest.mark.parametrize("name", _removed._STAND_INS)
def test_a_stand_in_has_the_names_of_2_15(name):
    module = _removed.stand_in(name)
    assert module.__name__ == name and module is not _removed.stand_in(name)
    if BUILT_IN:
        theirs = importlib.import_module(name)
        own = {
            key
            for key, value in vars(theirs).items()
            if getattr(value, "__module__", "") == name and not key.startswith("_")
        }
        assert {key for key in vars(module) if not key.startswith("_")} == own
        for key in own:
            assert isinstance(getattr(module, key), type) == isinstance(vars(theirs)[key], type)


@pytest.mark.parametrize(("module", "name"), STAND_INS)
def test_each_of_its_names_says_what_to_do_when_called(module, name):
    with pytest.raises(
        RunError, match=rf"^{module}.{name} is not there: TensorFlow 2.(16|20) removed it.*; "
    ):
        getattr(_removed.stand_in(module), name)()


def test_its_error_can_be_named_in_an_except():
    error = _removed.stand_in("tensorflow.python.tpu.session_support").CoordinatorResetError
    assert issubclass(error, tf.errors.AbortedError)


def test_other_modules_have_no_stand_in():
    assert _removed.stand_in("tensorflow.python.tpu.nothing") is None


@pytest.mark.parametrize("old", _removed.ALIASES)
def test_an_alias_leads_to_a_module_that_is_there(old):
    new = _removed.ALIASES[old]
    assert new.startswith("tensorflow_estimator") or isinstance(
        importlib.import_module(new), types.ModuleType
    )


@pytest.mark.smoke
def test_install_adds_the_public_names_where_they_are_missing():
    _removed.install(tf, v1)
    _removed.install(tf, v1)
    hook = tf.data.experimental.CheckpointInputPipelineHook
    assert v1.data.experimental.CheckpointInputPipelineHook is hook
    assert tf.compat.v2.data.experimental.CheckpointInputPipelineHook is hook
    from tensorflow.compat.v1.tpu.experimental import AdamParameters
    from tensorflow.python.data.experimental.ops import iterator_ops

    assert iterator_ops.CheckpointInputPipelineHook is hook
    assert AdamParameters(0.1).learning_rate == 0.1
    # What TensorFlow has stays.
    assert (hook.__module__ == iterator_ops.__name__) == BUILT_IN
    assert (AdamParameters is tpu_embedding.AdamParameters) != BUILT_IN
    for name in ("AdagradParameters", "FtrlParameters", "StochasticGradientDescentParameters"):
        assert getattr(v1.tpu.experimental, name)(0.5).learning_rate == 0.5


@pytest.fixture(scope="module")
def tpu():
    """The modules of TPUEstimator, imported as on a TensorFlow that has what they need."""
    _removed.install(tf, v1)
    with pytest.MonkeyPatch.context() as patch:
        if not BUILT_IN:
            for name in _removed._STAND_INS:
                patch.setitem(sys.modules, name, _removed.stand_in(name))
            patch.setitem(sys.modules, f"{_removed._PYTHON}tpu.tpu_embedding", tpu_embedding)
        yield types.SimpleNamespace(
            config=importlib.import_module(f"{_removed._TPU}tpu_config"),
            estimator=importlib.import_module(f"{_removed._TPU}tpu_estimator"),
        )


def make_tpu_estimator(tpu, folder, **arguments):
    def model_fn(features, labels, mode, params):
        weight = v1.get_variable("w", [2, 1], initializer=v1.zeros_initializer())
        score = features @ weight
        if mode == "infer":
            return tpu.estimator.TPUEstimatorSpec(mode, predictions={"score": score})
        loss = tf.reduce_mean(tf.square(score - labels))
        optimizer = v1.train.GradientDescentOptimizer(0.1)
        return tpu.estimator.TPUEstimatorSpec(
            mode,
            loss=loss,
            train_op=optimizer.minimize(loss, v1.train.get_global_step()),
            eval_metrics=(lambda labels: {"label": v1.metrics.mean(labels)}, [labels]),
        )

    config = tpu.config.RunConfig(model_dir=str(folder), tpu_config=tpu.config.TPUConfig(2))
    sizes = {f"{part}_batch_size": 4 for part in ("train", "eval", "predict")}
    return tpu.estimator.TPUEstimator(model_fn, config=config, **sizes, **arguments)


def input_fn(params):
    examples = tf.data.Dataset.from_tensors(([1.0, 2.0], [5.0])).repeat(40)
    return examples.batch(params["batch_size"], drop_remainder=True)


@pytest.mark.smoke
def test_a_tpu_estimator_works_without_a_tpu(tpu, tmp_path):
    task = make_tpu_estimator(tpu, tmp_path, use_tpu=False)
    task.train(input_fn, max_steps=4)
    metrics = task.evaluate(input_fn, steps=2)
    assert (metrics["label"], metrics["global_step"]) == (5.0, 4)
    assert metrics["loss"] < 1e-6
    assert float(next(task.predict(input_fn))["score"][0]) == pytest.approx(5.0, abs=1e-3)


def test_its_embeddings_take_the_parameters(tpu):
    words = tf.feature_column.categorical_column_with_identity("words", 10)
    spec = tpu.estimator.EmbeddingConfigSpec(
        feature_columns=[v1.tpu.experimental.embedding_column(words, 4)],
        optimization_parameters=v1.tpu.experimental.AdamParameters(0.1),
    )
    assert spec.optimization_parameters.learning_rate == 0.1
    with pytest.raises(ValueError, match="optimization_parameters"):
        tpu.estimator.EmbeddingConfigSpec(spec.feature_columns, optimization_parameters="adam")


@pytest.mark.parametrize("arguments", [{}, {"use_tpu": True}])
def test_a_tpu_estimator_with_a_tpu_is_one_clear_error(tpu, tmp_path, arguments):
    if BUILT_IN:
        assert make_tpu_estimator(tpu, tmp_path, **arguments)
        return
    message = "use_tpu=True .*cannot run: .*pass use_tpu=False .* install TensorFlow 2.15 .* TPUs$"
    with pytest.raises(RunError, match=message) as caught:
        make_tpu_estimator(tpu, tmp_path, **arguments)
    assert caught.value.__cause__ is None and caught.value.__context__ is None


def test_a_module_is_guarded_once(tpu):
    checked = tpu.estimator.TPUEstimator.__init__
    if not BUILT_IN:
        _removed.guard_tpus()
    assert getattr(checked, "refuses_tpus", False) == (not BUILT_IN)
    assert tpu.estimator.TPUEstimator.__init__ is checked
