"""Checksums of many records at once, against published ones and against TensorFlow's."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from mnist_estimator.compat import tf
from mnist_estimator.data import crc32c

_POLYNOMIAL = 0x11EDC6F41


def _masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


# RFC 3720, appendix B.4, and the usual check of a CRC.
_KNOWN = {
    b"123456789": 0xE3069283,
    bytes(32): 0x8A9136AA,
    b"\xff" * 32: 0x62A8AB43,
    bytes(range(32)): 0x46DD794E,
    bytes(range(31, -1, -1)): 0x113FDB5C,
}


@pytest.mark.parametrize("content", _KNOWN)
def test_published_values(content: bytes):
    rows = np.frombuffer(content, np.uint8)[None].repeat(3, axis=0)
    assert crc32c.masked(rows).tolist() == [_masked(_KNOWN[content])] * 3


def test_folds_are_multiples_of_the_polynomial():
    for least, places in crc32c._FOLDS + crc32c._LAST:
        total = sum(1 << (least - place) for place in (0, *places))
        while total.bit_length() > 32:
            total ^= _POLYNOMIAL << (total.bit_length() - 33)
        assert total == 0


@pytest.mark.parametrize("count", [1, 300])
@pytest.mark.parametrize("length", [*range(4, 40), 290, 291, 579, 823, 3000, 100_001])
def test_tensorflow_has_the_same(tmp_path, length: int, count: int):
    count = min(count, 10**6 // length)
    rows = np.random.default_rng(length).integers(256, size=(count, length), dtype=np.uint8)
    path = tmp_path / "records"
    with tf.io.TFRecordWriter(str(path)) as file:
        for row in rows:
            file.write(row.tobytes())
    step, content = length + 16, path.read_bytes()
    ends = [content[at + step - 4 : at + step] for at in range(0, len(content), step)]
    assert crc32c.masked(rows).tolist() == [struct.unpack("<I", end)[0] for end in ends]
    assert rows.any()  # They are as they were.
