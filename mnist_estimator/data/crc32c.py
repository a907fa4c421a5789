"""The checksums of TFRecord files, of many records at once.

A record's checksum is its CRC-32C (the polynomial P of Castagnoli), masked as TensorFlow's
`crc32c.h` does. Bytes are the coefficients of a polynomial over GF(2), and the CRC is what is left
of it when it is divided by P. So a multiple of P may be added anywhere, and one of few terms makes
the bytes in front zero with few operations, on all records together.
"""

from __future__ import annotations

import functools

import numpy as np

_REVERSED = 0x82F63B78  # P without its highest term, x**0 in the highest bit.
_MASK_DELTA = 0xA282EAD8
# Multiples of P with few terms, found by search. The first one is x**290 + x**136 + x**113 + x**107
# + x**32 + 1. The square of each is the sum of the squares of its terms. Squared three times it
# says where eight bits, which is a byte, are added if they are to go: so many bytes further back.
# With each comes how many bytes it leaves. Squared more often it does the same with words, or with
# many bytes.
_FOLDS = (
    (290, (154, 177, 183, 258, 290)),
    (104, (47, 51, 55, 85, 90, 100, 104)),
    (62, (19, 40, 43, 45, 46, 48, 52, 54, 62)),
)
# P itself, which leaves the least.
_LAST = ((32, (4, 5, 6, 7, 9, 10, 12, 13, 14, 18, 19, 21, 22, 23, 24, 26, 32)),)
_WORD = 8  # Bytes. To turn rows to columns takes longest, and less with large elements.


def masked(rows: np.ndarray) -> np.ndarray:
    """The masked CRC-32C of each row of uint8 [N, L] as uint32 [N]; L is 4 or more."""
    columns = _fold(_columns(rows), _FOLDS)
    for half in (np.uint32, np.uint16, np.uint8):
        count, examples = columns.shape
        halves = np.ascontiguousarray(columns.view(half).reshape(count, examples, 2).swapaxes(1, 2))
        columns = _fold(halves.reshape(2 * count, examples), _FOLDS)
    crc = ~_divide(_fold(columns, _LAST))
    return (crc >> 15 | crc << 17) + np.uint32(_MASK_DELTA)


def _columns(rows: np.ndarray) -> np.ndarray:
    """The rows as columns of words, uint64, with zeros in front to make their length a multiple."""
    count, length = rows.shape
    front = -length % _WORD
    columns = np.empty(((front + length) // _WORD, count), np.uint64)
    in_bytes = columns.view(np.uint8).reshape(len(columns), count, _WORD)
    in_bytes[0, :, :front] = 0
    in_bytes[0, :, front:] = rows[:, : _WORD - front]
    if len(columns) > 1:
        columns[1:] = rows[:, _WORD - front :].view(np.uint64).T
    for place in range(front, front + 4):
        in_bytes[place // _WORD, :, place % _WORD] ^= 0xFF  # So a CRC begins, and so it ends.
    return columns


def _fold(columns: np.ndarray, folds: tuple[tuple[int, tuple[int, ...]], ...]) -> np.ndarray:
    """Fewer columns that have the same remainders; `folds` are like `_FOLDS`."""
    for least, places in folds:
        for power in reversed(range((len(columns) // least).bit_length())):
            scale = 2**power
            while len(columns) > least * scale:
                width = min(places[0] * scale, len(columns) - least * scale)
                for place in places:
                    columns[place * scale :][:width] ^= columns[:width]
                columns = columns[width:]
    return columns


def _divide(columns: np.ndarray) -> np.ndarray:
    """What is left of an even number of columns of bytes, times x**32, uint32 [N]."""
    low, high = _tables()
    state, rest = (np.zeros(columns.shape[1], np.uint16) for _ in range(2))
    for word in columns[1::2].astype(np.uint16) << 8 | columns[::2]:
        index = state ^ word
        state = low[index] ^ rest
        rest = high[index]
    return state | rest.astype(np.uint32) << 16


@functools.cache
def _tables() -> tuple[np.ndarray, np.ndarray]:
    """What is left of each word of two bytes: the low and the high halves, uint16 [65536]."""
    found = np.arange(2**16, dtype=np.uint32)
    for _ in range(16):
        found = found >> 1 ^ (found & 1) * np.uint32(_REVERSED)
    return found.astype(np.uint16), (found >> 16).astype(np.uint16)
