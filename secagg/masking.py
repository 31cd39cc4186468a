"""Expand mask keys and add them to words: the hot kernel, and the plain definitions it is tested against.

Promise: what is added is exactly the definition below, whatever the chunk size, the range or the number of workers.

A mask key is a `Secret` that names a stream of `prg`. Word i of its mask is the i-th little-endian word of its
keystream, 32 bits wide for rings up to 32 bits and 64 bits above, reduced modulo 2**b when it is packed. A client adds
its self mask, adds the pairwise mask of every neighbor at a higher position and subtracts that of every neighbor at a
lower one, so pairwise masks cancel in the sum (Bonawitz et al., CCS 2017).

`secagg.testing.masks` is that definition in code, for auditors and tests. `accumulate` and `mask_input` compute it
fast: the chunk of the accumulator is the outer loop and the keys the inner one, so that chunk and keystream stay in
the cache (docs/performance.md, "Masks"). `_Streams.add_to` is the whole kernel: replace it alone to replace how
masks are expanded.

No thread is started here: work is shared out only through an executor the caller passes in, and the encryption and
the addition release the interpreter lock. Imports numpy, the errors, `ring` and the primitives `prg` and `secret`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, wait
from functools import partial
from typing import Final, Literal

import numpy as np

from secagg.errors import ConfigError, InputError, MisuseError
from secagg.primitives import prg
from secagg.primitives.secret import Secret
from secagg.ring import Ring, Words

CHUNK_BYTES: Final = 128 * 1024
"""Bytes of words, and of keystream, that one thread alone handles at a time."""

SHARED_CHUNK_BYTES: Final = prg.SEGMENT
"""And each of several: whole segments, since nothing else starts as fast, and calls so long that none waits for another
to get the interpreter lock."""

MIN_BYTES_PER_WORKER: Final = 2 * 1024 * 1024
"""Keystream below which handing work to another thread costs more than it saves."""

SPLIT_WORDS: Final = 16
"""Parts of a vector meet at multiples of this: at whole blocks of keystream and whole groups of packed words."""

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
        start: coordinate of acc[0] in the whole vector; a multiple of SPLIT_WORDS.
        executor: runs ranges of acc in its threads. Where all of them are busy, the caller's thread does the work.
        workers: threads to use, the caller's own among them; fewer are used where more would not pay.

    Raises:
        MisuseError: acc is no such vector, or start is no such multiple.
        ConfigError: workers is not positive, or is above 1 without an executor.
    """
    _require_accumulator(acc)
    _require_start(start)
    threads = _useful_workers(acc.nbytes, len(plus) + len(minus), executor, workers)
    chunk_bytes = _chunk_bytes(threads)
    chunk = chunk_bytes // acc.itemsize
    inside = start % chunk  # so that jobs meet where chunks of the whole vector do, and are no more than threads
    step = -(-(inside + len(acc)) // (threads * chunk)) * chunk
    jobs = [
        partial(_Streams(plus, minus, chunk_bytes).add_to, acc[first:stop], (start + first) * acc.itemsize)
        for first, stop in _ranges(inside, len(acc), step)
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
            start is no multiple of SPLIT_WORDS, or out has another size.
        InputError: a word of the input is not below the ring's modulus, so that it would wrap.
        ConfigError: as for `accumulate`.
    """
    _require_start(start)
    size = ring.packed_size(length)
    out = bytearray(size) if out is None else out
    if len(out) != size:
        raise MisuseError(f"{length} words pack into {size} bytes, got an out of {len(out)}")
    threads = _useful_workers(length * ring.word_bytes, len(plus) + len(minus), executor, workers)
    chunk_bytes = _chunk_bytes(threads)
    ranges = _ranges(start, length, chunk_bytes // ring.word_bytes)
    streams = [_Streams(plus, minus, chunk_bytes) for _ in range(threads)]
    for window in range(0, len(ranges), threads):
        jobs = [
            partial(_mask_chunk, stream, ring, _read_words(read, start + first, start + stop, ring), start, first, out)
            for stream, (first, stop) in zip(streams, ranges[window : window + threads], strict=False)
        ]
        _run(jobs, executor)
        del jobs  # before the next read: the chunks of two windows are never alive together
    return out


class _Streams:
    """The keystreams of some keys, side by side, and room for `chunk_bytes` of one: the replaceable seam.

    Made in the caller's thread, so that the trial of `prg.gcm_is_faster` is over before any thread is at work.
    """

    __slots__ = ("_buffer", "_chunk_bytes", "_minus", "_plus")

    def __init__(self, plus: Sequence[Secret], minus: Sequence[Secret], chunk_bytes: int) -> None:
        self._plus = [prg.open_stream(key) for key in plus]
        self._minus = [prg.open_stream(key) for key in minus]
        self._buffer = np.empty(0, dtype=np.uint8)
        self._chunk_bytes = chunk_bytes

    def add_to(self, words: Words, position: int) -> None:
        """Add and subtract the words of every stream from byte `position` on, in place."""
        room = min(self._chunk_bytes, words.nbytes)
        if len(self._buffer) < room:
            self._buffer = np.empty(room, dtype=np.uint8)
        done = 0
        while done < words.nbytes:
            start = position + done
            size = min(room, words.nbytes - done, prg.SEGMENT - start % prg.SEGMENT)
            self._add_chunk(words[done // words.itemsize : (done + size) // words.itemsize], start)
            done += size

    def _add_chunk(self, chunk: Words, start: int) -> None:
        words = self._buffer[: chunk.nbytes].view(f"<u{chunk.itemsize}")
        room = self._buffer.data[: chunk.nbytes]
        for stream in self._plus:
            stream.write(start, room)
            np.add(chunk, words, out=chunk)
        for stream in self._minus:
            stream.write(start, room)
            np.subtract(chunk, words, out=chunk)


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


def _require_start(start: int) -> None:
    if start < 0 or start % SPLIT_WORDS:
        raise MisuseError(f"start={start} must be a multiple of {SPLIT_WORDS}, where parts of a vector can meet")


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
    return max(1, min(workers, -(-size // SHARED_CHUNK_BYTES), size * keys // MIN_BYTES_PER_WORKER))


def _chunk_bytes(threads: int) -> int:
    return CHUNK_BYTES if threads == 1 else SHARED_CHUNK_BYTES


def _ranges(start: int, length: int, step: int) -> list[tuple[int, int]]:
    """Cut the `length` words from coordinate `start` on at the multiples of `step`; as (first, stop) from `start`."""
    cuts = [0, *range(step - start % step, length, step), length] if length else []
    return list(itertools.pairwise(cuts))


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
