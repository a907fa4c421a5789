"""What the contenders' programs share: data, clocks, the schedule."""

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import pytest

PEERS = Path(__file__).resolve().parents[2] / "benchmarks" / "peers"


@pytest.fixture
def common():
    spec = importlib.util.spec_from_file_location("peers_common", PEERS / "common.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def clock(common, monkeypatch):
    """A clock that goes on only when it is told to."""
    now = [1000.0]
    monkeypatch.setattr(common.time, "time", lambda: now[0])
    monkeypatch.setattr(common.time, "perf_counter", lambda: now[0])

    def go_on(seconds, result=None):
        now[0] += seconds
        return result

    return go_on


def test_the_clock_of_a_race_stands_still_while_a_checkpoint_is_scored(common, clock):
    race = common.Race(600, started=1000.0)
    clock(30)
    assert not race.saved(200, lambda: clock(7, 0.98))
    clock(20)
    assert not race.saved(400, lambda: clock(7, 0.9905))
    clock(10)
    assert race.saved(600, lambda: clock(7, 0.994))
    assert race.reached == {"seconds_to_99_0": 50.0, "seconds_to_99_4": 60.0}


def test_a_checkpoint_that_is_scored_after_the_run_has_the_time_of_its_file(common, clock):
    race = common.Race(600, started=1000.0)
    clock(500)
    race.saved(200, lambda: clock(7, 0.98), at=1030.0)
    race.saved(400, lambda: clock(7, 0.995), at=1050.0)
    assert race.reached == {"seconds_to_99_0": 50.0, "seconds_to_99_4": 50.0}


def test_a_race_ends_at_its_limit(common, clock):
    race = common.Race(60, started=1000.0)
    clock(59)
    assert not race.saved(200, lambda: clock(7, 0.5))
    clock(2)
    assert race.saved(400, lambda: clock(7, 0.5))
    assert set(race.reached.values()) == {None}


def test_speed_leaves_out_the_warm_up(common, clock):
    steps = []

    def step():
        steps.append(1)
        # The first ones compile.
        clock(100 if len(steps) <= 10 else 0.5)

    assert common.speed(step, 32, 6.0) == pytest.approx(64.0)


def test_each_epoch_has_each_example_once(common):
    numbers = common.order(10, 4, seed=3)
    found = np.concatenate([next(numbers) for _ in range(5)])
    assert sorted(found[:10]) == sorted(found[10:]) == list(range(10))
    assert list(found[:10]) != list(found[10:])
    assert list(next(common.order(10, 4, seed=3))) == list(found[:4])


def test_the_rate_falls_as_a_cosine(common):
    assert common.learning_rate(0) == common.RATE
    assert common.learning_rate(common.STEPS // 2) == pytest.approx(common.RATE / 2)
    assert common.learning_rate(common.STEPS) == pytest.approx(0.0)


def test_idx_files_are_read_packed_or_not(common, tmp_path, monkeypatch):
    monkeypatch.setattr(common, "DATA", tmp_path)
    images = np.arange(2 * 784).astype(np.uint8)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(b"h" * 16 + images.tobytes())
    labels = gzip.compress(b"h" * 8 + bytes([7, 2]))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(labels)
    found, classes = common.mnist("test")
    assert found.shape == (2, 28, 28) and (found.ravel() == images).all()
    assert classes.tolist() == [7, 2] and classes.dtype == np.int64
