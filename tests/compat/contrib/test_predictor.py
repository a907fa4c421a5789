"""Saved models and estimators as functions."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_estimator.compat import estimator_v1, tf, v1
from mnist_estimator.compat.contrib import predictor


def model_fn(features, labels, mode):
    w = v1.get_variable("w", [], initializer=v1.constant_initializer(2.0))
    outputs = {"y": features["x"] * w}
    exports = {"serving_default": estimator_v1.export.PredictOutput(outputs)}
    exports["twice"] = estimator_v1.export.PredictOutput({"z": features["x"] * w * 2})
    step = v1.train.get_or_create_global_step()
    return estimator_v1.EstimatorSpec(
        mode,
        predictions=outputs,
        loss=tf.reduce_sum(outputs["y"]),
        train_op=v1.group(w.assign_add(1.0), step.assign_add(1)),
        export_outputs=exports,
    )


def receiver():
    x = v1.placeholder(tf.float32, [None], name="x")
    return estimator_v1.export.ServingInputReceiver({"x": x}, {"given": x})


def input_fn():
    return v1.data.Dataset.from_tensors(({"x": [1.0]}, [0])).repeat()


@pytest.fixture
def export_dir(tmp_path):
    """A model that gives (x + 1) by the default signature, and (x * 3) by another."""
    folder = str(tmp_path / "export")
    with v1.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], name="input")
        one = v1.get_variable("one", [], initializer=v1.ones_initializer())
        session.run(v1.global_variables_initializer())
        make = v1.saved_model.build_signature_def
        info = v1.saved_model.build_tensor_info
        signatures = {
            "serving_default": make({"x": info(x)}, {"y": info(x + one)}, "predict"),
            "default_input_alternative:old": make({"x": info(x)}, {"y": info(x * 3)}, "predict"),
        }
        builder = v1.saved_model.Builder(folder)
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()
    return folder


def test_a_saved_model(export_dir):
    predict = predictor.from_saved_model(export_dir)
    assert predict({"x": [1.0, 2.0]})["y"].tolist() == [2, 3]
    assert list(predict.feed_tensors) == ["x"] and list(predict.fetch_tensors) == ["y"]
    old = predictor.from_saved_model(export_dir, signature_def_key="old")
    assert old({"x": np.ones(2)})["y"].tolist() == [3, 3]
    names = {"input_names": {"a": "input:0"}, "output_names": {"b": "input:0"}}
    assert predictor.from_saved_model(export_dir, **names)({"a": [4.0]})["b"].tolist() == [4]


def test_wrong_uses_of_a_saved_model_are_refused(export_dir):
    with pytest.raises(ValueError, match="'none', expected one of .*serving_default"):
        predictor.from_saved_model(export_dir, "none")
    with pytest.raises(ValueError, match="expected both"):
        predictor.from_saved_model(export_dir, input_names={"a": "input:0"})
    with pytest.raises(ValueError, match="at most"):
        predictor.from_saved_model(export_dir, "a", signature_def=object())
    with pytest.raises(ValueError, match=r"\['z'\], expected of \['x'\]"):
        predictor.from_saved_model(export_dir)({"x": [1.0], "z": 2})
    with pytest.raises(NotImplementedError, match="from_estimator"):
        predictor.from_contrib_estimator(None, None)


def test_an_estimator(tmp_path):
    estimator = estimator_v1.Estimator(model_fn, str(tmp_path))
    with pytest.raises(ValueError, match="no checkpoint"):
        predictor.from_estimator(estimator, receiver)
    estimator.train(input_fn, steps=3)
    predict = predictor.from_estimator(estimator, receiver)
    assert predict({"given": [1.0, 2.0]})["y"].tolist() == [5, 10]
    twice = predictor.from_estimator(estimator, receiver, output_key="twice")
    assert twice({"given": [1.0]})["z"].tolist() == [10]
    with pytest.raises(KeyError, match="'none', expected one of"):
        predictor.from_estimator(estimator, receiver, output_key="none")
