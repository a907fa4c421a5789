"""What is said of an export: where it is, and how it does on the test split."""

from __future__ import annotations

import types

import pytest

from mnist_estimator import InputError
from mnist_estimator.config import TrainConfig
from mnist_estimator.scoring import evaluation
from mnist_estimator.serving import (
    card_files,
    exports,
    loading,
    onnx_models,
    saved_model,
    tflite,
)


@pytest.fixture
def written() -> list[tuple]:
    """What was given for each card of a file."""
    return []


@pytest.fixture
def make_run(monkeypatch, written):
    """Returns a function that makes a stand-in for a run, of which nothing is really exported."""
    monkeypatch.setattr(saved_model, "export", lambda *given: f"{given[-1]}/20")
    monkeypatch.setattr(tflite, "export", lambda *given, quantize: None)
    monkeypatch.setattr(tflite, "accuracy", lambda *given: 0.5)
    monkeypatch.setattr(onnx_models, "export", lambda *given, signature, split: 0.5)
    # What they write is tested where they are.
    monkeypatch.setattr(loading, "of_file", lambda *given: given)
    monkeypatch.setattr(card_files, "beside_saved_model", lambda *given: None)
    monkeypatch.setattr(card_files, "beside_file", lambda *given: written.append(given))
    tested = {"accuracy": 0.75, "loss": 1.0, "examples": 9}
    monkeypatch.setattr(evaluation, "evaluate_alone", lambda *given, **more: tested)
    monkeypatch.setattr(evaluation, "serving_accuracy", lambda *given: 0.625)

    def make(*, precision="bfloat16", test=9, brightest=255, error=None, digest="own"):
        def data(data_dir, split="test"):
            if error:
                raise error
            known = {"digest": digest, "dataset": "squares"}
            return data_dir, types.SimpleNamespace(num_examples=lambda split: test, **known)

        return types.SimpleNamespace(
            params={},
            others=(),
            checkpoint="model.ckpt-20",
            config=TrainConfig(precision=precision, serving_precision="float32"),
            trained_on=types.SimpleNamespace(
                brightest_pixel=brightest, num_classes=10, digest="own"
            ),
            data=data,
        )

    return make


@pytest.mark.parametrize(
    "options", [{"precision": "float32"}, {"test": 0}, {"error": InputError("no data here")}]
)
def test_an_export_that_computes_alike_or_has_no_data_is_only_named(make_run, capsys, options):
    exports.export_saved_model(make_run(**options), "out")
    assert capsys.readouterr().out == "exported to out/20\n"


def test_an_export_that_computes_otherwise_is_compared(make_run, capsys):
    exports.export_saved_model(make_run(), "out")
    assert capsys.readouterr().out.splitlines()[1:] == [
        "test accuracy 0.6250 in float32, as exported; 0.7500 as trained"
    ]


@pytest.mark.parametrize(
    ("brightest", "takes"),
    [(255, "0 to 255, never from 0 to 1"), (16, "0 to 16, never from 0 to 1"), (1, "0 to 1")],
)
def test_a_tflite_model_is_compared_with_the_original(make_run, capsys, brightest, takes):
    exports.export_tflite(make_run(brightest=brightest), "m.tflite", "none")
    assert capsys.readouterr().out.splitlines() == [
        "exported to m.tflite",
        f"it takes pixels from {takes}",
        "test accuracy 0.5000, the original's 0.7500",
    ]


def test_a_tflite_model_needs_data(make_run):
    with pytest.raises(InputError, match="no data here"):
        exports.export_tflite(make_run(error=InputError("no data here")), "m.tflite", "int8")


@pytest.mark.parametrize(("signature", "dtype"), [("serving_uint8", "uint8"), ("other", "float32")])
def test_an_onnx_model_is_compared_with_the_original(make_run, written, capsys, signature, dtype):
    exports.export_onnx(make_run(), "m.onnx", signature, license="mit")
    assert capsys.readouterr().out.splitlines() == [
        "exported to m.onnx",
        "test accuracy 0.5000, the original's 0.7500",
    ]
    ((_, path, export, result, accuracy, license),) = written
    assert (path, export) == ("m.onnx", ("onnx", "m.onnx", dtype))
    assert (result.accuracy, accuracy, license) == (0.75, 0.5, "mit")


def test_without_a_test_split_an_onnx_model_is_checked_on_the_training_images(
    make_run, written, monkeypatch, capsys
):
    checked = []
    monkeypatch.setattr(
        onnx_models, "export", lambda *given, signature, split: checked.append(split)
    )
    exports.export_onnx(make_run(test=0), "m.onnx", "serving_default")
    assert checked == ["train"]
    assert capsys.readouterr().out == "exported to m.onnx\n"
    ((*_, result, accuracy, _),) = written
    assert (result, accuracy) == (None, None)


def test_a_card_has_no_test_result_of_other_data(make_run, written, capsys):
    run = make_run(digest="other")
    exports.export_onnx(run, "m.onnx", "serving_default", data_dir="other")
    exports.export_tflite(run, "m.tflite", "none", data_dir="other")
    for *_, result, accuracy, _ in written:
        assert (result, accuracy) == (None, None)
    found = capsys.readouterr()
    assert found.out.count("test accuracy 0.5000, the original's 0.7500") == len(written) == 2
    assert found.err.count("the model card has no test result: --data_dir has other data") == 2
