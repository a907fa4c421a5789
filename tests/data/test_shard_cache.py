"""Which data have a cache, and where it is."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import stored_shards, tiny_dataset

from mnist_estimator import RunError
from mnist_estimator.data import shard_cache
from mnist_estimator.data.manifest import Dataset


@pytest.fixture
def stored() -> Iterator[Dataset]:
    with stored_shards.dataset() as found:
        yield found


def place(dataset: Dataset, folder: str = "", limit: int | None = None) -> str:
    """The folder of the open cache's copies; "" without a cache."""
    with shard_cache.opened(dataset, folder=folder, limit=limit):
        cache = shard_cache.of(dataset)
        if cache is None:
            return ""
        cache.bring(dataset.manifest.splits["test"])
        found = cache.path(dataset.manifest.splits["test"][0], is_copy=True)
    assert shard_cache.of(dataset) is None and os.path.exists(found)
    return os.path.dirname(found)


def test_local_data_have_no_cache(tmp_path):
    local = Dataset(str(tmp_path / "data"), tiny_dataset.write(tmp_path / "data"))
    assert place(local, str(tmp_path / "cache")) == ""
    assert not (tmp_path / "cache").exists()


def test_a_limit_of_0_keeps_nothing(stored, tmp_path):
    assert place(stored, str(tmp_path / "cache"), limit=0) == ""
    assert not (tmp_path / "cache").exists()


def test_other_data_have_no_copies_in_an_open_cache(stored, tmp_path):
    with shard_cache.opened(stored, folder=str(tmp_path), limit=None):
        assert shard_cache.of(Dataset("ram://other", stored.manifest)) is None


def test_copies_are_in_a_folder_of_their_own(stored, tmp_path):
    (tmp_path / "mine").write_text("mine")
    assert place(stored, str(tmp_path)) == f"{tmp_path}/shards"
    assert (tmp_path / "mine").read_text() == "mine"


def test_usually_it_is_the_folder_for_caches(stored, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert place(stored) == f"{tmp_path}/xdg/mnist_estimator/shards"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert place(stored) == f"{tmp_path}/home/.cache/mnist_estimator/shards"


def test_where_that_is_not_writable_it_is_the_temporary_folder(stored, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert place(stored) == f"{tmp_path}/mnist_estimator-{os.geteuid()}-shards"


@pytest.mark.parametrize(
    ("folder", "limit", "warning"),
    [
        ("file", None, "--cache_dir: .*file: File exists; reading ram:.* without copies"),
        ("cache", 9, "--cache_limit: 9 bytes, less than a shard of [0-9,]+; reading ram:"),
    ],
)
def test_a_cache_of_no_use_costs_a_warning(stored, tmp_path, capsys, folder, limit, warning):
    (tmp_path / "file").write_text("")
    assert place(stored, str(tmp_path / folder), limit) == ""
    assert re.search(f"warning: {warning}", capsys.readouterr().err)


def test_what_failed_is_told(stored, tmp_path):
    shard_cache.check()
    shard = stored.manifest.splits["test"][0]
    stored_shards.replace(stored, shard, b"x")
    with shard_cache.opened(stored, folder=str(tmp_path), limit=None):
        with pytest.raises(RunError, match=shard.file):
            shard_cache.of(stored).bring([shard])
        with pytest.raises(RunError, match=shard.file):
            shard_cache.check()
    shard_cache.check()
    assert not list(Path(tmp_path).rglob("*.part"))
