"""IDX files: every element type, every malformation, and memory that does not grow."""

import contextlib
import gzip
import hashlib
import io
import pickle
import re
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mnist_estimator import InputError
from mnist_estimator.data import idx

_DTYPES = ["uint8", "int8", "int16", "int32", "float32", "float64"]
_IMAGES = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
_LABELS = np.array([0, 1, 2, 1, 0], dtype=np.uint8)

# What the message of each error matches, and that of no other.
_EMPTY = r"found nothing at byte 0, expected an IDX header; get the file again$"
_NOT_IDX = (
    r"found (?!an HTML page|text|a Git LFS).* at byte 0, "
    r"expected the two zero bytes of an IDX header; "
)
_HTML = r"found an HTML page that begins .*; the download went wrong: get the file again$"
_TEXT = r"found (text|a Git LFS pointer) that begins '.*; give an IDX file, plain or gzip$"
_TYPE = r"found type byte 0x.. at byte 2, expected one of 0x08, 0x09, 0x0b, 0x0c, 0x0d, 0x0e; "
_DIMENSIONS = (
    r"found (\d+ dimensions|dimension \d+ of size 0|dimensions \S+( \(or .*\))?) at byte \d+, "
    r"expected (1 to 32|1 or more|an array of less than 2\*\*63 bytes); "
)
_CUT_HEADER = (
    r"found the end of the data at byte \d+, expected a header of \d+ bytes( or "
    r"more)?; get the file again$"
)
_CUT_DATA = (
    r"found the end of the data at byte \d+, expected \d+ bytes in all \(.*; get the "
    r"file again$"
)
_CUT_GZIP = r"found the end of the file at byte \d+, expected whole gzip data; get the file again$"
_DAMAGED_GZIP = (
    r"found damaged gzip data \(((?!incorrect (data|length) check).)*\) at byte \d+, "
    r"expected whole gzip data; "
)
_GZIP_CHECKSUM = (
    r"found damaged gzip data \(incorrect (data|length) check\) at byte \d+, expected "
    r"whole gzip data; "
)
_TRAILING = (
    r"found more bytes at byte \d+, expected the end of the (data|file).*; get the "
    r"file again, or correct the sizes and the type byte in its header$"
)
_KINDS = (
    _EMPTY,
    _NOT_IDX,
    _HTML,
    _TEXT,
    _TYPE,
    _DIMENSIONS,
    _CUT_HEADER,
    _CUT_DATA,
    _CUT_GZIP,
    _DAMAGED_GZIP,
    _GZIP_CHECKSUM,
    _TRAILING,
)


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


def _kinds(error: idx.IdxError) -> list[str]:
    """The patterns of all kinds of errors that a message matches."""
    return [kind for kind in _KINDS if re.search(kind, str(error))]


def _error(kind, data: bytes):
    with pytest.raises(idx.IdxError) as caught:
        _read(data)
    assert _kinds(caught.value) == [kind]
    assert str(caught.value).startswith("a.idx: found ")
    assert "\n" not in str(caught.value)
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
    with pytest.raises(idx.IdxError, match=_TRAILING):
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
    error = _error(_EMPTY, b"")
    assert (error.name, error.offset, error.found) == ("a.idx", 0, "nothing")


def test_gzip_of_nothing():
    _error(_EMPTY, gzip.compress(b""))


def test_not_idx():
    error = _error(_NOT_IDX, b"\x01\x02\x03\x04\x05")
    assert error.found == "the bytes 01 02 03 04"


def test_one_byte():
    _error(_NOT_IDX, b"\x1f")


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
    assert kind in _error(_NOT_IDX, data).found


def test_html():
    error = _error(_HTML, b"\n<!DOCTYPE html><html><body>404 Not Found</body></html>")
    assert error.found == "an HTML page that begins '<!DOCTYPE html><html><body>404 Not Found'"


def test_html_inside_gzip():
    assert "an HTML page" in _error(_HTML, gzip.compress(b"<html>no</html>")).found


def test_html_in_another_encoding():
    page = "<html><title>Nicht verfügbar</title>".encode("latin-1")
    assert "an HTML page" in _error(_HTML, page).found


def test_other_text():
    assert _error(_TEXT, b"label,1x1\n5,0\n").found == "text that begins 'label,1x1\\n5,0'"


def test_git_lfs_pointer():
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"
    assert "a Git LFS pointer" in _error(_TEXT, pointer).found


def test_unknown_type():
    error = _error(_TYPE, _header(1, code=0x0A))
    assert (error.offset, error.found) == (2, "type byte 0x0a")


def test_no_dimensions():
    error = _error(_DIMENSIONS, bytes([0, 0, 8, 0]))
    assert (error.offset, error.found) == (3, "0 dimensions")


def test_more_dimensions_than_an_array_can_have():
    assert _error(_DIMENSIONS, _header(*[1] * 33) + b"x").found == "33 dimensions"


def test_as_many_dimensions_as_an_array_can_have():
    assert _read(_header(*[1] * 32) + b"x").shape == (1,) * 32


def test_items_without_elements():
    error = _error(_DIMENSIONS, _header(5, 0, 3))
    assert (error.offset, error.found) == (8, "dimension 2 of size 0")


def test_dimensions_that_overflow():
    error = _error(_DIMENSIONS, _header(2**32 - 1, 2**32 - 1))
    assert error.found == "dimensions 4294967295x4294967295"


def test_dimensions_that_overflow_behind_a_zero():
    _error(_DIMENSIONS, _header(0, 2**32 - 1, 2**32 - 1))


@pytest.mark.parametrize("shape", [(400,), (400, 28), (60000, 28, 28)])
def test_sizes_with_the_lowest_byte_first_are_noticed(shape):
    data = bytes([0, 0, 8, len(shape)]) + np.array(shape, "<u4").tobytes() + b"abc"
    with pytest.raises(idx.IdxError, match=f"or {'x'.join(map(str, shape))} with the lowest byte"):
        _read(data)


def test_a_header_with_the_lowest_byte_first_is_noticed():
    error = _error(_NOT_IDX, b"\x03\x08\0\0" + np.array([5, 4, 3], "<u4").tobytes())
    assert "highest byte first" in error.advice


def test_sizes_that_make_sense_are_taken_as_they_are():
    error = _error(_CUT_DATA, _header(70000, 28, 28))
    assert "lowest byte" not in str(error)


@pytest.mark.parametrize("size", range(1, 12))
def test_truncated_header(size):
    error = _error(_CUT_HEADER, _header(5, 3)[:size])
    assert error.offset == size


@pytest.mark.parametrize("size", [16, 17, 75])
def test_truncated_data(size):
    error = _error(_CUT_DATA, _idx(_IMAGES)[:size])
    assert error.offset == size
    assert error.expected == "76 bytes in all (5x4x3 uint8 elements)"


def test_truncated_inside_whole_gzip():
    assert _error(_CUT_DATA, gzip.compress(_idx(_IMAGES)[:-1])).offset == 75


def test_every_truncation_of_gzip():
    data = gzip.compress(_idx(_IMAGES))
    for size in range(2, len(data)):
        assert _error(_CUT_GZIP, data[:size]).offset == size


def test_corrupt_gzip():
    data = bytearray(gzip.compress(_idx(np.arange(999, dtype=np.int32))))
    data[12:24] = b"\xff" * 12
    assert _error(_DAMAGED_GZIP, bytes(data)).found.startswith("damaged gzip data (invalid")


def test_gzip_header_without_gzip():
    _error(_DAMAGED_GZIP, b"\x1f\x8b" + bytes(100))


@pytest.mark.parametrize("at", [-8, -4])
def test_gzip_checksum_or_length_wrong(at):
    data = bytearray(gzip.compress(_idx(_IMAGES)))
    data[at] ^= 1
    _error(_GZIP_CHECKSUM, bytes(data))


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
    assert _error(_TRAILING, _idx(_IMAGES) + extra).offset == 76


def test_trailing_bytes_inside_gzip():
    assert _error(_TRAILING, gzip.compress(_idx(_IMAGES) + b"x")).offset == 76


def test_trailing_bytes_in_another_member():
    data = gzip.compress(_idx(_IMAGES)) + gzip.compress(b"x")
    assert _error(_TRAILING, data).offset == 76


def test_trailing_bytes_after_gzip():
    data = gzip.compress(_idx(_IMAGES))
    assert _error(_TRAILING, data + b"xyz").offset == len(data)


def test_errors_are_input_errors_and_survive_pickling():
    error = _error(_TYPE, _header(1, code=0x0A))
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
        error = _error(_CUT_DATA, _header(2**31, 2**31) + b"abc")
        assert error.offset == 15

    assert _peak_of(read) < 4e6


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_one_huge_item_is_read_in_pieces(compress):
    stream = _Stream(compress(_header(1, 2**20, 2**20) + bytes(5000)))
    with pytest.raises(idx.IdxError, match=_CUT_DATA) as caught:
        idx.read_idx(stream, name="a")
    assert caught.value.offset == 16 + 5000
    assert stream.largest <= 1 << 20


def test_chunks_of_big_items_hold_fewer():
    reader = idx.IdxReader(_Zeros(_header(1000, 1 << 25)), name="a")
    assert len(next(reader.chunks(1000))) == 2


def test_gzip_is_inflated_no_further_than_declared():
    bomb = gzip.compress(_header(4) + bytes(1 << 26), compresslevel=1)

    def read():
        assert _error(_TRAILING, bomb).offset == 12

    assert _peak_of(read) < 4e6


def test_a_plain_file_is_read_no_further_than_declared():
    file = _Zeros(_header(4, 4))
    with pytest.raises(idx.IdxError, match=_TRAILING):
        idx.read_idx(file, name="a")
    assert file.given == 12 + 16 + 1


def test_reading_item_by_item_does_not_copy_the_rest_each_time():
    rng = np.random.default_rng(0)
    data = gzip.compress(_idx(rng.integers(0, 256, (20000, 20), np.uint8)), compresslevel=1)
    reader = idx.IdxReader(_Stream(data), name="a")
    assert sum(len(chunk) for chunk in reader.chunks(1)) == 20000


def test_zlib_streams_without_gzip_are_not_idx():
    _error(_NOT_IDX, zlib.compress(_idx(_IMAGES)))
