"""Examples from IDX files of images and of labels: streamed, and checked against each other."""

import gzip
import hashlib
import io
import re

import numpy as np
import pytest

from mnist_estimator import InputError
from mnist_estimator.data import idx, idx_source

_IMAGES = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
_LABELS = np.array([0, 1, 2, 1, 0], dtype=np.uint8)

# What the message of each error matches, and that of no other.
_TRAILING = r"found more bytes at byte \d+, expected the end of the data"
_GZIP_CHECKSUM = r"found damaged gzip data \(incorrect (data|length) check\)"
_COUNT = (
    r"expected (\d+, as many as i.idx has images; give the two files of one set|the "
    r"number of images first, NxHxW; write them in that order)$"
)
_LABEL = (
    r"found label -?\d+ \(example \d+, counted from 0\) at byte \d+, expected 0 (or "
    r"more|to \d+); "
)
_NOT_IMAGES = (
    r"^i.idx: found .* at byte 0, expected (uint8 images, NxHxW or NxHxWxC|the "
    r"channels last, NxHxWxC); "
)
_NOT_LABELS = r"^l.idx: found .* at byte \d+, expected (integer labels, one an image|labels); "
_NO_EXAMPLES = (
    r"^i.idx: found 0 images at byte 4, expected 1 or more; give files with at least "
    r"one example$"
)
_KINDS = (_TRAILING, _GZIP_CHECKSUM, _COUNT, _LABEL, _NOT_IMAGES, _NOT_LABELS, _NO_EXAMPLES)


def _idx(array) -> bytes:
    file = io.BytesIO()
    idx.write_idx(file, np.asarray(array))
    return file.getvalue()


def _kinds(error: idx.IdxError) -> list[str]:
    """The patterns of all kinds of errors that a message matches."""
    return [kind for kind in _KINDS if re.search(kind, str(error))]


def _examples(images, labels, *, num_classes=3, **kwargs):
    streams = (
        io.BytesIO(data if isinstance(data, bytes) else _idx(data)) for data in (images, labels)
    )
    return idx_source.read_examples(
        *streams, images_name="i.idx", labels_name="l.idx", num_classes=num_classes, **kwargs
    )


def _examples_error(kind, images, labels, **kwargs):
    with pytest.raises(idx.IdxError) as caught:
        list(_examples(images, labels, **kwargs))
    assert _kinds(caught.value) == [kind]
    return caught.value


@pytest.mark.parametrize("max_items", [1, 2, 5, 1024])
def test_examples(max_items):
    examples = _examples(_IMAGES, _LABELS, max_items=max_items)
    assert (examples.num_examples, examples.image_shape) == (5, (4, 3, 1))
    images, labels = (np.concatenate(part) for part in zip(*examples, strict=True))
    np.testing.assert_array_equal(images, _IMAGES)
    np.testing.assert_array_equal(labels, _LABELS)
    assert (images.dtype, labels.dtype) == (np.uint8, np.int64)


def test_examples_with_channels():
    images = np.zeros((5, 4, 3, 2), np.uint8)
    examples = _examples(images, _LABELS)
    assert examples.image_shape == (4, 3, 2)
    assert next(iter(examples))[0].shape == (5, 4, 3, 2)


def test_examples_of_one_byte_with_labels_of_four(monkeypatch):
    monkeypatch.setattr(idx, "_CHUNK_BYTES", 8)
    examples = _examples(np.zeros((5, 1, 1), np.uint8), _LABELS.astype(np.int32))
    assert [(len(images), len(labels)) for images, labels in examples] == [(2, 2), (2, 2), (1, 1)]


def test_examples_digests():
    examples = _examples(gzip.compress(_idx(_IMAGES)), _LABELS)
    list(examples)
    contents = (_idx(_IMAGES), _idx(_LABELS))
    assert examples.digests == tuple(hashlib.sha256(data).hexdigest() for data in contents)


@pytest.mark.parametrize("labels", [_LABELS[:4], np.zeros(6, np.uint8)])
def test_different_counts(labels):
    error = _examples_error(_COUNT, _IMAGES, labels)
    assert error.found == f"{len(labels)} uint8 elements"
    assert error.expected == "5, as many as i.idx has images"


def test_label_outside_the_classes():
    error = _examples_error(_LABEL, _IMAGES, _LABELS, num_classes=2, max_items=2)
    assert (error.name, error.offset) == ("l.idx", 8 + 2)
    assert error.found == "label 2 (example 2, counted from 0)"
    assert error.expected == "0 to 1"


def test_label_outside_the_classes_has_its_offset_in_bytes():
    error = _examples_error(_LABEL, _IMAGES, _LABELS.astype(np.int32), num_classes=2, max_items=2)
    assert error.offset == 8 + 2 * 4


@pytest.mark.parametrize("num_classes", [None, 1000])
def test_negative_label(num_classes):
    labels = np.array([0, 1, -1, 0, 0], np.int8)
    _examples_error(_LABEL, _IMAGES, labels, num_classes=num_classes)


def test_any_class_without_a_number_of_classes():
    labels = np.array([0, 70000, 1, 0, 0], np.int32)
    assert next(iter(_examples(_IMAGES, labels, num_classes=None)))[1].max() == 70000


@pytest.mark.parametrize(
    ("images", "advice"),
    [
        (_LABELS, "give the images here"),
        (np.zeros((5, 16), np.uint8), "save them as 5x4x4"),
        (np.zeros((5, 12), np.uint8), "save them as NxHxW"),
        (_IMAGES.astype(np.int16), "save them as uint8, 0 to 255"),
        (_IMAGES.astype(np.int32), "save them as uint8, 0 to 255"),
        (_IMAGES.astype(np.int8), "above 127"),
        (_IMAGES.astype(np.float32) / 255, "times 255"),
        (_IMAGES.astype(np.float64), "times 255"),
        (_IMAGES.reshape(5, 1, 4, 3, 1), "in that shape"),
        (np.zeros((5, 1, 28, 28), np.uint8), "images.transpose(0, 2, 3, 1)"),
        (np.zeros((5, 3, 32, 32), np.uint8), "images.transpose(0, 2, 3, 1)"),
        (np.zeros((5, 4, 28, 5), np.uint8), "images.transpose(0, 2, 3, 1)"),
    ],
)
def test_not_images(images, advice):
    error = _examples_error(_NOT_IMAGES, images, _LABELS)
    assert error.name == "i.idx" and advice in error.advice


@pytest.mark.parametrize("shape", [(28, 28, 1), (1, 28, 3), (3, 4, 4), (32, 32, 10), (1, 1)])
def test_images_of_shapes_that_can_be_meant(shape):
    assert _examples(np.zeros((5, *shape), np.uint8), _LABELS).image_shape == (*shape, 1)[:3]


@pytest.mark.parametrize(
    ("labels", "advice"),
    [
        (_IMAGES, "give the labels here"),
        (_LABELS.astype(np.float32), "as integers"),
        (np.full(5, np.nan), "as integers"),
        (np.eye(5, dtype=np.uint8), "labels.argmax(1)"),
        (np.eye(5, dtype=np.float32), "labels.argmax(1)"),
        (np.zeros((5, 8), np.int32), "one whole number an image"),
        (_LABELS.reshape(1, 5), "one whole number an image"),
    ],
)
def test_not_labels(labels, advice):
    error = _examples_error(_NOT_LABELS, _IMAGES, labels)
    assert error.name == "l.idx" and advice in error.advice


def test_labels_in_a_column():
    ((_, labels),) = _examples(_IMAGES, _LABELS.reshape(5, 1))
    np.testing.assert_array_equal(labels, _LABELS)
    column = np.array([[0], [7]], np.uint8)
    error = _examples_error(_LABEL, _IMAGES[:2], column)
    assert error.offset == 12 + 1


@pytest.mark.parametrize("dtype", [np.int16, np.int32])
def test_labels_with_the_lowest_byte_first(dtype):
    labels = _LABELS.astype(dtype).byteswap()
    kinds = _NOT_LABELS, _LABEL
    for classes, kind in zip((None, 3), kinds, strict=True):
        error = _examples_error(kind, _IMAGES, labels, num_classes=classes)
        assert error.name == "l.idx" and "highest byte first" in error.advice


@pytest.mark.parametrize("shape", [(4, 3, 5), (4, 3, 1, 5)])
def test_the_number_of_images_last(shape):
    error = _examples_error(_COUNT, np.zeros(shape, np.uint8), _LABELS)
    assert error.name == "i.idx" and "the number of images first" in error.expected


def test_no_examples():
    _examples_error(_NO_EXAMPLES, _IMAGES[:0], _LABELS[:0])


def test_the_end_of_both_files_is_checked():
    assert _examples_error(_TRAILING, _idx(_IMAGES) + b"x", _LABELS).name == "i.idx"
    assert _examples_error(_TRAILING, _IMAGES, _idx(_LABELS) + b"x").name == "l.idx"


def test_the_checksum_of_both_files_is_checked():
    broken = bytearray(gzip.compress(_idx(_LABELS)))
    broken[-5] ^= 0xFF
    assert _examples_error(_GZIP_CHECKSUM, _IMAGES, bytes(broken)).name == "l.idx"


# Files by their paths.


def _files(tmp_path, images, labels):
    for name, content in {"images": images, "labels": labels}.items():
        (tmp_path / name).write_bytes(_idx(content))
    return str(tmp_path / "images"), str(tmp_path / "labels")


def test_a_source_has_the_examples_of_two_files(tmp_path):
    source = idx_source.IdxSource(*_files(tmp_path, _IMAGES, _LABELS), "train", 3)
    assert (source.num_examples, source.image_shape) == (5, (4, 3, 1))
    chunks = list(source.chunks(2))
    np.testing.assert_array_equal(np.concatenate([c for c, _ in chunks]), _IMAGES[..., None])
    np.testing.assert_array_equal(np.concatenate([c for _, c in chunks]), _LABELS)
    np.testing.assert_array_equal(np.concatenate(list(source.label_chunks(2))), _LABELS)
    sha256 = [hashlib.sha256(_idx(array)).hexdigest() for array in (_IMAGES, _LABELS)]
    assert source.digests() == dict(zip(("train_images", "train_labels"), sha256, strict=True))
    assert source.content_bytes == {"train_images": 16 + 60, "train_labels": 8 + 5}


def test_a_folder_in_place_of_a_file_is_named(tmp_path):
    images, labels = _files(tmp_path, _IMAGES, _LABELS)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inside").touch()
    with pytest.raises(
        InputError, match="folder: is a folder, expected an IDX file; give .*inside"
    ):
        idx_source.IdxSource(str(tmp_path / "folder"), labels, "train")
    with pytest.raises(InputError, match="expected an IDX file; give a file"):
        idx_source.IdxSource(images, str(tmp_path), "train")
