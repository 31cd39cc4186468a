"""The ledger admits what the budget has room for, reads nothing but its own bytes, and is never open twice."""

from __future__ import annotations

import copy
import errno
import hashlib
import json
import math
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dp.accountants import Against, epsilon
from dp.accountants.orders import ORDERS
from dp.calibrate import skellam_variance
from dp.errors import (
    BudgetExceeded,
    DuplicateRelease,
    LedgerBusy,
    LedgerCorrupt,
    LedgerError,
    ParameterError,
    SamplerErrorExceeded,
    StorageFailed,
)
from dp.events import Composed, Event, Gaussian, Neighboring, PoissonSampled, Repeated, SkellamSum
from dp.ledger import Anchor, Budget, Charge, Disk, FileStorage, Ledger, MemoryStorage, State, verify

ZERO_OUT, REPLACE_ONE, ADD_OR_REMOVE = Neighboring
SERVER, PUBLISHED = Against
BUDGET = Budget(epsilon=4.0, delta=1e-6, neighboring=ZERO_OUT)


def gaussian(multiplier: float, sampler_error: float = 0.0) -> Charge:
    event = Gaussian(noise_multiplier=multiplier)
    return Charge(server=event, public=event, sampler_error=sampler_error)


def charge(server: Event) -> Charge:
    return Charge(server=server, public=server)


def cost(*events: Event, budget: Budget = BUDGET, against: Against = SERVER) -> float:
    return epsilon(events, delta=budget.noise_delta, neighboring=budget.neighboring, against=against).epsilon


@pytest.fixture
def ledger() -> Ledger:
    return Ledger.create(MemoryStorage(), budget=BUDGET)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a closed ledger of four records. Nothing here pulls a plug, so nothing is gained by waiting for the disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    path = tmp_path / "privacy.ledger"
    with Ledger.create(FileStorage(path), budget=BUDGET) as ledger:
        ledger.reserve("a", gaussian(5.0, 1e-30))
        ledger.commit("a", gaussian(6.0))
        ledger.reserve("b", gaussian(5.0))
    return path


def note_of(path: Path) -> Path:
    return path.with_name(path.name + ".head")


def opened(path: Path, anchor: Anchor | None = None) -> tuple[str, ...]:
    with Ledger.open(FileStorage(path), anchor=anchor) as ledger:
        return tuple(entry.name for entry in ledger.entries)


# The filter.


@pytest.mark.parametrize("neighboring", [ZERO_OUT, REPLACE_ONE])
@pytest.mark.parametrize(("rounds", "target"), [(1, 2.0), (7, 0.7), (40, 8.0)])
def test_a_calibrated_plan_is_admitted_completely_and_no_round_more(
    rounds: int, target: float, neighboring: Neighboring
) -> None:
    budget = Budget(epsilon=target, delta=1e-6, neighboring=neighboring)
    variance = skellam_variance(
        sensitivity=4.0,
        epsilon=target,
        delta=budget.noise_delta,
        rounds=rounds,
        honest=10,
        neighboring=neighboring,
    )
    event = SkellamSum(variance=10 * variance, sensitivity=4.0)
    with Ledger.create(MemoryStorage(), budget=budget, planned=Repeated(event=event, count=rounds)) as ledger:
        for number in range(rounds):
            assert ledger.would_allow(charge(event))
            ledger.reserve(f"round {number}", charge(event))
        assert not ledger.would_allow(charge(event))
        with pytest.raises(BudgetExceeded) as caught:
            ledger.reserve("one more", charge(event))
        assert len(ledger.entries) == rounds
        assert caught.value.budget == target < caught.value.would_be
        assert caught.value.left < 1e-3 * target
        assert ledger.guarantee(SERVER).epsilon == cost(Repeated(event=event, count=rounds), budget=budget) <= target


@given(
    multiplier=st.floats(0.5, 50.0),
    rounds=st.integers(1, 30),
    delta=st.sampled_from([1e-3, 1e-6, 1e-12]),
    sampled=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_a_budget_of_exactly_the_plans_epsilon_is_enough(
    multiplier: float, rounds: int, delta: float, *, sampled: bool
) -> None:
    release = SkellamSum(variance=(30.0 * multiplier) ** 2, sensitivity=30.0)
    event: Event = PoissonSampled(release=release, rate=0.01) if sampled else release
    plan = Repeated(event=event, count=rounds)
    exact = epsilon([plan], delta=delta * (1 - 2**-20), neighboring=ZERO_OUT, against=SERVER).epsilon
    assume(0.0 < exact <= 512.0)
    budget = Budget(epsilon=exact, delta=delta, neighboring=ZERO_OUT)
    with Ledger.create(MemoryStorage(), budget=budget, planned=plan) as ledger:
        for number in range(rounds):
            ledger.reserve(str(number), charge(event))
        with pytest.raises(BudgetExceeded):
            ledger.reserve("one more", charge(event))


def test_a_plan_of_different_rounds_is_admitted_too() -> None:
    events = tuple(SkellamSum(variance=100.0 + 10 * k, sensitivity=4.0) for k in range(6))
    plan = Composed(events=tuple(Repeated(event=event, count=3) for event in events))
    budget = Budget(epsilon=cost(plan) * (1 + 1e-12), delta=BUDGET.delta, neighboring=ZERO_OUT)
    with Ledger.create(MemoryStorage(), budget=budget, planned=plan) as ledger:
        for number in range(18):
            ledger.reserve(str(number), charge(events[number % 6]))
        assert not ledger.would_allow(charge(events[0]))


def test_without_a_plan_the_order_is_the_best_for_gaussian_rounds_that_spend_everything() -> None:
    for target in (0.1, 1.0, 8.0, 60.0):
        budget = Budget(epsilon=target, delta=1e-6, neighboring=ZERO_OUT)
        price = [math.log1p(-1 / a) - math.log(a * budget.noise_delta) / (a - 1) for a in ORDERS.tolist()]
        largest = {a: (target - p) / a for a, p in zip(ORDERS.tolist(), price, strict=True)}
        ledger = Ledger.create(MemoryStorage(), budget=budget)
        assert largest[ledger.order] == pytest.approx(max(largest.values()), rel=1e-12)


def test_the_order_is_fixed_and_a_better_one_afterwards_buys_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def rounds() -> int:
        with Ledger.create(MemoryStorage(), budget=BUDGET) as ledger:
            count = 0
            while ledger.would_allow(gaussian(8.0)):
                ledger.reserve(str(count), gaussian(8.0))
                count += 1
            assert ledger.guarantee(SERVER).epsilon == cost(Repeated(event=release, count=count))
            return count

    release = Gaussian(noise_multiplier=8.0)
    best = rounds()
    monkeypatch.setattr("dp.ledger.choose_order", lambda budget, planned: 30.0)
    assert 1 < rounds() < best / 2  # though the accountants' figure for these is far below the budget


def test_the_order_follows_the_plan() -> None:
    def order(plan: Event) -> float:
        return Ledger.create(MemoryStorage(), budget=BUDGET, planned=plan).order

    release = Gaussian(noise_multiplier=8.0)
    assert (
        order(release)
        == order(Repeated(event=release, count=1000))
        == Ledger.create(MemoryStorage(), budget=BUDGET).order
    )
    assert order(SkellamSum(variance=0.01, sensitivity=1.0)) > order(release)


def test_sampling_gains_nothing_against_the_server(ledger: Ledger) -> None:
    release = SkellamSum(variance=400.0, sensitivity=4.0)
    sampled = PoissonSampled(release=release, rate=0.01)
    ledger.reserve("a", charge(sampled))
    assert ledger.guarantee(SERVER).epsilon == cost(release)
    assert ledger.guarantee(PUBLISHED).epsilon == cost(sampled, against=PUBLISHED) < cost(release) / 2


def test_what_is_public_is_reported_and_never_lowers_the_charge(ledger: Ledger) -> None:
    quiet, loud = Gaussian(noise_multiplier=100.0), Gaussian(noise_multiplier=2.0)
    ledger.reserve("a", Charge(server=loud, public=quiet))
    assert ledger.guarantee(SERVER).epsilon == cost(loud)
    assert ledger.guarantee(PUBLISHED).epsilon == cost(quiet)
    ledger.reserve("b", Charge(server=quiet, public=Gaussian(noise_multiplier=0.01)))
    assert ledger.guarantee(PUBLISHED).epsilon > 100
    assert ledger.guarantee(SERVER).epsilon < BUDGET.epsilon


def test_the_guarantee_names_the_whole_delta(ledger: Ledger) -> None:
    found = ledger.guarantee(SERVER)
    assert (found.epsilon, found.delta, found.neighboring, found.against) == (0.0, 1e-6, ZERO_OUT, SERVER)
    with pytest.raises(ParameterError, match="against"):
        ledger.guarantee("server")  # type: ignore[arg-type]  # what is refused here


def test_what_costs_more_than_can_be_told_is_refused(ledger: Ledger) -> None:
    with pytest.raises(BudgetExceeded) as caught:
        ledger.reserve("a", charge(Repeated(event=Gaussian(noise_multiplier=1e-20), count=2**52)))
    assert caught.value.would_be > 1e50
    assert caught.value.left == BUDGET.epsilon
    assert "is left" in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301  # our own error, as pools of workers pass it
    assert (again.budget, again.would_be, again.left) == (4.0, caught.value.would_be, 4.0)


# What was put aside for samplers.


def test_the_two_parts_of_delta_are_no_more_than_delta() -> None:
    for delta in (1e-100, 1e-12, 1e-6, 0.3, math.nextafter(1.0, 0.0)):
        budget = Budget(epsilon=1.0, delta=delta, neighboring=ZERO_OUT)
        assert budget.noise_delta + budget.sampler_delta <= delta
        assert budget.noise_delta == delta * (1 - 2**-20)
        assert budget.sampler_delta > 0.999 * delta * 2**-20


def test_sampler_error_adds_up_to_what_was_put_aside() -> None:
    part = BUDGET.sampler_delta / (1 + math.exp(BUDGET.epsilon)) / 4
    ledger = Ledger.create(MemoryStorage(), budget=BUDGET)
    for number in range(3):
        ledger.reserve(str(number), gaussian(50.0, part))
    assert ledger.would_allow(gaussian(50.0, part * 0.999))
    over = gaussian(50.0, part * 1.001)
    assert not ledger.would_allow(over)
    with pytest.raises(SamplerErrorExceeded, match="total variation") as caught:
        ledger.reserve("over", over)
    assert isinstance(caught.value, BudgetExceeded)
    assert caught.value.would_be < BUDGET.epsilon
    ledger.release("0")
    ledger.commit("1", gaussian(50.0, part / 2))
    ledger.reserve("over", over)
    assert ledger.guarantee(SERVER).delta == BUDGET.delta


def test_a_figure_beyond_the_budget_carries_the_samplers_delta_too(ledger: Ledger) -> None:
    part = BUDGET.sampler_delta / (1 + math.exp(BUDGET.epsilon))
    ledger.reserve(
        "a",
        Charge(
            server=Gaussian(noise_multiplier=50.0), public=Gaussian(noise_multiplier=0.7), sampler_error=part * 0.99
        ),
    )
    found = ledger.guarantee(PUBLISHED)
    assert found.delta == pytest.approx(BUDGET.noise_delta + part * 0.99 * (1 + math.exp(found.epsilon)), rel=1e-12)
    assert found.delta > BUDGET.delta


# What becomes of a reservation.


def test_a_commit_may_cost_less_and_frees_the_rest(ledger: Ledger) -> None:
    ledger.reserve("a", gaussian(1.4))
    assert not ledger.would_allow(gaussian(1.4))
    ledger.commit("a", gaussian(3.0))
    assert ledger.would_allow(gaussian(1.6))
    assert ledger.guarantee(SERVER).epsilon == cost(Gaussian(noise_multiplier=3.0))
    (entry,) = ledger.entries
    assert (entry.name, entry.state, entry.charge) == ("a", State.COMMITTED, gaussian(3.0))


@pytest.mark.parametrize("more", [gaussian(4.999), gaussian(5.0, 2e-30)])
def test_a_commit_may_not_cost_more(ledger: Ledger, more: Charge) -> None:
    ledger.reserve("a", gaussian(5.0, 1e-30))
    with pytest.raises(LedgerError, match="fewest survivors"):
        ledger.commit("a", more)
    assert ledger.entries[0].state is State.RESERVED
    ledger.commit("a")
    assert ledger.entries[0].charge == gaussian(5.0, 1e-30)


def test_a_lifted_reservation_costs_nothing_and_its_name_stays_used(ledger: Ledger) -> None:
    ledger.reserve("a", gaussian(1.4))
    ledger.release("a")
    assert ledger.guarantee(SERVER).epsilon == 0.0
    with pytest.raises(DuplicateRelease, match="name of its own"):
        ledger.reserve("a", gaussian(50.0))
    with pytest.raises(LedgerError, match="released already"):
        ledger.commit("a")
    ledger.reserve("b", gaussian(1.4))
    ledger.commit("b")
    for again in (ledger.commit, ledger.release):
        with pytest.raises(LedgerError, match="committed already"):
            again("b")
        with pytest.raises(LedgerError, match="no round 'c'"):
            again("c")
    with pytest.raises(DuplicateRelease):
        ledger.reserve("b", gaussian(50.0))


def test_refusals_write_nothing() -> None:
    storage = MemoryStorage()
    ledger = Ledger.create(storage, budget=BUDGET)
    ledger.reserve("a", gaussian(1.4))
    before = ledger.anchor
    skellam = charge(SkellamSum(variance=1e6, sensitivity=1.0))
    uses: tuple[Callable[[], object], ...] = (
        lambda: ledger.reserve("b", gaussian(1.4)),
        lambda: ledger.reserve("a", gaussian(100.0)),
        lambda: ledger.reserve("", gaussian(100.0)),
        lambda: ledger.reserve("b", Gaussian(noise_multiplier=100.0)),  # type: ignore[arg-type]  # refused here
        lambda: ledger.commit("a", gaussian(1.0)),
        lambda: ledger.release("b"),
    )
    for use in uses:
        with pytest.raises((LedgerError, BudgetExceeded, ParameterError)):
            use()
    assert ledger.anchor == before == Anchor(records=2, head=before.head)
    outside = Budget(epsilon=1.0, delta=1e-6, neighboring=ADD_OR_REMOVE)
    with pytest.raises(ParameterError, match="ADD_OR_REMOVE"):
        Ledger.create(MemoryStorage(), budget=outside).reserve("a", skellam)


@pytest.mark.parametrize("name", ["", "x" * 201, "é", "a\nb", "a\x7f", b"a", 7, None, ["a"]])
def test_names_that_are_refused(ledger: Ledger, name: Any) -> None:
    uses: tuple[Callable[[], object], ...] = (
        lambda: ledger.reserve(name, gaussian(9.0)),
        lambda: ledger.commit(name),
        lambda: ledger.release(name),
    )
    for use in uses:
        with pytest.raises(ParameterError, match="printable ASCII"):
            use()


def test_names_that_are_not(ledger: Ledger) -> None:
    for name in ("x" * 200, 'a "quoted" \\ name', " ", "~"):
        ledger.reserve(name, gaussian(50.0))
    assert [entry.name for entry in ledger.entries] == ["x" * 200, 'a "quoted" \\ name', " ", "~"]


@pytest.mark.parametrize(
    "bad",
    [
        {"epsilon": 0.0},
        {"epsilon": -1.0},
        {"epsilon": math.nan},
        {"epsilon": math.inf},
        {"epsilon": True},
        {"epsilon": "1"},
        {"delta": 0.0},
        {"delta": 1.0},
        {"delta": math.nan},
        {"delta": None},
        {"neighboring": "zero_out"},
    ],
)
def test_budgets_that_are_none(bad: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match=next(iter(bad))):
        Budget(**{"epsilon": 1.0, "delta": 1e-6, "neighboring": ZERO_OUT, **bad})


def test_budgets_and_plans_that_no_noise_keeps() -> None:
    tiny = Budget(epsilon=0.001, delta=1e-12, neighboring=ZERO_OUT)
    with pytest.raises(ParameterError, match=r"ask for epsilon=0\.0"):
        Ledger.create(MemoryStorage(), budget=tiny)
    hopeless = Repeated(event=Repeated(event=Gaussian(noise_multiplier=1e-24), count=2**52), count=2**52)
    for _ in range(20):
        hopeless = Repeated(event=hopeless, count=2**52)
    with pytest.raises(ParameterError, match="plan more noise"):
        Ledger.create(MemoryStorage(), budget=BUDGET, planned=hopeless)
    with pytest.raises(ParameterError, match="Budget"):
        Ledger.create(MemoryStorage(), budget=4.0)  # type: ignore[arg-type]  # what is refused here
    storage = MemoryStorage()
    with pytest.raises(ParameterError, match="not an event"):
        Ledger.create(storage, budget=BUDGET, planned="all")  # type: ignore[arg-type]  # what is refused here
    Ledger.create(storage, budget=BUDGET)  # it was let go of, and nothing is in it


@pytest.mark.parametrize("error", [-1e-9, 1.5, math.nan, True, "0"])
def test_charges_that_are_none(error: Any) -> None:
    event: Event = Gaussian(noise_multiplier=1.0)
    with pytest.raises(ParameterError, match="sampler_error"):
        Charge(server=event, public=event, sampler_error=error)
    with pytest.raises(ParameterError, match="not an event"):
        Charge(server=event, public=error)
    for _ in range(31):
        event = Repeated(event=event, count=1)
    with pytest.raises(ParameterError, match="deep"):
        charge(event)


def test_what_is_charged_is_what_is_written() -> None:
    large = 2**60 + 1  # no float
    assert gaussian(large).server == Gaussian(noise_multiplier=float(large))
    assert type(gaussian(5, 0).sampler_error) is float


# On the disk.


def test_an_auditor_needs_no_more_than_the_page(path: Path) -> None:
    previous, kinds = "0" * 64, []
    for sequence, line in enumerate(path.read_bytes().splitlines(keepends=True)):
        record = json.loads(line)
        canonical = {"sort_keys": True, "separators": (",", ":")}
        assert line == json.dumps(record, **canonical).encode() + b"\n"  # type: ignore[arg-type]  # keywords in a dict
        stated = record.pop("hash")
        assert stated == hashlib.sha256(json.dumps(record, **canonical).encode()).hexdigest()  # type: ignore[arg-type]  # same
        assert (record["prev"], record["sequence"]) == (previous, sequence)
        previous = stated
        kinds.append(record["kind"])
    assert kinds == ["open", "reserve", "commit", "reserve"]
    assert json.loads(note_of(path).read_bytes()) == {"head": previous, "records": 4}


def test_verify_recomputes_the_figures(path: Path) -> None:
    with path.open("rb") as lines:
        book = verify(lines)
    with Ledger.open(FileStorage(path)) as ledger:
        assert book.entries == ledger.entries
        assert book.anchor == ledger.anchor
        assert book.budget == ledger.budget == BUDGET
        for against in (SERVER, PUBLISHED):
            assert book.guarantee(against) == ledger.guarantee(against)
    assert book.within_budget
    assert 0.0 < book.spent() <= BUDGET.epsilon
    assert book.opening.ledger != verify(other_ledger()).opening.ledger
    assert verify(path.read_bytes().splitlines(keepends=True), anchor=book.anchor).anchor == book.anchor


def other_ledger(*charges: Charge) -> list[bytes]:
    storage = MemoryStorage()
    with Ledger.create(storage, budget=BUDGET) as ledger:
        for number, each in enumerate(charges):
            ledger.reserve(str(number), each)
    return storage.take()[0].splitlines(keepends=True)


def test_verify_tells_of_a_budget_that_was_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dp.book.Book.require_room", lambda book, charge: None)
    for charges in ([gaussian(2.0)] * 5, [gaussian(20.0, 1e-6)]):
        lines = other_ledger(*charges)
        assert not verify(lines).within_budget
        storage = MemoryStorage()
        storage.append(lines[0])  # as another version would have written it
        assert len(verify(lines).entries) == len(charges)


def test_a_ledger_beyond_its_budget_opens_and_admits_nothing() -> None:
    storage = MemoryStorage()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dp.book.Book.require_room", lambda book, charge: None)
        with Ledger.create(storage, budget=BUDGET) as ledger:
            for number in range(5):
                ledger.reserve(str(number), gaussian(2.0))
    with Ledger.open(storage) as ledger:
        assert ledger.guarantee(SERVER).epsilon > BUDGET.epsilon
        with pytest.raises(BudgetExceeded) as caught:
            ledger.reserve("a", gaussian(1e6))
        assert caught.value.left == 0.0


def resealed(lines: list[bytes], index: int, change: Callable[[dict[str, Any]], object]) -> list[bytes]:
    """The lines with one record changed, and every hash from there on made to fit, as who has no key to steal can."""
    found = lines[:index]
    previous = json.loads(found[-1])["hash"] if found else "0" * 64
    for line in lines[index:]:
        record = json.loads(line) | {"prev": previous}
        del record["hash"]
        if line is lines[index]:
            change(record)
        body = json.dumps(record, sort_keys=True, separators=(",", ":"))
        previous = hashlib.sha256(body.encode()).hexdigest()
        sealed = json.dumps(record | {"hash": previous}, sort_keys=True, separators=(",", ":"))
        found.append(sealed.encode() + b"\n")
    return found


@pytest.mark.parametrize(
    ("index", "change"),
    [
        (0, lambda record: record.update(version=2)),
        (0, lambda record: record.update(order=5)),
        (0, lambda record: record.update(order=5.55)),
        (0, lambda record: record.update(order=[5.0])),
        (0, lambda record: record.update(ledger="0F" * 16)),
        (0, lambda record: record.update(ledger="0f" * 15)),
        (0, lambda record: record.update(ledger=7)),
        (0, lambda record: record["budget"].update(epsilon=4)),
        (0, lambda record: record["budget"].update(epsilon=-4.0)),
        (0, lambda record: record["budget"].update(neighboring="any")),
        (0, lambda record: record["budget"].update(more=1)),
        (0, lambda record: record.update(sequence=1)),
        (0, lambda record: record.update(kind="reserve")),
        (1, lambda record: record.update(kind="open")),
        (1, lambda record: record.update(kind=[])),
        (1, lambda record: record.update(kind="commit")),
        (1, lambda record: record.update(kind="release")),
        (1, lambda record: record.update(sequence=2)),
        (1, lambda record: record.update(sequence=1.0)),
        (1, lambda record: record.update(time=0)),
        (1, lambda record: record.update(name="é")),
        (1, lambda record: record.update(prev="0" * 64)),
        (1, lambda record: record.pop("charge")),
        (1, lambda record: record["charge"].update(sampler_error=0)),
        (1, lambda record: record["charge"].update(sampler_error=-1.0)),
        (1, lambda record: record["charge"].update(sampler_error=math.nan)),
        (1, lambda record: record["charge"].update(server={"kind": "free"})),
        (1, lambda record: record["charge"]["server"].update(noise_multiplier=5)),
        (1, lambda record: record["charge"]["server"].update(noise_multiplier=math.inf)),
        (2, lambda record: record.update(name="b")),
        (2, lambda record: record.update(kind="reserve")),
        (3, lambda record: record.update(name="a")),
    ],
)
def test_records_that_no_ledger_writes(path: Path, index: int, change: Callable[[dict[str, Any]], object]) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    assert resealed(lines, index, lambda record: None) == lines
    with pytest.raises(LedgerCorrupt, match=f"record {index}"):
        verify(resealed(lines, index, change))


def test_charges_that_prove_nothing_are_none(path: Path) -> None:
    def outside(record: dict[str, Any]) -> None:
        record["budget"]["neighboring"] = "add_or_remove"

    lines = resealed(path.read_bytes().splitlines(keepends=True), 0, outside)
    assert verify(lines).entries  # Gaussian noise stands under it
    skellam = {"kind": "skellam_sum", "sensitivity": 1.0, "variance": 9.0}
    lines = resealed(lines, 1, lambda record: record["charge"].update(server=skellam))
    with pytest.raises(LedgerCorrupt, match="record 1 cannot come there"):
        verify(lines)


@pytest.mark.parametrize(
    "lines", [[], [b""], [b"\n"], [b"{}\n"], [b"[]\n"], [b"7\n"], [b"\xff\n"], [b"[" * 99999 + b"\n"]]
)
def test_lines_that_are_no_ledger(lines: list[bytes]) -> None:
    with pytest.raises(LedgerCorrupt):
        verify(lines)


def test_a_ledger_opens_once_and_at_the_beginning(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    with pytest.raises(LedgerCorrupt, match="record 1 of the ledger is not what"):
        verify([lines[0], *lines])
    again = resealed([lines[0], lines[0]], 1, lambda record: record.update(sequence=1))
    with pytest.raises(LedgerCorrupt, match="record 1 opens the ledger again"):
        verify(again)
    first = resealed([lines[1]], 0, lambda record: record.update(sequence=0))
    with pytest.raises(LedgerCorrupt, match="record 0 does not open"):
        verify(first)


def stored(log: bytes, note: bytes) -> MemoryStorage:
    storage = MemoryStorage()
    storage.append(log)
    storage.note(note)
    return storage


def refused(log: bytes, note: bytes) -> bool:
    """Whether what is stored is no ledger; the evidence stays."""
    storage = stored(log, note)
    with pytest.raises(LedgerCorrupt):
        Ledger.open(storage)
    return storage.take() == (log, note)


def test_every_byte_counts(path: Path) -> None:
    def edits(good: bytes) -> Iterator[bytes]:
        for place in range(len(good)):
            for flip in (1, 0x20):
                yield good[:place] + bytes([good[place] ^ flip]) + good[place + 1 :]
        for place in range(0, len(good), 8):
            yield good[:place] + good[place + 1 :]
            yield good[:place] + b" " + good[place:]

    log, note = path.read_bytes(), note_of(path).read_bytes()
    assert all(refused(edit, note) for edit in edits(log))
    assert all(refused(log, edit) for edit in edits(note))
    Ledger.open(stored(log, note)).close()
    path.write_bytes(log.replace(b"5.0", b"9.0", 1))
    with pytest.raises(LedgerCorrupt):
        opened(path)


def test_a_cut_ledger_is_refused(path: Path) -> None:
    log, note = path.read_bytes(), note_of(path).read_bytes()
    assert all(refused(log[:length], note) for length in range(len(log)))
    assert all(refused(log, note[:length]) for length in range(len(note)))
    note_of(path).unlink()
    with pytest.raises(LedgerCorrupt, match="set back"):
        opened(path)
    note_of(path).write_bytes(note)
    path.unlink()
    with pytest.raises(LedgerCorrupt, match="was cut: 0 records of 4"):
        opened(path)


def test_what_a_crash_leaves_behind_the_note_is_kept_whole_or_cut(path: Path) -> None:
    log, note = path.read_bytes(), note_of(path).read_bytes()
    lines = log.splitlines(keepends=True)
    before = b"".join(lines[:3])
    third = Anchor(records=3, head=json.loads(lines[2])["hash"])
    behind = json.dumps({"head": third.head, "records": 3}, separators=(",", ":")).encode() + b"\n"
    for length in range(len(lines[3])):
        storage = stored(before + lines[3][:length], behind)
        assert [entry.name for entry in Ledger.open(storage).entries] == ["a"]
        assert (bytes(storage._log), storage._note) == (before, behind)
    storage = stored(log, behind)
    assert [entry.name for entry in Ledger.open(storage).entries] == ["a", "b"]
    assert (bytes(storage._log), storage._note) == (log, note)
    assert refused(before + lines[3].replace(b"5.0", b"9.0"), behind)
    assert refused(log + b"x", behind)


def test_a_rollback_of_everything_shows_by_the_anchor_alone(path: Path) -> None:
    early = path.read_bytes(), note_of(path).read_bytes()
    with Ledger.open(FileStorage(path)) as ledger:
        then = ledger.anchor
        ledger.commit("b")
        now = ledger.anchor
    late = path.read_bytes(), note_of(path).read_bytes()
    assert opened(path, anchor=then) == opened(path, anchor=now) == ("a", "b")
    path.write_bytes(early[0])
    with pytest.raises(LedgerCorrupt, match="was cut"):  # the note alone sees this
        opened(path)
    note_of(path).write_bytes(early[1])
    assert opened(path, anchor=then)  # and this is what nobody sees without an anchor
    with pytest.raises(LedgerCorrupt, match="never stood at the anchor"):
        opened(path, anchor=now)
    path.write_bytes(late[0])
    note_of(path).write_bytes(late[1])
    for records, head in ((4, "0" * 64), (-1, now.head), (6, now.head)):
        with pytest.raises(LedgerCorrupt, match="never stood"):
            opened(path, anchor=Anchor(records=records, head=head))
    with pytest.raises(LedgerCorrupt, match="never stood"):
        verify(early[0].splitlines(keepends=True), anchor=now)
    path.unlink()
    note_of(path).unlink()
    for start in (Ledger.open, lambda storage, anchor: Ledger.open_or_create(storage, budget=BUDGET, anchor=anchor)):
        with pytest.raises(LedgerCorrupt, match="never stood"):
            start(FileStorage(path), anchor=now)
    with pytest.raises(LedgerCorrupt, match="never stood"):
        verify([], anchor=now)


def test_another_ledgers_note_is_no_note(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    Ledger.create(FileStorage(other), budget=BUDGET).close()
    note_of(path).write_bytes(note_of(other).read_bytes())
    with pytest.raises(LedgerCorrupt, match="not the one"):
        opened(path)


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "model.json"
    for contents in (b"{}", b"x", b'{"budget":{"epsilon', b"a\nb\n", b"{}\n"):
        file.write_bytes(contents)
        for start in (Ledger.open, lambda storage: Ledger.create(storage, budget=BUDGET)):
            with pytest.raises(LedgerCorrupt):
                start(FileStorage(file))
        assert file.read_bytes() == contents


def test_creating_and_opening(tmp_path: Path) -> None:
    file = tmp_path / "privacy.ledger"
    with pytest.raises(LedgerError, match="create one"):
        Ledger.open(FileStorage(file))
    with Ledger.open_or_create(FileStorage(str(file)), budget=BUDGET) as ledger:
        ledger.reserve("a", gaussian(9.0))
    assert file.stat().st_mode & 0o777 == note_of(file).stat().st_mode & 0o777 == 0o600
    assert sorted(each.name for each in tmp_path.iterdir()) == [file.name, note_of(file).name]
    with pytest.raises(LedgerError, match="open that one"):
        Ledger.create(FileStorage(file), budget=BUDGET)
    with Ledger.open_or_create(FileStorage(file), budget=Budget(epsilon=4, delta=1e-6, neighboring=ZERO_OUT)) as ledger:
        assert len(ledger.entries) == 1
    other = Budget(epsilon=5.0, delta=1e-6, neighboring=ZERO_OUT)
    with pytest.raises(LedgerError, match="budget is"):
        Ledger.open_or_create(FileStorage(file), budget=other)
    assert opened(file) == ("a",)


# One at a time.


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_a_second_ledger_is_refused_here(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "privacy.ledger"
    storage = MemoryStorage() if kind == "memory" else FileStorage(file)
    with Ledger.create(storage, budget=BUDGET) as ledger:
        with pytest.raises(LedgerBusy):
            Ledger.open(storage)
        if kind == "file":
            with pytest.raises(LedgerBusy):
                Ledger.open(FileStorage(file))
        ledger.reserve("a", gaussian(9.0))
    ledger.close()
    with pytest.raises(LedgerError, match="closed"):
        ledger.reserve("b", gaussian(9.0))
    with Ledger.open(storage) as again:
        assert len(again.entries) == 1


PROGRAM = """
import sys
from dp.errors import LedgerBusy
from dp.ledger import FileStorage, Ledger
try:
    with Ledger.open(FileStorage(sys.argv[1])) as ledger:
        print(len(ledger.entries))
except LedgerBusy:
    print("busy")
"""


def test_a_second_process_is_refused(path: Path) -> None:
    def other_process() -> str:
        command = [sys.executable, "-c", PROGRAM, str(path)]
        root = Path(__file__).resolve().parents[2]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout.strip()  # noqa: S603  # our own words

    with Ledger.open(FileStorage(path)):
        assert other_process() == "busy"
    assert other_process() == "2"


def test_a_forked_process_is_refused_and_cannot_unlock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger.open(FileStorage(path)) as ledger:
        with monkeypatch.context() as child:
            child.setattr(os, "getpid", lambda: -1)
            for use in (
                lambda: ledger.reserve("c", gaussian(9.0)),
                lambda: ledger.guarantee(SERVER),
                lambda: ledger.anchor,
                ledger.close,
            ):
                with pytest.raises(LedgerError, match="process that opened it"):
                    use()
        with pytest.raises(LedgerBusy):
            Ledger.open(FileStorage(path))
        ledger.reserve("c", gaussian(9.0))


def test_copies_are_refused(path: Path) -> None:
    storage = FileStorage(path)
    with Ledger.open(storage) as ledger:
        for thing in (ledger, storage):
            for make in (copy.copy, copy.deepcopy, pickle.dumps):
                with pytest.raises(LedgerError, match="copied"):
                    make(thing)
        assert "epsilon=4.0" in repr(ledger)
    assert str(path) in repr(storage)


def test_two_threads_do_not_both_take_the_last_of_it() -> None:
    class Slow(MemoryStorage):
        def append(self, record: bytes) -> None:
            if b"reserve" in record:
                inside.set()
                assert go_on.wait(10)
            super().append(record)

    inside, go_on = threading.Event(), threading.Event()
    ledger = Ledger.create(Slow(), budget=BUDGET)
    refused: list[str] = []

    def reserve(name: str) -> None:
        try:
            ledger.reserve(name, gaussian(1.4))
        except BudgetExceeded:
            refused.append(name)

    threads = [threading.Thread(target=reserve, args=(name,)) for name in ("a", "b")]
    threads[0].start()
    assert inside.wait(10)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert refused == ["b"]
    assert [entry.name for entry in ledger.entries] == ["a"]


@pytest.mark.parametrize("meddle", ["replace", "write", "delete"])
def test_a_log_that_somebody_touches_meanwhile_is_refused(path: Path, meddle: str) -> None:
    with Ledger.open(FileStorage(path)) as ledger:
        if meddle == "replace":
            copied = path.with_suffix(".copy")
            copied.write_bytes(path.read_bytes())
            copied.replace(path)
        elif meddle == "write":
            with path.open("ab") as log:
                log.write(b"x")
        else:
            path.unlink()
        with pytest.raises(StorageFailed if meddle == "delete" else LedgerCorrupt):
            ledger.reserve("c", gaussian(9.0))
        with pytest.raises(LedgerError, match="close, and open again"):
            ledger.reserve("d", gaussian(9.0))


def test_a_storage_nobody_holds_is_not_written(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path / "log")
    with pytest.raises(LedgerError, match="not held"):
        storage.append(b"x")
    storage.free()
    with pytest.raises(StorageFailed):
        FileStorage(tmp_path / "no such directory" / "log").take()


class FullDisk(Disk):
    """A real disk that has room for so many bytes."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write(self, descriptor: int, data: bytes, offset: int) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = data[: self.room]
        self.room -= len(taken)
        return super().write(descriptor, taken, offset)


def reserve_six(storage: FileStorage, reserved: list[str]) -> None:
    with Ledger.create(storage, budget=BUDGET) as ledger:
        for name in "abcdef":
            ledger.reserve(name, gaussian(9.0))
            reserved.append(name)


def test_a_full_disk_stops_the_rounds_and_loses_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    for room in range(0, 2500, 37):
        file = tmp_path / str(room)
        reserved: list[str] = []
        full = FileStorage(file, disk=FullDisk(room))
        with pytest.raises(StorageFailed, match="No space"):
            reserve_six(full, reserved)
        with Ledger.open_or_create(FileStorage(file), budget=BUDGET) as ledger:
            found = [entry.name for entry in ledger.entries]
            assert found[: len(reserved)] == reserved
            assert len(found) <= len(reserved) + 1
            ledger.reserve("z", gaussian(9.0))
