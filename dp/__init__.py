"""What the sum itself may tell.

Secure aggregation hides every update behind the sum; this package bounds what one update can do to that sum, which is
the ground that any statement about the sum itself stands on.
"""

from dp.accountants import Against, Guarantee, epsilon
from dp.adaptive import QuantileClip
from dp.clipping import ClipReport, clip, clip_factor, l2_norm
from dp.errors import (
    BudgetExceeded,
    LedgerBusy,
    LedgerCorrupt,
    LedgerError,
    ParameterError,
    PrivacyError,
    UpdateError,
)
from dp.events import (
    Composed,
    DiscreteGaussianSum,
    FixedSizeSampled,
    Gaussian,
    Neighboring,
    PoissonSampled,
    Repeated,
    SkellamSum,
)
from dp.ledger import Anchor, Budget, Charge, FileStorage, Ledger, MemoryStorage
from dp.noise import DiscreteGaussian, Skellam

__secagg_distribution__ = "secagg"
"""Tells this package from any other top-level package named `dp`; `protocols` refuses to run on another one."""

__all__ = [
    "Against",
    "Anchor",
    "Budget",
    "BudgetExceeded",
    "Charge",
    "ClipReport",
    "Composed",
    "DiscreteGaussian",
    "DiscreteGaussianSum",
    "FileStorage",
    "FixedSizeSampled",
    "Gaussian",
    "Guarantee",
    "Ledger",
    "LedgerBusy",
    "LedgerCorrupt",
    "LedgerError",
    "MemoryStorage",
    "Neighboring",
    "ParameterError",
    "PoissonSampled",
    "PrivacyError",
    "QuantileClip",
    "Repeated",
    "Skellam",
    "SkellamSum",
    "UpdateError",
    "clip",
    "clip_factor",
    "epsilon",
    "l2_norm",
]
