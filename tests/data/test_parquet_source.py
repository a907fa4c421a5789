from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from support import parquet_tables as tables
from support.idx_files import arrays, make_known, put

from mnist_estimator import InputError
from mnist_estimator.compat import tf
from mnist_estimator.data import known_datasets, sources
from mnist_estimator.data.parquet_source import ParquetSource, Table

PIXELS = tables.images()


def _table(*paths: str, **options) -> Table:
    return Table(paths, role="train", **options)


def _read(source, *bounds: int) -> tuple[np.ndarray, np.ndarray]:
    chunks = list(source.chunks(4, *bounds))
    assert all(images.dtype == np.uint8 and len(images) <= 4 for images, _ in chunks)
    images, labels = (np.concatenate(found) for found in zip(*chunks, strict=True))
    return images[..., 0], labels


def _check(source, shape: tuple[int, ...] = (4, 5, 1)) -> None:
    assert (source.num_examples, source.image_shape) == (tables.COUNT, shape)
    images, labels = _read(source)
    assert np.array_equal(images, PIXELS) and np.array_equal(labels, tables.labels())
    assert sum(map(np.ndarray.tolist, source.label_chunks(5)), []) == labels.tolist()
    images, labels = _read(source, 6, 9)
    assert np.array_equal(images, PIXELS[6:9]) and labels.tolist() == [0, 1, 2]


def _by_column(images: np.ndarray, kind=None) -> dict[str, pa.Array]:
    flat = images.reshape(len(images), -1)
    columns = {f"pixel{n}": pa.array(flat[:, n], kind) for n in range(flat.shape[1])}
    return {"label": pa.array(tables.labels())} | columns


def _fixed(images: np.ndarray) -> pa.Array:
    rows = pa.FixedSizeListArray.from_arrays(pa.array(images.ravel()), images.shape[2])
    return pa.FixedSizeListArray.from_arrays(rows, images.shape[1])


LABELS = pa.array(tables.labels())
LAYOUTS = {
    "the hub's": tables.hub_table(PIXELS),
    "pictures alone": pa.table({"img": [tables.png(image) for image in PIXELS], "y": LABELS}),
    "nested lists": pa.table({"image": PIXELS.tolist(), "label": LABELS}),
    "lists of bytes": pa.table(
        {"image": pa.array(PIXELS.tolist(), pa.list_(pa.list_(pa.uint8()))), "label": LABELS}
    ),
    "lists of floats": pa.table(
        {"image": pa.array(PIXELS.tolist(), pa.large_list(pa.list_(pa.float32()))), "label": LABELS}
    ),
    "fixed lists": pa.table({"x": _fixed(PIXELS), "target": LABELS.cast(pa.uint8())}),
    "tensors": pa.table(
        {"image": pa.FixedShapeTensorArray.from_numpy_ndarray(PIXELS), "label": LABELS}
    ),
    "dictionary of labels": pa.table(
        {"image": PIXELS.tolist(), "label": LABELS.dictionary_encode()}
    ),
    "labels as floats": pa.table({"image": PIXELS.tolist(), "label": LABELS.cast(pa.float64())}),
}
FLAT = {
    "flat lists": pa.table({"image": PIXELS.reshape(tables.COUNT, -1).tolist(), "label": LABELS}),
    "columns": pa.table(_by_column(PIXELS)),
    "columns of floats, label last": pa.table(
        dict(reversed(_by_column(PIXELS, pa.float64()).items()))
    ),
}


@pytest.mark.parametrize("table", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts(tmp_path: Path, table: pa.Table):
    _check(_table(tables.write(tmp_path / "x", table, row_group_size=7)))


@pytest.mark.parametrize("table", FLAT.values(), ids=FLAT)
def test_layouts_whose_shape_is_said(tmp_path: Path, table: pa.Table):
    path = tables.write(tmp_path / "x", table, row_group_size=7)
    _check(_table(path, image_shape=(4, 5, 1)))
    with pytest.raises(InputError, match=r"20 pixels a row, expected a square .*--image_shape"):
        _table(path)
    with pytest.raises(InputError, match="20 pixels a row, expected images of 3x3x1"):
        _table(path, image_shape=(3, 3, 1))


def test_rows_in_other_files_and_row_groups_are_the_same_data(tmp_path: Path):
    for name, table in (("hub", tables.hub_table(PIXELS)), ("lists", LAYOUTS["nested lists"])):
        whole = _table(tables.write(tmp_path / name, table))
        paths = [
            tables.write(
                tmp_path / f"{name}{first}-{count}", table.slice(first, count), row_group_size=2
            )
            for first, count in ((0, 5), (5, 0), (5, 1), (6, 17))
        ]
        parts = _table(*paths)
        _check(parts)
        assert parts.digests() == whole.digests() and parts.labels == whole.labels
        assert parts.arrays.digests() == whole.arrays.digests()
        assert parts.class_names == whole.class_names == (("cat", "dog", "emu") * (name == "hub"))
        (tmp_path / f"{name}0-5").unlink()
        assert _read(parts, 6, 8)[1].tolist() == [0, 1]  # Files before are not opened.


def test_other_content_has_another_digest(tmp_path: Path):
    digests = []
    changed = PIXELS.copy()
    changed[-1, 0, 0] ^= 1
    for number, pixels in enumerate((PIXELS, changed)):
        digests.append(
            _table(tables.write(tmp_path / f"{number}", tables.hub_table(pixels))).digests()
        )
    labels = pa.table(
        {"image": LAYOUTS["the hub's"]["image"], "label": pa.array(tables.labels()[::-1])}
    )
    digests.append(_table(tables.write(tmp_path / "l", labels)).digests())
    assert len({digest["train_pictures"] for digest in digests}) == 3


def test_the_sample_in_the_hubs_layout_is_the_sample(tmp_path: Path):
    sample = sources.from_folder(known_datasets.sample_dir()).test
    images, labels = _read(sample)
    pictures = [{"bytes": tables.png(image), "path": None} for image in images]
    table = pa.table({"image": pictures, "label": labels})
    found = Table([tables.write(tmp_path / "x", table, row_group_size=100)], role="test")
    for one, other in zip(_read(found), (images, labels), strict=True):
        assert np.array_equal(one, other)
    assert found.arrays.digests() == sample.digests()


def test_known_content_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    content = arrays()
    make_known(monkeypatch, put(tmp_path / "idx", content))
    paths = {}
    for part in ("train", "test"):
        pictures = [{"bytes": tables.png(image)} for image in content[f"{part}_images"]]
        table = pa.table({"image": pictures, "label": content[f"{part}_labels"]})
        paths[part] = [tables.write(tmp_path / part, table)]
    opened = sources.from_parquet(paths["train"], paths["test"])
    assert (opened.dataset, opened.class_names) == ("mnist", ("zero", "one", "two"))
    idx = sources.from_folder(str(tmp_path / "idx"))
    assert opened.train.digests() == idx.train.digests()
    assert sources.from_parquet(paths["train"]).dataset == "custom"
    turned = sources.from_parquet(paths["train"], paths["test"], transpose=True)
    assert (turned.dataset, turned.train.image_shape) == ("custom", (2, 3, 1))


def test_class_names_of_the_hub(tmp_path: Path):
    path = tables.write(tmp_path / "x", tables.hub_table(PIXELS))
    opened = sources.from_parquet([path])
    assert (opened.num_classes, opened.class_names) == (3, ("cat", "dog", "emu"))
    opened = sources.from_parquet([path], num_classes=5)
    assert (opened.num_classes, opened.class_names) == (5, ())
    other = tables.write(tmp_path / "y", tables.hub_table(PIXELS, ("dog", "cat", "emu")))
    with pytest.raises(InputError, match="its classes have other names than those of"):
        sources.from_parquet([path], [other])
    with pytest.raises(InputError, match=r"y \(file 2 of 2\): its classes have other names"):
        _table(path, other)


def test_labels_that_are_all_the_same(tmp_path: Path):
    table = pa.table({"image": PIXELS.tolist(), "label": np.full(tables.COUNT, 2)})
    with pytest.raises(InputError, match="every label is 2, expected two classes or more"):
        sources.from_parquet([tables.write(tmp_path / "x", table)])


def test_pictures_become_one_shape(tmp_path: Path, capsys):
    pictures = [tables.png(image) for image in PIXELS]
    pictures[9] = tables.png(np.zeros((5, 5, 3), np.uint8), "JPEG")
    columns = {"image": pictures, "label": LABELS, "id": range(tables.COUNT)}
    path = tables.write(tmp_path / "x", pa.table(columns), row_group_size=4)
    line = (
        r"x: row 9 .*: an image of 5x5x3, expected 4x5x1 as before it; say .*=H,W,C, such as 5,5,3"
    )
    with pytest.raises(InputError, match=line):
        _table(path)
    found = _table(path, image_shape=(4, 5, 3))
    assert found.image_shape == (4, 5, 3)
    images = np.concatenate([images for images, _ in found.chunks(64)])
    assert np.array_equal(images[8], np.repeat(PIXELS[8][..., None], 3, 2)) and not images[9].any()
    assert "columns not used: id" in capsys.readouterr().err


BAD_PICTURES = {
    "null": (None, "no picture .*null"),
    "text": (b"hello, this is no picture", "no picture, expected PNG, JPEG, GIF or BMP"),
    "empty": (b"", "empty, expected a picture"),
    "huge": (
        tables.png(PIXELS[0])[:16] + b"\0\1\0\0" * 2 + tables.png(PIXELS[0])[24:],
        "65536x65536",
    ),
}


@pytest.mark.parametrize(("picture", "line"), BAD_PICTURES.values(), ids=BAD_PICTURES)
def test_a_bad_picture_is_named_by_its_row(tmp_path: Path, picture: bytes | None, line: str):
    pictures = [tables.png(image) for image in PIXELS]
    pictures[17] = picture
    path = tables.write(tmp_path / "x", pa.table({"image": pictures, "label": LABELS}))
    with pytest.raises(InputError, match=rf"x: row 17 \(counted from 0\): .*{line}"):
        _table(path)
    table = pa.table({"image": [{"bytes": p, "path": "p"} for p in pictures], "label": LABELS})
    with pytest.raises(InputError, match=rf"x: row 17 \(counted from 0\): .*{line}"):
        _table(tables.write(tmp_path / "x", table))


def test_a_picture_that_cannot_be_decoded_leaves_nothing(tmp_path: Path):
    pictures = [tables.png(image) for image in PIXELS]
    pictures[17] = pictures[17][:45] + b"\0\0\0\0" + pictures[17][49:]
    path = tables.write(tmp_path / "x", pa.table({"image": pictures, "label": LABELS}))
    with pytest.raises(InputError, match=r"x: row 17 .*: cannot be decoded: "):
        sources.from_parquet([path]).write(str(tmp_path / "data"))
    assert not (tmp_path / "data").exists()


def test_the_bad_file_is_named(tmp_path: Path):
    good = tables.write(tmp_path / "a", LAYOUTS["nested lists"])
    renamed = LAYOUTS["nested lists"].rename_columns(["image", "class"])
    for table, line in (
        (renamed, "the images are in column 'image' .lists. with label 'class', expected column"),
        (LAYOUTS["the hub's"], "column 'image' .pictures. with label 'label', expected"),
        (pa.table({"image": PIXELS[:, :3].tolist(), "label": LABELS}), "an image of 3x5x1, expect"),
    ):
        with pytest.raises(InputError, match=rf"b \(file 2 of 3\): .*{line}"):
            _table(good, tables.write(tmp_path / "b", table), good)
    with pytest.raises(InputError, match=r"nope \(file 2 of 2\): No such file"):
        _table(good, str(tmp_path / "nope"))


def test_lists_of_other_sizes_are_refused_wherever_they_stand(tmp_path: Path):
    rows = PIXELS[:, :, :4].tolist()
    rows[12] = PIXELS[12, :3, :4].tolist()
    path = tables.write(tmp_path / "x", pa.table({"image": rows, "label": LABELS}))
    found = ParquetSource(path)
    with pytest.raises(InputError, match=r"x: row 12 .*: a list of 3 values, expected 4 as"):
        _read(found)
    rows[12:] = PIXELS[12:, :3, :4].tolist()
    path = tables.write(tmp_path / "x", pa.table({"image": rows, "label": LABELS}))
    with pytest.raises(InputError, match=r"x: row 12 .*: a list of 3 values, expected 4 as"):
        _read(ParquetSource(path))


def test_channels_first_are_refused(tmp_path: Path):
    rows = np.zeros((tables.COUNT, 1, 8, 8), np.uint8)
    table = pa.table({"image": rows.tolist(), "label": LABELS})
    with pytest.raises(InputError, match="lists of 1x8x8 pixels, .*; move that axis to the end"):
        _table(tables.write(tmp_path / "x", table))


def test_no_rows(tmp_path: Path):
    empty = LAYOUTS["the hub's"].slice(0, 0)
    with pytest.raises(InputError, match="found no rows, expected examples"):
        _table(tables.write(tmp_path / "x", empty), tables.write(tmp_path / "y", empty))


def test_another_filesystem(tmp_path: Path):
    path = tables.write(tmp_path / "x", tables.hub_table(PIXELS), row_group_size=5)
    tf.io.gfile.makedirs("ram://parquet")
    tf.io.gfile.copy(path, "ram://parquet/x", overwrite=True)
    _check(_table("ram://parquet/x"))
