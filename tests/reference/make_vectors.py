"""Write tests/vectors/*.json from the oracle: `python -m tests.reference.make_vectors`, with `--check` to compare only.

Promise: the same bytes every time, and none of them from the product. What each kind of case takes and gives is on
docs/vectors.md; what the product makes of them is in tests/vectors/test_vectors.py.

Imports the oracle and the standard library.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from tests.reference import protocol_oracle as oracle
from tests.reference import vector_clients, vector_servers, vector_values
from tests.reference.vector_world import Case, World, ascii_hex, case, entropy, numbers

VECTORS: Final = Path(__file__).parents[1] / "vectors"


# Derivations.

DIGEST: Final = entropy("a config digest")
ROSTER_DIGEST: Final = entropy("a roster digest")
PUBLICS: Final = {position: oracle.public_key(entropy(f"private {position}")) for position in (0, 2, 7, 300)}


FROM_SEEDS: Final = ("expand/mask-key", "expand/self-mask")


def derivations() -> Iterator[Case]:
    """Every label once, and one more context or length where it has several."""
    place, pair = oracle.u32(2), oracle.u32(2) + oracle.u32(300) + PUBLICS[2] + PUBLICS[300] + ROSTER_DIGEST
    rows: Sequence[tuple[str, bytes, bytes, int]] = (
        ("derive/mask-key-seed", DIGEST, place, 16),
        ("derive/mask-key-seed", DIGEST, oracle.u32(2047), 16),
        ("derive/box-key", DIGEST, place, 32),
        ("derive/self-mask-seed", DIGEST, place, 16),
        ("derive/shamir-coefficients", DIGEST, ROSTER_DIGEST, 28),
        ("pair/mask", DIGEST, pair, 28),
        ("pair/share-box", DIGEST, pair + oracle.u32(2), 28),
        ("pair/share-box", DIGEST, pair + oracle.u32(300), 28),
        ("pair/channel", DIGEST, place + PUBLICS[2] + PUBLICS[7], 32),
        ("channel/tag", DIGEST, bytes([oracle.UP, oracle.INPUT]) + oracle.u32(3), 28),
        ("channel/tag", DIGEST, bytes([oracle.DOWN, oracle.ROSTER]) + oracle.u32(0), 28),
        ("expand/mask-key", DIGEST, place + PUBLICS[2], 32),
        ("expand/self-mask", DIGEST, place + PUBLICS[2], 28),
        ("expand/graph", b"", b"", 28),
    )
    for number, (label, salt, context, length) in enumerate(rows):
        secret = entropy(f"secret {number}", 16 if label in FROM_SEEDS else 32)
        inputs = {"secret": secret, "salt": salt, "label": label, "context": context, "length": length}
        key = oracle.derive(secret, salt, label, context, length=length)
        yield case(f"{label} {number}", "derive", inputs, {"key": key})


def hashes() -> Iterator[Case]:
    """Labelled hashes: their parts are framed, so that moving a byte from one to the next is another hash."""
    rows: Sequence[tuple[str, list[bytes]]] = (
        ("hash/config", [entropy("a config", 120)]),
        ("hash/invited", [b"ann", b"bob"]),
        ("hash/invited", [b"annb", b"ob"]),
        ("hash/invited", [b"z" * 64]),
        ("hash/roster", [DIGEST, entropy("a roster", 300)]),
        ("hash/graph-seed", [DIGEST, ROSTER_DIGEST]),
        ("hash/seed-commitment", [DIGEST, oracle.u32(2), PUBLICS[2], entropy("a seed", 16)]),
        ("hash/seed-commitment", [DIGEST, oracle.u32(7), PUBLICS[7], entropy("a seed", 16)]),
        ("hash/instructions", [b""]),
        ("hash/instructions", [b"model", b"and how to train it"]),
    )
    for number, (label, parts) in enumerate(rows):
        yield case(
            f"{label} {number}", "hash", {"label": label, "parts": parts}, {"digest": oracle.digest(label, *parts)}
        )


def key_schedules() -> Iterator[Case]:
    """From a round secret to everything a client derives before it knows anyone, and to the keys of a pair."""
    for number, position in enumerate((0, 1, 9, 2047)):
        root = entropy(f"root {number}")
        place = oracle.u32(position)
        key_seed = oracle.derive(root, DIGEST, "derive/mask-key-seed", place, length=16)
        box_key = oracle.derive(root, DIGEST, "derive/box-key", place)
        box_public = oracle.public_key(box_key)
        mask_key = oracle.derive(key_seed, DIGEST, "expand/mask-key", place + box_public)
        mask_seed = oracle.derive(root, DIGEST, "derive/self-mask-seed", place, length=16)
        outputs = {
            "mask_key_seed": key_seed,
            "mask_key": mask_key,
            "box_key": box_key,
            "self_mask_seed": mask_seed,
            "mask_public": oracle.public_key(mask_key),
            "box_public": box_public,
            "seed_commitment": oracle.digest("hash/seed-commitment", DIGEST, place, box_public, mask_seed),
        }
        inputs = {"round_secret": root, "config_digest": DIGEST, "position": position}
        yield case(f"round keys at position {position}", "round-keys", inputs, outputs)
    for own, peer in ((2, 300), (300, 2), (0, 7)):
        yield pair_keys(own, peer)


def pair_keys(own: int, peer: int) -> Case:
    """What one side of a pair derives; the other side's case has the box keys the other way round."""
    private = entropy(f"private {own}")
    low, high = sorted((own, peer))
    context = oracle.u32(low) + oracle.u32(high) + PUBLICS[low] + PUBLICS[high] + ROSTER_DIGEST
    agreed = oracle.agree(private, PUBLICS[peer])

    def box(sender: int) -> bytes:
        return oracle.derive(agreed, DIGEST, "pair/share-box", context + oracle.u32(sender), length=28)

    inputs = {
        "private": private,
        "own": {"position": own, "public": PUBLICS[own]},
        "peer": {"position": peer, "public": PUBLICS[peer]},
        "config_digest": DIGEST,
        "roster_digest": ROSTER_DIGEST,
    }
    outputs = {
        "mask_key": oracle.derive(agreed, DIGEST, "pair/mask", context, length=28),
        "sending_box_key": box(own),
        "receiving_box_key": box(peer),
        "box_context": DIGEST + context,
    }
    return case(f"pair keys of {own} towards {peer}", "pair-keys", inputs, outputs)


# Arithmetic.


def masks() -> Iterator[Case]:
    """Mask words for every width, from the start of a stream, later in it, and across two ends of a segment."""
    for bits in range(8, 65):
        key = entropy(f"stream {bits}", 28)
        words = oracle.mask_words(key, bits, 5)
        yield case(f"a mask of {bits} bits", "mask-words", mask_inputs(key, bits, 5), {"words": numbers(words)})
    for bits, end in ((27, 2**18), (32, 2**19), (64, 2**17)):
        key = entropy(f"over the end of a segment {bits}", 27) + b"\xff"  # a segment's number is XORed in, not added
        words = oracle.mask_words(key, bits, end + 4)[end - 16 :]
        inputs = mask_inputs(key, bits, 20, start=end - 16)
        yield case(f"over the end of a segment, {bits} bits", "mask-words", inputs, {"words": numbers(words)})
    for bits in (16, 48):
        key = entropy(f"a later stretch {bits}", 28)
        words = oracle.mask_words(key, bits, 21)[16:]
        inputs = mask_inputs(key, bits, 5, start=16)
        yield case(f"a later stretch of {bits} bits", "mask-words", inputs, {"words": numbers(words)})


def mask_inputs(key: bytes, bits: int, count: int, *, start: int = 0) -> dict[str, Any]:
    """`start` is the coordinate of the first word."""
    return {"key": key, "bits": bits, "start": start, "count": count}


def packings() -> Iterator[Case]:
    """Vectors of every width, of one to eleven words, the largest word among them."""
    for bits in range(8, 65):
        count = bits % 11 + 1
        words = oracle.fields_of(entropy(f"words {bits}", 8 * count), bits, count)
        words[-1] = 2**bits - 1
        packed = oracle.number_of(words, bits)
        vector = {"bits": bits, "words": numbers(words)}
        yield case(f"{count} words of {bits} bits", "pack", vector, {"packed": packed})
        inputs = {"bits": bits, "count": count, "packed": packed}
        yield case(f"{count} words of {bits} bits back", "unpack", inputs, {"words": numbers(words)})


def sharings() -> Iterator[Case]:
    """Splits from given draws, and recoveries from other holders than the first."""
    rows = ((2, (1, 2)), (2, (1, 2, 3)), (3, (1, 2, 3, 4)), (4, (2, 3, 5, 7, 11)), (3, (1, 1024, 2048, 65536)))
    for number, (threshold, xs) in enumerate(rows):
        secrets = [entropy(f"shared {number}.{index}", 16) for index in range(1 + number % 2)]
        source = entropy(f"draws {number}", 4 * oracle.LIMBS * len(secrets) * (threshold - 1) + 16)
        if number == 2:  # the nine words in 2^21 that are no field elements
            source = b"".join((2**21 - 9 + low).to_bytes(4, "little") for low in range(9)) + b"\xff" * 4 + source
        shares = oracle.split(secrets, threshold, xs, source)
        inputs = {"secrets": secrets, "threshold": threshold, "xs": list(xs), "draws": source}
        outputs = {"shares": [[each[x] for x in xs] for each in shares]}
        yield case(f"sharing {number}, {threshold} of {len(xs)}", "shamir-split", inputs, outputs)
        last = xs[-threshold:]
        inputs = {"xs": list(last), "shares": [shares[0][x] for x in last]}
        yield case(
            f"sharing {number} from its last {threshold} of {len(xs)}", "shamir-recover", inputs, {"secret": secrets[0]}
        )
    for name, secret in (("zeros", bytes(16)), ("ones", b"\xff" * 16)):
        source = entropy(f"draws of {name}", 200)
        shares = oracle.split([secret], 3, (1, 2, 3), source)
        inputs = {"secrets": [secret], "threshold": 3, "xs": [1, 2, 3], "draws": source}
        yield case(f"a secret of {name}", "shamir-split", inputs, {"shares": [list(shares[0].values())]})


def graphs() -> Iterator[Case]:
    """Neighbors of every position, from seeds."""
    for clients, degree in ((4, 2), (5, 2), (6, 4), (7, 2), (9, 6), (16, 4), (33, 8), (64, 10)):
        seed = entropy(f"graph of {clients}")
        near = oracle.around(oracle.circle(clients, seed), degree)
        inputs = {"clients": clients, "degree": degree, "seed": seed}
        yield case(
            f"{clients} clients of degree {degree}",
            "graph",
            inputs,
            {"neighbors": [sorted(near[p]) for p in range(clients)]},
        )
    for clients in (2, 5):
        everyone = [[other for other in range(clients) if other != position] for position in range(clients)]
        inputs = {"clients": clients, "degree": clients - 1, "seed": b""}
        yield case(f"{clients} clients, everyone", "graph", inputs, {"neighbors": everyone})


# Bytes.


def configs() -> Iterator[Case]:
    """Configs of both classes at the ends of their ranges; each decodes, and encodes to the same bytes."""
    base = World("configs", clients=5, dropped=1).config
    rows = {
        "five clients, active": base,
        "numbers at their widest": base._replace(round=2**63 - 1, length=2**36, chunk_words=2**27, ring_bits=64),
        "numbers at their narrowest": base._replace(round=1, length=1, chunk_words=2**16, ring_bits=8),
        "at the edges of MessagePack": base._replace(round=127, length=128, security_bits=128),
        "one beyond those edges": base._replace(round=2**16, length=2**32, correctness_bits=128),
        "semi-honest, two clients": base._replace(
            clients=2, max_dropped=0, adversary="semi-honest", degree=1, threshold=2, quorum=0
        ),
        "a k-regular graph": base._replace(
            clients=1000, max_dropped=50, max_corrupt=50, adversary="semi-honest", degree=150, threshold=60, quorum=0
        ),
        "two thousand clients": base._replace(
            clients=2048, max_dropped=600, max_corrupt=600, degree=2047, threshold=1325, quorum=1325
        ),
    }
    for name, config in rows.items():
        inputs = {"fields": config_fields(config)}
        yield case(name, "config", inputs, {"encoded": config.encoded, "digest": config.digest})


def config_fields(config: oracle.Config) -> dict[str, Any]:
    """Fields by name; the two that can pass 2^53 as decimal texts."""
    return config._asdict() | {name: str(getattr(config, name)) for name in ("round", "length")}


FIELDS: Final = {
    oracle.OFFER: ("RoundOffer", ("config", "invited", "server_key")),
    oracle.ADVERT: ("KeyAdvert", ("mask_key", "box_key", "seed_commitment", "signature")),
    oracle.ROSTER: ("Roster", ("joined", "adverts")),
    oracle.SHARES: ("SealedShares", ("boxes",)),
    oracle.INBOX: ("Inbox", ("senders", "boxes")),
    oracle.INPUT: ("MaskedInput", ("chunk", "unopened")),
    oracle.SURVIVORS: ("SurvivorSet", ("survivors",)),
    oracle.CONFIRM: ("SurvivorSignature", ("signature",)),
    oracle.REQUEST: ("UnmaskRequest", ("signers", "signatures")),
    oracle.UNMASK: ("UnmaskShares", ("shares",)),
}


def messages() -> Iterator[Case]:
    """One message of each kind out of a round, and a second chunk, each from its fields."""
    world = World("messages", clients=3, dropped=1)
    world.play(oracle.UNMASK)
    said = {data[4]: (sender, data) for sender, to, data in world.log if 1 in (sender, to)}
    for kind in sorted(said):
        sender, data = said[kind]
        channel = None if kind in (oracle.OFFER, oracle.ADVERT) else world.server.channel(1)
        yield message_case(f"a {FIELDS[kind][0]}", data, sender, channel)
    client = world.clients[1]
    data = client.says(oracle.INPUT, [7, b""], entropy("a later chunk", 40), chunk=7)
    yield message_case("a later chunk", data, 1, client.channel)


def message_case(name: str, data: bytes, sender: int, channel: bytes | None) -> Case:
    """A message taken apart into what it is made of."""
    kind, body, tail = oracle.parts(data)
    message, fields = FIELDS[kind]
    named = dict(zip(fields, body, strict=True))
    if kind == oracle.ROSTER:
        named["adverts"] = [dict(zip(FIELDS[oracle.ADVERT][1], advert, strict=True)) for advert in body[1]]
    inputs = {
        "message": message,
        "config_digest": data[5:37],
        "sender": sender,
        "fields": named,
        "tail": tail,
        "channel_key": channel,
    }
    return case(name, "message", inputs, {"bytes": data})


# Rounds.

ROUNDS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("three active clients", {"clients": 3, "dropped": 1, "bits": 8}),
    ("one never joins", {"clients": 3, "dropped": 1, "bits": 9, "silent": {oracle.ADVERT: {0}}}),
    ("one never shares", {"clients": 3, "dropped": 1, "bits": 16, "silent": {oracle.SHARES: {1}}}),
    ("one never uploads", {"clients": 3, "dropped": 1, "bits": 20, "silent": {oracle.INPUT: {2}}}),
    ("the first never uploads", {"clients": 3, "dropped": 1, "bits": 31, "silent": {oracle.INPUT: {0}}}),
    ("one never confirms", {"clients": 3, "dropped": 1, "bits": 32, "silent": {oracle.CONFIRM: {0}}}),
    ("one never unmasks", {"clients": 3, "dropped": 1, "bits": 33, "silent": {oracle.UNMASK: {1}}}),
    ("four with a colluder allowed for", {"clients": 4, "dropped": 0, "corrupt": 1, "bits": 40}),
    ("four, one uploads nothing", {"clients": 4, "dropped": 1, "bits": 63, "silent": {oracle.INPUT: {1}}}),
    (
        "five, two gone at two legs",
        {"clients": 5, "dropped": 2, "bits": 64, "silent": {oracle.SHARES: {4}, oracle.INPUT: {2}}},
    ),
    (
        "nine, so that bitmaps have two bytes",
        {"clients": 9, "dropped": 4, "bits": 12, "length": 2, "silent": {oracle.ADVERT: {3, 5, 7}, oracle.INPUT: {8}}},
    ),
    ("one word of one byte", {"clients": 3, "dropped": 1, "bits": 8, "length": 1}),
    ("a long input", {"clients": 3, "dropped": 1, "bits": 17, "length": 300}),
    ("two semi-honest clients", {"clients": 2, "dropped": 0, "bits": 24, "quorum": 0}),
    (
        "semi-honest, one uploads nothing",
        {"clients": 4, "dropped": 1, "bits": 48, "quorum": 0, "silent": {oracle.INPUT: {3}}},
    ),
    (
        "semi-honest, one never unmasks",
        {"clients": 4, "dropped": 1, "bits": 57, "quorum": 0, "silent": {oracle.UNMASK: {0}}},
    ),
    ("a circle of four", {"clients": 4, "dropped": 0, "bits": 32, "degree": 2, "threshold": 2}),
    (
        "a circle of six, one uploads nothing",
        {"clients": 6, "dropped": 1, "bits": 33, "degree": 2, "threshold": 2, "silent": {oracle.INPUT: {4}}},
    ),
    (
        "a graph of degree four, one never joins",
        {"clients": 7, "dropped": 1, "bits": 26, "degree": 4, "threshold": 3, "silent": {oracle.ADVERT: {5}}},
    ),
)


def rounds() -> Iterator[Case]:
    """Whole rounds: every message of every leg in both directions, and the sum."""
    for name, arguments in ROUNDS:
        world = World(f"round: {name}", **arguments)
        world.play(oracle.UNMASK)
        inputs = {
            "config": world.config.encoded,
            "certified": world.certified,
            "invited": world.names,
            "identity_seeds": [client.seed for client in world.clients],
            "round_secrets": [client.root for client in world.clients],
            "server_private": world.server.private,
            "inputs": [numbers(client.words) for client in world.clients],
            "silent": {FIELDS[kind][0]: sorted(gone) for kind, gone in world.silent.items()},
        }
        total = world.server.total()
        outputs = {
            "messages": [[sender, to, data] for sender, to, data in world.log],
            "survivors": world.server.survivors,
            "sum": numbers(total),
        }
        yield case(name, "round", inputs, outputs)


FILES: Final[dict[str, Callable[[], Iterator[Case]]]] = {
    "derivations": derivations,
    "hashes": hashes,
    "key_schedules": key_schedules,
    "masks": masks,
    "packing": packings,
    "shamir": sharings,
    "graphs": graphs,
    "configs": configs,
    "messages": messages,
    "rounds": rounds,
    "bad_configs": vector_values.bad_configs,
    "bad_packing": vector_values.bad_packing,
    "bad_shares": vector_values.bad_shares,
    "survivor_checks": lambda: vector_values.survivor_checks(breaking=False),
    "bad_survivor_checks": lambda: vector_values.survivor_checks(breaking=True),
    "clients": vector_clients.clients,
    "bad_clients": vector_clients.bad_clients,
    "servers": vector_servers.servers,
    "bad_servers": vector_servers.bad_servers,
}
"""File name without its ending -> what writes its cases."""


def written() -> dict[Path, str]:
    """Every file and what stands in it."""
    return {VECTORS / f"{name}.json": text_of(list(make())) for name, make in FILES.items()}


def text_of(cases: list[Case]) -> str:
    """One case a line: small enough to ship, and a change shows as the case it is in."""
    lines = [json.dumps(each, default=ascii_hex, ensure_ascii=True, separators=(",", ":")) for each in cases]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def main(arguments: Sequence[str]) -> int:
    """Write the files, or compare them; returns the exit code."""
    wanted = written()
    if "--check" in arguments:
        stale = [path.name for path, text in wanted.items() if not path.exists() or path.read_text("ascii") != text]
        if stale:
            print(f"stale: {', '.join(stale)}: run python -m tests.reference.make_vectors", file=sys.stderr)  # noqa: T201  # a script
        return len(stale) > 0
    for path, text in wanted.items():
        path.write_text(text, encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
