"""Rings by stated odds of overflow, and noise by budget: held against drawings and against the accountant."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from dp.accountants import Against, epsilon
from dp.budgeting import below, sensitivity_of, usable
from dp.errors import ParameterError
from dp.events import Neighboring, Repeated
from dp.noise import DiscreteGaussian, Skellam
from dp.overflow import Load, bits_for
from dp.rotation import Rotation, block_of
from dp.rounding import round_within, rounded_limit

BUDGET: dict[str, Any] = {"clip": 1.0, "epsilon": 4.0, "delta": 1e-5, "rounds": 10, "honest": 40}


def load(**changes: Any) -> Load:
    noise = changes.pop("noise", Skellam(variance=50.0))
    fields: dict[str, Any] = {"clients": 20, "norm": 64.0, "length": 300, "block": 256, "log_moment": noise.log_moment}
    return Load(**(fields | changes))


def test_sums_wrap_no_more_often_than_stated() -> None:
    # The worst vectors for the spread bound are equal ones: their sum is n times as long as each.
    clients, norm, length, probability, noise = 8, 40.0, 64, 0.2, Skellam(variance=30.0)
    bits = bits_for(load(clients=clients, norm=norm, length=length, block=64, noise=noise), probability=probability)
    # The next smaller ring is not asked for less: its odds are above what a bound this tight allows only by chance.
    limit, rng = rounded_limit(norm, length), np.random.default_rng(0)
    wrapped, rounds = 0, 300
    for _ in range(rounds):
        vector = np.zeros(length)
        vector[0] = norm
        rotated = Rotation(length=length, seed=rng.bytes(32)).apply(vector)
        total = sum(round_within(rotated, limit).values + noise.sample(length) for _ in range(clients))
        wrapped += int(np.abs(total).max()) >= 2 ** (bits - 1)
    assert wrapped / rounds <= probability


def test_the_worst_case_holds_without_any_luck() -> None:
    given = load(block=None)
    bits = bits_for(given)
    most = given.clients * math.isqrt(rounded_limit(given.norm, given.length))
    assert 2 ** (bits - 1) > most
    assert bits_for(load(block=256), worst_case=True) == bits


@pytest.mark.parametrize(
    ("less", "more"),
    [
        (load(clients=10), load(clients=1000)),
        (load(norm=8.0), load(norm=2.0**20)),
        (load(noise=Skellam(variance=1.0)), load(noise=Skellam(variance=1e9))),
        (load(block=2**18, length=2**18, norm=2.0**20), load(block=None, length=2**18, norm=2.0**20)),
    ],
)
def test_more_to_hold_takes_more_bits(less: Load, more: Load) -> None:
    assert bits_for(less) < bits_for(more)


def test_rarer_overflow_takes_no_fewer_bits() -> None:
    bits = [bits_for(load(), probability=2.0**-power) for power in (1, 10, 40, 400, 1000)]
    assert bits == sorted(bits)
    assert bits[-1] > bits[0]


@pytest.mark.parametrize("probability", [0.0, 1.0, -0.1, math.nan])
def test_odds_out_of_range_are_refused(probability: float) -> None:
    with pytest.raises(ParameterError, match="overflow_probability="):
        bits_for(load(), probability=probability)


def test_a_sum_beyond_64_bits_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"needs 6[5-9] bits"):
        bits_for(load(clients=2**40, norm=2.0**25, block=None))


@pytest.mark.parametrize("law", [Skellam(variance=0.3), Skellam(variance=1e4), DiscreteGaussian(sigma=0.7)])
def test_log_moments_bound_those_of_the_law(law: Skellam | DiscreteGaussian) -> None:
    reach = int(12 * math.sqrt(float(law.variance))) + 20
    for deviations in (1e-3, 0.1, 0.5, 2.0):
        tilt = min(deviations / math.sqrt(float(law.variance)), 0.5)
        moment = math.fsum(law.pmf(k) * math.exp(tilt * k) for k in range(-reach, reach + 1))
        assert math.log(moment) <= law.log_moment(tilt) * (1 + 1e-9) + 1e-15
        assert law.log_moment(tilt) <= math.log(moment) * 1.2 + 1e-9


# Noise for a budget.


@pytest.mark.parametrize("law", [Skellam, DiscreteGaussian])
@pytest.mark.parametrize("change", [{}, {"neighboring": Neighboring.REPLACE_ONE}, {"clip": 30.0, "length": 100}])
def test_noise_for_a_budget_keeps_it_and_little_less_would_not(law: Any, change: dict[str, Any]) -> None:
    asked = BUDGET | change
    noise = law.for_budget(**asked)
    sensitivity = sensitivity_of(rounded_limit(asked["clip"] / noise.step, asked.get("length", 2**20)))
    neighboring = asked.get("neighboring", Neighboring.ZERO_OUT)

    def cost(parties: int, shrink: float = 1.0) -> float:
        event = noise.event(parties=parties, sensitivity=sensitivity * shrink)
        events = [Repeated(event=event, count=10)]
        return epsilon(events, delta=1e-5, neighboring=neighboring, against=Against.SERVER).epsilon

    assert cost(40) <= 4.0
    assert cost(40, 1.001) > 4.0
    assert cost(39) > 4.0


@pytest.mark.parametrize("law", [Skellam, DiscreteGaussian])
def test_a_ring_has_its_step_where_the_finest_one_has_no_noise_wide_enough(law: Any) -> None:
    small: dict[str, Any] = {"clip": 1.0, "epsilon": 0.3, "delta": 1e-6, "rounds": 100, "honest": 5, "length": 1000}
    with pytest.raises(ParameterError, match="epsilon="):
        law.for_budget(**small, step=2.0**-20)
    for bits in (20, 32):
        noise = law.for_budget(**small, bits=bits, clients=8)
        load_at = Load(clients=8, norm=1.0 / noise.step, length=1000, block=block_of(1000), log_moment=noise.log_moment)
        assert bits_for(load_at) <= bits
        # It is the finest there is: a quarter of a bit more has no room, or no noise.
        with pytest.raises(ParameterError, match=r"bits=|largest=|reach"):
            law.for_budget(**small, bits=bits, clients=8, step=noise.step / 2.0**0.26)


@pytest.mark.parametrize("bits", [10, 12, 16, 20, 32])
def test_noise_for_a_ring_fits_it_and_no_finer_step_would(bits: int) -> None:
    noise = DiscreteGaussian.for_budget(**BUDGET, bits=bits, clients=60, length=200, overflow_probability=2.0**-30)
    assert noise.step is not None

    def needed(factor: float) -> int:
        resolution = 1.0 / noise.step * factor  # type: ignore[operator]  # held above
        one = DiscreteGaussian.for_budget(**BUDGET, length=200, step=1.0 / resolution)
        held = Load(clients=60, norm=resolution, length=200, block=block_of(200), log_moment=one.log_moment)
        return bits_for(held, probability=2.0**-30)

    assert needed(1.0) <= bits
    assert bits == 32 or needed(2.0**0.25) > bits


def test_a_ring_that_is_too_small_says_which_is_not() -> None:
    with pytest.raises(ParameterError, match=r"take bits=(\d+)") as caught:
        Skellam.for_budget(**BUDGET, bits=8, clients=200, length=1000)
    bits = int(str(caught.value).partition("take bits=")[2].partition(",")[0])
    assert Skellam.for_budget(**BUDGET, bits=bits, clients=200, length=1000).step is not None
    with pytest.raises(ParameterError, match="take bits="):
        Skellam.for_budget(**BUDGET, bits=bits - 1, clients=200, length=1000)
    with pytest.raises(ParameterError, match=r"needs bits=\d+"):
        Skellam.for_budget(**BUDGET, bits=8, clients=200, length=1000, step=2.0**-10)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"clip": 0.0}, "clip="),
        ({"clip": math.inf}, "clip="),
        ({"clip": True}, "clip="),
        ({"length": 0}, "length="),
        ({"bits": 7, "clients": 4}, "bits="),
        ({"bits": 65, "clients": 4}, "bits="),
        ({"bits": 16}, "together"),
        ({"clients": 4}, "together"),
        ({"bits": 16, "clients": 0}, "clients="),
        ({"step": 2.0}, "step="),
        ({"step": 0.0}, "step="),
        ({"epsilon": 0.0}, "epsilon="),
        ({"delta": 0.0}, "delta="),
        ({"delta": 1.0}, "delta="),
        ({"rounds": 0}, "rounds="),
        ({"honest": 0}, "honest="),
        ({"neighboring": Neighboring.ADD_OR_REMOVE}, "ADD_OR_REMOVE"),
        ({"epsilon": 1e-9}, "largest=|reach"),
    ],
)
@pytest.mark.parametrize("law", [Skellam, DiscreteGaussian])
def test_a_budget_out_of_range_is_refused_by_name(law: Any, change: dict[str, Any], text: str) -> None:
    with pytest.raises(ParameterError, match=text):
        law.for_budget(**(BUDGET | change))


def test_narrow_discrete_gaussians_are_never_returned() -> None:
    noise = DiscreteGaussian.for_budget(**(BUDGET | {"honest": 10**6}), step=1.0, length=4)
    assert noise.sigma >= 0.5


def test_steps_travel_with_the_noise() -> None:
    noise = Skellam(variance=3, step=0.5)
    assert noise.split(3) == Skellam(variance=Fraction(1), step=0.5)
    assert noise.at(0.25) == Skellam(variance=3, step=0.25)
    assert DiscreteGaussian(sigma=3).at(0.25).step == 0.25
    for step in (0.0, -1.0, math.nan, "1"):
        with pytest.raises(ParameterError, match="step"):
            Skellam(variance=3, step=step)  # type: ignore[arg-type]  # what is refused


def test_events_never_promise_more_noise_than_is_added() -> None:
    third = Skellam(variance=Fraction(1, 3))
    event = third.event(parties=7, sensitivity=2.0)
    assert Fraction(event.variance) <= Fraction(7, 3)
    assert Fraction(math.nextafter(event.variance, 9.0)) > Fraction(7, 3)
    assert below(Fraction(1, 2)) == 0.5
    assert Fraction(below(Fraction(1, 3))) < Fraction(1, 3)
    for parties in (0, -1, True, 1.5):
        with pytest.raises(ParameterError, match="parties"):
            third.event(parties=parties, sensitivity=2.0)  # type: ignore[arg-type]  # what is refused
        with pytest.raises(ParameterError, match="parties"):
            DiscreteGaussian(sigma=2).event(parties=parties, sensitivity=2.0)  # type: ignore[arg-type]  # the same


@pytest.mark.parametrize("limit", [1, 2, 3, 10**9 + 7, 2**62 - 1])
def test_sensitivities_are_rounded_up(limit: int) -> None:
    assert Fraction(sensitivity_of(limit)) ** 2 >= limit
    assert Fraction(math.nextafter(sensitivity_of(limit), 0.0)) ** 2 < limit


def test_a_part_of_delta_is_put_aside() -> None:
    assert usable(1e-5) == 1e-5 * (1 - 2.0**-20)
