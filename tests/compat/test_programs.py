"""Whose code it is, and what a program that is written for version 1 gets by an import."""

from __future__ import annotations

import builtins
import os
import sys
import types
from pathlib import Path

import numpy
import pytest

import mnist_estimator
from mnist_estimator.compat import _programs


@pytest.mark.parametrize(
    ("namespace", "expected"),
    [
        ({"__name__": "__main__", "__file__": "/home/me/train.py"}, True),
        ({"__name__": "model", "__file__": "/home/me/model.py"}, True),
        ({"__name__": "test.code", "__file__": "/home/me/test/code.py"}, True),
        ({"__name__": "__main__"}, True),  # A notebook, or `python -c`.
        ({}, False),  # exec(..., {}), as libraries do.
        ({"__name__": "json", "__file__": os.__file__}, False),
        ({"__name__": "numpy", "__file__": numpy.__file__}, False),
        ({"__name__": "mnist_estimator", "__file__": mnist_estimator.__file__}, False),
        ({"__name__": "m", "__file__": "/elsewhere/python3/site-packages/m/x.py"}, False),
        ({"__name__": "m", "__file__": "/usr/lib/python3/dist-packages/m.py"}, False),
        ({"__name__": "m", "__file__": "/home/me/my-site-packages/m.py"}, True),
        # Beside a library's folder, with a name that begins like it.
        ({"__name__": "x", "__file__": os.path.dirname(os.__file__) + "_mine/x.py"}, True),
    ],
)
def test_whose_code_it_is(namespace, expected):
    source = "import sys; frame = sys._getframe()"
    exec(source, namespace)
    assert _programs.is_program(namespace["frame"]) is expected


def test_tensorflow_is_a_library_wherever_it_lies(tmp_path, monkeypatch):
    """As after `pip install --target`, or a build of one's own."""
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow/__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    _programs._library_folders.cache_clear()
    try:
        assert not _programs._is_program({"__file__": f"{tmp_path}/tensorflow/python/ops.py"})
        assert _programs._is_program({"__file__": f"{tmp_path}/train.py"})
    finally:
        _programs._library_folders.cache_clear()


@pytest.fixture
def imported(monkeypatch):
    """What an import statement gives in a namespace, with a TensorFlow of seven modules."""
    tf, v1 = types.ModuleType("tensorflow"), types.ModuleType("tensorflow.compat.v1")
    tf.__path__ = []
    tf.__version__ = "2.21.0"
    tf.compat = types.SimpleNamespace(v1=v1)
    tf.keras = types.SimpleNamespace(
        layers=types.SimpleNamespace(Layer=type("Layer", (), {"__module__": "tf_keras.src.base"}))
    )
    v1.train = types.ModuleType("tensorflow.compat.v1.train")
    v1.train.Saver = "version 1"
    core = types.ModuleType("tensorflow.core")
    core.example = "of both versions"
    keras = types.ModuleType("tf_keras.src.models")
    keras.Sequential = "tf-keras"
    private = types.ModuleType("tensorflow.python.keras.models")
    private.Sequential = "TensorFlow's own"
    for module in (tf, core, keras, private):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(builtins, "__import__", builtins.__import__)
    _programs.mean_version_1()

    def run(statement, file="/home/me/train.py"):
        namespace = {"__name__": "train", "__file__": file}
        exec(statement, namespace)
        return namespace

    return run


def test_tensorflow_is_version_1_to_a_program(imported):
    v1 = sys.modules["tensorflow"].compat.v1
    assert imported("import tensorflow as tf")["tf"] is v1
    assert imported("import tensorflow")["tensorflow"] is v1
    assert imported("from tensorflow import train")["train"] is v1.train
    assert imported("from tensorflow.train import Saver")["Saver"] == "version 1"


def test_tensorflow_stays_what_it_is_to_a_library(imported):
    tf = sys.modules["tensorflow"]
    assert imported("import tensorflow as tf", file=numpy.__file__)["tf"] is tf


def test_what_version_1_has_not_is_tensorflow_s_own(imported):
    assert imported("from tensorflow.core import example")["example"] == "of both versions"
    with pytest.raises(ImportError, match="no_such"):
        imported("import tensorflow.no_such")


def test_private_keras_is_the_keras_in_use(imported):
    statement = "from tensorflow.python.keras.models import Sequential"
    assert imported(statement)["Sequential"] == "tf-keras"
    # Keras 3 has other modules: there it is what TensorFlow itself has.
    sys.modules["tensorflow"].keras.layers.Layer.__module__ = "keras.src.layer"
    assert imported(statement)["Sequential"] == "TensorFlow's own"


@pytest.fixture
def script(tmp_path, monkeypatch):
    """A program's own mnist_estimator.py, first on the path."""
    monkeypatch.setitem(sys.modules, "mnist_estimator", mnist_estimator)
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "mnist_estimator.py"
    path.write_text("")
    return path


def test_a_program_s_module_of_this_package_s_name_gets_the_name(script):
    _programs.give_name_back(str(script.with_name("train.py")))
    assert "mnist_estimator" not in sys.modules
    assert sys.modules["mnist_estimator.compat._programs"] is _programs


def test_a_script_of_this_package_s_name_does_not_mean_itself(script):
    _programs.give_name_back(str(script))
    assert sys.modules["mnist_estimator"] is mnist_estimator


def test_without_such_a_module_nothing_is_given_back(script):
    script.unlink()
    _programs.give_name_back(str(script.with_name("train.py")))
    assert sys.modules["mnist_estimator"] is mnist_estimator


def test_what_is_imported_late_does_not_need_the_name():
    late = list(Path(_programs.__file__).parent.glob("contrib/*.py"))
    assert len(late) > 5
    for path in late:
        assert "from mnist_estimator import" not in path.read_text(), path.name
