"""Which start of a run its steps follow from."""

from __future__ import annotations

import dataclasses
import json

import pytest

from mnist_estimator.config import TrainConfig
from mnist_estimator.runs import machine, starts

OLD, NEW = {"cores": "2"}, {"cores": "8"}


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """The machine, which a test may change."""
    found = dict(OLD)
    monkeypatch.setattr(machine, "describe", lambda: dict(found))
    return found


def begun(*, record=None, step=0, trainers=1, **options):
    """The record of a run that goes on from a step, as far as this module reads and writes it."""
    config = TrainConfig(**options)
    history = starts.after(record, config, step=step, trainers=trainers)
    found = {"flags": dataclasses.asdict(config), starts.KEY: history}
    assert json.loads(json.dumps(found)) == found
    starts.check(found)
    return found


def test_a_run_that_goes_on_as_it_began_has_one_start():
    record = begun(max_steps=10)
    again = begun(record=record, step=4, max_steps=10)
    assert (
        again[starts.KEY]
        == record[starts.KEY]
        == [{"step": 0, "trainers": 1, "flags": {}, "machine": OLD}]
    )


@pytest.mark.parametrize("before", [{"deterministic": False}, {"strategy": "multi_worker"}])
def test_a_run_that_is_replayed_from_some_step_on_is_read(before):
    record = begun(max_steps=10, **before)
    record = begun(record=record, step=10, max_steps=20, replay_steps=5)
    assert starts.trained(record, 20).config.max_steps == 20
    assert starts.trained(record, 10).config.max_steps == 10


def test_another_machine_and_other_flags_are_further_starts(here):
    record = begun(max_steps=10, seed=1)
    here.update(NEW)
    record = begun(record=record, step=4, max_steps=10, seed=1)
    record = begun(record=record, step=6, max_steps=20, seed=1)
    record = begun(record=record, step=8, max_steps=20, seed=1, trainers=2)
    assert [(s["step"], s["trainers"], s["machine"]) for s in record[starts.KEY]] == [
        *((0, 1, OLD), (4, 1, NEW), (6, 1, NEW), (8, 2, NEW)),
    ]
    # Flags are those that are others than the record's, which are the last ones.
    assert [s["flags"] for s in record[starts.KEY]] == [{"max_steps": 10}] * 2 + [{}] * 2
    record = begun(record=record, step=9, max_steps=10, seed=1, batch_size=7, trainers=2)
    assert [s["flags"] for s in record[starts.KEY]] == [
        *([{"batch_size": 100}] * 2 + [{"batch_size": 100, "max_steps": 20}] * 2 + [{}]),
    ]


def test_a_run_that_goes_back_forgets_the_starts_after_that():
    record = begun(max_steps=10)
    record = begun(record=record, step=6, max_steps=20)
    record = begun(record=record, step=4, max_steps=30)
    assert [start["step"] for start in record[starts.KEY]] == [0, 4]


def test_the_starts_that_are_kept_are_limited(monkeypatch):
    monkeypatch.setattr(starts, "_MOST", 2)
    record = begun(max_steps=10)
    for step in (2, 4, 6):
        record = begun(record=record, step=step, max_steps=10 + step)
    assert [start["step"] for start in record[starts.KEY]] == [4, 6]


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [(0, 4, [10]), (2, 4, [10]), (2, 5, [10, 20]), (4, 8, [20]), (2, 9, [10, 20, 30])],
)
def test_a_stretch_follows_from_the_start_before_it(first, last, expected):
    record = begun(max_steps=10)
    record = begun(record=record, step=4, max_steps=20)
    record = begun(record=record, step=8, max_steps=30)
    found = starts.between(record, first, last)
    assert [starts.config_of(record, start).max_steps for start in found] == expected
    assert all(start.machine == OLD for start in found)


def test_a_record_of_an_earlier_version_tells_neither_workers_nor_machine():
    record = {"flags": dataclasses.asdict(TrainConfig(seed=3))}
    (start,) = starts.between(record, 4, 8)
    assert (start.trainers, start.machine) == (0, {})
    assert starts.config_of(record, start) == TrainConfig(seed=3)
    # It goes on: of the steps before that nothing more is known.
    record = begun(record=record, step=8, seed=3)
    assert [start.machine for start in starts.between(record, 4, 9)] == [{}, OLD]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"step": -1}, "starts, step, is -1"),
        ({"step": "0"}, "starts, step, is '0'"),
        ({"trainers": 2**21}, "starts, trainers, is 2097152"),
        ({"flags": []}, "starts, flags, is a list"),
        ({"flags": {"seed": "x"}}, "--seed: found 'x'"),
        ({"flags": {"optimizer": "sgdd"}}, "--optimizer: found 'sgdd'"),
        ({"machine": {"cores": 2}}, "starts, machine, 'cores', has 2"),
        ({"more": 1}, "starts has 'more'"),
    ],
)
def test_starts_that_are_none_are_refused(change, line):
    record = begun()
    record[starts.KEY][0] |= change
    with pytest.raises(ValueError, match=line):
        starts.check(record)


def test_starts_come_in_the_order_of_their_steps():
    record = begun()
    record[starts.KEY] = [record[starts.KEY][0] | {"step": step} for step in (4, 2)]
    with pytest.raises(ValueError, match="found steps that go back"):
        starts.check(record)
    with pytest.raises(ValueError, match="starts is a dict, expected a list"):
        starts.check(record | {starts.KEY: {}})


def test_a_flag_of_another_version_changes_nothing():
    record = begun(seed=3)
    record[starts.KEY][0]["flags"] = {"later": 5}
    starts.check(record)
    (start,) = starts.between(record, 0, 4)
    assert starts.config_of(record, start) == TrainConfig(seed=3)


def test_how_the_last_steps_were_trained():
    record = begun(max_steps=10, seed=1)
    record = begun(record=record, step=4, max_steps=20, seed=1, intra_op_threads=1)
    record = begun(record=record, step=6, max_steps=20, seed=1)
    record = begun(record=record, step=9, max_steps=20, seed=1, learning_rate=0.5)
    found = starts.trained(record, 4)
    assert (found.config.max_steps, found.since, found.changed) == (10, 0, [])
    found = starts.trained(record, 6)
    assert (found.config.intra_op_threads, found.since, found.changed) == (1, 4, ["max_steps"])
    found = starts.trained(record, 9)
    assert (found.config.max_steps, found.since, found.changed) == (20, 4, ["max_steps"])
    found = starts.trained(record, 20)
    assert (found.config.learning_rate, found.since) == (0.5, 9)
    assert found.changed == ["learning_rate", "max_steps"]
    del record[starts.KEY]  # Of an older version.
    assert starts.trained(record, 9).changed == []
