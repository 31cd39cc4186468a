"""Records survive a crash at any byte, and nothing else: what was changed, swapped or sealed by another is refused."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import ConfigError, StorageError
from secagg.primitives.secret import Secret
from secagg.store import FileStore, MemorySpool, MemoryStore, RoundStore

KEY: Final = bytes(range(32))
SESSION, OTHER_SESSION = b"a" * 16, b"b" * 16
RECORDS: Final = (b"the round secret", b"", b"\0" * 40, bytes(range(256)) * 3)
FULL: Final = OSError(errno.ENOSPC, "no space")


@pytest.fixture(autouse=True)
def swift(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here pulls a plug, so nothing is gained by waiting for the disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def store_at(path: Path, key: bytes = KEY) -> FileStore:
    return FileStore(path, key=Secret(key))


def filled(path: Path, records: tuple[bytes, ...] = RECORDS) -> FileStore:
    store = store_at(path)
    for record in records:
        store.append(record)
    return store


def contents(store: RoundStore) -> tuple[bytes, ...]:
    return tuple(store.records())


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> RoundStore:
    return MemoryStore() if request.param == "memory" else store_at(tmp_path)


# What every store does.


def test_records_come_back_in_order(store: RoundStore) -> None:
    assert contents(store) == ()
    for count, record in enumerate(RECORDS, 1):
        store.append(record)
        assert contents(store) == RECORDS[:count]


def test_a_reading_is_of_the_records_there_when_it_began(store: RoundStore) -> None:
    store.append(b"first")
    reading = store.records()
    store.append(b"second")
    assert list(reading) == [b"first"]


def test_erasing_forgets_the_round_and_keeps_its_number(store: RoundStore) -> None:
    store.reserve(SESSION, 3)
    store.append(b"secret")
    store.erase()
    assert contents(store) == ()
    assert store.last_round(SESSION) == 3
    store.erase()  # twice is harmless
    store.append(b"next")
    assert contents(store) == (b"next",)


def test_numbers_are_kept_for_each_session(store: RoundStore) -> None:
    assert store.last_round(SESSION) == 0
    store.reserve(SESSION, 7)
    store.reserve(OTHER_SESSION, 2**63 - 1)
    assert (store.last_round(SESSION), store.last_round(OTHER_SESSION)) == (7, 2**63 - 1)
    store.reserve(SESSION, 8)
    assert (store.last_round(SESSION), store.last_round(OTHER_SESSION)) == (8, 2**63 - 1)
    assert store.last_round(b"c" * 16) == 0


def test_a_lower_number_never_lowers_the_last_one(store: RoundStore) -> None:
    store.reserve(SESSION, 7)
    store.reserve(SESSION, 3)
    assert store.last_round(SESSION) == 7


def test_a_store_prints_no_record(tmp_path: Path) -> None:
    memory = MemoryStore()
    memory.append(b"sesame")
    assert repr(memory) == "<MemoryStore of 1 records>"
    assert repr(filled(tmp_path)) == f"<FileStore {tmp_path}>"


# What a file keeps.


def test_a_file_store_opens_again(tmp_path: Path) -> None:
    store = filled(tmp_path)
    store.reserve(SESSION, 5)
    again = store_at(tmp_path)
    assert contents(again) == RECORDS
    assert again.last_round(SESSION) == 5
    again.append(b"more")
    assert contents(store_at(tmp_path)) == (*RECORDS, b"more")


def test_a_directory_can_be_named_by_a_string(tmp_path: Path) -> None:
    FileStore(str(tmp_path / "store"), key=Secret(KEY)).append(b"record")
    assert contents(store_at(tmp_path / "store")) == (b"record",)


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_the_key_has_32_bytes(tmp_path: Path, size: int) -> None:
    with pytest.raises(ConfigError, match=f"key must hold 32 bytes, got {size}"):
        store_at(tmp_path, bytes(size))


def test_directory_and_files_are_the_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)  # the widest there is: the modes must not depend on it
    try:
        store = filled(tmp_path / "deep" / "store")
        store.reserve(SESSION, 1)
    finally:
        os.umask(before)
    directory = tmp_path / "deep" / "store"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    files = sorted(directory.iterdir())
    assert [file.name for file in files] == ["open-round", "rounds"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_no_file_holds_a_secret_in_clear(tmp_path: Path) -> None:
    secret = bytes(range(100, 132))
    store = filled(tmp_path, (secret, b"x" * 64))
    store.reserve(SESSION, 1)
    data = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    for plain in (secret, secret[:6], secret[-6:], b"x" * 8, SESSION[:8], KEY[:8]):
        assert plain not in data


def test_a_record_is_sealed_afresh_each_time(tmp_path: Path) -> None:
    filled(tmp_path, (b"same",))
    first = (tmp_path / "open-round").read_bytes()
    store_at(tmp_path).erase()
    filled(tmp_path, (b"same",))
    assert (tmp_path / "open-round").read_bytes()[-20:] != first[-20:]


def test_a_file_under_another_key_does_not_open(tmp_path: Path) -> None:
    filled(tmp_path).reserve(SESSION, 1)
    other = store_at(tmp_path, bytes(32))
    with pytest.raises(StorageError, match=r"record 0 of .* does not open under this key"):
        other.records()
    with pytest.raises(StorageError, match="does not open under this key"):
        other.last_round(SESSION)


# Crashes and tampering.


class CrashError(BaseException):
    """The machine stopped here."""


@contextlib.contextmanager
def crash_after(monkeypatch: pytest.MonkeyPatch, count: int) -> Iterator[None]:
    """Let `count` more bytes reach the disk and stop the machine at the next one."""
    real, left = os.pwrite, count

    def write(descriptor: int, data: bytes, offset: int) -> int:
        nonlocal left
        written = real(descriptor, data[:left], offset) if left else 0
        left -= written
        if left == 0 and written < len(data):
            raise CrashError
        return written

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", write)
        with contextlib.suppress(CrashError):
            yield


def test_a_write_that_stops_at_any_byte_leaves_the_records_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path, (b"one", b""))
    file = tmp_path / "open-round"
    before = file.read_bytes()
    size = 36 + len(b"the third") + 16  # header and box; the padding between records is a hole
    outcomes = []
    for count in range(size):
        file.write_bytes(before)
        with crash_after(monkeypatch, count):
            store_at(tmp_path).append(b"the third")
        try:
            assert contents(store_at(tmp_path)) == (b"one", b"")
            store_at(tmp_path).append(b"after the crash")
        except StorageError:
            outcomes.append("refused")
            continue
        assert contents(store_at(tmp_path)) == (b"one", b"", b"after the crash"), count
        outcomes.append("dropped")
    # The header is written last and in one piece; half of one is refused, for it looks like one that was changed.
    body = outcomes.count("dropped")
    assert outcomes == ["dropped"] * body + ["refused"] * (size - body)
    assert body > size - 40


def test_a_reservation_that_stops_at_any_byte_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store_at(tmp_path).reserve(SESSION, 4)
    file = tmp_path / "rounds"
    before = file.read_bytes()
    for count in range(len(before)):
        file.write_bytes(before)
        with crash_after(monkeypatch, count):
            store_at(tmp_path).reserve(SESSION, 5)
        try:
            found = store_at(tmp_path).last_round(SESSION)
        except StorageError:
            continue
        # One byte short, the record is whole where that byte is zero, as the room it was to be written to is.
        assert found == 4 or (found == 5 and count == len(before) - 1)
        store_at(tmp_path).reserve(SESSION, 6)
        assert store_at(tmp_path).last_round(SESSION) == 6


def test_a_file_cut_short_anywhere_holds_nothing_new(tmp_path: Path) -> None:
    records = (b"one", b"", b"the third")
    data = b"".join(written(tmp_path, records))
    for length in range(len(data)):
        (tmp_path / "open-round").write_bytes(data[:length])
        try:
            found = contents(store_at(tmp_path))
        except StorageError:
            continue
        assert found == records[: len(found)]
        assert len(found) < 3


def written(path: Path, records: tuple[bytes, ...]) -> list[bytes]:
    """Append the records to a fresh file, and return the bytes that each added to it."""
    store, file, parts = store_at(path), path / "open-round", [b""]
    store.erase()
    for record in records:
        store.append(record)
        parts.append(file.read_bytes()[sum(map(len, parts)) :])
    return parts[1:]


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_a_byte_changed_anywhere_is_noticed(tmp_path: Path, mask: int) -> None:
    filled(tmp_path, (b"one", b"", b"the third"))
    file = tmp_path / "open-round"
    data = file.read_bytes()
    unnoticed = []
    for index in range(len(data)):
        changed = bytearray(data)
        changed[index] ^= mask
        file.write_bytes(bytes(changed))
        try:
            unnoticed.append((index, contents(store_at(tmp_path))))
        except StorageError:
            continue
    assert not unnoticed


def test_a_changed_byte_never_frees_a_number(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    for number in (1, 2):
        store.reserve(SESSION, number)
    file = tmp_path / "rounds"
    data = file.read_bytes()
    freed = []
    for index, mask in itertools.product(range(len(data)), (0x01, 0x10, 0x80)):
        changed = bytearray(data)
        changed[index] ^= mask
        file.write_bytes(bytes(changed))
        try:
            last = store_at(tmp_path).last_round(SESSION)
        except StorageError:
            continue
        freed += [(index, mask, last)] if last < 2 else []
    assert not freed


@pytest.mark.parametrize(
    "order", [(1, 0, 2), (0, 2, 1), (2, 1, 0), (1, 2), (0, 2), (0, 0), (0, 1, 1, 2), (0, 1, 2, 2)], ids=str
)
def test_records_moved_left_out_or_repeated_are_noticed(tmp_path: Path, order: tuple[int, ...]) -> None:
    parts = written(tmp_path, (b"one", b"two", b"six"))
    (tmp_path / "open-round").write_bytes(b"".join(parts[index] for index in order))
    with pytest.raises(StorageError, match="does not open"):
        store_at(tmp_path).records()


def test_a_record_of_one_file_is_none_of_the_other(tmp_path: Path) -> None:
    store = filled(tmp_path, (SESSION + (9).to_bytes(8, "big"),))
    (tmp_path / "rounds").write_bytes((tmp_path / "open-round").read_bytes())
    with pytest.raises(StorageError, match="rounds does not open"):
        store.last_round(SESSION)


lengths = st.integers(0, 60).map(lambda length: length.to_bytes(4, "big"))


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=120) | st.tuples(lengths, st.binary(max_size=60)).map(b"".join))
def test_whatever_a_file_holds_it_is_empty_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("store")
    (path / "open-round").write_bytes(data)
    try:
        assert contents(store_at(path)) == ()
    except StorageError:
        return


# A system that refuses.


OPERATIONS: Final[dict[str, Callable[[RoundStore], Any]]] = {
    "append": lambda store: store.append(b"record"),
    "reserve": lambda store: store.reserve(SESSION, 9),
    "erase": lambda store: store.erase(),
    "records": contents,
    "last_round": lambda store: store.last_round(SESSION),
}
CALLS: Final = {
    "append": ("open", "ftruncate", "pwrite", "fsync"),
    "reserve": ("open", "ftruncate", "pwrite", "fsync"),
    "erase": ("unlink", "open", "fsync"),
    "records": (),
    "last_round": (),
}


def refusing(count: int, real: Callable[..., Any]) -> Callable[..., Any]:
    """A system call whose `count`-th use, counted from zero, and every later one, fails."""
    uses = 0

    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal uses
        uses += 1
        if uses > count:
            raise FULL
        return real(*arguments, **named)

    return call


@pytest.mark.parametrize(("operation", "call"), [(name, call) for name, calls in CALLS.items() for call in calls])
def test_every_refusal_of_the_system_is_a_storage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str, call: str
) -> None:
    errors = 0
    for count in range(4):
        path = tmp_path / str(count)
        store = filled(path)
        store.reserve(SESSION, 5)
        with monkeypatch.context() as patch:
            patch.setattr(os, call, refusing(count, getattr(os, call)))
            try:
                OPERATIONS[operation](store)
            except StorageError as error:
                assert isinstance(error.__cause__, OSError)  # noqa: PT017  # later uses may go through
                errors += 1
        # The record is there or it is not, and the store that was refused can go on either way.
        assert store.last_round(SESSION) in (5, 9)
        assert contents(store) in (RECORDS, (*RECORDS, b"record"), ())
        store.append(b"next")
        assert contents(store_at(path))[-1] == b"next"
    assert errors


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_file_that_cannot_be_read_is_a_storage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    store = filled(tmp_path)
    store.reserve(SESSION, 5)
    monkeypatch.setattr(Path, "read_bytes", refusing(0, Path.read_bytes))
    if operation == "erase":
        OPERATIONS[operation](store)  # reads nothing, so a store that cannot be read can still be left
        return
    with pytest.raises(StorageError, match="cannot be read"):
        OPERATIONS[operation](store)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_file_that_is_a_directory_is_a_storage_error(tmp_path: Path, operation: str) -> None:
    store = store_at(tmp_path)
    for name in ("open-round", "rounds"):
        (tmp_path / name).mkdir()
    with pytest.raises(StorageError):
        OPERATIONS[operation](store)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_path_that_cannot_be_looked_at_is_a_storage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    store = filled(tmp_path)
    store.reserve(SESSION, 5)
    denied = PermissionError(errno.EACCES, "denied")

    def deny(*arguments: Any, **named: Any) -> Any:
        raise denied

    for name in ("stat", "lstat", "open", "unlink"):
        monkeypatch.setattr(os, name, deny)
    monkeypatch.setattr("io.open", deny)
    with pytest.raises(StorageError):
        OPERATIONS[operation](store)


def test_a_directory_that_cannot_be_made_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a directory")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError, match="cannot be created"):
            store_at(path)
    monkeypatch.setattr(os, "mkdir", refusing(0, os.mkdir))
    with pytest.raises(StorageError, match="cannot be created"):
        store_at(tmp_path / "new")


@pytest.mark.parametrize("most", [1, 3, 7])
def test_a_system_that_writes_a_little_at_a_time_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: real(descriptor, data[:most], offset))
    assert contents(filled(tmp_path)) == RECORDS


def test_a_failed_write_is_cut_off_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(tmp_path, (b"one",))
    real, left = os.pwrite, iter((9, 0))

    def full(descriptor: int, data: bytes, offset: int) -> int:
        if (most := next(left)) == 0:
            raise FULL
        return real(descriptor, data[:most], offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(StorageError, match="cannot be written"):
            store.append(b"two")
    assert contents(store) == (b"one",)
    store.append(b"three")
    assert contents(store) == (b"one", b"three")


def test_a_record_is_on_disk_before_its_header_and_both_before_the_call_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_at(tmp_path)
    calls: list[str] = []
    real_write, real_sync = os.pwrite, os.fsync

    def write(descriptor: int, data: bytes, offset: int) -> int:
        calls.append(f"write {len(data)}")
        return real_write(descriptor, data, offset)

    def sync(descriptor: int) -> None:
        calls.append("sync directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file")
        real_sync(descriptor)

    monkeypatch.setattr(os, "pwrite", write)
    monkeypatch.setattr(os, "fsync", sync)

    def assert_in_order(file: str) -> None:
        header = next(int(call.split()[1]) for call in reversed(calls) if call.startswith("write"))
        size = (tmp_path / file).stat().st_size
        assert calls == [f"write {size - header}", "sync file", f"write {header}", "sync file", "sync directory"]
        calls.clear()

    store.append(bytes(100))
    assert_in_order("open-round")
    store.reserve(SESSION, 1)
    assert_in_order("rounds")
    store.erase()
    assert calls == ["sync directory"]


def test_two_live_stores_on_one_directory_are_one_too_many(tmp_path: Path) -> None:
    one, other = store_at(tmp_path), store_at(tmp_path)
    one.append(b"one")
    assert contents(other) == (b"one",)
    one.append(b"two")
    with pytest.raises(StorageError, match="one client, one live store"):
        other.append(b"other")
    assert contents(store_at(tmp_path)) == (b"one", b"two")
    one.append(b"three")
    one.reserve(SESSION, 1)
    other.last_round(SESSION)
    one.reserve(SESSION, 2)
    with pytest.raises(StorageError, match="one client, one live store"):
        other.reserve(SESSION, 3)
    assert one.last_round(SESSION) == 2


@pytest.fixture
def descriptors() -> Iterator[None]:
    before = len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files the Linux way")
@pytest.mark.usefixtures("descriptors")
def test_no_file_stays_open_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(tmp_path)
    for call in ("ftruncate", "pwrite", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, refusing(0, getattr(os, call)))
            with pytest.raises(StorageError):
                store.append(b"x")


# Spool.


def test_a_spool_gives_chunks_back_once_and_by_client() -> None:
    spool = MemorySpool()
    chunk = bytearray(b"one")
    spool.append(3, memoryview(chunk))
    spool.append(4, b"other")
    spool.append(3, b"two")
    chunk[:] = b"xxx"  # the spool keeps bytes, not the caller's buffer
    assert list(spool.take(3)) == [b"one", b"two"]
    assert list(spool.take(3)) == []
    spool.discard(4)
    spool.discard(4)
    assert list(spool.take(4)) == []
