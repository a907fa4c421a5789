"""Shards come in the order of need, ahead of it, within the limit; no wait is without an end."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from collections.abc import Callable, Iterator

import pytest
from support import stored_shards

from mnist_estimator import RunError
from mnist_estimator.compat import tf
from mnist_estimator.data import cache_folder, shard_fetch, shard_streams
from mnist_estimator.data.cache_folder import CacheFolder
from mnist_estimator.data.manifest import Dataset, Shard
from mnist_estimator.data.shard_streams import ShardCache
from mnist_estimator.runtime import files


@pytest.fixture
def stored() -> Iterator[Dataset]:
    with stored_shards.dataset(train=64, shards=6, validation_split="4") as found:
        yield found


@pytest.fixture
def shards(stored: Dataset) -> tuple[Shard, ...]:
    return stored.manifest.splits["train"]


@pytest.fixture
def make_cache(stored: Dataset, tmp_path) -> Iterator[Callable[[int], ShardCache]]:
    with contextlib.ExitStack() as stack:

        def make(limit: int = 10**6) -> ShardCache:
            cache = ShardCache(stored, CacheFolder(str(tmp_path / "shards"), limit))
            stack.callback(cache.close)
            return cache

        yield make


def copied_bytes(cache: ShardCache) -> int:
    """What copies and parts take, while no thread makes room."""
    with cache._kept._alone():
        return sum({entry.digest: entry.size for entry in cache._kept._entries()}.values())


def is_shard(path: str, shard: Shard) -> bool:
    return files.size_and_sha256(path) == (shard.bytes, shard.sha256)


def in_thread(work: Callable[[], object]) -> Callable[[], BaseException | None]:
    """Starts work; returns a function that waits for its end and gives its error."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def end() -> BaseException | None:
        thread.join(60)
        assert not thread.is_alive()
        return errors[0] if errors else None

    return end


def test_all_shards_come_ahead_of_need_in_its_order(stored, shards, make_cache, monkeypatch):
    monkeypatch.setattr(shard_streams, "_THREADS", 1)
    reads, order = stored_shards.watch(monkeypatch), [shards[n] for n in (3, 1, 5, 0, 2, 4)]
    stream = make_cache().stream()
    assert is_shard(stream.take(order), order[0])
    assert reads.wait_for(6) == [shard.file for shard in order]
    for place, shard in enumerate(order):
        path = stream.take(order[place:])
        assert is_shard(path, shard) and files.is_local(path)
    assert len(reads.paths) == 6


def test_two_shards_of_room_are_enough(stored, shards, make_cache, monkeypatch):
    reads, size = stored_shards.watch(monkeypatch), max(shard.bytes for shard in shards)
    cache, order = make_cache(2 * size), [*shards, *reversed(shards)]
    stream = cache.stream()
    for place, shard in enumerate(order):
        path = stream.take(order[place : place + 6])
        assert files.is_local(path) and is_shard(path, shard)
        assert 0 < copied_bytes(cache) <= 2 * size
        reads.wait_for(min(place + 2, 6))  # The next one comes while this one is read.
    # The last shard of the first pass is the first of the next one.
    assert len(reads.paths) <= len(order) - 1


def test_without_room_shards_are_read_from_the_store(stored, shards, make_cache):
    cache = make_cache(shards[0].bytes + 1)
    first, second = cache.stream(), cache.stream()
    held = first.take(shards[:1])
    path = second.take(shards[1:2])
    assert path == stored_shards.path(stored, shards[1]) and is_shard(held, shards[0])
    first.end()
    assert files.is_local(second.take(shards[2:3]))


def test_a_pipeline_that_is_gone_holds_nothing(stored, shards, make_cache):
    cache = make_cache(shards[0].bytes + 1)
    lost, other = cache.stream(), cache.stream()
    lost.take(shards[:1])
    del lost
    gc.collect()
    assert files.is_local(other.take(shards[1:2]))


def test_a_copy_that_was_removed_is_fetched_again(stored, shards, make_cache):
    cache = make_cache()
    cache.bring(shards)
    os.unlink(cache.path(shards[2], is_copy=True))
    assert is_shard(cache.stream().take(shards[2:]), shards[2])


def test_a_wrong_shard_ends_the_pipeline_that_needs_it(stored, shards, make_cache):
    stored_shards.replace(stored, shards[1], b"x" * shards[1].bytes)
    cache = make_cache()
    stream = cache.stream()
    stream.take(shards)
    named = f"^{stored.folder}: {shards[1].file}: sha256 .*; stopped; replace it with python -m"
    with pytest.raises(RunError, match=named):
        stream.take(shards[1:])
    assert str(cache.failure).startswith(f"{stored.folder}: {shards[1].file}")


def test_what_failed_ahead_of_need_is_tried_again(stored, shards, make_cache, monkeypatch):
    fails, failed = threading.Event(), []

    def fail_once(path):
        if path.endswith(shards[1].file) and not failed:
            failed.append(path)
            assert fails.wait(60)
            raise tf.errors.UnavailableError(None, None, "slow down")

    stored_shards.watch(monkeypatch, fail_once)
    cache = make_cache()
    stream = cache.stream()
    stream.take(shards)
    waiting = in_thread(lambda: stream.take(shards[1:]))
    with cache._changed:
        assert cache._changed.wait_for(lambda: stream.awaits, timeout=60)
    fails.set()
    assert waiting() is None and failed


def test_a_store_that_fails_is_named(stored, shards, make_cache, monkeypatch):
    def fail(path):
        raise tf.errors.UnavailableError(None, None, "slow down")

    stored_shards.watch(monkeypatch, fail)
    path = stored_shards.path(stored, shards[0])
    with pytest.raises(RunError, match=f"^{path}: slow down; stopped; run the same command again"):
        make_cache().bring(shards)


def test_a_silent_store_is_an_error(stored, shards, make_cache, monkeypatch):
    reads = stored_shards.watch(monkeypatch)
    reads.gate.clear()
    monkeypatch.setattr(shard_fetch, "SILENCE_SECS", 0)
    with pytest.raises(files.OutageError, match=f"{shards[0].file}: nothing came for 0 s; stopped"):
        make_cache().stream().take(shards)
    reads.gate.set()


def test_what_is_slow_ahead_of_need_delays_nothing(stored, shards, make_cache, monkeypatch):
    slow = threading.Event()

    def before(path):
        assert path.endswith(shards[5].file) or slow.wait(60)

    reads, cache = stored_shards.watch(monkeypatch, before), make_cache()
    waiting = in_thread(lambda: cache.stream().take(shards[:5]))
    reads.wait_for(shard_streams._THREADS)
    assert is_shard(cache.stream().take(shards[5:]), shards[5])
    slow.set()
    assert waiting() is None


@pytest.mark.parametrize("end", ["end_training", "close"])
def test_the_end_waits_for_no_shard(stored, shards, make_cache, monkeypatch, end):
    reads = stored_shards.watch(monkeypatch)
    reads.gate.clear()
    monkeypatch.setattr(shard_streams, "_CLOSE_SECS", 0)
    cache = make_cache()
    stream = cache.stream(trains=True)
    waiting = in_thread(lambda: stream.take(shards))
    reads.wait_for(1)
    getattr(cache, end)()
    assert "has ended" in str(waiting()) and cache.failure is None
    reads.gate.set()


def test_an_evaluation_goes_on_after_training(stored, shards, make_cache):
    cache = make_cache()
    training, evaluation = cache.stream(trains=True), cache.stream()
    cache.end_training()
    with pytest.raises(RunError, match="has ended"):
        training.take(shards)
    assert is_shard(evaluation.take(shards), shards[0])


def test_a_disk_that_takes_nothing_costs_a_warning_only(
    stored, shards, make_cache, monkeypatch, capsys
):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_folder.os, "pwrite", full)
    stream = make_cache().stream()
    for place, shard in enumerate(shards):
        assert stream.take(shards[place:]) == stored_shards.path(stored, shard)
    warning = f"warning: --cache_dir: No space left on device; reading {stored.folder} without"
    assert capsys.readouterr().err.count(warning) == 1


def test_a_long_wait_says_what_is_fetched(stored, shards, make_cache, monkeypatch):
    reads, lines, told = stored_shards.watch(monkeypatch), [], threading.Event()
    reads.gate.clear()
    monkeypatch.setattr(shard_streams, "_PATIENCE_SECS", 0)

    def line(text):
        lines.append(text)
        told.set()

    waiting = in_thread(lambda: make_cache().stream().take(shards, line))
    assert told.wait(60)
    reads.gate.set()
    assert waiting() is None and lines[0].startswith(f"fetching {shards[0].file}: 0 of 710 bytes")


def test_threads_end_with_the_cache(stored, shards, make_cache):
    cache = make_cache()
    cache.bring(shards)
    cache.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("shards ")]
