"""Bad vectors of a single value: configs, packed words, shares and survivor sets that must be refused.

Promise: each breaks one rule and nothing else that would be noticed sooner.

Imports the oracle and the standard library.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.reference import protocol_oracle as oracle
from tests.reference.vector_world import Case, World, bad, case, entropy


def bad_configs() -> Iterator[Case]:
    """Configs that no client may believe, out of their bytes."""
    config = World("bad configs", clients=5, dropped=1, corrupt=0).config
    out_of_range: dict[str, dict[str, Any]] = {
        "another version": {"version": 2},
        "another suite": {"suite": 3},
        "the suite before this one": {"suite": 1},
        "round zero": {"round": 0},
        "seven bits": {"ring_bits": 7},
        "sixty-five bits": {"ring_bits": 65},
        "nothing to sum": {"length": 0},
        "one coordinate too many": {"length": 2**36 + 1},
        "chunks off the grain": {"chunk_words": 2**16 + 1},
        "no chunks": {"chunk_words": 0},
        "chunks too large": {"chunk_words": 2**27 + 2**16},
    }
    unsafe: dict[str, dict[str, Any]] = {
        "a threshold two halves reach": {"threshold": 2},
        "a threshold drop-outs leave nobody for": {"threshold": 5},
        "a quorum two sets reach": {"quorum": 2},
        "no quorum against a server that lies": {"quorum": 0},
        "a colluder more than the threshold allows": {"max_corrupt": 1, "max_dropped": 2},
        "one honest survivor": {"max_dropped": 0, "max_corrupt": 4, "threshold": 5, "quorum": 5},
        "two active clients": {"clients": 2, "degree": 1, "threshold": 2, "quorum": 2, "max_dropped": 0},
        "an active round on a circle": {"degree": 2},
        "an adversary nobody knows": {"adversary": "friendly"},
        "a quorum against a curious server": {"adversary": "semi-honest"},
        "security of 39 bits": {"security_bits": 39},
        "correctness of 29 bits": {"correctness_bits": 29},
        "an uncertified circle": {"adversary": "semi-honest", "quorum": 0, "degree": 2, "threshold": 2},
    }
    for rule, rows in (("offer-config", out_of_range), ("offer-plan", unsafe)):
        for name, changes in rows.items():
            yield bad(name, "config-decode", rule, {"encoded": config._replace(**changes).encoded}, {})
    packed = config.encoded
    misshapen = {
        "a field short": oracle.pack(list(config)[:-1]),
        "a field more": oracle.pack([*config, 0]),
        "a byte more": packed + b"\0",
        "a byte short": packed[:-1],
        "a number in two bytes that fits one": packed[:3] + b"\xcc\x01" + packed[4:],
        "a session of fifteen bytes": config._replace(session=bytes(15)).encoded,
        "a session of text": config._replace(session="s" * 16).encoded,
        "a digest of 31 bytes": config._replace(recipe_digest=bytes(31)).encoded,
        "a round above 2^63 - 1": config._replace(round=2**63).encoded,
        "an adversary of 17 letters": config._replace(adversary="semi-semi-honest!").encoded,
        "nothing at all": b"",
        "nil": b"\xc0",
    }
    for name, encoded in misshapen.items():
        yield bad(name, "config-decode", "wire-format", {"encoded": encoded}, {})


def bad_packing() -> Iterator[Case]:
    """Packed vectors with something behind their last word."""
    for bits, count in ((9, 1), (20, 3), (31, 5), (33, 7), (63, 2), (10, 9)):
        packed = oracle.number_of(oracle.fields_of(entropy(f"bad {bits}", 8 * count), bits, count), bits)
        inputs = {"bits": bits, "count": count, "packed": packed[:-1] + bytes([packed[-1] | 0x80])}
        yield bad(f"the last padding bit, {bits} bits", "unpack", "input-range", inputs, {})


def bad_shares() -> Iterator[Case]:
    """Shares with a value that is no field element, or with padding."""
    fields = oracle.fields_of(entropy("a share", oracle.SHARE), 20, oracle.LIMBS)
    for place, value in ((0, oracle.PRIME), (0, 2**21 - 1), (5, oracle.PRIME + 3), (6, oracle.PRIME)):
        share = oracle.number_of([*fields[:place], value, *fields[place + 1 :]], 21)
        yield bad(f"{value} in place {place}", "share-decode", "share-range", {"share": share}, {})
    for bit in (3, 7):
        share = oracle.number_of(fields, 21)
        share = share[:-1] + bytes([share[-1] | 1 << bit])
        yield bad(f"padding bit {bit}", "share-decode", "share-range", {"share": share}, {})


def survivor_checks(*, breaking: bool) -> Iterator[Case]:
    """The survivor set by itself: what a client that confirms must know, and what it then says."""
    config = World("survivor checks", clients=9, dropped=3, corrupt=1).config
    everyone = list(range(9))
    base = {"config": config.encoded, "position": 2, "joined": everyone[:8], "inbox": [0, 1, 3, 4, 5, 6]}
    base |= {"min_survivors": 6, "min_honest": 2}
    rows: tuple[tuple[str, str | None, list[int], dict[str, Any]], ...] = (
        ("everyone in the inbox", None, [0, 1, 2, 3, 4, 5, 6], {}),
        ("fewer, at the floor", None, [0, 1, 2, 4, 5, 6], {}),
        ("a survivor outside the inbox", "survivors-inbox", [0, 1, 2, 3, 4, 5, 6, 7], {}),
        ("an inbox of nobody", "survivors-inbox", [0, 1, 2, 3, 4, 5], {"inbox": []}),
        ("without the client itself", "survivors-self", [0, 1, 3, 4, 5, 6], {}),
        ("one that never joined", "survivors-form", [0, 1, 2, 3, 4, 5, 8], {}),
        ("below the round's floor", "survivors-floor", [0, 1, 2, 3, 4], {}),
        ("below the client's own floor", "survivors-floor", [0, 1, 2, 3, 4, 5], {"min_survivors": 7}),
        ("too few that are honest", "survivors-honest", [0, 1, 2, 3, 4, 5], {"min_honest": 6}),
    )
    for name, rule, survivors, changes in rows:
        inputs = base | {"survivors": oracle.bitmap(survivors, 9)} | changes
        if rule is None and not breaking:
            yield case(name, "survivor-check", inputs, {"survivors": survivors})
        elif rule is not None and breaking:
            yield bad(name, "survivor-check", rule, inputs, {})
    if breaking:
        for name, data in (("a padding bit", b"\x7f\x02"), ("a byte short", b"\x7f"), ("a byte more", b"\x7f\0\0")):
            yield bad(name, "survivor-check", "survivors-form", base | {"survivors": data}, {})
