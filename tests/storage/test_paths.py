"""Paths of objects."""

import pytest

from mnist_estimator.storage import _paths


@pytest.mark.parametrize(
    ("path", "scheme", "bucket", "key"),
    [
        ("s3://b/a/c.txt", "s3", "b", "a/c.txt"),
        ("S3://b/a", "s3", "b", "a"),
        ("s3://b", "s3", "b", ""),
        ("s3://b/", "s3", "b", ""),
        ("s3://b//a///c/", "s3", "b", "a/c"),
        ("s3://b/./a/.", "s3", "b", "a"),
        ("s3://b/a..b/...", "s3", "b", "a..b/..."),
        ("s3://b/what?", "s3", "b", "what?"),
        ("az://cont/a", "az", "cont", "a"),
        ("abfs://cont@acc.dfs.core.windows.net/a", "abfs", "cont@acc.dfs.core.windows.net", "a"),
        ("memory://b/ü/日本", "memory", "b", "ü/日本"),
    ],
)
def test_a_path_is_taken_apart(path, scheme, bucket, key):
    assert _paths.parse(path) == _paths.Location(scheme, bucket, key)


def test_a_url_keeps_its_query_and_does_not_show_it():
    found = _paths.parse("https://me:secret@host:80/a/b?sig=SIGNED")
    assert (found.key, found.query) == ("a/b", "sig=SIGNED")
    assert str(found) == "https://host:80/a/b"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("s3://", "no bucket"),
        ("s3:///a", "no bucket"),
        ("s3://b/a/../c", "'..'"),
        ("s3://b/..", "'..'"),
        ("s3://b/a\nb", "control character"),
        ("s3://b/a\x7f", "control character"),
    ],
)
def test_a_path_that_no_store_takes_is_refused(path, says):
    with pytest.raises(_paths.PathError, match=says) as raised:
        _paths.parse(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("path", "scheme"),
    [
        ("s3://b/a", "s3"),
        ("/a/b", ""),
        ("a://", "a"),
        ("C:\\a", ""),
        ("/tmp/x://y", ""),
        ("", ""),
        ("ABFSS://c", "abfss"),
    ],
)
def test_a_scheme_is_told_from_a_name(path, scheme):
    assert _paths.scheme_of(path) == scheme


def test_a_folder_holds_what_is_in_it_and_no_neighbour():
    folder = _paths.parse("s3://b/a")
    assert folder.holds("a/x") and folder.holds("a/x/y")
    assert not folder.holds("ab/x") and not folder.holds("a") and not folder.holds("a/")
    assert _paths.parse("s3://b").holds("a")


def test_places_above_and_below():
    place = _paths.parse("s3://b").below("x/y")
    assert place.key == "x/y" and place.above().key == "x"
    assert place.above().above().key == place.above().above().above().key == ""


def test_two_buckets_are_two_stores():
    one = _paths.parse("s3://b/a")
    assert one.shares_store(_paths.parse("s3://b/c"))
    assert not one.shares_store(_paths.parse("s3://c/a"))
    assert not one.shares_store(_paths.parse("memory://b/a"))
