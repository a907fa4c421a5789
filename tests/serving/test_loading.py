"""The lines that a model card shows: they are run as they stand."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest

from mnist_estimator.serving import exports, loading


@pytest.fixture(scope="module")
def folders(exported, tmp_path_factory) -> dict[str, Path]:
    """A folder with an export of each kind, and with its card."""
    lite, onnx, whole = (tmp_path_factory.mktemp("card") for _ in range(3))
    exports.export_tflite(exported.run, str(lite / 'it\'s "8".tflite'), "int8")
    exports.export_onnx(exported.run, str(onnx / "a`b.onnx"), "serving_uint8")
    exports.export_onnx(exported.run, str(whole / "model.onnx"), "serving_default")
    return {"saved": Path(exported.path), "lite": lite, "bytes": onnx, "floats": whole}


@pytest.mark.parametrize("kind", ["saved", "lite", "bytes", "floats"])
def test_the_lines_of_a_card_load_the_model(folders, kind, monkeypatch, capsys):
    (lines,) = blocks(folders[kind], "python")
    assert len(lines.splitlines()) == 5
    monkeypatch.chdir(folders[kind])
    exec(lines, {})
    assert re.match(r"\[[0-3]\] \[\[", capsys.readouterr().out)


def test_the_lines_for_a_server_name_the_folder(folders, tmp_path, monkeypatch):
    (lines,) = blocks(folders["saved"], "sh")
    docker, make, ask = re.split(r"\n(?=python|curl)", lines.strip())
    assert shlex.split(docker)[-2].endswith(f":/models/model/{folders['saved'].name}")
    monkeypatch.chdir(tmp_path)
    assert os.system(make) == 0
    assert "request.json" in ask
    assert Path("request.json").read_text().count("[0]") == 28 * 28


def blocks(folder: Path, language: str) -> list[str]:
    card = (folder / "README.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", card, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(
    ("export", "expected"),
    [
        (loading.Export("saved_model", "5"), "float32 images, each from 0 to 9 or from 0 to 1."),
        (loading.Export("onnx", "m", "uint8"), "uint8 images, from 0 to 9."),
        (loading.Export("tflite", "m"), "float32 images, from 0 to 9. It does not check them."),
    ],
)
def test_what_an_export_takes(export, expected):
    assert export.takes.format(white=9) == expected
