"""Plans that no production code constructs: k-regular graphs small enough to test everything about them.

`UncertifiedPlan` skips the proof that a plan is safe and keeps the check that it makes sense; `LaxPolicy` is the
policy whose clients accept one.
"""

from __future__ import annotations

from dataclasses import dataclass

from secagg.plan import Plan
from secagg.policy import Policy
from secagg.types import Adversary


@dataclass(frozen=True, kw_only=True)
class UncertifiedPlan(Plan):
    """A plan whose odds nobody certified."""

    def _certify(self) -> None:
        """Nothing is certified: for tests of the mechanics only."""


@dataclass(frozen=True, kw_only=True)
class LaxPolicy(Policy):
    """A policy for tests: every adversary class, the smallest floors, and uncertified plans."""

    adversaries: frozenset[Adversary] = frozenset(Adversary)
    min_survivors: int = 2

    @property
    def plan_type(self) -> type[Plan]:
        """Plans are checked for sense, not for safety."""
        return UncertifiedPlan


def small_regular_plan(
    *, clients: int, degree: int, threshold: int, max_dropped: int = 0, max_corrupt: int = 0
) -> UncertifiedPlan:
    """A semi-honest plan on a k-regular graph of any size."""
    return UncertifiedPlan(
        clients=clients,
        max_dropped=max_dropped,
        max_corrupt=max_corrupt,
        adversary=Adversary.SEMI_HONEST,
        degree=degree,
        threshold=threshold,
        quorum=0,
    )
