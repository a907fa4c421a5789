from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from PIL import Image
from support import parquet_tables as tables

from mnist_estimator.data import decoded_pictures

SHAPES = {"L": (6, 7, 1), "RGB": (6, 7, 3)}


def _saved(array: np.ndarray, kind: str = "PNG", **options) -> bytes:
    content = io.BytesIO()
    Image.fromarray(array).save(content, kind, **options)
    return content.getvalue()


def _with_chunk(picture: bytes, name: bytes, data: bytes) -> bytes:
    """A PNG with a chunk more, behind its header."""
    checksum = zlib.crc32(name + data).to_bytes(4, "big")
    return picture[:33] + len(data).to_bytes(4, "big") + name + data + checksum + picture[33:]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_pictures_come_out_as_in_the_general_way(shape: tuple[int, int, int]):
    dice = np.random.default_rng(0)
    size = (5, *shape) if shape[2] > 1 else (5, *shape[:2])
    arrays = dice.integers(256, size=size, dtype=np.uint8)
    decode = decoded_pictures.decoder(shape)
    simple = [_saved(array) for array in arrays]
    assert all(decoded_pictures._is_simple(picture, shape) for picture in simple)
    assert np.array_equal(decode(simple), arrays.reshape(5, *shape))
    clear = b"\0\x07" if shape[2] == 1 else b"\0\x07\0\x08\0\x09"
    turned = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    others = [
        _with_chunk(simple[0], b"tRNS", clear),
        _with_chunk(simple[0], b"eXIf", turned),
        _with_chunk(simple[0], b"gAMA", (45455).to_bytes(4, "big")),
        _saved(np.ascontiguousarray(arrays[0].swapaxes(0, 1))),
        _saved(np.repeat(np.repeat(arrays[0], 2, 0), 2, 1)),
        _saved(arrays[0], "JPEG"),
        _saved(arrays[0], "BMP") if shape[2] == 3 else _saved(arrays[0], "GIF"),
        _saved(dice.integers(256, size=(6, 7, 4), dtype=np.uint8)),
        _saved(dice.integers(2**16, size=(6, 7), dtype=np.uint16)),
    ]
    for pictures in ([*simple, *others], *([picture] for picture in others)):
        general = decode._run(decode._general, pictures)
        assert np.array_equal(decode(pictures), general)


def test_the_first_that_cannot_be_decoded_is_told():
    good = tables.png(np.zeros((6, 7), np.uint8))
    damaged = good[:45] + b"\0\0\0\0" + good[49:]
    decode = decoded_pictures.decoder((6, 7, 1))
    for cut in (damaged, good[:-12], good[:40]):
        with pytest.raises(decoded_pictures.PictureError) as error:
            decode([good, good, cut, good, cut])
        assert error.value.at == 2 and "\n" not in str(error.value)
    assert decode([good]).shape == (1, 6, 7, 1)  # It still works.
