"""`Tape`: which box and tag keys honest parties seal with, and which mask streams clients open.

Installed around a campaign, it stands in front of two primitives and notes their keys; it changes no byte.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

from secagg.primitives import aead, prg
from secagg.primitives.secret import Secret
from tests.simulation import invariants
from tests.simulation.memo import Memo

SERVER = "the server"


class Tape:
    """What keys were used for, by party.

    Attributes:
        party: who runs now; nothing is noted for the nameless, who may lie.
        liars: parties that may do as they like.
    """

    def __init__(self) -> None:
        self.party = ""
        self.liars: frozenset[str] = frozenset()
        self._sealed: dict[bytes, list[bytes]] = {}
        self._opened: list[bytes] = []
        self._sealing: list[tuple[bytes, bytes, bytes]] = []
        self.memo = Memo()
        self._masked: dict[tuple[str, bytes], bytes] = {}

    def forget(self) -> None:
        """A new session: its keys have nothing to do with those of the last."""
        for kept in (self._sealed, self._opened, self._sealing, self._masked):
            kept.clear()
        self.memo.forget()

    @contextlib.contextmanager
    def of(self, party: str) -> Iterator[None]:
        """Note what is done within as this party's."""
        self.begin(party)
        try:
            yield
            self.note_left([party.encode()])
        finally:
            self.party = ""

    def begin(self, party: str) -> None:
        """What is done from here on is this party's."""
        self.party = party
        self._opened.clear()
        self._sealing.clear()

    def note_seal(self, key: Secret, plaintext: bytes, context: bytes | memoryview) -> None:
        """Keep what was sealed until it is known whether it left."""
        if self.party not in {"", *self.liars}:
            self._sealing.append((key.reveal(), plaintext, bytes(context)))

    def note_stream(self, name: bytes, position: int) -> None:
        """Keep a piece of a mask stream until it is known what left under it; a server makes them to remove masks."""
        if self.party not in {"", SERVER, *self.liars}:
            self._opened.append(name + position.to_bytes(8, "big"))

    def note_left(self, said: list[bytes]) -> None:
        """I4: what left under a key is all that ever leaves under it; to say the same again is no reuse.

        A box or tag key seals one plaintext in one context. Two parties share a pairwise mask, so a stream is held
        against what one party sent. What a power loss kept from leaving was said to nobody.
        """
        left = b"".join(said)
        for key, *sealed in self._sealing if left else ():
            known_seal = self._sealed.setdefault(key, sealed)
            invariants.i4_no_key_is_used_twice(known_seal, sealed, f"{self.party} sealed two things under one key")
        for stream in self._opened if left else ():
            known = self._masked.setdefault((self.party, stream), left)
            invariants.i4_no_key_is_used_twice(known, left, f"{self.party} masked two things under one key")
        self._sealing.clear()
        self._opened.clear()

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Stand in front of the primitives."""
        seal, tape = aead.seal, self

        def noted_seal(key: Secret, plaintext: bytes, *, context: bytes | memoryview) -> bytes:
            self.note_seal(key, plaintext, context)
            return seal(key, plaintext, context=context)

        class NotedStream(prg.Stream):
            """A stream of masks: what draws coefficients or shuffles positions is made by `prg.reader`, not opened."""

            __slots__ = ("_name",)

            def __init__(self, key: Secret) -> None:
                super().__init__(key)
                self._name = key.reveal()

            def write(self, position: int, buffer: memoryview) -> None:
                tape.note_stream(self._name, position)
                super().write(position, buffer)

        with (
            mock.patch.object(aead, "seal", noted_seal),
            mock.patch.object(prg, "open_stream", NotedStream),
            self.memo.in_use(),
        ):
            yield
