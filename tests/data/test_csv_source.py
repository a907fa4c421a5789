from __future__ import annotations

import gzip
import hashlib
import random
from pathlib import Path

import numpy as np
import pytest

from mnist_estimator import InputError
from mnist_estimator.compat import tf
from mnist_estimator.data import csv_text, sources
from mnist_estimator.data.csv_source import CsvError, CsvSource
from mnist_estimator.data.manifest import DatasetError

GOOD = b"7,0,1,2,255\n0,9,8,7,6\n3,0,0,0,0\n"


def _open(tmp_path: Path, content: bytes, **options) -> CsvSource:
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    return CsvSource(str(path), role="train_csv", **options)


def _read(source: CsvSource, max_items: int = 2) -> tuple[np.ndarray, np.ndarray]:
    chunks = list(source.chunks(max_items))
    images, labels = (np.concatenate(arrays) for arrays in zip(*chunks, strict=True))
    assert images.dtype == np.uint8 and labels.dtype == np.int64
    assert images.shape == (source.num_examples, *source.image_shape)
    assert max(len(labels) for _, labels in chunks) <= max_items
    return images, labels


def test_values(tmp_path: Path):
    images, labels = _read(_open(tmp_path, GOOD))
    assert labels.tolist() == [7, 0, 3]
    assert images[0].tolist() == [[[0], [1]], [[2], [255]]]


# Named: a test's name made from gzip's bytes would hold the second at which they were written,
# and the processes that run the tests side by side have to find the same names.
_THE_SAME = {
    "header": b"label,p0,p1,p2,p3\n" + GOOD,
    "byte order mark": b"\xef\xbb\xbf" + GOOD,
    "byte order mark and header": b"\xef\xbb\xbflabel,a,b,c,d\n" + GOOD,
    "carriage returns": GOOD.replace(b"\n", b"\r\n"),
    "no newline at the end": GOOD.rstrip(b"\n"),
    "empty lines at the end": GOOD + b"\n\r\n",
    "spaces after commas": GOOD.replace(b",", b", "),
    "blanks around commas": GOOD.replace(b",", b" ,\t").replace(b"\n", b" \n"),
    "leading zeros": GOOD.replace(b"7,", b"007,"),
    "gzip": gzip.compress(GOOD),
    "gzip of two members": gzip.compress(GOOD[:5]) + gzip.compress(GOOD[5:]),
}


@pytest.mark.parametrize("content", _THE_SAME.values(), ids=_THE_SAME)
def test_ways_to_write_the_same(tmp_path: Path, content: bytes):
    images, labels = _read(_open(tmp_path, content))
    assert labels.tolist() == [7, 0, 3] and images[1].ravel().tolist() == [9, 8, 7, 6]


def test_against_numpy(tmp_path: Path):
    table = np.random.default_rng(0).integers(256, size=(500, 1 + 28 * 28))
    np.savetxt(tmp_path / "t.csv", table, fmt="%d", delimiter=",")
    images, labels = _read(CsvSource(str(tmp_path / "t.csv"), role="train_csv"), max_items=64)
    assert np.array_equal(labels, table[:, 0])
    assert np.array_equal(images.reshape(500, -1), table[:, 1:])


def test_any_line_is_read_or_refused_by_the_rules(tmp_path: Path):
    dice, source = random.Random(0), _open(tmp_path, GOOD, num_classes=256)
    pieces = [
        b"0",
        b"9",
        b"255",
        b"256",
        b"",
        b" ",
        b"1 2",
        b"\t3 ",
        b"007",
        b"x",
        b"-1",
        b",",
        b"1_0",
    ]
    for _ in range(20_000):
        line = b",".join(dice.choice(pieces[: dice.choice([3, 13])]) for _ in range(5))
        fields = [field.strip(b" \t") for field in line.split(b",")]
        good = len(fields) == 5 and all(field.isdigit() and int(field) < 256 for field in fields)
        if good:
            label, image = source._parse(1, line, "x.csv")
            assert [label, *image] == list(map(int, fields))
        else:
            with pytest.raises(CsvError, match="expected"):
                source._parse(1, line, "x.csv")


def test_lines_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for size in (1, 2, 3, 7, 11):
        monkeypatch.setattr(csv_text, "_BLOCK_BYTES", size)
        assert _read(_open(tmp_path, GOOD))[1].tolist() == [7, 0, 3]


def test_image_shape(tmp_path: Path):
    source = _open(tmp_path, b"1,1,2,3,4,5,6\n", image_shape=(1, 2, 3))
    assert _read(source)[0].tolist() == [[[[1, 2, 3], [4, 5, 6]]]]


def test_digest_is_of_the_uncompressed_content(tmp_path: Path):
    digest = {"train_csv": hashlib.sha256(GOOD).hexdigest()}
    assert _open(tmp_path, GOOD).digests() == digest
    assert _open(tmp_path, gzip.compress(GOOD)).digests() == digest


def test_memory_filesystem():
    with tf.io.gfile.GFile("ram://csv/x.csv", "wb") as file:
        file.write(GOOD)
    assert _read(CsvSource("ram://csv/x.csv", role="train_csv"))[1].tolist() == [7, 0, 3]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "line 1: found no examples"),
        (b"\n\n", "line 1: found no examples"),
        (b"label,a,b,c,d\n", "line 1: found no examples"),
        (GOOD + b"1,2,3,4\n", r"line 4: 4 fields, expected 5: a label and 2x2x1 pixels"),
        (GOOD + b"1,2,3,4,5,6\n", "line 4: 6 fields, expected 5"),
        (GOOD + b",2,3,4,5\n", "line 4: field 1 is '', expected a whole number"),
        (GOOD + b"1,2,,4,5\n", "line 4: field 3 is '', expected a whole number"),
        (GOOD + b"1,2, ,4,5\n", "line 4: field 3 is ' ', expected a whole number"),
        (GOOD + b"1,2,3,4\n,5\n", "line 4: 4 fields"),
        (GOOD + b"1,2,3,4,%d\n" % 2**64, "line 4: field 5 is '18446744073709551616', expected"),
        (GOOD + b"1,2,3,4,%d\n" % 2**70, "line 4: field 5 is '1180591620717411303424', expected"),
        (GOOD + b"1,2,3,4,\n", "line 4: field 5 is '', expected a whole number"),
        (GOOD + b"1,2,3,4,x\n", "line 4: field 5 is 'x', expected a whole number"),
        (GOOD + b"1,2,3,4,0.5\n", "line 4: field 5 is '0.5', expected a whole number"),
        (GOOD + b"1,2,3,4,-1\n", "line 4: field 5 is '-1', expected a whole number"),
        (GOOD + b"1,2,3,4,+1\n", "line 4: field 5 is '.1', expected a whole number"),
        (GOOD + b"1,2,3,4,1_0\n", "line 4: field 5 is '1_0', expected a whole number"),
        (GOOD + b"1,2,3,4,5 6\n", "line 4: field 5 is '5 6', expected a whole number"),
        (GOOD + b"1,2,3,4,256\n", "line 4: field 5 is '256', expected a pixel from 0 to 255"),
        (GOOD + b"10,2,3,4,5\n", "line 4: field 1 is '10', expected a label from 0 to 9"),
        (GOOD + b"-1,2,3,4,5\n", "line 4: field 1 is '-1', expected a whole number"),
        (GOOD + b"9" * 5000 + b",2,3,4,5\n", r"line 4: field 1 is '9+\.\.\., expected a label"),
        (GOOD + b"\n1,2,3,4,5\n", "line 4: found nothing"),
        (GOOD + b"1;2;3;4;5\n", "line 4: field 1 is '1;2;3;4;5'"),
        (GOOD + b"label,a,b,c,d\n", "line 4: field 1 is 'label'"),
        (b"label,1,2,3,4\n", "line 1: found no examples"),
        (GOOD + b"\x00\x00", "line 4: found a zero byte"),
        (GOOD + b"1,\xff,3,4,5\n", "line 4: field 2 is .*, expected a whole number"),
        (b"1,2,3\n", "line 1: 2 fields after the label, expected a square .* --image_shape"),
        (b"1\n", "line 1: found one field, '1', expected a label and pixels"),
    ],
)
def test_malformed(tmp_path: Path, content: bytes, line: str):
    with pytest.raises(CsvError, match=f"x.csv: {line}") as error:
        _read(_open(tmp_path, content, num_classes=10))
    assert "\n" not in str(error.value) and len(str(error.value)) < 300 + len(str(tmp_path))


def test_fields_that_do_not_fit_the_image_shape(tmp_path: Path):
    with pytest.raises(CsvError, match="line 1: 5 fields, expected 10: a label and 3x3x1 pixels"):
        _read(_open(tmp_path, GOOD, image_shape=(3, 3, 1)))


def test_line_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(csv_text, "_MAX_LINE_BYTES", 10_000)
    monkeypatch.setattr(csv_text, "_BLOCK_BYTES", 1000)
    with pytest.raises(CsvError, match="line 2: more than 10000 bytes"):
        _open(tmp_path, b"1,2\n" + b"1," * 6000)


@pytest.mark.parametrize("change", ["cut", "checksum", "noise", "trailing"])
def test_broken_gzip(tmp_path: Path, change: str):
    data = bytearray(gzip.compress(GOOD * 100))
    if change == "cut":
        del data[-12:]
    elif change == "checksum":
        data[-6] ^= 1
    elif change == "noise":
        data[15:30] = random.Random(0).randbytes(15)
    else:
        data += b"more"
    with pytest.raises(InputError, match="x.csv: its gzip data is broken: .*copy it again"):
        _read(_open(tmp_path, bytes(data)))


def test_missing_file(tmp_path: Path):
    with pytest.raises(InputError, match="nope.csv: No such file"):
        CsvSource(str(tmp_path / "nope.csv"), role="train_csv")


def test_folder(tmp_path: Path):
    with pytest.raises(InputError, match="Is a directory"):
        CsvSource(str(tmp_path), role="train_csv")


@pytest.mark.parametrize(
    ("names", "role"),
    [("p0,label,p1,p2,p3", "train_csv_label1"), ("label,p1,p0,p2,p3", "train_csv_by_name")],
)
def test_a_role_says_whether_names_gave_the_order(tmp_path: Path, names: str, role: str):
    (tmp_path / "a.csv").write_text(f"{names}\n" + "0,1,2,3,4\n1,0,5,6,7\n" * 4)
    assert sources.from_csv(str(tmp_path / "a.csv")).train.digests().keys() == {role}


def test_the_same_file_with_another_label_is_another_dataset(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"0,1,2,3,1\n1,4,5,6,0\n" * 4)
    first, last = (sources.from_csv(str(path), label_column=where) for where in ("first", "last"))
    assert first.train.digests().keys() == {"train_csv"}
    assert last.train.digests().keys() == {"train_csv_label4"}
    first.write(str(tmp_path / "data"), shards=1)
    with pytest.raises(DatasetError, match="examples of other content"):
        last.write(str(tmp_path / "data"), shards=1)


def test_test_examples_without_a_header_have_the_columns_of_the_training(tmp_path: Path, capsys):
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_bytes(b"pixel0,pixel1,pixel3,pixel2,label\n1,2,4,3,0\n5,6,8,7,1\n")
    test.write_bytes(b"1,2,4,3,1\n")
    found = sources.from_csv(str(train), str(test))
    images, labels = _read(found.test)
    assert (images.ravel().tolist(), labels.tolist()) == ([1, 2, 3, 4], [1])
    assert f"{test}: no header; took its columns to be those of the tr" in capsys.readouterr().err
    test.write_bytes(b"label,pixel0,pixel1,pixel3,pixel2\n1,9,9,9,9\n")
    assert _read(sources.from_csv(str(train), str(test)).test)[1].tolist() == [1]
    assert "no header" not in capsys.readouterr().err
