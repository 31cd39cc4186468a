"""Accountants that a caller brings: when they are asked, what they are told, and what they may change."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from dp.accountants import Accountant, Against, Guarantee, Leaf, epsilon
from dp.errors import ParameterError
from dp.events import Composed, Event, Gaussian, Neighboring, PoissonSampled, Repeated, SkellamSum

ZERO_OUT, REPLACE_ONE, ADD_OR_REMOVE = Neighboring

GAUSSIAN = Gaussian(noise_multiplier=2.0)
SAMPLED = PoissonSampled(release=GAUSSIAN, rate=0.1)
SKELLAM = SkellamSum(variance=100.0, sensitivity=5.0)


@dataclass
class Stub:
    """Finds the same for everything, and remembers what it was asked."""

    found: Any = 0.125
    name: str = "stub"
    knows: tuple[type, ...] = (Gaussian, PoissonSampled, SkellamSum)
    asked: list[tuple[dict[Leaf, int], float, Neighboring]] = field(default_factory=list)

    def supports(self, event: Leaf, neighboring: Neighboring) -> bool:
        return isinstance(event, self.knows)

    def epsilon(self, counts: Mapping[Leaf, int], *, delta: float, neighboring: Neighboring) -> float:
        self.asked.append((dict(counts), delta, neighboring))
        answer: float = self.found
        return answer


def ask(
    *events: Event, more: tuple[Accountant, ...], against: Against = Against.PUBLISHED, relation: Neighboring = ZERO_OUT
) -> Guarantee:
    return epsilon(events, delta=1e-6, neighboring=relation, against=against, accountants=more)


def test_the_smallest_bound_is_returned_and_named() -> None:
    best, worse = Stub(0.125, "best"), Stub(0.25, "worse")
    found = ask(SAMPLED, more=(worse, best))
    assert (found.epsilon, found.accountant) == (0.125, "best")
    assert len(worse.asked) == 1


@pytest.mark.parametrize("found", [1e9, math.inf])
def test_what_is_no_better_changes_nothing(found: float) -> None:
    plain = ask(SAMPLED, more=())
    assert ask(SAMPLED, more=(Stub(found),)) == plain
    assert plain.accountant == "renyi"


def test_where_nothing_is_proven_nobody_is_named_for_it() -> None:
    hopeless: Event = PoissonSampled(release=Gaussian(noise_multiplier=1e-24), rate=0.5)
    for _ in range(30):
        hopeless = Repeated(event=hopeless, count=1 << 52)
    found = ask(hopeless, more=(Stub(math.inf, "a"),))
    assert (found.epsilon, found.accountant) == (math.inf, "renyi")


def test_one_event_that_is_not_supported_is_enough() -> None:
    some = Stub(knows=(Gaussian, PoissonSampled))
    assert ask(SAMPLED, SKELLAM, more=(some,)).accountant == "renyi"
    assert not some.asked
    assert ask(SAMPLED, GAUSSIAN, more=(some,)).accountant == "stub"


def test_counts_are_of_leaves_all_together() -> None:
    stub = Stub()
    nested = Composed(events=(Repeated(event=SAMPLED, count=3), SKELLAM))
    ask(Repeated(event=nested, count=2), SAMPLED, more=(stub,), relation=ZERO_OUT)
    assert stub.asked == [({SAMPLED: 7, SKELLAM: 2}, 1e-6, ZERO_OUT)]


def test_against_the_server_no_sampling_is_shown() -> None:
    stub = Stub()
    ask(PoissonSampled(release=SKELLAM, rate=0.1), SKELLAM, more=(stub,), against=Against.SERVER, relation=REPLACE_ONE)
    assert stub.asked == [({SKELLAM: 2}, 1e-6, REPLACE_ONE)]


def test_where_the_exact_one_answers_nobody_else_is_asked() -> None:
    stub = Stub(0.0)
    for found in (ask(GAUSSIAN, more=(stub,)), ask(SAMPLED, more=(stub,), against=Against.SERVER), ask(more=(stub,))):
        assert found.accountant == "gaussian"
    assert not stub.asked


@pytest.mark.parametrize(
    ("event", "relation"), [(SKELLAM, ADD_OR_REMOVE), (SAMPLED, REPLACE_ONE), (PoissonSampled, ZERO_OUT)]
)
def test_a_refusal_stands(event: Any, relation: Neighboring) -> None:
    stub = Stub()
    with pytest.raises(ParameterError):
        ask(event, more=(stub,), relation=relation)
    assert not stub.asked


@pytest.mark.parametrize("names", [("renyi",), ("gaussian",), ("stub", "stub")])
def test_every_accountant_has_its_own_name(names: tuple[str, ...]) -> None:
    for event in (SAMPLED, GAUSSIAN):
        with pytest.raises(ParameterError, match="two of the name"):
            ask(event, more=tuple(Stub(name=name) for name in names))


@pytest.mark.parametrize("found", [math.nan, -0.1, -math.inf, None, "0.1", 1, True])
def test_what_is_no_epsilon_is_refused(found: object) -> None:
    with pytest.raises(ParameterError, match="'stub' found"):
        ask(SAMPLED, more=(Stub(found),))


def test_an_answer_depends_on_its_own_question_alone() -> None:
    before = ask(SAMPLED, more=())
    assert ask(SAMPLED, more=(Stub(),)) != before
    assert ask(SAMPLED, more=()) == before
