"""What a fuzz target raises where its contract is broken; unlike `assert`, also under `python -O`."""

from __future__ import annotations


class Finding(AssertionError):
    """An input that is neither answered rightly nor refused by name."""


def require(holds: object, otherwise: str) -> None:
    """End with a finding unless something holds."""
    if not holds:
        raise Finding(otherwise)
