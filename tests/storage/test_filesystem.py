"""Files and folders in a store."""

import datetime
import secrets

import pytest

from mnist_estimator.storage import _errors, _filesystem, _objects, _paths


@pytest.fixture
def bucket():
    """An empty bucket in memory."""
    return _paths.parse(f"memory://{secrets.token_hex(4)}")


def put(bucket, *keys, content=b"x"):
    for key in keys:
        _objects.put(bucket.below(key), content)


def keys(bucket):
    return sorted(key for page in _objects.listed(bucket) for key in _objects.keys_of(page))


def test_a_file_a_folder_and_nothing(bucket):
    put(bucket, "d/a", content=b"123")
    file = _filesystem.stat(bucket.below("d/a"))
    assert (file.size, file.is_folder) == (3, False)
    now = datetime.datetime.now().timestamp() * 1e9
    assert 0 <= now - file.mtime_ns < 60e9
    assert _filesystem.stat(bucket.below("d")) == (0, 0, True)
    assert _filesystem.stat(bucket) == (0, 0, True)
    with pytest.raises(FileNotFoundError, match="memory://.*/e does not exist"):
        _filesystem.stat(bucket.below("e"))


def test_a_neighbour_with_the_same_beginning_makes_no_folder(bucket):
    put(bucket, "ab/c")
    assert not _filesystem.exists(bucket.below("a"))


def test_a_made_folder_is_there_and_empty(bucket):
    _filesystem.create_folder(bucket.below("d"))
    assert (
        _filesystem.is_folder(bucket.below("d")) and _filesystem.children(bucket.below("d")) == []
    )
    assert _filesystem.children(bucket) == ["d"]
    with pytest.raises(FileExistsError):
        _filesystem.create_folder(bucket.below("d"))


def test_folders_are_made_with_those_above_and_stay_when_emptied(bucket):
    _filesystem.create_folders(bucket.below("a/b/c"))
    _filesystem.create_folders(bucket.below("a/b/c"))
    put(bucket, "a/b/c/x")
    _filesystem.delete_file(bucket.below("a/b/c/x"))
    assert _filesystem.children(bucket.below("a/b/c")) == []
    assert _filesystem.delete_all(bucket.below("a/b")) == 0
    assert _filesystem.children(bucket.below("a")) == []


def test_a_folder_is_not_made_where_a_file_is_or_below_one(bucket):
    put(bucket, "a")
    with pytest.raises(FileExistsError):
        _filesystem.create_folder(bucket.below("a"))
    for key in ("a", "a/b/c"):
        with pytest.raises(NotADirectoryError, match="/a is a file"):
            _filesystem.create_folders(bucket.below(key))
    assert keys(bucket) == ["a"]


def test_children_are_names_of_one_level_in_order(bucket):
    put(bucket, "d/b", "d/a", "d/c/x", "d/c/y/z", "dd/q")
    assert _filesystem.children(bucket.below("d")) == ["a", "b", "c"]
    with pytest.raises(NotADirectoryError):
        _filesystem.children(bucket.below("d/a"))
    with pytest.raises(FileNotFoundError):
        _filesystem.children(bucket.below("e"))


def test_a_file_named_as_a_marker_that_holds_something_is_shown(bucket):
    put(bucket, f"d/{_filesystem.MARKER}")
    assert _filesystem.children(bucket.below("d")) == [_filesystem.MARKER]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("d/*", ["d/a.txt", "d/b.txt", "d/e"]),
        ("d/*.txt", ["d/a.txt", "d/b.txt"]),
        ("d/[ab].txt", ["d/a.txt", "d/b.txt"]),
        ("d/[^a].txt", ["d/b.txt"]),
        ("d/?.txt", ["d/a.txt", "d/b.txt"]),
        ("*/e/*", ["d/e/c.txt"]),
        ("*/e/c.txt", ["d/e/c.txt"]),
        ("d/e/no*", []),
        ("no/*", []),
        ("no", []),
        ("d/a.txt", ["d/a.txt"]),
        ("d", ["d"]),
        (r"w/\*.txt", ["w/*.txt"]),
        (r"w/*", ["w/*.txt", "w/x.txt"]),
    ],
)
def test_patterns_match_as_on_a_disk(bucket, pattern, found):
    put(bucket, "d/a.txt", "d/b.txt", "d/e/c.txt", "w/*.txt", "w/x.txt")
    _filesystem.create_folders(bucket.below("d"))
    matches = _filesystem.matching(bucket.below(pattern))
    assert [match.key for match in matches] == found


def test_only_a_file_is_deleted_as_one(bucket):
    put(bucket, "d/a")
    with pytest.raises(IsADirectoryError):
        _filesystem.delete_file(bucket.below("d"))
    with pytest.raises(FileNotFoundError):
        _filesystem.delete_file(bucket.below("no"))
    assert keys(bucket) == ["d/a"]


def test_only_an_empty_folder_is_deleted_as_one(bucket):
    put(bucket, "d/a")
    _filesystem.create_folders(bucket.below("d/e"))
    for key in ("d", "d/a", "no"):
        with pytest.raises(OSError):
            _filesystem.delete_folder(bucket.below(key))
    with pytest.raises(IsADirectoryError, match="bucket"):
        _filesystem.delete_folder(_paths.parse(f"memory://{secrets.token_hex(4)}"))
    _filesystem.delete_folder(bucket.below("d/e"))
    assert _filesystem.children(bucket.below("d")) == ["a"]


def test_deleting_never_goes_beyond_the_folder(bucket):
    put(bucket, "a/b/x", "a/b/y/z", "a/bc/x", "a/b.txt", "ab")
    assert _filesystem.delete_all(bucket.below("a/b")) == 0
    assert keys(bucket) == ["a/b.txt", "a/bc/x", "ab"]
    # As on a disk.
    assert _filesystem.delete_all(bucket.below("ab")) == 0
    assert keys(bucket) == ["a/b.txt", "a/bc/x"]
    with pytest.raises(FileNotFoundError):
        _filesystem.delete_all(bucket.below("a/b"))


def test_what_makes_a_folder_look_whole_is_deleted_first(bucket, monkeypatch):
    put(bucket, "d/a", "d/saved_model.pb", "d/v/z", "d/v/checkpoint")
    deleted = []
    monkeypatch.setattr(_objects, "delete", lambda location, keys: deleted.append(sorted(keys)))
    left = _filesystem.delete_all(bucket.below("d"))
    assert deleted == [["d/saved_model.pb", "d/v/checkpoint"], ["d/a", "d/v/z"]]
    # Nothing was deleted here: what stays is counted.
    assert left == 4


@pytest.mark.parametrize(
    "call",
    [
        _filesystem.create_folder,
        _filesystem.create_folders,
        _filesystem.delete_file,
        _filesystem.delete_folder,
        _filesystem.delete_all,
        _filesystem.children,
    ],
)
def test_a_url_has_files_only(call):
    with pytest.raises(_errors.ReadOnlyError):
        call(_paths.parse("https://127.0.0.1/a"))


def test_ten_thousand_objects_in_a_folder(bucket):
    put(bucket, *(f"d/{number:05d}" for number in range(10_000)))
    assert len(_filesystem.children(bucket.below("d"))) == 10_000
    assert len(_filesystem.matching(bucket.below("d/*7"))) == 1000
    assert _filesystem.delete_all(bucket.below("d")) == 0
