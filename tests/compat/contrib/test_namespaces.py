"""Old packages made of a table: their names, paths and errors."""

from __future__ import annotations

import importlib
import sys

import pytest

from mnist_estimator.compat import KerasError, _keras, v1
from mnist_estimator.compat.contrib import _namespaces, layers
from mnist_estimator.compat.contrib._namespaces import Topic

TOPICS = {
    "": Topic(gone={"slim": "take another"}),
    "layers": Topic(
        names={"stack": "own.layers.stack", "rank": "v1.rank", "lost": "v1.train.lost"},
        gone={"old": "use the new"},
        paths="""layers.python layers.python.layers layers.python.layers.layers layers.python.stack
            layers.deep.one""",
    ),
    "layers.more": Topic(names={"nest": "tensorflow.python.util.nest"}, gone={"": "no more"}),
    "tpu": Topic(sources=["estimator.tpu", "v1.tpu"]),
    "cells": Topic(names={"Cell": "v1.nn.rnn_cell.NoSuchCell"}),
}


@pytest.fixture
def package(monkeypatch):
    finders, before = list(sys.meta_path), set(sys.modules)
    estimator = type("estimator", (), {})
    made = _namespaces.install("tensorflow.old", TOPICS, {"v1": v1, "estimator": estimator})
    yield made
    sys.meta_path[:] = finders
    for name in set(sys.modules) - before:
        if name.startswith("tensorflow.old"):
            del sys.modules[name]


def test_names_are_where_the_table_says(package):
    assert package.layers.stack is layers.stack
    assert package.layers.rank is v1.rank
    assert package.layers.more.nest.flatten([1, [2]]) == [1, 2]
    assert "stack" in dir(package.layers) and "more" in dir(package.layers)


def test_paths_are_the_same_modules(package):
    from tensorflow.old import layers as by_name
    from tensorflow.old.layers.python.layers import layers as deep
    from tensorflow.old.layers.python.layers.layers import stack

    assert by_name is deep is package.layers
    assert importlib.import_module("tensorflow.old.layers.more") is package.layers.more
    assert stack is layers.stack
    # A path whose last part is the name of something else does not hide that.
    assert package.layers.stack is layers.stack


def test_a_missing_name_says_what_to_do(package):
    with pytest.raises(AttributeError, match="tf.old.slim is not among .* of tf.old.*take another"):
        package.slim  # noqa: B018
    with pytest.raises(AttributeError, match="tf.old.layers.old .*; use the new"):
        package.layers.old  # noqa: B018
    with pytest.raises(AttributeError, match="tf.old.layers.more.any .*; no more"):
        package.layers.more.any  # noqa: B018
    with pytest.raises(AttributeError, match="tf.old.layers.any .*TensorFlow 1.15"):
        package.layers.any  # noqa: B018
    assert not hasattr(package.layers, "__wrapped__")


@pytest.mark.parametrize("name", ["slim", "layers.none", "layers.deep.none"])
def test_a_missing_path_says_so(package, name):
    parent, _, last = f"tensorflow.old.{name}".rpartition(".")
    for line in (f"import {parent}.{last}.deeper", f"from {parent} import {last}"):
        with pytest.raises(ImportError, match=f"tf.old.{name} is not among"):
            exec(line)


def test_other_packages_are_not_looked_for(package):
    with pytest.raises(ModuleNotFoundError, match="No module named 'tensorflow.older'"):
        importlib.import_module("tensorflow.older")


def test_a_target_that_is_not_there_is_named(package):
    with pytest.raises(
        AttributeError, match="tf.old.layers.lost is tf.compat.v1.train.lost, which"
    ):
        package.layers.lost  # noqa: B018


def test_names_come_from_the_first_source_that_has_them(package):
    assert package.tpu.shard is v1.tpu.shard
    package._roots = package.tpu._roots
    package._roots["estimator"].tpu = type("tpu", (), {"core": "first", "RunConfig": "mine"})
    assert (package.tpu.core, package.tpu.RunConfig) == ("first", "mine")
    assert {"shard", "RunConfig"} <= set(dir(package.tpu))


def test_what_needs_keras_2_says_how_to_get_it(package, monkeypatch):
    monkeypatch.setattr(_keras, "remedy", "pip install 'mnist_estimator[keras]'")
    with pytest.raises(
        KerasError, match=r"tf.old.cells.Cell .*pip install 'mnist_estimator\[keras"
    ):
        package.cells.Cell  # noqa: B018
    with pytest.raises(AttributeError, match="does not have") as error:
        package.layers.lost  # noqa: B018
    assert not isinstance(error.value, KerasError)
