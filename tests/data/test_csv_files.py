from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from mnist_estimator import InputError
from mnist_estimator.compat import tf
from mnist_estimator.data.csv_source import CsvSource

HEADER = "label,p0,p1,p2,p3\n"
ROWS = [f"{number % 3},{number},1,2,{255 - number}\n" for number in range(11)]
CUTS = [(0, 4), (4, 5), (5, 11)]
WHOLE = hashlib.sha256("".join([HEADER, *ROWS]).encode()).hexdigest()


def _put(folder: Path, *contents: str | bytes) -> list[str]:
    paths = []
    for number, content in enumerate(contents):
        path = folder / f"part-{number}.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        paths.append(str(path))
    return paths


def _open(folder: Path, *contents: str | bytes, **options) -> CsvSource:
    return CsvSource(_put(folder, *contents), role="train_csv", **options)


def _labels(source: CsvSource, *bounds: int) -> list[int]:
    """The first pixel, which tells the examples apart, of those from one to another."""
    found = list(source.chunks(2, *bounds))
    assert all(len(labels) == len(images) <= 2 for images, labels in found)
    return [number for images, _ in found for number in images[:, 0, 0, 0].tolist()]


def _parts(header: str = HEADER, *, later: str | None = None) -> list[str]:
    headers = [header, *[header if later is None else later] * 2]
    return [head + "".join(ROWS[a:b]) for head, (a, b) in zip(headers, CUTS, strict=True)]


SAME = {
    "a header in each": _parts(),
    "a header in the first": _parts(later=""),
    "no newline at the end": [part.rstrip("\n") for part in _parts()],
    "byte order marks": [("\ufeff" + part).encode() for part in _parts()],
    "carriage returns": [part.replace("\n", "\r\n") for part in _parts()],
    "gzip": [gzip.compress(part.encode()) for part in _parts()],
    "plain and gzip": [_parts()[0], *(gzip.compress(part.encode()) for part in _parts()[1:])],
    "empty files": ["", _parts()[0], "", *_parts()[1:], gzip.compress(b"")],
    "files of a header alone": [HEADER, *_parts(), HEADER],
    "a header in its own file": [HEADER, *_parts("")],
    "a header that counts": [part.replace(HEADER, HEADER) for part in _parts()],
}


@pytest.mark.parametrize("contents", SAME.values(), ids=SAME)
def test_the_same_lines_in_many_files(tmp_path: Path, contents: list[str | bytes], capsys):
    source = _open(tmp_path, *contents)
    assert source.num_examples == 11 and source.labels == {0: 4, 1: 4, 2: 3}
    assert _labels(source) == list(range(11))
    assert source.digests() == {"train_csv": WHOLE}
    assert capsys.readouterr().err == ""


def test_a_known_header_is_one_also_where_it_would_pass_for_an_example(tmp_path: Path):
    header = "label,2,3,4,5\n"
    source = _open(tmp_path, header + ROWS[0] + ROWS[1], header, header + ROWS[2])
    assert _labels(source) == [0, 1, 2]


def test_the_digest_is_that_of_one_file(tmp_path: Path):
    one = _open(tmp_path, "".join([HEADER, *ROWS]))
    assert one.digests() == {"train_csv": WHOLE}
    bare = hashlib.sha256("".join(ROWS).encode()).hexdigest()
    assert _open(tmp_path, *_parts("")).digests() == {"train_csv": bare}
    other = _open(tmp_path, *_parts()[:2], _parts()[2].replace("2,5,1", "2,5,0"))
    assert other.digests() != one.digests()


def test_any_range_and_the_files_it_opens(tmp_path: Path):
    source = _open(tmp_path, *_parts())
    for start in range(12):
        for stop in range(start, 12):
            assert _labels(source, start, stop) == list(range(start, stop))
    (tmp_path / "part-0.csv").unlink()
    (tmp_path / "part-2.csv").unlink()
    assert _labels(source, 4, 5) == [4]
    assert source.digests() == {"train_csv": WHOLE}  # Still of all.


def test_a_header_in_some_files_is_told(tmp_path: Path, capsys):
    parts = [_parts("")[0], _parts()[1], _parts("")[2]]
    assert _labels(_open(tmp_path, *parts)) == list(range(11))
    told = capsys.readouterr().err
    assert "2 files have no header, such as" in told and "to be those of" in told


@pytest.mark.parametrize(
    ("header", "line"),
    [
        (
            "label,p1,p0,p2,p3\n",
            r"part-1.csv \(file 2 of 3\): column 2 is named 'p1', expected 'p0'",
        ),
        ("p0,p1,p2,p3,label\n", "column 1 is named 'p0', expected 'label' as in .*part-0.csv"),
        ("Label,p0,p1,p2,p3\n", "column 1 is named 'Label'"),
        ("label,p0,p1,p2\n", "column 5 is named '', expected 'p3'"),
        ("label,p0,p1,p2,p3,,\n", "column 6 is named '', expected ''"),
    ],
)
@pytest.mark.parametrize("rows", ["", *ROWS[4:5]])
def test_other_columns_are_refused(tmp_path: Path, header: str, rows: str, line: str):
    with pytest.raises(InputError, match=line):
        _open(tmp_path, _parts()[0], header + rows, _parts()[2])


BAD = {
    "1,2,3\n": r"part-1.csv line 1 \(file 2 of 3\): 3 fields, expected 5 as in .*part-0.csv",
    "1,2,3,4,5\n1,2,3\n": r"part-1.csv line 2 \(file 2 of 3\): 3 fields, expected 5: a label",
    "7,2,3,4,x\n": r"part-1.csv line 1 \(file 2 of 3\): field 5 is 'x', expected",
    "1,2,3,4,5\n" + HEADER: "line 2 .file 2 of 3.: field 1 is 'label'.* it is the header again",
    "1,2,3,4,5\n\n1,2,3,4,5\n": r"line 2 \(file 2 of 3\): found nothing",
    "<html>": r"part-1.csv \(file 2 of 3\): found an HTML or XML page",
}


@pytest.mark.parametrize(("content", "line"), BAD.items(), ids=map(str, range(len(BAD))))
def test_the_bad_file_is_named(tmp_path: Path, content: str, line: str):
    with pytest.raises(InputError, match=line):
        _labels(_open(tmp_path, _parts()[0], content, _parts()[2]))


def test_a_missing_or_broken_file_is_named(tmp_path: Path):
    paths = _put(tmp_path, *_parts())
    broken = gzip.compress(_parts()[1].encode())[:-4]
    Path(paths[1]).write_bytes(broken)
    with pytest.raises(InputError, match=r"part-1.csv \(file 2 of 3\): its gzip data is broken"):
        CsvSource(paths, role="train_csv")
    Path(paths[1]).unlink()
    with pytest.raises(InputError, match=r"part-1.csv \(file 2 of 3\): No such file"):
        CsvSource(paths, role="train_csv")


@pytest.mark.parametrize("change", ["", "1,2,3,4,5\n1,2,3,4,5\n"])
def test_a_file_that_changes_after_the_count(tmp_path: Path, change: str):
    source = _open(tmp_path, *_parts())
    (tmp_path / "part-1.csv").write_text(f"{HEADER}1,2,3,4,5\n{ROWS[4]}" if change else HEADER)
    with pytest.raises(InputError, match=r"part-1.csv.*\(file 2 of 3\)"):
        _labels(source)


def test_no_file_has_examples(tmp_path: Path):
    with pytest.raises(InputError, match=r"part-0.csv to .*part-2.csv \(3 files\): found no exam"):
        _open(tmp_path, "", HEADER, "")


def test_an_index_that_begins_anew_in_each_file_is_no_label(tmp_path: Path):
    rows = [
        "".join(f"{number},{number % 3},{part},8,9\n" for number in range(9)) for part in (70, 71)
    ]
    with pytest.raises(InputError, match="the first column counts the lines from 0"):
        _open(tmp_path, *rows)
    # Files of a line each always count up.
    assert _open(tmp_path, *ROWS, *ROWS[:3]).num_examples == 14


def test_a_copy_among_the_files_is_told(tmp_path: Path, capsys):
    _open(tmp_path, *_parts(), _parts()[1])
    assert "part-3.csv: has the same content as" in capsys.readouterr().err


def test_files_sorted_by_class_are_judged_together(tmp_path: Path):
    parts = ["".join(f"{label},{n % 2},0,0,{n}\n" for n in range(20)) for label in (3, 0, 1, 2)]
    assert _open(tmp_path, *parts).labels == dict.fromkeys(range(4), 20)


def test_many_small_files_are_open_one_at_a_time(tmp_path: Path, monkeypatch):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    paths = _put(tmp_path, *(HEADER + ROWS[number % 11] for number in range(400)))
    most = max(map(int, os.listdir("/proc/self/fd"))) + 50  # Other tests leave some open.
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, hard), hard))
    try:
        assert len(_labels(CsvSource(paths, role="train_csv"))) == 400
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_another_filesystem():
    paths = []
    for number, part in enumerate(_parts()):
        paths.append(f"ram://csv_files/{number}.csv")
        with tf.io.gfile.GFile(paths[-1], "wb") as file:
            file.write(part)
    source = CsvSource(paths, role="train_csv")
    assert _labels(source, 3, 6) == [3, 4, 5] and source.digests() == {"train_csv": WHOLE}


def test_pixels_are_those_of_one_file(tmp_path: Path):
    (tmp_path / "one").mkdir()
    one, many = _open(tmp_path / "one", "".join([HEADER, *ROWS])), _open(tmp_path, *_parts())
    for found, expected in zip(*(zip(*s.chunks(3), strict=True) for s in (many, one)), strict=True):
        assert np.array_equal(np.concatenate(found), np.concatenate(expected))
