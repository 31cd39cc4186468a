"""Every error this package raises, and whose fault each one is.

Promise: no built-in exception leaves the API bare, and no error carries a secret.

Three families answer three questions:

* `ConfigError`: a parameter cannot be right. Raised at construction, before any secret exists. The text names the
  parameter, its value and the fix.
* `MisuseError`: our caller used an object out of order. Nothing changed; the caller can still do the right thing.
* `RemoteError`: bytes from another party cannot be right. A client that raises or reports one has already closed
  and wiped its round; a server records it against the peer and goes on.

`RoundAborted` ends a round that fell below a floor. It says at which leg, and which peers are suspected.

Imports nothing of this project but the names of rules and legs, so every module may import it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from secagg.rules import Rule
    from secagg.types import Leg


AnyError = TypeVar("AnyError", bound="SecAggError")


class SecAggError(Exception):
    """Root of every error of this package."""


class ConfigError(SecAggError, ValueError):
    """A parameter is wrong or unsafe; the text names it, its value and the value that would do."""


class InputError(ConfigError):
    """An update does not fit the layout; the text names the tensor and the reason, never its numbers."""


class StorageError(SecAggError):
    """A record could not be read or written; the round it belongs to must not go on."""


class MisuseError(SecAggError):
    """Our own caller used an object out of order; the object is unchanged."""


class PhaseConsumed(MisuseError):
    """A phase was used a second time. Answering a leg twice is an attack, so a phase answers once."""


class RemoteError(SecAggError):
    """Another party sent something that cannot be accepted.

    Attributes:
        rule: the check that failed (docs/protocol.md lists every rule).
        peer: who sent it; None means the server.
        leg: the leg of the round it belongs to, where known.
    """

    def __init__(self, rule: Rule, detail: str = "", *, peer: str | None = None, leg: Leg | None = None) -> None:
        self.rule = rule
        self.peer = peer
        self.leg = leg
        self.detail = detail
        super().__init__(rule, detail)

    def __str__(self) -> str:
        why = self.detail or f"it must hold that {self.rule.meaning}"
        return f"{self.rule.value} is broken: {why} (from {self.peer or 'the server'})"

    def __reduce__(self) -> tuple[Callable[..., SecAggError], tuple[object, ...]]:
        return _rebuilt, (type(self), self.args, self.__dict__)

    def located(self, *, peer: str | None = None, leg: Leg | None = None) -> Self:
        """Fill in who and where, if still unknown, and return the same error: checks are pure and know neither."""
        self.peer = self.peer or peer
        self.leg = leg if self.leg is None else self.leg
        return self


class Malformed(RemoteError):
    """The bytes are not one canonical message of this protocol within its size limits."""


class Unexpected(RemoteError):
    """A well-formed message that this party does not expect now."""

    def __init__(self, rule: Rule, *, expected: str, got: str, peer: str | None = None, leg: Leg | None = None) -> None:
        self.expected = expected
        self.got = got
        super().__init__(rule, f"expected {expected}, got {got}", peer=peer, leg=leg)


class Unauthentic(RemoteError):
    """A signature, tag or commitment does not verify."""


class Violation(RemoteError):
    """A well-formed, authentic message breaks a rule of the protocol or of the client's policy."""


class RoundAborted(SecAggError):
    """The round ended without a sum; nothing was released.

    Attributes:
        leg: where it ended.
        suspects: clients that broke the protocol, if at most max_corrupt of the others lie about it; empty where
            drop-out explains the end, or where nobody can tell who lies.
        disputes: (reporter, dealer) pairs of which one broke the protocol, and nobody can tell which.
    """

    def __init__(
        self,
        leg: Leg,
        reason: str,
        *,
        suspects: tuple[str, ...] = (),
        disputes: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.leg = leg
        self.suspects = suspects
        self.disputes = disputes
        named = f"; suspects: {', '.join(suspects)}" if suspects else ""
        super().__init__(f"round ended at leg {leg.name.lower()}: {reason}{named}")

    def __reduce__(self) -> tuple[Callable[..., SecAggError], tuple[object, ...]]:
        return _rebuilt, (type(self), self.args, self.__dict__)


class TooFewClients(RoundAborted):
    """Fewer clients than the floor reached the end of a leg."""

    def __init__(
        self,
        leg: Leg,
        *,
        got: int,
        need: int,
        suspects: tuple[str, ...] = (),
        disputes: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.got = got
        self.need = need
        super().__init__(leg, f"{got} clients, {need} needed", suspects=suspects, disputes=disputes)


class Unrecoverable(RoundAborted):
    """A secret that the sum needs could not be rebuilt from the shares received; nothing is guessed.

    Attributes:
        rule: the check it failed.
    """

    def __init__(
        self,
        rule: Rule,
        reason: str,
        *,
        leg: Leg,
        suspects: tuple[str, ...] = (),
        disputes: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.rule = rule
        super().__init__(leg, f"{rule.value}: {reason}", suspects=suspects, disputes=disputes)


def detached(error: AnyError) -> AnyError:
    """Cut an error loose from the frames and errors it came through, and return it.

    A round keeps its errors for as long as it lives; the frames would keep messages and secrets alive with them.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _rebuilt(kind: type[SecAggError], args: tuple[object, ...], fields: dict[str, object]) -> SecAggError:
    """Unpickle an error without its constructor, whose arguments are not its args."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(fields)
    return error
