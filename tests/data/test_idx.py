"""IDX files: every element type, every malformation, and memory that does not grow."""

import contextlib
import gzip
import hashlib
import io
import pickle
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mnist_estimator import InputError
from mnist_estimator.data import idx, idx_examples

_DTYPES = ["uint8", "int8", "int16", "int32", "float32", "float64"]
_IMAGES = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
_LABELS = np.array([0, 1, 2, 1, 0], dtype=np.uint8)


class _Stream:
    """A file object that can only read, gives at most `most` bytes at a time, and notes the most
    that was asked for: a real file makes room for it."""

    def __init__(self, data: bytes, most: int = 1 << 30):
        self._file, self._most, self.largest = io.BytesIO(data), most, 0

    def read(self, size):
        self.largest = max(self.largest, size)
        return self._file.read(min(size, self._most))


class _Zeros:
    """A header and then zero bytes, made as they are read, up to `end` bytes; counted."""

    def __init__(self, header: bytes, end: int = 1 << 62):
        self._header, self._end, self.given = header, end, 0

    def read(self, size):
        size = min(size, self._end - self.given)
        self.given += size
        start, self._header = self._header[:size], self._header[size:]
        return start + bytes(size - len(start))


def _idx(array) -> bytes:
    file = io.BytesIO()
    idx.write_idx(file, np.asarray(array))
    return file.getvalue()


def _header(*shape, code=0x08, dimensions=None) -> bytes:
    count = len(shape) if dimensions is None else dimensions
    return bytes([0, 0, code, count]) + np.array(shape, ">u4").tobytes()


def _read(data: bytes, max_items: int = 2):
    reader = idx.IdxReader(_Stream(data), name="a.idx")
    return np.concatenate(list(reader.chunks(max_items)))


def _error(kind, data: bytes):
    with pytest.raises(idx.IdxError) as caught:
        _read(data)
    assert type(caught.value) is kind, caught.value
    assert str(caught.value).startswith("a.idx: found ")
    assert "\n" not in str(caught.value)
    return caught.value


def _examples(images, labels, *, num_classes=3, **kwargs):
    streams = (
        _Stream(data if isinstance(data, bytes) else _idx(data)) for data in (images, labels)
    )
    return idx_examples.read_examples(
        *streams, images_name="i.idx", labels_name="l.idx", num_classes=num_classes, **kwargs
    )


def _examples_error(kind, images, labels, **kwargs):
    with pytest.raises(idx.IdxError) as caught:
        list(_examples(images, labels, **kwargs))
    assert type(caught.value) is kind, caught.value
    return caught.value


# What is right.


@pytest.mark.parametrize("dtype", _DTYPES)
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_reads_every_element_type(dtype, compress):
    array = np.array([[1, 2], [3, 100], [0, 7]], dtype)
    (found,) = idx.IdxReader(_Stream(compress(_idx(array))), name="a").chunks(8)
    assert found.dtype == np.dtype(dtype) and found.dtype.isnative
    np.testing.assert_array_equal(found, array)


def test_elements_are_big_endian():
    data = _header(1, code=0x0B) + b"\x01\x02"
    assert _read(data).tolist() == [0x0102]


@given(
    array=st.sampled_from(_DTYPES).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(max_dims=5, max_side=5))
    ),
    max_items=st.integers(1, 7),
    most=st.integers(1, 40),
    compress=st.sampled_from([bytes, gzip.compress]),
)
def test_any_array_comes_back_in_chunks(array, max_items, most, compress):
    reader = idx.IdxReader(_Stream(compress(_idx(array)), most), name="a.idx")
    chunks = list(reader.chunks(max_items))
    assert reader.header.shape == array.shape and reader.header.dtype == array.dtype
    assert all(1 <= len(chunk) <= max_items for chunk in chunks)
    np.testing.assert_array_equal(np.concatenate(chunks), array)


def test_read_idx_reads_all():
    np.testing.assert_array_equal(idx.read_idx(_Stream(_idx(_IMAGES)), name="a"), _IMAGES)


def test_read_idx_checks_the_end():
    with pytest.raises(idx.TrailingBytesError):
        idx.read_idx(_Stream(_idx(_IMAGES) + b"x"), name="a")


def test_gzip_is_told_by_content_and_may_have_members():
    data = _idx(_IMAGES)
    members = gzip.compress(data[:9]) + gzip.compress(b"") + gzip.compress(data[9:])
    np.testing.assert_array_equal(_read(members), _IMAGES)


def test_gzip_may_be_padded_with_zeros():
    np.testing.assert_array_equal(_read(gzip.compress(_idx(_IMAGES)) + bytes(1 << 17)), _IMAGES)


def test_no_items_is_a_valid_file_without_chunks():
    data = _header(0, 4, 3)
    assert list(idx.IdxReader(_Stream(data), name="a").chunks(8)) == []
    assert idx.read_idx(_Stream(data), name="a").shape == (0, 4, 3)


def test_chunks_are_arrays_of_their_own():
    first, second, _ = idx.IdxReader(_Stream(_idx(_IMAGES)), name="a").chunks(2)
    first[:] = 0
    np.testing.assert_array_equal(second, _IMAGES[2:4])


def test_sha256_is_of_the_uncompressed_content():
    reader = idx.IdxReader(_Stream(gzip.compress(_idx(_IMAGES))), name="a")
    list(reader.chunks(2))
    assert reader.sha256 == hashlib.sha256(_idx(_IMAGES)).hexdigest()


def test_reads_through_gfile(tmp_path):
    from mnist_estimator.compat import tf

    (tmp_path / "a.gz").write_bytes(gzip.compress(_idx(_IMAGES)))
    with tf.io.gfile.GFile(str(tmp_path / "a.gz"), "rb") as file:
        np.testing.assert_array_equal(idx.read_idx(file, name="a"), _IMAGES)


@pytest.mark.parametrize("dtype", ["int64", "bool", "float16", "U1"])
def test_write_refuses_what_the_format_cannot_hold(dtype):
    with pytest.raises(ValueError, match="cannot hold"):
        idx.write_idx(io.BytesIO(), np.zeros(3, dtype))


@pytest.mark.parametrize("shape", [(), (3, 0), (1,) * 33])
def test_write_refuses_shapes_that_would_not_come_back(shape):
    with pytest.raises(ValueError, match=r"shape|dimension"):
        idx.write_idx(io.BytesIO(), np.zeros(shape, np.uint8))


def test_chunks_need_at_least_one_item():
    with pytest.raises(ValueError, match="max_items is 0"):
        list(idx.IdxReader(_Stream(_idx(_IMAGES)), name="a").chunks(0))


# What is wrong with a file.


def test_empty():
    error = _error(idx.EmptyFileError, b"")
    assert (error.name, error.offset, error.found) == ("a.idx", 0, "nothing")


def test_gzip_of_nothing():
    _error(idx.EmptyFileError, gzip.compress(b""))


def test_not_idx():
    error = _error(idx.NotIdxError, b"\x01\x02\x03\x04\x05")
    assert error.found == "the bytes 01 02 03 04"


def test_one_byte():
    _error(idx.NotIdxError, b"\x1f")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"PK\x03\x04....", "zip"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"\x93NUMPY\x01\x00", "numpy"),
        (b"MATLAB 5.0 MAT-file, Platform", "MATLAB"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"PAR1\x15\x04", "Parquet"),
        (b"\x80\x04\x95", "pickle"),
        (gzip.compress(gzip.compress(_idx(_IMAGES))), "gzip data inside gzip"),
    ],
)
def test_another_format_is_named(data, kind):
    assert kind in _error(idx.NotIdxError, data).found


def test_html():
    error = _error(idx.HtmlError, b"\n<!DOCTYPE html><html><body>404 Not Found</body></html>")
    assert error.found == "an HTML page that begins '<!DOCTYPE html><html><body>404 Not Found'"


def test_html_inside_gzip():
    assert "an HTML page" in _error(idx.HtmlError, gzip.compress(b"<html>no</html>")).found


def test_html_in_another_encoding():
    page = "<html><title>Nicht verfügbar</title>".encode("latin-1")
    assert "an HTML page" in _error(idx.HtmlError, page).found


def test_other_text():
    assert _error(idx.TextError, b"label,1x1\n5,0\n").found == "text that begins 'label,1x1\\n5,0'"


def test_git_lfs_pointer():
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"
    assert "a Git LFS pointer" in _error(idx.TextError, pointer).found


def test_unknown_type():
    error = _error(idx.UnknownTypeError, _header(1, code=0x0A))
    assert (error.offset, error.found) == (2, "type byte 0x0a")


def test_no_dimensions():
    error = _error(idx.DimensionsError, bytes([0, 0, 8, 0]))
    assert (error.offset, error.found) == (3, "0 dimensions")


def test_more_dimensions_than_an_array_can_have():
    assert _error(idx.DimensionsError, _header(*[1] * 33) + b"x").found == "33 dimensions"


def test_as_many_dimensions_as_an_array_can_have():
    assert _read(_header(*[1] * 32) + b"x").shape == (1,) * 32


def test_items_without_elements():
    error = _error(idx.DimensionsError, _header(5, 0, 3))
    assert (error.offset, error.found) == (8, "dimension 2 of size 0")


def test_dimensions_that_overflow():
    error = _error(idx.DimensionsError, _header(2**32 - 1, 2**32 - 1))
    assert error.found == "dimensions 4294967295x4294967295"


def test_dimensions_that_overflow_behind_a_zero():
    _error(idx.DimensionsError, _header(0, 2**32 - 1, 2**32 - 1))


@pytest.mark.parametrize("shape", [(400,), (400, 28), (60000, 28, 28)])
def test_sizes_with_the_lowest_byte_first_are_noticed(shape):
    data = bytes([0, 0, 8, len(shape)]) + np.array(shape, "<u4").tobytes() + b"abc"
    with pytest.raises(idx.IdxError, match=f"or {'x'.join(map(str, shape))} with the lowest byte"):
        _read(data)


def test_a_header_with_the_lowest_byte_first_is_noticed():
    error = _error(idx.NotIdxError, b"\x03\x08\0\0" + np.array([5, 4, 3], "<u4").tobytes())
    assert "highest byte first" in error.advice


def test_sizes_that_make_sense_are_taken_as_they_are():
    error = _error(idx.TruncatedDataError, _header(70000, 28, 28))
    assert "lowest byte" not in str(error)


@pytest.mark.parametrize("size", range(1, 12))
def test_truncated_header(size):
    error = _error(idx.TruncatedHeaderError, _header(5, 3)[:size])
    assert error.offset == size


@pytest.mark.parametrize("size", [16, 17, 75])
def test_truncated_data(size):
    error = _error(idx.TruncatedDataError, _idx(_IMAGES)[:size])
    assert error.offset == size
    assert error.expected == "76 bytes in all (5x4x3 uint8 elements)"


def test_truncated_inside_whole_gzip():
    assert _error(idx.TruncatedDataError, gzip.compress(_idx(_IMAGES)[:-1])).offset == 75


def test_every_truncation_of_gzip():
    data = gzip.compress(_idx(_IMAGES))
    for size in range(2, len(data)):
        assert _error(idx.TruncatedGzipError, data[:size]).offset == size


def test_corrupt_gzip():
    data = bytearray(gzip.compress(_idx(np.arange(999, dtype=np.int32))))
    data[12:24] = b"\xff" * 12
    assert _error(idx.CorruptGzipError, bytes(data)).found.startswith("damaged gzip data (invalid")


def test_gzip_header_without_gzip():
    _error(idx.CorruptGzipError, b"\x1f\x8b" + bytes(100))


@pytest.mark.parametrize("at", [-8, -4])
def test_gzip_checksum_or_length_wrong(at):
    data = bytearray(gzip.compress(_idx(_IMAGES)))
    data[at] ^= 1
    _error(idx.GzipChecksumError, bytes(data))


def test_no_flipped_bit_of_gzip_changes_what_is_read():
    data = gzip.compress(_idx(_IMAGES), mtime=0)
    for bit in range(8 * 10, 8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        # A few bits are only padding, and change nothing.
        with contextlib.suppress(idx.IdxError):
            np.testing.assert_array_equal(_read(bytes(flipped)), _IMAGES)


@pytest.mark.parametrize("extra", [b"x", b"\0", bytes(1 << 21)])
def test_trailing_bytes(extra):
    assert _error(idx.TrailingBytesError, _idx(_IMAGES) + extra).offset == 76


def test_trailing_bytes_inside_gzip():
    assert _error(idx.TrailingBytesError, gzip.compress(_idx(_IMAGES) + b"x")).offset == 76


def test_trailing_bytes_in_another_member():
    data = gzip.compress(_idx(_IMAGES)) + gzip.compress(b"x")
    assert _error(idx.TrailingBytesError, data).offset == 76


def test_trailing_bytes_after_gzip():
    data = gzip.compress(_idx(_IMAGES))
    assert _error(idx.TrailingBytesError, data + b"xyz").offset == len(data)


def test_errors_are_input_errors_and_survive_pickling():
    error = _error(idx.UnknownTypeError, _header(1, code=0x0A))
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, InputError) and str(copy) == str(error) and copy.offset == 2


# What a file must not cost.


def _peak_of(function) -> int:
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_file():
    def read(items):
        file = _Zeros(_header(items, 784), end=12 + items * 784)
        reader = idx.IdxReader(file, name="a")
        assert sum(len(chunk) for chunk in reader.chunks(1024)) == items

    small, large = _peak_of(lambda: read(4096)), _peak_of(lambda: read(131072))
    assert large < small * 1.2 and large < 8e6


def test_a_promise_of_2_to_the_62_costs_nothing():
    def read():
        error = _error(idx.TruncatedDataError, _header(2**31, 2**31) + b"abc")
        assert error.offset == 15

    assert _peak_of(read) < 4e6


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_one_huge_item_is_read_in_pieces(compress):
    stream = _Stream(compress(_header(1, 2**20, 2**20) + bytes(5000)))
    with pytest.raises(idx.TruncatedDataError) as caught:
        idx.read_idx(stream, name="a")
    assert caught.value.offset == 16 + 5000
    assert stream.largest <= 1 << 20


def test_chunks_of_big_items_hold_fewer():
    reader = idx.IdxReader(_Zeros(_header(1000, 1 << 25)), name="a")
    assert len(next(reader.chunks(1000))) == 2


def test_gzip_is_inflated_no_further_than_declared():
    bomb = gzip.compress(_header(4) + bytes(1 << 26), compresslevel=1)

    def read():
        assert _error(idx.TrailingBytesError, bomb).offset == 12

    assert _peak_of(read) < 4e6


def test_a_plain_file_is_read_no_further_than_declared():
    file = _Zeros(_header(4, 4))
    with pytest.raises(idx.TrailingBytesError):
        idx.read_idx(file, name="a")
    assert file.given == 12 + 16 + 1


def test_reading_item_by_item_does_not_copy_the_rest_each_time():
    rng = np.random.default_rng(0)
    data = gzip.compress(_idx(rng.integers(0, 256, (20000, 20), np.uint8)), compresslevel=1)
    reader = idx.IdxReader(_Stream(data), name="a")
    assert sum(len(chunk) for chunk in reader.chunks(1)) == 20000


# Images with their labels.


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
    error = _examples_error(idx_examples.CountMismatchError, _IMAGES, labels)
    assert error.found == f"{len(labels)} uint8 elements"
    assert error.expected == "5, as many as i.idx has images"


def test_label_outside_the_classes():
    error = _examples_error(
        idx_examples.LabelRangeError, _IMAGES, _LABELS, num_classes=2, max_items=2
    )
    assert (error.name, error.offset) == ("l.idx", 8 + 2)
    assert error.found == "label 2 (example 2, counted from 0)"
    assert error.expected == "0 to 1"


def test_label_outside_the_classes_has_its_offset_in_bytes():
    error = _examples_error(
        idx_examples.LabelRangeError, _IMAGES, _LABELS.astype(np.int32), num_classes=2, max_items=2
    )
    assert error.offset == 8 + 2 * 4


@pytest.mark.parametrize("num_classes", [None, 1000])
def test_negative_label(num_classes):
    labels = np.array([0, 1, -1, 0, 0], np.int8)
    _examples_error(idx_examples.LabelRangeError, _IMAGES, labels, num_classes=num_classes)


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
    error = _examples_error(idx_examples.ImagesError, images, _LABELS)
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
    error = _examples_error(idx_examples.LabelsError, _IMAGES, labels)
    assert error.name == "l.idx" and advice in error.advice


def test_labels_in_a_column():
    ((_, labels),) = _examples(_IMAGES, _LABELS.reshape(5, 1))
    np.testing.assert_array_equal(labels, _LABELS)
    column = np.array([[0], [7]], np.uint8)
    error = _examples_error(idx_examples.LabelRangeError, _IMAGES[:2], column)
    assert error.offset == 12 + 1


@pytest.mark.parametrize("dtype", [np.int16, np.int32])
def test_labels_with_the_lowest_byte_first(dtype):
    labels = _LABELS.astype(dtype).byteswap()
    kinds = idx_examples.LabelsError, idx_examples.LabelRangeError
    for classes, kind in zip((None, 3), kinds, strict=True):
        error = _examples_error(kind, _IMAGES, labels, num_classes=classes)
        assert error.name == "l.idx" and "highest byte first" in error.advice


@pytest.mark.parametrize("shape", [(4, 3, 5), (4, 3, 1, 5)])
def test_the_number_of_images_last(shape):
    error = _examples_error(idx_examples.CountMismatchError, np.zeros(shape, np.uint8), _LABELS)
    assert error.name == "i.idx" and "the number of images first" in error.expected


def test_no_examples():
    _examples_error(idx_examples.NoExamplesError, _IMAGES[:0], _LABELS[:0])


def test_the_end_of_both_files_is_checked():
    assert _examples_error(idx.TrailingBytesError, _idx(_IMAGES) + b"x", _LABELS).name == "i.idx"
    assert _examples_error(idx.TrailingBytesError, _IMAGES, _idx(_LABELS) + b"x").name == "l.idx"


def test_the_checksum_of_both_files_is_checked():
    broken = bytearray(gzip.compress(_idx(_LABELS)))
    broken[-5] ^= 0xFF
    assert _examples_error(idx.GzipChecksumError, _IMAGES, bytes(broken)).name == "l.idx"


def test_zlib_streams_without_gzip_are_not_idx():
    _error(idx.NotIdxError, zlib.compress(_idx(_IMAGES)))
