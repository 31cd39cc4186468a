"""What left is never more than what the ledger has as spent, wherever the power goes or the disk fails; and a model."""

from __future__ import annotations

import errno
import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import dp.ledger as ledger_module
from dp.accountants import Against, epsilon
from dp.errors import BudgetExceeded, DuplicateRelease, LedgerBusy, LedgerCorrupt, LedgerError, StorageFailed
from dp.events import Gaussian, Neighboring, Repeated
from dp.ledger import Anchor, Budget, Charge, Disk, FileStorage, Ledger, MemoryStorage, State, verify

PATH = Path("/ledgers/privacy.ledger")
NOTE = PATH.with_name(PATH.name + ".head")
BUDGET = Budget(epsilon=4.0, delta=1e-6, neighboring=Neighboring.ZERO_OUT)


class PowerCut(BaseException):
    """Nothing of the product may catch it."""


@dataclass(eq=False)
class File:
    """What the disk has, what the system would show, and which bytes it still has to write."""

    durable: bytearray = field(default_factory=bytearray)
    cached: bytearray = field(default_factory=bytearray)
    dirty: list[slice] = field(default_factory=list)
    holder: int | None = None

    def write(self, data: bytes, offset: int) -> None:
        self.cached[offset : offset + len(data)] = data
        self.dirty.append(slice(offset, offset + len(data)))

    def sync(self) -> None:
        self.durable = self.durable[: len(self.cached)] + bytes(max(0, len(self.cached) - len(self.durable)))
        for place in self.dirty:
            self.durable[place] = self.cached[place]
        self.dirty.clear()

    def after(self, data: str) -> File:
        """As it is found after the power was cut."""
        match data:
            case "lost":
                found = self.durable
            case "kept":
                found = self.cached
            case "zeros":  # the length got there, the bytes did not
                found = self.durable[: len(self.cached)] + bytes(max(0, len(self.cached) - len(self.durable)))
            case _:
                found = self.cached[: (len(self.durable) + len(self.cached)) // 2]
        return File(bytearray(found), bytearray(found))


class FragileDisk(Disk):
    """A disk in memory that stops the machine, or fails, at one of its operations.

    `at` counts operations from 0; `how` is "before" or "after" the operation, or how many bytes a write still did.
    """

    def __init__(self, at: int | None = None, how: str = "before", error: OSError | None = None) -> None:
        self.names: dict[Path, File] = {}
        self.durable_names: dict[Path, File] = {}
        self.opened: dict[int, File] = {}
        self.descriptors = itertools.count(3)
        self.at, self.how, self.error = at, how, error
        self.operations = 0
        self.writes: list[int] = []
        self.dead = False

    def reboot(self, data: str, names: str, at: int | None = None) -> FragileDisk:
        found: dict[int, File] = {}

        def file(before: File) -> File:
            return found.setdefault(id(before), before.after(data))

        disk = FragileDisk(at)
        disk.names = {path: file(old) for path, old in (self.names if names == "kept" else self.durable_names).items()}
        disk.durable_names = dict(disk.names)
        return disk

    def contents(self) -> frozenset[tuple[Path, bytes]]:
        return frozenset((path, bytes(file.cached)) for path, file in self.names.items())

    def _stop(self, when: str) -> None:
        """Count an operation at its beginning, and fail if it is the one."""
        if self.dead:
            raise PowerCut
        if when == "before":
            self.operations += 1
        if self.operations - 1 == self.at and (self.how == when or (when == "torn" and self.how not in "beforeafter")):
            if self.error is not None:
                self.at = None
                raise self.error
            self.dead = True
            raise PowerCut

    def open(self, path: Path, *, create: bool) -> int:
        self._stop("before")
        if path not in self.names and not create:
            raise FileNotFoundError(errno.ENOENT, "no such file")
        descriptor = next(self.descriptors)
        self.opened[descriptor] = self.names.setdefault(path, File())
        self._stop("after")
        return descriptor

    def close(self, descriptor: int) -> None:
        self._stop("before")
        file = self.opened.pop(descriptor)
        if file.holder == descriptor:
            file.holder = None
        self._stop("after")

    def lock(self, descriptor: int) -> None:
        self._stop("before")
        if self.opened[descriptor].holder is not None:
            raise BlockingIOError(errno.EWOULDBLOCK, "locked")
        self.opened[descriptor].holder = descriptor
        self._stop("after")

    def unlock(self, descriptor: int) -> None:
        self._stop("before")
        self.opened[descriptor].holder = None
        self._stop("after")

    def size(self, descriptor: int) -> int:
        self._stop("before")
        return len(self.opened[descriptor].cached)

    def is_at(self, descriptor: int, path: Path) -> bool:
        self._stop("before")
        return self.names.get(path) is self.opened[descriptor]

    def read(self, descriptor: int, size: int, offset: int) -> bytes:
        self._stop("before")
        return bytes(self.opened[descriptor].cached[offset : offset + min(size, 700)])

    def write(self, descriptor: int, data: bytes, offset: int) -> int:
        self._stop("before")
        self.writes.append(self.operations - 1)
        part = {"one": 1, "half": len(data) // 2, "most": len(data) - 1}.get(self.how, 0)
        if self.operations - 1 == self.at and part:
            self.opened[descriptor].write(data[:part], offset)
        self._stop("torn")
        taken = data if len(data) < 500 else data[:-5]  # the system may take fewer at a time
        self.opened[descriptor].write(taken, offset)
        self._stop("after")
        return len(taken)

    def truncate(self, descriptor: int, length: int) -> None:
        self._stop("before")
        file = self.opened[descriptor]
        file.cached = file.cached[:length] + bytes(max(0, length - len(file.cached)))
        self._stop("after")

    def sync(self, descriptor: int) -> None:
        try:
            self._stop("before")
        except OSError:
            self.opened[descriptor].dirty.clear()  # as Linux does: it will say no more about these bytes
            raise
        self.opened[descriptor].sync()
        self._stop("after")

    def replace(self, source: Path, target: Path) -> None:
        self._stop("before")
        self.names[target] = self.names.pop(source)
        self._stop("after")

    def sync_directory(self, path: Path) -> None:
        self._stop("before")
        self.durable_names = dict(self.names)
        self._stop("after")


def charge(multiplier: float) -> Charge:
    event = Gaussian(noise_multiplier=multiplier)
    return Charge(server=event, public=event, sampler_error=1e-30)


RESERVED = charge(4.0)
HAPPENED = charge(4.5)
FATES = ("commit", "less", "lift", "open", "commit")


class World:
    """Five rounds on a disk, and what of them left."""

    def __init__(self) -> None:
        self.left: dict[str, Charge] = {}
        self.anchor: Anchor | None = None

    def play(self, disk: FragileDisk) -> None:
        with Ledger.open_or_create(FileStorage(PATH, disk=disk), budget=BUDGET) as ledger:
            self.anchor = ledger.anchor
            for number, fate in enumerate(FATES):
                self.round(ledger, f"round {number}", fate)
                self.anchor = ledger.anchor

    def round(self, ledger: Ledger, name: str, fate: str) -> None:
        ledger.reserve(name, RESERVED)
        if fate == "lift":
            ledger.release(name)
            return
        self.left[name] = HAPPENED if fate == "less" else RESERVED
        if fate != "open":
            ledger.commit(name, self.left[name])

    def check(self, ledger: Ledger) -> None:
        """All that left is counted, at no less than it cost, and the ledger goes on."""
        counted = {entry.name: entry.charge for entry in ledger.entries if entry.state is not State.RELEASED}
        for name, cost in self.left.items():
            assert counted[name] in (cost, RESERVED)
        events = [cost.server for cost in self.left.values()]
        assert ledger.guarantee(Against.SERVER).epsilon >= cost_of(tuple(events))
        ledger.reserve("the next one", RESERVED)
        ledger.commit("the next one")


@functools.cache
def cost_of(events: tuple[Gaussian, ...]) -> float:
    return epsilon(events, delta=BUDGET.noise_delta, neighboring=BUDGET.neighboring, against=Against.SERVER).epsilon


def a_whole_run() -> FragileDisk:
    disk = FragileDisk()
    World().play(disk)
    return disk


OPERATIONS, WRITES = a_whole_run().operations, tuple(a_whole_run().writes)
HOW = ("before", "after", "one", "half", "most")


@pytest.fixture(autouse=True)
def same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that equal histories are equal bytes, and are looked at once."""
    monkeypatch.setattr(ledger_module, "_new_id", lambda: "0f" * 16)


def crashed(how: str) -> Iterator[tuple[World, FragileDisk]]:
    """Every run that stops at an operation; a torn one at a write alone."""
    for at in range(OPERATIONS) if how in ("before", "after") else WRITES:
        world, disk = World(), FragileDisk(at, how)
        try:
            world.play(disk)
        except PowerCut:
            yield world, disk


def test_the_runs_are_long_enough_to_mean_something() -> None:
    assert OPERATIONS > 100
    assert len(WRITES) == 2 * 10
    assert sum(1 for _ in crashed("before")) == OPERATIONS
    assert sum(1 for _ in crashed("most")) == len(WRITES)


@pytest.mark.parametrize("how", HOW)
def test_what_left_is_spent_wherever_the_power_goes(how: str) -> None:
    seen = set()
    for world, disk in crashed(how):
        for data, names in itertools.product(("lost", "half", "kept"), ("lost", "kept")):
            found = disk.reboot(data, names)
            state = (frozenset(world.left), world.anchor, found.contents())
            if state in seen:
                continue
            seen.add(state)
            storage = FileStorage(PATH, disk=found)
            with Ledger.open_or_create(storage, budget=BUDGET, anchor=world.anchor) as ledger:
                world.check(ledger)
            with Ledger.open(storage) as ledger:
                assert ledger.entries[-1].state is State.COMMITTED
    assert len(seen) > 30


@pytest.mark.parametrize("how", ["before", "half"])
def test_lengths_without_their_bytes_are_mended_or_refused(how: str) -> None:
    refused = 0
    for world, disk in crashed(how):
        storage = FileStorage(PATH, disk=disk.reboot("zeros", "kept"))
        try:
            with Ledger.open_or_create(storage, budget=BUDGET) as ledger:
                world.check(ledger)
        except LedgerCorrupt:
            refused += 1
            assert not world.left  # an opening that was never acknowledged
    assert refused < 6


def test_the_power_may_go_again_while_the_ledger_is_mended() -> None:
    mended, seen = set(), set()
    for world, disk in crashed("after"):
        quiet = disk.reboot("kept", "kept")
        if quiet.contents() in mended:
            continue
        mended.add(quiet.contents())
        Ledger.open_or_create(FileStorage(PATH, disk=quiet), budget=BUDGET).close()
        for at in range(quiet.operations) if quiet.writes else ():  # reading alone changes nothing
            again = disk.reboot("kept", "kept", at)
            with pytest.raises(PowerCut):
                Ledger.open_or_create(FileStorage(PATH, disk=again), budget=BUDGET).close()
            for data in ("lost", "half", "kept"):
                found = again.reboot(data, "lost")
                state = (frozenset(world.left), found.contents())
                if state in seen:
                    continue
                seen.add(state)
                with Ledger.open_or_create(FileStorage(PATH, disk=found), budget=BUDGET) as ledger:
                    world.check(ledger)
    assert len(seen) > 30


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("how", HOW)
def test_a_disk_that_fails_ends_the_ledger_until_it_is_opened_again(how: str, number: int) -> None:
    for at in range(OPERATIONS) if how in ("before", "after") else WRITES:
        world, disk = World(), FragileDisk(at, how, OSError(number, "the disk says no"))
        try:
            world.play(disk)
        except StorageFailed:
            pass  # as it should
        else:
            assert disk.at == at  # looking at a file has no after
            continue
        for descriptor in tuple(disk.opened):  # close and unlock may have failed: then the process has to end
            disk.close(descriptor)
        storage = FileStorage(PATH, disk=disk)
        with Ledger.open_or_create(storage, budget=BUDGET, anchor=world.anchor) as ledger:
            world.check(ledger)
        cut = FileStorage(PATH, disk=disk.reboot("lost", "lost"))
        with Ledger.open(cut) as ledger:
            assert ledger.entries[-1].name == "the next one"
            assert set(world.left) <= {entry.name for entry in ledger.entries}


@pytest.mark.parametrize("where", range(11))
def test_after_a_failure_nothing_more_is_done(where: int) -> None:
    disk = FragileDisk()
    ledger = Ledger.create(FileStorage(PATH, disk=disk), budget=BUDGET)
    ledger.reserve("before", RESERVED)
    disk.at, disk.error = disk.operations + where, OSError(errno.ENOSPC, "full")
    with pytest.raises(StorageFailed, match="full"):
        ledger.reserve("x", RESERVED)
    for use in (
        lambda: ledger.reserve("y", RESERVED),
        lambda: ledger.commit("before"),
        lambda: ledger.release("before"),
        lambda: ledger.would_allow(RESERVED),
        lambda: ledger.guarantee(Against.SERVER),
        lambda: ledger.anchor,
        lambda: ledger.entries,
    ):
        with pytest.raises(LedgerError, match="close, and open again"):
            use()
    operations = disk.operations
    ledger.close()
    assert disk.operations == operations + 2  # unlock and close, nothing written
    with Ledger.open(FileStorage(PATH, disk=disk)) as again:
        assert again.entries[0].name == "before"


@pytest.mark.parametrize("where", range(11))
def test_whatever_interrupts_a_write_ends_the_ledger(where: int) -> None:
    disk = FragileDisk()
    ledger = Ledger.create(FileStorage(PATH, disk=disk), budget=BUDGET)
    disk.at = disk.operations + where
    with pytest.raises(PowerCut):  # KeyboardInterrupt, for example
        ledger.reserve("x", RESERVED)
    disk.dead = False
    with pytest.raises(LedgerError, match="close, and open again"):
        ledger.reserve("y", RESERVED)
    ledger.close()
    with Ledger.open(FileStorage(PATH, disk=disk)) as again:
        again.reserve("y", RESERVED)


def test_whoever_is_refused_leaves_no_file_open() -> None:
    disk = FragileDisk()
    with Ledger.create(FileStorage(PATH, disk=disk), budget=BUDGET):
        with pytest.raises(LedgerBusy):
            Ledger.open(FileStorage(PATH, disk=disk))
        assert len(disk.opened) == 1
    assert not disk.opened


# A plain model.

NAMES = st.sampled_from([f"r{number}" for number in range(12)])
MULTIPLIERS = st.sampled_from([2.0, 3.0, 5.0, 8.0, 8.5])


class LedgerMachine(RuleBasedStateMachine):
    """The ledger against a dict of names and Renyi costs, added up in Python's floats."""

    @initialize(on_disk=st.booleans())
    def begin(self, on_disk: bool) -> None:  # noqa: FBT001  # hypothesis passes it by name
        self.disk = FragileDisk()
        self.storage: Any = FileStorage(PATH, disk=self.disk) if on_disk else MemoryStorage()
        self.ledger = Ledger.create(self.storage, budget=BUDGET)
        self.states: dict[str, tuple[str, float]] = {}
        self.anchors = [self.ledger.anchor]

    def epsilon_with(self, *more: float) -> float:
        order, delta = self.ledger.order, BUDGET.delta * (1 - 2**-20)
        counted = [z for state, z in self.states.values() if state != "lifted"]
        cost = sum(order / (2 * z * z) for z in (*counted, *more))
        return cost + math.log1p(-1 / order) - math.log(order * delta) / (order - 1)

    @rule(name=NAMES, z=MULTIPLIERS)
    def reserve(self, name: str, z: float) -> None:
        would_be = self.epsilon_with(z)
        fits = self.ledger.would_allow(charge(z))
        if abs(would_be - BUDGET.epsilon) > 1e-9:
            assert fits == (would_be < BUDGET.epsilon)
        if name in self.states:
            with pytest.raises(DuplicateRelease):
                self.ledger.reserve(name, charge(z))
        elif fits:
            self.ledger.reserve(name, charge(z))
            self.states[name] = ("reserved", z)
        else:
            with pytest.raises(BudgetExceeded) as caught:
                self.ledger.reserve(name, charge(z))
            assert caught.value.would_be == pytest.approx(would_be, rel=1e-9)

    @rule(name=NAMES, z=MULTIPLIERS)
    def commit(self, name: str, z: float) -> None:
        state, reserved = self.states.get(name, ("never", 0.0))
        if state == "reserved" and z >= reserved:
            self.ledger.commit(name, charge(z))
            self.states[name] = ("committed", z)
        else:
            with pytest.raises(LedgerError):
                self.ledger.commit(name, charge(z))

    @rule(name=NAMES)
    def lift(self, name: str) -> None:
        state, reserved = self.states.get(name, ("never", 0.0))
        if state == "reserved":
            self.ledger.release(name)
            self.states[name] = ("lifted", reserved)
        else:
            with pytest.raises(LedgerError):
                self.ledger.release(name)

    @rule(data=st.data())
    def reopen(self, data: st.DataObject) -> None:
        anchor = data.draw(st.sampled_from(self.anchors))
        with pytest.raises(LedgerBusy):
            Ledger.open(self.storage)
        self.ledger.close()
        self.ledger = Ledger.open(self.storage, anchor=anchor)
        assert self.ledger.anchor == self.anchors[-1]

    @invariant()
    def agrees(self) -> None:
        if self.ledger.anchor != self.anchors[-1]:
            self.anchors.append(self.ledger.anchor)
        words = {State.RESERVED: "reserved", State.COMMITTED: "committed", State.RELEASED: "lifted"}
        assert {entry.name: words[entry.state] for entry in self.ledger.entries} == {
            name: state for name, (state, _) in self.states.items()
        }
        found = self.ledger.guarantee(Against.SERVER)
        assert found.epsilon <= BUDGET.epsilon
        assert found.delta == BUDGET.delta
        counted = [z for state, z in self.states.values() if state != "lifted"]
        assert found.epsilon == pytest.approx(cost_of(tuple(Gaussian(noise_multiplier=z) for z in counted)), rel=1e-9)

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()
            log, _ = self.storage.take()
            book = verify(log.splitlines(keepends=True), anchor=self.anchors[-1])
            assert book.anchor == self.anchors[-1]
            assert book.within_budget


LedgerMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestLedgerMachine = LedgerMachine.TestCase


def test_a_plan_of_many_rounds_is_added_up_without_losing_any() -> None:
    plan = Repeated(event=Gaussian(noise_multiplier=30.0), count=300)
    spent = cost_of((Gaussian(noise_multiplier=30.0),) * 300)
    with Ledger.create(MemoryStorage(), budget=BUDGET, planned=plan) as ledger:
        for number in range(300):
            ledger.reserve(str(number), charge(30.0))
        assert ledger.guarantee(Against.SERVER).epsilon == pytest.approx(spent, rel=1e-12)
