"""CSV files as many programs write them: each is read rightly, or refused by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from mnist_estimator import InputError
from mnist_estimator.data import csv_columns, sources
from mnist_estimator.data.csv_source import CsvSource

LINES, SIDE = 40, 4
PIXELS = SIDE * SIDE
LABELS = (np.arange(LINES) * 7 % 10).tolist()
# As digits: nothing on the border, and inside whatever a byte holds.
IMAGES = np.pad(
    np.random.default_rng(0).integers(256, size=(LINES, 2, 2)), ((0, 0), (1, 1), (1, 1))
).reshape(LINES, PIXELS)
ROWS = [[label, *image] for label, image in zip(LABELS, IMAGES.tolist(), strict=True)]
LAST = [[*image, label] for label, *image in ROWS]
NAMES = [f"pixel{i}" for i in range(PIXELS)]
BY_COLUMN = [row * SIDE + column for column in range(SIDE) for row in range(SIDE)]


def text(
    rows: Sequence[Sequence[object]],
    names: Sequence[str] = (),
    *,
    sep: str = ",",
    end: str = "\n",
    write: Callable[[object], str] = str,
) -> bytes:
    lines = [sep.join(names)] if names else []
    lines += [sep.join(map(write, row)) for row in rows]
    return "".join(line + end for line in lines).encode()


def quoted(value: object) -> str:
    return f'"{value}"'


def moved(order: Sequence[int]) -> list[list[int]]:
    return [[row[0], *(row[1 + column] for column in order)] for row in ROWS]


def by_text(names: Sequence[str]) -> list[int]:
    return sorted(range(PIXELS), key=lambda column: names[column])


def read(path: Path, content: bytes, **options: object) -> tuple[list, list]:
    path.write_bytes(content)
    options.setdefault("label_column", "")
    source = CsvSource(str(path), role="train_csv", **options)
    images, labels = zip(*source.chunks(7), strict=True)
    assert source.num_examples == sum(map(len, labels))
    return np.concatenate(labels).tolist(), np.concatenate(images).reshape(-1, PIXELS).tolist()


GRID = [f"{i // SIDE + 1}x{i % SIDE + 1}" for i in range(PIXELS)]
ARFF = "% made by hand\n@RELATION 'a b'\n" + "".join(
    f"@ATTRIBUTE {name} numeric\n" for name in [*NAMES, "'class' {0,1,2,3,4,5,6,7,8,9}"]
)
_RIGHT = {
    "pandas": text(ROWS, ["label", *NAMES]),
    "pandas without names": text(ROWS, list(map(str, range(PIXELS + 1)))),
    "pandas, numbers as names": text(ROWS, ["label", *map(str, range(PIXELS))]),
    "pandas, numbers from 1": text(ROWS, ["label", *map(str, range(1, PIXELS + 1))]),
    "pandas floats": text(ROWS, ["label", *NAMES], write=lambda v: f"{v:.1f}"),
    "pandas float_format": text(ROWS, ["label", *NAMES], write=lambda v: f"{v:.4f}"),
    "pandas float label": text([[float(row[0]), *row[1:]] for row in ROWS]),
    "pandas quoting": text(ROWS, map(quoted, ["label", *NAMES]), write=quoted),
    "pandas decimal comma": text(ROWS, ["label", *NAMES], sep=";", write=lambda v: f"{v},0"),
    "pandas sorted columns": text(
        moved(by_text(NAMES)), ["label", *(NAMES[i] for i in by_text(NAMES))]
    ),
    "pixels backwards": text(moved(range(PIXELS)[::-1]), ["label", *NAMES[::-1]]),
    "Excel": b"\xef\xbb\xbf" + text(ROWS, ["label", *NAMES], sep=";", end="\r\n"),
    "Excel with a sep line": b"sep=;\r\n" + text(ROWS, ["label", *NAMES], sep=";", end="\r\n"),
    "Excel for the Macintosh": text(ROWS, ["label", *NAMES], end="\r"),
    "Excel's Unicode text": text(ROWS, ["label", *NAMES], sep="\t", end="\r\n")
    .decode()
    .encode("utf-16"),
    "UTF-16, big end first": b"\xfe\xff" + text(ROWS).decode().encode("utf-16-be"),
    "Excel after rows were deleted": text([*ROWS, [""] * (PIXELS + 1)], ["label", *NAMES]),
    "lines that end twice": text(ROWS, ["label", *NAMES], end="\r\r\n"),
    "commas at the ends": text([[*row, ""] for row in ROWS]),
    "commas at the ends, and a header": text([[*row, ""] for row in ROWS], ["label", *NAMES]),
    "R": text(ROWS, map(quoted, ["label", *NAMES])),
    "R with factors": text([[quoted(row[0]), *row[1:]] for row in ROWS], ["label", *NAMES]),
    "R's V names": text(ROWS, [f'"V{i + 1}"' for i in range(PIXELS + 1)]),
    "MATLAB's Var names": text(ROWS, [f"Var{i + 1}" for i in range(PIXELS + 1)]),
    "MATLAB": text(ROWS, write=lambda v: f"{v:.4e}"),
    "MATLAB -ascii": text(ROWS, sep="  ", write=lambda v: f" {v:.7e}"),
    "Octave": b"# Created by Octave\n# name: a\n" + text(ROWS, sep=" "),
    "numpy.savetxt": text(ROWS, sep=" ", write=lambda v: f"{v:.18e}"),
    "numpy.savetxt, header": b"# " + text(ROWS, ["label", *NAMES]),
    "numpy.savetxt, a sentence": b"# label, then pixels\n" + text(ROWS),
    "scikit-learn": text(LAST, [*(f"pixel{i + 1}" for i in range(PIXELS)), "class"]),
    "scikit-learn digits": text(
        LAST, [*(f"pixel_{i // SIDE}_{i % SIDE}" for i in range(PIXELS)), "target"]
    ),
    "OpenML": text([[*row[:-1], f"'{row[-1]}'"] for row in LAST], [*NAMES, "class"]),
    "OpenML, rows and columns": text(ROWS, ["label", *GRID]),
    "ARFF": f"{ARFF}\n@DATA\n".encode() + text(LAST),
    "ARFF, quoted": f"{ARFF}\n@data\n".encode() + text([[*r[:-1], f"'{r[-1]}'"] for r in LAST]),
    "Weka": text(LAST, [*(f"att{i + 1}" for i in range(PIXELS)), "class"]),
    "Spark": text(ROWS, [f"_c{i}" for i in range(PIXELS + 1)]),
    "polars": text(ROWS, [f"column_{i + 1}" for i in range(PIXELS + 1)]),
    "Julia": text(ROWS, [f"x{i + 1}" for i in range(PIXELS + 1)]),
    "MySQL": text(ROWS, sep="\t"),
    "PostgreSQL": text(ROWS, ["label", *NAMES], sep="|"),
    "a label in between": text(
        [[*row[:5], row[-1], *row[5:-1]] for row in LAST], [*NAMES[:5], "Label", *NAMES[5:]]
    ),
    "another label first": text(ROWS, ["letter", *NAMES]),
    "names with a number for all": text(ROWS, ["y", *(f"mnist784_{i}" for i in range(PIXELS))]),
    "names with brackets": text(ROWS, ["CATEGORY", *(f"px[{i}]" for i in range(PIXELS))]),
    "names without numbers": text(ROWS, ["n", *"abcdefghijklmnop"]),
    "the column named before the row": text(
        moved(BY_COLUMN), ["label", *(f"col{i % SIDE}_row{i // SIDE}" for i in BY_COLUMN)]
    ),
    "named rows and columns in any order": text(
        moved(BY_COLUMN[::-1]), ["label", *(f"r{i // SIDE}c{i % SIDE}" for i in BY_COLUMN[::-1])]
    ),
    "x before y, row by row": text(
        ROWS, ["label", *(f"x{i % SIDE}_y{i // SIDE}" for i in range(PIXELS))]
    ),
}


@pytest.mark.parametrize("content", _RIGHT.values(), ids=_RIGHT)
def test_read_as_meant(tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]):
    assert read(tmp_path / "x.csv", content) == (LABELS, IMAGES.tolist())
    assert capsys.readouterr().err == ""


ONE_HOT = np.eye(10, dtype=int)[LABELS].tolist()
_COUNTED = [[i, *row] for i, row in enumerate(ROWS)]
_DOWN = [GRID[i % SIDE * SIDE + i // SIDE] for i in range(PIXELS)]
_REFUSED = {
    "pandas index": (text(_COUNTED, ["", "label", *NAMES]), "column 1 is '', no label and no"),
    "pandas index, read again": (text(_COUNTED, ["Unnamed: 0", "label", *NAMES]), "Unnamed: 0"),
    "R row names": (text(_COUNTED, ["", "label", *NAMES], write=quoted), "row.names = FALSE"),
    "R write.table": (text(_COUNTED, ["label", *NAMES], sep=" "), "17 names .* 18 fields a line"),
    "id": (text(_COUNTED, ["id", "label", *NAMES]), "column 1 is 'id', no label and no pixel"),
    "ImageId": (text(_COUNTED, ["ImageId", "label", *NAMES]), "column 1 is 'ImageId'"),
    "id last": (
        text([[*row, i] for i, row in enumerate(ROWS)], ["label", *NAMES, "rowid"]),
        "column 18 is 'rowid'",
    ),
    "index without names": (text(_COUNTED), "the first column counts the lines from 0"),
    "id and no label": (
        text([[i, *row[1:]] for i, row in enumerate(ROWS)], ["id", *NAMES]),
        "column 1 is 'id'.*no column is named label",
    ),
    "index for a label": (
        text([[i + 1, *row[1:]] for i, row in enumerate(ROWS)]),
        "the first column counts the lines from 1, .*--label_column=first",
    ),
    "unlabelled": (text(IMAGES.tolist(), NAMES), "16 columns pixel0, .* and no label: .*predict"),
    "unlabelled, V names": (
        text(IMAGES.tolist(), [f"V{i + 1}" for i in range(PIXELS)]),
        "16 columns .* and no label",
    ),
    "pixels alone, whatever their number": (
        text(ROWS, [*NAMES, "pixel16"]),
        "17 columns .* and no label",
    ),
    "unlabelled without names": (
        text(IMAGES.tolist()),
        r"15 fields after the label.*\(16 would be one: does each line have a label\?\)",
    ),
    "label last": (text(LAST), "first column looks like a pixel .*--label_column=last"),
    "label last, V names": (
        text(LAST, [f"V{i + 1}" for i in range(PIXELS + 1)]),
        "first column looks like a pixel .0 in 40 of 40 lines. and the last like the label",
    ),
    "label last, dark on light": (
        text([[*(255 - v for v in row[:-1]), row[-1]] for row in LAST]),
        "first column looks like a pixel .255 in 40 of 40 lines. and the last like the label",
    ),
    "another label last": (text(LAST, [*NAMES, "kind"]), "column 17 is 'kind'.*--label_column"),
    "two labels": (
        text([[*row, row[0]] for row in ROWS], ["label", *NAMES, "class"]),
        "column 1 is 'label' and column 18 is 'class' may both be the label",
    ),
    "another column": (
        text([[*row, 1] for row in ROWS], ["label", *NAMES, "Usage"]),
        "column 18 is 'Usage', expected a pixel such as 'pixel0'",
    ),
    "pixel missing": (
        text([[*row[:4], *row[5:]] for row in ROWS], ["label", *NAMES[:3], *NAMES[4:]]),
        "found 'pixel0' to 'pixel15' but no pixel 3, expected all",
    ),
    "pixel missing, numbers as names": (
        text([[*row[:4], *row[5:]] for row in ROWS], ["label", *"012", *map(str, range(4, 16))]),
        "found '0' to '15' but no pixel 3",
    ),
    "first pixels missing": (
        text(ROWS, ["label", *(f"f{i + 5}" for i in range(PIXELS))]),
        "found 'f5' to 'f20' but no pixel 0",
    ),
    "row missing": (
        text([row[:13] for row in ROWS], ["label", *GRID[:3], *GRID[4:13]]),
        "found '1x1' to '4x1', 12 pixels, expected 4 x 4: some are missing",
    ),
    "pixel twice": (
        text(ROWS, ["label", *NAMES[:3], "pixel2", *NAMES[4:]]),
        "column 4 is 'pixel2' and column 5 is 'pixel2', expected each pixel once",
    ),
    "column by column": (
        text(ROWS, ["label", *_DOWN]),
        "column 2 is '1x1' and column 3 is '2x1': cannot tell rows from columns",
    ),
    "x before y, x after x": (  # Whether x is the row, as in mathematics, is not known.
        text(ROWS, ["label", *(f"x{i // SIDE}_y{i % SIDE}" for i in range(PIXELS))]),
        "column 2 is 'x0_y0' and column 3 is 'x0_y1': cannot tell rows from columns",
    ),
    "planes": (
        text(
            [[row[0], *row[1:] * 3] for row in ROWS],
            ["label"] + [f"{c}{i}" for c in "RGB" for i in range(PIXELS)],
        ),
        "3 kinds of columns .R0, G0, B0., .*--image_shape=H,W,3",
    ),
    "one-hot": (
        text([[*ones, *row[1:]] for ones, row in zip(ONE_HOT, ROWS, strict=True)]),
        "the first 10 columns are one-hot labels",
    ),
    "one-hot floats": (
        text([[*map(float, ones), *row[1:]] for ones, row in zip(ONE_HOT, ROWS, strict=True)]),
        "the first 10 columns are one-hot labels",
    ),
    "one-hot last": (
        text([[*row[1:], *ones] for ones, row in zip(ONE_HOT, ROWS, strict=True)]),
        "the last 10 columns are one-hot labels",
    ),
    "one-hot, named": (
        text(
            [[*ones, *row[1:]] for ones, row in zip(ONE_HOT, ROWS, strict=True)],
            [*(f"label_{i}" for i in range(10)), *NAMES],
        ),
        "columns of one-hot labels, of which column 2 is 'label_1'",
    ),
    "one-hot last, named": (
        text(
            [[*row[1:], *ones] for ones, row in zip(ONE_HOT, ROWS, strict=True)],
            [*NAMES, *(f"class_{i}" for i in range(10))],
        ),
        "10 columns of one-hot labels, of which column 17 is 'class_0'",
    ),
    "an example as header": (
        text(ROWS, ["5", "0", *(f"0.{i + 1}" for i in range(15))]),
        "line 1: found 0.1, 0.2, 0.3: an example that pandas took for .*header=None",
    ),
    "files joined": (
        text(ROWS, ["label", *NAMES]) * 2,
        "line 42: field 1 is 'label'.* it is the header again",
    ),
    "names of classes": (
        text([["ABCDEFGHIJ"[row[0]], *row[1:]] for row in ROWS]),
        "line 1: field 1 is 'A', expected a whole number; number the classes from 0",
    ),
    "pixels from 0 to 1": (
        text([[row[0], *(v / 255 for v in row[1:])] for row in ROWS]),
        "expected a whole number; multiply pixels from 0 to 1 by 255",
    ),
    "missing values": (text([*ROWS[:3], ["?"] * 17]), "line 4: field 1 is '.'"),
    "MySQL's missing values": (text([*ROWS[:3], [1, *["\\N"] * 16]], sep="\t"), "line 4: field 2"),
    "a title": (b"my digits\n" + text(ROWS, ["label", *NAMES]), "line 1: .*'my digits'"),
    "sparse ARFF": (f"{ARFF}\n@data\n{{1 5, 16 3}}\n".encode(), "line 22: field 1 is '.1 5'"),
    "ZIP": (b"PK\x03\x04" + bytes(30), "x.csv: found a ZIP archive.*unpack it"),
    "bzip2": (b"BZh91AY&SY" + bytes(30), "bzip2 data.*unpack it"),
    "Parquet": (b"PAR1" + bytes(30), "a Parquet file.*CSV"),
    "HTML": (b"\n<!DOCTYPE html>", "an HTML or XML page.*download it again"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\n", "pointer of Git LFS"),
    "UTF-16, cut": (b"\xff\xfe1\x00,", "UTF-16 is broken"),
}


@pytest.mark.parametrize(("content", "problem"), _REFUSED.values(), ids=_REFUSED)
def test_refused_by_name(tmp_path: Path, content: bytes, problem: str):
    with pytest.raises(InputError, match=f"x.csv: .*{problem.removeprefix('x.csv: ')}") as error:
        read(tmp_path / "x.csv", content)
    assert "\n" not in str(error.value)


def test_columns_sorted_as_text_with_rows_are_read_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    names = [f"{i // 12}x{i % 12}" for i in range(144)]
    order = sorted(range(144), key=lambda column: names[column])
    images = np.arange(2 * 144).reshape(2, 144) % 256
    rows = np.column_stack([[0, 1], images[:, order]]).tolist()
    (tmp_path / "x.csv").write_bytes(text(rows, ["label", *(names[i] for i in order)]))
    source = CsvSource(str(tmp_path / "x.csv"), role="train_csv")
    assert next(source.chunks(2))[0].reshape(2, 144).tolist() == images.tolist()
    assert "took the first number for the row" in capsys.readouterr().err


def test_a_header_that_does_not_fit_is_passed_over_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert read(tmp_path / "x.csv", text(ROWS, ["label", "pixels"]))[0] == LABELS
    assert "2 names of columns but 17 fields a line" in capsys.readouterr().err


@pytest.mark.parametrize("asked", ["kind", "KIND", "last"])
def test_the_label_column_is_the_one_asked_for(tmp_path: Path, asked: str):
    content = text(LAST, [*NAMES, "kind"])
    assert read(tmp_path / "x.csv", content, label_column=asked) == (LABELS, IMAGES.tolist())


@pytest.mark.parametrize(("asked", "rows"), [("last", LAST), ("first", ROWS)])
def test_the_label_column_without_names(tmp_path: Path, asked: str, rows: list):
    assert read(tmp_path / "x.csv", text(rows), label_column=asked) == (LABELS, IMAGES.tolist())


def test_a_column_asked_for_that_counts_is_taken(tmp_path: Path):
    rows = [[i, *row[1:]] for i, row in enumerate(ROWS)]
    labels, _ = read(tmp_path / "x.csv", text(rows), label_column="first")
    assert labels == list(range(LINES))


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ((), "no header line that names its 17 columns, so none is 'kind'"),
        (("label", *NAMES), "0 columns are named 'kind' .*the columns are label, pixel0, "),
    ],
)
def test_a_label_column_that_is_not_there(tmp_path: Path, names: Sequence[str], problem: str):
    with pytest.raises(InputError, match=problem):
        read(tmp_path / "x.csv", text(ROWS, names), label_column="kind")


def test_names_say_the_shape(tmp_path: Path):
    names = ["label", *(f"p_{i // 8}_{i % 8}" for i in range(16))]
    (tmp_path / "x.csv").write_bytes(text(ROWS, names))
    assert CsvSource(str(tmp_path / "x.csv"), role="train_csv").image_shape == (2, 8, 1)
    with pytest.raises(InputError, match="named for images of 2x8x1, expected 4x4x1"):
        CsvSource(str(tmp_path / "x.csv"), role="train_csv", image_shape=(4, 4, 1))


def test_channels_are_brought_side_by_side(tmp_path: Path):
    names = ["label", *(f"{channel}{i}" for channel in "RGB" for i in range(PIXELS))]
    planes = [[row[0], *(plane + i for plane in (0, 50, 100) for i in range(16))] for row in ROWS]
    (tmp_path / "x.csv").write_bytes(text(planes, names))
    source = CsvSource(str(tmp_path / "x.csv"), role="train_csv", image_shape=(4, 4, 3))
    images, _ = next(source.chunks(1))
    assert images[0, 0, 1].tolist() == [1, 51, 101]


@pytest.mark.parametrize(
    "kinds",
    [
        "RGB",
        "BGR",
        ("blue_", "green_", "red_"),
        ("px_g", "px_b", "px_r"),
        ("pixelB", "pixelG", "pixelR"),
    ],
)
def test_channels_have_one_order_in_all_files(kinds):
    names = ["label", *(f"{kind}{place}" for kind in kinds for place in range(16))]
    found = csv_columns.find("x.csv", names, len(names), image_shape=(4, 4, 3))
    first = [names[column].lower() for column in found.pixels[:3]]
    letters = [name.removeprefix("px_").removeprefix("pixel")[0] for name in first]
    assert letters == ["r", "g", "b"]


def test_names_by_which_channels_come_first_are_refused():
    places = [(c, r, k) for c in range(3) for r in range(5) for k in range(6)]
    first = ["label", *(f"p{c}_{r}_{k}" for c, r, k in places)]
    for shape in (None, (5, 6, 3)):
        with pytest.raises(InputError, match="'p0_0_0' to 'p2_4_5', whose first number counts 3"):
            csv_columns.find("x.csv", first, len(first), image_shape=shape)
    last = ["label", *(f"p{r}_{k}_{c}" for r in range(5) for k in range(6) for c in range(3))]
    assert csv_columns.find("x.csv", last, len(last)).image_shape == (5, 6, 3)


def _with_labels(labels: Sequence[int]) -> bytes:
    rows = zip(labels, IMAGES.tolist() * math.ceil(len(labels) / LINES), strict=False)
    return text([[label, *image] for label, image in rows])


@pytest.mark.parametrize(
    ("labels", "tested", "classes", "said"),
    [
        (LABELS, LABELS, None, ""),
        (sorted(LABELS), [3], None, ""),
        ([9, 0, 3], None, None, "but none of class 1, 2, 4, 5, 6, ...; is the label"),
        ([label if label != 9 else 24 for label in LABELS], None, None, "none of class 9, 10, "),
        ([label + 1 for label in LABELS], None, None, "none of class 0; expected .* from 0"),
        (LABELS, None, 11, "none of class 10; is the label column right"),
        ([7 * i % 40 for i in range(40)], None, None, "found 40 classes in 40 examples"),
        (LABELS, [*LABELS, 12], None, "the test examples have class 12 too"),
        (LABELS, [0] * 20, None, "every test example has class 0"),
    ],
)
def test_doubtful_labels_are_said(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    labels: Sequence[int],
    tested: Sequence[int] | None,
    classes: int | None,
    said: str,
):
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_bytes(_with_labels(labels))
    if tested:
        test.write_bytes(_with_labels(tested))
    sources.from_csv(str(train), str(test) if tested else None, num_classes=classes)
    warning = capsys.readouterr().err
    assert warning.count("\n") == bool(said)
    assert said == warning or (warning.startswith("warning: ") and "train.csv: found" in warning)
    if said:
        assert np.all([part in warning for part in said.split(" .* ")])


def test_one_class_is_refused_unless_their_number_is_given(tmp_path: Path):
    path = tmp_path / "train.csv"
    path.write_bytes(_with_labels([0] * 20))
    with pytest.raises(InputError, match=r"every label is 0, .*--label_column.*--num_classes"):
        sources.from_csv(str(path))
    assert sources.from_csv(str(path), num_classes=10).num_classes == 10
