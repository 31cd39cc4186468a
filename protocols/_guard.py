"""Tells this distribution's `dp` from any other top-level package of that short name.

Promise: nothing of this project runs on a stranger's privacy code.

Imports this package's errors.
"""

from __future__ import annotations

from types import ModuleType
from typing import Final

from protocols.errors import ForeignPackage

DISTRIBUTION: Final = "secagg"


def is_own(package: ModuleType) -> bool:
    """Whether a package carries this distribution's marker."""
    return getattr(package, "__secagg_distribution__", None) == DISTRIBUTION


def foreign(package: ModuleType) -> ForeignPackage:
    """Return the ImportError that names a stranger and where Python found it."""
    where = getattr(package, "__file__", None) or next(iter(getattr(package, "__path__", ())), "an unknown place")
    return ForeignPackage(
        f"protocols needs the package {package.__name__!r} of the distribution {DISTRIBUTION!r}, but Python found "
        f"another one at {where}: rename or remove it, or put the one of {DISTRIBUTION!r} before it on sys.path",
        name=package.__name__,
        path=str(where),
    )
