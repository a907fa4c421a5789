"""Examples become records; a source that breaks its promise is named."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from support.tiny_dataset import Arrays

from mnist_estimator import InputError
from mnist_estimator.data import conversion, records
from mnist_estimator.data.conversion import Conversion, Ticks
from mnist_estimator.data.shard_writer import ShardWriter


def _convert(folder: Path, source: Arrays, rows: range | None, num_classes: int | None = None):
    said = []
    conversion = Conversion(num_classes, lambda *tick: said.append(tick))
    folder.mkdir(exist_ok=True)
    with ShardWriter(str(folder), "train", 1) as writer:
        conversion.convert(source, np.zeros_like, (writer,), rows)
    return writer, conversion.statistics, said


@pytest.mark.parametrize("rows", [None, range(0, 10), range(3, 8), range(4, 4)])
def test_rows(tmp_path: Path, rows: range | None):
    writer, statistics, said = _convert(tmp_path, Arrays("src", np.arange(10)), rows)
    wanted = range(10) if rows is None else rows
    assert writer.added == statistics.num_examples("train") == len(wanted)
    counted = statistics.class_examples(10)["train"]
    assert [label for label in range(10) if counted[label]] == list(wanted)
    assert sum(examples for _, examples in said) == len(wanted)


def test_wrong_label_is_named_by_its_place_in_the_source(tmp_path: Path):
    labels = np.arange(10) % 3
    labels[6] = 5
    with pytest.raises(InputError, match="src: example 6 has label 5, expected 0 to 2"):
        _convert(tmp_path, Arrays("src", labels), range(4, 8), 3)


@pytest.mark.parametrize(("given", "line"), [(3, "7 examples, expected 8"), (5, "more than 8")])
def test_another_number_than_was_asked_for(tmp_path: Path, given: int, line: str):
    source = Arrays("src", np.zeros(10))
    real = source.chunks
    source.chunks = lambda max_items, start, stop: real(max_items, start, start + given)
    with pytest.raises(InputError, match=f"src: {line}"):
        _convert(tmp_path, source, range(4, 8))


def test_the_first_error_is_told_though_the_source_is_read_ahead(tmp_path: Path):
    labels = np.zeros(3000, np.int64)
    labels[1500] = 7
    source = Arrays("src", labels)
    real = source.chunks

    def chunks(max_items: int):
        yield from real(max_items)
        raise InputError("src: is cut off")

    source.chunks = chunks
    with pytest.raises(InputError, match="src: example 1500 has label 7"):
        _convert(tmp_path, source, None, 2)
    with pytest.raises(InputError, match="src: is cut off"):
        _convert(tmp_path / "other", source, None, 8)
    assert "ahead" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize("most", [1, 2**23])
def test_images_of_any_size_are_the_same_bytes(tmp_path: Path, monkeypatch, most: int):
    monkeypatch.setattr(conversion, "_MOST_BYTES", most)
    labels = np.arange(9000) % 300
    _convert(tmp_path, Arrays("src", labels), None)
    (path,) = tmp_path.iterdir()
    images, _ = zip(*Arrays("src", labels).chunks(9000), strict=True)
    expected = [
        records.encode_example(image.tobytes(), label)
        for image, label in zip(images[0], labels.tolist(), strict=True)
    ]
    assert list(records.read_records(str(path))) == expected


def test_progress_begins_anew_with_each_kind_of_work():
    said, beats = [], []
    tick = Ticks(10, said.append, lambda: beats.append(1))
    for doing, examples in (("converting", 4), ("converting", 6), ("verifying", 5)):
        tick(doing, examples)
    assert said == [
        "converting: 4 of 10 examples",
        "converting: 10 of 10 examples",
        "verifying: 5 of 10 examples",
    ]
    assert len(beats) == 3
