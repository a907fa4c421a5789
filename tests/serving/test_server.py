"""What a server answers: TensorFlow Serving's format, and a line for what is wrong."""

from __future__ import annotations

import asyncio
import base64
import json

import numpy as np
import pytest
from support.exports import load, picture, requests

from mnist_estimator import InputError
from mnist_estimator.compat import tf
from mnist_estimator.serving import server


@pytest.fixture
def served(exported):
    return load(exported.path).signatures


def test_images_are_answered_as_the_model_does(exported, served):
    images = exported.test_data()[0][:3]
    found = server.answer(served, {"instances": images.tolist()})["predictions"]
    expected = load(exported.path).signatures["serving_default"](images=images.astype(np.float32))
    for key, values in expected.items():
        assert [row[key] for row in found] == values.numpy().tolist()
    named = {"signature_name": "serving_uint8", "instances": [{"images": images[0].tolist()}]}
    (row,) = server.answer(served, json.dumps(named).encode())["predictions"]
    assert row["classes"] == found[0]["classes"]


def test_pictures_and_examples_are_base64(exported, served):
    images = exported.test_data()[0][:2]
    whole, bad = picture(images[0]), b"hello"
    instances = [{"image_bytes": {"b64": base64.b64encode(each).decode()}} for each in (whole, bad)]
    asked = {"signature_name": "predict_images", "instances": instances}
    good, wrong = server.answer(served, asked)["predictions"]
    assert (good["problem"], wrong["classes"]) == ("", -1) and wrong["problem"]
    example = requests(images[:1])["classify/records"][0]
    asked = {
        "signature_name": "classify",
        "instances": [{"b64": base64.b64encode(example).decode()}],
    }
    (row,) = server.answer(served, asked)["predictions"]
    assert row["classes"] == ["north", "east", "south", "west"]
    assert json.loads(json.dumps(row)) == row


def test_an_answer_that_is_not_a_number_is_none(served, monkeypatch):
    def undefined(**given):
        (values,) = given.values()
        probabilities = np.full([len(values), 2], 0.5)
        probabilities[np.asarray(values)[:, 0, 0] == 1] = np.nan
        return {"probabilities": tf.constant(probabilities), "classes": tf.zeros([len(values)])}

    undefined.structured_input_signature = served["serving_default"].structured_input_signature
    monkeypatch.setattr(server, "_BATCH", 2)
    images = np.zeros([4, 28, 28])
    answered = {"serving_default": undefined}
    assert len(server.answer(answered, {"instances": images.tolist()})["predictions"]) == 4
    images[3] = 1
    with pytest.raises(InputError, match="instance 3: the network's answer is not a number"):
        server.answer(answered, {"instances": images.tolist()})


def test_many_images_are_answered_a_batch_at_a_time(exported, served, monkeypatch):
    monkeypatch.setattr(server, "_BATCH", 4)
    images = exported.test_data()[0][:10]
    asked = {"instances": images.tolist()}
    found = server.answer(served, asked)["predictions"]
    expected = load(exported.path).signatures["serving_default"](images=images.astype(np.float32))
    assert [row["classes"] for row in found] == expected["classes"].numpy().tolist()
    np.testing.assert_allclose([row["logits"] for row in found], expected["logits"], atol=1e-4)
    monkeypatch.setattr(server, "MOST_INSTANCES", 9)
    with pytest.raises(InputError, match="found 10 instances, expected at most 9"):
        server.answer(served, asked)


def test_no_images_have_no_answers(served):
    assert server.answer(served, {"instances": []}) == {"predictions": []}


BLANK = np.zeros([1, 28, 28, 1]).tolist()


@pytest.mark.parametrize(
    ("request_", "line"),
    [
        (b"<html>", "not JSON"),
        (b"[" * 10**6, "not JSON"),
        (b"\xff", "not JSON"),
        ([BLANK], "expected an object with a list of instances"),
        ({"instances": 5}, "expected an object with a list of instances"),
        ({"instances": BLANK, "signature_name": "other"}, "expected one of classify, predict_im"),
        ({"instances": BLANK, "signature_name": []}, "expected one of classify"),
        ({"instances": BLANK[0]}, r"expected images \[N,28,28,1\]"),
        ({"instances": [BLANK[0], BLANK[0][1:]]}, "images: expected instances of one shape"),
        ({"instances": [[[None]]]}, "images: expected numbers"),
        ({"instances": [[["0"]]]}, "images: expected numbers"),
        ({"instances": [[[True]]]}, "images: expected numbers"),
        ({"instances": [[[10**99]]]}, "images: expected numbers"),
        ({"instances": np.full([1, 28, 28], np.nan).tolist()}, "expected pixels from 0 to 1"),
        ({"instances": np.full([1, 28, 28], -9).tolist()}, "expected pixels from 0 to 1"),
        ({"instances": [[[256]]], "signature_name": "serving_uint8"}, "whole numbers from 0"),
        ({"instances": [[[1.5]]], "signature_name": "serving_uint8"}, "whole numbers from 0"),
        ({"instances": [{"b64": "%"}], "signature_name": "predict_images"}, "expected base64"),
        ({"instances": [7], "signature_name": "predict_images"}, 'expected {"b64"'),
    ],
)
def test_a_wrong_request_is_a_line(served, request_, line):
    with pytest.raises(InputError, match=line):
        server.answer(served, request_)


def through(most: int, *chunks: bytes) -> tuple[list[bytes], list[dict]]:
    """Sends chunks of a body through `Limited`: what arrives, and what is answered."""
    arrived, answered = [], []
    messages = iter(
        {"type": "http.request", "body": chunk, "more_body": more}
        for more, chunk in zip([True] * (len(chunks) - 1) + [False], chunks, strict=True)
    )

    async def receive():
        return next(messages, {"type": "http.disconnect"})

    async def send(message):
        answered.append(message)

    async def app(scope, receive, send):
        arrived.append((await receive())["body"])
        assert (await receive())["type"] == "http.disconnect"

    limited = server.Limited(app, most_bytes=most)
    asyncio.run(limited({"type": "http"}, receive, send))
    return arrived, answered


def test_a_request_up_to_the_limit_arrives_whole():
    assert through(6, b"abc", b"", b"def") == ([b"abcdef"], [])


def test_a_longer_request_is_refused():
    arrived, answered = through(5, b"abc", b"def", b"ghi")
    assert arrived == []
    assert answered[0]["status"] == 413
    assert json.loads(answered[1]["body"]) == {"error": "longer than 5 bytes"}


def test_of_a_request_without_an_end_four_limits_are_read():
    read = []

    async def receive():
        read.append(3)
        return {"type": "http.request", "body": b"abc", "more_body": True}

    async def send(message):
        del message

    asyncio.run(server.Limited(None, most_bytes=6)({"type": "http"}, receive, send))
    assert sum(read) == 27


def test_a_client_that_goes_is_not_answered():
    async def gone():
        return {"type": "http.disconnect"}

    limited = server.Limited(None, most_bytes=5)
    assert asyncio.run(limited({"type": "http"}, gone, None)) is None
