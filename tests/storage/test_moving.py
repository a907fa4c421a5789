"""Copies and renames."""

import secrets

import pytest

from mnist_estimator.storage import _filesystem, _moving, _objects, _paths


@pytest.fixture
def bucket():
    """An empty bucket in memory."""
    return _paths.parse(f"memory://{secrets.token_hex(4)}")


def put(bucket, **contents):
    for name, content in contents.items():
        _objects.put(bucket.below(name.replace("__", "/")), content)


def content(location):
    return bytes(_objects.get_all(location).bytes())


def keys(bucket):
    return sorted(key for page in _objects.listed(bucket) for key in _objects.keys_of(page))


def test_a_file_is_copied_and_renamed_over_another(bucket):
    put(bucket, a=b"new", b=b"old", c=b"old")
    _moving.copy(bucket.below("a"), bucket.below("b"))
    _moving.rename(bucket.below("a"), bucket.below("c"))
    assert keys(bucket) == ["b", "c"]
    assert content(bucket.below("b")) == content(bucket.below("c")) == b"new"


def test_onto_itself_nothing_changes(bucket):
    put(bucket, a=b"1", d__x=b"2")
    for key in ("a", "d"):
        _moving.rename(bucket.below(key), bucket.below(key))
    _moving.copy(bucket.below("a"), bucket.below("a"))
    assert keys(bucket) == ["a", "d/x"] and content(bucket.below("a")) == b"1"


def test_a_folder_moves_with_all_below_and_no_neighbour(bucket):
    put(bucket, d__x=b"1", d__e__y=b"2", dd__x=b"3")
    _filesystem.create_folders(bucket.below("d/empty"))
    _moving.rename(bucket.below("d"), bucket.below("n/m"))
    assert _filesystem.children(bucket) == ["dd", "n"]
    assert _filesystem.children(bucket.below("n/m")) == ["e", "empty", "x"]
    assert content(bucket.below("n/m/e/y")) == b"2"


def test_what_makes_a_folder_look_whole_moves_last_and_goes_first(bucket, monkeypatch):
    put(bucket, d__zz=b"1", d__saved_model_pb=b"2", d__v__data=b"3")
    _moving.rename(bucket.below("d/saved_model_pb"), bucket.below("d/saved_model.pb"))
    copied, deleted = [], []
    real = _objects.copy_within

    def copy(source, target):
        copied.append(target.key)
        real(source, target)

    monkeypatch.setattr(_objects, "copy_within", copy)
    delete = _objects.delete
    monkeypatch.setattr(
        _objects, "delete", lambda place, keys: (deleted.append(list(keys)), delete(place, keys))
    )
    _moving.rename(bucket.below("d"), bucket.below("n"))
    assert copied[-1] == "n/saved_model.pb" and sorted(copied[:-1]) == ["n/v/data", "n/zz"]
    assert deleted[0] == ["d/saved_model.pb"]


def test_where_a_rename_is_cut_off_the_old_folder_is_whole(bucket, monkeypatch):
    put(bucket, d__a=b"1", d__manifest=b"2")
    _moving.rename(bucket.below("d/manifest"), bucket.below("d/manifest.json"))

    def fail(source, target):
        if target.key.endswith(".json"):
            raise ConnectionError("the line is cut")
        return real(source, target)

    real = _objects.copy_within
    monkeypatch.setattr(_objects, "copy_within", fail)
    with pytest.raises(ConnectionError):
        _moving.rename(bucket.below("d"), bucket.below("n"))
    assert _filesystem.children(bucket.below("d")) == ["a", "manifest.json"]
    assert _filesystem.children(bucket.below("n")) == ["a"]


def test_an_empty_folder_takes_another_and_a_full_one_does_not(bucket):
    put(bucket, d__x=b"1", n__y=b"2")
    _filesystem.create_folders(bucket.below("e"))
    with pytest.raises(FileExistsError, match="not empty"):
        _moving.rename(bucket.below("d"), bucket.below("n"))
    _moving.rename(bucket.below("d"), bucket.below("e"))
    assert _filesystem.children(bucket.below("e")) == ["x"]
    assert _filesystem.children(bucket.below("n")) == ["y"]


@pytest.mark.parametrize(
    ("source", "target", "error"),
    [
        ("d", "d/e", _paths.PathError),
        ("", "e", _paths.PathError),
        ("d", "a", NotADirectoryError),
        ("a", "d", IsADirectoryError),
        ("no", "e", FileNotFoundError),
        ("d", "", FileExistsError),
    ],
)
def test_a_rename_that_a_disk_refuses_changes_nothing(bucket, source, target, error):
    put(bucket, a=b"1", d__x=b"2")
    places = [bucket.below(key) if key else bucket for key in (source, target)]
    with pytest.raises(error):
        _moving.rename(*places)
    assert keys(bucket) == ["a", "d/x"]


def test_a_folder_is_not_copied_as_a_file_and_not_overwritten_by_one(bucket):
    put(bucket, a=b"1", d__x=b"2")
    for source, target in (("d", "e"), ("a", "d")):
        with pytest.raises(IsADirectoryError):
            _moving.copy(bucket.below(source), bucket.below(target))


def test_between_buckets_and_over_the_limit_of_a_copy_it_is_read_and_written(bucket, monkeypatch):
    other = _paths.parse(f"memory://{secrets.token_hex(4)}")
    big = secrets.token_bytes(300_000)
    put(bucket, d__big=big, d__empty=b"")
    _moving.rename(bucket.below("d"), other.below("d"))
    assert keys(bucket) == [] and content(other.below("d/big")) == big
    assert content(other.below("d/empty")) == b""
    monkeypatch.setattr(_objects, "COPY_LIMIT_BYTES", 1000)
    monkeypatch.setattr(_objects, "PART_BYTES", 100_000)
    monkeypatch.setattr(_moving, "_READ_BYTES", 70_000)
    monkeypatch.setattr(_objects, "copy_within", None)
    _moving.copy(other.below("d/big"), other.below("copy"))
    assert content(other.below("copy")) == big


def test_a_copy_that_fails_leaves_nothing(bucket, monkeypatch):
    other = _paths.parse(f"memory://{secrets.token_hex(4)}")
    put(bucket, a=secrets.token_bytes(1 << 20))
    monkeypatch.setattr(_moving, "_READ_BYTES", 300_000)
    monkeypatch.setattr(_moving._reading, "FIRST_BYTES", 1000)
    real = _objects.get

    def get(location, start, end, tag=None):
        if start > 0:
            raise ConnectionError("the line is cut")
        return real(location, start, end, tag)

    monkeypatch.setattr(_objects, "get", get)
    with pytest.raises(ConnectionError):
        _moving.rename(bucket.below("a"), other.below("a"))
    assert keys(other) == [] and keys(bucket) == ["a"]


def test_many_objects_move(bucket):
    put(bucket, **{f"d__{number}": b"%d" % number for number in range(600)})
    _moving.rename(bucket.below("d"), bucket.below("n"))
    assert len(keys(bucket)) == 600 and content(bucket.below("n/599")) == b"599"
