"""Privacy loss distributions by dp-accounting: between truth and Renyi, and only where they are proven."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant, privacy_loss_distribution
from dp_accounting.privacy_accountant import NeighboringRelation
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st

from dp.accountants import Against, Guarantee, Leaf, epsilon
from dp.accountants.gaussian import gaussian_delta, gaussian_epsilon, least
from dp.errors import ParameterError
from dp.events import (
    Composed,
    DiscreteGaussianSum,
    Event,
    FixedSizeSampled,
    Gaussian,
    Neighboring,
    PoissonSampled,
    Repeated,
    SkellamSum,
)
from protocols.integrations import pld
from protocols.integrations.pld import PrivacyLossDistributions, to_dp_event

ZERO_OUT, REPLACE_ONE, ADD_OR_REMOVE = Neighboring
PLD = PrivacyLossDistributions()
ROWS = list(
    csv.DictReader(
        (Path(__file__).parents[1] / "vectors" / "dp_reference.csv").read_text(encoding="ascii").splitlines()
    )
)

few = settings(max_examples=12, deadline=None, derandomize=True)


def sampled(z: float, rate: float) -> PoissonSampled:
    return PoissonSampled(release=Gaussian(noise_multiplier=z), rate=rate)


def found(counts: dict[Leaf, int], delta: float = 1e-6, neighboring: Neighboring = ZERO_OUT) -> float:
    return PLD.epsilon(counts, delta=delta, neighboring=neighboring)


def best(*events: Event, delta: float = 1e-6, neighboring: Neighboring = ZERO_OUT) -> Guarantee:
    return epsilon(events, delta=delta, neighboring=neighboring, against=Against.PUBLISHED, accountants=[PLD])


@contextmanager
def coarse() -> Iterator[None]:
    """A bound is one on any grid, and on this one it takes no time."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(pld, "_SINGLE", 1 << 12)
        monkeypatch.setattr(pld, "_TOTAL", 1 << 17)
        yield


def near(ours: float, theirs: float) -> bool:
    return abs(ours - theirs) <= 1e-3 * theirs + 1e-4


@pytest.mark.parametrize("row", ROWS)
def test_reference_values(row: dict[str, str]) -> None:
    """On a coarser grid the library's own value is larger where epsilon is tiny: PRV's estimate is then the judge."""
    z, rate = float(row["noise_multiplier"]), float(row["sampling_rate"])
    event: Leaf = sampled(z, rate) if rate < 1.0 else Gaussian(noise_multiplier=z)
    ours = found({event: int(row["steps"])}, float(row["delta"]), ADD_OR_REMOVE)
    theirs = float(row["dp_accounting_pld"])
    assert ours <= theirs * 1.001 + 1e-4
    assert near(ours, theirs) or near(ours, float(row["prv_accountant_estimate"]))
    if row["exact_gaussian"] != "nan":
        assert float(row["exact_gaussian"]) <= ours


# The order: truth, this, Renyi.


def exact_of_one(z: float, rate: float, delta: float) -> float:
    """One sampled release: with the client it is q P + (1 - q) Q, so delta(e) = q delta'(ln(1 + (exp(e) - 1) / q))."""
    if rate * gaussian_delta(0.0, 1.0 / z) <= delta:
        return 0.0
    return least(lambda e: rate * gaussian_delta(math.log1p(math.expm1(e) / rate), 1.0 / z) <= delta)


@pytest.mark.parametrize(
    ("z", "rate", "delta"), [*itertools.product((0.3, 1.0, 60.0), (1e-4, 0.02, 0.6), (1e-4, 1e-10))]
)
def test_one_round_is_above_its_exact_epsilon(z: float, rate: float, delta: float) -> None:
    exact, ours = exact_of_one(z, rate, delta), found({sampled(z, rate): 1}, delta)
    assert exact <= ours <= exact * 1.001 + 5e-4


@few
@given(st.floats(0.3, 100.0), st.integers(1, 30_000), st.sampled_from([1e-4, 1e-7, 2e-8]))
def test_composed_rounds_are_above_their_exact_epsilon(z: float, count: int, delta: float) -> None:
    """Sampled so often that it is as good as always, but composed by the library on its grid."""
    exact = gaussian_epsilon(delta, math.sqrt(count) / z)
    with coarse():
        ours = found({sampled(z, 1.0 - 1e-14): count}, delta)
    assert exact * (1.0 - 1e-9) <= ours
    assert exact > 300.0 or ours <= exact * 1.002 + 1e-4


@few
@given(st.floats(0.4, 30.0), st.floats(1e-3, 0.9), st.integers(1, 3000), st.floats(1.05, 3.0))
def test_it_is_below_renyi_and_falls_with_the_noise(z: float, rate: float, count: int, factor: float) -> None:
    event = Repeated(event=sampled(z, rate), count=count)
    renyi = epsilon([event], delta=1e-6, neighboring=ZERO_OUT, against=Against.PUBLISHED)
    with coarse():
        ours = best(event)
        assert best(Repeated(event=sampled(z * factor, rate), count=count)).epsilon <= ours.epsilon * 1.001 + 1e-4
        assert best(Repeated(event=sampled(z, rate), count=2 * count)).epsilon * 1.001 + 1e-4 >= ours.epsilon
    assert ours.epsilon <= renyi.epsilon
    assert ours.accountant == ("pld" if ours.epsilon < renyi.epsilon else "renyi")


def test_events_that_differ_compose() -> None:
    one, other, plain = sampled(1.0, 0.01), sampled(2.0, 0.05), Gaussian(noise_multiplier=30.0)
    together = found({one: 1000, other: 200, plain: 5})
    theirs = PLDAccountant(NeighboringRelation.REPLACE_SPECIAL)
    event = Composed(events=(Repeated(event=one, count=1000), Repeated(event=other, count=200), *[plain] * 5))
    theirs.compose(to_dp_event(event, neighboring=ZERO_OUT)[0])
    assert together == pytest.approx(theirs.get_epsilon(1e-6), rel=1e-3)
    assert together > max(found({one: 1000}), found({other: 200}))
    assert best(event).accountant == "pld"


def test_releases_that_are_not_sampled_are_one() -> None:
    three, four = Gaussian(noise_multiplier=3.0), Gaussian(noise_multiplier=4.0)
    exact = gaussian_epsilon(1e-6, math.sqrt(2 / 9 + 1 / 16))
    for neighboring, moves in ((ZERO_OUT, 1.0), (ADD_OR_REMOVE, 1.0), (REPLACE_ONE, 2.0)):
        exact = gaussian_epsilon(1e-6, moves * math.sqrt(2 / 9 + 1 / 16))
        assert exact <= found({three: 2, four: 1}, neighboring=neighboring) <= exact * 1.0001
    assert found({PoissonSampled(release=three, rate=1.0): 2, four: 1}) == found({three: 2, four: 1})
    assert best(three).accountant == "gaussian"


# What is not proven.


@pytest.mark.parametrize("neighboring", Neighboring)
def test_integer_noise_has_no_gaussian_distribution(neighboring: Neighboring) -> None:
    skellam = SkellamSum(variance=1e6, sensitivity=1e3)
    discrete = DiscreteGaussianSum(sigma=100.0, parties=100, sensitivity=1e3)
    beside: Leaf
    for beside in (skellam, discrete, PoissonSampled(release=skellam, rate=0.1)):
        assert not PLD.supports(beside, neighboring)
        with pytest.raises(ParameterError, match="no Gaussian loss distribution"):
            found({sampled(1.0, 0.01): 10, beside: 1}, neighboring=neighboring)
    for event in (skellam, discrete, PoissonSampled(release=discrete, rate=0.1)):
        assert best(event, sampled(1.0, 0.01)).accountant == "renyi"


def test_relations_and_cohorts_that_are_not_proven() -> None:
    fixed = FixedSizeSampled(release=Gaussian(noise_multiplier=1.0), population=100, sample=1)
    cases: list[tuple[Leaf, Neighboring]] = [(fixed, ZERO_OUT), (fixed, REPLACE_ONE), (sampled(1.0, 0.1), REPLACE_ONE)]
    for event, neighboring in cases:
        assert not PLD.supports(event, neighboring)
        with pytest.raises(ParameterError, match="no Gaussian loss distribution"):
            found({event: 1}, neighboring=neighboring)
    assert best(fixed).accountant == "renyi"


# It always comes back.


@pytest.mark.parametrize(
    ("z", "rate", "count", "delta"),
    [
        (1e-24, 0.5, 1, 0.5),  # no epsilon worth having
        (1e24, 1e-24, 1, 0.5),  # losses below what floats tell apart
        (1e5, 1e-3, 1000, 1e-6),
        (1.0, 0.01, (1 << 53) - 1, 1e-5),  # too many rounds
        (1.0, 1e-6, (1 << 28) + 1, 0.5),
        (1e3, 1e-3, 1 << 26, 1e-3),  # on a grid so coarse, the library would not come back
        (1.0, 0.01, 1000, 1e-12),  # a delta that rounding would show in
    ],
)
def test_where_it_proves_nothing_renyi_stands_and_is_named(z: float, rate: float, count: int, delta: float) -> None:
    event = sampled(z, rate)
    assert found({event: count}, delta) == math.inf
    ours = best(Repeated(event=event, count=count), delta=delta)
    assert ours.accountant == "renyi"
    assert ours == epsilon(
        [Repeated(event=event, count=count)], delta=delta, neighboring=ZERO_OUT, against=Against.PUBLISHED
    )


def test_too_many_kinds_of_events_are_left_to_renyi() -> None:
    many: dict[Leaf, int] = {sampled(1.0 + k / 100, 0.01): 1 for k in range(33)}
    assert found(many) == math.inf
    many.popitem()
    assert found(many) < math.inf


@pytest.mark.parametrize(
    ("z", "rate", "count"), [(1e3, 1e-3, 100_000), (1e4, 1e-2, 1000), (100.0, 1e-3, 1000), (1.0, 1e-9, 10)]
)
def test_tiny_epsilons_need_no_larger_grid(z: float, rate: float, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With much noise sampled rounds are nearly Gaussian ones of distance q sqrt(n) / z."""
    sizes = watch(monkeypatch)
    ours = found({sampled(z, rate): count})
    assert gaussian_epsilon(1e-6, rate * math.sqrt(count) / z) <= ours < 2e-3
    assert max(sizes) <= 1.1 * pld._TOTAL


@few
@given(
    st.dictionaries(
        st.tuples(st.floats(0.2, 3000.0), st.floats(1e-7, 1.0)), st.integers(1, 1 << 16), min_size=1, max_size=3
    ),
    st.sampled_from([1e-3, 1e-6, 1e-9]),
)
def test_the_grid_is_as_small_as_promised(rounds: dict[tuple[float, float], int], delta: float) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        sizes = watch(monkeypatch)
        found({sampled(z, rate): count for (z, rate), count in rounds.items()}, delta)
    assert max(sizes, default=0) <= 1.1 * pld._TOTAL


def watch(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all distributions that are composed from now on."""
    sizes: list[int] = []
    kind = privacy_loss_distribution.PrivacyLossDistribution
    whole = kind.__init__

    def init(self: Any, pmf_remove: Any, pmf_add: Any = None) -> None:
        sizes.extend(pmf.size for pmf in (pmf_remove, pmf_add) if pmf is not None)
        whole(self, pmf_remove, pmf_add)

    monkeypatch.setattr(kind, "__init__", init)
    return sizes


@pytest.mark.parametrize("error", [ValueError, OverflowError])
def test_what_the_library_gives_up_on_is_not_proven(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(privacy_loss_distribution, "from_gaussian_mechanism", fail)
    assert found({sampled(1.0, 0.01): 10}) == math.inf
    assert best(sampled(1.0, 0.01)).accountant == "renyi"


def test_an_epsilon_is_checked_against_its_delta(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = privacy_loss_distribution.PrivacyLossDistribution
    monkeypatch.setattr(kind, "get_epsilon_for_delta", lambda self, delta: 0.01)
    assert found({sampled(1.0, 0.01): 1000}) == math.inf
    monkeypatch.setattr(kind, "get_delta_for_epsilon", lambda self, epsilon: math.nan)
    assert found({sampled(1.0, 0.01): 1000}) == math.inf


# Events of ours as events of theirs.


@pytest.mark.parametrize("neighboring", [ZERO_OUT, ADD_OR_REMOVE])
def test_exported_events_cost_the_same_there(neighboring: Neighboring) -> None:
    event = Composed(
        events=(Repeated(event=sampled(1.0, 0.01), count=500), Gaussian(noise_multiplier=20.0), sampled(2.0, 1.0))
    )
    exported, relation = to_dp_event(event, neighboring=neighboring)
    renyi, losses = RdpAccountant(neighboring_relation=relation), PLDAccountant(relation)
    ours = epsilon([event], delta=1e-6, neighboring=neighboring, against=Against.PUBLISHED).epsilon
    assert renyi.compose(exported).get_epsilon(1e-6) == pytest.approx(ours, rel=1e-3)
    assert losses.compose(exported).get_epsilon(1e-6) == pytest.approx(
        best(event, neighboring=neighboring).epsilon, rel=1e-3
    )
    assert dp_event.DpEvent.from_named_tuple(exported.to_named_tuple()) == exported


def test_what_would_mean_something_else_there_is_not_exported() -> None:
    gaussian = Gaussian(noise_multiplier=2.0)
    with pytest.raises(ParameterError, match="REPLACE_ONE"):
        to_dp_event(gaussian, neighboring=REPLACE_ONE)
    theirs = Repeated(event=gaussian, count=10), NeighboringRelation.REPLACE_ONE
    exported = to_dp_event(theirs[0], neighboring=ZERO_OUT)[0]
    assert RdpAccountant(neighboring_relation=theirs[1]).compose(exported).get_epsilon(1e-6) == pytest.approx(
        8.847, rel=1e-3
    )
    assert PLDAccountant(theirs[1]).compose(exported).get_epsilon(1e-6) == pytest.approx(19.424, rel=1e-3)
    skellam = SkellamSum(variance=100.0, sensitivity=1.0)
    fixed = FixedSizeSampled(release=gaussian, population=10, sample=1)
    for event in (skellam, fixed, Composed(events=(gaussian, skellam)), PoissonSampled(release=skellam, rate=0.1)):
        with pytest.raises(ParameterError, match="means nothing to dp-accounting"):
            to_dp_event(event, neighboring=ZERO_OUT)
    strange: Any = "gaussian"
    with pytest.raises(ParameterError, match="is not an event"):
        to_dp_event(strange, neighboring=ZERO_OUT)
