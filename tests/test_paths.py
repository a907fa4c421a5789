"""Paths that TensorFlow would take for patterns work everywhere, and nothing else is touched."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from mnist_estimator.cluster.roles import Task
from mnist_estimator.compat import tf, v1
from mnist_estimator.config import TrainConfig
from mnist_estimator.reporting import curves
from mnist_estimator.runs import checkpoints, copies, open_run, saver
from mnist_estimator.scoring import evaluation
from mnist_estimator.serving import predictors, tflite
from mnist_estimator.training import training

STEPS = 6
# The name of a run, and that of another run beside it which it would match as a pattern.
NAMES = [
    ("a*b", "aXb"),
    ("run[1]", "run1"),
    ("lr=[0.1],bs=?", "lr=0,bs=1"),
    ("what?", "whats"),
    ("back\\slash", "backslash"),
    ("[!a]", "b"),
    ("open[", "open"),
    ("a b'c\"d", "a b"),
]


def train(model_dir: Path, data_dir: str, **more):
    options = {"max_steps": STEPS, "save_checkpoints_steps": 2, "precision": "float32"}
    options |= {"deterministic": False} | more
    config = TrainConfig(
        model_dir=str(model_dir), data_dir=data_dir, model="softmax", batch_size=7, **options
    )
    return training.train(config, Task())


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def beside(folder: Path) -> dict[str, bytes]:
    """Files that a run would take for its own if it took its own name for a pattern."""
    folder.mkdir(parents=True)
    for step in (0, 2, 4):
        for end in ("index", "data-00000-of-00001", "sha256", "meta"):
            (folder / f"model.ckpt-{step}.{end}").write_text("another run's")
    return files(folder)


@pytest.mark.parametrize(("name", "other"), NAMES)
def test_checkpoints_in_any_folder_are_saved_restored_and_removed(tmp_path, name, other):
    folder = tmp_path / name
    folder.mkdir()
    before = beside(tmp_path / other)
    with tf.Graph().as_default(), v1.Session() as session:
        step = v1.train.create_global_step()
        weights = v1.get_variable("w", [3], initializer=v1.zeros_initializer())
        saver.add_saver()
        (added,) = v1.get_collection(v1.GraphKeys.SAVERS)
        added.build()
        for number in (2, 4, 6):
            session.run([weights.assign([number, 0.5, -1]), step.assign(number)])
            path = str(folder / checkpoints.BASENAME)
            path = added.save(session, path, number, write_meta_graph=False, write_state=False)
            checkpoints.seal(path)
            checkpoints.keep_newest(path, 2)
        assert (
            path == f"{folder}/model.ckpt-6" == checkpoints.newest_whole(str(folder), pytest.fail)
        )
        session.run([weights.initializer, step.initializer])
        added.restore(session, path)
        added.recover_last_checkpoints([path])
        assert session.run([weights, step])[0].tolist() == [6, 0.5, -1]
        assert session.run(step) == 6
    saver.check_variables(path, {"w": [3], "global_step": []})
    os.remove(f"{path}.sha256")  # Then it is read through.
    assert not checkpoints.damage(path)
    copies.keep_copy(path, str(folder / "best"))
    assert {p.stem for p in folder.glob("*.index")} == {"model.ckpt-4", "model.ckpt-6"}
    assert files(tmp_path / other) == before


def test_a_run_in_any_folder_is_trained_continued_and_used(
    tmp_path, make_dataset, capfd, monkeypatch
):
    name, other = "run[1]", "run1"
    data_dir = make_dataset()
    Path(data_dir).rename(tmp_path / f"data {name}")
    data_dir = str(tmp_path / f"data {name}")
    before = beside(tmp_path / other / "model")
    model_dir = tmp_path / name / "model"

    train(model_dir, data_dir, max_steps=4, profile_steps="2,3", keep_checkpoint_max=1)
    metrics = train(model_dir, data_dir, keep_checkpoint_max=1)
    assert checkpoints.newest(str(model_dir)) == f"{model_dir}/model.ckpt-{STEPS}"
    assert [p.name for p in model_dir.iterdir() if p.suffix == ".index"] == ["model.ckpt-6.index"]
    assert files(tmp_path / other / "model") == before

    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "tempdir", str(tmp_path / "missing"))  # None is needed.
        run = open_run.open_run(str(model_dir))
        manifest = run.data()[1]
        evaluated = evaluation.evaluate_alone(run, data_dir, manifest, "test")
        assert evaluated == {key: metrics[key] for key in evaluated}
        assert curves.read(str(model_dir)).training["loss"][0] == [4, STEPS]
        with predictors.from_checkpoint(run) as predictor:
            answers = predictor.predict([PICTURE])
        (exported,) = (model_dir / "export/best").iterdir()
        with predictors.from_export(str(exported)) as predictor:
            assert predictor.predict([PICTURE]) == answers
        path = str(model_dir / "export/model.tflite")
        tflite.export(run, data_dir, manifest, path)
        assert tflite.accuracy(path, data_dir, manifest, "test") == metrics["accuracy"]
    assert (model_dir / "plugins/profile").exists()
    assert "ERROR" not in capfd.readouterr().err


with tf.Graph().as_default(), v1.Session() as session:
    PICTURE = session.run(tf.io.encode_png(tf.zeros([8, 8, 1], tf.uint8)))
