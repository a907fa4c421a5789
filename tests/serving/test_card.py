"""The text of a model card: what readers and the hub find in it, whatever the record holds."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import yaml

from mnist_estimator.data.manifest import TrainedOn
from mnist_estimator.serving import card, loading

NASTY = "a|b*c\n# x <b>`d`</b> [e](f) \"g\" \\ 'h': & é \U0001f600"
CONFUSION = np.array([[8, 2], [1, 9]])
MODEL = {"temperature": 1.0, "views": 1, "averages": False, "checkpoint_sha256": "c" * 64}


@pytest.fixture
def facts() -> card.Card:
    return card.Card(
        step=5000,
        data=TrainedOn((28, 28, 1), 2, ("zero", "one"), 255, "digit", "d" * 64),
        model=MODEL,
        record={
            "dataset": {
                "name": "mnist",
                "sources": {"train_images": "e" * 64},
                "split_rule": "first 5000",
                "examples": {"train": 55000, "validation": 5000, "test": 20},
            },
            "versions": {"tensorflow": "2.21.0"},
            "compute_dtype": "bfloat16",
        },
        flags=[{"model": "cnn", "learning_rate": 0.001}],
        result=card.Result(20, 0.85, 0.31, CONFUSION, "bfloat16"),
        export=loading.Export("onnx", "model.onnx", "float32", "f" * 64),
        accuracy=0.9,
        picture="model.onnx.confusion_matrix.png",
        license="mit",
    )


def front(text: str) -> dict:
    return yaml.safe_load(text.split("---\n")[1])


def test_the_hub_finds_what_it_reads(facts):
    found = front(card.text(facts))
    assert (found["license"], found["library_name"]) == ("mit", "onnx")
    assert found["datasets"] == ["ylecun/mnist"] and found["metrics"] == ["accuracy"]
    assert {"onnx", "image-classification"} <= set(found["tags"])
    ((result,),) = (model["results"] for model in found["model-index"])
    assert result["dataset"] == {"name": "MNIST", "type": "ylecun/mnist", "split": "test"}
    assert result["metrics"] == [{"type": "accuracy", "value": 0.9}]
    assert result["task"] == {"type": "image-classification"}


@pytest.mark.parametrize(
    "line",
    [
        "| test accuracy of this export | 0.9000 |",
        "| test accuracy as trained, in bfloat16 | 0.8500 |",
        "| 95% interval, for the number of examples | 0.6396 to 0.9476 |",
        "| zero | 0.8889 | 0.8000 | 0.8421 | 10 |",
        "| one | 0.8182 | 0.9000 | 0.8571 | 10 |",
        "![Confusion matrix: a row for each true class](model.onnx.confusion_matrix.png)",
        "| train examples | 55,000 |",
        f"| sha256 of the manifest | `{'d' * 64}` |",
        f"| sha256 of the source, train\\_images | `{'e' * 64}` |",
        "| learning\\_rate | 0\\.001 |",
        "| tensorflow | 2\\.21\\.0 |",
        f"| sha256 of the checkpoint | `{'c' * 64}` |",
        "# cnn on MNIST",
        "- Input: float32 images, each from 0 to 255 or from 0 to 1.",
    ],
)
def test_a_reader_finds(facts, line):
    assert line in card.text(facts).splitlines()


def test_nothing_in_a_record_has_a_meaning(facts):
    data = dataclasses.replace(facts.data, class_names=(NASTY, "one"))
    dataset = facts.record["dataset"] | {"name": NASTY, "split_rule": NASTY, "examples": "many"}
    record = facts.record | {"dataset": dataset, "versions": {NASTY: NASTY}}
    flags = [{"model": NASTY, "learning_rate": NASTY}]
    text = card.text(dataclasses.replace(facts, data=data, record=record, flags=flags))
    found = front(text)
    assert found["model-index"][0]["name"] == f"{NASTY} on {NASTY}"
    assert found["model-index"][0]["results"][0]["dataset"]["type"] == NASTY
    assert "datasets" not in found
    body = re.sub("```.*?```|<!--.*", "", text.split("---\n", 2)[2], flags=re.DOTALL)
    assert not re.search(r"(?m)(?<!\\)[*<[]|^# x", body.replace("![Confusion", ""))
    tables = [line for line in body.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in tables} == {3, 6}


@pytest.mark.parametrize("text", [NASTY, "", "\x85\u2028\ufeff\ufffe\x7f", "- a: {b}", "null"])
def test_a_quoted_text_is_read_back(text):
    assert yaml.safe_load(f"a: {card.quoted(text)}") == {"a": text}


def test_without_a_result_there_is_none(facts):
    text = card.text(dataclasses.replace(facts, result=None, accuracy=None, picture=""))
    assert "No test result of this model is on record." in text
    assert "model-index" not in front(text)
    assert "NaN" not in text and "nan" not in text


def test_the_accuracy_as_trained_stands_in_for_one_that_was_not_measured(facts):
    found = front(card.text(dataclasses.replace(facts, accuracy=None)))
    assert found["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.85


def test_of_several_networks_all_flags_are_told(facts):
    several = [*facts.flags, {"model": "dnn", "learning_rate": 0.5}]
    text = card.text(dataclasses.replace(facts, flags=several))
    assert "# cnn\\+dnn \\(2 networks\\) on MNIST" in text
    assert "| learning\\_rate | 0\\.001 | 0\\.5 |" in text
    assert "2 networks answer together" in text


def test_a_temperature_is_told(facts):
    model = MODEL | {"temperature": 1.5}
    assert "divided by 1.5000" in card.text(dataclasses.replace(facts, model=model))


@pytest.mark.parametrize(
    ("accuracy", "examples", "low", "high"),
    [(0.5, 10, 0.2366, 0.7634), (1.0, 20, 0.8389, 1.0), (0.99, 10_000, 0.9879, 0.9918)],
)
def test_the_interval_of_an_accuracy(accuracy, examples, low, high):
    found = card.interval(accuracy, examples)
    assert found == pytest.approx((low, high), abs=1e-4)


def test_a_card_that_was_changed_is_nobodys(facts):
    content = card.text(facts).encode()
    assert card.is_ours(content)
    for other in (content.replace(b"0.9", b"0.99", 1), content + b"\n", b"", b"# My model\n"):
        assert not card.is_ours(other)


def test_steps_that_were_trained_otherwise_are_said(facts):
    assert "were trained with other" not in card.text(facts)
    text = card.text(dataclasses.replace(facts, earlier=(3500, ["learning_rate", "max_steps"])))
    line = "The steps up to 3,500 were trained with other values of learning\\_rate, max\\_steps."
    assert line in text.splitlines()
