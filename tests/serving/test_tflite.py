"""TensorFlow Lite models answer as the network that they were made of."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest

from mnist_estimator.compat import tf
from mnist_estimator.data.manifest import read_manifest
from mnist_estimator.runs import open_run
from mnist_estimator.scoring import evaluation
from mnist_estimator.serving import tflite


@pytest.mark.parametrize("quantize", [tflite.NONE, tflite.FLOAT16, tflite.INT8])
def test_tflite_models_answer_nearly_as_the_original(exported, tmp_path, quantize):
    run, data_dir = exported.run, exported.data_dir
    manifest = read_manifest(data_dir)
    path = str(tmp_path / "new/model.tflite")
    tflite.export(run, data_dir, manifest, path, quantize=quantize)
    original = evaluation.evaluate_alone(run, data_dir, manifest, "test")["accuracy"]
    assert tflite.accuracy(path, data_dir, manifest, "test") == pytest.approx(original, abs=0.1)
    share = os.path.getsize(path) / (4 * sum(v.size for v in weights(run)))
    expected = {tflite.NONE: 1, tflite.FLOAT16: 0.5, tflite.INT8: 0.25}[quantize]
    assert share == pytest.approx(expected, rel=0.1)


def weights(run: open_run.OpenRun) -> list[np.ndarray]:
    reader = tf.train.load_checkpoint(run.checkpoint)
    names = [n for n in reader.get_variable_to_shape_map() if "Adam" not in n]
    return [np.asarray(reader.get_tensor(name)) for name in names]


def test_int8_is_whole_numbers_from_end_to_end(exported, tmp_path):
    run, data_dir = exported.run, exported.data_dir
    path = str(tmp_path / "model.tflite")
    manifest = read_manifest(data_dir)
    tflite.export(run, data_dir, manifest, path, quantize=tflite.INT8)
    interpreter = tf.lite.Interpreter(model_path=path)
    types = {np.dtype(detail["dtype"]).name for detail in interpreter.get_tensor_details()}
    assert types <= {"uint8", "int8", "int32"}
    ((scale, zero),) = [detail["quantization"] for detail in interpreter.get_input_details()]
    assert (round(scale, 2), zero) == (1.0, 0)  # A pixel is given as it is.


def test_ranges_of_int8_are_those_of_the_data(exported, tmp_path):
    dataset = exported.run.record["dataset"] | {"brightest_pixel": 1}
    run = dataclasses.replace(exported.run, record=exported.run.record | {"dataset": dataset})
    path = str(tmp_path / "model.tflite")
    tflite.export(run, exported.data_dir, read_manifest(exported.data_dir), path, quantize="int8")
    interpreter = tf.lite.Interpreter(model_path=path)
    scales = {
        tuple(detail["shape"]): detail["quantization"][0]
        for detail in interpreter.get_tensor_details()
    }
    ((scale, zero),) = [detail["quantization"] for detail in interpreter.get_input_details()]
    assert (round(scale, 2), zero) == (1.0, 0)
    # Of the first convolution's outputs; for one pixel of 255 beside those of 2 it is above 10.
    assert 0 < scales[1, 28, 28, 32] < 1


@pytest.mark.parametrize("batch_bytes", [2**26, 7 * 28 * 28])
def test_int8_is_calibrated_from_all_over_the_split(exported, monkeypatch, batch_bytes):
    monkeypatch.setattr(tflite, "_CALIBRATION_IMAGES", 20)
    monkeypatch.setattr(tflite, "_BATCH_BYTES", batch_bytes)
    manifest = read_manifest(exported.data_dir)
    found = [batch["images"] for batch in tflite._calibration_inputs(exported.data_dir, manifest)]
    apart = -(-manifest.num_examples("train") // 20)
    every = [images for images, _ in tflite.batches(exported.data_dir, manifest, "train", apart)]
    assert apart > 1 and len(found) == len(every)
    for one, batch in zip(found[1:], every[1:], strict=True):
        np.testing.assert_array_equal(one, batch[:1])
