"""TensorBoard shows what was written last, whatever the clocks of the machines say."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing import event_accumulator

from mnist_estimator.compat import v1
from mnist_estimator.runs import events

NOW = 1_700_000_000
AHEAD = "events.out.tfevents.1700007200.other"


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr(events.time, "time", lambda: float(NOW))


def write(folder: Path, step: int) -> None:
    """Adds a point as a new process would."""
    v1.summary.FileWriterCache.clear()
    writer = events.writer(str(folder))
    value = v1.Summary.Value(tag="loss", simple_value=step)
    writer.add_summary(v1.Summary(value=[value]), step)
    writer.flush()
    assert events.writer(str(folder)) is v1.summary.FileWriterCache.get(str(folder)) is writer


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_named_by_the_time(tmp_path):
    (tmp_path / f"events.out.tfevents.{NOW - 1}.other").write_bytes(b"")
    before = time.time_ns() // 10**9
    write(tmp_path, 1)
    assert before <= int(names(tmp_path)[-1].split(".")[3]) <= before + 60


@pytest.mark.parametrize("name", [AHEAD, f"events.out.tfevents.{NOW}.other", AHEAD + ".9.0.v2"])
def test_a_file_comes_after_those_of_a_clock_that_is_ahead(tmp_path, name):
    write(tmp_path, 1)
    (first,) = tmp_path.iterdir()
    first.rename(tmp_path / name)
    reader = event_accumulator.EventAccumulator(str(tmp_path))
    assert [point.step for point in reader.Reload().Scalars("loss")] == [1]
    for step in (2, 3):
        write(tmp_path, step)
        # One that watches, and one that is started now.
        for shown in (reader, event_accumulator.EventAccumulator(str(tmp_path))):
            assert [p.step for p in shown.Reload().Scalars("loss")] == [*range(1, step + 1)]
    assert names(tmp_path)[0] == name and len(names(tmp_path)) == 3


def test_other_files_do_not_count(tmp_path):
    for name in ("events.out.tfevents.x", "notes.out.tfevents.1700007200.a", "checkpoint"):
        (tmp_path / name).write_text("")
    write(tmp_path, 1)
    assert not [name for name in names(tmp_path) if name.startswith("events.out.tfevents.17000")]
