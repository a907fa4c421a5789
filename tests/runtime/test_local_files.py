"""Local files: nothing is written or removed through a link, only plain files are read."""

from __future__ import annotations

import os
import time

import pytest
from support.unchanged import untouched

from mnist_estimator import InputError
from mnist_estimator.runtime import local_files


def test_a_folder_is_removed_and_what_its_links_point_to_is_not(tmp_path, outside):
    folder = tmp_path / "folder"
    (folder / "deep/er").mkdir(parents=True)
    (folder / "deep/er/file").write_text("")
    (folder / "link").symlink_to(outside)
    (folder / "deep/er/link").symlink_to(outside / "below")
    (folder / "deep/file").symlink_to(outside / "a")
    (folder / "loop").symlink_to(folder)
    os.link(outside / "a", folder / "hard")
    with untouched(outside):
        local_files.remove_folder(str(folder))
    assert not folder.exists()


@pytest.mark.parametrize("target", ["outside", "outside/a", "nowhere"])
def test_a_link_in_place_of_a_folder_is_removed_itself(tmp_path, outside, target):
    (tmp_path / "link").symlink_to(tmp_path / target)
    with untouched(outside):
        local_files.remove_folder(str(tmp_path / "link"), first=["manifest.json", "below/b"])
    assert not os.path.lexists(tmp_path / "link")


def test_what_goes_first_goes_through_no_link(tmp_path, outside):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "below").symlink_to(outside / "below")
    with untouched(outside):
        local_files.remove_folder(str(folder), first=["below/b"])
    assert not folder.exists()


def test_a_folder_that_becomes_a_link_meanwhile_is_not_gone_through(tmp_path, outside, monkeypatch):
    folder = tmp_path / "folder"
    folder.mkdir()
    rmtree = local_files.shutil.rmtree

    def swapped(path, **options):
        os.rename(folder, tmp_path / "moved")
        folder.symlink_to(outside)
        rmtree(path, **options)

    monkeypatch.setattr(local_files.shutil, "rmtree", swapped)
    with untouched(outside):
        local_files.remove_folder(str(folder))
    assert local_files.shutil.rmtree is swapped and rmtree.avoids_symlink_attacks


def test_what_goes_first_is_removed_before_the_rest(tmp_path, monkeypatch):
    for name in ("folder/below/first", "folder/below/second", "folder/third"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(local_files.shutil, "rmtree", lambda *args, **options: None)
    local_files.remove_folder(f"{tmp_path}/folder", first=["below/first", "no/such", "none"])
    assert [path.name for path in (tmp_path / "folder/below").iterdir()] == ["second"]
    assert (tmp_path / "folder/third").exists()


def test_only_a_plain_file_is_read_and_without_waiting(tmp_path):
    (tmp_path / "plain").write_bytes(b"content")
    (tmp_path / "link").symlink_to("plain")
    os.mkfifo(tmp_path / "fifo")
    for name in ("plain", "link"):
        with local_files.reading(f"{tmp_path}/{name}") as file:
            assert file.read() == b"content"
    for path in (f"{tmp_path}/fifo", "/dev/null"):
        with (
            pytest.raises(InputError, match=f"^{path}: not a plain file, expected one$"),
            local_files.reading(path),
        ):
            pytest.fail("opened")


def test_a_replaced_file_is_the_old_one_until_the_block_ends(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    with local_files.replacing(f"{tmp_path}/file") as file:
        file.write(b"new")
        file.flush()
        assert (tmp_path / "file").read_bytes() == b"old"
        (temporary,) = set(os.listdir(tmp_path)) - {"file"}
        assert local_files.is_temporary(temporary)
    assert (tmp_path / "file").read_bytes() == b"new"
    with pytest.raises(KeyboardInterrupt), local_files.replacing(f"{tmp_path}/file") as file:
        file.write(b"newer")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"new"


def test_a_check_that_a_file_can_be_written_changes_nothing(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    local_files.check_writable(f"{tmp_path}/file")
    local_files.check_writable(f"{tmp_path}/new")
    with pytest.raises(FileNotFoundError):
        local_files.check_writable(f"{tmp_path}/none/new")
    with pytest.raises(InputError, match="not a plain file"):
        local_files.check_writable(str(tmp_path))
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_file_that_is_written_over_stays_the_same_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"a longer content")
    inode = path.stat().st_ino
    local_files.write_over(str(path), b"short")
    assert path.read_bytes() == b"short"
    assert path.stat().st_ino == inode


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path, outside: path.symlink_to(outside / "a"), "file: not a plain file"),
        (lambda path, outside: os.mkfifo(path), "file: not a plain file"),
        (lambda path, outside: os.link(outside / "a", path), "file: found 2 hard links to it"),
    ],
    ids=["link", "fifo", "hard link"],
)
def test_only_a_file_of_our_own_is_written_over(tmp_path, outside, make, message):
    make(tmp_path / "file", outside)
    with untouched(outside), pytest.raises(InputError, match=message):
        local_files.write_over(f"{tmp_path}/file", b"new")


def test_a_folder_to_write_to_is_no_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    local_files.check_no_link(str(tmp_path))
    local_files.check_no_link(f"{tmp_path}/none")
    with pytest.raises(InputError, match="link: is a symbolic link, expected a folder or nothing"):
        local_files.check_no_link(f"{tmp_path}/link")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (".mnist_estimator-0123456789abcdef.tmp", True),
        (".mnist_estimator-0123456789abcde.tmp", False),
        (".mnist_estimator-0123456789abcdef.tmp2", False),
        ("x.mnist_estimator-0123456789abcdef.tmp", False),
        ("mine.tmp", False),
    ],
)
def test_a_temporary_file_is_known_by_its_whole_name(name, expected):
    assert local_files.is_temporary(name) is expected


@pytest.mark.parametrize(("age_secs", "expected"), [(0, False), (86_000, False), (87_000, True)])
def test_a_file_is_left_over_after_a_day(tmp_path, age_secs, expected):
    path = tmp_path / "file"
    path.touch()
    then = time.time() - age_secs
    os.utime(path, (then, then))
    assert local_files.is_left_over(str(path)) is expected
    assert not local_files.is_left_over(f"{tmp_path}/none")
