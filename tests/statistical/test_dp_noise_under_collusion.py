"""What is left of the noise when colluders take theirs out of the sum: what was charged for, at every survivor count.

Real updates go through the real encoder and the real decoder; the colluders' inputs are then subtracted, as the server
could, or carry no noise at all. What is left beside the truth is noise, and its sum of squares is held against the
charge of the round. The decoder's rotation is orthogonal, so it leaves that sum alone.

False alarms: a sum of squares of d independent standard normals is below d - 2 sqrt(28 d), or above d + 2 sqrt(28 d) +
56, with odds below exp(-28) < 10^-12 each (Laurent and Massart, Annals of Statistics 28, 2000, lemma 1). There are
fewer than 60 such comparisons, so the file is red by chance in less than 1 run of 10^10. Each coordinate is the sum of
six clients' noise of variance 900 or more, whose excess kurtosis moves the spread by less than a part in 10^4.

Power: d is 60,000, so a shortage of 5 % is found; one client's share is 10 % or more.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pytest

from dp import DiscreteGaussian, DiscreteGaussianSum, Skellam, SkellamSum
from dp.law import IntegerNoise
from protocols import Recipe, simulate
from protocols.faults import drop
from secagg import Plan
from secagg.config import instructions_digest
from secagg.ring import Words

PLAN: Final = Plan.find(clients=12, max_dropped=4, max_corrupt=2)
LENGTH: Final = 60_000
EXPONENT: Final = 28.0
NARROW: Final = 14
COUNTS: Final = range(PLAN.min_survivors, PLAN.clients + 1)
BUDGET: Final[dict[str, Any]] = {
    "clip": 1.0,
    "epsilon": 8.0,
    "delta": 1e-6,
    "rounds": 5,
    "honest": PLAN.min_survivors - PLAN.max_corrupt,
    "length": LENGTH + 2,
}

LAWS: Final[dict[str, Callable[[], IntegerNoise]]] = {
    "skellam": lambda: Skellam(variance=900, step=2.0**-12),
    "skellam for a budget": lambda: Skellam.for_budget(**BUDGET),
    "skellam for a narrow ring": lambda: Skellam.for_budget(**BUDGET, bits=NARROW, clients=PLAN.clients),
    "discrete gaussian": lambda: DiscreteGaussian(sigma=30, step=2.0**-12),
}


@dataclasses.dataclass(frozen=True)
class Sum:
    """An aggregate as a recipe reads it."""

    values: Any
    survivors: tuple[str, ...]
    instructions_digest: bytes = instructions_digest(b"go")
    invited: tuple[str, ...] = ()
    joined: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


@functools.cache
def recipe_of(law: str) -> Recipe:
    return Recipe.like({"w": np.zeros(LENGTH)}, clip=1.0, noise=LAWS[law](), weight=2.0, metrics={"loss": 1.0})


@functools.cache
def cohort(law: str) -> tuple[tuple[npt.NDArray[np.float64], Words], ...]:
    """Each client's share of the truth, and its noised words: encoded once, and summed in many ways."""
    recipe, rng = recipe_of(law), np.random.default_rng(0)
    made = []
    for client in range(PLAN.clients):
        update, weight = rng.normal(0.0, 0.5 / math.sqrt(LENGTH), LENGTH), 1.0 + client / PLAN.clients
        encoded = recipe.encode(
            {"w": update}, weight=weight, metrics={"loss": 0.5}, ring=recipe.ring(PLAN), instructions=b"go"
        )
        assert encoded.faithful
        assert not encoded.clipped
        made.append((update * weight / 2.0, encoded.read(0, recipe.length)))
    return tuple(made)


def charged(law: str, survivors: int) -> float:
    """The variance of a coordinate that the server's view of the round is charged for."""
    event = recipe_of(law).charge(PLAN, survivors=survivors).server
    if isinstance(event, SkellamSum):
        return event.variance
    assert isinstance(event, DiscreteGaussianSum)
    return event.parties * event.sigma**2


def left_over(law: str, survivors: int) -> npt.NDArray[np.float64]:
    """The noise in the decoded sum of so many clients, less what the colluders put in; in integer units."""
    recipe, clients = recipe_of(law), cohort(law)[:survivors]
    ring = recipe.ring(PLAN)
    total = np.zeros(recipe.length, dtype=ring.word)
    for _, words in clients:
        total += words
    for _, words in clients[: PLAN.max_corrupt]:
        total -= words
    ring.reduce(total)
    decoded = recipe.decode(Sum(ring.center(total), tuple(f"c{number}" for number in range(survivors))))
    truth = np.sum([share for share, _ in clients[PLAN.max_corrupt :]], axis=0)
    assert recipe.noising is not None
    noise: npt.NDArray[np.float64] = (decoded.decoded.tensors["w"] - truth) / recipe.noising.unit
    return noise


def shortage(squares: float, variance: float) -> bool:
    """Whether there is less noise than this, and more than chance has to do with it."""
    return squares / variance < LENGTH - 2 * math.sqrt(EXPONENT * LENGTH)


def surplus(squares: float, variance: float) -> bool:
    return squares / variance > LENGTH + 2 * math.sqrt(EXPONENT * LENGTH) + 2 * EXPONENT


@pytest.mark.parametrize("survivors", COUNTS)
@pytest.mark.parametrize("law", LAWS)
def test_what_colluders_leave_is_what_was_charged(law: str, survivors: int) -> None:
    squares = float(np.square(left_over(law, survivors)).sum())
    variance = charged(law, survivors)
    assert variance >= charged(law, PLAN.min_survivors)
    assert not shortage(squares, variance)
    # Nor more than the roundings add, a quarter a client: noise that several clients share would be seen here.
    assert not surplus(squares, variance + (survivors - PLAN.max_corrupt) / 4)


def test_the_narrow_ring_is_as_narrow_as_asked() -> None:
    assert recipe_of("skellam for a narrow ring").ring(PLAN).bits <= NARROW


def test_one_share_less_would_be_seen() -> None:
    """At the most survivors, where a share counts least, and with the roundings in its place."""
    most = PLAN.clients
    squares = float(np.square(left_over("skellam", most)).sum())
    one = charged("skellam", most) / (most - PLAN.max_corrupt)
    assert shortage(squares, charged("skellam", most) + one)
    assert surplus(squares, charged("skellam", most) - one)


def test_the_noise_of_a_whole_round_is_that_of_its_survivors() -> None:
    """The same figure at the end of the protocol, with clients that leave before and after their input."""
    recipe = Recipe.like({"w": np.zeros(LENGTH)}, clip=1.0, noise=LAWS["skellam"]())
    assert recipe.noising is not None
    updates = {f"c{number:02}": {"w": np.zeros(LENGTH)} for number in range(PLAN.clients)}
    faults = [drop("c01", before="mask"), drop("c02", before="mask"), drop("c03", before="unmask")]
    total = simulate(updates, PLAN, recipe, faults=faults)
    assert len(total.survivors) == PLAN.clients - 2
    squares = float(np.square(total.sum()["w"] / recipe.noising.unit).sum())
    assert not shortage(squares, 900.0 * len(total.survivors))
    assert not surplus(squares, 900.0 * len(total.survivors))
    assert total.noise_std * len(total.survivors) / recipe.noising.unit == pytest.approx(30 * math.sqrt(10))
