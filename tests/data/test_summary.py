"""What prepare says of a dataset, and of a part."""

from __future__ import annotations

from pathlib import Path

from support import part_sets, tiny_dataset

from mnist_estimator.data import summary
from mnist_estimator.data.splits import Part


def test_a_dataset(tmp_path: Path):
    manifest = tiny_dataset.write(tmp_path)
    lines = summary.lines("here", manifest)
    assert lines[0] == "here: tiny, 2x3x3 images, 5 classes"
    assert lines[1].split() == ["train", "45", "examples", "3", "shards", "0.0", "MB"]
    assert lines[-1].endswith("the brightest pixel is 49 of 255; images are scaled by 1/49")


def test_a_part(tmp_path: Path):
    record, _ = part_sets.write(tmp_path, "1/2")
    line = "part 1 of 2: 23 train, 2 validation, 3 test examples"
    assert summary.part_line(Part(1, 2), record, was_there=False) == line
    line = line.replace(": ", ": was prepared already: ")
    assert summary.part_line(Part(1, 2), record, was_there=True) == line
    manifest = tiny_dataset.write(tmp_path / "whole")
    assert summary.part_line(Part(1, 2), manifest, was_there=True).startswith("prepared already")
