"""A copy of a shard is that of the manifest, or there is none."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest
from support import stored_shards

from mnist_estimator.data import shard_fetch
from mnist_estimator.data.cache_folder import CacheFolder, identity
from mnist_estimator.data.manifest import Dataset, DatasetError, Shard


@pytest.fixture
def stored() -> Iterator[Dataset]:
    with stored_shards.dataset() as found:
        yield found


@pytest.fixture
def shard(stored: Dataset) -> Shard:
    return stored.manifest.splits["train"][1]


@pytest.fixture
def folder(tmp_path) -> CacheFolder:
    return CacheFolder(str(tmp_path / "shards"), 10**6)


def bring(stored, shard, folder, known=None):
    """The bytes of the copy, and its identity; None if there is no room."""
    source = stored_shards.path(stored, shard)
    handle = shard_fetch.bring(source, shard, folder, {}, known=known)
    if handle is None:
        return None
    found = os.pread(handle, 10**6, 0), identity(handle)
    os.close(handle)
    return found


def test_a_shard_is_fetched_once(stored, shard, folder, monkeypatch):
    reads = stored_shards.watch(monkeypatch)
    first = bring(stored, shard, folder)
    assert len(first[0]) == shard.bytes
    assert bring(stored, shard, folder) == first and len(reads.paths) == 1


def test_a_damaged_copy_is_fetched_again(stored, shard, folder, capsys):
    content, about = bring(stored, shard, folder)
    place = folder.place(shard.sha256)
    for damaged in (content[:-1], bytes([content[0] ^ 1]) + content[1:]):
        with open(place, "wb") as file:
            file.write(damaged)
        assert bring(stored, shard, folder, about)[0] == content
    assert f"{place}: found damaged, fetching {shard.file} again" in capsys.readouterr().err


def test_a_verified_copy_is_not_read_again(stored, shard, folder, monkeypatch):
    content, about = bring(stored, shard, folder)
    monkeypatch.setattr(shard_fetch.cache_folder, "sha256", None)
    assert bring(stored, shard, folder, about)[0] == content


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda content: content[:-1], "bytes in the store, expected"),
        (lambda content: content + b"x", "bytes or more in the store, expected"),
        (lambda content: b"x" + content[1:], "sha256 [0-9a-f]{64}, expected"),
    ],
)
def test_a_shard_that_is_wrong_in_the_store_is_named(
    stored, shard, folder, spoil, expected, monkeypatch
):
    content, _ = bring(stored, shard, folder)
    os.unlink(folder.place(shard.sha256))
    stored_shards.replace(stored, shard, spoil(content))
    reads = stored_shards.watch(monkeypatch)
    with pytest.raises(DatasetError, match=f"^{shard.file}: .*{expected}"):
        bring(stored, shard, folder)
    assert len(reads.paths) == 2 and os.listdir(folder.path) == ["CACHEDIR.TAG"]


def test_a_shard_that_was_wrong_once_is_taken(stored, shard, folder, monkeypatch):
    content, _ = bring(stored, shard, folder)
    os.unlink(folder.place(shard.sha256))
    stored_shards.replace(stored, shard, b"x" * (shard.bytes - 1))
    seen = []

    def heal(path):
        seen.append(path)
        if len(seen) == 2:
            stored_shards.replace(stored, shard, content)

    stored_shards.watch(monkeypatch, heal)
    assert bring(stored, shard, folder)[0] == content


def test_a_shard_that_is_not_there_is_an_error(stored, folder):
    missing = Shard("train-00009-of-00010.tfrecord", 1, 1, "0" * 64)
    with pytest.raises(DatasetError.__mro__[1], match=missing.file):
        bring(stored, missing, folder)
    assert os.listdir(folder.path) == ["CACHEDIR.TAG"]


def test_without_room_there_is_no_copy(stored, shard, tmp_path):
    assert bring(stored, shard, CacheFolder(str(tmp_path / "shards"), shard.bytes - 1)) is None


def test_a_copy_that_another_process_writes_is_waited_for(stored, shard, folder, monkeypatch):
    content, _ = bring(stored, shard, folder)
    os.unlink(folder.place(shard.sha256))
    reads = stored_shards.watch(monkeypatch)
    part = CacheFolder(folder.path, 10**6).reserve(shard.sha256, shard.bytes, {})
    looked = threading.Event()
    monkeypatch.setattr(shard_fetch.time, "sleep", lambda secs: looked.set())
    found = []
    thread = threading.Thread(target=lambda: found.append(bring(stored, shard, folder)))
    thread.start()
    assert looked.wait(60)
    part.write(content)
    os.close(part.commit())
    thread.join(60)
    assert found[0][0] == content and not reads.paths


def test_a_process_that_writes_no_more_is_not_waited_for(stored, shard, folder, monkeypatch):
    part = CacheFolder(folder.path, 10**6).reserve(shard.sha256, shard.bytes, {})
    monkeypatch.setattr(shard_fetch, "SILENCE_SECS", 0)
    assert bring(stored, shard, folder) is None
    part.discard()
