"""Secure aggregation and differential privacy together, around any training loop."""

import dp
from protocols._guard import foreign, is_own

if not is_own(dp):  # before anything of it is imported
    raise foreign(dp)

from protocols.recipe import Recipe

__all__ = ["Recipe"]
