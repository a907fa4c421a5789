"""Which Keras TensorFlow is made to use, and what is said where it cannot be Keras 2."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import sys
import types

import pytest

from mnist_estimator.compat import _keras


@pytest.fixture
def tf_keras(monkeypatch):
    module = types.ModuleType("tf_keras")
    module.__spec__ = importlib.machinery.ModuleSpec("tf_keras", None)
    monkeypatch.setitem(sys.modules, "tf_keras", module)
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "")  # So that what a test sets is undone after it.
    monkeypatch.delenv("TF_USE_LEGACY_KERAS")


def test_keras_2_is_switched_on_before_tensorflow_is_imported(tf_keras, monkeypatch):
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    assert _keras.switch_to_keras_2() == ""
    assert os.environ["TF_USE_LEGACY_KERAS"] == "1"


def test_keras_2_is_not_switched_on_after(tf_keras, monkeypatch):
    tensorflow = types.ModuleType("tensorflow")
    monkeypatch.setitem(sys.modules, "tensorflow", tensorflow)
    tensorflow.__version__ = "2.21.0"
    assert "before tensorflow" in _keras.switch_to_keras_2()
    assert "TF_USE_LEGACY_KERAS" not in os.environ


def test_keras_2_is_switched_on_while_tensorflow_is_executed(tf_keras, monkeypatch):
    """Python has put the module there by then, with nothing in it."""
    monkeypatch.setitem(sys.modules, "tensorflow", types.ModuleType("tensorflow"))
    assert _keras.switch_to_keras_2() == ""
    assert os.environ["TF_USE_LEGACY_KERAS"] == "1"


def test_what_is_chosen_stays(tf_keras, monkeypatch):
    """TensorFlow asks once: what the environment says later does not count."""
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.setattr(_keras, "_is_chosen", False)
    monkeypatch.setattr(_keras, "_choose_now", lambda: None)
    monkeypatch.setattr(_keras, "remedy", "not decided")
    with _keras.chosen():
        assert os.environ["TF_USE_LEGACY_KERAS"] == "1"
    assert "TF_USE_LEGACY_KERAS" not in os.environ and _keras.remedy == ""
    tensorflow = types.ModuleType("tensorflow")
    tensorflow.__version__ = "2.21.0"
    monkeypatch.setitem(sys.modules, "tensorflow", tensorflow)
    with _keras.chosen():
        assert "TF_USE_LEGACY_KERAS" not in os.environ
    assert _keras.remedy == ""


def test_keras_2_stays_off_where_the_user_says_so(tf_keras, monkeypatch):
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "0")
    assert "'0'" in _keras.switch_to_keras_2()
    assert os.environ["TF_USE_LEGACY_KERAS"] == "0"


def test_a_switch_to_keras_2_that_is_not_installed_is_not_heeded(monkeypatch, capsys):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tf_keras" else find_spec(name)
    )
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")
    assert "pip install" in _keras.switch_to_keras_2()
    assert "TF_USE_LEGACY_KERAS" not in os.environ
    said = capsys.readouterr().err
    assert said.startswith("warning: TF_USE_LEGACY_KERAS is set, but tf-keras is not installed")
    assert said.count("\n") == 1


def test_keras_can_be_left_for_its_first_use(tf_keras, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "")  # So that what the block leaves is undone after it.
    for name in ("keras", "keras.src.optimizers", "tf_keras.src.optimizers", "tensorflow"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(_keras, "_is_chosen", False)
    monkeypatch.setattr(_keras, "_is_deferred", False)
    monkeypatch.setattr(_keras, "_choose_now", lambda: pytest.fail("chooses, which imports it"))
    monkeypatch.setattr(_keras, "remedy", "not decided")
    _keras.defer_keras()
    with _keras.chosen():
        with pytest.raises(ImportError, match="halted"):
            importlib.import_module("tf_keras.src.optimizers")
        assert importlib.util.find_spec("tf_keras") is not None
    assert "tf_keras.src.optimizers" not in sys.modules  # It may be imported from now on.
    assert (os.environ["TF_USE_LEGACY_KERAS"], os.environ["KERAS_BACKEND"]) == ("1", "tensorflow")
    assert _keras.remedy == ""
