"""What a changed ledger would get away with, if no other test looked."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any, Final

import numpy as np
import pytest

from dp.accountants import Against, renyi_curve
from dp.book import Book, Entry
from dp.errors import LedgerCorrupt, LedgerError, SamplerErrorExceeded
from dp.events import Gaussian, Neighboring
from dp.ledger import Anchor, Budget, Charge, Ledger, MemoryStorage
from dp.records import Kind, Opening, Step, read_anchor

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
