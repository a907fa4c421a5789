"""Whatever stands in an IDX file or a shard, it is read as it is or refused by name."""

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mnist_estimator.compat import tf
from mnist_estimator.data import idx, idx_source, records
from mnist_estimator.data.manifest import DatasetError

_PROPERTY = settings(deadline=None, derandomize=True, max_examples=120)
_DTYPES = st.sampled_from(["uint8", "int8", "int16", "int32", "float32", "float64"])
_ARRAYS = _DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(max_dims=4, max_side=4)))
# Bytes alone would hardly ever get past the two zeros that an IDX header begins with.
_HEADERS = st.builds(
    lambda code, shape: bytes([0, 0, code, len(shape)]) + np.array(shape, ">u4").tobytes(),
    st.sampled_from([0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E]),
    st.lists(st.integers(0, 3) | st.sampled_from([2**31, 2**32 - 1]), max_size=34),
)
_COMPRESS = st.sampled_from([bytes, gzip.compress])


@st.composite
def _edited(draw, file: bytes) -> bytes:
    """`file` with bytes replaced, then cut off or added to, or as it is."""
    data = bytearray(file)
    for at in draw(st.lists(st.integers(0, len(data) - 1), max_size=3)):
        data[at] = draw(st.integers(0, 255))
    end = draw(st.none() | st.integers(0, len(data)))
    return bytes(data[:end]) + draw(st.just(b"") | st.binary(max_size=40))


def _idx(array) -> bytes:
    file = io.BytesIO()
    idx.write_idx(file, array)
    return file.getvalue()


def _check_idx(data: bytes) -> None:
    """Another error than idx's own fails the test; so does an array that is not what is there."""
    try:
        array = idx.read_idx(io.BytesIO(data), name="a.idx")
    except idx.IdxError as error:
        assert str(error).startswith("a.idx: found ") and "\n" not in str(error)
        return
    content = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    # The format has one form for an array, so nothing of the file can have been overlooked.
    assert _idx(array) == content


@_PROPERTY
@given(start=st.just(b"") | _HEADERS, rest=st.binary(max_size=64), compress=_COMPRESS)
def test_idx_of_any_bytes(start, rest, compress):
    _check_idx(compress(start + rest))


@_PROPERTY
@given(rest=st.binary(max_size=64))
def test_idx_of_any_bytes_that_begin_as_gzip(rest):
    _check_idx(b"\x1f\x8b\x08" + rest)


@_PROPERTY
@given(_ARRAYS.flatmap(lambda array: _edited(_idx(array))), _COMPRESS)
def test_idx_with_any_edit(data, compress):
    _check_idx(compress(data))


@_PROPERTY
@given(_ARRAYS.flatmap(lambda array: _edited(gzip.compress(_idx(array), mtime=0))))
def test_gzip_with_any_edit(data):
    _check_idx(data)


@_PROPERTY
@given(st.data(), st.integers(1, 4))
def test_examples_with_any_edit(data, max_items):
    arrays = np.zeros((3, 2, 2), np.uint8), np.zeros(3, np.uint8)
    files = [data.draw(_edited(data.draw(_COMPRESS)(_idx(array)))) for array in arrays]
    try:
        examples = idx_source.read_examples(
            *map(io.BytesIO, files),
            images_name="i.idx",
            labels_name="l.idx",
            num_classes=2,
            max_items=max_items,
        )
        assert sum(len(labels) for _, labels in examples) == examples.num_examples
    except idx.IdxError as error:
        assert error.name in ("i.idx", "l.idx")


@_PROPERTY
@given(
    _DTYPES.flatmap(
        lambda dtype: hnp.arrays(
            dtype,
            st.tuples(st.integers(0, 3), st.lists(st.integers(1, 2), max_size=4)).map(
                # Ones keep the elements few: an array may have 32 dimensions here.
                lambda sizes: (sizes[0], *sizes[1], *[1] * (31 - len(sizes[1])))[: 32 - sizes[0]]
            ),
        )
    )
)
def test_idx_keeps_every_bit_of_any_shape(array):
    found = idx.read_idx(io.BytesIO(_idx(array)), name="a.idx")
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()


# Shards.


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("properties") / "train-00000-of-00001.tfrecord"


def _shard(path: Path, contents: list[bytes]) -> bytes:
    with tf.io.TFRecordWriter(str(path)) as file:
        for content in contents:
            file.write(content)
    return path.read_bytes()


def _read(path: Path, data: bytes) -> tuple[list[bytes], bool]:
    """The records up to the damage, and whether there is any."""
    path.write_bytes(data)
    found = []
    try:
        for record in records.read_records(str(path)):
            found.append(record)
    except DatasetError as error:
        line = str(error)
        assert line.startswith(f"{path}: record {len(found)} is corrupt") and "\n" not in line
        return found, True
    return found, False


@_PROPERTY
@given(data=st.binary(max_size=80))
def test_shard_of_any_bytes(path, data):
    found, damaged = _read(path, data)
    # TensorFlow takes less than a header of 12 bytes for the end of the file.
    assert found == [] and damaged == (len(data) >= 12)


@_PROPERTY
@given(st.data(), st.lists(st.binary(max_size=20), min_size=1, max_size=4))
def test_shard_with_any_edit(path, data, contents):
    edited = data.draw(_edited(_shard(path, contents)))
    found, _ = _read(path, edited)
    assert found == contents[: len(found)]
    assert len(found) == len(contents) or not edited.startswith(_shard(path, contents))


@_PROPERTY
@given(
    st.lists(
        st.tuples(
            hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6)),
            st.integers(-(2**63), 2**63 - 1),
        ),
        max_size=5,
    )
)
def test_any_examples_come_back_from_a_shard(path, examples):
    written = [records.encode_example(image.tobytes(), label) for image, label in examples]
    found, damaged = _read(path, _shard(path, written))
    assert not damaged and found == written
    for record, (image, label) in zip(found, examples, strict=True):
        features = tf.train.Example.FromString(record).features.feature
        assert features[records.IMAGE_KEY].bytes_list.value[:] == [image.tobytes()]
        assert features[records.LABEL_KEY].int64_list.value[:] == [label]
