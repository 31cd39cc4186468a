"""Every error of this package.

Promise: each names the parameter or tensor, what is wrong with it and the fix; none carries a number of an update.

Imports nothing.
"""

from __future__ import annotations


class PrivacyError(Exception):
    """Root of every error of this package."""


class ParameterError(PrivacyError, ValueError):
    """A parameter is wrong or unsafe; the text names it, its value and a value that would do."""


class UpdateError(PrivacyError, ValueError):
    """An update has no norm to bound: it is not made of numpy arrays of finite floats. The text names the tensor."""


class BudgetExceeded(PrivacyError):
    """A release would cost more than the budget has left. Nothing was written; what it was for must not leave.

    Attributes:
        budget: epsilon of the budget.
        would_be: epsilon of everything with the release, infinity included.
        left: what the budget has left without it, in epsilon.
    """

    def __init__(self, budget: float, would_be: float, left: float) -> None:
        self.budget = budget
        self.would_be = would_be
        self.left = left
        super().__init__(budget, would_be, left)

    def __str__(self) -> str:
        return (
            f"the release would bring epsilon to {self.would_be:.6g} of a budget of {self.budget:.6g}, of which "
            f"{self.left:.6g} is left: stop here, or release with more noise"
        )


class SamplerErrorExceeded(BudgetExceeded):
    """Epsilon is left, but what was put aside of delta for inexact samplers is not. Nothing was written."""

    def __str__(self) -> str:
        return (
            f"the samplers' total variation would use up the part of delta that is put aside for it, at epsilon "
            f"{self.would_be:.6g} of {self.budget:.6g}: stop here, or use a sampler nearer to its law"
        )


class LedgerError(PrivacyError):
    """A ledger cannot do what was asked. The text says why."""


class DuplicateRelease(LedgerError):
    """The name was reserved before. Every round has a name of its own, whatever became of it."""


class LedgerBusy(LedgerError):
    """Another ledger has this storage open, here or in another process."""


class LedgerCorrupt(LedgerError):
    """What is stored is not what a ledger wrote: changed, cut, or behind the anchor. Nothing more is charged to it."""


class StorageFailed(LedgerError):
    """The storage failed, for example a full disk. Whether the record is there is known when the ledger is opened."""
