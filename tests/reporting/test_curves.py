"""Curves are read as far as their events go."""

from __future__ import annotations

import re
import shutil

import pytest

from mnist_estimator.reporting import curves


def test_curves_of_training_have_the_points_that_were_logged(work):
    training, problem = curves._training_curves(str(work / "runs/first"))
    assert (training["loss"][0], problem) == ([5, 10, 15, 20], "")


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda data: data[:-3], 19),
        (lambda data: b"\x07" * 2000, 0),
        (lambda data: b"", 0),
    ],
)
def test_damaged_events_are_shown_as_far_as_they_go(work, tmp_path, spoil, found):
    (events,) = (work / "runs/first").glob("*tfevents*")
    shutil.copytree(work / "runs/first", tmp_path / "run")
    (tmp_path / "run" / events.name).write_bytes(spoil(events.read_bytes()))
    read = curves.read(str(tmp_path / "run"))
    assert max(read.training.get("loss", ([0],))[0]) <= max(found, 15)
    assert ("loss" in read.training) == bool(found)
    assert re.match("The training curve ends early|No training curve", read.problem)
    assert "\n" not in read.problem
