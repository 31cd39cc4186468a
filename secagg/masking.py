"""Expand mask keys and add them to words: the hot kernel, and the plain definitions it is tested against.

Promise: what is added is exactly the definition below, whatever the chunk size, the range or the number of workers.

A mask key is a `Secret` that names a stream of `prg`. Word i of its mask is the i-th little-endian word of its
keystream, 32 bits wide for rings up to 32 bits and 64 bits above, reduced modulo 2**b when it is packed. A client adds
its self mask, adds the pairwise mask of every neighbor at a higher position and subtracts that of every neighbor at a
lower one, so pairwise masks cancel in the sum (Bonawitz et al., CCS 2017).

`self_mask`, `pairwise_mask` and `net_mask` are that definition, for auditors and tests. `accumulate` and `mask_input`
compute it fast: the chunk of the accumulator is the outer loop and the keys the inner one, so chunk and keystream stay
in the cache, and a chunk is a segment of the streams (docs/performance.md, "Masks"). `_Streams.add_to` is the whole
kernel: replace it alone to replace how masks are expanded.

No thread is started here: work is shared out only through an executor the caller passes in, and the encryption and
the addition release the interpreter lock. Imports numpy, the errors, `ring` and the primitives `prg` and `secret`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, wait
from functools import partial
from typing import Final, Literal

import numpy as np

from secagg.errors import ConfigError, InputError, MisuseError
from secagg.primitives import prg
from secagg.primitives.secret import Secret
from secagg.ring import Ring, Words

CHUNK_BYTES: Final = prg.SEGMENT
"""Bytes of words, and of keystream, handled at a time: a segment, which is cheapest written whole."""

PIECE_BYTES: Final = 128 * 1024
"""What a client alone on its thread masks at a time: a small device pays for what is held beside the output."""

MIN_BYTES_PER_WORKER: Final = 2 * 1024 * 1024
"""Keystream below which handing work to another thread costs more than it saves."""

_SPLIT_WORDS = 16  # parts meet at whole blocks of keystream, whole groups of packed words and whole cache lines

Sign = Literal[1, -1]

Reader = Callable[[int, int], Words]
"""`read(start, stop)` returns a fresh, writable vector of words start to stop - 1 of the input."""


def pair_sign(position: int, peer: int) -> Sign:
    """Sign with which the client at `position` applies the mask it shares with `peer`: the lower position adds.

    Raises:
        MisuseError: the positions are equal.
    """
    if position == peer:
        raise MisuseError(f"position {position} shares no mask with itself")
    return 1 if position < peer else -1


def self_mask(key: Secret, *, ring: Ring, length: int) -> Words:
    """Words of the mask of `key`, reduced: shape (length,)."""
    raw = prg.keystream(key, length * ring.word_bytes)
    words: Words = raw.view(f"<u{ring.word_bytes}").astype(ring.word)
    ring.reduce(words)
    return words


def pairwise_mask(key: Secret, *, ring: Ring, length: int, sign: Sign) -> Words:
    """The mask of `key`, negated in the ring where `sign` is -1: shape (length,)."""
    words = self_mask(key, ring=ring, length=length)
    if sign == -1:
        np.negative(words, out=words)
        ring.reduce(words)
    return words


def net_mask(position: int, self_key: Secret, pair_keys: Mapping[int, Secret], *, ring: Ring, length: int) -> Words:
    """All that the client at `position` adds to its input: self mask and signed pairwise masks, shape (length,).

    Args:
        position: the client's own position.
        self_key: the key of its self mask.
        pair_keys: the key shared with each neighbor, by the neighbor's position.
        ring: the ring of the round.
        length: words of the input.
    """
    total = self_mask(self_key, ring=ring, length=length)
    for peer, key in pair_keys.items():
        total += pairwise_mask(key, ring=ring, length=length, sign=pair_sign(position, peer))
    ring.reduce(total)
    return total


def accumulate(
    acc: Words,
    *,
    plus: Sequence[Secret],
    minus: Sequence[Secret],
    start: int = 0,
    executor: Executor | None = None,
    workers: int = 1,
) -> None:
    """Add the masks of `plus` to acc and subtract those of `minus`, in place; sums wrap at the word.

    Args:
        acc: a contiguous, writable vector of uint32 or uint64; the width is that of the keystream's words.
        plus: keys of masks to add.
        minus: keys of masks to subtract.
        start: coordinate of acc[0] in the whole vector; a whole number of 16-byte blocks.
        executor: runs ranges of acc in its threads. Where all of them are busy, the caller's thread does the work.
        workers: threads to use, the caller's own among them; fewer are used where more would not pay.

    Raises:
        MisuseError: acc is no such vector, or start is not on a block.
        ConfigError: workers is not positive, or is above 1 without an executor.
    """
    _require_accumulator(acc)
    _require_on_block(start, acc.itemsize)
    offset = start * acc.itemsize
    parts = _useful_workers(acc.nbytes, len(plus) + len(minus), executor, workers)
    chunk = CHUNK_BYTES // acc.itemsize
    step = max(-(-len(acc) // (parts * chunk)), 1) * chunk
    jobs = [
        partial(_add_masks, acc[first : first + step], plus, minus, offset + first * acc.itemsize)
        for first in range(0, len(acc), step)
    ]
    _run(jobs, executor)


def mask_input(
    read: Reader,
    *,
    ring: Ring,
    length: int,
    plus: Sequence[Secret],
    minus: Sequence[Secret],
    start: int = 0,
    out: bytearray | memoryview | None = None,
    executor: Executor | None = None,
    workers: int = 1,
) -> bytearray | memoryview:
    """Read an input, or a range of it, add its masks and pack it, a chunk at a time.

    Memory beyond the packed result: one chunk of words from `read` and one of keystream a worker, whatever the
    length.

    Args:
        read: called in the caller's thread, for consecutive ranges in ascending order, each once. The array it
            returns is masked in place, so it must not be a view of data that is still needed.
        ring: the ring of the round.
        length: words of the range.
        plus: keys of masks to add.
        minus: keys of masks to subtract.
        start: coordinate of the first word in the whole vector, as in `accumulate`.
        out: `ring.packed_size(length)` writable bytes to pack into; new ones unless given.
        executor: runs chunks in its threads, as in `accumulate`.
        workers: threads to use, the caller's own among them.

    Returns:
        `out`, now the packed masked words.

    Raises:
        MisuseError: `read` returned something else than a fresh vector of the ring's words of the length asked for,
            start is not on a block, or out has another size.
        InputError: a word of the input is not below the ring's modulus, so that it would wrap.
        ConfigError: as for `accumulate`.
    """
    _require_on_block(start, ring.word_bytes)
    size = ring.packed_size(length)
    out = bytearray(size) if out is None else out
    if len(out) != size:
        raise MisuseError(f"{length} words pack into {size} bytes, got an out of {len(out)}")
    threads = _useful_workers(length * ring.word_bytes, len(plus) + len(minus), executor, workers)
    ranges = _ranges(start, length, (CHUNK_BYTES if threads > 1 else PIECE_BYTES) // ring.word_bytes)
    in_pieces = threads == 1 and len(ranges) > 1
    largest = max((stop - first for first, stop in ranges), default=0) * ring.word_bytes
    streams = [_Streams(plus, minus, largest=largest, in_pieces=in_pieces) for _ in range(threads)]
    for window in range(0, len(ranges), threads):
        jobs = [
            partial(_mask_chunk, stream, ring, _read_words(read, start + first, start + stop, ring), start, first, out)
            for stream, (first, stop) in zip(streams, ranges[window : window + threads], strict=False)
        ]
        _run(jobs, executor)
        del jobs  # before the next read: the chunks of two windows are never alive together
    return out


class _Streams:
    """The keystreams of some keys, side by side, and room for `largest` bytes of one: the replaceable seam."""

    __slots__ = ("_buffer", "_minus", "_plus")

    def __init__(self, plus: Sequence[Secret], minus: Sequence[Secret], *, largest: int, in_pieces: bool) -> None:
        self._plus = [prg.open_stream(key, in_pieces=in_pieces) for key in plus]
        self._minus = [prg.open_stream(key, in_pieces=in_pieces) for key in minus]
        self._buffer = np.empty(min(largest, CHUNK_BYTES) + prg.SPARE, dtype=np.uint8)

    def add_to(self, chunk: Words, position: int) -> None:
        """Add and subtract the words of every stream from byte `position` on, in place."""
        done = 0
        while done < len(chunk):
            start = position + done * chunk.itemsize
            part = chunk[done : done + min(prg.SEGMENT - start % prg.SEGMENT, CHUNK_BYTES) // chunk.itemsize]
            self._add_piece(part, start)
            done += len(part)

    def _add_piece(self, part: Words, start: int) -> None:
        size, buffer = part.nbytes, self._buffer.data
        words = self._buffer[:size].view(f"<u{part.itemsize}")
        for stream in self._plus:
            stream.write(start, size, buffer)
            np.add(part, words, out=part)
        for stream in self._minus:
            stream.write(start, size, buffer)
            np.subtract(part, words, out=part)


def _add_masks(acc: Words, plus: Sequence[Secret], minus: Sequence[Secret], position: int) -> None:
    _Streams(plus, minus, largest=acc.nbytes, in_pieces=False).add_to(acc, position)


def _mask_chunk(
    streams: _Streams, ring: Ring, words: Words, start: int, first: int, out: bytearray | memoryview
) -> None:
    """Mask the words `first` places into a range that begins at coordinate `start`, and pack them where they go."""
    streams.add_to(words, (start + first) * ring.word_bytes)
    ring.pack_into(words, out, first)


def _read_words(read: Reader, start: int, stop: int, ring: Ring) -> Words:
    words = read(start, stop)
    _require_accumulator(words)
    if words.dtype != ring.word or len(words) != stop - start:
        wanted = f"{stop - start} words of {ring.word.__name__}"
        raise MisuseError(f"read({start}, {stop}) must return {wanted}, got {len(words)} of {words.dtype}")
    if ring.bits < 8 * ring.word_bytes and int(words.max()) >= ring.modulus:
        raise InputError(f"a word from {start} to {stop - 1} of the input is not below the ring's 2**{ring.bits}")
    return words


def _require_on_block(start: int, word_bytes: int) -> None:
    if start < 0 or start * word_bytes % prg.BLOCK_SIZE:
        words = prg.BLOCK_SIZE // word_bytes
        raise MisuseError(f"start={start} must be a multiple of {words}, the words of one block of keystream")


def _require_accumulator(acc: Words) -> None:
    if not isinstance(acc, np.ndarray) or acc.dtype not in (np.uint32, np.uint64):
        got = acc.dtype if isinstance(acc, np.ndarray) else type(acc).__name__
        raise MisuseError(f"masks are added to an array of uint32 or uint64, got {got}")
    if acc.ndim != 1 or not acc.flags.c_contiguous or not acc.flags.writeable:
        state = f"contiguous={acc.flags.c_contiguous}, writable={acc.flags.writeable}, shape={acc.shape}"
        raise MisuseError(f"masks are added to a contiguous, writable vector, got {state}")


def check_workers(executor: Executor | None, workers: int) -> None:
    """Refuse a number of workers that cannot be had, before any work is done.

    Raises:
        ConfigError: workers is not positive, or is above 1 without an executor.
    """
    if workers < 1:
        raise ConfigError(f"workers={workers} must be at least 1")
    if executor is None and workers > 1:
        raise ConfigError(f"workers={workers} needs an executor to run them; pass one, or workers=1")


def _useful_workers(size: int, keys: int, executor: Executor | None, workers: int) -> int:
    """How many of `workers` threads pay for `keys` masks of `size` bytes; at least one."""
    check_workers(executor, workers)
    return max(1, min(workers, -(-size // CHUNK_BYTES), size * keys // MIN_BYTES_PER_WORKER))


def _ranges(start: int, length: int, chunk: int) -> list[tuple[int, int]]:
    """Cut a range of words that begins at coordinate `start` where chunks of whole vectors meet; as (first, stop)."""
    lead = -start % chunk // _SPLIT_WORDS * _SPLIT_WORDS
    cuts = [0, *range(lead or chunk, length, chunk), length]
    return list(itertools.pairwise(cuts)) if length else []


def _run(jobs: Sequence[Callable[[], None]], executor: Executor | None) -> None:
    """Run the jobs, the first here and the others in the executor, and return when all are done.

    A job the executor has not begun when this thread is free is taken back and run here: an executor that is full,
    or that is waiting for this very call, delays nothing.
    """
    if executor is None or len(jobs) < 2:
        for job in jobs:
            job()
        return
    pending = [(job, executor.submit(job)) for job in jobs[1:]]
    try:
        jobs[0]()
        for job, future in pending:
            if future.cancel():
                job()
            else:
                future.result()
    finally:  # after an error too, nobody writes to the vector once this has returned
        wait([future for _, future in pending if not future.cancel()])
