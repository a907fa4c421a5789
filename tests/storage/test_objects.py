"""What is asked of a store."""

import secrets

import obstore
import pytest

from mnist_estimator.storage import _errors, _objects, _paths, _stores


@pytest.fixture
def bucket():
    """An empty bucket in memory."""
    return _paths.parse(f"memory://{secrets.token_hex(4)}")


def put(bucket, **contents):
    for name, content in contents.items():
        _objects.put(bucket.below(name), content)


def test_an_object_is_described_or_is_not_there(bucket):
    put(bucket, a=b"123")
    assert _objects.head(bucket.below("a"))["size"] == 3
    assert _objects.head(bucket.below("b")) is None
    assert _objects.head(bucket) is None


def test_a_range_is_of_the_version_that_was_asked_for(bucket):
    put(bucket, a=b"12345")
    tag = _objects.head(bucket.below("a"))["e_tag"]
    assert bytes(_objects.get(bucket.below("a"), 1, 3, tag).bytes()) == b"23"
    put(bucket, a=b"67890")
    with pytest.raises(_errors.ChangedError, match="memory://.*/a was changed"):
        _objects.get(bucket.below("a"), 1, 3, tag)


def test_a_level_has_folders_and_objects(bucket):
    for key in ("d/a", "d/e/b", "d/f/g/c", "dx/y"):
        _objects.put(bucket.below(key), b"")
    folders, objects = _objects.level(bucket.below("d"))
    assert sorted(folders) == ["e", "f"] and _objects.keys_of(objects) == ["d/a"]
    assert sorted(_objects.level(bucket)[0]) == ["d", "dx"]


def test_all_objects_of_a_folder_come_in_pages(bucket):
    for number in range(2500):
        _objects.put(bucket.below(f"d/{number:05d}"), b"")
    _objects.put(bucket.below("e"), b"")
    pages = list(_objects.listed(bucket.below("d")))
    assert [len(page) for page in pages] == [1000, 1000, 500]


def test_there_is_something_or_not(bucket):
    assert not _objects.anything(bucket.below("d"))
    _objects.put(bucket.below("dx/a"), b"")
    assert not _objects.anything(bucket.below("d"))
    _objects.put(bucket.below("d/e/f/a"), b"")
    assert _objects.anything(bucket.below("d"))


def test_to_delete_what_is_not_there_is_no_error(bucket, monkeypatch, tmp_path):
    put(bucket, a=b"")
    _objects.delete(bucket, ["no", "a"])
    assert _objects.head(bucket.below("a")) is None
    # This store says so, as Google's and Azure's.
    store = obstore.store.LocalStore(str(tmp_path))
    monkeypatch.setattr(_stores, "of", lambda location: store)
    put(bucket, a=b"", b=b"")
    _objects.delete(bucket, ["no", "a", "neither", "b"])
    assert not list(tmp_path.iterdir())


def test_an_upload_is_there_when_it_is_closed_and_not_when_it_is_aborted(bucket, monkeypatch):
    monkeypatch.setattr(_objects, "PART_BYTES", 1000)
    one, other = bucket.below("one"), bucket.below("other")
    for place in (one, other):
        upload = _objects.upload(place, b"x" * 2000)
        upload.write(b"x" * 500)
        assert _objects.head(place) is None
        if place == one:
            _objects.finish(upload, place, 2500, None)
        else:
            _objects.abort_quietly(upload)
    assert _objects.head(one)["size"] == 2500 and _objects.head(other) is None
    _objects.abort_quietly(upload)


@pytest.mark.parametrize(
    "call",
    [
        lambda place: _objects.put(place, b""),
        lambda place: _objects.upload(place, b""),
        lambda place: _objects.delete(place, ["a"]),
        lambda place: list(_objects.listed(place)),
        lambda place: _objects.anything(place),
        lambda place: _objects.level(place),
        lambda place: _objects.copy_within(place, place),
    ],
)
def test_a_url_can_only_be_read(call):
    with pytest.raises(_errors.ReadOnlyError, match="https://host/a"):
        call(_paths.parse("https://me:pass@host/a?sig=x"))


def test_which_errors_are_of_a_range(bucket):
    put(bucket, empty=b"", a=b"1")
    with pytest.raises(Exception) as raised:
        _objects.get(bucket.below("empty"), 0, 5)
    assert _objects.has_no_range(raised.value)
    with pytest.raises(FileNotFoundError) as raised:
        _objects.get(bucket.below("no"), 0, 5)
    assert not _objects.has_no_range(raised.value)
