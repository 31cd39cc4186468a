"""The published answers for the primitives of the suite, as the package cryptography-vectors carries them.

RFC 7748 (X25519), the 1,024 signatures that came with the Ed25519 paper, RFC 5869 (HKDF), NIST's CAVS files for
AES-GCM and RFC 3686 and SP 800-38A for AES in counter mode. Each is put to the product's own functions; what is of
another size than the suite uses is left out, and a count says how much is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata, resources

import pytest

from secagg.primitives import aead, agreement, kdf, prg, signature
from secagg.primitives.secret import Secret

PACKAGE = "cryptography_vectors"
Case = dict[str, str]


def text_of(*path: str) -> str:
    return resources.files(PACKAGE).joinpath(*path).read_text(encoding="utf-8")


def cases(*path: str) -> Iterator[Case]:
    """Blocks of `NAME = value` lines, each begun by COUNT; `[NAME = value]` holds for the blocks below it."""
    above: Case = {}
    case: Case = {}
    for line in text_of(*path).splitlines():
        name, _, value = (part.strip() for part in line.strip("[]").partition("="))
        if line.startswith("["):
            if case:
                yield case
            above, case = {**above, name.lower(): value}, {}
        elif name.lower() == "count":
            if case:
                yield case
            case = {**above}
        elif line and not line.startswith("#"):
            case[name.lower()] = value
    if case:
        yield case


def data(case: Case, name: str) -> bytes:
    return bytes.fromhex(case[name])


def test_the_answers_are_of_the_release_they_test() -> None:
    assert metadata.version("cryptography-vectors") == metadata.version("cryptography")


def test_agreement_has_the_answers_of_rfc_7748() -> None:
    """The second of section 5.2 has a key with its top bit set, which this protocol refuses as a second encoding."""
    agreed = []
    for case in cases("asymmetric", "X25519", "rfc7748.txt"):
        scalar, u, shared = (data(case, name) for name in ("input_scalar", "input_u", "output_u"))
        if agreement.is_valid_public_key(u):
            assert agreement.agree(Secret(scalar), u).reveal() == shared
        else:
            assert u[-1] >> 7
        agreed.append(agreement.is_valid_public_key(u))
    assert agreed.count(False) == 1
    assert len(agreed) >= 3


def test_signatures_are_the_1024_of_the_ed25519_paper() -> None:
    lines = text_of("asymmetric", "Ed25519", "sign.input").splitlines()
    assert len(lines) == 1024
    for line in lines:
        private, public, message, signed = (bytes.fromhex(part) for part in line.split(":")[:4])
        seed, label, rest = Secret(private[:32]), message[:7], message[7:]
        assert signature.verify_key(seed) == public
        assert signature.sign(seed, label=label, message=rest) == signed[:64]
        assert signature.verify(public, signed[:64], label=label, message=rest)


def test_derivation_has_the_answers_of_rfc_5869_and_more() -> None:
    found = [*cases("KDF", "rfc-5869-HKDF-SHA256.txt"), *cases("KDF", "hkdf-generated.txt")]
    fit = [case for case in found if case["hash"] == "SHA-256"]
    assert len(fit) >= 4
    for case in fit:
        secret, info = Secret(data(case, "ikm")), data(case, "info")
        derived = kdf.derive(secret, salt=data(case, "salt"), label=info[:3], context=info[3:], length=int(case["l"]))
        assert derived.reveal() == data(case, "okm")


def of_suite(path: str) -> list[Case]:
    """The CAVS cases with a 96-bit nonce and a 128-bit tag."""
    found = cases("ciphers", "AES", "GCM", path)
    fit = [case for case in found if (case["ivlen"], case["taglen"]) == ("96", "128") and "key" in case]
    assert len(fit) >= 375
    return fit


def test_boxes_open_as_nist_says_and_stay_closed_as_nist_says() -> None:
    verdicts = set()
    for case in of_suite("gcmDecrypt128.rsp"):
        key = Secret(data(case, "key") + data(case, "iv"))
        opened = aead.open_box(key, data(case, "ct") + data(case, "tag"), context=data(case, "aad"))
        assert opened == (None if "fail" in case else data(case, "pt"))
        verdicts.add("fail" in case)
    assert verdicts == {True, False}


def test_boxes_are_sealed_as_nist_says() -> None:
    for case in of_suite("gcmEncryptExtIV128.rsp"):
        key = Secret(data(case, "key") + data(case, "iv"))
        sealed = aead.seal(key, data(case, "pt"), context=data(case, "aad"))
        assert sealed == data(case, "ct") + data(case, "tag")


def by_either_way(name: bytes, length: int, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The stream of a name, by GCM and in counter mode."""
    streams = []
    for faster in (True, False):
        monkeypatch.setattr(prg, "gcm_is_faster", lambda faster=faster: faster)
        streams.append(prg.keystream(Secret(name), length).tobytes())
    return streams


def test_streams_are_the_counter_mode_of_rfc_3686(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its counter starts at 1, ours at 2: the first block is not ours."""
    found = list(cases("ciphers", "AES", "CTR", "aes-128-ctr.txt"))
    fit = [case for case in found if "key" in case and len(data(case, "plaintext")) > 16]
    assert len(fit) >= 2
    for case in fit:
        nonce, counter = data(case, "iv")[:12], data(case, "iv")[12:]
        assert counter == (1).to_bytes(4, "big")
        plain, expected = data(case, "plaintext")[16:], data(case, "ciphertext")[16:]
        for stream in by_either_way(data(case, "key") + nonce, len(plain), monkeypatch):
            assert bytes(a ^ b for a, b in zip(plain, stream, strict=True)) == expected


def test_streams_are_what_nist_encrypts_by_gcm(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = [case for case in of_suite("gcmEncryptExtIV128.rsp") if data(case, "pt")]
    assert len(fit) >= 100
    for case in fit:
        plain = data(case, "pt")
        for stream in by_either_way(data(case, "key") + data(case, "iv"), len(plain), monkeypatch):
            assert bytes(a ^ b for a, b in zip(plain, stream, strict=True)) == data(case, "ct")
