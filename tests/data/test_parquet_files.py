from __future__ import annotations

import random
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import parquet_tables as tables

from mnist_estimator import InputError
from mnist_estimator.data import parquet_files
from mnist_estimator.data.parquet_source import ParquetSource

ROWS = 50


def _file(folder: Path, **options) -> Path:
    table = pa.table({"image": tables.images()[:1].tolist() * ROWS, "label": range(ROWS)})
    return Path(tables.write(folder / "x.parquet", table, **options))


def _rows(path: Path, *bounds: int) -> list[int]:
    with parquet_files.opened(str(path)) as file:
        found = list(parquet_files.batches(file, str(path), ["label"], 4, *bounds))
    assert all(batch.num_rows <= 4 for _, batch in found)
    assert all(batch.column("label")[0].as_py() == first for first, batch in found)
    return [label for _, batch in found for label in batch.column("label").to_pylist()]


@pytest.mark.parametrize("group", [1, 7, 100])
def test_any_range_of_rows(tmp_path: Path, group: int):
    path = _file(tmp_path, row_group_size=group)
    assert _rows(path) == list(range(ROWS))
    for start in (0, 1, 6, 7, 8, 48, 50):
        for stop in (start, start + 1, start + 13, ROWS):
            assert _rows(path, start, stop) == list(range(ROWS))[start:stop]


def test_row_groups_before_are_not_read(tmp_path: Path):
    path = _file(tmp_path, row_group_size=10, compression="none")
    metadata = pq.read_metadata(path)
    end = metadata.row_group(2).column(0).dictionary_page_offset
    content = bytearray(path.read_bytes())
    content[4:end] = bytes(end - 4)
    path.write_bytes(content)
    assert _rows(path, 20, 30) == list(range(20, 30))
    with pytest.raises(InputError, match="x.parquet: cannot be read as Parquet"):
        _rows(path)


KINDS = {
    b"": "found nothing, expected a Parquet file",
    b"label,p0\n1,2\n": r"found text \(CSV goes to --train_csv\), expected a Parquet file",
    b"\x1f\x8b\x08": "found gzip data",
    b"ARROW1\0\0": "found an Arrow file",
    b"<html>": "found an HTML or XML page",
    b"version https://git-lfs.github.com/spec/v1\n": "found a pointer of Git LFS",
    b"\x80\x02": "found something else",
    b"PAR1": "a Parquet file that is cut off",
    b"PAR1" + b"x" * 100: "a Parquet file that is cut off",
    b"PARE" + b"x" * 100 + b"PARE": "is encrypted, expected a Parquet file that is not",
    b"PAR1" + b"x" * 100 + b"\xff\xff\xff\x7fPAR1": "declares 2,147,483,647 bytes about its col",
    b"PAR1" + b"x" * 100 + b"\x10\0\0\0PAR1": "cannot be read as Parquet",
}


@pytest.mark.parametrize(("content", "line"), KINDS.items(), ids=map(str, range(len(KINDS))))
def test_what_is_no_sound_file(tmp_path: Path, content: bytes, line: str):
    path = tmp_path / "x.parquet"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"x.parquet: {line}") as error:
        _rows(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_a_missing_file_and_a_folder(tmp_path: Path):
    with pytest.raises(InputError, match="nope: No such file"):
        _rows(tmp_path / "nope")
    with pytest.raises(InputError, match="Is a directory"):
        _rows(tmp_path)


def test_rows_that_are_declared_and_not_there(tmp_path: Path):
    """The number of rows is a varint: the file's, and that of its only row group."""
    path = _file(tmp_path)
    content = path.read_bytes()
    old, huge = b"\x16\x64", b"\x16" + b"\x80" * 5 + b"\x40"  # 50 and 2**40, in zigzag.
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    footer = content[start:-8]
    assert footer.count(old) > 1
    footer = footer.replace(old, huge)
    path.write_bytes(content[:start] + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(InputError, match=r"declares 1,099,511,627,776 rows .* in [\d,]+ bytes"):
        _rows(path)


def test_damage_of_any_kind_is_one_line_or_does_not_matter(tmp_path: Path):
    dice, path = random.Random(0), _file(tmp_path, row_group_size=20)
    whole = path.read_bytes()
    refused = 0
    for trial in range(300):
        content = bytearray(whole)
        if trial % 3 == 0:
            del content[dice.randrange(4, len(content)) :]
        else:
            place = dice.randrange(len(whole))
            content[place : place + trial % 3] = dice.randbytes(trial % 3)
        path.write_bytes(content)
        try:
            source = ParquetSource(str(path))
            for images, labels in source.chunks(16):
                assert len(images) == len(labels)
        except InputError as error:
            refused += 1
            assert "\n" not in str(error) and str(path) in str(error)
    assert refused > 200


def test_without_pyarrow_the_way_out_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = _file(tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        InputError, match=r"read by pyarrow, .*pip install 'mnist_estimator\[parque"
    ):
        _rows(path)
