"""Arrays in .npz files: what Keras and medmnist have is read, all else is refused by name."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_estimator import InputError
from mnist_estimator.compat import tf
from mnist_estimator.data import idx, known_datasets, npz_source, plan, sources

_X = np.random.default_rng(0).integers(256, size=(12, 4, 3), dtype=np.uint8)
_Y = np.arange(12, dtype=np.uint8) % 3


def _save(path: Path, save=np.savez, **arrays: np.ndarray) -> str:
    save(path, **arrays)
    return str(path)


def _read(source, max_items: int = 5) -> tuple[np.ndarray, np.ndarray]:
    images, labels = zip(*source.chunks(max_items), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _error(path: str, **options) -> str:
    """What is said of a file, when it is opened or when it is read."""
    with pytest.raises(InputError) as error:
        _read(sources.from_npz(path, **options).train)
    assert "\n" not in str(error.value) and str(error.value).startswith(path)
    return str(error.value).removeprefix(f"{path}: ")


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _npy_header(shape: tuple[int, ...], version: int = 1) -> bytes:
    text = repr({"descr": "|u1", "fortran_order": False, "shape": shape}).encode() + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text


def _zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> str:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return str(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    ("names", "label_shape"),
    [
        (("x_train", "y_train", "x_test", "y_test"), (-1,)),
        (("X_train", "Y_train", "X_test", "y_test"), (-1,)),
        (("train_images", "train_labels", "test_images", "test_labels"), (-1, 1)),
    ],
)
def test_arrays_of_usual_names(tmp_path, capsys, save, names, label_shape):
    arrays = (_X, _Y.reshape(label_shape), _X[:5], _Y[:5].reshape(label_shape))
    path = _save(tmp_path / "a.npz", save, **dict(zip(names, arrays, strict=True)))
    opened = sources.from_npz(path)
    assert opened.train.image_shape == (4, 3, 1) and opened.test.num_examples == 5
    images, labels = _read(opened.train)
    np.testing.assert_array_equal(images[..., 0], _X)
    np.testing.assert_array_equal(labels, _Y)
    assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
    np.testing.assert_array_equal(np.concatenate(list(opened.train.label_chunks(5))), _Y)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("dtype", ["i1", "u2", "<i4", ">i4", "i8", "u8"])
def test_labels_of_any_integers(tmp_path, dtype):
    path = _save(tmp_path / "a.npz", x_train=_X, y_train=_Y.astype(dtype))
    assert _read(sources.from_npz(path).train)[1].tolist() == _Y.tolist()


def test_content_is_that_of_idx_files(tmp_path, monkeypatch):
    arrays = dict(zip(known_datasets.ROLES, (_X, _Y, _X[:5], _Y[:5]), strict=True))
    paths, content = {}, {}
    for role, array in arrays.items():
        paths[role] = str(tmp_path / f"{role}.gz")
        file = io.BytesIO()
        idx.write_idx(file, array)
        content[role] = file.getvalue()
        Path(paths[role]).write_bytes(gzip.compress(content[role]))
    known = known_datasets.KnownDataset(
        name="mnist",
        title="MNIST",
        class_names=("zero", "one", "two"),
        digests={role: hashlib.sha256(data).hexdigest() for role, data in content.items()},
        mirrors=(),
        content_bytes={role: len(data) for role, data in content.items()},
    )
    monkeypatch.setitem(known_datasets.DATASETS, "mnist", known)
    path = _save(tmp_path / "a.npz", **arrays)
    manifest = sources.from_npz(path).write(str(tmp_path / "data"))
    assert (manifest.dataset, manifest.class_names) == ("mnist", known.class_names)
    assert sources.from_idx(paths).write(str(tmp_path / "data")) == manifest


def test_colours_and_transposing(tmp_path):
    colours = np.random.default_rng(1).integers(256, size=(6, 4, 3, 3), dtype=np.uint8)
    path = _save(tmp_path / "a.npz", x_train=colours, y_train=_Y[:6])
    np.testing.assert_array_equal(_read(sources.from_npz(path).train)[0], colours)
    turned = sources.from_npz(path, transpose=True).train
    np.testing.assert_array_equal(_read(turned)[0], colours.swapaxes(1, 2))
    assert sorted(turned.digests()) == ["train_images_transposed", "train_labels"]


def test_arrays_that_are_not_used_are_named(tmp_path, capsys):
    arrays = {"train_images": _X, "train_labels": _Y, "val_images": _X, "val_labels": _Y}
    path = _save(tmp_path / "a.npz", **arrays)
    assert sources.from_npz(path).test is None
    err = capsys.readouterr().err
    assert err.startswith(f"warning: {path}: 'val_images', 'val_labels' not used; the validation")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arrays", "line"),
    [
        ({"arr_0": _X, "arr_1": _Y}, "found 'arr_0', 'arr_1', expected x_train and y_train"),
        ({"x": _X, "y": _Y}, "found 'x', 'y', expected x_train and"),
        ({"x_test": _X, "y_test": _Y}, "found 'x_test', 'y_test', expected x_train and"),
        ({"x_train": _X}, "found no y_train, expected x_train and y_train"),
        ({"x_train": _X, "y_train": _Y, "y_test": _Y}, "found no x_test, expected"),
        ({"x_train": _X, "X_train": _X, "y_train": _Y}, "found two arrays"),
        (
            {"x_train": _X, "y_train": _Y, "train_images": _X, "train_labels": _Y},
            "found x_train and train_images, expected one of them",
        ),
    ],
)
def test_other_names(tmp_path, arrays, line):
    assert _error(_save(tmp_path / "a.npz", **arrays)).startswith(line)


@pytest.mark.parametrize(
    ("images", "found", "advice"),
    [
        (_X.astype(np.float32) / 255, "12x4x3 float32", "times 255"),
        (_X.astype(np.float16), "float16", "times 255"),
        (_X > 127, "bool", "times 255"),
        (_X.astype(np.int64), "int64", "save them as uint8, 0 to 255"),
        (_X.astype(np.int8), "int8", "above 127"),
        (np.zeros((12, 9), np.uint8), "12x9 uint8", "save them as 12x3x3"),
        (np.zeros((12, 3, 8, 8), np.uint8), "12x3x8x8", "images.transpose(0, 2, 3, 1)"),
        (np.zeros((12, 1, 4, 3, 1), np.uint8), "12x1x4x3x1", "in that shape"),
        (np.uint8(1), "one uint8", "give the images"),
        (np.array([{}] * 12, object), "holds Python objects", "dtype of numbers"),
        (np.asfortranarray(_X), "stored column by column", "numpy.ascontiguousarray"),
        (_X[:0], "0 images", "expected 1 or more"),
        (_X[:5], "y_train has 12 labels", "expected 5"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_arrays_that_are_no_images(tmp_path, images, found, advice):
    labels = _Y[:0] if found == "0 images" else _Y
    line = _error(_save(tmp_path / "a.npz", x_train=images, y_train=labels))
    assert found in line and advice in line


@pytest.mark.parametrize(
    ("labels", "line"),
    [
        (_Y.astype(np.float32), "y_train is 12 float32, expected integer labels"),
        (_Y.astype(str), "y_train is 12 <U"),
        (_Y > 1, "y_train is 12 bool"),
        (np.eye(12, dtype=np.uint8), "labels.argmax(1)"),
        (_Y[None], "y_train is 1x12"),
        (_Y.astype(object), "y_train holds Python objects"),
        (_Y.astype(np.int64) - 1, "example 0 of y_train has label -1, expected 0 to"),
        (_Y.astype(np.uint64) + 2**63, "has label 9223372036854775808, expected 0 to"),
        (_Y.astype(np.int64) * 2**20, "example 1 of y_train has label 1048576"),
    ],
)
def test_arrays_that_are_no_labels(tmp_path, labels, line):
    assert line in _error(_save(tmp_path / "a.npz", x_train=_X, y_train=labels))


def test_label_outside_the_classes(tmp_path):
    path = _save(tmp_path / "a.npz", x_train=_X, y_train=_Y)
    assert "example 2 of y_train has label 2, expected 0 to 1" in _error(path, num_classes=2)


@pytest.mark.parametrize(
    ("member", "line"),
    [
        (b"hello", "x_train is no sound array"),
        (_npy_header((12, 4, 3), version=2) + _X.tobytes(), "version 2.0 of the format"),
        (_npy_header((2**40, 28, 28)) + bytes(99), "declares 862017116176384 bytes"),
        (_npy_header((5, 4, 3)) + _X.tobytes(), "declares 60 bytes (5x4x3 uint8) and has 144"),
        (_npy_header((-12, -4, 3)) + _X.tobytes(), "declares 144 bytes (-12x-4x3 uint8)"),
        (_npy_header((12, 4, 3)), "and has 0"),
        (b"\x93NUMPY\1\0" + struct.pack("<H", 9) + b"exit(1)  \n", "no sound array"),
        (b"\x93NUMPY\1\0" + struct.pack("<H", 9001) + b"(" * 9000 + b"\n", "no sound array"),
    ],
)
def test_arrays_that_are_made_up(tmp_path, member, line):
    members = {"x_train.npy": member, "y_train.npy": _npy(_Y)}
    assert line in _error(_zip(tmp_path / "a.npz", members))


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_of_compressing(tmp_path, compression):
    members = {"x_train.npy": _npy(_X), "y_train.npy": _npy(_Y)}
    opened = sources.from_npz(_zip(tmp_path / "a.npz", members, compression))
    np.testing.assert_array_equal(_read(opened.train)[0][..., 0], _X)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "empty, expected an .npz file"),
        (b"<html>not found</html>", "not an .npz file"),
        (b"\x80\x04pickled", "not an .npz file"),
        (_npy(_X), "an .npy file, which has one array"),
        (b"PK\5\6" + bytes(18), "found no array"),
    ],
)
def test_other_files(tmp_path, content, line):
    (tmp_path / "a.npz").write_bytes(content)
    assert line in _error(str(tmp_path / "a.npz"))


def test_a_zip_file_without_arrays(tmp_path):
    assert _error(_zip(tmp_path / "a.npz", {"a.txt": b"a"})).startswith("found no array, expected")


def test_missing_file(tmp_path):
    assert _error(str(tmp_path / "a.npz")) == "No such file or directory"


def test_encrypted(tmp_path):
    path = tmp_path / "a.npz"
    data = bytearray(Path(_save(path, x_train=_X, y_train=_Y)).read_bytes())
    for start, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        place = -1
        while (place := data.find(start, place + 1)) >= 0:
            data[place + flags] |= 1
    path.write_bytes(data)
    assert "x_train is encrypted" in _error(str(path))


@settings(deadline=None, derandomize=True, max_examples=150)
@given(
    st.sampled_from([np.savez, np.savez_compressed]),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=2),
    st.none() | st.floats(0, 1),
)
def test_a_damaged_file_is_never_read_as_another(tmp_path_factory, save, flips, end):
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    data = bytearray(Path(_save(path, save, x_train=_X, y_train=_Y)).read_bytes())
    for place, bits in flips:
        data[int(place * len(data))] ^= bits
    path.write_bytes(data if end is None else data[: int(end * len(data))])
    try:
        images, labels = _read(sources.from_npz(str(path)).train)
    except InputError as error:
        assert "\n" not in str(error)
        return
    finally:
        os.remove(path)
    np.testing.assert_array_equal(images[..., 0], _X)
    np.testing.assert_array_equal(labels, _Y)


def test_memory_does_not_grow_with_the_file(tmp_path):
    def peak(examples: int) -> int:
        members = {
            "x_train.npy": _npy_header((examples, 28, 28)) + bytes(examples * 784),
            "y_train.npy": _npy_header((examples,)) + bytes(examples),
        }
        source = npz_source.open_parts(_zip(tmp_path / f"{examples}.npz", members))[0]
        tracemalloc.start()
        try:
            assert sum(len(labels) for _, labels in source.chunks(256)) == examples
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(20_000) < 1.5 * peak(1000) + 2e5


def test_on_another_filesystem(tmp_path):
    tf.io.gfile.makedirs("ram://npz")
    tf.io.gfile.copy(_save(tmp_path / "a.npz", x_train=_X, y_train=_Y), "ram://npz/a.npz")
    assert _read(sources.from_npz("ram://npz/a.npz").train)[1].tolist() == _Y.tolist()


def test_digests_are_computed_in_chunks_of_bounded_size(tmp_path, monkeypatch):
    np.savez(tmp_path / "x.npz", x_train=_X, y_train=_Y)
    source = sources.from_npz(str(tmp_path / "x.npz")).train
    asked = []
    chunks = source.chunks
    monkeypatch.setattr(source, "chunks", lambda most: asked.append(most) or chunks(most))
    monkeypatch.setattr(plan, "max_items", lambda source: 3)
    source.digests()
    assert asked == [3]
