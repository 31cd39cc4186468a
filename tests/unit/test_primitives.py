"""Primitives against published answers, and the rules that keep their use safe: one encoding a key, labels, secrets."""

from __future__ import annotations

import ast
import copy
import functools
import hmac
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import nacl.bindings
import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CTR, ECB, GCM
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import secagg
from secagg.errors import ConfigError, MisuseError
from secagg.primitives import aead, agreement, kdf, labels, prg, signature, suite
from secagg.primitives.agreement import agree, is_valid_public_key, public_key
from secagg.primitives.secret import Secret

FIELD_PRIME = 2**255 - 19
LABEL = b"label\0"
LOW_ORDER = {
    "order 2": 0,
    "order 4": 1,
    "order 4 on the twist": FIELD_PRIME - 1,
    "order 8": 325606250916557431795983626356110631294008115727848805560023387167927233504,
    "order 8, the other": 39382357235489614581723060781553021112529911719440698176882885853963445705823,
}
PRODUCT = Path(secagg.__file__).parents[1]


class Sealed(NamedTuple):
    key: Secret
    plaintext: bytes
    context: bytes
    box: bytes


def secret(text: str) -> Secret:
    return Secret(bytes.fromhex(text))


def encoded(u: int) -> bytes:
    return u.to_bytes(32, "little")


def ladder(scalar: bytes, u: int) -> int:
    """The Montgomery ladder of RFC 7748, section 5, in plain integers; zero stands for the point at infinity too."""
    clamped = (int.from_bytes(scalar, "little") & ((1 << 254) - 8)) | (1 << 254)
    x2, z2, x3, z3 = 1, 0, u, 1
    for bit in range(254, -1, -1):
        if clamped >> bit & 1:
            x2, z2, x3, z3 = x3, z3, x2, z2
        plus, minus = (x2 + z2) % FIELD_PRIME, (x2 - z2) % FIELD_PRIME
        cross, other = (x3 - z3) * plus, (x3 + z3) * minus
        x3, z3 = (cross + other) ** 2 % FIELD_PRIME, u * (cross - other) ** 2 % FIELD_PRIME
        square, difference = plus**2, plus**2 - minus**2
        x2, z2 = square * minus**2 % FIELD_PRIME, difference * (square + 121665 * difference) % FIELD_PRIME
        if clamped >> bit & 1:
            x2, z2, x3, z3 = x3, z3, x2, z2
    return x2 * pow(z2, FIELD_PRIME - 2, FIELD_PRIME) % FIELD_PRIME


# X25519.


def test_agreement_has_the_answer_of_rfc_7748_section_5_2() -> None:
    private = secret("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
    peer = bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
    assert agree(private, peer).reveal().hex() == "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"


def test_agreement_has_the_answers_of_rfc_7748_section_6_1() -> None:
    alice = secret("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    bob = secret("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
    assert public_key(alice).hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert public_key(bob).hex() == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    assert agree(alice, public_key(bob)).reveal().hex() == shared
    assert agree(bob, public_key(alice)).reveal().hex() == shared


def test_every_point_of_low_order_multiplies_to_zero_and_is_refused() -> None:
    # The torsion of curve and twist is cyclic of order 8 and 4. Points P and -P share a u, so there are exactly five:
    # one of order 2 (on both), one of order 4 on either, two of order 8; the point at infinity is encoded as 0, too.
    for name, u in LOW_ORDER.items():
        for scalar in (bytes(range(32)), b"\xff" * 32):
            assert ladder(scalar, u) == 0, name
            with pytest.raises(RuntimeError):  # libsodium sees the zero, too
                nacl.bindings.crypto_scalarmult(scalar, encoded(u))
        assert not is_valid_public_key(encoded(u)), name
    assert {encoded(u) for u in LOW_ORDER.values()} == agreement._LOW_ORDER


@pytest.mark.parametrize("u", [2, 9, FIELD_PRIME - 2, 325606250916557431795983626356110631294008115727848805560023387])
def test_a_point_beside_the_low_ones_is_a_key(u: int) -> None:
    assert ladder(bytes(range(32)), u) != 0
    assert is_valid_public_key(encoded(u))


def test_a_second_encoding_of_a_point_is_refused() -> None:
    aliases = [FIELD_PRIME + u for u in range(19)]
    aliases += [u + 2**255 for u in (9, 2**254, FIELD_PRIME - 2)]  # the unused top bit of an honest key
    aliases += [FIELD_PRIME + u + 2**255 for u in range(19)]
    for u in aliases:
        assert not is_valid_public_key(encoded(u)), hex(u)


def test_the_second_key_of_rfc_7748_has_its_top_bit_set_and_is_refused() -> None:
    key = bytes.fromhex("e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493")
    assert not is_valid_public_key(key)


@pytest.mark.parametrize("key", [b"", bytes(31), encoded(9)[:-1], encoded(9) + b"\0"])
def test_a_key_of_another_length_is_refused(key: bytes) -> None:
    assert not is_valid_public_key(key)


@pytest.mark.parametrize("u", [0, 1, FIELD_PRIME - 1, FIELD_PRIME + 9])
def test_an_exchange_with_a_bad_key_never_yields_a_value(u: int) -> None:
    with pytest.raises(ConfigError, match="full order"):
        agree(Secret(bytes(range(32))), encoded(u))


@settings(deadline=None, max_examples=25)
@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_an_exchange_is_the_same_from_either_side_and_as_the_plain_ladder(one: bytes, other: bytes) -> None:
    shared = agree(Secret(one), public_key(Secret(other)))
    assert shared == agree(Secret(other), public_key(Secret(one)))
    assert int.from_bytes(shared.reveal(), "little") == ladder(one, ladder(other, 9))
    assert is_valid_public_key(public_key(Secret(one)))


# Ed25519.

RFC_8032 = {  # section 7.1: seed, public key, message, and the two halves of the signature
    "test 1": (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155",
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    "test 2": (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da",
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    "test 3": (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac",
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
}


@pytest.mark.parametrize(("seed", "public", "message", "r", "s"), RFC_8032.values(), ids=RFC_8032)
def test_signatures_have_the_answers_of_rfc_8032(seed: str, public: str, message: str, r: str, s: str) -> None:
    text, key = bytes.fromhex(message), bytes.fromhex(public)
    assert signature.verify_key(secret(seed)) == key
    assert signature.sign(secret(seed), label=b"", message=text).hex() == r + s
    assert signature.verify(key, bytes.fromhex(r + s), label=b"", message=text)


def test_a_signature_is_of_its_label_and_message_together() -> None:
    seed = Secret(bytes(range(32)))
    public, signed = signature.verify_key(seed), signature.sign(seed, label=LABEL, message=b"text")
    assert signed == signature.sign(seed, label=b"", message=LABEL + b"text")
    assert signature.verify(public, signed, label=LABEL, message=b"text")
    assert not signature.verify(public, signed, label=b"other\0", message=b"text")
    assert not signature.verify(public, signed, label=LABEL, message=b"texts")
    assert not signature.verify(signature.verify_key(Secret(bytes(32))), signed, label=LABEL, message=b"text")


def test_every_flipped_bit_of_a_signature_is_noticed() -> None:
    seed = Secret(bytes(range(32)))
    public, signed = signature.verify_key(seed), signature.sign(seed, label=LABEL, message=b"text")
    for bit in range(8 * len(signed)):
        flipped = bytearray(signed)
        flipped[bit // 8] ^= 1 << bit % 8
        assert not signature.verify(public, bytes(flipped), label=LABEL, message=b"text"), bit


@pytest.mark.parametrize("public", [b"", bytes(31), bytes(33), bytes(32), encoded(1), b"\xff" * 32])
def test_a_key_that_is_none_verifies_nothing(public: bytes) -> None:
    # encoded(1) is the neutral element: with it, R = sB would be a signature of everything.
    assert not signature.verify(public, encoded(1) + bytes(32), label=LABEL, message=b"text")


@pytest.mark.parametrize("length", [0, 63, 65])
def test_a_signature_of_another_length_is_none(length: int) -> None:
    seed = Secret(bytes(32))
    signed = (signature.sign(seed, label=LABEL, message=b"") + b"\0")[:length]
    assert not signature.verify(signature.verify_key(seed), signed, label=LABEL, message=b"")


# HKDF and hashes.


def test_derivation_has_the_answer_of_rfc_5869_test_case_1() -> None:
    info = bytes.fromhex("f0f1f2f3f4f5f6f7f8f9")
    salt = bytes.fromhex("000102030405060708090a0b0c")
    expected = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    for cut in range(len(info) + 1):  # label and context are one info
        derived = kdf.derive(Secret(b"\x0b" * 22), salt=salt, label=info[:cut], context=info[cut:], length=42)
        assert derived.reveal().hex() == expected


def test_derivation_has_the_answer_of_rfc_5869_test_case_3() -> None:
    derived = kdf.derive(Secret(b"\x0b" * 22), salt=b"", label=b"", length=42)
    expected = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    assert derived.reveal().hex() == expected


def test_secret_salt_label_and_context_each_change_what_is_derived() -> None:
    def derived(key: bytes = b"k" * 32, salt: bytes = b"s", label: bytes = LABEL, context: bytes = b"c") -> bytes:
        return kdf.derive(Secret(key), salt=salt, label=label, context=context, length=32).reveal()

    changes = [derived(key=b"l" * 32), derived(salt=b"t"), derived(label=b"Label\0"), derived(context=b"d")]
    assert len({derived(), *changes}) == 1 + len(changes)


parts = st.lists(st.binary(max_size=12), max_size=4)


@given(parts, parts)
def test_two_lists_of_parts_hash_alike_only_if_they_are_one(one: list[bytes], other: list[bytes]) -> None:
    assert (kdf.digest(LABEL, *one) == kdf.digest(LABEL, *other)) == (one == other)


@given(st.lists(st.binary(max_size=6), min_size=1, max_size=4), st.data())
def test_a_byte_moved_between_parts_changes_the_hash(given_parts: list[bytes], data: st.DataObject) -> None:
    joined = b"".join(given_parts)
    cut = data.draw(st.integers(0, len(joined)))
    assert (kdf.digest(LABEL, joined[:cut], joined[cut:]) == kdf.digest(LABEL, *given_parts)) == (
        given_parts == [joined[:cut], joined[cut:]]
    )


# AES.

NAME = bytes.fromhex("feffe9928665731c6d6a8f9467308308" + "cafebabefacedbaddecaf888")
EDGES = (0, 16, prg.SEGMENT - 16, prg.SEGMENT, prg.SEGMENT + 48, 3 * prg.SEGMENT - 32)


def defined(name: bytes, position: int, size: int) -> bytes:
    """The definition once more, a block at a time and without a mode: for positions on a block."""
    cipher = Cipher(AES128(name[:16]), ECB()).encryptor()  # noqa: S305  # the bare block cipher, to build the mode
    blocks = []
    for place in range(position, position + size, 16):
        segment, offset = divmod(place, 2**20)
        numbered = name[16:24] + bytes(a ^ b for a, b in zip(name[24:], segment.to_bytes(4, "big"), strict=True))
        blocks.append(cipher.update(numbered + (2 + offset // 16).to_bytes(4, "big")))
    return b"".join(blocks)[:size]


def written(stream: prg.Stream, position: int, size: int) -> bytes:
    buffer = bytearray(size)
    stream.write(position, memoryview(buffer))
    return bytes(buffer)


@pytest.mark.usefixtures("either_way")
def test_a_stream_is_what_gcm_encrypts_zeros_to() -> None:
    # McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B, test case 4: plaintext and ciphertext.
    plaintext = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    ciphertext = "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
    expected = bytes(a ^ b for a, b in zip(bytes.fromhex(plaintext), bytes.fromhex(ciphertext), strict=True))
    assert prg.keystream(Secret(NAME), 32).tobytes() == expected == defined(NAME, 0, 32)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("position", EDGES)
def test_a_piece_from_anywhere_is_that_of_the_definition(position: int) -> None:
    left = prg.SEGMENT - position % prg.SEGMENT
    for name in (NAME, bytes(28), b"\xff" * 28):
        stream = prg.open_stream(Secret(name))
        for size in (0, 5, min(32, left), 16):
            assert written(stream, position, size) == defined(name, position, size)


@pytest.mark.usefixtures("either_way")
def test_pieces_in_a_row_are_the_whole() -> None:
    whole = prg.keystream(Secret(NAME), 2 * prg.SEGMENT + 100).tobytes()
    stream = prg.open_stream(Secret(NAME))
    for piece in (prg.SEGMENT, prg.SEGMENT // 2, 128 * 1024):
        pieces = [written(stream, start, piece) for start in range(0, 2 * prg.SEGMENT, piece)]
        assert b"".join(pieces) == whole[: 2 * prg.SEGMENT]
    assert whole[2 * prg.SEGMENT :] == defined(NAME, 2 * prg.SEGMENT, 112)[:100]
    assert written(stream, prg.SEGMENT - 32, 32) == whole[prg.SEGMENT - 32 : prg.SEGMENT]


@pytest.mark.usefixtures("either_way")
@given(st.binary(min_size=28, max_size=28), st.lists(st.integers(0, 40), max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_read_piece_by_piece_is_the_stream(name: bytes, counts: list[int]) -> None:
    read = prg.reader(Secret(name))
    assert b"".join(read(count) for count in counts) == defined(name, 0, sum(counts))


@pytest.mark.usefixtures("either_way")
def test_odd_reads_over_the_ends_of_two_segments_are_the_stream() -> None:
    read = prg.reader(Secret(NAME))
    counts = (3, prg.SEGMENT - 10, 20, prg.SEGMENT - 5, 1, 33)
    pieces = b"".join(read(count) for count in counts)
    assert pieces == prg.keystream(Secret(NAME), sum(counts)).tobytes()
    for end in (prg.SEGMENT, 2 * prg.SEGMENT):
        assert pieces[end - 32 : end + 32] == defined(NAME, end - 32, 64)


def test_a_segment_is_opened_once_and_by_gcm_only_from_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def counting_cipher(algorithm: AES128, mode: GCM | CTR) -> Any:
        opened.append(type(mode).__name__)
        return Cipher(algorithm, mode)

    monkeypatch.setattr(prg, "gcm_is_faster", lambda: True)
    monkeypatch.setattr(prg, "Cipher", counting_cipher)
    stream, half = prg.open_stream(Secret(NAME)), prg.SEGMENT // 2
    for position in (0, half, prg.SEGMENT, prg.SEGMENT + half):
        written(stream, position, half)
    assert opened == ["GCM", "GCM"]
    stream, opened[:] = prg.open_stream(Secret(NAME)), []
    for position in (half, half + 64, prg.SEGMENT, 2 * prg.SEGMENT):
        written(stream, position, 64)
    assert opened == ["CTR", "GCM", "GCM"]


@pytest.mark.usefixtures("either_way")
def test_a_piece_that_failed_is_written_again_whole() -> None:
    stream = prg.open_stream(Secret(NAME))
    written(stream, 0, 32)
    assert stream._reached is not None
    reached, context = stream._reached

    class Interrupted:
        """Stopped when the bytes are there, and before that is on record."""

        def update_into(self, data: memoryview, buffer: memoryview) -> int:
            context.update_into(data, buffer)
            raise MemoryError

    stream._reached = reached, Interrupted()  # type: ignore[assignment]  # no whole context
    with pytest.raises(MemoryError):
        written(stream, 32, 32)
    assert written(stream, 32, 32) == defined(NAME, 32, 32)


def test_the_last_segment_there_can_be_is_written() -> None:
    last = (2**32 - 1) * prg.SEGMENT
    assert written(prg.open_stream(Secret(NAME)), last, 32) == defined(NAME, last, 32)
    with pytest.raises(MisuseError, match="not within one segment"):
        written(prg.open_stream(Secret(NAME)), 2**32 * prg.SEGMENT, 32)


@pytest.mark.parametrize(("position", "size"), [(-16, 16), (0, prg.SEGMENT + 1), (prg.SEGMENT - 16, 17)])
def test_a_piece_stays_within_its_segment(position: int, size: int) -> None:
    with pytest.raises(MisuseError, match="not within one segment"):
        written(prg.open_stream(Secret(NAME)), position, size)


@pytest.mark.parametrize(
    "buffer",
    [
        bytearray(16),
        np.zeros(16, dtype=np.uint8),
        memoryview(bytes(16)),
        memoryview(bytearray(32))[::2],
        memoryview(bytearray(16)).cast("I"),
        memoryview(bytearray(16)).cast("B", (4, 4)),
    ],
    ids=["bytearray", "array", "read-only", "strided", "words", "matrix"],
)
def test_a_stream_is_written_to_bytes_that_can_be_filled(buffer: Any) -> None:
    with pytest.raises(MisuseError, match="a stream is written to"):
        prg.open_stream(Secret(NAME)).write(0, buffer)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("position", [1, 8, 15, 17, prg.SEGMENT - 1])
def test_a_stream_is_not_sought_inside_a_block(position: int) -> None:
    with pytest.raises(MisuseError, match="sought by block"):
        written(prg.open_stream(Secret(NAME)), position, 1)


def test_a_negative_number_of_bytes_is_refused() -> None:
    with pytest.raises(MisuseError, match="not -1"):
        prg.reader(Secret(NAME))(-1)
    with pytest.raises(MisuseError, match="not -1"):
        prg.keystream(Secret(NAME), -1)


def test_a_wiped_key_ends_its_stream() -> None:
    key = Secret(NAME)
    stream, read = prg.open_stream(key), prg.reader(key)
    written(stream, 0, 16)
    key.wipe()
    for position in (prg.SEGMENT, 32):
        with pytest.raises(MisuseError, match="was wiped"):
            written(stream, position, 16)
    with pytest.raises(MisuseError, match="was wiped"):
        read(1)


@pytest.mark.parametrize("size", [0, 16, 27, 29, 32])
def test_a_stream_is_named_by_28_bytes(size: int) -> None:
    for opened in (prg.open_stream, prg.reader):
        with pytest.raises(MisuseError, match="named by 28 bytes"):
            opened(Secret(bytes(size)))


def test_which_way_is_faster_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds in ({"GCM": 1.0, "CTR": 2.0}, {"GCM": 2.0, "CTR": 1.0}, {"GCM": 1.0, "CTR": 1.0}):
        tried: list[str] = []

        def least_seconds(mode: object, seconds: dict[str, float] = seconds, tried: list[str] = tried) -> float:
            tried.append(type(mode).__name__)
            return seconds[tried[-1]]

        monkeypatch.setattr(prg, "_least_seconds", least_seconds)
        prg.gcm_is_faster.cache_clear()
        assert [prg.gcm_is_faster(), prg.gcm_is_faster()] == [seconds["GCM"] < seconds["CTR"]] * 2
        assert sorted(tried) == ["CTR", "GCM"]
    prg.gcm_is_faster.cache_clear()


def test_a_box_is_test_case_4_of_the_gcm_specification() -> None:
    # McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B.
    key = secret("feffe9928665731c6d6a8f9467308308" + "cafebabefacedbaddecaf888")
    plaintext = bytes.fromhex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525"
        "b16aedf5aa0de657ba637b39"
    )
    context = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    box = bytes.fromhex(
        "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa05"
        "1ba30b396a0aac973d58e091" + "5bc94fbc3221a5db94fae95ae7121a47"
    )
    assert aead.seal(key, plaintext, context=context) == box
    assert aead.open_box(key, box, context=context) == plaintext


def test_a_tag_alone_is_test_case_1_of_the_gcm_specification() -> None:
    tag = aead.seal(Secret(bytes(aead.BOX_KEY_SIZE)), b"", context=b"")
    assert tag.hex() == "58e2fccefa7e3061367f1d57a4e7455a"
    assert len(tag) == aead.TAG_SIZE


@pytest.fixture
def sealed() -> Sealed:
    key = Secret(bytes(range(28)))
    return Sealed(key, b"two shares", b"who and whom", aead.seal(key, b"two shares", context=b"who and whom"))


def test_every_flipped_bit_of_a_box_is_noticed(sealed: Sealed) -> None:
    assert aead.open_box(sealed.key, sealed.box, context=sealed.context) == sealed.plaintext
    for bit in range(8 * len(sealed.box)):
        flipped = bytearray(sealed.box)
        flipped[bit // 8] ^= 1 << bit % 8
        assert aead.open_box(sealed.key, bytes(flipped), context=sealed.context) is None, bit


def test_a_box_opens_under_its_own_key_and_context_alone(sealed: Sealed) -> None:
    for index in range(28):
        other = bytearray(range(28))
        other[index] ^= 1  # of the key or of the nonce
        assert aead.open_box(Secret(other), sealed.box, context=sealed.context) is None, index
    assert aead.open_box(sealed.key, sealed.box, context=sealed.context + b"!") is None
    assert aead.open_box(sealed.key, sealed.box, context=b"") is None


@pytest.mark.parametrize("length", range(16))
def test_a_box_shorter_than_its_tag_does_not_open(sealed: Sealed, length: int) -> None:
    assert aead.open_box(sealed.key, sealed.box[:length], context=sealed.context) is None


# Labels.

LABELS = {name: value for name, value in vars(labels).items() if name.isupper() and not name.startswith("_")}


def test_labels_are_distinct_ascii_and_of_this_version() -> None:
    assert len(set(LABELS.values())) == len(LABELS) >= 20
    for value in LABELS.values():
        assert value.decode("ascii").startswith(f"secagg/v{suite.VERSION}/")
        assert value.endswith(b"\0")
        assert value.count(b"\0") == 1


def test_no_label_is_a_prefix_of_another() -> None:
    for name, value in LABELS.items():
        others = [other for other, text in LABELS.items() if other != name and text.startswith(value)]
        assert not others, (name, others)


def labels_used(path: Path) -> list[str]:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "labels"
    ]


def test_every_label_is_used_and_none_for_two_purposes() -> None:
    files = [path for package in ("secagg", "dp", "protocols") for path in (PRODUCT / package).rglob("*.py")]
    used = [name for path in files for name in labels_used(path)]
    assert set(used) == set(LABELS)
    # A label stands twice only where two places compute one thing: what one signs or seals, the other verifies or
    # opens; an answer's digest and a request's are digests of messages.
    twice = {"MESSAGE_DIGEST", "SIGN_ADVERT", "SIGN_SURVIVORS", "STORE_RECORD", "STORE_HEADER"}
    assert {name for name in used if used.count(name) > 1} <= twice


# Secret.

COPIERS: dict[str, Callable[[Secret], Any]] = {"copy": copy.copy, "deepcopy": copy.deepcopy} | {
    f"pickle {protocol}": functools.partial(pickle.dumps, protocol=protocol) for protocol in range(6)
}


@pytest.mark.parametrize("copier", COPIERS.values(), ids=COPIERS)
def test_a_secret_is_never_copied_or_pickled(copier: Callable[[Secret], Any]) -> None:
    with pytest.raises(MisuseError, match="never pickled or copied"):
        copier(Secret(b"sesame"))


def test_a_secret_inside_a_list_is_never_copied() -> None:
    with pytest.raises(MisuseError):
        copy.deepcopy([Secret(b"sesame")])


def test_a_secret_does_not_print() -> None:
    value = Secret(b"open sesame")
    shown = [repr(value), str(value), f"{value}", f"{value:>40}", "%s %r" % (value, value), repr([value])]  # noqa: UP031  # it is one way to print
    for text in shown:
        assert "Secret of 11 bytes" in text
        assert "sesame" not in text
        assert b"sesame".hex() not in text


def test_a_secret_does_not_hash_and_has_no_place_for_more() -> None:
    with pytest.raises(TypeError):
        hash(Secret(b"sesame"))
    with pytest.raises(AttributeError):
        Secret(b"sesame").note = 1  # type: ignore[attr-defined]  # that there is none is the test


def test_secrets_compare_by_content_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[bytes, bytes]] = []

    def watched(one: bytes, other: bytes) -> bool:
        calls.append((one, other))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", watched)
    assert Secret(b"sesame") == Secret(bytearray(b"sesame"))
    assert Secret(b"sesame") != Secret(b"sesamE")
    assert Secret(b"sesame") != Secret(b"sesam")
    assert calls == [(b"sesame", b"sesame"), (b"sesame", b"sesamE"), (b"sesame", b"sesam")]
    assert Secret(b"sesame") != b"sesame"
    assert len(calls) == 3


def test_a_secret_keeps_its_own_copy() -> None:
    source = bytearray(b"sesame")
    value = Secret(source)
    source[:] = b"xxxxxx"
    assert value.reveal() == b"sesame"


def test_a_wiped_secret_is_zeros_and_says_so() -> None:
    value = Secret(b"sesame")
    held = value._bytes
    value.wipe()
    assert held == bytes(6)
    assert len(value) == 6
    with pytest.raises(MisuseError, match="wiped"):
        value.reveal()
    with pytest.raises(MisuseError, match="wiped"):
        _ = value == Secret(bytes(6))
    value.wipe()
    assert "sesame" not in repr(value)
