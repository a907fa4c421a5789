"""Trees of pictures, as people have them: classes by folder, and nothing silently left out."""

from __future__ import annotations

import os
import struct
import unicodedata
import zlib
from pathlib import Path

import numpy as np
import pytest

from mnist_estimator import InputError
from mnist_estimator.compat import tf, v1
from mnist_estimator.data import folder_source, records, sources
from mnist_estimator.data.manifest import DatasetError
from mnist_estimator.pictures import picture_files, preparation

Image = pytest.importorskip("PIL.Image")


def _pixels(seed: int, shape: tuple[int, ...] = (6, 5)) -> np.ndarray:
    return np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)


def _save(path: Path, pixels: np.ndarray, mode: str = "", **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def _tree(folder: Path, classes=("a", "b"), count: int = 3, suffix: str = ".png", **options) -> str:
    for label, name in enumerate(classes):
        for number in range(count):
            _save(folder / name / f"{number}{suffix}", _pixels(100 * label + number), **options)
    return str(folder)


def _read(source, max_items: int = 4) -> tuple[np.ndarray, list[int]]:
    images, labels = zip(*source.chunks(max_items), strict=True)
    return np.concatenate(images), np.concatenate(labels).tolist()


def _error(*arguments: object, **options: object) -> str:
    """What is said when trees are opened and read."""
    with pytest.raises(InputError) as error:
        _read(folder_source.open_trees(*map(str, arguments), **options)[0])
    assert "\n" not in str(error.value)
    return str(error.value)


# What is read.


@pytest.mark.parametrize(("suffix", "mode"), [(".png", ""), (".BMP", ""), (".PNG", "RGB")])
def test_pictures_of_the_shape_come_through_unchanged(tmp_path, capsys, suffix, mode):
    opened, test, names = folder_source.open_trees(_tree(tmp_path, suffix=suffix, mode=mode))
    images, labels = _read(opened)
    assert (names, test, labels) == (("a", "b"), None, [0, 0, 0, 1, 1, 1])
    assert [chunk.tolist() for chunk in opened.label_chunks(2)] == [[0, 0], [0], [1, 1], [1]]
    expected = np.array([_pixels(100 * label + number) for label in (0, 1) for number in range(3)])
    np.testing.assert_array_equal(images, np.repeat(expected[..., None], images.shape[3], 3))
    assert opened.image_shape == (6, 5, 3 if mode else 1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG", ".jfif", ".gif", ".bmp"])
def test_others_become_what_predict_makes_of_them(tmp_path, suffix):
    folder = _tree(tmp_path, suffix=suffix, **({"format": "JPEG"} if suffix == ".jfif" else {}))
    images, _ = _read(folder_source.open_trees(folder, image_shape=(4, 3, 3))[0])
    encoded = (tmp_path / "b" / f"1{suffix}").read_bytes()
    with tf.Graph().as_default(), v1.Session() as session:
        expected = session.run(preparation.plain_images(tf.constant([encoded]), (4, 3, 3)))
    np.testing.assert_array_equal(images[4], expected[0])


@pytest.mark.parametrize(
    ("mode", "suffix", "channels"),
    [
        ("L", ".png", 1),
        ("1", ".png", 1),
        ("LA", ".png", 1),
        ("RGB", ".png", 3),
        ("RGBA", ".png", 3),
        ("P", ".png", 3),
        ("L", ".jpg", 1),
        ("RGB", ".jpg", 3),
        ("CMYK", ".jpg", 3),
        ("L", ".gif", 3),
        ("L", ".bmp", 1),
        ("RGB", ".bmp", 3),
    ],
)
def test_shape_of_a_file(tmp_path, mode, suffix, channels):
    encoded = _save(tmp_path / f"a{suffix}", _pixels(0), mode).read_bytes()
    assert picture_files.image_shape(encoded) == (6, 5, channels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_shape_of_a_photograph_is_that_of_the_upright_one(tmp_path, orientation, order, name):
    exif = Image.Exif()
    exif.endian = "<" if order == "little" else ">"
    exif[0x0112] = orientation
    encoded = _save(tmp_path / name, _pixels(0), exif=exif).read_bytes()
    assert picture_files.image_shape(encoded) == ((6, 5, 1) if orientation < 5 else (5, 6, 1))


@pytest.mark.parametrize(
    "classes",
    [
        ["0", "1", "2"],
        ["Ankle boot", "T-shirt top", "Äpfel", "日本"],
        ["Cat", "cat"],
        ["car", "plane", "train"],
        ["car", "test"],
        ["00", "01", "02", "10"],
    ],
)
def test_classes_are_the_sorted_names(tmp_path, capsys, classes):
    folder = _tree(tmp_path, classes, count=1)
    opened = sources.from_image_folder(folder)
    assert (opened.class_names, opened.num_classes) == (tuple(classes), len(classes))
    np.testing.assert_array_equal(
        _read(opened.train)[0][-1, ..., 0], _pixels(100 * len(classes) - 100)
    )
    assert capsys.readouterr().err == ""


def test_numbers_that_sort_otherwise_are_said(tmp_path, capsys):
    opened = sources.from_image_folder(_tree(tmp_path, map(str, range(11)), count=1))
    assert opened.class_names[:3] == ("0", "1", "10")
    assert "so 10 is class 2" in capsys.readouterr().err


def test_what_systems_leave_is_not_looked_at(tmp_path, capsys):
    folder = _tree(tmp_path)
    for name in (".DS_Store", "a/Thumbs.db", "a/._0.png", "b/desktop.ini", "labels.csv"):
        (tmp_path / name).write_bytes(b"x")
    for name in ("__MACOSX/a", ".ipynb_checkpoints", "a/.ipynb_checkpoints", "a/empty"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "a/.ipynb_checkpoints/0.png").write_bytes(b"x")
    opened, _, names = folder_source.open_trees(folder)
    assert (opened.num_examples, names) == (6, ("a", "b"))
    assert capsys.readouterr().err == ""


def test_other_files_are_counted(tmp_path, capsys):
    folder = _tree(tmp_path)
    (tmp_path / "a" / "notes.txt").write_text("x")
    (tmp_path / "b" / "box.xml").write_text("x")
    assert folder_source.open_trees(folder)[0].num_examples == 6
    assert capsys.readouterr().err == (
        f"warning: {folder}: 2 files are no pictures and left out, such as {folder}/a/notes.txt\n"
    )


def test_links_are_followed(tmp_path):
    folder = _tree(tmp_path / "tree")
    _tree(tmp_path / "elsewhere", ["c"])
    os.symlink(tmp_path / "elsewhere" / "c", tmp_path / "tree" / "c")
    os.symlink(tmp_path / "tree" / "a" / "0.png", tmp_path / "tree" / "b" / "z.png")
    assert _read(folder_source.open_trees(folder)[0])[1] == [0] * 3 + [1] * 4 + [2] * 3


def test_umlauts_of_two_systems_are_one(tmp_path):
    train = _tree(tmp_path / "train", [unicodedata.normalize("NFD", "Käse"), "b"])
    test = _tree(tmp_path / "test", ["Käse", "b"], count=2)
    opened = sources.from_image_folder(train, test)
    assert opened.class_names == ("Käse", "b") and opened.test.num_examples == 4


def test_written_and_written_again(tmp_path):
    train, test = _tree(tmp_path / "train", count=9), _tree(tmp_path / "test", count=2)
    data_dir = str(tmp_path / "data")
    manifest = sources.from_image_folder(train, test).write(data_dir)
    assert (manifest.class_names, manifest.image_shape) == (("a", "b"), (6, 5, 1))
    assert sorted(manifest.sources) == ["test_pictures", "train_pictures"]
    assert manifest.num_examples("test") == 4 and records.verify(data_dir) == []
    assert sources.from_image_folder(train, test).write(data_dir) == manifest
    _save(Path(train) / "a" / "3.png", _pixels(999))
    with pytest.raises(DatasetError, match="examples of other content"):
        sources.from_image_folder(train, test).write(data_dir)


def test_large_pictures_are_not_all_held_at_once(monkeypatch):
    monkeypatch.setattr(folder_source, "_MOST_BYTES", 10)
    found = [("a", 0, bytes(4))] * 8
    assert [len(batch) for batch in folder_source._batches(iter(found), 5)] == [3, 3, 2]
    assert [len(batch) for batch in folder_source._batches(iter(found), 2)] == [2, 2, 2, 2]


# What is refused.


@pytest.mark.parametrize(
    ("other", "found", "advice"),
    [
        ({"pixels": _pixels(0, (7, 5))}, "6x5 pixels", "--image_shape=H,W,C, such as 6,5,1"),
        ({"pixels": _pixels(0, (5, 6))}, "5x6 pixels", "--image_shape=H,W,C"),
        ({"pixels": _pixels(0, (6, 5, 3))}, "coloured (", "--image_shape=H,W,C, such as 6,5,3"),
    ],
)
def test_pictures_that_differ(tmp_path, other, found, advice):
    folder = _tree(tmp_path)
    path = _save(tmp_path / "b" / "1.png", **other)
    line = _error(folder)
    assert found in line and f"({path})" in line and advice in line
    images, _ = _read(folder_source.open_trees(folder, image_shape=(6, 5, 1))[0])
    np.testing.assert_array_equal(images[0, ..., 0], _pixels(0))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train/a", "train/b", "test/a"], "--image_folder={0}/train --test_image_folder={0}/test"),
        (["Train/a", "Val/a", "Test/a"], "--image_folder={0}/Train --test_image_folder={0}/Test"),
        (["training/a", "validation/a"], "--test_image_folder={0}/validation"),
        (["train", "test"], "--image_folder={0}/train --test_image_folder={0}/test"),
        (["train/a", "extra"], "--image_folder={0}/train"),
        (["train", "test", "dog"], "--image_folder={0}/train --test_image_folder={0}/test"),
        (["test/a", "test/b"], "--test_image_folder={0}/test"),
    ],
)
def test_splits_are_no_classes(tmp_path, names, expected):
    line = _error(_tree(tmp_path, names))
    assert "called as splits are" in line and line.endswith(expected.format(tmp_path))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            lambda f: _save(f / "x.png", _pixels(0)),
            "holds pictures outside of the classes' folders",
        ),
        (
            lambda f: _save(f / "a/sub/x.png", _pixels(0)),
            "a/sub: a folder of pictures in a class's",
        ),
        (lambda f: (f / "c").mkdir(), "c: no pictures, expected those of a class"),
        (lambda f: [p.rename(p.with_suffix("")) for p in f.glob("a/*")], "0 is not called as one"),
        (lambda f: [p.unlink() for p in f.glob("a/*")] + [(f / "a").rmdir()], "found only b, exp"),
        (lambda f: (f / "a" / "1.png").write_bytes(b""), "a/1.png: empty, expected a picture"),
        (lambda f: (f / "b" / "1.png").write_text("<html>"), "b/1.png: an HTML page, expected PNG"),
        (lambda f: (f / "b" / "x.webp").write_bytes(b"RIFF....WEBP"), "x.webp: a WebP picture"),
        (lambda f: (f / "b" / "x.tif").write_bytes(b"II*\0"), "x.tif: a TIFF picture"),
        (lambda f: (f / "b" / "x.ppm").write_bytes(b"P5 1 1 255 0"), "x.ppm: no picture"),
        (lambda f: os.symlink("/nowhere", f / "a" / "z.png"), "a/z.png: a link to nothing"),
        (lambda f: os.symlink("/nowhere", f / "c"), "c: a link to nothing"),
        (lambda f: os.symlink("..", f / "a" / "up"), "a/up: a folder of pictures in a class's"),
        (lambda f: os.mkfifo(f / "a" / "z.png"), "a/z.png: not a file, expected a picture"),
        (lambda f: (f / "b").rename(f / "b\nc"), "found the folder 'b\\nc', expected a printable"),
        (
            lambda f: os.rename(f / "b", os.fsencode(f) + b"/\xe4"),
            "found the folder '\\udce4', exp",
        ),
    ],
)
def test_trees_that_are_not_as_expected(tmp_path, change, line):
    folder = _tree(tmp_path)
    change(tmp_path)
    assert line in _error(folder)


def test_a_folder_around_the_tree_is_named(tmp_path):
    _tree(tmp_path / "data")
    assert _error(tmp_path).endswith(f"two classes or more, a folder each; give {tmp_path}/data")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_broken_picture_is_named(tmp_path, suffix):
    folder = _tree(tmp_path, suffix=suffix)
    path = tmp_path / "b" / f"1{suffix}"
    path.write_bytes(path.read_bytes()[:-30])
    assert _error(folder).startswith(f"{path}: cannot be decoded: ")


def test_a_picture_that_declares_too_much_is_not_decoded(tmp_path):
    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    folder = _tree(tmp_path)
    header = chunk(b"IHDR", struct.pack(">2I5B", 60000, 60000, 8, 0, 0, 0, 0))
    (tmp_path / "b" / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header)
    assert "b/x.png: a PNG of 60000x60000 pixels" in _error(folder, image_shape=(6, 5, 1))


@pytest.mark.parametrize(("classes", "line"), [("ac", "no folder b"), ("abc", "no folder c")])
def test_test_pictures_of_other_classes(tmp_path, classes, line):
    train, test = _tree(tmp_path / "one"), _tree(tmp_path / "two", classes)
    assert line in _error(train, test)


def test_test_pictures_of_another_size(tmp_path):
    train, test = _tree(tmp_path / "one"), tmp_path / "two"
    for name in "ab":
        _save(test / name / "0.png", _pixels(0, (4, 5)))
    assert "6x5 pixels" in (line := _error(train, test)) and "--image_shape=H,W,C" in line
    tested = folder_source.open_trees(train, str(test), image_shape=(6, 5, 1))[1]
    assert tested.image_shape == (6, 5, 1)


def test_the_same_pictures_to_train_and_to_test(tmp_path):
    folder = _tree(tmp_path / "tree")
    os.symlink(folder, tmp_path / "same")
    assert "both as training and as test" in _error(folder, tmp_path / "same")


@pytest.mark.parametrize(
    ("path", "line"),
    [("nope", "nope: No such file"), ("gs://a/b", "gs://a/b: pictures are read from local")],
)
def test_other_places(path, line):
    assert _error(path).startswith(line)
