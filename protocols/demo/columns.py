"""The one file format of the shipped data: typed columns behind a JSON header, in xz.

Promise: reading a file executes nothing, allocates no more than `MAX_BYTES`, and either returns every column exactly
as it was written or raises `DataFileError`. No pickle, no npy header evaluation.

A file is an xz stream of: the magic line; the header's length as 4 little-endian bytes; the header, JSON in UTF-8;
then each column's little-endian values, in the header's order, with nothing between and nothing after. A column with
a vocabulary holds indices into it.

Imports msgspec for the header, numpy and the standard library.
"""

from __future__ import annotations

import importlib.resources
import lzma
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from protocols.demo.task import DataFileError

Column = npt.NDArray[np.integer[Any]]
_Code = Literal["u1", "u2", "i2"]

MAX_BYTES: Final = 16 << 20
"""Largest uncompressed file that is read: several times the larger of the two shipped."""

_MAGIC: Final = b"secagg demo columns 1\n"
_LENGTH_SIZE: Final = 4
_DECODER_MEMORY: Final = 32 << 20
_PRESET: Final = 6 | lzma.PRESET_EXTREME
_DTYPES: Final[Mapping[_Code, np.dtype[Any]]] = {"u1": np.dtype("u1"), "u2": np.dtype("<u2"), "i2": np.dtype("<i2")}


class _ColumnHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    dtype: _Code
    length: Annotated[int, msgspec.Meta(ge=0, le=MAX_BYTES)]


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    source: str
    columns: tuple[_ColumnHeader, ...]
    vocabularies: dict[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Named columns, read-only, and the vocabularies of those that hold indices.

    Attributes:
        source: where the data came from and under which licence.
        columns: one-dimensional integer arrays; they need not be of one length.
        vocabularies: for a column of that name, the words its values index.
    """

    source: str
    columns: Mapping[str, Column]
    vocabularies: Mapping[str, tuple[str, ...]]


def read(file_name: str) -> Table:
    """Read a file shipped in `protocols/demo/data`.

    Raises:
        DataFileError: the file is missing or not in this format.
    """
    try:
        packed = importlib.resources.files("protocols.demo").joinpath("data", file_name).read_bytes()
    except OSError as error:
        raise DataFileError(f"data file {file_name} cannot be read; reinstall the package") from error
    return unpack(packed)


def unpack(packed: bytes) -> Table:
    """Parse a file; the inverse of `pack`.

    Raises:
        DataFileError: not one whole xz stream of this format, or too large.
    """
    raw = decompress(packed)
    start = len(_MAGIC) + _LENGTH_SIZE
    if len(raw) < start or not raw.startswith(_MAGIC):
        raise DataFileError(f"a data file begins with {_MAGIC!r}")
    end = start + int.from_bytes(raw[len(_MAGIC) : start], "little")
    try:
        header = msgspec.json.decode(raw[start:end], type=_Header)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataFileError(f"the header of a data file does not parse: {error}") from error
    columns = _split(raw[end:], header.columns)
    _check_vocabularies(columns, header.vocabularies)
    return Table(source=header.source, columns=columns, vocabularies=header.vocabularies)


def decompress(packed: bytes) -> bytes:
    """Undo the xz layer, within `MAX_BYTES`.

    Raises:
        DataFileError: damaged, cut short, followed by other bytes, or larger than allowed.
    """
    decoder = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_DECODER_MEMORY)
    try:
        raw = decoder.decompress(packed, max_length=MAX_BYTES)
    except lzma.LZMAError as error:
        raise DataFileError(f"a data file is damaged: {error}") from error
    if not decoder.eof or decoder.unused_data:
        raise DataFileError(f"a data file is one whole xz stream of at most {MAX_BYTES} bytes")
    return raw


def pack(table: Table) -> bytes:
    """Write a table; the same table always gives the same uncompressed bytes.

    Raises:
        DataFileError: a column is not one-dimensional of uint8, uint16 or int16, or leaves its vocabulary.
    """
    headers = tuple(_header_of(name, column) for name, column in table.columns.items())
    _check_vocabularies(table.columns, table.vocabularies)
    header = msgspec.json.encode(
        _Header(source=table.source, columns=headers, vocabularies=dict(table.vocabularies)), order="sorted"
    )
    body = b"".join(
        column.astype(_DTYPES[head.dtype]).tobytes()
        for head, column in zip(headers, table.columns.values(), strict=True)
    )
    raw = _MAGIC + len(header).to_bytes(_LENGTH_SIZE, "little") + header + body
    return lzma.compress(raw, format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC64, preset=_PRESET)


def _header_of(name: str, column: Column) -> _ColumnHeader:
    for code, dtype in _DTYPES.items():
        if column.ndim == 1 and column.dtype.newbyteorder("<") == dtype:
            return _ColumnHeader(name=name, dtype=code, length=len(column))
    raise DataFileError(f"column {name} has {column.ndim} dimensions of {column.dtype}: one of {[*_DTYPES]} fits")


def _split(body: bytes, headers: tuple[_ColumnHeader, ...]) -> dict[str, Column]:
    """Cut the body into columns that use every byte of it."""
    sizes = [head.length * _DTYPES[head.dtype].itemsize for head in headers]
    if sum(sizes) != len(body):
        raise DataFileError(f"the columns take {sum(sizes)} bytes, the file holds {len(body)}")
    columns: dict[str, Column] = {}
    offset = 0
    for head, size in zip(headers, sizes, strict=True):
        if head.name in columns:
            raise DataFileError(f"column {head.name} comes twice")
        columns[head.name] = np.frombuffer(body, dtype=_DTYPES[head.dtype], count=head.length, offset=offset)
        offset += size
    return columns


def _check_vocabularies(columns: Mapping[str, Column], vocabularies: Mapping[str, tuple[str, ...]]) -> None:
    """Every vocabulary belongs to a column, and its values are indices into it."""
    for name, words in vocabularies.items():
        if name not in columns:
            raise DataFileError(f"vocabulary {name} has no column")
        column = columns[name]
        if column.size and not 0 <= int(column.min()) <= int(column.max()) < len(words):
            raise DataFileError(f"column {name} leaves its vocabulary of {len(words)} words")
