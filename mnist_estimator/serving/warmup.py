"""Warm-up requests in a SavedModel, as TensorFlow Serving reads them when it loads a model.

`assets.extra/tf_serving_warmup_requests` is a TFRecord file of `tensorflow.serving.PredictionLog`
messages (tensorflow/serving, `apis/prediction_log.proto`; "SavedModel Warmup" in its
documentation). The messages written here are declared below, field for field: the package that has
them, tensorflow-serving-api, requires a TensorFlow of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from mnist_estimator.compat import tf, v1

FILE = "tf_serving_warmup_requests"

_MESSAGE = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
_STRING = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
_BYTES = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
# Message -> field -> (number, type, repeated). A field whose message is not declared here holds its
# bytes, and a map is a repeated entry: on the wire these are the same.
_FIELDS = {
    "ModelSpec": {"signature_name": (3, _STRING, False)},
    "InputsEntry": {"key": (1, _STRING, False), "value": (2, _BYTES, False)},
    "PredictRequest": {"model_spec": (1, "ModelSpec", False), "inputs": (2, "InputsEntry", True)},
    "PredictLog": {"request": (1, "PredictRequest", False)},
    "ExampleList": {"examples": (1, _BYTES, True)},
    "Input": {"example_list": (1, "ExampleList", False)},
    "ClassificationRequest": {"model_spec": (1, "ModelSpec", False), "input": (2, "Input", False)},
    "ClassifyLog": {"request": (1, "ClassificationRequest", False)},
    "PredictionLog": {
        "classify_log": (2, "ClassifyLog", False),
        "predict_log": (6, "PredictLog", False),
    },
}
_PACKAGE = "mnist_estimator.serving"


def predict_request(signature: str, values: Mapping[str, np.ndarray]) -> bytes:
    """A serialized PredictionLog: a call of TensorFlow Serving's Predict with a signature."""
    log = _new("PredictionLog")
    request = log.predict_log.request
    request.model_spec.signature_name = signature
    for key, value in sorted(values.items()):
        request.inputs.add(key=key, value=tf.make_tensor_proto(value).SerializeToString())
    return log.SerializeToString(deterministic=True)


def classify_request(signature: str, examples: list[tf.train.Example]) -> bytes:
    """A serialized PredictionLog: a call of TensorFlow Serving's Classify with a signature."""
    log = _new("PredictionLog")
    request = log.classify_log.request
    request.model_spec.signature_name = signature
    for example in examples:
        serialized = example.SerializeToString(deterministic=True)
        request.input.example_list.examples.append(serialized)
    return log.SerializeToString(deterministic=True)


def write(path: str, requests: list[bytes]) -> None:
    """Writes requests as a TFRecord file."""
    with v1.python_io.TFRecordWriter(path) as writer:
        for request in requests:
            writer.write(request)


def _new(name: str) -> Any:
    descriptor = _POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}")
    return message_factory.GetMessageClass(descriptor)()


def _declare() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{_PACKAGE}.proto", package=_PACKAGE, syntax="proto3"
    )
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field_name, (number, kind, repeated) in fields.items():
            label = "LABEL_REPEATED" if repeated else "LABEL_OPTIONAL"
            field = message.field.add(
                name=field_name,
                number=number,
                label=descriptor_pb2.FieldDescriptorProto.Label.Value(label),
                type=_MESSAGE if isinstance(kind, str) else kind,
            )
            if isinstance(kind, str):
                field.type_name = f".{_PACKAGE}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


_POOL = _declare()
