"""Files kept for later processes: only what this user kept under this name and key comes back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mnist_estimator.runtime import user_cache


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "mnist_estimator"


def read(key="key"):
    return user_cache.read("kind", "name", key)


def keep(content, key="key"):
    user_cache.keep("kind", "name", key, content)


def test_what_is_kept_comes_back_until_something_else_is_kept(folder):
    assert read() is None
    for content in (b"one\nand more\n\0", b"", b"two"):
        keep(content)
        assert read() == content
    assert os.listdir(folder / "kind") == ["name"]
    assert user_cache.read("kind", "other", "key") is None


def test_another_key_finds_nothing_and_takes_the_place():
    keep(b"old", key="old")
    assert read("new") is None
    keep(b"new", key="new")
    assert read("old") is None and read("new") == b"new"


def test_a_file_under_another_name_is_not_taken(folder):
    keep(b"content")
    os.rename(folder / "kind/name", folder / "kind/other")
    assert user_cache.read("kind", "other", "key") is None


def damaged(content: bytes) -> list[bytes]:
    flipped = bytes([*content[:-1], content[-1] ^ 1])
    return [b"", content[:-1], content[:64], content[:10], flipped, content + b"\0", b"x" + content]


def test_what_is_damaged_is_not_taken(folder):
    keep(b"content")
    path = folder / "kind/name"
    for content in damaged(path.read_bytes()):
        path.write_bytes(content)
        assert read() is None


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_what_others_can_write_to_is_not_taken(folder, mode):
    keep(b"content")
    os.chmod(folder / "kind/name", mode)
    assert read() is None


def test_what_another_user_wrote_is_not_taken(monkeypatch):
    keep(b"content")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert read() is None


def test_others_can_write_to_nothing_whatever_the_umask_is(folder):
    before = os.umask(0)
    try:
        keep(b"content")
    finally:
        os.umask(before)
    assert read() == b"content"


@pytest.mark.parametrize("what", ["folder", "fifo", "file in the way"])
def test_what_cannot_be_kept_is_left_and_nothing_is_raised(folder, what):
    place = folder / "kind/name"
    if what == "file in the way":
        folder.mkdir()
        place.parent.write_bytes(b"a user's")
    elif what == "folder":
        place.mkdir(parents=True)
    else:
        place.parent.mkdir(parents=True)
        os.mkfifo(place)
    keep(b"content")
    assert read() is None
    assert place.is_dir() or place.is_fifo() or place.parent.read_bytes() == b"a user's"


@pytest.mark.parametrize("given", ["", "relative"])
def test_without_a_home_folder_nothing_is_kept(monkeypatch, tmp_path, given):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", given)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert Path(user_cache.folder()) == tmp_path / "home/.cache/mnist_estimator"
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert user_cache.folder() == ""
    keep(b"content")
    assert read() is None and not list(tmp_path.iterdir())
