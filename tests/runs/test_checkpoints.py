"""Which checkpoint a run goes on from, whatever has happened to the files."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.saved import DATA, STEPS, flip, newest_whole

from mnist_estimator import InputError, RunError, storage
from mnist_estimator.compat import tf
from mnist_estimator.runs import checkpoints
from mnist_estimator.runtime import files


@pytest.fixture(params=["sealed", "plain"])
def either(request, made, tmp_path):
    return Path(shutil.copytree(made / request.param, tmp_path / "run"))


def test_the_newest_is_taken_if_it_is_whole(either):
    assert newest_whole(either) == (3, [])


def test_without_checkpoints_there_is_none(tmp_path):
    assert newest_whole(tmp_path) == newest_whole(tmp_path / "missing") == (0, [])


@pytest.mark.parametrize("file", [DATA, "model.ckpt-3.index"])
@pytest.mark.parametrize("how", ["missing", "empty", "cut off", "flipped"])
def test_a_damaged_newest_one_is_named_and_passed_over(either, file, how):
    path = either / file
    if how == "missing":
        path.unlink()
    elif how == "flipped":
        flip(path, 40 if file == "model.ckpt-3.index" else 2)
    else:
        path.write_bytes(path.read_bytes()[: 0 if how == "empty" else -1])
    step, (warning,) = newest_whole(either)
    assert step == 2
    assert "model.ckpt-3" in warning
    assert warning.endswith(f"; going on from {either}/model.ckpt-2")


def test_a_sealed_one_is_known_bit_for_bit(model_dir):
    path = model_dir / "model.ckpt-3.index"
    flip(path, path.stat().st_size - 20)  # In the padding, which TensorFlow does not look at.
    step, (warning,) = newest_whole(model_dir)
    assert step == 2
    assert f"{path} is damaged: its sha256 is not the one in model.ckpt-3.sha256" in warning


@pytest.mark.parametrize("text", ["", "nonsense", "{seal}nonsense", "{first}"])
def test_a_damaged_seal_vouches_for_nothing(model_dir, text):
    seal = model_dir / "model.ckpt-3.sha256"
    lines = seal.read_text()
    seal.write_text(text.format(seal=lines, first=lines.splitlines(keepends=True)[0]))
    step, (warning,) = newest_whole(model_dir)
    assert step == 2
    assert "model.ckpt-3.sha256 is damaged" in warning


def test_two_damaged_ones_are_passed_over_in_one_warning(model_dir):
    (model_dir / DATA).unlink()
    flip(model_dir / "model.ckpt-2.index", 5)
    step, (warning,) = newest_whole(model_dir)
    assert step == 1
    assert "model.ckpt-3" in warning
    assert "model.ckpt-2" in warning


def test_a_run_does_not_begin_anew_because_all_are_damaged(model_dir):
    for step in STEPS:
        flip(model_dir / f"model.ckpt-{step}.index", 5)
    with pytest.raises(RunError, match="no checkpoint is whole: .* to begin anew"):
        newest_whole(model_dir)


@pytest.mark.parametrize(
    "state", [None, b"", b"\xff\xfe", b"nonsense", b'model_checkpoint_path: "model.ckpt-9"\n']
)
def test_a_damaged_list_of_checkpoints_is_made_up_for(model_dir, state):
    path = model_dir / "checkpoint"
    path.unlink() if state is None else path.write_bytes(state)
    step, warnings = newest_whole(model_dir)
    assert step == 3
    assert len(warnings) == (b"ckpt-9" in (state or b""))
    checkpoints.point_to(f"{model_dir}/model.ckpt-3")
    assert tf.train.latest_checkpoint(str(model_dir)) == f"{model_dir}/model.ckpt-3"


def test_the_user_may_go_back_to_an_older_one(model_dir):
    checkpoints.point_to(f"{model_dir}/model.ckpt-1")
    assert newest_whole(model_dir) == (1, [])
    assert checkpoints.newest(str(model_dir)) == f"{model_dir}/model.ckpt-1"


def test_tensorflow_follows_a_new_list(model_dir):
    (model_dir / DATA).unlink()
    checkpoints.point_to(checkpoints.newest_whole(str(model_dir)))
    state = tf.train.get_checkpoint_state(str(model_dir))
    assert [os.path.basename(path) for path in state.all_model_checkpoint_paths] == [
        "model.ckpt-1",
        "model.ckpt-2",
    ]
    assert state.model_checkpoint_path == f"{model_dir}/model.ckpt-2"


def test_a_model_dir_may_be_moved(model_dir, tmp_path):
    checkpoints.point_to(f"{model_dir}/model.ckpt-2")
    moved = model_dir.rename(tmp_path / "moved")
    assert checkpoints.newest(str(moved)) == f"{moved}/model.ckpt-2"


@pytest.mark.parametrize("there", [True, False], ids=["copied", "moved"])
@pytest.mark.parametrize("other", ["", "gs://bucket/run"])
def test_a_list_that_names_another_folder_is_set_right(model_dir, tmp_path, there, other):
    other = other or str(tmp_path / "elsewhere")
    if there and "://" not in other:
        shutil.copytree(model_dir, other)
    state = f'model_checkpoint_path: "{other}/model.ckpt-3"\n'
    state += f'all_model_checkpoint_paths: "{other}/model.ckpt-2"\n'
    (model_dir / "checkpoint").write_text(state)
    path = f"{model_dir}/model.ckpt-3"
    assert newest_whole(model_dir) == (3, []) and not checkpoints.is_pointed_to(path)
    assert checkpoints.newest(str(model_dir)) == path
    checkpoints.point_to(path)
    assert checkpoints.is_pointed_to(path)
    assert other not in (model_dir / "checkpoint").read_text()


def steps_in(folder: Path) -> list[int]:
    found = {checkpoints.step_of(str(p.with_suffix(""))) for p in folder.glob("model.ckpt-*.*")}
    return sorted(found)


@pytest.mark.parametrize(
    ("newest_step", "keep", "left"),
    [(3, 0, [1, 2, 3]), (3, 1, [3]), (3, 2, [2, 3]), (3, 9, [1, 2, 3]), (2, 1, [2, 3])],
)
def test_the_oldest_ones_go_when_fewer_are_kept(model_dir, newest_step, keep, left):
    (model_dir / "model.ckpt-1.notes").write_text("mine")
    (model_dir / "model.ckpt-1.meta").write_text("another program's")
    checkpoints.keep_newest(f"{model_dir}/model.ckpt-{newest_step}", keep)
    assert steps_in(model_dir) == sorted({1, *left})
    names = {path.name for path in model_dir.glob("model.ckpt-1.*")}
    assert {"model.ckpt-1.notes", "model.ckpt-1.meta"} <= names
    assert ("model.ckpt-1.index" in names) == (1 in left)
    listed = tf.train.get_checkpoint_state(str(model_dir)).all_model_checkpoint_paths
    assert [checkpoints.step_of(path) for path in listed] == [n for n in left if n <= newest_step]


def test_the_checkpoints_of_another_program_stay(made, tmp_path):
    folder = Path(shutil.copytree(made / "plain", tmp_path / "run"))
    checkpoints.keep_newest(f"{folder}/model.ckpt-3", 1)
    assert steps_in(folder) == [1, 2, 3]


def test_the_surplus_goes_also_where_nothing_can_be_written(model_dir, monkeypatch):
    def full(path, text):
        raise InputError("No space left on device")

    monkeypatch.setattr(checkpoints.files, "write_text", full)
    with pytest.raises(InputError, match="No space"):
        checkpoints.keep_newest(f"{model_dir}/model.ckpt-3", 1)
    assert steps_in(model_dir) == [3] and newest_whole(model_dir) == (3, [])


def test_a_killed_removal_is_made_up_for(model_dir, monkeypatch):
    for killed_at in range(2):
        calls = iter(range(killed_at))

        def remove(path, calls=calls):
            if next(calls, None) is None:
                raise KeyboardInterrupt
            os.remove(path)

        with monkeypatch.context() as patch:
            patch.setattr(tf.io.gfile, "remove", remove)
            with pytest.raises(KeyboardInterrupt):
                checkpoints.keep_newest(f"{model_dir}/model.ckpt-3", 2)
    checkpoints.keep_newest(f"{model_dir}/model.ckpt-3", 2)
    assert steps_in(model_dir) == [2, 3]


def test_the_seal_is_what_sha256sum_reads(model_dir):
    subprocess.run(
        ["sha256sum", "-c", "--strict", "model.ckpt-3.sha256"],
        cwd=model_dir,
        check=True,
        timeout=60,
    )


def test_left_overs_of_a_killed_save_are_removed(model_dir):
    names = {path.name for path in model_dir.iterdir()}
    (model_dir / "model.ckpt-4_temp").mkdir()
    (model_dir / "model.ckpt-4_temp/part").write_text("")
    for name in ("model.ckpt-4.index.tempstate123", "checkpoint.tmp12ab", "model.ckpt-0.sha256"):
        (model_dir / name).write_text("")
    mine = {"model.ckpt-mine", "notes.sha256", "checkpoint.tmp_old", "model.ckpt-1_temp.txt"}
    for name in mine:
        (model_dir / name).write_text("kept")
    checkpoints.remove_left_overs(str(model_dir))
    assert {path.name for path in model_dir.iterdir()} == names | mine


@pytest.mark.parametrize(
    ("path", "step"), [("a/model.ckpt-40", 40), ("model.ckpt-0", 0), ("a/other-3", 0), ("", 0)]
)
def test_the_step_is_in_the_name(path, step):
    assert checkpoints.step_of(path) == step


@pytest.mark.parametrize("step", ["9" * 5000, "\u0665", "9" * 19])
def test_a_step_that_no_run_can_have_is_none(step):
    assert checkpoints.step_of(f"model.ckpt-{step}") == 0
    assert checkpoints.step_of("model.ckpt-" + "9" * 18) == 10**18 - 1


def test_a_seal_has_a_largest_size(tmp_path):
    seal = tmp_path / "model.ckpt-5.sha256"
    with open(seal, "wb") as file:
        file.truncate(2**20 + 1)
    assert "sha256: longer than 1,048,576 bytes" in checkpoints.damage(str(seal.with_suffix("")))


def test_a_list_with_a_name_that_no_file_can_have_is_damaged(tmp_path):
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-5\\000"\n')
    assert checkpoints.newest(str(tmp_path)) == ""
    assert checkpoints.newest_whole(str(tmp_path)) == ""


def test_data_alone_are_what_a_killed_save_left_and_no_damaged_checkpoint(model_dir):
    for path in model_dir.iterdir():
        if not path.name.endswith(".data-00000-of-00001"):
            path.unlink()
    assert newest_whole(model_dir) == (0, [])
    assert (model_dir / DATA).exists()


def test_what_a_killed_save_leaves_in_a_store_is_removed(tmp_path):
    storage.install()
    kept = ["model.ckpt-2.index", "model.ckpt-2.part", "other.part-00000-of-00001.index"]
    left = [
        "model.ckpt-2_temp/part-00000-of-00001.index",
        "model.ckpt-2.part-00000-of-00001.index",
        "model.ckpt-2.part-00000-of-00001.data-00000-of-00001",
        "model.ckpt-2.index.tempstate123",
    ]
    folder = f"memory://left/{tmp_path.name}"
    for name in (*kept, *left):
        files.write_text(f"{folder}/{name}", "")
    (tmp_path / left[1]).write_text("mine")
    checkpoints.remove_left_overs(folder)
    checkpoints.remove_left_overs(str(tmp_path))
    assert sorted(tf.io.gfile.listdir(folder)) == kept
    assert (tmp_path / left[1]).exists()


def test_a_store_that_does_not_answer_is_no_damage(model_dir, monkeypatch):
    path = f"{model_dir}/model.ckpt-3"

    def fails(error):
        def size_and_sha256(path):
            raise error

        monkeypatch.setattr(files, "size_and_sha256", size_and_sha256)

    for error in (
        files.OutageError("s3://x: no answer"),
        tf.errors.UnavailableError(None, None, "s3://x: no answer"),
    ):
        fails(error)
        with pytest.raises(files.OutageError, match="s3://x: no answer"):
            checkpoints.newest_whole(str(model_dir))
    fails(OSError("I/O error"))
    assert checkpoints.damage(path).startswith(f"{path} cannot be read: I/O error")


def test_a_list_that_cannot_be_read_is_not_taken_for_none(model_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "saved_step", checkpoints.step_of)
    assert checkpoints.newest_step(str(tmp_path / "none")) == 0
    read, read_bytes, failed = tf.train.get_checkpoint_state, files.read_bytes, []

    def fails_once(folder):
        failed.append(folder)
        return read(folder) if len(failed) > 1 else None  # As TensorFlow does on any error.

    monkeypatch.setattr(tf.train, "get_checkpoint_state", fails_once)
    assert checkpoints.newest_step(str(model_dir)) == 3

    def fails(path, *most):
        raise OSError(errno.ESTALE, "Stale file handle")

    del failed[:]
    monkeypatch.setattr(files, "read_bytes", fails)
    with pytest.raises(files.OutageError, match="run/checkpoint: .*Stale file handle"):
        checkpoints.newest_step(str(model_dir))
    monkeypatch.setattr(files, "read_bytes", read_bytes)
    (model_dir / "checkpoint").write_bytes(b"nonsense")
    assert checkpoints.newest_step(str(model_dir)) == 0
