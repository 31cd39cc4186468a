"""Fields of a fixed number of bits, packed into rows of bytes and back.

Promise: field i of a row occupies bits [i*width, (i+1)*width) of the row read as one little-endian number, on every
host. Rings pack their words and Shamir shares their elements with these two functions, so the layout is written once.

Imports numpy only. Callers check shapes and ranges; the functions here are the loop bodies of `ring` and `shamir`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_LANE = 64

Lanes = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.uint8]


def pack_rows(fields: Lanes, width: int) -> Rows:
    """Pack each row of fields.

    Args:
        fields: shape (rows, count), every value below 2**width.
        width: bits of a field, 1 to 64.

    Returns:
        Shape (rows, ceil(count * width / 8)), bits above the last field zero; a view with padded rows, to be copied
        to its place.
    """
    rows, count = fields.shape
    lanes = np.zeros((rows, -(-count * width // _LANE)), dtype="<u8")
    shifted = np.empty(rows, dtype=np.uint64)
    for index in range(count):
        lane, shift = divmod(index * width, _LANE)
        np.left_shift(fields[:, index], shift, out=shifted)
        lanes[:, lane] |= shifted
        if shift + width > _LANE:
            np.right_shift(fields[:, index], _LANE - shift, out=shifted)
            lanes[:, lane + 1] |= shifted
    return lanes.view(np.uint8)[:, : -(-count * width // 8)]


def unpack_rows(rows: Rows, width: int, count: int) -> Lanes:
    """Read `count` fields of `width` bits from each row; the inverse of `pack_rows`, bits beyond them ignored.

    Args:
        rows: shape (rows, at least ceil(count * width / 8)).
        width: bits of a field, 1 to 64.
        count: fields of a row.

    Returns:
        Shape (rows, count), fresh, every value below 2**width.
    """
    lanes = np.zeros((len(rows), -(-count * width // _LANE)), dtype="<u8")
    size = -(-count * width // 8)
    lanes.view(np.uint8)[:, :size] = rows[:, :size]
    fields = np.empty((len(rows), count), dtype=np.uint64)
    spilled = np.empty(len(rows), dtype=np.uint64)
    for index in range(count):
        lane, shift = divmod(index * width, _LANE)
        np.right_shift(lanes[:, lane], shift, out=fields[:, index])
        if shift + width > _LANE:
            np.left_shift(lanes[:, lane + 1], _LANE - shift, out=spilled)
            fields[:, index] |= spilled
    if width < _LANE:
        fields &= np.uint64((1 << width) - 1)
    return fields
