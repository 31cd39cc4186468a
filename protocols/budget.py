"""What a choice of population, cohort, rounds, clip and noise costs in privacy, before any round is run.

Promise: two figures always, each an upper bound proven by `dp.accountants`. *Against the server* and the clients that
work for it: they know who took part, so sampling gains nothing, and a client may be invited to every round. *Against
the published model*, for who never learns who took part: a secret draw of the cohort counts. The second is never above
the first. Both are finite. What cannot be vouched for is refused.

One client releases one clipped update a round, whatever it did to get there: the number of local steps is no parameter.

Imports dp and this package's errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from dp import accountants
from dp.accountants import Against, Guarantee
from dp.budgeting import DEFAULT_LENGTH, DEFAULT_RESOLUTION, sensitivity_of, usable
from dp.calibrate import gaussian_multiplier
from dp.errors import ParameterError
from dp.events import FixedSizeSampled, Gaussian, Neighboring, PoissonSampled, Release, Repeated, SkellamSum
from dp.rounding import rounded_limit
from protocols.errors import ProtocolError

LEAST_NOISE: Final = 1e-3
MOST_NOISE: Final = 1e3
"""Noise multipliers that are looked at: with less nothing is private, with more nothing is learned."""

LEAST_EPSILON: Final = 1e-6
MOST_EPSILON: Final = 1e6
"""What may be asked for."""

MOST_ROUNDS: Final = 10**6
MOST_CLIENTS: Final = 10**12
MOST_LEVELS: Final = 2.0**29
"""The largest clip / step: finer integers change no figure here."""

_POINTS: Final = 100
_STEP: Final = 1e-3
"""By what fraction the least noise may be too large."""


class BudgetError(ProtocolError, ValueError):
    """A choice is wrong or unsafe; the text names the parameter, its value and one that would do."""


class Mechanism(Enum):
    """What the noise is."""

    SKELLAM = "skellam"
    """Each client adds integer Skellam noise, so that the sum carries the whole."""

    GAUSSIAN = "gaussian"
    """Real-valued Gaussian noise, charged exactly, for comparison with central training. No round here adds it."""


class Sampling(Enum):
    """How the cohort of a round is drawn, each round afresh.

    What the noise of a sum comes to must not depend on who was drawn. Under POISSON that asks more of Skellam noise:
    each client sizes its share by the number of clients invited.
    """

    FIXED = "fixed"
    """Exactly `invited` clients, every such cohort as likely as any other."""

    POISSON = "poisson"
    """Every client by its own coin, with probability invited / population."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """What the rounds up to one have cost.

    Attributes:
        round: counted from 1.
        server: epsilon against the server and its colluders.
        public: epsilon against the published model.
    """

    round: int
    server: float
    public: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What is to be run.

    Attributes:
        population: clients that there are.
        invited: of them, to each round; their mean number under POISSON.
        rounds: how many.
        clip: L2 bound of an update. It scales the noise and is no part of epsilon.
        noise_multiplier: z. The noise of a coordinate of the whole sum has the standard deviation z * clip, when all
            the invited survive.
        delta: of the guarantee, all rounds together.
        neighboring: ZERO_OUT or REPLACE_ONE.
        max_dropped: how many of the invited may be missing from a sum, their noise with them.
        max_corrupt: how many of them may work for the server, which then knows their noise.
        participations: to how many rounds one client is invited at most, if somebody holds to that; else None.
        mechanism: what the noise is.
        sampling: how cohorts are drawn.
        step: distance of two neighboring values of a coordinate; that of a recipe with noise unless given. Rounding to
            it lets the norm of an input grow, which Skellam noise is charged for.
        length: coordinates of an input; the more there are, the more rounding adds.

    Raises:
        BudgetError: a number is out of range, no honest noise is left, delta would allow to give a client away, or
            nothing is proven about the combination.
    """

    population: int
    invited: int
    rounds: int
    clip: float
    noise_multiplier: float
    delta: float
    neighboring: Neighboring
    max_dropped: int = 0
    max_corrupt: int = 0
    participations: int | None = None
    mechanism: Mechanism = Mechanism.SKELLAM
    sampling: Sampling = Sampling.FIXED
    step: float | None = None
    length: int = DEFAULT_LENGTH

    def __post_init__(self) -> None:
        _member("neighboring", self.neighboring, Neighboring)
        _member("mechanism", self.mechanism, Mechanism)
        _member("sampling", self.sampling, Sampling)
        _whole("population", self.population, 1, MOST_CLIENTS)
        _whole("invited", self.invited, 1, self.population, "population")
        _whole("rounds", self.rounds, 1, MOST_ROUNDS)
        _within("clip", self.clip, 1e-12, 1e12)
        _within("noise_multiplier", self.noise_multiplier, LEAST_NOISE, MOST_NOISE)
        _check_delta(self.delta, self.population)
        _whole("max_dropped", self.max_dropped, 0, self.invited - 1, "invited - 1")
        _whole("max_corrupt", self.max_corrupt, 0, self.invited - 1, "invited - 1")
        if self.honest < 1:
            raise BudgetError(
                f"max_dropped={self.max_dropped} and max_corrupt={self.max_corrupt} leave nobody's noise of "
                f"invited={self.invited}: lower max_dropped to {self.invited - self.max_corrupt - 1}"
            )
        if self.step is not None:
            _within("step", self.step, self.clip / MOST_LEVELS, self.clip, "clip")
        self._check_rounding()
        if self.participations is not None:
            _whole("participations", self.participations, self.fairest, self.rounds, "rounds")
        _check_proven(self.neighboring, self.sampling)

    @property
    def honest(self) -> int:
        """Clients whose noise is there and unknown to the server, in the worst case."""
        return self.invited - self.max_dropped - self.max_corrupt

    @property
    def charged(self) -> float:
        """The noise multiplier that the honest clients' noise alone comes to."""
        return self.noise_multiplier * math.sqrt(self.honest / self.invited)

    @property
    def levels(self) -> float:
        """The clip, in steps."""
        return self.clip / self.step if self.step is not None else DEFAULT_RESOLUTION

    @property
    def sensitivity(self) -> float:
        """The bound on the L2 norm of one client's integers, after rounding, that its encoder holds to."""
        return sensitivity_of(rounded_limit(self.levels, self.length))

    @property
    def fairest(self) -> int:
        """To how many rounds some client is invited at least, however evenly the invitations are spread."""
        return -(-self.rounds * self.invited // self.population)

    @property
    def capped(self) -> bool:
        """Whether a client is kept out of some rounds because it was in others."""
        return self.participations is not None and self.participations < self.rounds

    @property
    def most_participations(self) -> int:
        """To how many rounds one client may be invited."""
        return self.rounds if self.participations is None else self.participations

    @property
    def noise_std_mean(self) -> float:
        """Standard deviation of the noise on a coordinate of the mean, when all the invited survive."""
        return self.noise_multiplier * self.clip / self.invited

    @property
    def release(self) -> Release:
        """One round."""
        if self.mechanism is Mechanism.GAUSSIAN:
            return Gaussian(noise_multiplier=self.charged)
        return SkellamSum(variance=(self.charged * self.levels) ** 2, sensitivity=self.sensitivity)

    def server(self, rounds: int | None = None) -> Guarantee:
        """What the first `rounds`, or all, cost against the server and its colluders."""
        return self._cost(self.release, self._taken(rounds), Against.SERVER)

    def public(self, rounds: int | None = None) -> Guarantee:
        """What the first `rounds`, or all, cost against the published model.

        The smaller of two proofs: who sees the model sees no more than the server; and the draw is secret. The second
        needs draws that do not depend on earlier ones, which a cap on participations rules out.
        """
        plain = self._cost(self.release, self._taken(rounds), Against.PUBLISHED)
        if self.capped or self.invited == self.population:
            return plain
        return min(plain, self._cost(self._sampled(), self._taken(rounds), Against.PUBLISHED), key=lambda g: g.epsilon)

    def curve(self) -> tuple[Point, ...]:
        """Return both figures after a hundred rounds, evenly spread, or after every one if there are no more."""
        count = min(self.rounds, _POINTS)
        after = [1 + (self.rounds - 1) * at // max(1, count - 1) for at in range(count)]
        return tuple(Point(round=r, server=self.server(r).epsilon, public=self.public(r).epsilon) for r in after)

    def _check_rounding(self) -> None:
        try:
            rounded_limit(self.levels, self.length)
        except ParameterError as error:
            raise BudgetError(str(error)) from error

    def _taken(self, rounds: int | None) -> int:
        return min(self.rounds if rounds is None else rounds, self.most_participations)

    def _sampled(self) -> FixedSizeSampled | PoissonSampled:
        if self.sampling is Sampling.POISSON:
            return PoissonSampled(release=self.release, rate=self.invited / self.population)
        return FixedSizeSampled(release=self.release, population=self.population, sample=self.invited)

    def _cost(self, event: Release | FixedSizeSampled | PoissonSampled, count: int, against: Against) -> Guarantee:
        events = [Repeated(event=event, count=count)]
        delta = usable(self.delta) if self.mechanism is Mechanism.SKELLAM else self.delta  # the rest is the sampler's
        return accountants.epsilon(events, delta=delta, neighboring=self.neighboring, against=against)


def least_noise(choice: Choice, epsilon: float) -> Choice:
    """Return the choice with the least noise multiplier, to a thousandth, that costs no more against the server.

    For Gaussian noise this is `dp.calibrate.gaussian_multiplier`. For Skellam noise the search starts from there.

    Args:
        choice: whose noise multiplier does not count.
        epsilon: what the server's figure may be, above 0.

    Raises:
        BudgetError: epsilon is out of range, or no noise multiplier that is looked at will do.
    """
    _within("epsilon", epsilon, LEAST_EPSILON, MOST_EPSILON)

    def holds(multiplier: float) -> bool:
        return replace(choice, noise_multiplier=multiplier).server().epsilon <= epsilon

    if not holds(MOST_NOISE):
        least = _digits(replace(choice, noise_multiplier=MOST_NOISE).server().epsilon, math.ceil)
        raise BudgetError(f"epsilon={epsilon!r} needs noise_multiplier above {MOST_NOISE:g}: allow epsilon={least:g}")
    start = gaussian_multiplier(
        epsilon=epsilon, delta=choice.delta, rounds=choice.most_participations, neighboring=choice.neighboring
    )
    high = min(max(start * math.sqrt(choice.invited / choice.honest), LEAST_NOISE), MOST_NOISE)
    while not holds(high):
        high = min(high * 1.1, MOST_NOISE)
    low = high / 1.1
    while low > LEAST_NOISE and holds(low):
        low, high = low / 1.1, low
    low = max(low, LEAST_NOISE)
    while high > low * (1.0 + _STEP):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if holds(middle) else (middle, high)
    return replace(choice, noise_multiplier=high)


def most_rounds(choice: Choice, epsilon: float) -> int:
    """Return after how many rounds that one client is in the server's figure is still within epsilon; 0 if after none.

    Args:
        choice: whose rounds and participations do not count.
        epsilon: what the server's figure may be, above 0.

    Raises:
        BudgetError: epsilon is out of range, or more rounds fit than are looked at.
    """
    _within("epsilon", epsilon, LEAST_EPSILON, MOST_EPSILON)
    endless = replace(choice, rounds=MOST_ROUNDS, participations=None)
    if endless.server().epsilon <= epsilon:
        raise BudgetError(f"epsilon={epsilon!r} allows more than {MOST_ROUNDS} rounds: give rounds and leave it out")
    low, high = 0, MOST_ROUNDS
    while high > low + 1:
        middle = (low + high) // 2
        low, high = (middle, high) if endless.server(middle).epsilon <= epsilon else (low, middle)
    return low


def best_guess(epsilon: float, delta: float) -> float:
    """Return how often, at most, who started at even odds can be right about which of two neighbors was run.

    Whatever the test, its true positives are at most exp(epsilon) times its false positives plus delta, and so for the
    negatives (Wasserman and Zhou, "A statistical framework for differential privacy", JASA 2010). Both together leave
    1 - (1 - delta) / (1 + exp(epsilon)).
    """
    return 1.0 - (1.0 - delta) / (1.0 + math.exp(min(epsilon, 700.0)))


def _check_delta(delta: float, population: int) -> None:
    _within("delta", delta, 1e-30, 0.5)
    if delta > 1.0 / population:
        raise BudgetError(
            f"delta={delta!r} would allow to give one of population={population} away whole: lower delta to "
            f"{_digits(1.0 / population, math.floor):g}"
        )


def _check_proven(neighboring: Neighboring, sampling: Sampling) -> None:
    if neighboring is Neighboring.ADD_OR_REMOVE:
        raise BudgetError("neighboring=add-or-remove takes a client's noise along: use zero-out")
    if neighboring is Neighboring.REPLACE_ONE and sampling is Sampling.POISSON:
        raise BudgetError("sampling=poisson is not proven under neighboring=replace-one: use sampling=fixed")


def _member(name: str, value: object, kind: type[Enum]) -> None:
    if not isinstance(value, kind):
        raise BudgetError(f"{name} is of type {type(value).__name__}: give a {kind.__name__}")


def _whole(name: str, value: int, least: int, most: int, why: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BudgetError(f"{name}={value!r} must be {least} to {_named(most, why)}")


def _within(name: str, value: float, least: float, most: float, why: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise BudgetError(f"{name}={value!r} must be {least:g} to {_named(most, why)}")


def _named(most: float, why: str) -> str:
    text = str(most) if isinstance(most, int) else f"{most:g}"
    return f"{why}={text}" if why else text


def _digits(value: float, toward: Callable[[float], int]) -> float:
    """Return three digits of a positive number, rounded so that what a message offers is not refused in turn."""
    last = math.floor(math.log10(value)) - 2
    return float(f"{toward(value / 10.0**last)}e{last}")
