"""Names that TensorFlow moved before 2.15, by the names that programs of that time say."""

from __future__ import annotations

import importlib
import importlib.util
import pathlib
import types

import numpy as np
import pytest

from mnist_estimator.compat import _moved, _versions, tf, v1

PYTHON = "tensorflow.python."
NAMES = [
    (old, name, place)
    for old, homes in _moved._NAMES.items()
    for name, place in _moved._places(homes)
]
# What 2.15 still has under the old name has no other place there.
LATER = {"framework.override_binary_operator", "ops.resource_variables_toggle"}
BUILT_IN = _versions.release(tf.__version__) < (2, 16)
KERAS_2 = BUILT_IN or importlib.util.find_spec("tf_keras")


@pytest.fixture(scope="module", autouse=True)
def installed():
    """Installed for these tests only, and twice, since a program may do so."""
    modules = {old: importlib.import_module(PYTHON + old) for old in _moved._NAMES}
    before = {old: dict(vars(module)) for old, module in modules.items()}
    _moved.install(tf)
    _moved.install(tf)
    yield before
    for old, module in modules.items():
        vars(module).clear()
        vars(module).update(before[old])


@pytest.mark.parametrize(("old", "name", "place"), NAMES, ids=[f"{o}.{n}" for o, n, _ in NAMES])
def test_each_old_name_was_missing_and_is_there(installed, old, name, place):
    home, new = place
    if home.startswith("tf.") and not KERAS_2:
        pytest.skip("needs Keras 2")
    in_place = BUILT_IN and home in LATER
    assert (name in installed[old]) == in_place
    found = getattr(importlib.import_module(PYTHON + old), name)
    assert in_place or getattr(found, "__name__", new) in (new, new.removesuffix("_v1"))


def test_what_a_module_has_is_left_alone(monkeypatch):
    from tensorflow.python.ops import array_ops

    monkeypatch.setattr(array_ops, "stack", "its own", raising=False)
    _moved.install(tf)
    assert array_ops.stack == "its own"


def test_a_name_that_never_was_is_missing_by_name():
    from tensorflow.python.util import nest

    with pytest.raises(AttributeError, match="tensorflow.python.util.nest.*no attribute 'is_nest'"):
        _ = nest.is_nest


def test_a_name_whose_place_is_not_there_is_missing():
    module = types.ModuleType("old")
    _moved._answer(module, {"thing": ("ops.no_such_module", "thing")}, tf)
    assert not hasattr(module, "thing")
    with pytest.raises(AttributeError, match="old.thing is not there: No module .*no_such_module"):
        _ = module.thing


def test_the_old_names_do_what_they_did():
    from tensorflow.python.framework import graph_util, ops, tensor_shape
    from tensorflow.python.ops import array_ops, control_flow_ops, variable_scope
    from tensorflow.python.util import nest

    assert nest.is_sequence([1]) and not nest.is_sequence(np.zeros(2))
    assert tensor_shape.matrix(2, 3).as_list() == [2, 3]
    assert tensor_shape.vector(4).as_list() == [4] and tensor_shape.scalar().rank == 0
    with tf.Graph().as_default(), v1.Session() as session:
        variable = variable_scope.variable(2.0, name="w")
        total = control_flow_ops.while_loop(lambda x: x < 9, lambda x: x * variable, [1.0])
        pair = array_ops.stack([total, control_flow_ops.cond(total > 9, lambda: 1.0, lambda: 0.0)])
        assert isinstance(pair, ops.Tensor)
        session.run(v1.global_variables_initializer())
        assert session.run(pair).tolist() == [16.0, 1.0]
        frozen = graph_util.convert_variables_to_constants(
            session, session.graph_def, [pair.op.name]
        )
    assert not [node for node in frozen.node if "Variable" in node.op]


def test_a_conversion_is_registered_by_its_old_name():
    from tensorflow.python.framework import ops

    class Metres:
        pass

    ops.register_tensor_conversion_function(Metres, lambda value, **_: tf.constant(3.0))
    assert float(tf.convert_to_tensor(Metres())) == 3.0


def test_a_checkpoint_is_read_by_the_old_name(tmp_path):
    from tensorflow.python import pywrap_tensorflow

    path = tf.train.Checkpoint(w=tf.Variable(5.0)).save(str(tmp_path / "model"))
    reader = pywrap_tensorflow.NewCheckpointReader(path)
    assert reader.get_tensor("w/.ATTRIBUTES/VARIABLE_VALUE") == 5.0


@pytest.mark.parametrize("old", _moved.ALIASES)
def test_an_alias_is_of_a_module_that_is_gone_and_leads_to_one_that_is_there(old):
    new = _moved.ALIASES[old]
    if new.startswith(("keras.", "tf_keras.")) and not KERAS_2:
        pytest.skip("needs Keras 2")
    assert isinstance(importlib.import_module(new), types.ModuleType)
    file = pathlib.Path(tf.__file__).parent.joinpath(*old.split(".")[1:])
    assert not file.exists() and not file.with_suffix(".py").exists()


@pytest.mark.skipif(not KERAS_2, reason="needs Keras 2")
def test_what_prepares_the_data_of_keras():
    sequence = importlib.import_module(_moved.ALIASES[f"{PYTHON}keras.preprocessing.sequence"])
    assert sequence.pad_sequences([[1], [2, 3]]).tolist() == [[0, 1], [2, 3]]
    text = importlib.import_module(_moved.ALIASES[f"{PYTHON}keras.preprocessing.text"])
    assert text.text_to_word_sequence("One, two") == ["one", "two"]


def test_modules_put_together_from_several():
    tracking = _moved.stand_in(f"{PYTHON}training.tracking.tracking")
    assert tracking.AutoTrackable is type(tf.Module()).__mro__[1]
    assert tracking.TrackableResource and tracking.Asset
    base = _moved.stand_in(f"{PYTHON}training.tracking.base")
    assert issubclass(tf.Variable, base.Trackable) and base.CheckpointPosition
    # A package, so that Python looks for the modules below it.
    assert _moved.stand_in(f"{PYTHON}training.tracking").__path__ == []
    assert _moved.stand_in(f"{PYTHON}training.tracking.nothing") is None
    assert _moved.stand_in("training.tracking") is None
