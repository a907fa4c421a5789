"""Warm-up requests, as TensorFlow Serving parses them."""

from __future__ import annotations

from pathlib import Path

from support.exports import ask

from mnist_estimator.compat import tf, v1
from mnist_estimator.serving import signatures, warmup


def test_warm_up_requests_can_be_parsed_and_answered(exported):
    """With messages declared a second time, as TensorFlow Serving's own have more fields."""
    file = Path(exported.path, "assets.extra", warmup.FILE)
    logs = list(v1.io.tf_record_iterator(str(file)))
    assert len(logs) == len(signatures.EXPORTED)
    asked = set()
    for log in logs:
        ((kind, request_log),) = wire(log)
        ((_, request),) = wire(request_log)
        fields = wire(request)
        ((number, name),) = wire(fields[0][1])
        assert (fields[0][0], number) == (1, 3)  # model_spec, its signature_name.
        asked.add((kind, name.decode()))
        if kind == 6:  # predict_log: a map of TensorProtos.
            ((_, key), (_, value)) = wire(fields[1][1])
            array = tf.make_ndarray(type(tf.make_tensor_proto(0)).FromString(value))
            answer = ask(exported.path, name.decode(), **{key.decode(): tf.constant(array)})
            assert len(answer["classes"]) == 1
        else:
            ((_, example_list),) = wire(fields[1][1])
            ((_, example),) = wire(example_list)
            assert "image_raw" in tf.train.Example.FromString(example).features.feature
    assert asked == {
        (6, "serving_default"), (6, "serving_uint8"), (6, "predict_images"), (2, "classify")
    }  # fmt: skip


def wire(message: bytes) -> list[tuple[int, bytes]]:
    """(number, content) of a message's fields, which all have a length."""
    fields, place = [], 0

    def number() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = message[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while place < len(message):
        key, length = number(), number()
        assert key & 7 == 2
        fields.append((key >> 3, message[place : place + length]))
        place += length
    return fields
