"""The mask kernel against the plain definition of a mask, and what it refuses."""

from __future__ import annotations

import itertools
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, NoReturn

import numpy as np
import pytest

from secagg import masking
from secagg.errors import ConfigError, InputError, MisuseError
from secagg.masking import accumulate, mask_input, pair_sign
from secagg.primitives import prg
from secagg.primitives.secret import Secret
from secagg.ring import Ring, Words
from secagg.testing.masks import net_mask, pairwise_mask, self_mask

both_words = pytest.mark.parametrize("word", [np.uint32, np.uint64])


def key(number: int) -> Secret:
    return Secret(np.random.default_rng(number).bytes(prg.STREAM_KEY_SIZE))


def keys(count: int, *, first: int = 0) -> list[Secret]:
    return [key(first + number) for number in range(count)]


def words_of(stream: Secret, word: type[np.uint32 | np.uint64], length: int) -> list[int]:
    """The definition once more, in plain integers."""
    size = np.dtype(word).itemsize
    raw = prg.keystream(stream, size * length).tobytes()
    return [int.from_bytes(raw[size * index :][:size], "little") for index in range(length)]


def sum_of_masks(
    before: Sequence[int], plus: Sequence[Secret], minus: Sequence[Secret], word: type[np.uint32 | np.uint64]
) -> list[int]:
    total = list(before)
    for sign, streams in ((1, plus), (-1, minus)):
        for stream in streams:
            total = [t + sign * m for t, m in zip(total, words_of(stream, word, len(total)), strict=True)]
    return [value % 256 ** np.dtype(word).itemsize for value in total]


def some_words(word: type[np.uint32 | np.uint64], length: int) -> Words:
    words: Words = np.random.default_rng(length).integers(0, np.iinfo(word).max, length, dtype=word, endpoint=True)
    return words


def some_input(ring: Ring, length: int) -> Words:
    words = some_words(np.uint64, length)
    reduced: Words = (words % np.uint64(ring.modulus) if ring.bits < 64 else words).astype(ring.word)
    return reduced


class _RecordingReader:
    """Serves an input, and remembers what it was asked for and in which thread."""

    def __init__(self, words: Words) -> None:
        self.words = words
        self.ranges: list[tuple[int, int]] = []
        self.threads: set[int] = set()

    def __call__(self, start: int, stop: int) -> Words:
        self.ranges.append((start, stop))
        self.threads.add(threading.get_ident())
        return self.words[start:stop].copy()


class _NoThreads(Executor):
    """An executor that must not be used."""

    def submit(self, *_: Any, **__: Any) -> NoReturn:
        pytest.fail("this little work was handed to a thread")


class _NeverBegun(Future[None]):
    def result(self, timeout: float | None = None) -> NoReturn:
        pytest.fail("waited for a thread that will never be free")


class _BusyThreads(Executor):
    """An executor whose threads are all taken for good, as when its only thread is the caller."""

    def submit(self, *_: Any, **__: Any) -> Future[Any]:
        return _NeverBegun()


class _CountingThreads(ThreadPoolExecutor):
    submitted = 0

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.submitted += 1
        return super().submit(work, *args, **kwargs)


@pytest.fixture
def threads() -> Iterator[_CountingThreads]:
    with _CountingThreads(2) as executor:
        yield executor


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 128 bytes, and threads for any amount of work."""
    monkeypatch.setattr(masking, "CHUNK_BYTES", 128)
    monkeypatch.setattr(masking, "SHARED_CHUNK_BYTES", 128)
    monkeypatch.setattr(masking, "MIN_BYTES_PER_WORKER", 1)


# The definition.


def test_mask_words_are_the_little_endian_words_of_the_stream() -> None:
    # McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B, test case 4: plaintext XOR ciphertext.
    stream = Secret(bytes.fromhex("feffe9928665731c6d6a8f9467308308cafebabefacedbaddecaf888"))
    output = bytes.fromhex("9bb22ce7d9f372c1ee2b28722b25f206650d887c3936533a1b8d4e1ea39d2b5c")
    assert self_mask(stream, ring=Ring(32), length=8).tolist() == np.frombuffer(output, "<u4").tolist()
    assert self_mask(stream, ring=Ring(64), length=4).tolist() == np.frombuffer(output, "<u8").tolist()


@pytest.mark.parametrize("bits", [8, 20, 31, 32, 33, 50, 64])
def test_a_mask_is_reduced_and_its_negative_cancels_it(bits: int) -> None:
    ring = Ring(bits)
    mask = self_mask(key(1), ring=ring, length=33)
    assert mask.dtype == ring.word
    assert mask.tolist() == [word % ring.modulus for word in words_of(key(1), ring.word, 33)]
    assert pairwise_mask(key(1), ring=ring, length=33, sign=1).tolist() == mask.tolist()
    negative = pairwise_mask(key(1), ring=ring, length=33, sign=-1)
    assert all(0 <= word < ring.modulus for word in negative.tolist())
    assert {(a + b) % ring.modulus for a, b in zip(mask.tolist(), negative.tolist(), strict=True)} == {0}


def test_the_lower_position_adds_the_mask_and_the_higher_subtracts_it() -> None:
    assert pair_sign(3, 4) == 1
    assert pair_sign(4, 3) == -1
    with pytest.raises(MisuseError, match="position 4 shares no mask with itself"):
        pair_sign(4, 4)


def test_the_net_mask_is_self_mask_plus_signed_pairwise_masks() -> None:
    ring = Ring(20)
    peers = {1: key(1), 4: key(4), 9: key(9)}
    net = net_mask(4, key(0), {peer: stream for peer, stream in peers.items() if peer != 4}, ring=ring, length=7)
    own, low, high = (words_of(stream, ring.word, 7) for stream in (key(0), peers[1], peers[9]))
    assert net.tolist() == [(o - lo + hi) % ring.modulus for o, lo, hi in zip(own, low, high, strict=True)]
    with pytest.raises(MisuseError, match="with itself"):
        net_mask(4, key(0), peers, ring=ring, length=7)


# accumulate.


@both_words
@pytest.mark.parametrize("length", [0, 1, 2, 3, 15, 16, 17, 33, 1001])
@pytest.mark.parametrize("chunk", [16, 64, 1024 * 1024])
@pytest.mark.usefixtures("either_way")
def test_the_kernel_adds_exactly_the_masks_whatever_the_chunk(
    word: type[np.uint32 | np.uint64], length: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masking, "CHUNK_BYTES", chunk)
    acc = some_words(word, length)
    expected = sum_of_masks(acc.tolist(), keys(3), keys(2, first=3), word)
    accumulate(acc, plus=keys(3), minus=keys(2, first=3))
    assert acc.tolist() == expected


def test_a_vector_of_many_chunks_is_masked_to_its_end() -> None:
    acc = np.zeros(masking.CHUNK_BYTES // 4 * 2 + 5, dtype=np.uint32)
    accumulate(acc, plus=keys(1), minus=keys(1, first=1))
    expected = self_mask(key(0), ring=Ring(32), length=len(acc)) - self_mask(key(1), ring=Ring(32), length=len(acc))
    assert np.array_equal(acc, expected)


@both_words
def test_without_keys_nothing_changes(word: type[np.uint32 | np.uint64]) -> None:
    acc = some_words(word, 19)
    before = acc.tolist()
    accumulate(acc, plus=[], minus=[])
    assert acc.tolist() == before


@both_words
def test_thousands_of_keys(word: type[np.uint32 | np.uint64]) -> None:
    acc = np.zeros(5, dtype=word)
    accumulate(acc, plus=keys(1500), minus=keys(1500, first=1))
    assert acc.tolist() == sum_of_masks([0] * 5, [key(0)], [key(1500)], word)


@both_words
def test_parts_with_their_start_are_the_whole(word: type[np.uint32 | np.uint64]) -> None:
    whole, parts = some_words(word, 101), some_words(word, 101)
    accumulate(whole, plus=keys(2), minus=keys(1, first=2))
    cuts = [0, 16, 32, 48, 96, 101]
    for first, last in itertools.pairwise(cuts):
        accumulate(parts[first:last], plus=keys(2), minus=keys(1, first=2), start=first)
    assert parts.tolist() == whole.tolist()


@both_words
@pytest.mark.parametrize("workers", [2, 3, 7])
@pytest.mark.parametrize("length", [0, 1, 40, 333])
@pytest.mark.usefixtures("eager")
def test_threads_change_nothing(
    word: type[np.uint32 | np.uint64], length: int, workers: int, threads: _CountingThreads
) -> None:
    acc = some_words(word, length)
    expected = sum_of_masks(acc.tolist(), keys(3), keys(2, first=3), word)
    accumulate(acc, plus=keys(3), minus=keys(2, first=3), executor=threads, workers=workers)
    assert acc.tolist() == expected
    assert (threads.submitted > 0) == (length > 16)


def test_little_work_stays_in_the_callers_thread() -> None:
    few_keys = np.zeros(prg.SEGMENT // 2, dtype=np.uint32)
    accumulate(few_keys, plus=keys(1), minus=[], executor=_NoThreads(), workers=8)
    short = np.zeros(prg.SEGMENT // 4, dtype=np.uint32)
    accumulate(short, plus=keys(40), minus=[], executor=_NoThreads(), workers=8)


def test_enough_work_is_shared(threads: _CountingThreads) -> None:
    acc = np.zeros(2 * prg.SEGMENT // 4, dtype=np.uint32)
    accumulate(acc, plus=keys(16), minus=[], executor=threads, workers=8)
    assert threads.submitted == 1


@both_words
@pytest.mark.parametrize("workers", [2, 3, 5])
@pytest.mark.parametrize("start", [0, 16, 2**17, 2**18 + 48])
def test_threads_meet_at_the_ends_of_segments_and_are_no_more_than_asked_for(
    word: type[np.uint32 | np.uint64],
    start: int,
    workers: int,
    threads: _CountingThreads,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[int] = []
    monkeypatch.setattr(masking._Streams, "add_to", lambda _, words, position: begun.append(position))
    acc = np.zeros(3 * prg.SEGMENT // np.dtype(word).itemsize, dtype=word)
    accumulate(acc, plus=keys(8), minus=[], start=start, executor=threads, workers=workers)
    assert 2 <= len(begun) <= workers
    assert threads.submitted == len(begun) - 1
    assert min(begun) == start * acc.itemsize
    assert all(position % prg.SEGMENT == 0 for position in sorted(begun)[1:])


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (0, 0, []),
        (48, 0, []),
        (0, 1, [(0, 1)]),
        (0, 64, [(0, 64)]),
        (0, 65, [(0, 64), (64, 65)]),
        (16, 48, [(0, 48)]),
        (16, 49, [(0, 48), (48, 49)]),
        (48, 100, [(0, 16), (16, 80), (80, 100)]),
        (64, 128, [(0, 64), (64, 128)]),
    ],
)
def test_a_range_is_cut_where_chunks_of_the_whole_vector_meet(
    start: int, length: int, expected: list[tuple[int, int]]
) -> None:
    assert masking._ranges(start, length, 64) == expected


@pytest.mark.usefixtures("eager")
def test_a_pool_with_no_free_thread_does_not_block_the_caller() -> None:
    ring, acc = Ring(32), some_words(np.uint32, 333)
    reader = _RecordingReader(acc.copy())
    expected = sum_of_masks(acc.tolist(), keys(3), [], np.uint32)
    accumulate(acc, plus=keys(3), minus=[], executor=_BusyThreads(), workers=4)
    assert acc.tolist() == expected
    masked = mask_input(reader, ring=ring, length=333, plus=keys(3), minus=[], executor=_BusyThreads(), workers=4)
    assert bytes(masked) == ring.pack(acc)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("where", ["here", "in a thread"])
def test_an_error_in_one_part_is_raised_after_every_part_has_ended(
    where: str, threads: _CountingThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = threading.get_ident()
    both_began = threading.Barrier(2)
    ended: list[str] = []

    def fail_in_one(*_: Any) -> None:
        both_began.wait(timeout=30)
        if (threading.get_ident() == caller) == (where == "here"):
            raise MisuseError("this part fails")
        time.sleep(0.05)
        ended.append("the other part")

    monkeypatch.setattr(masking._Streams, "add_to", fail_in_one)
    with pytest.raises(MisuseError, match="this part fails"):
        accumulate(np.zeros(64, dtype=np.uint32), plus=keys(1), minus=[], executor=threads, workers=2)
    assert ended == ["the other part"]


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros(8),
        np.zeros(8, dtype=np.int32),
        np.zeros(8, dtype=np.uint16),
        np.zeros((2, 4), dtype=np.uint32),
        np.zeros(16, dtype=np.uint32)[::2],
        np.frombuffer(bytes(32), dtype=np.uint32),
        [0, 0],
    ],
    ids=["float", "signed", "narrow", "matrix", "strided", "read-only", "list"],
)
def test_only_a_vector_that_can_be_changed_in_place_is_masked(wrong: Any) -> None:
    with pytest.raises(MisuseError, match="masks are added to"):
        accumulate(wrong, plus=keys(1), minus=[])


@both_words
def test_a_start_that_is_no_multiple_of_16_is_refused(word: type[np.uint32 | np.uint64]) -> None:
    acc = np.zeros(8, dtype=word)
    for start in (1, 4, 17, -16):
        with pytest.raises(MisuseError, match=f"start={start} must be a multiple of 16"):
            accumulate(acc, plus=keys(1), minus=[], start=start)
    assert not acc.any()


def test_workers_need_an_executor_and_are_positive() -> None:
    acc = np.zeros(8, dtype=np.uint32)
    with pytest.raises(ConfigError, match="workers=2 needs an executor"):
        accumulate(acc, plus=[], minus=[], workers=2)
    with pytest.raises(ConfigError, match="workers=0 must be at least 1"):
        accumulate(acc, plus=[], minus=[], executor=_NoThreads(), workers=0)


@pytest.mark.parametrize("size", [0, 16, 27, 29, 32])
def test_a_key_of_another_size_names_no_stream(size: int) -> None:
    with pytest.raises(MisuseError, match=f"named by 28 bytes, got a key of {size}"):
        accumulate(np.zeros(8, dtype=np.uint32), plus=[Secret(bytes(size))], minus=[])


@both_words
@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("start", [0, 16, 2**17, 2**18 - 16, 2**18, 2**18 + 48])
def test_masks_across_the_ends_of_segments_are_those_of_the_definition(
    word: type[np.uint32 | np.uint64], start: int
) -> None:
    ring, length = Ring(8 * np.dtype(word).itemsize), 2**18 + 100
    mask = self_mask(key(0), ring=ring, length=start + length)[start:]
    acc = np.zeros(length, dtype=word)
    accumulate(acc, plus=keys(1), minus=[], start=start)
    assert np.array_equal(acc, mask)
    reader = _RecordingReader(np.zeros(start + length, dtype=word))
    masked = mask_input(reader, ring=ring, length=length, plus=keys(1), minus=[], start=start)
    assert bytes(masked) == ring.pack(mask)


# mask_input.


@pytest.mark.parametrize("bits", [8, 20, 27, 32, 40, 64])
@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 131])
@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.usefixtures("eager")
def test_a_masked_input_is_input_plus_net_mask_packed(
    bits: int, length: int, workers: int, threads: _CountingThreads
) -> None:
    ring = Ring(bits)
    peers = {1: key(1), 2: key(2), 5: key(5), 6: key(6)}
    plus = [key(0), peers[5], peers[6]]
    reader = _RecordingReader(some_input(ring, length))
    masked = mask_input(
        reader, ring=ring, length=length, plus=plus, minus=[peers[1], peers[2]], executor=threads, workers=workers
    )
    expected = reader.words + net_mask(4, key(0), peers, ring=ring, length=length)
    assert bytes(masked) == ring.pack(expected)
    assert [start for start, _ in reader.ranges[1:]] == [stop for _, stop in reader.ranges[:-1]]
    assert sum(stop - start for start, stop in reader.ranges) == length
    assert reader.threads <= {threading.get_ident()}
    assert threads.submitted == 0 or workers > 1


@pytest.mark.parametrize("bits", [8, 27, 40, 64])
@pytest.mark.usefixtures("eager")
def test_ranges_of_an_input_masked_into_one_buffer_are_the_whole(bits: int) -> None:
    ring, length = Ring(bits), 133
    reader = _RecordingReader(some_input(ring, length))
    whole = mask_input(reader, ring=ring, length=length, plus=keys(2), minus=keys(1, first=2))
    reader.ranges.clear()
    parts = memoryview(bytearray(ring.packed_size(length)))
    for first, last in itertools.pairwise([0, 16, 48, 128, length]):
        place = parts[ring.packed_size(first) : ring.packed_size(last)]
        written = mask_input(
            reader, ring=ring, length=last - first, plus=keys(2), minus=keys(1, first=2), start=first, out=place
        )
        assert written is place
    assert bytes(parts) == bytes(whole)
    assert [start for start, _ in reader.ranges[1:]] == [stop for _, stop in reader.ranges[:-1]]


def test_a_range_starts_where_parts_can_meet_and_fills_its_buffer() -> None:
    reader = _RecordingReader(np.zeros(40, dtype=np.uint32))
    for start in (8, -16):
        with pytest.raises(MisuseError, match=f"start={start} must be a multiple of 16"):
            mask_input(reader, ring=Ring(20), length=8, plus=[], minus=[], start=start)
    for size in (19, 21):
        with pytest.raises(MisuseError, match=f"8 words pack into 20 bytes, got an out of {size}"):
            mask_input(reader, ring=Ring(20), length=8, plus=[], minus=[], out=bytearray(size))
    assert reader.ranges == []


def test_an_input_of_many_real_chunks_with_threads_and_without(threads: _CountingThreads) -> None:
    ring, length = Ring(27), 3 * prg.SEGMENT // 4 + 21
    reader = _RecordingReader(some_input(ring, length))
    alone = mask_input(reader, ring=ring, length=length, plus=keys(9), minus=[])
    shared = mask_input(reader, ring=ring, length=length, plus=keys(9), minus=[], executor=threads, workers=2)
    acc = reader.words.copy()
    accumulate(acc, plus=keys(9), minus=[])
    assert bytes(alone) == bytes(shared) == ring.pack(acc)
    assert threads.submitted > 0


def test_without_masks_an_input_is_only_packed() -> None:
    ring = Ring(21)
    words = some_input(ring, 50)
    masked = mask_input(_RecordingReader(words), ring=ring, length=50, plus=[], minus=[])
    assert bytes(masked) == ring.pack(words)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda start, stop: np.zeros(stop - start, dtype=np.uint64),
        lambda start, stop: np.zeros(stop - start - 1, dtype=np.uint32),
        lambda start, stop: np.zeros((stop - start, 1), dtype=np.uint32),
        lambda start, stop: np.zeros(stop - start),
        lambda start, stop: np.frombuffer(bytes(4 * (stop - start)), dtype=np.uint32),
        lambda start, stop: np.zeros(2 * (stop - start), dtype=np.uint32)[::2],
        lambda start, stop: [0] * (stop - start),
    ],
    ids=["wider words", "too few", "matrix", "float", "read-only", "strided", "list"],
)
def test_a_reader_must_return_fresh_words_of_the_range(wrong: Callable[[int, int], Any]) -> None:
    with pytest.raises(MisuseError, match=r"read\(0, 10\) must return|masks are added to"):
        mask_input(wrong, ring=Ring(20), length=10, plus=keys(1), minus=[])


@pytest.mark.parametrize("bits", [8, 20, 31, 33, 63])
def test_a_word_that_would_wrap_is_refused_and_not_shown(bits: int) -> None:
    ring = Ring(bits)
    words = np.zeros(40, dtype=ring.word)
    words[39] = ring.modulus + 5
    with pytest.raises(InputError, match=f"not below the ring's 2\\*\\*{bits}") as refused:
        mask_input(_RecordingReader(words), ring=ring, length=40, plus=keys(1), minus=[])
    assert str(ring.modulus + 5) not in str(refused.value)


def test_masking_holds_the_packed_result_and_little_else() -> None:
    ring, length = Ring(27), 1_000_000
    words = some_input(ring, length)
    streams = keys(4)
    largest = 0

    def read(start: int, stop: int) -> Words:
        nonlocal largest
        largest = max(largest, 4 * (stop - start))
        return words[start:stop].copy()

    tracemalloc.start()
    masked = mask_input(read, ring=ring, length=length, plus=streams, minus=[])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(masked) == ring.packed_size(length)
    assert largest <= masking.CHUNK_BYTES
    assert peak - largest <= 1.2 * len(masked)
