"""Features among predictions, and gradients cut to a norm."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_estimator.compat import estimator_v1, tf, v1
from mnist_estimator.compat.contrib import estimators


def model_fn(features, labels, mode):
    outputs = {"y": features["x"] * 2}
    export = {"serving_default": estimator_v1.export.PredictOutput({"y": outputs["y"]})}
    step = v1.train.get_or_create_global_step()
    return estimator_v1.EstimatorSpec(
        mode,
        predictions=outputs,
        loss=tf.reduce_sum(outputs["y"]),
        train_op=step.assign_add(1),
        export_outputs=export,
    )


def features():
    sparse = tf.SparseTensor([[0, 0], [1, 1]], ["a", "b"], [2, 2])
    return v1.data.Dataset.from_tensors({"x": [1.0, 2.0], "id": [7, 8], "tags": sparse})


@pytest.fixture(scope="module")
def estimator(tmp_path_factory):
    made = estimator_v1.Estimator(model_fn, str(tmp_path_factory.mktemp("model")))
    made.train(lambda: features().map(lambda f: (f, [0, 0])), steps=1)
    return made


def predicted(made):
    return list(made.predict(features))


def test_features_are_forwarded(estimator):
    made = estimators.forward_features(estimator, "id")
    assert predicted(made) == [{"y": 2.0, "id": 7}, {"y": 4.0, "id": 8}]
    made = estimators.forward_features(estimator, ["tags"], {"tags": "-"})
    assert [each["tags"].tolist() for each in predicted(made)] == [[b"a", b"-"], [b"-", b"b"]]
    with v1.Graph().as_default():
        spec = made.model_fn(
            v1.data.make_one_shot_iterator(features()).get_next(), None, "infer", None
        )
    assert set(spec.export_outputs["serving_default"].outputs) == {"y", "tags"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keys": ["none"]}, "'none' to forward, expected one of"),
        ({"keys": ["tags"]}, "'tags' is sparse"),
        ({}, "'tags' is sparse"),
        ({"keys": "id", "sparse_default_values": {"id": 0}}, "is not sparse"),
    ],
)
def test_what_cannot_be_forwarded_is_refused(estimator, options, message):
    with pytest.raises(ValueError, match=message):
        predicted(estimators.forward_features(estimator, **options))


def test_keys_are_strings_and_not_those_of_predictions(estimator):
    with pytest.raises(TypeError, match="expected strings"):
        estimators.forward_features(estimator, [1])
    again = estimators.forward_features(estimators.forward_features(estimator, "id"), "id")
    with pytest.raises(ValueError, match="'id' has the key of a prediction"):
        predicted(again)


def test_gradients_are_clipped(evaluate):
    w = v1.get_variable("w", initializer=np.array([3.0, 4.0], np.float32))
    optimizer = v1.train.MomentumOptimizer(1.0, 0.9)
    clipped = estimators.clip_gradients_by_norm(optimizer, 2.5)
    evaluate(clipped.minimize(tf.reduce_sum(w**2) / 2))
    np.testing.assert_allclose(evaluate(w), [1.5, 2.0], rtol=1e-5)
    assert clipped.get_slot_names() == ["momentum"]
    assert clipped.get_slot(w, "momentum") is optimizer.get_slot(w, "momentum")
