"""`RoundConfig`: which round this is, in one canonical byte string whose SHA-256 binds every key and signature.

Promise: whatever two clients could be told differently about a round is in the config, so clients that were told
different things derive different keys, and no share of one opens for the other.

The round's plan travels in it and is certified again wherever it is decoded.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Protocol

import msgspec

from secagg.errors import ConfigError, Violation
from secagg.identity import client_id
from secagg.plan import Plan
from secagg.primitives import labels
from secagg.primitives.kdf import digest
from secagg.primitives.suite import DIGEST_SIZE, SUITE, VERSION
from secagg.ring import Ring
from secagg.rules import Rule
from secagg.types import Adversary, ClientId
from secagg.wire import Bytes16, Digest, Message, decode_body, encode_body

SESSION_SIZE: Final = 16
MAX_ROUND: Final = 2**63 - 1
MAX_LENGTH: Final = 2**36
CHUNK_GRAIN: Final = 1 << 16
"""A chunk is a multiple of this many words, so every chunk of every ring ends on a byte and on a cipher block."""
DEFAULT_CHUNK_WORDS: Final = 1 << 22
MAX_CHUNK_WORDS: Final = 1 << 27
"""2^27 words of 64 bits are 1 GiB: below what one tag can cover."""

_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_ROUND)]


class Summable(Protocol):
    """What the config needs to know of a recipe or layout: its digest, its length, its ring for a plan."""

    @property
    def digest(self) -> bytes:
        """32 bytes that cover everything about how an update becomes an input."""
        ...

    @property
    def length(self) -> int:
        """Coordinates of an input."""
        ...

    def ring(self, plan: Plan) -> Ring:
        """The smallest ring in which the plan's clients cannot wrap."""
        ...


class _Fields(Message, frozen=True):
    """The config on the wire."""

    version: int
    suite: int
    session: Bytes16
    round: _Count
    clients: _Count
    max_dropped: _Count
    max_corrupt: _Count
    adversary: Annotated[str, msgspec.Meta(max_length=16)]
    degree: _Count
    threshold: _Count
    quorum: _Count
    security_bits: _Count
    correctness_bits: _Count
    invited_digest: Digest
    recipe_digest: Digest
    instructions_digest: Digest
    ring_bits: _Count
    length: _Count
    chunk_words: _Count


@dataclass(frozen=True, kw_only=True)
class RoundConfig:
    """Everything about a round that is agreed before it starts.

    Attributes:
        session: 16 bytes naming the series of rounds.
        round: the round's number in it; a client serves each number at most once, and only upwards.
        plan: who must behave.
        invited_digest: digest of the invited list; see `invited_digest`.
        recipe_digest: digest of what is summed.
        instructions_digest: digest of what the clients execute, the model they train included.
        ring_bits: bits of the ring the inputs live in.
        length: coordinates of an input.
        chunk_words: words in each message of a masked input but the last.

    Raises:
        ConfigError: a field is out of range.
    """

    session: bytes
    round: int
    plan: Plan
    invited_digest: bytes
    recipe_digest: bytes
    instructions_digest: bytes
    ring_bits: int
    length: int
    chunk_words: int = DEFAULT_CHUNK_WORDS

    def __post_init__(self) -> None:
        _require_bytes("session", self.session, SESSION_SIZE)
        for name in ("invited_digest", "recipe_digest", "instructions_digest"):
            _require_bytes(name, getattr(self, name), DIGEST_SIZE)
        _require_range("round", self.round, 1, MAX_ROUND)
        _require_range("length", self.length, 1, MAX_LENGTH)
        _require_range("chunk_words", self.chunk_words, CHUNK_GRAIN, MAX_CHUNK_WORDS)
        if self.chunk_words % CHUNK_GRAIN:
            raise ConfigError(f"chunk_words must be a multiple of {CHUNK_GRAIN}, got {self.chunk_words}")
        Ring(self.ring_bits)

    @classmethod
    def create(
        cls,
        *,
        session: bytes,
        round: int,  # noqa: A002  # the field's standard word; the builtin is not used here
        plan: Plan,
        invited: Sequence[str],
        recipe: Summable,
        instructions: bytes = b"",
        chunk_words: int = DEFAULT_CHUNK_WORDS,
    ) -> RoundConfig:
        """Write the config of a round for a recipe and an invited list.

        Args:
            session: 16 bytes naming the series of rounds.
            round: the round's number, above every earlier one of the session.
            plan: the plan; `plan.clients` must be the number invited.
            invited: the invited clients' names, in any order.
            recipe: what is summed; its digest, length and ring go into the config.
            instructions: every byte the clients execute by, the model included; only its digest is kept.
            chunk_words: words in each message of a masked input.

        Raises:
            ConfigError: the invited list does not fit the plan, or a field is out of range.
        """
        names = sorted_invited(invited)
        if len(names) != plan.clients:
            raise ConfigError(f"invited names {len(names)} clients, the plan is for clients={plan.clients}")
        return cls(
            session=session,
            round=round,
            plan=plan,
            invited_digest=invited_digest(names),
            recipe_digest=recipe.digest,
            instructions_digest=instructions_digest(instructions),
            ring_bits=recipe.ring(plan).bits,
            length=recipe.length,
            chunk_words=chunk_words,
        )

    @functools.cached_property
    def ring(self) -> Ring:
        """The ring the inputs live in."""
        return Ring(self.ring_bits)

    @functools.cached_property
    def encoded(self) -> bytes:
        """The canonical bytes of the config."""
        plan = self.plan
        return encode_body(
            _Fields(
                version=VERSION,
                suite=SUITE,
                session=self.session,
                round=self.round,
                clients=plan.clients,
                max_dropped=plan.max_dropped,
                max_corrupt=plan.max_corrupt,
                adversary=plan.adversary.value,
                degree=plan.degree,
                threshold=plan.threshold,
                quorum=plan.quorum,
                security_bits=plan.security_bits,
                correctness_bits=plan.correctness_bits,
                invited_digest=self.invited_digest,
                recipe_digest=self.recipe_digest,
                instructions_digest=self.instructions_digest,
                ring_bits=self.ring_bits,
                length=self.length,
                chunk_words=self.chunk_words,
            )
        )

    @functools.cached_property
    def digest(self) -> bytes:
        """SHA-256 of the canonical bytes under its label: the salt of every key of the round."""
        return digest(labels.CONFIG_DIGEST, self.encoded)

    @property
    def chunks(self) -> int:
        """Number of messages a masked input travels in."""
        return -(-self.length // self.chunk_words)

    def chunk_range(self, chunk: int) -> tuple[int, int]:
        """First coordinate of a chunk and the one after its last."""
        start = chunk * self.chunk_words
        return start, min(self.length, start + self.chunk_words)

    @classmethod
    def decode(cls, data: bytes, *, plan_type: Callable[..., Plan] = Plan) -> RoundConfig:
        """Read a config that another party wrote; its plan is certified by `plan_type` on the way.

        Args:
            data: the encoded config.
            plan_type: called with the fields of a plan; `Policy.make_plan` refuses some of them before any work.

        Raises:
            Malformed: not the canonical encoding of a config.
            Violation(OFFER_CONFIG): another version or suite, or a field out of range.
            Violation(OFFER_PLAN): the plan is not safe for its adversary.
            Violation(OFFER_POLICY): `plan_type` is a policy's, and the adversary is of a class it does not allow.
        """
        fields = decode_body(_Fields, data)
        if (fields.version, fields.suite) != (VERSION, SUITE):
            raise Violation(Rule.OFFER_CONFIG, f"version {fields.version}, suite {fields.suite}")
        try:
            plan = plan_type(
                clients=fields.clients,
                max_dropped=fields.max_dropped,
                max_corrupt=fields.max_corrupt,
                adversary=_adversary(fields.adversary),
                degree=fields.degree,
                threshold=fields.threshold,
                quorum=fields.quorum,
                security_bits=fields.security_bits,
                correctness_bits=fields.correctness_bits,
            )
        except ConfigError as error:
            raise Violation(Rule.OFFER_PLAN, str(error)) from error
        try:
            return cls(
                session=fields.session,
                round=fields.round,
                plan=plan,
                invited_digest=fields.invited_digest,
                recipe_digest=fields.recipe_digest,
                instructions_digest=fields.instructions_digest,
                ring_bits=fields.ring_bits,
                length=fields.length,
                chunk_words=fields.chunk_words,
            )
        except ConfigError as error:
            raise Violation(Rule.OFFER_CONFIG, str(error)) from error


def _adversary(name: str) -> Adversary:
    try:
        return Adversary(name)
    except ValueError as error:
        raise ConfigError(f"adversary must be one of {[member.value for member in Adversary]}") from error


def sorted_invited(invited: Sequence[str]) -> tuple[ClientId, ...]:
    """Check, brand and sort a list of names; a client's position is its index in the answer.

    Raises:
        ConfigError: a name is not a client id, or is listed twice.
    """
    names = tuple(sorted(client_id(name) for name in invited))
    for name, after in itertools.pairwise(names):
        if name == after:
            raise ConfigError(f"invited lists {name!r} twice; each client has one position")
    return names


def invited_digest(invited: Sequence[ClientId]) -> bytes:
    """Digest of a sorted invited list."""
    return digest(labels.INVITED_DIGEST, *(name.encode("ascii") for name in invited))


def instructions_digest(*instructions: bytes) -> bytes:
    """Digest of everything a client will execute: model bytes, training instructions, rotation seed.

    A client computes it from what it holds and will run, never from what the server says the digest is; a client
    that was sent another model then leaves the round before a share leaves it (arXiv 2111.07380).

    Raises:
        ConfigError: a part is not bytes.
    """
    for part in instructions:
        if not isinstance(part, bytes):
            raise ConfigError(f"instructions must be bytes, got {type(part).__name__}: encode them")
    return digest(labels.INSTRUCTIONS_DIGEST, *instructions)


def _require_bytes(name: str, value: bytes, size: int) -> None:
    if not isinstance(value, bytes) or len(value) != size:
        raise ConfigError(f"{name} must be {size} bytes, got {len(value) if isinstance(value, bytes) else type(value)}")


def _require_range(name: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(f"{name} must be an integer from {low} to {high}, got {value!r:.40}")
