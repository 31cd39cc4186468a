"""Every error of this package.

Promise: each names the parameter, its value and the fix; none carries a number of an update. What is wrong with one
client's update is `secagg.errors.InputError`, wherever it is noticed.

Imports nothing.
"""

from __future__ import annotations


class ProtocolError(Exception):
    """Root of every error of this package."""


class RecipeError(ProtocolError, ValueError):
    """A recipe's parameter is wrong or unsafe, or an aggregate is not one of this recipe."""


class NoWeight(ProtocolError, ArithmeticError):
    """The survivors' weights sum to nothing or, noised, to less: there is no mean to speak of."""


class ForeignPackage(ProtocolError, ImportError):
    """Another distribution's top-level package stands in the place of ours."""


class DeadlinePassed(ProtocolError, TimeoutError):
    """The other side said nothing in time; the round was left and its secrets are wiped."""


class FaultError(ProtocolError, ValueError):
    """A fault names a client or leg that the simulated round does not have."""
