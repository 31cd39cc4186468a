"""What a test may see and nobody else: everything an object holds, and every secret among it."""

from __future__ import annotations

import gc
import traceback
import types
from collections.abc import Iterable

from secagg.primitives.secret import Secret
from secagg.round.client import ClientRound

# What is no value: code, and the stack, from which everything is reachable and nothing is held for long.
_LEFT_OUT = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MemberDescriptorType,
    types.GetSetDescriptorType,
    types.CodeType,
    types.FrameType,
    types.TracebackType,
)


def reachable_from(*roots: object) -> list[object]:
    """Everything `roots` hold, themselves included; code and stack frames are left out."""
    seen = {id(root): root for root in roots}
    stack = list(roots)
    while stack:
        for child in gc.get_referents(stack.pop()):
            if id(child) not in seen and not isinstance(child, _LEFT_OUT):
                seen[id(child)] = child
                stack.append(child)
    return list(seen.values())


def kept_by(error: BaseException) -> list[object]:
    """The local variables of our own code that an error keeps alive by its traceback, and its causes by theirs."""
    kept: list[object] = []
    link: BaseException | None = error
    while link is not None:
        for frame, _ in traceback.walk_tb(link.__traceback__):
            if frame.f_globals["__name__"].startswith("secagg."):
                kept += frame.f_locals.values()
        link = link.__cause__ or link.__context__
    return kept


def secrets_in(*roots: object) -> list[Secret]:
    """Every `Secret` that `roots` hold."""
    return [thing for thing in reachable_from(*roots) if isinstance(thing, Secret)]


def round_secrets_of(client: ClientRound) -> list[Secret]:
    """Every `Secret` of a client's round: all it holds but its identity, which outlives the round."""
    return without(secrets_in(client), secrets_in(client._identity, client._directory))


def without(secrets: Iterable[Secret], lasting: Iterable[Secret]) -> list[Secret]:
    """The secrets that are not, as objects, among `lasting`; to compare contents would need them unwiped."""
    known = {id(secret) for secret in lasting}
    return [secret for secret in secrets if id(secret) not in known]


def is_wiped(secret: Secret) -> bool:
    return secret._wiped and not any(secret._bytes)


def unwiped(secrets: Iterable[Secret]) -> list[Secret]:
    return [secret for secret in secrets if not is_wiped(secret)]
