"""The privacy ledger: what every round cost, on the disk before anything of the round leaves.

Promise: what was released never costs more than what the ledger has recorded as spent, and that never more than the
budget, whatever crashes, fills up or fails in between. A round is reserved before data is touched, and committed or
lifted afterwards; a reservation that nobody came back to counts as spent.

    with Ledger.open_or_create(FileStorage("privacy.ledger"), budget=budget, planned=plan) as ledger:
        ledger.reserve("round 7", worst)     # durable when it returns; BudgetExceeded: there is no round 7
        ...                                  # the masked input leaves, the sum is opened
        ledger.commit("round 7", happened)   # or ledger.release("round 7"), if nothing left

**After a crash.** A record is appended to the log and synced, and then the note beside it, which has the number of
records and the hash of the last, is replaced and synced; only then does the call return. So whatever stands in the log
behind the note was never acknowledged: nothing relied on it. If it is one whole record it is kept, and counts; if it
is a piece of one it is cut off. Anything else was not left by a crash, and is refused: fewer records than the note
says, more than one beyond it, any byte other than a ledger writes.

**What this cannot tell.** The hashes have no key. Who can write to both files can replace them by another ledger, or by
an earlier state of this one, and *everything charged since then is forgotten*. Only an `Anchor` that is kept elsewhere
shows it: hand `ledger.anchor` to another machine after each round, and back to `Ledger.open`. A note that was set back
by one record along with a log cut within its last one looks like a crash, and needs an anchor too. So does a disk that
says "synced" before it is true.

Imports the accountants' words, the events, `book`, `records`, `storage` and this package's errors.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import NoReturn, Self, TypeVar

from dp.accountants import Against, Guarantee
from dp.book import Book, Entry, State, choose_order, read_line
from dp.errors import BudgetExceeded, LedgerCorrupt, LedgerError, ParameterError
from dp.events import Event
from dp.records import (
    EMPTY,
    OPENING,
    Anchor,
    Budget,
    Charge,
    Kind,
    Opening,
    Step,
    encode,
    read_anchor,
    require_name,
    write_anchor,
)
from dp.storage import Disk, FileStorage, MemoryStorage, Storage

__all__ = [
    "Anchor",
    "Book",
    "Budget",
    "Charge",
    "Disk",
    "Entry",
    "FileStorage",
    "Ledger",
    "MemoryStorage",
    "State",
    "Storage",
    "verify",
]


_T = TypeVar("_T")


class Ledger:
    """An open ledger. It holds its storage until it is closed, and is the only one that does.

    Threads may share it. A forked process may not, and it is never copied. After an error of the storage nothing more
    can be done with it but to close it: what is on the disk is known again when it is opened.

    Made by `create`, `open` or `open_or_create`; closed by `close` or at the end of a `with` block.
    """

    def __init__(self, storage: Storage, book: Book) -> None:
        self._storage = storage
        self._book = book
        self._thread = threading.Lock()
        self._process = os.getpid()
        self._open = True
        self._sound = True

    @classmethod
    def create(cls, storage: Storage, *, budget: Budget, planned: Event | None = None) -> Self:
        """Begin a ledger in an empty storage.

        Args:
            storage: MemoryStorage() or FileStorage(path), or your own.
            budget: what all releases together may cost.
            planned: all rounds together, as they are meant to be; the Renyi order at which they are cheapest is the one
                that is kept. A plan whose epsilon at `budget.noise_delta` is within the budget is admitted completely.
                Without it, the order suits rounds of nearly Gaussian noise that spend the whole budget.

        Raises:
            ParameterError: the budget is out of reach of any noise, or nothing is proven about `planned`.
            LedgerError: there is a ledger already.
            LedgerBusy, LedgerCorrupt, StorageFailed: see `open`.
        """
        with _taken(storage) as book:
            if book is not None:
                raise LedgerError("the storage has a ledger already: open that one")
            return cls(storage, _begin(storage, budget, planned))

    @classmethod
    def open(cls, storage: Storage, *, anchor: Anchor | None = None) -> Self:
        """Open a ledger, after every record was verified.

        Args:
            storage: where it is.
            anchor: what `ledger.anchor` was once, kept elsewhere: an earlier state of the ledger is then refused.

        Raises:
            LedgerError: there is none.
            LedgerBusy: another ledger holds the storage, here or in another process.
            LedgerCorrupt: the records are not what a ledger wrote, or end before the anchor.
            StorageFailed: the storage cannot be read, or not mended after a crash.
        """
        with _taken(storage) as book:
            _require_passed(book, anchor)
            if book is None:
                raise LedgerError("the storage has no ledger: create one")
            return cls(storage, book)

    @classmethod
    def open_or_create(
        cls, storage: Storage, *, budget: Budget, planned: Event | None = None, anchor: Anchor | None = None
    ) -> Self:
        """Open the ledger if there is one, or else begin it. For parameters and errors see `open` and `create`.

        Raises:
            LedgerError: the ledger that is there has another budget.
        """
        with _taken(storage) as book:
            _require_passed(book, anchor)
            if book is not None and book.budget != budget:
                raise LedgerError(f"the ledger's budget is {book.budget}: open it with that one")
            return cls(storage, book or _begin(storage, budget, planned))

    @property
    def budget(self) -> Budget:
        """What all releases together may cost."""
        return self._book.budget

    @property
    def order(self) -> float:
        """The Renyi order that is kept."""
        return self._book.opening.order

    @property
    def anchor(self) -> Anchor:
        """How far the ledger is: keep it elsewhere, and `open` with it."""
        with self._usable() as book:
            return book.anchor

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every round ever reserved, in order: name, what became of it, charge."""
        with self._usable() as book:
            return book.entries

    def reserve(self, name: str, charge: Charge) -> None:
        """Set a round's cost aside, durably, before any data of the round is touched.

        Args:
            name: of the round, 1 to 200 printable ASCII characters, and never used before, whatever became of it.
            charge: the most that the round may cost, for example with the fewest survivors allowed.

        Raises:
            BudgetExceeded, SamplerErrorExceeded: the budget has no room; nothing was written.
            DuplicateRelease: the name was used; nothing was written.
            ParameterError: the name or charge is none, or nothing is proven about `charge.server` under the budget's
                neighboring relation; nothing was written.
            StorageFailed, LedgerCorrupt: it may or may not be reserved; nothing of the round may leave.
            LedgerError: the ledger is closed, failed before, or belongs to another process.
        """
        step = Step(kind=Kind.RESERVE, name=require_name(name), charge=_required(charge, Charge))
        with self._usable() as book:
            book.check(step)
            book.require_room(charge)
            self._write(step)

    def commit(self, name: str, charge: Charge | None = None) -> None:
        """Say that a round was released, and what it cost after all: its reservation, if nothing else is given.

        Raises:
            LedgerError: it costs more than was reserved, or no open reservation has this name; also as for `reserve`.
            ParameterError, StorageFailed, LedgerCorrupt: see `reserve`. The reservation still counts.
        """
        with self._usable() as book:
            reserved = book.entry(name).charge
            happened = reserved if charge is None else _required(charge, Charge)
            book.require_no_more(happened, reserved)
            self._write(Step(kind=Kind.COMMIT, name=name, charge=happened))

    def release(self, name: str) -> None:
        """Lift the reservation of a round of which nothing left: nobody but this party ever saw a byte that it made.

        Raises:
            LedgerError: no open reservation has this name; it was committed or lifted already.
            StorageFailed, LedgerCorrupt: see `reserve`. It may or may not be lifted.
        """
        with self._usable() as book:
            book.entry(name)
            self._write(Step(kind=Kind.RELEASE, name=name, charge=None))

    def would_allow(self, charge: Charge) -> bool:
        """Whether the budget has room for a charge now.

        Raises:
            ParameterError: see `reserve`.
            LedgerError: the ledger cannot be used, as for `reserve`.
        """
        with self._usable() as book:
            try:
                book.require_room(_required(charge, Charge))
            except BudgetExceeded:
                return False
            return True

    def guarantee(self, against: Against) -> Guarantee:
        """Return the guarantee of everything committed or still reserved, at the budget's delta.

        It is the running figure of the accountants, and proven as such if no charge depended on what earlier rounds
        released. Where charges did, what is proven is the budget: once this ledger's rounds are over they are together
        (budget.epsilon, budget.delta)-private against the server, whatever depended on what.

        Raises:
            ParameterError: `against` is none; or PUBLISHED, and nothing is proven about the `public` part of a charge
                under the budget's neighboring relation.
            LedgerError: the ledger cannot be used, as for `reserve`.
        """
        with self._usable() as book:
            return book.guarantee(against)

    def close(self) -> None:
        """Let go of the storage. What is reserved stays reserved. Closing again does nothing.

        Raises:
            LedgerError: this is a process forked from the ledger's own.
            StorageFailed: see `open`.
        """
        self._require_own_process()
        with self._thread:
            if self._open:
                self._open = False
                self._storage.free()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Ledger {self._book.opening.ledger} of {self._book.budget}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise LedgerError("a ledger is never pickled or copied: a copy could spend the budget a second time")

    @contextlib.contextmanager
    def _usable(self) -> Iterator[Book]:
        """The book, for one thread at a time of the process that opened it."""
        self._require_own_process()
        with self._thread:
            if not self._open:
                raise LedgerError("the ledger is closed: open it again")
            if not self._sound:
                raise LedgerError("the storage failed, and what is on the disk is not known: close, and open again")
            yield self._book

    def _require_own_process(self) -> None:
        """Before any lock, which another thread may have held when the process was forked."""
        if os.getpid() != self._process:
            raise LedgerError("the ledger belongs to the process that opened it: open one there")

    def _write(self, step: Step) -> None:
        """Make a checked step durable, then count it. Whatever interrupts this leaves the ledger unusable."""
        line, anchor = encode(step, self._book.anchor)
        self._sound = False
        _append(self._storage, line, anchor)
        self._book.add(step, anchor)
        self._sound = True


def verify(lines: Iterable[bytes], *, anchor: Anchor | None = None) -> Book:
    """Recompute a ledger from its lines, for example of `open(path, "rb")`, and return what they say and cost.

    It needs neither the ledger's lock nor the note beside it. So lines cut off at the end do not show: compare the
    `anchor` of the book with what the ledger's owner told. Nor does it show whether what was charged is what happened.

    Args:
        lines: every line with its newline, in order.
        anchor: see `Ledger.open`.

    Raises:
        LedgerCorrupt: there is no line, a line is not what a ledger writes there, or they end before the anchor.
    """
    book: Book | None = None
    for line in lines:
        book = read_line(book, line)
    _require_passed(book, anchor)
    if book is None:
        raise LedgerCorrupt("there is no record")
    return book


@contextlib.contextmanager
def _taken(storage: Storage) -> Iterator[Book | None]:
    """Hold a storage, let go of it if what follows fails, and mend what a crash left."""
    log, note = storage.take()
    with contextlib.ExitStack() as undo:
        undo.callback(storage.free)
        yield _mended(storage, log, read_anchor(note))
        undo.pop_all()


def _mended(storage: Storage, log: bytes, noted: Anchor) -> Book | None:
    """The book of a log, where behind the noted records stands nothing that was acknowledged."""
    lines = log.split(b"\n")
    if len(lines) <= noted.records:
        raise LedgerCorrupt(f"the ledger was cut: {len(lines) - 1} records of {noted.records} are left")
    book: Book | None = None
    for line in lines[: noted.records]:
        book = read_line(book, line + b"\n")
    if noted != (EMPTY if book is None else book.anchor):
        raise LedgerCorrupt("the ledger is not the one that its note is about")
    tail = b"\n".join(lines[noted.records :])
    return _with_tail(storage, book, len(log) - len(tail), tail) if tail else book


def _with_tail(storage: Storage, book: Book | None, end: int, tail: bytes) -> Book | None:
    """Write one whole record behind the note anew, for it may not be on the disk; cut off a piece of one."""
    if b"\n" in tail[:-1]:
        raise LedgerCorrupt(
            "the ledger has more records than one behind its note: the file named .head is missing or was set back"
        )
    if book is None and not (tail.startswith(OPENING) or OPENING.startswith(tail)):
        raise LedgerCorrupt("the storage holds something else than a ledger")
    if not tail.endswith(b"\n"):
        storage.cut(end)
        return book
    whole = read_line(book, tail)
    storage.cut(end)
    _append(storage, tail, whole.anchor)
    return whole


def _begin(storage: Storage, budget: Budget, planned: Event | None) -> Book:
    order = choose_order(_required(budget, Budget), planned)
    line, anchor = encode(Opening(ledger=_new_id(), budget=budget, order=order), EMPTY)
    _append(storage, line, anchor)
    return read_line(None, line)


def _append(storage: Storage, line: bytes, anchor: Anchor) -> None:
    storage.append(line)
    storage.note(write_anchor(anchor))


def _new_id() -> str:
    return os.urandom(16).hex()


def _required(value: _T, kind: type[_T]) -> _T:
    if not isinstance(value, kind):
        raise ParameterError(f"{type(value).__name__} is no {kind.__name__}: make one of dp.ledger")
    return value


def _require_passed(book: Book | None, anchor: Anchor | None) -> None:
    if anchor is not None and (book is None or not book.has_passed(anchor)):
        raise LedgerCorrupt(f"the ledger never stood at the anchor of {anchor.records} records: it was set back")
