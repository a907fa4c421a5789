"""The export command: what it says, and what it answers."""

from __future__ import annotations

import importlib.util
import json
import re
import types
from pathlib import Path

import pytest
from support import programs
from support.exports import Exported, train_and_export

from mnist_estimator import InputError, export
from mnist_estimator.serving import onnx_models, signatures, tflite


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return train_and_export(tmp_path_factory.mktemp("exported"))


def command(*flags: str, cwd: Path, code: int = 0, run=programs.run_forked) -> tuple[str, str]:
    done = run(programs.command(*flags), cwd=cwd)
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def test_the_command_says_what_it_wrote_and_how_good_it_is(exported, tmp_path):
    run = exported.run
    flags = ["export", f"--model_dir={run.config.model_dir}"]
    output = f"--output={tmp_path}/saved"
    stdout, stderr = command(*flags, output, cwd=tmp_path, run=programs.run)
    step = run.checkpoint.rpartition("-")[2]
    assert stdout == f"exported to {tmp_path}/saved/{step}\n"
    assert stderr == ""
    (folder,) = (tmp_path / "saved").iterdir()
    model = json.loads((folder / "assets.extra/model.json").read_text())
    assert model["signatures"] == list(signatures.EXPORTED)
    options = ["--format=tflite", "--quantize=int8", f"--output={tmp_path}/m.tflite"]
    stdout, stderr = command(*flags, *options, cwd=tmp_path)
    assert stdout.splitlines()[0] == f"exported to {tmp_path}/m.tflite"
    assert stdout.splitlines()[1] == "it takes pixels from 0 to 255, never from 0 to 1"
    assert stdout.splitlines()[2].startswith("test accuracy ")
    assert ", the original's " in stdout
    assert stderr == ""


def test_an_onnx_model_answers_as_well_as_the_original(exported, tmp_path):
    flags = [f"--model_dir={exported.run.config.model_dir}", "--format=onnx", "--views=5"]
    output = f"--output={tmp_path}/m.onnx"
    stdout, stderr = command("export", *flags, output, "--license=mit", cwd=tmp_path)
    first, second = stdout.splitlines()
    assert first == f"exported to {tmp_path}/m.onnx"
    found = re.fullmatch(r"test accuracy (\d\.\d{4}), the original's (.*)", second)
    assert found[1] == found[2]
    assert stderr == ""
    assert 'license: "mit"' in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--quantize=int8"], "export: --quantize: found it without --format=tflite\n"),
        (["--model_dir=none"], "export: none/run.json: not found, expected the record of a run"),
        (["--format=coreml"], "export: flag --format=coreml: value should be one of"),
        (["--signature=classify"], "export: --signature: found it without --format=onnx\n"),
        (
            ["--format=onnx", "--signature=predict_images"],
            "export: --signature: found predict_images, expected serving_default or serving_uint8: "
            "onnxruntime decodes no pictures",
        ),
        (["--format=onnx", "--quantize=int8"], "export: --quantize: found it without --format=t"),
        (["--format=onnx", "--serving_precision=bfloat16"], "export: --serving_precision: found"),
        (["--license=My own"], "export: --license: found 'My own', expected a name as the Hugg"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, flags, line):
    stdout, stderr = command("export", *flags, cwd=tmp_path, code=2)
    assert stdout == ""
    assert stderr.startswith(line) and stderr.count("\n") == 1


def test_the_command_knows_its_quantizations():
    assert export._QUANTIZE == (tflite.NONE, tflite.FLOAT16, tflite.INT8)


def test_the_command_knows_the_signatures():
    assert export._SIGNATURES == signatures.EXPORTED
    assert export._OF_PIXELS == onnx_models.SIGNATURES


@pytest.mark.parametrize("name", ["onnx", "onnxruntime"])
def test_a_package_that_is_missing_is_named(monkeypatch, name):
    monkeypatch.setattr(importlib.util, "find_spec", lambda asked: None if asked == name else 1)
    given = types.SimpleNamespace(
        format="onnx", quantize="none", serving_precision=None, signature=None, license="mit"
    )
    with pytest.raises(InputError, match=rf"^{name} not found; pip install 'mnist_estimator\[onn"):
        export._check_flags(given)
