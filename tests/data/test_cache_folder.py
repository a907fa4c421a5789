"""The folder of copies: what is found, what is removed for room, and what never is."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from mnist_estimator.data import cache_folder
from mnist_estimator.data.cache_folder import BusyError, CacheError, CacheFolder


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def put(folder: CacheFolder, name: str, size: int = 10, needs: dict[str, int] | None = None):
    """Makes a copy; returns whether there was room."""
    part = folder.reserve(digest(name), size, needs or {})
    if part is None:
        return False
    part.write(name[:1].encode() * size)
    os.close(part.commit())
    return True


def names(folder: CacheFolder) -> set[str]:
    """The copies that are there, by the names that `put` had."""
    known = {f"{digest(name)}.tfrecord": name for name in "abcdef"}
    return {known.get(name, name) for name in os.listdir(folder.path)} - {"CACHEDIR.TAG"}


@pytest.fixture
def folder(tmp_path: Path) -> CacheFolder:
    return CacheFolder(str(tmp_path / "cache" / "shards"), 30)


def test_a_copy_is_found_once_it_is_whole(folder):
    part = folder.reserve(digest("a"), 10, {})
    part.write(b"12345")
    assert folder.find(digest("a"), 10) is None
    part.write(b"67890")
    handle = part.commit()
    found = folder.find(digest("a"), 10)
    assert os.pread(found, 99, 0) == b"1234567890"
    assert cache_folder.sha256(found) == hashlib.sha256(b"1234567890").hexdigest()
    assert cache_folder.identity(found) == cache_folder.identity(handle)
    assert folder.find(digest("a"), 11) is None
    os.close(handle)
    os.close(found)


def test_no_one_makes_room_while_a_part_becomes_a_copy(folder, monkeypatch):
    replace, seen = os.replace, []

    def replace_alone(*paths):
        monkeypatch.setattr(cache_folder, "_LOCK_SECS", 0)
        with pytest.raises(CacheError, match="locked"):
            folder.reserve(digest("b"), 25, {})
        seen.append(paths)
        replace(*paths)

    monkeypatch.setattr(cache_folder.os, "replace", replace_alone)
    assert put(folder, "a") and seen


def test_what_is_not_needed_is_removed_first_and_the_longest_unused_of_it(folder):
    for name in "abc":
        put(folder, name)
    os.utime(folder.place(digest("b")), ns=(0, 0))
    assert put(folder, "d") and names(folder) == {"a", "c", "d"}
    os.utime(folder.place(digest("c")), ns=(0, 0))
    os.close(folder.find(digest("c"), 10))  # Which is a use.
    os.utime(folder.place(digest("a")), ns=(1, 1))
    assert put(folder, "e") and names(folder) == {"c", "d", "e"}


def test_what_is_needed_last_is_removed_and_what_is_needed_before_stays(folder):
    needs = {digest(name): place for place, name in enumerate("cabdef")}
    for name in "abc":
        put(folder, name, needs=needs)
    assert not put(folder, "d", needs=needs) and names(folder) == set("abc")
    needs[digest("d")] = 0
    assert put(folder, "d", needs=needs) and names(folder) == {"a", "c", "d"}


def test_what_is_read_stays(folder):
    handles = []
    for name in "abc":
        put(folder, name)
        handles.append(folder.find(digest(name), 10))
    assert not put(folder, "d") and names(folder) == set("abc")
    os.close(handles.pop())
    assert put(folder, "d") and names(folder) == {"a", "b", "d"}
    for handle in handles:
        os.close(handle)


def test_files_that_are_no_copies_stay(folder, tmp_path):
    mine = tmp_path / "mine"
    mine.write_bytes(b"x" * 10)
    place = Path(folder.path)
    (place / "a.tfrecord").write_bytes(b"x" * 10)
    (place / f"{digest('x').upper()}.tfrecord").write_bytes(b"x" * 10)
    (place / f"{digest('y')}.tfrecord").mkdir()
    (place / f"{digest('z')}.tfrecord").symlink_to(mine)
    os.link(mine, place / f"{digest('v')}.tfrecord")
    before = set(os.listdir(place))
    for name in "abcdef":
        put(folder, name)
    assert before <= set(os.listdir(place)) and len(names(folder)) == 5 + 2
    assert mine.read_bytes() == b"x" * 10


@pytest.mark.parametrize("ending", [".tfrecord", ".part"])
@pytest.mark.parametrize("kind", [os.symlink, os.link])
def test_nothing_is_read_or_written_through_a_link(folder, tmp_path, kind, ending):
    (tmp_path / "mine").write_bytes(b"x" * 10)
    kind(tmp_path / "mine", folder.place(digest("a"), ending))
    with pytest.raises(CacheError, match="not a plain file|2 hard links"):
        folder.find(digest("a"), 10) if ending == ".tfrecord" else folder.reserve(
            digest("a"), 5, {}
        )
    assert (tmp_path / "mine").read_bytes() == b"x" * 10


def test_a_copy_is_written_by_one_at_a_time_and_counts_at_once(folder):
    part = folder.reserve(digest("a"), 25, {})
    with pytest.raises(BusyError):
        CacheFolder(folder.path, 30).reserve(digest("a"), 25, {})
    assert folder.changed(digest("a")) and not folder.changed(digest("b"))
    assert not put(folder, "b")
    part.discard()
    assert names(folder) == set() and put(folder, "b")


def test_the_part_of_a_killed_process_is_removed(folder):
    Path(folder.place(digest("a"), ".part")).write_bytes(b"x" * 25)
    assert put(folder, "b") and names(folder) == {"b"}


def test_a_copy_larger_than_the_limit_removes_nothing(folder):
    put(folder, "a")
    assert not put(folder, "b", size=31) and names(folder) == {"a"}


def test_a_full_disk_is_an_error_that_says_so(folder, monkeypatch):
    part = folder.reserve(digest("a"), 10, {})

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache_folder.os, "pwrite", full)
    with pytest.raises(CacheError, match="No space left on device"):
        part.write(b"x")
    part.discard()
    assert names(folder) == set()


def _of_others(path: Path) -> None:
    path.mkdir()
    path.chmod(0o777)


def _with_files(path: Path) -> None:
    path.mkdir(mode=0o700)
    (path / f"{digest('a')}.tfrecord").write_bytes(b"mine")


def _other_tag(path: Path) -> None:
    path.mkdir(mode=0o700)
    (path / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n# pip")


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda path: path.symlink_to(path.parent), "is a symbolic link"),
        (lambda path: path.write_text("x"), "expected a folder of yours"),
        (_of_others, "no other user can write to"),
        (_with_files, "holds files that are no copies"),
        (_other_tag, "holds files that are no copies"),
    ],
)
def test_a_folder_of_other_things_is_not_used(tmp_path, make, expected):
    make(tmp_path / "shards")
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    with pytest.raises(CacheError, match=expected):
        CacheFolder(str(tmp_path / "shards"), 30)
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")} == before


def test_a_folder_without_locks_is_not_used(folder, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(cache_folder.fcntl, "flock", none)
    with pytest.raises(CacheError, match="cannot be locked"):
        folder.reserve(digest("a"), 10, {})


def test_the_usual_limit_leaves_half_of_the_disk(tmp_path, monkeypatch):
    class Disk:
        f_bavail, f_frsize = 1000, 10

    put(CacheFolder(str(tmp_path / "shards"), 100), "a", size=100)
    monkeypatch.setattr(cache_folder.os, "statvfs", lambda path: Disk)
    assert CacheFolder(str(tmp_path / "shards")).limit == 5050
    Disk.f_bavail = 10**12
    assert CacheFolder(str(tmp_path / "shards")).limit == 20 * 10**9
