"""Files as a whole, on this machine and elsewhere: read, written, removed, and their errors."""

from __future__ import annotations

import os
import stat
import tempfile

import pytest
from support.unchanged import untouched

from mnist_estimator import InputError
from mnist_estimator.runtime import files


def test_nothing_to_remove_is_no_error(tmp_path):
    files.remove_folder(str(tmp_path / "nothing"), first=["a"])
    files.remove_folder("ram://nothing", first=["a"])


@pytest.mark.parametrize("target", ["outside/a", "nowhere"])
def test_a_new_file_is_made_only_where_nothing_is(tmp_path, outside, target):
    (tmp_path / "new").symlink_to(tmp_path / target)
    path = str(tmp_path / "new")
    with (
        untouched(outside),
        pytest.raises(InputError, match="new: File exists"),
        files.created(path),
    ):
        pytest.fail("opened")
    with pytest.raises(InputError, match="new: File exists"):
        files.make_folder(path)
    assert not (tmp_path / "nowhere").exists()


def test_nothing_is_left_of_a_file_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "model.tflite").write_text("old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="model.tflite: No space left on device"):
        files.write_bytes(str(tmp_path / "model.tflite"), b"new")
    assert os.listdir(tmp_path) == ["model.tflite"]
    assert (tmp_path / "model.tflite").read_text() == "old"


def test_a_long_name_can_be_written(tmp_path):
    path = tmp_path / ("x" * 255)
    files.write_text(str(path), "new")
    assert path.read_text() == "new"


def test_a_umask_that_keeps_others_out_is_heard(tmp_path):
    before = os.umask(0o077)
    try:
        files.make_folders(str(tmp_path / "a/b"))
        files.write_text(str(tmp_path / "a/b/c"), "")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "a/b", "a/b/c")]
    assert modes == [0o700, 0o700, 0o600]


def test_without_a_temporary_folder_there_is_one_line(tmp_path, monkeypatch):
    line = "TMPDIR: found no folder to write to .*make room, or set"
    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
        with pytest.raises(InputError, match=line), files.temporary_folder():
            pass


def test_a_walk_goes_through_no_link_so_circles_have_an_end(tmp_path):
    for name in ("one/a", "other/b"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    for name in ("x", "y", "z"):
        (tmp_path / "one" / name).symlink_to(".")
    (tmp_path / "one/more").symlink_to("../other")
    found = sorted(files.walk(f"{tmp_path}/one"))
    assert found == [f"{tmp_path}/one/{name}" for name in ("a", "more", "x", "y", "z")]
    assert list(files.walk(f"{tmp_path}/none")) == []
