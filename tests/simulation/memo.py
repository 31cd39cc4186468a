"""`Memo`: work that both ends of a message do is done once, for real, and its result handed to both.

Server and clients verify the same signatures, and the two ends of every pair compute the same Diffie-Hellman value
from opposite keys. In one process that is the same work again, and it is a third of a schedule's time. Nothing is
stubbed: a call that differs in any byte is a call of its own, and a signature or key that is wrong stays wrong.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

from secagg.primitives import agreement, signature
from secagg.primitives.secret import Secret


class Memo:
    """Verdicts on signatures, public keys of private ones, and what pairs of keys agree on."""

    def __init__(self) -> None:
        self._verdicts: dict[tuple[bytes, bytes, bytes, bytes], bool] = {}
        self._publics: dict[bytes, bytes] = {}
        self._agreed: dict[frozenset[bytes], bytes] = {}

    def forget(self) -> None:
        """A new session: none of its keys were seen before."""
        for kept in (self._verdicts, self._publics, self._agreed):
            kept.clear()

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Stand in front of the primitives."""
        verify, public_key, agree = signature.verify, agreement.public_key, agreement.agree

        def verify_once(public: bytes, given: bytes, *, label: bytes, message: bytes) -> bool:
            case = public, given, label, message
            if case not in self._verdicts:
                self._verdicts[case] = verify(public, given, label=label, message=message)
            return self._verdicts[case]

        def public_key_once(private: Secret) -> bytes:
            known = self._publics.get(private.reveal())
            if known is None:
                known = self._publics[private.reveal()] = public_key(private)
            return known

        def agree_once(private: Secret, peer_public: bytes) -> Secret:
            pair = frozenset((public_key_once(private), peer_public))
            if pair not in self._agreed:
                self._agreed[pair] = agree(private, peer_public).reveal()
            return Secret(self._agreed[pair])

        with (
            mock.patch.object(signature, "verify", verify_once),
            mock.patch.object(agreement, "public_key", public_key_once),
            mock.patch.object(agreement, "agree", agree_once),
        ):
            yield
