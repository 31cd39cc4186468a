"""What a test may see and nobody else: everything an object holds, and every secret among it."""

from __future__ import annotations

import gc
import types
from collections.abc import Iterable

from secagg.identity import Identity
from secagg.primitives.secret import Secret
from secagg.round.client import ClientRound

_CODE = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MemberDescriptorType,
    types.GetSetDescriptorType,
    types.CodeType,
)
_STACK = (types.FrameType, types.TracebackType)


def reachable_from(*roots: object, frames: bool = False) -> list[object]:
    """Everything `roots` hold, themselves included; code is left out, and so are stack frames unless asked for.

    With frames, an exception's traceback is followed into the local variables it keeps alive.
    """
    left_out = _CODE if frames else _CODE + _STACK
    seen = {id(root): root for root in roots}
    stack = list(roots)
    while stack:
        for child in gc.get_referents(stack.pop()):
            if id(child) not in seen and not isinstance(child, left_out) and not _is_namespace(child):
                seen[id(child)] = child
                stack.append(child)
    return list(seen.values())


def _is_namespace(thing: object) -> bool:
    """The globals of a module, which a frame holds: from there on everything is reachable and nothing is said."""
    return isinstance(thing, dict) and "__builtins__" in thing


def secrets_in(*roots: object, frames: bool = False) -> list[Secret]:
    """Every `Secret` that `roots` hold."""
    return [thing for thing in reachable_from(*roots, frames=frames) if isinstance(thing, Secret)]


def round_secrets_of(client: ClientRound) -> list[Secret]:
    """Every `Secret` of a client's round: all it holds but its identity, which outlives the round."""
    lasting = {id(secret) for secret in secrets_in(client._identity, client._directory)}
    return [secret for secret in secrets_in(client) if id(secret) not in lasting]


def is_wiped(secret: Secret) -> bool:
    return secret._wiped and not any(secret._bytes)


def unwiped(secrets: Iterable[Secret]) -> list[Secret]:
    return [secret for secret in secrets if not is_wiped(secret)]


def live_secrets() -> list[Secret]:
    """Every unwiped `Secret` of the process but those of identities."""
    gc.collect()
    lasting = {id(thing._seed) for thing in gc.get_objects() if isinstance(thing, Identity)}
    return [
        thing
        for thing in gc.get_objects()
        if isinstance(thing, Secret) and id(thing) not in lasting and not is_wiped(thing)
    ]
