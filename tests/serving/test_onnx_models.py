"""ONNX models answer as `predict` does, and one that does not is not written."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from support.exports import ask
from support.short_runs import train

from mnist_estimator import RunError
from mnist_estimator.compat import tf
from mnist_estimator.data.manifest import read_manifest
from mnist_estimator.runs import checkpoints, ensemble
from mnist_estimator.scoring import evaluation
from mnist_estimator.serving import onnx_models

KEYS = ["classes", "probabilities", "logits"]


@pytest.fixture(scope="module")
def write(exported, tmp_path_factory):
    """Returns a function that exports a run; it returns the path and the accuracy."""

    def write(run=exported.run, **options):
        path = str(tmp_path_factory.mktemp("onnx") / "new/model.onnx")
        manifest = read_manifest(exported.data_dir)
        return path, onnx_models.export(run, exported.data_dir, manifest, path, **options)

    return write


@pytest.fixture(scope="module")
def floats(write):
    return write()[0]


@pytest.fixture(scope="module")
def bytes_(write):
    return write(signature="serving_uint8")[0]


def run_model(path: str, images: np.ndarray) -> dict[str, np.ndarray]:
    answers = onnxruntime.InferenceSession(path).run(KEYS, {"images": images})
    return dict(zip(KEYS, answers, strict=True))


def evaluated(exported, run) -> float:
    manifest = read_manifest(exported.data_dir)
    return evaluation.evaluate_alone(run, exported.data_dir, manifest, "test")["accuracy"]


@pytest.mark.smoke
@pytest.mark.parametrize("signature", ["serving_default", "serving_uint8"])
def test_the_answers_are_those_of_the_savedmodel(exported, floats, bytes_, signature):
    dtype, path = {"serving_default": (np.float32, floats), "serving_uint8": (np.uint8, bytes_)}[
        signature
    ]
    images = exported.test_data()[0].astype(dtype)
    assert len(run_model(path, images[:0])["classes"]) == 0
    for count in (len(images), 1):
        found = run_model(path, images[:count])
        expected = ask(exported.path, signature, images=tf.constant(images[:count]))
        for key in KEYS:
            assert found[key].dtype == expected[key].numpy().dtype
            np.testing.assert_allclose(found[key], expected[key], rtol=0, atol=1e-5)


def test_images_from_0_to_1_are_understood(exported, floats):
    images = exported.test_data()[0].astype(np.float32)
    found, expected = (run_model(floats, each)["logits"] for each in (images / 255, images))
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("pixel", [np.nan, np.inf, -1, 300, 1e30, 1.5])
def test_what_cannot_be_pixels_has_no_class_and_harms_no_other(exported, floats, pixel):
    images = exported.test_data()[0][:3].astype(np.float32)
    alone = run_model(floats, images)
    images[1] = 0
    images[1, 5, 5] = pixel
    found = run_model(floats, images)
    assert found["classes"].tolist() == [alone["classes"][0], -1, alone["classes"][2]]
    assert not found["probabilities"][1].any() and not found["logits"][1].any()
    np.testing.assert_allclose(found["logits"][[0, 2]], alone["logits"][[0, 2]], atol=1e-5)


def test_the_file_says_what_it_is(exported, floats):
    model = onnx.load(floats)
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert said["checkpoint_sha256"] == checkpoints.digest(exported.run.checkpoint)
    assert json.loads(said["class_names"]) == ["north", "east", "south", "west"]
    assert json.loads(said["signatures"]) == ["serving_default"]
    assert "0 to 1" in said["images"]
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 18)]
    assert model.model_version == checkpoints.step_of(exported.run.checkpoint)
    (given,) = model.graph.input
    sizes = [each.dim_param or each.dim_value for each in given.type.tensor_type.shape.dim]
    assert (given.name, sizes) == ("images", ["N", 28, 28, 1])
    assert [each.name for each in model.graph.output] == KEYS


def test_the_same_model_is_the_same_bytes(write, floats):
    with open(floats, "rb") as one, open(write()[0], "rb") as other:
        assert one.read() == other.read()


def test_several_networks_with_several_views_are_one_model(exported, write, tmp_path):
    options = {"model": "softmax", "precision": "float32", "deterministic": False}
    train(tmp_path / "run", exported.data_dir, max_steps=3, **options)
    model_dirs = [exported.run.config.model_dir, str(tmp_path / "run")]
    run = ensemble.open_runs(dict.fromkeys(model_dirs, ""), views=5)
    run = dataclasses.replace(run, options={**run.options, "temperature": 1.5})
    path, accuracy = write(run)
    assert accuracy == pytest.approx(evaluated(exported, run))
    probabilities = run_model(path, exported.test_data()[0].astype(np.float32))["probabilities"]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_the_accuracy_is_that_of_the_split(exported, write):
    assert write()[1] == pytest.approx(evaluated(exported, exported.run))


def test_a_model_that_answers_otherwise_is_not_written(exported, tmp_path, monkeypatch):
    convert = onnx_models.onnx_graph.convert

    def flawed(*given):
        graph = convert(*given)
        bias = next(each for each in graph.initializer if "logits/BiasAdd" in each.name)
        changed = onnx.numpy_helper.to_array(bias) + np.arange(4, dtype=np.float32) / 100
        bias.CopyFrom(onnx.numpy_helper.from_array(changed, bias.name))
        return graph

    monkeypatch.setattr(onnx_models.onnx_graph, "convert", flawed)
    path, manifest = str(tmp_path / "model.onnx"), read_manifest(exported.data_dir)
    with pytest.raises(RunError, match=r"off those of predict by 0.0.*; nothing was written"):
        onnx_models.export(exported.run, exported.data_dir, manifest, path)
    assert os.listdir(tmp_path) == []


def test_a_damaged_shard_is_one_line(exported, tmp_path):
    data = Path(shutil.copytree(exported.data_dir, tmp_path / "data"))
    manifest, path = read_manifest(str(data)), str(tmp_path / "model.onnx")
    (shard, *_) = sorted(data.glob("test-*"))
    content = bytearray(shard.read_bytes())
    content[40] ^= 1
    shard.write_bytes(content)
    with pytest.raises(RunError, match=r"data: .*test-.*; stopped; "):
        onnx_models.export(exported.run, str(data), manifest, path)
    shard.unlink()
    with pytest.raises(RunError, match=r"data: .*test-.*; stopped; "):
        onnx_models.export(exported.run, str(data), manifest, path)
    assert not Path(path).exists()
