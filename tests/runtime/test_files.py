"""Files as a whole, on this machine and elsewhere: read, written, removed, and their errors."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
import tempfile

import pytest
from support.unchanged import untouched

from mnist_estimator import InputError, storage
from mnist_estimator.compat import tf
from mnist_estimator.runtime import files, signals


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


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path):
    """A folder on this machine, and one on another filesystem."""
    if request.param == "local":
        yield str(tmp_path)
        return
    with files.memory_folder() as path:
        yield path


def test_what_is_written_is_read(folder):
    path = f"{folder}/a"
    assert files.read_bytes(path) is None
    assert files.read_bytes(f"{path}/below") is None
    files.write_bytes(path, b"old")
    files.write_text(path, "n\u00e9w\n")
    assert files.read_bytes(path, most=5) == b"n\xc3\xa9w\n"
    with pytest.raises(InputError, match="a: longer than 4 bytes, expected a shorter file"):
        files.read_bytes(path, most=4)
    files.write_json(path, {"one": [1]})
    assert json.loads(files.read_bytes(path)) == {"one": [1]}
    assert list(files.walk(folder)) == [path]


def test_a_copy_replaces_what_is_there(folder):
    files.write_text(f"{folder}/a", "new")
    files.write_text(f"{folder}/b", "old and longer")
    files.copy(f"{folder}/a", f"{folder}/b")
    assert files.read_bytes(f"{folder}/b") == b"new"
    assert sorted(files.walk(folder)) == [f"{folder}/a", f"{folder}/b"]


def test_the_size_and_the_sum_are_of_all_blocks(folder):
    content = bytes(range(256)) * 8192 + b"end"  # Two blocks and a bit.
    files.write_bytes(f"{folder}/a", content)
    expected = len(content), hashlib.sha256(content).hexdigest()
    assert files.size_and_sha256(f"{folder}/a") == expected
    with pytest.raises(files.FileError, match=f"{folder}/none: "):
        files.size_and_sha256(f"{folder}/none")


def test_a_folder_is_removed_and_only_that(folder):
    for name in ("gone/a", "gone/below/b", "stays/c"):
        files.make_folders(os.path.dirname(f"{folder}/{name}"))
        files.write_text(f"{folder}/{name}", "")
    files.remove_folder(f"{folder}/gone", first=["below/b"])
    files.remove(f"{folder}/none")
    assert list(files.walk(folder)) == [f"{folder}/stays/c"]
    files.check_writable(f"{folder}/stays/d")
    assert list(files.walk(folder)) == [f"{folder}/stays/c"]


def test_only_an_empty_folder_is_removed_as_one(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    (tmp_path / "empty").mkdir()
    for name in ("full", "empty", "none"):
        files.remove_empty(f"{tmp_path}/{name}")
    assert os.listdir(tmp_path) == ["full"]


def test_copies_in_memory_are_gone_after_the_block(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "below/a").write_text("a")
    (tmp_path / "b").write_text("b")
    with files.in_memory(str(tmp_path), ["below/a"]) as copy:
        assert not files.is_local(copy) and files.is_literal(copy)
        assert list(files.walk(copy)) == [f"{copy}/below/a"]
        assert files.read_bytes(f"{copy}/below/a") == b"a"
    assert list(files.walk(copy)) == []


@pytest.mark.parametrize("name", ["a*", "a?", "a[b]", "a\\b"])
def test_a_pattern_is_not_literal(name):
    assert not files.is_literal(f"/runs/{name}/model")
    assert files.is_literal("/runs/a-b_c,d=1 {e}/model")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "No space left on device"), "m/a: No space left on device"),
        (tf.errors.NotFoundError(None, None, "m/a; none; or so"), "m/a: none; or so"),
        (tf.errors.DataLossError(None, None, "x; y\n\t [[a\ngraph]]"), "m/a: x; y"),
        (tf.errors.DataLossError(None, None, "2 root errors\n(0) bad  crc"), "m/a: (0) bad crc"),
        (tf.errors.OutOfRangeError(None, None, ""), "m/a: OutOfRangeError"),
    ],
)
def test_an_error_of_a_filesystem_is_one_line_with_the_path(error, line):
    with pytest.raises(files.FileError) as raised, files.file_errors("m/a"):
        raise error
    assert str(raised.value) == line


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("out of memory"), False),
        (tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"), True),
        (tf.errors.ResourceExhaustedError(None, None, "failed to allocate memory"), True),
        (tf.errors.ResourceExhaustedError(None, None, "memory/a; No space left on device"), False),
        (tf.errors.ResourceExhaustedError(None, None, "a; Disk quota exceeded"), False),
        (tf.errors.ResourceExhaustedError(None, None, "a; x\n\t [[memory]]"), False),
    ],
)
def test_a_full_disk_is_not_taken_for_a_lack_of_memory(error, expected):
    assert files.is_out_of_memory(error) is expected


def test_a_filesystem_that_cannot_sync_folders_is_no_error(tmp_path, monkeypatch):
    def fails(number):
        def fsync(handle):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", fsync)

    files.sync(str(tmp_path))
    files.sync("ram://none")
    fails(errno.EINVAL)
    files.sync(str(tmp_path))
    fails(errno.EIO)
    with pytest.raises(InputError, match="Input/output error"):
        files.sync(str(tmp_path))


@pytest.mark.parametrize(
    ("folder", "expected"),
    [("memory://files/a", "b"), ("ram://files/a", r"\.mnist_estimator-[0-9a-f]{16}\.tmp")],
)
def test_an_object_is_written_at_once_and_a_remote_file_renamed(monkeypatch, folder, expected):
    storage.install()
    opened, file = [], tf.io.gfile.GFile
    tf.io.gfile.makedirs(folder)

    def noted(path, mode):
        opened.append(path)
        return file(path, mode)

    monkeypatch.setattr(tf.io.gfile, "GFile", noted)
    files.write_text(f"{folder}/b", "1")
    (name,) = opened
    assert re.fullmatch(f"{folder}/{expected}", name)
    files.copy(f"{folder}/b", f"{folder}/c")
    assert [files.read_bytes(f"{folder}/{name}") for name in "bc"] == [b"1"] * 2
    assert sorted(tf.io.gfile.listdir(folder)) == ["b", "c"]


@pytest.mark.parametrize(
    ("text", "is_outage"), [("s3://b/a: no answer", True), ("gRPC: Socket closed", False)]
)
def test_a_store_that_does_not_answer_is_to_be_tried_again_later(text, is_outage):
    with pytest.raises(files.FileError) as found, files.file_errors("s3://b/a"):
        raise tf.errors.UnavailableError(None, None, text)
    expected = signals.EXIT_LOST if is_outage else signals.EXIT_INPUT
    assert signals.exit_code_of(found.value) == expected
