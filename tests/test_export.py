"""The export command: what it says, and what it answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import programs
from support.exports import Exported, train_and_export

from mnist_estimator import export
from mnist_estimator.serving import signatures, tflite


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


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--quantize=int8"], "export: --quantize: found it without --format=tflite\n"),
        (["--model_dir=none"], "export: none/run.json: not found, expected the record of a run"),
        (["--format=onnx"], "export: flag --format=onnx: value should be one of"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, flags, line):
    stdout, stderr = command("export", *flags, cwd=tmp_path, code=2)
    assert stdout == ""
    assert stderr.startswith(line) and stderr.count("\n") == 1


def test_the_command_knows_its_quantizations():
    assert export._QUANTIZE == (tflite.NONE, tflite.FLOAT16, tflite.INT8)
