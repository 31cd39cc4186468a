"""What the records of a ledger say, and what that costs: the same figures for who writes it and who audits it.

Promise: a charge fits into a book only if all that was reserved and not lifted keeps the budget with it, whatever the
charges depended on. A book is arithmetic and touches no storage.

**Filter.** A round's charge may depend on earlier rounds: who survived them, or when to go on. Composition theorems for
parameters fixed beforehand, and with them the best Renyi order chosen afterwards, then prove nothing about where to
stop. So a book keeps *one* order, fixed before the first release, and admits charges while the sum of their Renyi costs
at this order, converted once, stays within epsilon: a Renyi filter (Feldman and Zrnic, "Individual privacy accounting
via a Renyi filter", NeurIPS 2021). It costs nothing over a plan known beforehand if the order is that plan's.

**Samplers.** Noise within total variation S of its law turns (epsilon, d) into (epsilon, d + (1 + e^epsilon) S). A part
of delta is put aside for that (`Budget.sampler_delta`); the filter works with the rest (`Budget.noise_delta`).

Imports the accountants, the events, the records and this package's errors, and numpy.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import Final

import numpy as np

from dp.accountants import Against, Guarantee, epsilon, renyi_curve
from dp.accountants.orders import ORDERS, UNIT, to_epsilon
from dp.errors import (
    BudgetExceeded,
    DuplicateRelease,
    LedgerCorrupt,
    LedgerError,
    ParameterError,
    PrivacyError,
    SamplerErrorExceeded,
)
from dp.events import Event, Repeated
from dp.records import EMPTY, Anchor, Budget, Charge, Kind, Opening, Step, decode, require_name

_HUGE: Final = 700.0
"""exp of more is no float."""


class State(Enum):
    """What became of a round."""

    RESERVED = "reserved"
    """It may have been released, or be released yet: it counts as spent."""

    COMMITTED = "committed"
    """It was released."""

    RELEASED = "released"
    """Nothing of it left: the reservation is lifted and costs nothing."""


_BECOMES: Final = {Kind.RESERVE: State.RESERVED, Kind.COMMIT: State.COMMITTED, Kind.RELEASE: State.RELEASED}


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One round: its name, what became of it, and its charge, the last that was said."""

    name: str
    state: State
    charge: Charge


class Book:
    """The rounds of one ledger and what they come to. Read-only for whoever did not write it: see `verify`.

    Attributes:
        opening: the first record: budget, order and the ledger's own random name.
        anchor: how many records were read, and the hash of the last.
        within_budget: whether every record left the sum within the budget, as this version counts.
    """

    def __init__(self, opening: Opening, anchor: Anchor) -> None:
        self.opening = opening
        self.anchor = anchor
        self.within_budget = True
        self._heads = [EMPTY.head, anchor.head]
        self._index = int(np.flatnonzero(opening.order == ORDERS)[0])
        self._entries: dict[str, Entry] = {}
        self._server: Counter[Event] = Counter()
        self._public: Counter[Event] = Counter()
        self._costs: dict[Event, float] = {}
        self._error = Fraction(0)

    @property
    def budget(self) -> Budget:
        """What all releases together may cost."""
        return self.opening.budget

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every round ever reserved, in order."""
        return tuple(self._entries.values())

    def entry(self, name: str) -> Entry:
        """The open reservation of that name.

        Raises:
            LedgerError: there is none.
            ParameterError: that is no name.
        """
        entry = self._entries.get(require_name(name))
        if entry is None:
            raise LedgerError(f"no round {name!r:.80} was reserved")
        if entry.state is not State.RESERVED:
            raise LedgerError(f"round {name!r:.80} was {entry.state.value} already, which is final")
        return entry

    def has_passed(self, anchor: Anchor) -> bool:
        """Whether this ledger once stood at the anchor: if not, it is another one, or was set back behind it."""
        return 0 <= anchor.records <= self.anchor.records and self._heads[anchor.records] == anchor.head

    def spent(self) -> float:
        """Epsilon of all that counts, at the filter's order; 0 where nothing does."""
        return self._epsilon(self._total()) if self._costs else 0.0

    def guarantee(self, against: Against) -> Guarantee:
        """See `dp.ledger.Ledger.guarantee`."""
        counts = self._server if against is Against.SERVER else self._public
        events = [Repeated(event=event, count=count) for event, count in counts.items()]
        budget = self.budget
        found = epsilon(events, delta=budget.noise_delta, neighboring=budget.neighboring, against=against)
        delta = budget.noise_delta + self._sampler_delta(found.epsilon, self._error)
        return dataclasses.replace(found, delta=min(1.0, max(budget.delta, delta)))

    def require_room(self, charge: Charge) -> None:
        """Refuse a charge that the budget has no room for.

        Raises:
            BudgetExceeded: the filter has too little left.
            SamplerErrorExceeded: what is put aside for the samplers has.
            ParameterError: nothing is proven about `charge.server` under the budget's neighboring relation.
        """
        budget = self.budget
        would_be = self._epsilon(self._total(charge.server))
        left = max(0.0, budget.epsilon - self.spent())
        if would_be > budget.epsilon:
            raise BudgetExceeded(budget.epsilon, would_be, left)
        error = self._error + Fraction(charge.sampler_error)
        if self._sampler_delta(budget.epsilon, error) > budget.sampler_delta:
            raise SamplerErrorExceeded(budget.epsilon, would_be, left)

    def require_no_more(self, charge: Charge, reserved: Charge) -> None:
        """Refuse a charge that costs more than what was reserved for it.

        Raises:
            LedgerError: it does.
            ParameterError: see `require_room`.
        """
        cost, least = self._cost(charge.server), self._cost(reserved.server)
        if cost > least or charge.sampler_error > reserved.sampler_error:
            raise LedgerError(
                f"the round costs {cost:.6g} at order {self.opening.order} with sampler_error="
                f"{charge.sampler_error:.6g}, and {least:.6g} with {reserved.sampler_error:.6g} was reserved for it: "
                "reserve for the fewest survivors that the round may end with"
            )

    def check(self, step: Step) -> None:
        """Refuse a step that cannot come next; whether the budget has room is another question.

        Raises:
            DuplicateRelease: a reservation of a name that was used.
            LedgerError: a commit or release of a name that has no open reservation.
            ParameterError: see `require_room`.
        """
        if step.charge is not None:
            self._cost(step.charge.server)
        if step.kind is not Kind.RESERVE:
            self.entry(step.name)
        elif step.name in self._entries:
            raise DuplicateRelease(f"round {step.name!r:.80} was reserved before: give every round a name of its own")

    def add(self, step: Step, anchor: Anchor) -> None:
        """Count a step that was checked, and that the record at `anchor` says."""
        if step.kind is not Kind.RESERVE:
            self._count(self.entry(step.name).charge, -1)
        charge = self.entry(step.name).charge if step.charge is None else step.charge
        if step.kind is not Kind.RELEASE:
            self._count(charge, 1)
        self._entries[step.name] = Entry(name=step.name, state=_BECOMES[step.kind], charge=charge)
        self.anchor = anchor
        self._heads.append(anchor.head)
        self.within_budget = self.within_budget and self._fits()

    def _fits(self) -> bool:
        budget = self.budget
        enough = self._sampler_delta(budget.epsilon, self._error) <= budget.sampler_delta
        return enough and self.spent() <= budget.epsilon

    def _count(self, charge: Charge, by: int) -> None:
        for counts, event in ((self._server, charge.server), (self._public, charge.public)):
            counts[event] += by
            if counts[event] == 0:
                del counts[event]
        self._costs.pop(charge.server, None)
        if charge.server in self._server:
            self._costs[charge.server] = self._cost(charge.server, self._server[charge.server])
        self._error += by * Fraction(charge.sampler_error)

    def _cost(self, event: Event, count: int = 1) -> float:
        """Renyi cost at the filter's order. Equal events are counted first, as a plan of repeated rounds is."""
        events = [Repeated(event=event, count=count)]
        curve = renyi_curve(events, neighboring=self.budget.neighboring, against=Against.SERVER)
        return float(curve[self._index])

    def _total(self, more: Event | None = None) -> float:
        """Renyi cost of all that counts and of one event more, rounded up."""
        costs = self._costs
        if more is not None:
            costs = costs | {more: self._cost(more, self._server[more] + 1)}
        return sum(costs.values()) * (1.0 + 2 * UNIT * (len(costs) if len(costs) > 1 else 0))

    def _epsilon(self, cost: float) -> float:
        curve = np.full(len(ORDERS), math.inf)
        curve[self._index] = cost
        return to_epsilon(curve, self.budget.noise_delta)

    @staticmethod
    def _sampler_delta(epsilon: float, error: Fraction) -> float:
        """(1 + e^epsilon) S, within a relative 2^-40: the part put aside has a margin of 2^-30."""
        return (1.0 + math.exp(min(epsilon, _HUGE))) * float(error)


def choose_order(budget: Budget, planned: Event | None) -> float:
    """Return the order at which most repetitions of a plan fit into the budget.

    A plan whose epsilon at `budget.noise_delta` is within the budget, by the Renyi accountant, then fits at this order:
    completely, up to the rounding of sums where its rounds differ. Without a plan, that of rounds of Gaussian noise.

    Raises:
        ParameterError: epsilon is too small at this delta for any noise, or the plan costs more than can be told.
    """
    curve = ORDERS
    if planned is not None:
        curve = renyi_curve([planned], neighboring=budget.neighboring, against=Against.SERVER)
    # As dp.accountants.orders.to_epsilon converts: what is left for Renyi cost at each order.
    price = np.log1p(-1.0 / ORDERS) - (math.log(budget.noise_delta) + np.log(ORDERS)) / (ORDERS - 1.0)
    if budget.epsilon <= np.min(price):
        raise ParameterError(
            f"epsilon={budget.epsilon!r} at delta={budget.delta!r} is out of reach of any noise: ask for "
            f"epsilon={float(np.min(price)) * 2:.6g}"
        )
    repetitions = (budget.epsilon - price) / curve
    best = int(np.argmax(repetitions))
    if not repetitions[best] > 0.0:
        raise ParameterError("planned costs more than can be told at any order that fits the budget: plan more noise")
    return float(ORDERS[best])


def read_line(book: Book | None, line: bytes) -> Book:
    """Return the book with one line more; none is open before the first.

    Raises:
        LedgerCorrupt: no ledger would have written that line there.
    """
    record, anchor = decode(line, EMPTY if book is None else book.anchor)
    if isinstance(record, Opening):
        if book is not None:
            raise LedgerCorrupt(f"record {book.anchor.records} opens the ledger again")
        return Book(record, anchor)
    if book is None:
        raise LedgerCorrupt("record 0 does not open the ledger")
    try:
        book.check(record)
    except PrivacyError as error:
        raise LedgerCorrupt(f"record {book.anchor.records} cannot come there: {error}") from error
    book.add(record, anchor)
    return book
