"""What a changed ledger would get away with, if no other test looked."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from typing import Any, Final

import numpy as np
import pytest

from dp.accountants import Against, renyi_curve
from dp.accountants.orders import ORDERS
from dp.book import Book, Entry, choose_order
from dp.errors import LedgerCorrupt, LedgerError, ParameterError, SamplerErrorExceeded
from dp.events import Event, Gaussian, Neighboring
from dp.ledger import Anchor, Budget, Charge, Ledger, MemoryStorage
from dp.records import EMPTY, Kind, Opening, Step, _dump, decode, encode, read_anchor, write_anchor

BUDGET: Final = Budget(epsilon=4.0, delta=1e-6, neighboring=Neighboring.ZERO_OUT)


def gaussian(multiplier: float, sampler_error: float = 0.0) -> Charge:
    event = Gaussian(noise_multiplier=multiplier)
    return Charge(server=event, public=event, sampler_error=sampler_error)


def ledger() -> Ledger:
    return Ledger.create(MemoryStorage(), budget=BUDGET)


@pytest.mark.parametrize("kind", [Budget, Charge, Anchor, Opening, Step, Entry], ids=lambda kind: kind.__name__)
def test_what_a_ledger_says_is_frozen_named_and_has_no_room_for_more(kind: Any) -> None:
    assert kind.__dataclass_params__.frozen
    assert all(field.kw_only for field in dataclasses.fields(kind))
    assert "__dict__" not in dir(kind)


def test_a_budget_is_kept_as_plain_floats() -> None:
    kept = Budget(epsilon=np.float64(4), delta=np.float64(1e-6), neighboring=Neighboring.ZERO_OUT)
    assert (type(kept.epsilon), type(kept.delta)) == (float, float)
    assert kept == BUDGET


def test_a_budget_may_be_spent_to_the_last_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """No charge is known that costs exactly what is left, so here the figures are given."""
    book = ledger()._book
    monkeypatch.setattr(book, "_sampler_delta", lambda epsilon, error: BUDGET.sampler_delta)
    book.require_room(gaussian(5.0))
    assert book._fits()
    monkeypatch.setattr(book, "spent", lambda: BUDGET.epsilon)
    assert book._fits()
    monkeypatch.setattr(book, "spent", lambda: BUDGET.epsilon * (1 + 1e-15))
    assert not book._fits()


def test_a_budget_of_sampler_error_may_not_be_spent_beyond_it() -> None:
    book = ledger()._book
    most = Fraction(BUDGET.sampler_delta) / Fraction(1 + np.exp(BUDGET.epsilon))
    with pytest.raises(SamplerErrorExceeded):
        book.require_room(gaussian(5.0, float(most * 2)))


def test_a_commit_beyond_its_reservation_is_told_what_one_round_costs() -> None:
    opened = ledger()
    opened.reserve("one", gaussian(5.0))
    index = opened._book._index
    cost = renyi_curve([Gaussian(noise_multiplier=4.0)], neighboring=BUDGET.neighboring, against=Against.SERVER)[index]
    with pytest.raises(LedgerError, match=f"the round costs {cost:.6g} at order"):
        opened.commit("one", gaussian(4.0))


def test_a_release_is_checked_by_its_name_alone() -> None:
    opened = ledger()
    opened.reserve("one", gaussian(5.0))
    book: Book = opened._book
    book.check(Step(kind=Kind.RELEASE, name="one", charge=None))
    book.check(Step(kind=Kind.RESERVE, name="two", charge=None))
    with pytest.raises(LedgerError):
        book.check(Step(kind=Kind.RELEASE, name="two", charge=None))


def test_both_views_of_a_charge_are_what_is_written() -> None:
    whole: Any = Gaussian(noise_multiplier=5)
    charge = Charge(server=whole, public=whole)
    assert charge.server is not whole
    assert charge.public is not whole
    assert charge.server == charge.public == whole


def test_a_note_that_is_no_json_is_called_none_and_one_of_other_bytes_is_not() -> None:
    with pytest.raises(LedgerCorrupt, match="note beside the ledger is none"):
        read_anchor(b"no note")
    with pytest.raises(LedgerCorrupt, match="not what a ledger writes"):
        read_anchor(b'{"head": "00", "records": 0}')


def test_a_sum_of_costs_is_never_below_the_true_one_and_above_it_by_two_roundings_a_term() -> None:
    book = ledger()._book
    costs: dict[Event, float] = {Gaussian(noise_multiplier=1.0): 1.0, Gaussian(noise_multiplier=2.0): 2.0**-53}
    assert sum(costs.values()) < sum(Fraction(cost) for cost in costs.values())
    book._costs.update(costs)
    assert book._total() == 1.0 + 2.0**-51
    del book._costs[Gaussian(noise_multiplier=2.0)]
    assert book._total() == 1.0


def test_every_ledger_stood_before_its_first_record_once_and_never_before_that() -> None:
    book = ledger()._book
    assert book.has_passed(EMPTY)
    assert book.has_passed(book.anchor)
    assert not book.has_passed(Anchor(records=-1, head=book.anchor.head))


def test_delta_is_parted_as_the_promise_says() -> None:
    whole = Fraction(BUDGET.delta)
    assert BUDGET.sampler_delta == float(whole * (1 - Fraction(1, 2**30)) / 2**20)
    assert BUDGET.noise_delta == float(whole * (1 - Fraction(1, 2**20)))
    assert Fraction(BUDGET.sampler_delta) + Fraction(BUDGET.noise_delta) <= whole


def test_an_epsilon_that_is_all_taken_by_delta_is_out_of_reach() -> None:
    price = np.log1p(-1.0 / ORDERS) - (math.log(BUDGET.noise_delta) + np.log(ORDERS)) / (ORDERS - 1.0)
    least = dataclasses.replace(BUDGET, epsilon=float(np.min(price)))
    with pytest.raises(ParameterError, match=f"out of reach of any noise: ask for epsilon={2 * least.epsilon:.6g}"):
        choose_order(least, None)
    choose_order(dataclasses.replace(BUDGET, epsilon=math.nextafter(least.epsilon, 1.0)), None)


def test_of_a_line_that_no_ledger_wrote_the_first_eighty_bytes_are_told() -> None:
    opening, _ = encode(ledger()._book.opening, EMPTY)
    for line in (b"x" * 100, opening + b" "):
        with pytest.raises(LedgerCorrupt) as refusal:
            decode(line, EMPTY)
        assert str(refusal.value).endswith(f": {line[:80]!r}")
    for note in (b"x" * 100, write_anchor(EMPTY) + b" "):
        with pytest.raises(LedgerCorrupt) as refusal:
            read_anchor(note)
        assert str(refusal.value).endswith(f": {note[:80]!r}")


def test_records_are_ascii_whatever_they_say_and_have_no_number_that_json_has_not() -> None:
    assert _dump({"b": "\u00e9", "a": 1}) == b'{"a":1,"b":"\\u00e9"}'
    with pytest.raises(ValueError, match="JSON compliant"):
        _dump({"a": math.inf})
