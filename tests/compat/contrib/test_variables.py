"""Variables of tf.contrib.framework: collections, finding, assigning."""

from __future__ import annotations

import types

import numpy as np
import pytest

from mnist_estimator.compat import v1
from mnist_estimator.compat.contrib import arg_scopes, variables


@pytest.fixture
def made():
    with v1.variable_scope("a"):
        w = variables.model_variable("w", [2], initializer=v1.zeros_initializer())
        x = variables.variable("x", [3], collections=["mine", "variables"], trainable=False)
    with v1.variable_scope("b"):
        y = variables.model_variable("w", [2, 1], initializer=v1.ones_initializer())
    return {"a/w": w, "a/x": x, "b/w": y}


def names(found):
    return [variable.op.name for variable in found]


def test_collections_and_finding(made):
    local = variables.local_variable(1.0, name="local")
    wide = variables.global_variable(2.0, name="wide")
    assert names(v1.global_variables()) == ["a/w", "a/x", "b/w", "wide"]
    assert names(v1.local_variables()) == names([local]) == ["local"]
    assert names(v1.trainable_variables()) == ["a/w", "b/w"]
    assert names(v1.get_collection("mine")) == ["a/x"]
    assert names(variables.get_model_variables()) == ["a/w", "b/w"]
    assert names(variables.get_variables("a")) == ["a/w", "a/x"]
    assert names(variables.get_variables(suffix="w")) == ["a/w", "b/w"]
    assert names(variables.get_variables_by_name("w", "b")) == ["b/w"]
    assert names(variables.get_trainable_variables("b")) == ["b/w"]
    assert names(variables.get_variables_to_restore(["a"], exclude=["a/x"])) == ["a/w"]
    assert names(variables.get_variables_to_restore(exclude=["a"])) == ["b/w", "wide"]
    assert variables.get_unique_variable("a/w") is made["a/w"]
    variables.add_model_variable(wide)
    variables.add_model_variable(wide)
    assert names(variables.get_model_variables()) == ["a/w", "b/w", "wide"]
    with v1.variable_scope("a") as scope:
        assert names(variables.get_variables(scope)) == ["a/w", "a/x"]


def test_a_scope_gives_the_device():
    with arg_scopes.arg_scope([variables.model_variable], device="/cpu:0"):
        assert variables.model_variable("w", [1]).device == "/device:CPU:0"


def test_errors(made):
    with pytest.raises(ValueError, match="no variable a$"):
        variables.get_unique_variable("a")
    with pytest.raises(TypeError, match="'a'"):
        variables.get_variables_to_restore(include="a")
    with pytest.raises(ValueError, match="empty"):
        variables.assign_from_checkpoint_fn("x", [])


def test_values_are_assigned(made, evaluate):
    operation, feed = variables.assign_from_values({"b/w": np.array([4.0, 5.0])})
    assign = variables.assign_from_values_fn({"a/w": np.array([6.0, 7.0])})
    evaluate(operation, feed)
    np.testing.assert_array_equal(evaluate(made["b/w"]), [[4], [5]])
    assign(types.SimpleNamespace(run=evaluate))
    np.testing.assert_array_equal(evaluate(made["a/w"]), [6, 7])


def test_checkpoints_are_assigned(made, tmp_path):
    values = {name: np.full(made[name].shape.as_list(), 3.5) for name in made}
    with v1.Session() as session:
        session.run(v1.global_variables_initializer())
        for name, variable in made.items():
            variable.load(values[name], session)
        path = v1.train.Saver().save(session, str(tmp_path / "model"))
        other = variables.model_variable("other", [2])
        session.run(v1.global_variables_initializer())

        operation, feed = variables.assign_from_checkpoint(path, {"a/w": [made["a/w"], other]})
        session.run(operation, feed)
        assert session.run([made["a/w"], other])[1].tolist() == [3.5, 3.5]
        assert session.run(made["b/w"]).tolist() == [[1], [1]]

        restore = variables.assign_from_checkpoint_fn(
            path, [made["b/w"], other], ignore_missing_vars=True
        )
        restore(session)
        assert session.run(made["b/w"]).tolist() == [[3.5], [3.5]]

        with pytest.raises(ValueError, match="has no variable other"):
            variables.assign_from_checkpoint(path, [other])
        with pytest.raises(ValueError, match=r"a/x has the shape \(3,\).*other \(2,\)"):
            variables.assign_from_checkpoint(path, {"a/x": other})
        assert variables.assign_from_checkpoint_fn(path, [other], ignore_missing_vars=True) is None
