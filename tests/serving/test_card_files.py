"""The card beside an export: from the run's record, and never in the place of somebody's file."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest

from mnist_estimator.compat import tf
from mnist_estimator.runs import checkpoints, layout, starts
from mnist_estimator.serving import card, card_files, exports, loading, saved_model


@pytest.fixture
def run(exported, tmp_path):
    """The exported run with a metrics.json of its own, which a test may change."""
    for name in ("run.json", layout.METRICS_FILE):
        shutil.copy(os.path.join(exported.run.config.model_dir, name), tmp_path)
    config = dataclasses.replace(exported.run.config, model_dir=str(tmp_path))
    return dataclasses.replace(exported.run, config=config)


@pytest.fixture
def folder(exported, tmp_path):
    """A copy of the export."""
    return Path(shutil.copytree(exported.path, tmp_path / "export" / Path(exported.path).name))


def metrics(run) -> dict:
    return json.loads(Path(run.config.model_dir, layout.METRICS_FILE).read_text())


def test_training_writes_a_card_of_its_own_test(exported, run):
    found = metrics(run)
    text = Path(exported.path, card.FILE).read_text()
    assert f"| test accuracy as trained, in float32 | {found['accuracy']:.4f} |" in text
    assert f"| test examples | {found['examples']} |" in text
    assert f"| north | {found['precision'][0]:.4f} | {found['recall'][0]:.4f} |" in text
    assert f"({saved_model.CONFUSION_PATH})" in text
    picture = tf.io.decode_png(tf.io.read_file(f"{exported.path}/{saved_model.CONFUSION_PATH}"))
    assert picture.shape == (5 * 32, 5 * 32, 3)


def test_a_card_names_no_place_on_the_machine(exported, run):
    text = Path(exported.path, card.FILE).read_text()
    for place in (exported.data_dir, exported.run.config.model_dir, os.path.expanduser("~")):
        assert place not in text


def test_the_same_model_has_the_same_card(exported, run, folder):
    before = (folder / card.FILE).read_bytes()
    card_files.beside_saved_model(run, str(folder))
    assert (folder / card.FILE).read_bytes() == before
    (folder / card.FILE).unlink()
    card_files.beside_saved_model(run, str(folder))
    assert (folder / card.FILE).read_bytes() == before


def test_a_card_that_was_edited_stays_and_so_does_the_export(run, folder, capsys):
    edited = (folder / card.FILE).read_text() + "\nI have tried it.\n"
    (folder / card.FILE).write_text(edited)
    card_files.beside_saved_model(run, str(folder), "mit")
    assert (folder / card.FILE).read_text() == edited
    assert "README.md: is no model card, or was edited" in capsys.readouterr().err
    with pytest.raises(Exception, match="found README.md, expected an export of this package"):
        saved_model._check_is_export(str(folder))


def test_a_folder_with_its_card_is_an_export(exported, folder):
    (folder / f".mnist_estimator-{'0' * 16}.tmp").touch()  # As a killed process leaves it.
    saved_model._check_is_export(str(folder))
    saved_model._check_is_export(exported.path)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"accuracy": 1.5}, "accuracy is 1.5, expected 0 to 1"),
        ({"examples": "many"}, "examples is 'many'"),
        ({"confusion_matrix": [[1]]}, "confusion_matrix is not of 4 classes and 23 examples"),
        ({"confusion_matrix": [[1, "x"]]}, "confusion_matrix is 'x'"),
        ({"loss": None}, "loss is None"),
    ],
)
def test_a_result_that_is_damaged_is_told_and_left_out(run, change, line, capsys):
    path = Path(run.config.model_dir, layout.METRICS_FILE)
    path.write_text(json.dumps(metrics(run) | change))
    assert card_files.recorded_result(run) is None
    assert f"metrics.json: {line}" in capsys.readouterr().err


@pytest.mark.parametrize("options", [{"views": 5}, {"temperature": 2.0}, {"members": ({},)}])
def test_the_test_of_another_model_is_not_taken(run, options):
    assert card_files.recorded_result(run).examples == 23
    assert card_files.recorded_result(dataclasses.replace(run, options=options)) is None
    path = Path(run.config.model_dir, layout.METRICS_FILE)
    found = metrics(run)
    for other in ({"global_step": 999}, {layout.CHECKPOINT_SHA256: "0" * 64}):
        path.write_text(json.dumps(found | other))
        assert card_files.recorded_result(run) is None
    # Files of older versions do not say of which checkpoint they are.
    del found[layout.CHECKPOINT_SHA256]
    path.write_text(json.dumps(found))
    assert card_files.recorded_result(run).examples == 23


def test_a_file_gets_a_card_with_what_was_measured(exported, tmp_path):
    path = tmp_path / "model.tflite"
    exports.export_tflite(exported.run, str(path), "none", license="mit")
    text = (tmp_path / card.FILE).read_text()
    digest = loading.of_file(loading.TFLITE, str(path), "float32").sha256
    assert f"one file, of sha256 `{digest}`" in text
    assert "| test accuracy of this export | 1.0000 |" in text
    assert 'license: "mit"' in text
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "README.md",
        "model.tflite",
        "model.tflite.confusion_matrix.png",
    ]


def test_a_readme_of_somebody_else_stays(exported, tmp_path, capsys):
    (tmp_path / card.FILE).write_text("# My project\n")
    (tmp_path / "m").write_bytes(b"model")
    export = loading.of_file(loading.ONNX, str(tmp_path / "m"), "float32")
    card_files.beside_file(exported.run, str(tmp_path / "m"), export, None, None)
    assert (tmp_path / card.FILE).read_text() == "# My project\n"
    assert sorted(os.listdir(tmp_path)) == [card.FILE, "m"]
    assert "stays as it is" in capsys.readouterr().err


def test_the_flags_are_those_that_the_weights_follow_from(run, folder):
    flags = {"learning_rate": run.config.learning_rate, "max_steps": run.config.max_steps}
    step = checkpoints.step_of(run.checkpoint)
    start = {"trainers": 1, "machine": {}}
    begun = [start | {"step": 0, "flags": flags}, start | {"step": step, "flags": {}}]
    later = run.record["flags"] | {"learning_rate": 0.25, "max_steps": 2 * step}
    record = run.record | {"flags": later, starts.KEY: begun}
    card_files.beside_saved_model(dataclasses.replace(run, record=record), str(folder))
    text = (folder / card.FILE).read_text()
    assert f"| learning\\_rate | {flags['learning_rate']}".replace(".", "\\.") in text
    assert "0\\.25" not in text
