"""Exports: each signature answers as `predict` does, here and on the other end of the versions."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.exports import ask, load, picture, requests

from mnist_estimator import RunError, storage
from mnist_estimator.compat import tf
from mnist_estimator.data.manifest import TrainedOn
from mnist_estimator.runs import checkpoints
from mnist_estimator.runtime import files
from mnist_estimator.serving import card_files, saved_model, sessions, signatures

SERVER = Path(__file__).with_name("serve_export.py")

# Kernels of another TensorFlow add up in another order.
TOLERANCE = 1e-4


def servers() -> list[str]:
    """This Python and, where run_tests.sh names it, one with the other end of the versions."""
    return list(dict.fromkeys([sys.executable, os.environ.get("OTHER_PYTHON", sys.executable)]))


@pytest.mark.smoke
@pytest.mark.parametrize("server", servers())
def test_a_program_of_somebody_else_gets_the_answers_of_predict(exported, tmp_path, server):
    run, path = exported.run, exported.path
    images, _ = exported.test_data()
    asked = requests(images)
    np.savez(tmp_path / "requests.npz", **asked)
    answers = tmp_path / "answers.npz"
    done = subprocess.run(
        [server, str(SERVER), path, str(tmp_path / "requests.npz"), str(answers)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = np.load(answers, allow_pickle=True)
    same = str(found["version"]) == tf.__version__
    tolerance = 0 if same else TOLERANCE
    with tf.Graph().as_default():
        built = signatures.build(list(signatures.EXPORTED), run.params, run.trained_on)
        with sessions.restore(run.checkpoint) as session:
            for name, value in asked.items():
                signature = built[name.partition("/")[0]]
                (placeholder,) = signature.inputs.values()
                values = session.run(signature.outputs, {placeholder: value})
                for key, expected in values.items():
                    answer = found[f"{name.partition('/')[0]}/{key}"]
                    if expected.dtype.kind == "f":
                        np.testing.assert_allclose(answer, expected, rtol=0, atol=tolerance)
                    else:
                        assert answer.tolist() == expected.tolist()


def test_images_may_be_floats_bytes_and_without_channels(exported):
    path = exported.path
    images, labels = exported.test_data()
    serve = load(path).signatures["serving_default"]
    forms = [images, images[..., 0], images / 255, images[..., 0] / 255]
    found = [serve(images=tf.constant(form, tf.float32)) for form in forms]
    for answer in found[1:]:
        np.testing.assert_allclose(answer["logits"], found[0]["logits"], atol=1e-4)
    assert np.mean(found[0]["classes"].numpy() == labels) > 0.5
    flat = ask(path, "serving_uint8", images=tf.constant(images[..., 0]))
    np.testing.assert_array_equal(flat["classes"], found[0]["classes"])


@pytest.mark.parametrize("shape", [(28, 28), (3, 14, 56), (3, 28, 28, 3), (3, 784)])
def test_images_of_another_shape_are_refused(exported, shape):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"expected images \[N,28,28,1\]"):
        ask(exported.path, "serving_uint8", images=tf.zeros(shape, tf.uint8))


def test_classify_has_the_names_of_the_classes(exported):
    path = exported.path
    images, _ = exported.test_data()
    answer = ask(path, "classify", tf.constant(requests(images[:2])["classify/records"]))
    assert answer["classes"].numpy().tolist() == [[b"north", b"east", b"south", b"west"]] * 2
    np.testing.assert_allclose(answer["scores"].numpy().sum(axis=1), 1, rtol=1e-5)
    assert Path(path, "assets/class_names.txt").read_text() == "north\neast\nsouth\nwest\n"


def test_pictures_of_the_images_are_predicted_as_the_images_are(exported):
    path = exported.path
    images, _ = exported.test_data()
    asked = requests(images)
    by_images = ask(path, "serving_uint8", images=tf.constant(images))
    encoded = tf.constant(asked["predict_images/image_bytes"])
    by_pictures = ask(path, "predict_images", image_bytes=encoded)
    for key in ("classes", "probabilities", "logits"):
        np.testing.assert_array_equal(by_pictures[key], by_images[key])
    assert by_pictures["has_ink"].numpy().all()


def test_a_picture_that_cannot_be_read_is_answered_for_itself(exported):
    whole = picture(exported.test_data()[0][0])
    bad = [b"", b"hello", whole[:-40], b"RIFF\x10\0\0\0WEBPVP8 "]
    answer = ask(exported.path, "predict_images", image_bytes=tf.constant([whole, *bad, whole]))
    alone = ask(exported.path, "predict_images", image_bytes=tf.constant([whole]))
    readable = [True, False, False, False, False, True]
    assert [not line for line in answer["problem"].numpy()] == readable
    assert answer["has_ink"].numpy().tolist() == readable
    assert answer["classes"].numpy()[1:-1].tolist() == [-1] * 4
    assert not answer["probabilities"].numpy()[1:-1].any()
    for place in (0, -1):
        # Kernels add up in another order for another number of images.
        np.testing.assert_allclose(answer["logits"][place], alone["logits"][0], rtol=1e-5)
        assert answer["classes"][place] == alone["classes"][0]


@pytest.mark.parametrize("mine", ["notes.txt", "variables/notes", "assets/names.txt"])
def test_a_folder_with_files_of_somebody_else_is_not_replaced(exported, tmp_path, mine):
    run = exported.run
    path = saved_model.export(run.params, run.trained_on, run.checkpoint, str(tmp_path))
    other = TrainedOn(**vars(run.trained_on) | {"digest": "another"})
    assert saved_model.export(run.params, other, run.checkpoint, str(tmp_path)) == path
    assert [p.name for p in tmp_path.iterdir()] == [os.path.basename(path)]
    (tmp_path / os.path.basename(path) / mine).write_text("mine")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(RunError, match=f"found {mine}, expected an export of this package"):
        saved_model.export(run.params, run.trained_on, run.checkpoint, str(tmp_path))
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("name", saved_model._NEEDED)
def test_an_export_that_lacks_a_file_is_made_again(exported, tmp_path, name):
    run = exported.run
    given = (run.params, run.trained_on, run.checkpoint, str(tmp_path))
    path = Path(saved_model.export(*given))
    whole = (path / name).read_bytes()
    before = path.stat().st_ino
    assert Path(saved_model.export(*given)).stat().st_ino == before
    (path / name).unlink()
    saved_model.export(*given)
    assert (path / name).read_bytes() == whole


@pytest.mark.parametrize("name", saved_model._NEEDED[:3])
@pytest.mark.parametrize("kept", [0, -7], ids=["empty", "cut"])
def test_an_export_that_is_damaged_is_made_again(exported, tmp_path, name, kept):
    run = exported.run
    given = (run.params, run.trained_on, run.checkpoint, str(tmp_path))
    file = Path(saved_model.export(*given)) / name
    whole = file.read_bytes()
    file.write_bytes(whole[:kept])
    saved_model.export(*given)
    assert file.read_bytes() == whole


def test_a_network_of_the_user_s_own_is_exported_again_if_its_code_has_changed(
    exported, tmp_path, monkeypatch
):
    monkeypatch.setattr(saved_model, "NETWORKS", {})  # So that the run's network is none of them.
    run = exported.run
    given = (run.params, run.trained_on, run.checkpoint, str(tmp_path))
    path = Path(saved_model.export(*given))
    before, graph = path.stat().st_ino, (path / "saved_model.pb").read_bytes()
    assert Path(saved_model.export(*given)).stat().st_ino == before
    (path / "saved_model.pb").write_bytes(b"what the code was before")
    assert Path(saved_model.export(*given)).stat().st_ino != before
    assert (path / "saved_model.pb").read_bytes() == graph


def test_a_folder_of_another_export_is_not_replaced(exported, tmp_path):
    run = exported.run
    path = tmp_path / str(checkpoints.step_of(run.checkpoint)) / "saved_model.pb"
    path.parent.mkdir()
    path.write_bytes(b"somebody's model")
    with pytest.raises(RunError, match="found no assets.extra/model.json, expected an export"):
        saved_model.export(run.params, run.trained_on, run.checkpoint, str(tmp_path))
    assert path.read_bytes() == b"somebody's model"


def test_weights_of_another_network_are_refused(exported, tmp_path):
    run = exported.run
    params = run.params | {"batch_norm": "none"}
    with pytest.raises(RunError, match=r"cannot be restored: .*bias"):
        saved_model.export(params, run.trained_on, run.checkpoint, str(tmp_path))
    assert not list(tmp_path.iterdir())


PARTS = (
    "saved_model.pb",
    "fingerprint.pb",
    "variables/variables.index",
    "variables/variables.data-00000-of-00001",
    "assets/class_names.txt",
    "assets.extra/model.json",
)


@pytest.fixture
def stored():
    """Where an export goes in an object store."""
    storage.install()
    return f"memory://exports/{secrets.token_hex(8)}/5"


def upload(path, content, parts=PARTS):
    with saved_model._uploading(path) as folder:
        for part in parts:
            Path(folder, part).parent.mkdir(parents=True, exist_ok=True)
            Path(folder, part).write_text(content)


def contents(path):
    return {file.removeprefix(f"{path}/"): files.read_bytes(file) for file in files.walk(path)}


@pytest.mark.parametrize("copies", range(len(PARTS)))
def test_an_upload_that_is_killed_leaves_no_model_and_the_next_one_replaces_it(
    stored, monkeypatch, copies
):
    upload(stored, "old")
    done, copy = [], files.copy

    def killed(source, target):
        if len(done) == copies:
            raise KeyboardInterrupt
        copy(source, target)
        done.append(target)

    with monkeypatch.context() as patch:
        patch.setattr(files, "copy", killed)
        with pytest.raises(KeyboardInterrupt):
            upload(stored, "new")
    assert "saved_model.pb" not in contents(stored)
    assert not saved_model._holds(stored, "old")
    assert not saved_model._holds(stored, "new")
    upload(stored, "new", PARTS[:1] + PARTS[2:])
    assert contents(stored) == {part: b"new" for part in PARTS if part != "fingerprint.pb"}
    assert saved_model._holds(stored, "new")


def test_what_is_not_an_export_in_a_store_is_left_as_it_is(stored):
    files.write_text(f"{stored}/saved_model.pb", "somebody's")
    with pytest.raises(RunError, match="found no assets.extra/model.json"):
        upload(stored, "new")
    assert contents(stored) == {"saved_model.pb": b"somebody's"}


def test_an_export_to_a_store_is_the_same_as_one_on_the_disk(exported, stored):
    run, folder = exported.run, os.path.dirname(stored)
    path = saved_model.export(run.params, run.trained_on, run.checkpoint, folder)
    card_files.beside_saved_model(run, path)
    assert contents(path) == contents(exported.path)
    assert not [name for name in tf.io.gfile.listdir(folder) if name.startswith(".")]
