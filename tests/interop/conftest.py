"""Tests beside other people's libraries.

A file whose library is not installed is left out here, so that the plain environment has nothing to skip. The landing
check runs this folder from an environment that has them all, and fails where a file collects nothing.
"""

from __future__ import annotations

from importlib.util import find_spec

LIBRARIES = {"test_dp_opacus.py": "opacus", "test_dp_pld.py": "dp_accounting", "test_dp_plot.py": "matplotlib"}

collect_ignore = [name for name, library in LIBRARIES.items() if find_spec(library) is None]
