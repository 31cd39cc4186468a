"""A peer's own environment: built once from the package index, outside the tree, and used again.

`SECAGG_PEERS_CACHE` names another folder than the user's cache. Which index is asked is pip's own configuration.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

CACHE: Final = "SECAGG_PEERS_CACHE"
_STAMP: Final = "installed.txt"


class BuildError(Exception):
    """A peer's environment could not be built; the text is what pip said."""


def cache_folder() -> Path:
    """Where environments are kept."""
    if chosen := os.environ.get(CACHE):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "secagg-peers"


def python_of(requirements: Sequence[str], *, folder: Path | None = None) -> Path:
    """Return the interpreter of an environment with the requirements, which is built where there is none.

    Args:
        requirements: names for pip, newest that installs. None at all means this very interpreter.
        folder: where environments are kept; the cache folder unless given.

    Raises:
        BuildError: pip could not install them.
    """
    if not requirements:
        return Path(sys.executable)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    home = (folder or cache_folder()) / "-".join((*sorted(requirements), f"python{version}"))
    python = home / "bin" / "python"
    if not (home / _STAMP).exists():
        venv.create(home, clear=True, with_pip=True, symlinks=True)
        _install(python, requirements)
        (home / _STAMP).write_text(_run([str(python), "-m", "pip", "freeze"]), encoding="utf-8")
    return python


def _install(python: Path, requirements: Sequence[str]) -> None:
    _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements])


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # names from the catalog
    if done.returncode:
        raise BuildError(done.stderr.strip()[-2000:])
    return done.stdout
