"""`Phase`: the object a party is between two legs, used once.

Promise: answering a leg twice is impossible to write by accident. A phase that answered, or that met a peer's fault,
has cleared its fields; using it again raises `PhaseConsumed`. Our own caller's mistake (`MisuseError`, `ConfigError`)
leaves it unspent. A phase is never copied or pickled: either would be a second chance to answer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

from secagg.errors import ConfigError, MisuseError, PhaseConsumed


class Phase:
    """Base of every phase; subclasses list their fields in `__slots__` and answer inside `_answering()`."""

    __slots__ = ("_spent",)

    def __init__(self) -> None:
        self._spent = False

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        """Run the one answer of this phase: spend it on success, spend and wipe it on anyone else's fault."""
        if self._spent:
            raise PhaseConsumed(f"{type(self).__name__} was used already; a phase answers once")
        self._spent = True  # from the first line of the answer, so that nothing called from it can ask for another
        try:
            yield
        except (ConfigError, MisuseError):
            self._spent = False
            raise
        except BaseException:
            self._wipe()
            self._clear()
            raise
        self._clear()

    def abandon(self) -> None:
        """Wipe what is secret and clear the phase; it can never answer."""
        if not self._spent:
            self._wipe()
            self._clear()

    def _wipe(self) -> None:
        """Overwrite the secrets this phase holds; phases that hold none inherit this."""

    def _clear(self) -> None:
        self._spent = True
        for slot in type(self).__slots__:
            delattr(self, slot)

    if not TYPE_CHECKING:  # a type checker that saw it would take every attribute for granted

        def __getattr__(self, name: str) -> NoReturn:
            """Name the mistake where a spent phase is read: its fields are gone."""
            if name in type(self).__slots__:
                raise PhaseConsumed(f"{type(self).__name__} was used already; a phase answers once")
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}{' (spent)' if self._spent else ''}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise MisuseError("a phase is never pickled or copied: a copy could answer a second time")
