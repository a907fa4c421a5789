"""Pictures of 280x280 made of MNIST's test digits, dark on light paper, as PNG files."""

from __future__ import annotations

import struct
import zlib

import common
import numpy as np

_SCALE = 10


def made(count: int) -> tuple[list[bytes], np.ndarray]:
    """The pictures of the first digits and their labels, int64 [count]."""
    images, labels = common.mnist("test")
    large = 255 - images[:count].repeat(_SCALE, axis=1).repeat(_SCALE, axis=2)
    return [_png(image) for image in large], labels[:count]


def _png(image: np.ndarray) -> bytes:
    height, width = image.shape
    rows = np.pad(image, [(0, 0), (1, 0)]).tobytes()  # A filter byte of 0 before each row.
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
