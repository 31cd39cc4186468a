"""`Breach`: what a schedule raises when an invariant does not hold."""

from __future__ import annotations


class Breach(AssertionError):
    """An invariant is broken.

    Attributes:
        invariant: the name of its function.
    """

    def __init__(self, invariant: str, detail: str) -> None:
        self.invariant = invariant
        super().__init__(f"{invariant}: {detail}")


def require(holds: object, invariant: str, detail: str) -> None:
    """Raise where an invariant does not hold; unlike assert, also under python -O."""
    if not holds:
        raise Breach(invariant, detail)
