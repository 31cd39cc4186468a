"""The protocol of docs/protocol.md once more, in plain integers and without haste: honest parties, no checks.

Promise: written from the page alone, as another implementer would, and from nothing of this project. What it and the
product both say is therefore what the page says; `tests/property/test_oracle_agreement.py` compares them byte for byte
and `tests/reference/make_vectors.py` writes down what it says for other languages.

    offers = server.start()                         # {position: [message, ...]}
    answers = clients[0].receive(offers[0][0])      # [message, ...]
    server.receive(0, answers[0])
    rosters = server.close()                        # and so on, leg by leg; at the end server.total()

Imports the standard library, and `cryptography` for X25519, Ed25519 and AES.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections import namedtuple
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CTR

OFFER, ADVERT, ROSTER, SHARES, INBOX, INPUT, SURVIVORS, CONFIRM, REQUEST, UNMASK = range(1, 11)
"""Kinds of messages (section 3.2)."""
SERVER: Final = 0xFFFF_FFFF
UP, DOWN = 0, 1
TAG, BOX, SHARE, SEED = 16, 56, 19, 16


def u32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def bitmap(positions: Iterable[int], clients: int) -> bytes:
    return sum(1 << position for position in positions).to_bytes(-(-clients // 8), "little")


def members(data: bytes) -> list[int]:
    value = int.from_bytes(data, "little")
    return [position for position in range(8 * len(data)) if value >> position & 1]


_LONG: Final[Mapping[int, tuple[type, int]]] = (
    {0xCC + power: (int, 1 << power) for power in range(4)}
    | {0xC4 + power: (bytes, 1 << power) for power in range(3)}
    | {0xD9 + power: (str, 1 << power) for power in range(3)}
    | {0xDC + power: (list, 2 << power) for power in range(2)}
)
"""MessagePack's mark -> the type behind it, and how many bytes its value or its count has."""
_SHORT: Final = {int: (0x00, 0x80), str: (0xA0, 0x20), list: (0x90, 0x10), bytes: (0, 0)}
"""Type -> the mark that holds a value or count itself, and below which that is."""


def pack(value: Any) -> bytes:
    """MessagePack in its shortest form, of the four types that bodies are made of."""
    kind = type(value)
    raw = value.encode() if kind is str else value if kind is bytes else b""
    count = value if kind is int else len(value if kind is list else raw)
    mark, most = _SHORT[kind]
    if count < most:
        head = bytes([mark | count])
    else:
        longs = ((mark, width) for mark, (other, width) in _LONG.items() if other is kind)
        mark, width = next((mark, width) for mark, width in longs if count < 1 << 8 * width)
        head = bytes([mark]) + count.to_bytes(width, "big")
    return head + (b"".join(map(pack, value)) if kind is list else raw)


def unpack(data: bytes) -> Any:
    """Read a body back; it must end where its data ends."""
    value, end = _read(data, 0)
    if end != len(data):
        raise ValueError("bytes after the body")
    return value


def _read(data: bytes, at: int) -> tuple[Any, int]:
    mark, at = data[at], at + 1
    if mark in _LONG:
        kind, width = _LONG[mark]
        count, at = int.from_bytes(data[at : at + width], "big"), at + width
    else:
        kind, count = next((kind, mark - low) for kind, (low, most) in _SHORT.items() if low <= mark < low + most)
    if kind is int:
        return count, at
    if kind is list:
        items = []
        for _ in range(count):
            item, at = _read(data, at)
            items.append(item)
        return items, at
    raw = data[at : at + count]
    return (raw.decode() if kind is str else raw), at + count


# Section 3: the config and the envelope.


_Fields = namedtuple(  # noqa: PYI024  # nineteen fields whose types the page says in words
    "_Fields",
    "version suite session round clients max_dropped max_corrupt adversary degree threshold quorum security_bits "
    "correctness_bits invited_digest recipe_digest instructions_digest ring_bits length chunk_words",
)


class Config(_Fields):
    """Section 3.3."""

    __slots__ = ()

    @property
    def encoded(self) -> bytes:
        return pack(list(self))

    @property
    def digest(self) -> bytes:
        return digest("hash/config", self.encoded)

    @property
    def chunks(self) -> list[range]:
        starts = range(0, self.length, self.chunk_words)
        return [range(start, min(self.length, start + self.chunk_words)) for start in starts]


def front(kind: int, config_digest: bytes, sender: int, body: Sequence[object], tail: bytes = b"") -> bytes:
    """A message without its tag (section 3.1)."""
    packed = pack(list(body))
    data = b"SAG2" + bytes([kind]) + config_digest + u32(sender) + u32(len(packed)) + packed
    return data + bytes(-len(data) % 8) + tail


def parts(data: bytes) -> tuple[int, list[Any], bytes]:
    """Kind, body and tail of a message; the tag is not looked at."""
    kind, end = data[4], 45 + int.from_bytes(data[41:45], "big")
    return kind, unpack(data[45:end]), data[end + -end % 8 : len(data) if kind in (OFFER, ADVERT) else -TAG]


# Section 4: derivations.


def label(name: str) -> bytes:
    return b"secagg/v1/" + name.encode() + b"\0"


def derive(secret: bytes, salt: bytes, name: str, context: bytes = b"", *, length: int = 32) -> bytes:
    """HKDF-SHA256 (RFC 5869) with info = label, context."""
    extracted = hmac.digest(salt, secret, "sha256")
    output, block = b"", b""
    while len(output) < length:
        block = hmac.digest(extracted, block + label(name) + context + bytes([len(output) // 32 + 1]), "sha256")
        output += block
    return output[:length]


def digest(name: str, *items: bytes) -> bytes:
    """SHA-256 over a label and each part behind its length (section 4.2)."""
    return hashlib.sha256(label(name) + b"".join(len(item).to_bytes(8, "big") + item for item in items)).digest()


def public_key(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def agree(private: bytes, public: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))


def sign(seed: bytes, name: str, message: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).sign(label(name) + message)


def identity_key(seed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def stream(key: bytes, length: int) -> bytes:
    """The first bytes of a stream: segments of 1 MiB in counter mode, their number XORed into the nonce's end."""
    starts = [key[16:24] + u32(int.from_bytes(key[24:], "big") ^ s) + u32(2) for s in range(-(-length // 2**20))]
    return b"".join(Cipher(AES128(key[:16]), CTR(start)).encryptor().update(bytes(2**20)) for start in starts)[:length]


def seal(key: bytes, plaintext: bytes, context: bytes) -> bytes:
    """AES-128-GCM under 16 bytes of key and 12 of nonce; of nothing, it is a tag."""
    return AESGCM(key[:16]).encrypt(key[16:], plaintext, context)


def channel_key(agreed: bytes, config_digest: bytes, position: int, box_key: bytes, server_key: bytes) -> bytes:
    """What every tag between one client and the server is derived from."""
    return derive(agreed, config_digest, "pair/channel", u32(position) + box_key + server_key)


def tagged(data: bytes, channel: bytes, direction: int, *, chunk: int = 0) -> bytes:
    context = bytes([direction, data[4]]) + u32(chunk)
    return data + seal(derive(channel, data[5:37], "channel/tag", context, length=28), b"", data)


# Section 5: shares.

PRIME: Final = 2**21 - 9
LIMBS: Final = 7


def fields_of(data: bytes, width: int, count: int) -> list[int]:
    """Fields of one little-endian number, by way of its binary digits: shifting a long number takes long."""
    digits = format(int.from_bytes(data, "little"), f"0{width * count}b")[::-1]
    return [int(digits[width * index : width * (index + 1)][::-1], 2) for index in range(count)]


def number_of(fields: Sequence[int], width: int) -> bytes:
    """The inverse of `fields_of`, in as few bytes as hold all fields."""
    digits = "".join(format(field, f"0{width}b") for field in reversed(fields))
    return int(digits, 2).to_bytes(-(-len(fields) * width // 8), "little")


def split(secrets: Sequence[bytes], threshold: int, xs: Sequence[int], source: bytes) -> list[dict[int, bytes]]:
    """x -> share, for each secret; the coefficients come degree by degree, in each secret by secret, limb by limb."""
    limbs = [limb for secret in secrets for limb in fields_of(secret, 20, LIMBS)]
    drawn = (word % 2**21 for word in fields_of(source, 32, len(source) // 4) if word % 2**21 < PRIME)
    rows = [limbs, *([next(drawn) for _ in limbs] for _ in range(threshold - 1))]
    values = {x: [sum(y * x**power for power, y in enumerate(ys)) % PRIME for ys in zip(*rows)] for x in xs}  # noqa: B905  # as long
    starts = range(0, len(limbs), LIMBS)
    return [{x: number_of(values[x][start : start + LIMBS], 21) for x in xs} for start in starts]


def recover(shares: Mapping[int, bytes]) -> bytes:
    """The secret behind exactly as many shares as its threshold, by Lagrange's formula at zero."""
    limbs = [0] * LIMBS
    for x, share in shares.items():
        weight = math.prod(other * pow(other - x, -1, PRIME) for other in shares if other != x)
        limbs = [(limb + weight * y) % PRIME for limb, y in zip(limbs, fields_of(share, 21, LIMBS), strict=True)]
    return number_of(limbs, 20)[:SEED]


def mask_words(key: bytes, bits: int, count: int) -> list[int]:
    width = 32 if bits <= 32 else 64
    return [word % (1 << bits) for word in fields_of(stream(key, count * width // 8), width, count)]


def circle(clients: int, seed: bytes) -> list[int]:
    """The random order in which the positions of a k-regular graph stand."""
    order = list(range(clients))
    words = iter(fields_of(stream(derive(seed, b"", "expand/graph", length=28), 32 * clients), 64, 4 * clients))
    for last in range(clients - 1, 0, -1):
        most = 2**64 - 2**64 % (last + 1)
        swap = next(word for word in words if word < most) % (last + 1)
        order[last], order[swap] = order[swap], order[last]
    return order


def around(order: Sequence[int], degree: int) -> dict[int, set[int]]:
    """The k/2 positions on either side of each in a circle; everyone else, where that is k."""
    steps = range(1, len(order)) if degree == len(order) - 1 else [s for s in range(-degree // 2, degree // 2 + 1) if s]
    return {position: {order[(at + step) % len(order)] for step in steps} for at, position in enumerate(order)}


class Joined:
    """A roster worked out by whoever received or wrote it."""

    def __init__(self, config: Config, body: Sequence[Any]) -> None:
        self.config = config
        self.positions = members(body[0])
        self.mask_keys = {position: advert[0] for position, advert in zip(self.positions, body[1], strict=True)}
        self.box_keys = {position: advert[1] for position, advert in zip(self.positions, body[1], strict=True)}
        self.digest = digest("hash/roster", config.digest, pack(list(body)))
        order = list(range(config.clients))
        if config.degree < config.clients - 1:
            order = circle(config.clients, digest("hash/graph-seed", config.digest, self.digest))
        self._neighbors = around(order, config.degree)

    def neighbors(self, position: int) -> list[int]:
        return sorted(self._neighbors[position].intersection(self.positions))

    def context(self, one: int, other: int, keys: Mapping[int, bytes]) -> bytes:
        """What every key of a pair is bound to, besides the config."""
        low, high = sorted((one, other))
        return u32(low) + u32(high) + keys[low] + keys[high] + self.digest

    def pair_mask(self, private: bytes, own: int, peer: int) -> list[int]:
        agreed = agree(private, self.mask_keys[peer])
        key = derive(agreed, self.config.digest, "pair/mask", self.context(own, peer, self.mask_keys), length=28)
        return mask_words(key, self.config.ring_bits, self.config.length)

    def self_mask(self, seed: bytes, position: int) -> list[int]:
        key = derive(seed, self.config.digest, "expand/self-mask", u32(position) + self.box_keys[position], length=28)
        return mask_words(key, self.config.ring_bits, self.config.length)

    def box_key(self, private: bytes, sender: int, receiver: int, own: int) -> tuple[bytes, bytes]:
        """Key and authenticated context of one box, from either side's private key."""
        context = self.context(sender, receiver, self.box_keys)
        agreed = agree(private, self.box_keys[sender if own == receiver else receiver])
        key = derive(agreed, self.config.digest, "pair/share-box", context + u32(sender), length=28)
        return key, self.config.digest + context

    def survivor_statement(self, survivors: Iterable[int]) -> bytes:
        return self.config.digest + self.digest + b"".join(map(u32, sorted(survivors)))


def add(total: Sequence[int], words: Sequence[int], sign_: int, bits: int) -> list[int]:
    return [(one + sign_ * other) % (1 << bits) for one, other in zip(total, words, strict=True)]


def slices(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


class Client:
    """An honest client of section 9: it believes what it is told, and answers."""

    def __init__(self, *, name: str, seed: bytes, root: bytes, words: Sequence[int]) -> None:
        self.name, self.seed, self.root, self.words = name, seed, root, list(words)
        self.shares: dict[int, tuple[bytes, bytes]] = {}
        self.survivors: list[int] = []

    def receive(self, data: bytes) -> list[bytes]:
        kind, body, _ = parts(data)
        steps = (self.join, self.share, self.mask, self.confirm, self.unmask)
        return steps[kind // 2](body)  # the server's kinds are 1, 3, 5, 7, 9

    def says(self, kind: int, body: Sequence[object], tail: bytes = b"", *, chunk: int = 0) -> bytes:
        data = front(kind, self.config.digest, self.position, body, tail)
        return data if kind == ADVERT else tagged(data, self.channel, UP, chunk=chunk)

    def join(self, body: Sequence[Any]) -> list[bytes]:
        self.config = Config._make(unpack(body[0]))
        self.position = body[1].index(self.name)
        salt, place = self.config.digest, u32(self.position)
        self.key_seed = derive(self.root, salt, "derive/mask-key-seed", place, length=SEED)
        self.box_private = derive(self.root, salt, "derive/box-key", place)
        self.mask_seed = derive(self.root, salt, "derive/self-mask-seed", place, length=SEED)
        self.box_public = public_key(self.box_private)
        self.mask_private = derive(self.key_seed, salt, "expand/mask-key", place + self.box_public)
        self.channel = channel_key(agree(self.box_private, body[2]), salt, self.position, self.box_public, body[2])
        return [self.says(ADVERT, self.advert())]

    def advert(self, **changes: bytes) -> list[bytes]:
        """A signed advert; what is passed stands in the place of what is true."""
        values = {"mask_key": public_key(self.mask_private), "box_key": self.box_public}
        hidden = digest("hash/seed-commitment", self.config.digest, u32(self.position), self.box_public, self.mask_seed)
        values |= {"seed_commitment": hidden} | changes
        signed = values.pop("signed", self.config.digest + u32(self.position))
        return [*values.values(), sign(self.seed, "sign/advert", signed + b"".join(values.values()))]

    def share(self, body: Sequence[Any]) -> list[bytes]:
        self.joined = Joined(self.config, body)
        holders = sorted({*self.joined.neighbors(self.position), self.position})
        key = derive(self.root, self.config.digest, "derive/shamir-coefficients", self.joined.digest, length=28)
        source = stream(key, 4 * 2 * LIMBS * self.config.threshold + 4096)  # some words are left out; these are enough
        keys, seeds = split([self.key_seed, self.mask_seed], self.config.threshold, [h + 1 for h in holders], source)
        dealt = {holder: (keys[holder + 1], seeds[holder + 1]) for holder in holders}
        self.shares = {self.position: dealt.pop(self.position)}
        return [self.says(SHARES, [b"".join(self.box(peer, *shares) for peer, shares in dealt.items())])]

    def box(self, peer: int, mask_share: bytes, seed_share: bytes) -> bytes:
        key, context = self.joined.box_key(self.box_private, self.position, peer, self.position)
        return seal(key, b"\x01" + mask_share + b"\x02" + seed_share, context)

    def mask(self, body: Sequence[Any]) -> list[bytes]:
        boxes = zip(members(body[0]), slices(body[1], BOX), strict=True)
        unopened = [sender for sender, box in boxes if not self.open(sender, box)]
        bits, position = self.config.ring_bits, self.position
        masked = add(self.words, self.joined.self_mask(self.mask_seed, position), 1, bits)
        for peer in self.shares.keys() - {position}:
            mask = self.joined.pair_mask(self.mask_private, position, peer)
            masked = add(masked, mask, 1 if position < peer else -1, bits)
        reports = [bitmap(unopened, self.config.clients)] + [b""] * (len(self.config.chunks) - 1)
        return [
            self.says(INPUT, [chunk, reports[chunk]], number_of(masked[span.start : span.stop], bits), chunk=chunk)
            for chunk, span in enumerate(self.config.chunks)
        ]

    def open(self, sender: int, box: bytes) -> bool:
        """Keep the two shares of a box, if it opens and holds two."""
        key, context = self.joined.box_key(self.box_private, sender, self.position, self.position)
        try:
            content = AESGCM(key[:16]).decrypt(key[16:], box, context)
        except InvalidTag:
            return False
        shares = content[1 : SHARE + 1], content[SHARE + 2 :]
        fit = all(max(fields_of(share, 21, LIMBS)) < PRIME and share[-1] < 8 for share in shares)
        if fit := fit and (content[0], content[SHARE + 1]) == (1, 2):
            self.shares[sender] = shares
        return fit

    def confirm(self, body: Sequence[Any]) -> list[bytes]:
        self.survivors = members(body[0])
        statement = self.joined.survivor_statement(self.survivors)
        return [self.says(CONFIRM, [sign(self.seed, "sign/survivors", statement)])] if self.config.quorum else []

    def unmask(self, body: Sequence[Any]) -> list[bytes]:
        del body
        revealed = [self.shares[dealer][dealer in self.survivors] for dealer in sorted(self.shares)]
        return [self.says(UNMASK, [b"".join(revealed)])]


class Server:
    """An honest server among honest clients."""

    def __init__(self, config: Config, *, names: Sequence[str], private: bytes) -> None:
        self.config, self.names, self.private = config, list(names), private
        self.public = public_key(private)
        self.leg = ADVERT
        self.heard: dict[int, dict[int, list[Any]]] = {kind: {} for kind in (ADVERT, SHARES, INPUT, CONFIRM, UNMASK)}
        self.tails: dict[int, bytes] = {}
        self.inboxes: dict[int, list[int]] = {}
        self.survivors: list[int] = []

    def start(self) -> dict[int, list[bytes]]:
        data = front(OFFER, self.config.digest, SERVER, [self.config.encoded, self.names, self.public])
        return {position: [data] for position in range(self.config.clients)}

    def channel(self, position: int) -> bytes:
        box_key = self.heard[ADVERT][position][1]
        return channel_key(agree(self.private, box_key), self.config.digest, position, box_key, self.public)

    def says(self, position: int, kind: int, body: Sequence[object], tail: bytes = b"") -> bytes:
        return tagged(front(kind, self.config.digest, SERVER, body, tail), self.channel(position), DOWN)

    def receive(self, position: int, data: bytes) -> None:
        kind, body, tail = parts(data)
        if kind == INPUT:
            self.tails[position] = self.tails.get(position, b"") + tail
            if body[0]:
                return  # the report came with chunk 0
        self.heard[kind][position] = body

    def close(self) -> dict[int, list[bytes]]:
        steps = {ADVERT: self.rosters, SHARES: self.all_inboxes, INPUT: self.survivor_sets, CONFIRM: self.requests}
        return steps[self.leg]()

    def rosters(self) -> dict[int, list[bytes]]:
        adverts = dict(sorted(self.heard[ADVERT].items()))
        body = self.roster(adverts)
        self.joined, self.leg = Joined(self.config, body), SHARES
        return {position: [self.says(position, ROSTER, body)] for position in adverts}

    def roster(self, adverts: Mapping[int, object]) -> list[Any]:
        return [bitmap(adverts, self.config.clients), [adverts[position] for position in sorted(adverts)]]

    def all_inboxes(self) -> dict[int, list[bytes]]:
        shared = dict(sorted(self.heard[SHARES].items()))
        self.inboxes = {p: [peer for peer in self.joined.neighbors(p) if peer in shared] for p in shared}
        self.leg = INPUT
        return {p: [self.says(p, INBOX, self.inbox(p, senders))] for p, senders in self.inboxes.items()}

    def inbox(self, holder: int, dealers: Iterable[int]) -> list[bytes]:
        chosen = sorted(dealers)
        sent = self.heard[SHARES]
        boxes = [slices(sent[dealer][0], BOX)[self.joined.neighbors(dealer).index(holder)] for dealer in chosen]
        return [bitmap(chosen, self.config.clients), b"".join(boxes)]

    def survivor_sets(self) -> dict[int, list[bytes]]:
        self.survivors = sorted(self.heard[INPUT])
        self.leg = CONFIRM
        body = [bitmap(self.survivors, self.config.clients)]
        sends = {position: [self.says(position, SURVIVORS, body)] for position in self.survivors}
        if not self.config.quorum:
            for position, requests in self.requests().items():
                sends[position] += requests
        return sends

    def requests(self) -> dict[int, list[bytes]]:
        signed = dict(sorted(self.heard[CONFIRM].items()))
        self.leg = UNMASK
        chosen = sorted(signed)[: self.config.quorum]
        body = [bitmap(chosen, self.config.clients), b"".join(signed[position][0] for position in chosen)]
        return {position: [self.says(position, REQUEST, body)] for position in (signed or self.survivors)}

    def total(self) -> list[int]:
        """After leg 4: the centered sum of the survivors' inputs."""
        revealed = dict(sorted(self.heard[UNMASK].items()))
        config, joined, bits = self.config, self.joined, self.config.ring_bits
        opened = {p: set(self.inboxes[p]) - set(members(self.heard[INPUT][p][1])) for p in self.survivors}
        shares: dict[int, dict[int, bytes]] = {}
        for holder, body in revealed.items():
            for dealer, share in zip(sorted({*opened[holder], holder}), slices(body[0], SHARE), strict=True):
                held = shares.setdefault(dealer, {})
                if len(held) < config.threshold:
                    held[holder + 1] = share
        words = [0] * config.length
        for survivor in self.survivors:
            words = add(words, fields_of(self.tails[survivor], bits, config.length), 1, bits)
            words = add(words, joined.self_mask(recover(shares[survivor]), survivor), -1, bits)
        for dropped in sorted(set().union(*opened.values()) - set(self.survivors)):
            place = u32(dropped) + joined.box_keys[dropped]
            private = derive(recover(shares[dropped]), config.digest, "expand/mask-key", place)
            for survivor in (position for position in self.survivors if dropped in opened[position]):
                mask = joined.pair_mask(private, dropped, survivor)
                words = add(words, mask, -1 if survivor < dropped else 1, bits)
        half = 1 << bits - 1
        return [(word + half) % (2 * half) - half for word in words]
