from __future__ import annotations

import hashlib

import numpy as np
import pytest

from mnist_estimator import InputError
from mnist_estimator.data import idx, many_files
from mnist_estimator.data.idx import IdxError, IdxHeader
from mnist_estimator.data.many_files import Chained, Part


class _Source:
    """Examples whose pixels say which they are; counts how often it is read."""

    def __init__(self, first: int, count: int, shape: tuple[int, int, int] = (2, 3, 1)) -> None:
        self.name, self.num_examples, self.image_shape = f"s{first}", count, shape
        self._numbers, self.reads = np.arange(first, first + count), 0

    def chunks(self, max_items: int, start: int = 0, stop: int | None = None):
        self.reads += 1
        numbers = self._numbers[start:stop]
        for first in range(0, len(numbers), max_items):
            labels = numbers[first : first + max_items].astype(np.int64)
            images = np.empty((len(labels), *self.image_shape), np.uint8)
            images[:] = labels.reshape(-1, 1, 1, 1)
            yield images, labels

    def label_chunks(self, max_items: int):
        for _, labels in self.chunks(max_items):
            yield labels


COUNTS = (4, 1, 7)


def _chained() -> tuple[Chained, list[_Source]]:
    starts = np.cumsum([0, *COUNTS])
    sources = [_Source(first, count) for first, count in zip(starts, COUNTS, strict=False)]
    parts = [Part(source.name, n, len(sources)) for n, source in enumerate(sources, 1)]
    headers = (
        IdxHeader(np.dtype(np.uint8), (sum(COUNTS), 2, 3)),
        IdxHeader(np.dtype(np.int32), (sum(COUNTS),)),
    )
    return Chained("all", sources, parts, role="train", headers=headers), sources


def _labels(chunks) -> list[int]:
    found = list(chunks)
    for images, labels in found:
        assert np.array_equal(images[:, 1, 2, 0], labels) and len(labels) <= 3
    return [label for _, labels in found for label in labels.tolist()]


def test_one_source_after_the_other():
    chained, _ = _chained()
    assert (chained.num_examples, chained.image_shape) == (12, (2, 3, 1))
    assert _labels(chained.chunks(3)) == list(range(12))
    assert [label for labels in chained.label_chunks(3) for label in labels] == list(range(12))


def test_any_range_opens_only_what_it_needs():
    for start in range(13):
        for stop in range(start, 13):
            chained, sources = _chained()
            assert _labels(chained.chunks(3, start, stop)) == list(range(start, stop))
            ends = np.cumsum(COUNTS)
            needed = [start < end and stop > end - n for end, n in zip(ends, COUNTS, strict=True)]
            wanted = [int(need and start < stop) for need in needed]
            assert [source.reads for source in sources] == wanted


def test_digests_are_those_of_the_idx_files_that_would_hold_all(tmp_path):
    chained, sources = _chained()
    images, labels = (np.concatenate(a) for a in zip(*chained.chunks(5), strict=True))
    wanted = {}
    for role, array in (("train_images", images[..., 0]), ("train_labels", labels)):
        with open(tmp_path / role, "wb") as file:
            idx.write_idx(file, array.astype(np.uint8 if "images" in role else np.int32))
        wanted[role] = (tmp_path / role).read_bytes()
    digests = {role: hashlib.sha256(data).hexdigest() for role, data in wanted.items()}
    assert chained.digests() == digests
    assert chained.content_bytes == {role: len(data) for role, data in wanted.items()}
    # Without a pass before, and after a pass over some examples, it makes one.
    other, _ = _chained()
    list(other.chunks(3, 2, 7))
    assert other.digests() == digests and [source.reads for source in sources] == [1, 1, 1]


def test_shapes_that_differ_name_the_file():
    parts = [Part("a", 1, 2), Part("b", 2, 2)]
    sources = [_Source(0, 2), _Source(2, 2, (3, 2, 1))]
    headers = (IdxHeader(np.dtype(np.uint8), (4, 2, 3)), IdxHeader(np.dtype(np.uint8), (4,)))
    with pytest.raises(InputError, match=r"b \(file 2 of 2\): images of 3x2x1, expected 2x3x1 as"):
        Chained("all", sources, parts, role="train", headers=headers)


def test_a_number_of_examples_that_no_idx_file_can_hold():
    header = IdxHeader(np.dtype(np.uint8), (2**32, 2, 3))
    chained = Chained("x", [_Source(0, 1)], [Part("x", 1, 1)], role="t", headers=(header, header))
    assert len(chained.digests()["t_images"]) == 64


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("a/b.csv: line 12: bad"), "a/b.csv line 12 (file 37 of 400): bad"),
        (InputError("a/b.csv: bad: line 3"), "a/b.csv (file 37 of 400): bad: line 3"),
        (InputError("labels: No such file"), "labels (file 37 of 400): No such file"),
        (IdxError("labels", 4, "x", "y", "z"), "labels (file 37 of 400): found x at byte 4, expe"),
        (InputError("a/b.csvx: bad"), "a/b.csvx: bad"),
    ],
)
def test_errors_say_which_file(error: InputError, line: str):
    with pytest.raises(InputError) as raised, Part("a/b.csv", 37, 400, ("labels",)).errors():
        raise error
    assert str(raised.value).startswith(line)


def test_of_a_lone_file_errors_stay_as_they_are():
    error = InputError("x: bad")
    with pytest.raises(InputError) as raised, Part("x", 1, 1).errors():
        raise error
    assert raised.value is error


def test_names_of_many():
    assert many_files.name_of(["a"]) == "a"
    assert many_files.name_of(["a", "b", "c"]) == "a to c (3 files)"


def test_a_copy_among_the_files_is_told_once(capsys):
    sources = [_Source(first, 4) for first in (0, 4, 0, 4)]
    parts = [Part(f"file{n}", n, len(sources)) for n in range(1, 5)]
    headers = (
        IdxHeader(np.dtype(np.uint8), (16, 2, 3)),
        IdxHeader(np.dtype(np.int32), (16,)),
    )
    chained = Chained("all", sources, parts, role="train", headers=headers)
    for _ in range(2):
        assert len(_labels(chained.chunks(3))) == 16
    line = "file3: has the same examples as file1; is it a copy?"
    assert capsys.readouterr().err == f"warning: {line}\n"
    chained, _ = _chained()
    list(chained.chunks(3))
    assert not capsys.readouterr().err
