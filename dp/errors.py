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
