"""`Policy`: what a client refuses before it takes part, whatever the server offers.

Promise: a server cannot talk a client down. Every floor here is the client's own; the offer either meets all of them
or the client leaves the round before any key exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

from secagg.config import DEFAULT_CHUNK_WORDS, RoundConfig
from secagg.errors import ConfigError, Violation
from secagg.plan import Plan
from secagg.rules import Rule
from secagg.types import Adversary

_HARD_FLOOR = 2
"""Two honest inputs: below that there is no sum to hide in, and no policy can allow it."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A client's floors.

    Attributes:
        adversaries: the adversary classes a plan may assume; semi-honest rounds must be allowed explicitly.
        min_survivors: smallest sum the client will be part of.
        min_honest: smallest sum once the plan's max_corrupt colluders take their own inputs out of it; at least 2.
        min_corrupt: how many colluders a plan must withstand, at least.
        max_length: longest input the client will mask.
        max_chunk_words: longest message of it, in words: what a client that streams its input holds at a time.
        max_round_step: how far a round's number may lie above the last one served. An offer is not signed, and one
            with the highest number would otherwise use up the whole session.
        session: the one session the client serves; None for any. Round numbers are fresh within a session only.

    Raises:
        ConfigError: a floor is below what any round must have.
    """

    adversaries: frozenset[Adversary] = frozenset({Adversary.ACTIVE})
    min_survivors: int = 3
    min_honest: int = _HARD_FLOOR
    min_corrupt: int = 0
    max_length: int = 2**32
    max_chunk_words: int = DEFAULT_CHUNK_WORDS
    max_round_step: int = 2**20
    session: bytes | None = None

    def __post_init__(self) -> None:
        if not self.adversaries or not all(isinstance(member, Adversary) for member in self.adversaries):
            raise ConfigError("adversaries must name at least one Adversary")
        for name in ("min_survivors", "min_honest", "min_corrupt", "max_length", "max_chunk_words", "max_round_step"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise ConfigError(f"{name} must be an int, got {value!r:.40}")
        if self.min_honest < _HARD_FLOOR:
            raise ConfigError(f"min_honest={self.min_honest} hides nobody; it must be at least {_HARD_FLOOR}")
        ceilings = (self.max_length, self.max_chunk_words, self.max_round_step)
        if self.min_survivors < _HARD_FLOOR or self.min_corrupt < 0 or min(ceilings) < 1:
            raise ConfigError(
                "min_survivors must be at least 2, min_corrupt at least 0, max_length, max_chunk_words and "
                "max_round_step at least 1"
            )

    @property
    def plan_type(self) -> type[Plan]:
        """The class that certifies offered plans."""
        return Plan

    def make_plan(self, *, adversary: Adversary, **numbers: Any) -> Plan:
        """Certify an offered plan, if it is of a class that this client allows.

        The class comes first: the odds of a large semi-honest plan, and the numbers that would make it safe, cost more
        than everything else about an offer, and offers are not signed.

        Raises:
            Violation(OFFER_POLICY): another class.
            ConfigError: the plan is not safe for its adversary.
        """
        self._check_adversary(adversary)
        return self.plan_type(adversary=adversary, **numbers)

    def check(self, config: RoundConfig) -> None:
        """Refuse a config below a floor.

        Raises:
            Violation(OFFER_POLICY): names the floor and both numbers.
        """
        plan = config.plan
        if self.session is not None and config.session != self.session:
            _refuse("another session than the one this client serves")
        self._check_adversary(plan.adversary)
        if plan.min_survivors < self.min_survivors:
            _refuse(f"the plan lets the sum shrink to {plan.min_survivors} clients, the floor is {self.min_survivors}")
        if plan.min_survivors - plan.max_corrupt < self.min_honest:
            _refuse(f"{plan.min_survivors - plan.max_corrupt} honest survivors, the floor is {self.min_honest}")
        if plan.max_corrupt < self.min_corrupt:
            _refuse(f"the plan withstands {plan.max_corrupt} colluders, the floor is {self.min_corrupt}")
        if config.length > self.max_length:
            _refuse(f"an input of {config.length} words, the ceiling is {self.max_length}")
        if min(config.chunk_words, config.length) > self.max_chunk_words:
            _refuse(f"messages of {config.chunk_words} words, the ceiling is {self.max_chunk_words}")

    def _check_adversary(self, adversary: Adversary) -> None:
        if adversary not in self.adversaries:
            _refuse(f"the plan assumes a {adversary.value} server; this client does not")


def _refuse(detail: str) -> NoReturn:
    raise Violation(Rule.OFFER_POLICY, detail)
