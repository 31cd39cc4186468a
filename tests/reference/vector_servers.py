"""Conversations with a server, most of them bad: what it takes, and which rule the last message trips.

Promise: each bad case breaks one rule and nothing else that would be noticed sooner; up to it everyone is honest. What
the liar says carries the tag and the signatures that it can make, and they verify.

Imports the oracle and the standard library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tests.reference import protocol_oracle as oracle
from tests.reference.vector_world import (
    EVERYONE,
    LIAR,
    LOW_ORDER,
    Case,
    World,
    bad,
    body_end,
    case,
    entropy,
    numbers,
    raw,
    taking_in_the_gap,
)


class ServerTale:
    """A server among honest clients, up to a lie; the liar's honest answers are in `honest`, not handed in."""

    def __init__(self, name: str, kind: int, **changes: Any) -> None:
        self.name = name
        self.world = World(f"server: {name}", **({"clients": 4, "dropped": 1} | changes))
        self.liar = self.world.clients[LIAR]
        self.digest = self.world.config.digest
        self.world.play(kind, hold={LIAR})
        self.honest = self.world.held[LIAR][0]

    def inputs(self, *events: tuple[str, bytes] | None, **changes: Any) -> dict[str, Any]:
        """The server and everything it takes."""
        world = self.world
        taken = [None if event is None else (world.names[event[0]], event[1]) for event in world.events]
        described = {
            "config": world.config.encoded,
            "certified": world.certified,
            "invited": world.names,
            "private": world.server.private,
            "directory": changes.get("directory", world.directory),
        }
        steps = [
            {"close": True} if event is None else {"from": event[0], "data": event[1]} for event in (*taken, *events)
        ]
        return {"server": described, "events": steps}

    def refuses(self, rule: str, data: bytes, *, sender: str | None = None, **changes: Any) -> Case:
        """The server admits everything up to `data` and refuses that."""
        inputs = self.inputs((sender or self.liar.name, data), **changes)
        refused = [[len(inputs["events"]) - 1, rule]]
        return bad(self.name, "server", rule, inputs, {"refused": refused, "outcome": None})

    def says(self, kind: int, body: Sequence[object], tail: bytes = b"", *, chunk: int = 0) -> bytes:
        """Anything the liar says, under its tag."""
        return self.liar.says(kind, body, tail, chunk=chunk)

    def tag(self, data: bytes) -> bytes:
        """Any bytes of the liar, and their tag."""
        return oracle.tagged(data, self.liar.channel, oracle.UP)


def sum_of(world: World) -> dict[str, Any]:
    """What an honest round comes to."""
    total = numbers(world.server.total())
    survivors = [world.names[position] for position in world.server.survivors]
    return {"survivors": survivors, "sum": total, "blamed": []}


def servers() -> Iterator[Case]:
    """Servers that are told nothing wrong, and rounds that end below a floor."""
    for name, changes in (
        ("a server through a whole round", {}),
        ("a server whose client drops out", {"silent": {oracle.INPUT: {0}}}),
        ("a server without a quorum", {"quorum": 0, "silent": {oracle.SHARES: {2}}}),
    ):
        tale = ServerTale(name, oracle.UNMASK, **changes)
        tale.world.submit(LIAR, tale.world.held[LIAR])
        yield case(name, "server", tale.inputs(None), {"refused": [], "outcome": sum_of(tale.world)})
    for kind, leg in ((oracle.ADVERT, "advertise"), (oracle.SHARES, "share"), (oracle.INPUT, "mask")):
        tale = ServerTale(f"too few at leg {leg}", kind, silent={kind: {0}})
        outcome = {"failed": leg, "suspects": []}
        yield case(tale.name, "server", tale.inputs(None), {"refused": [], "outcome": outcome})


def bad_adverts() -> Iterator[Case]:
    """What a server must refuse before a client has a channel."""
    tale = ServerTale("an advert cut short", oracle.ADVERT)
    yield tale.refuses("wire-format", tale.honest[:-1])
    tale = ServerTale("an advert whose gap is not zero", oracle.ADVERT)
    yield tale.refuses("wire-format", tale.honest[:-1] + b"\1")
    tale = ServerTale("an advert with a longer gap", oracle.ADVERT)
    yield tale.refuses("wire-format", tale.honest + bytes(8))
    tale = ServerTale("an advert that takes in its gap", oracle.ADVERT)
    yield tale.refuses("wire-format", taking_in_the_gap(tale.honest))
    tale = ServerTale("an advert for another round", oracle.ADVERT)
    yield tale.refuses("wire-round", oracle.front(oracle.ADVERT, bytes(32), LIAR, tale.liar.advert()))
    tale = ServerTale("an advert of a stranger", oracle.ADVERT)
    yield tale.refuses("wire-sender", tale.honest, sender="mallory")
    tale = ServerTale("an advert in another's name", oracle.ADVERT)
    yield tale.refuses("wire-sender", oracle.front(oracle.ADVERT, tale.digest, 0, tale.liar.advert()))
    tale = ServerTale("an advert of one not pinned", oracle.ADVERT)
    known = {name: key for name, key in tale.world.directory.items() if name != tale.liar.name}
    yield tale.refuses("advert-identity", tale.honest, directory=known)
    tale = ServerTale("an advert signed for another position", oracle.ADVERT)
    advert = tale.liar.advert(signed=tale.digest + oracle.u32(0))
    yield tale.refuses("advert-signature", tale.says(oracle.ADVERT, advert))
    for number, key in enumerate(LOW_ORDER):
        tale = ServerTale(f"an advert of a key that is none, {number}", oracle.ADVERT)
        yield tale.refuses("advert-key", tale.says(oracle.ADVERT, tale.liar.advert(box_key=key)))
    tale = ServerTale("a key someone else has advertised", oracle.ADVERT)
    theirs = tale.world.server.heard[oracle.ADVERT][0]
    yield tale.refuses("advert-distinct", tale.says(oracle.ADVERT, tale.liar.advert(mask_key=theirs[0])))
    tale = ServerTale("one key advertised for both purposes", oracle.ADVERT)
    yield tale.refuses("advert-distinct", tale.says(oracle.ADVERT, tale.liar.advert(mask_key=tale.liar.box_public)))
    tale = ServerTale("an advert twice", oracle.ADVERT)
    tale.world.submit(LIAR, [tale.honest])
    yield tale.refuses("wire-order", tale.honest)


def bad_answers() -> Iterator[Case]:
    """What a server must refuse about boxes, confirmations and shares."""
    tale = ServerTale("boxes under no tag", oracle.SHARES)
    yield tale.refuses("wire-tag", tale.honest[:-16] + bytes(16))
    tale = ServerTale("boxes with a tail", oracle.SHARES)
    yield tale.refuses("wire-format", tale.says(oracle.SHARES, oracle.parts(tale.honest)[1], b"?"))
    tale = ServerTale("another's boxes passed off as one's own", oracle.SHARES)
    yield tale.refuses("wire-sender", tale.world.said[0][-1][0])
    tale = ServerTale("one box too few", oracle.SHARES)
    yield tale.refuses("boxes-receivers", tale.says(oracle.SHARES, [bytes(oracle.BOX * 2)]))
    tale = ServerTale("a byte too many", oracle.SHARES)
    yield tale.refuses("boxes-receivers", tale.says(oracle.SHARES, [bytes(oracle.BOX * 3 + 1)]))
    tale = ServerTale("shares before anyone asked", oracle.CONFIRM)
    yield tale.refuses("wire-order", tale.says(oracle.UNMASK, [b""]))
    tale = ServerTale("a confirmation longer than any", oracle.CONFIRM)
    yield tale.refuses("wire-size", tale.honest.ljust(128 + 16 + 1, b"\0"))
    tale = ServerTale("a confirmation of another survivor set", oracle.CONFIRM)
    statement = tale.world.server.joined.survivor_statement([1, 2, 3])
    signature = oracle.sign(tale.liar.seed, "sign/survivors", statement)
    yield tale.refuses("confirm-signature", tale.says(oracle.CONFIRM, [signature]))
    tale = ServerTale("another's confirmation", oracle.CONFIRM)
    yield tale.refuses("confirm-signature", tale.says(oracle.CONFIRM, tale.world.server.heard[oracle.CONFIRM][0]))
    tale = ServerTale("a share too few", oracle.UNMASK)
    yield tale.refuses("shares-holders", tale.says(oracle.UNMASK, [oracle.parts(tale.honest)[1][0][: -oracle.SHARE]]))
    tale = ServerTale("a share beyond the field", oracle.UNMASK)
    shares = oracle.parts(tale.honest)[1][0]
    yield tale.refuses("share-range", tale.says(oracle.UNMASK, [b"\xff\xff\x1f" + shares[3:]]))
    tale = ServerTale("a share with padding", oracle.UNMASK)
    shares = oracle.parts(tale.honest)[1][0]
    yield tale.refuses("share-range", tale.says(oracle.UNMASK, [shares[:-1] + bytes([shares[-1] | 8])]))
    tale = ServerTale("shares in the longer form", oracle.UNMASK)
    shares = oracle.parts(tale.honest)[1][0]
    packed = b"\x91\xc5" + len(shares).to_bytes(2, "big") + shares
    yield tale.refuses("wire-format", tale.tag(raw(oracle.UNMASK, tale.digest, LIAR, packed)))


def bad_inputs() -> Iterator[Case]:
    """What a server must refuse about masked inputs."""
    tale = ServerTale("the second chunk first", oracle.INPUT)
    yield tale.refuses("input-chunk", tale.says(oracle.INPUT, [1, b""], oracle.parts(tale.honest)[2], chunk=1))
    tale = ServerTale("a chunk under the tag of another", oracle.INPUT)
    yield tale.refuses("wire-tag", tale.says(oracle.INPUT, [0, b"\0"], oracle.parts(tale.honest)[2], chunk=1))
    for name, spoil in (("a byte short", lambda tail: tail[:-1]), ("empty", lambda tail: b"")):
        tale = ServerTale(f"an input {name}", oracle.INPUT)
        yield tale.refuses("input-chunk", tale.says(oracle.INPUT, [0, b"\0"], spoil(oracle.parts(tale.honest)[2])))
    tale = ServerTale("an input a byte longer than any", oracle.INPUT)
    yield tale.refuses("input-chunk", tale.says(oracle.INPUT, [0, b"\0"], oracle.parts(tale.honest)[2] + b"\0"))
    tale = ServerTale("padding behind the last word", oracle.INPUT)
    tail = oracle.parts(tale.honest)[2]
    yield tale.refuses("input-range", tale.says(oracle.INPUT, [0, b"\0"], tail[:-1] + bytes([tail[-1] | 0x80])))
    for name, rule, gap_of, tail_of in (
        ("no gap", "wire-format", lambda _: b"", lambda tail: tail),
        ("no gap, and zeros in its place", "input-chunk", lambda _: b"", lambda tail: bytes(len(tail))),
        ("a gap that is not zero", "wire-format", lambda gap: gap[1:] + b"\1", lambda tail: tail),
        ("a gap that is too long", "input-chunk", lambda gap: gap + bytes(8), lambda tail: tail),
    ):
        tale = ServerTale(f"an input behind {name}", oracle.INPUT)
        front = oracle.front(oracle.INPUT, tale.digest, LIAR, [0, b"\0"])
        end, tail = body_end(front), oracle.parts(tale.honest)[2]
        yield tale.refuses(rule, tale.tag(front[:end] + gap_of(front[end:]) + tail_of(tail)))
    for name, report in (
        ("about oneself", b"\x08"),
        ("about more than can be true", b"\x03"),
        ("with a padding bit", b"\x10"),
        ("of no bitmap", b""),
    ):
        tale = ServerTale(f"a report {name}", oracle.INPUT)
        yield tale.refuses("input-unopened", tale.says(oracle.INPUT, [0, report], oracle.parts(tale.honest)[2]))
    yield conflict(reporter_first=False)
    yield conflict(reporter_first=True)


def conflict(*, reporter_first: bool) -> Case:
    """Client 0 seals one box that does not open: its dealer and its receiver cannot both count, and one does."""
    name = "a dealer that is late" if reporter_first else "a reporter that is late"
    tale = ServerTale.__new__(ServerTale)
    tale.name, tale.world = f"an input in conflict, {name}", World(f"server: {name}", clients=5, dropped=1)
    world = tale.world
    world.play(oracle.SHARES, hold={0})
    boxes = oracle.slices(oracle.parts(world.held[0][0])[1][0], oracle.BOX)
    boxes[LIAR - 1] = bytes(oracle.BOX)  # its own is not among them
    world.submit(0, [world.clients[0].says(oracle.SHARES, [b"".join(boxes)])])
    late = 0 if reporter_first else LIAR
    world.play(oracle.INPUT, hold={late})
    refused = [[len(world.events), "inbox-conflict"]]
    world.events.append((late, world.held[late][0]))
    world.play(oracle.UNMASK)
    outputs = {"refused": refused, "outcome": sum_of(world)}
    return bad(tale.name, "server", "inbox-conflict", tale.inputs(None), outputs)


def bad_recoveries() -> Iterator[Case]:
    """No refusal: shares that are wrong only when seen together."""
    honest = ServerTale("a holder that lies about one dealer", oracle.UNMASK)
    honest.world.submit(LIAR, honest.world.held[LIAR])
    outcome = sum_of(honest.world) | {"blamed": [["client-0", "client-1"]]}
    tale = unmasking(
        honest.name, lambda holder, shares: [shares[0], bytes(oracle.SHARE), *shares[2:]] if holder == 0 else shares
    )
    yield bad(tale.name, "server", "share-consistent", tale.inputs(None), {"refused": [], "outcome": outcome})
    forged = oracle.split([entropy("another seed", 16)], 3, (1, 2, 3, 4), entropy("its draws", 200))[0]
    tale = unmasking(
        "a dealer whose shares agree on another secret", lambda holder, shares: [*shares[:LIAR], forged[holder + 1]]
    )
    outcome = {"failed": "unmask", "suspects": ["client-3"]}
    yield bad(tale.name, "server", "secret-matches", tale.inputs(None), {"refused": [], "outcome": outcome})
    tale = unmasking(
        "a dropped dealer whose shares agree on another secret",
        lambda holder, shares: [*shares[:LIAR], forged[holder + 1]],
        silent={oracle.INPUT: [LIAR]},
    )
    yield bad(tale.name, "server", "secret-matches", tale.inputs(None), {"refused": [], "outcome": outcome})
    # Two wrong shares of four. Where nobody may lie, the dealer must have; where one may, nobody can tell.
    for allowed, dropped, suspects in ((0, 1, ["client-3"]), (1, 0, [])):
        name = f"shares that agree on nothing, {allowed} corrupt at most"
        tale = unmasking(name, two_wrong_shares, dropped=dropped, corrupt=allowed)
        outcome = {"failed": "unmask", "suspects": suspects}
        yield bad(tale.name, "server", "secret-matches", tale.inputs(None), {"refused": [], "outcome": outcome})


def two_wrong_shares(holder: int, shares: list[bytes]) -> list[bytes]:
    """Of the liar's secret, by holders 1 and 3."""
    return [*shares[:LIAR], bytes([holder]).ljust(oracle.SHARE, b"\0")] if holder % 2 else shares


def unmasking(name: str, spoil: Callable[[int, list[bytes]], list[bytes]], **changes: Any) -> ServerTale:
    """A round played to its end, where holders reveal what `spoil` makes of what they hold."""
    tale = ServerTale.__new__(ServerTale)
    tale.name, tale.world = name, World(f"server: {name}", **({"clients": 4, "dropped": 1} | changes))
    tale.world.play(oracle.UNMASK, hold=EVERYONE)
    for holder, (answer,) in sorted(tale.world.held.items()):
        shares = spoil(holder, oracle.slices(oracle.parts(answer)[1][0], oracle.SHARE))
        tale.world.submit(holder, [tale.world.clients[holder].says(oracle.UNMASK, [b"".join(shares)])])
    return tale


def bad_servers() -> Iterator[Case]:
    """Every server that must refuse something, leg by leg."""
    for make in (bad_adverts, bad_answers, bad_inputs, bad_recoveries):
        yield from make()
