"""What the sum itself may tell.

Secure aggregation hides every update behind the sum; this package bounds what one update can do to that sum, which is
the ground that any statement about the sum itself stands on.
"""

from dp.clipping import ClipReport, clip, clip_factor, l2_norm
from dp.errors import ParameterError, PrivacyError, UpdateError

__secagg_distribution__ = "secagg"
"""Tells this package from any other top-level package named `dp`; `protocols` refuses to run on another one."""

__all__ = ["ClipReport", "ParameterError", "PrivacyError", "UpdateError", "clip", "clip_factor", "l2_norm"]
