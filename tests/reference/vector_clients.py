"""Conversations with a client, most of them bad: what it is told, and which rule the last message trips.

Promise: each bad case breaks one rule and nothing else that would be noticed sooner; up to it everyone is honest. What
the liar says carries the tag and the signatures that it can make, and they verify.

Imports the oracle and the standard library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.reference import protocol_oracle as oracle
from tests.reference.vector_world import (
    EVERYONE,
    FIELD_PRIME,
    LIAR,
    LOW_ORDER,
    VICTIM,
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


class ClientTale:
    """A client among honest parties, up to a lie.

    Args:
        name: the case's, and what every secret follows from.
        kind: everyone has answered with messages of this kind; None before anything was said.
        changes: what is different about the round, as `World` takes it.
    """

    def __init__(self, name: str, kind: int | None, **changes: Any) -> None:
        self.name = name
        self.world = World(f"client: {name}", **({"clients": 4, "dropped": 1} | changes))
        self.server, self.liar = self.world.server, self.world.clients[LIAR % len(self.world.clients)]
        self.digest = self.world.config.digest
        if kind is not None:
            self.world.play(kind)

    def told(self, kind: int, body: Sequence[object]) -> bytes:
        """A message to the victim under its tag."""
        return self.server.says(VICTIM, kind, body)

    def tag(self, data: bytes) -> bytes:
        """Any bytes to the victim, and their tag."""
        return oracle.tagged(data, self.server.channel(VICTIM), oracle.DOWN)

    def offer(self, config: oracle.Config | None = None, **changes: Any) -> bytes:
        """An offer; what is passed stands in the place of what is true."""
        encoded = (config or self.world.config).encoded
        values = {"config": encoded, "invited": self.world.names, "server_key": self.server.public} | changes
        return oracle.front(oracle.OFFER, oracle.digest("hash/config", encoded), oracle.SERVER, list(values.values()))

    def roster(self, **adverts: Sequence[bytes]) -> list[Any]:
        """The roster of everyone, with the adverts of `p3=...` in the place of the true ones."""
        changed = {int(key[1:]): list(advert) for key, advert in adverts.items()}
        return self.server.roster(self.server.heard[oracle.ADVERT] | changed)

    def survivors(self, positions: Sequence[int]) -> bytes:
        """A survivor set under its tag."""
        return self.told(oracle.SURVIVORS, [oracle.bitmap(positions, self.world.config.clients)])

    def request(self, signatures: Mapping[int, bytes]) -> bytes:
        """An unmask request under its tag."""
        body = [oracle.bitmap(signatures, 4), b"".join(signatures[signer] for signer in sorted(signatures))]
        return self.told(oracle.REQUEST, body)

    def signatures(self) -> dict[int, bytes]:
        """What everyone signed."""
        return {signer: body[0] for signer, body in sorted(self.server.heard[oracle.CONFIRM].items())}

    def inputs(self, data: bytes | None = None, **changes: Any) -> dict[str, Any]:
        """The client and everything it is told, `data` last."""
        client, config = self.world.clients[VICTIM], self.world.config
        recipe = {"digest": config.recipe_digest, "length": str(config.length), "ring_bits": config.ring_bits}
        policy = {
            "adversaries": [config.adversary],
            "min_survivors": 2,
            "min_honest": 2,
            "min_corrupt": 0,
            "max_length": str(2**32),
            "max_round_step": 2**20,
            "session": None,
            "certified": self.world.certified,
        }
        described = {
            "name": client.name,
            "identity_seed": client.seed,
            "round_secret": client.root,
            "directory": changes.get("directory", self.world.directory),
            "recipe": recipe | changes.get("recipe", {}),
            "instructions": changes.get("instructions", self.world.label.encode()),
            "policy": policy | changes.get("policy", {}),
            "last_round": changes.get("last_round", 0),
            "input": numbers(client.words),
        }
        return {"client": described, "messages": self.world.told[VICTIM] + ([] if data is None else [data])}

    def refuses(self, rule: str, data: bytes, **changes: Any) -> Case:
        """The client answers everything up to `data` and refuses that."""
        answers = {"answers": self.world.said[VICTIM]}
        return bad(self.name, "client", rule, self.inputs(data, **changes), answers)


def clients() -> Iterator[Case]:
    """Clients that are told nothing wrong."""
    for name, changes in (
        ("a client through a whole round", {}),
        ("a client whose peer drops out", {"silent": {oracle.INPUT: {0}}}),
        ("a client against a curious server", {"quorum": 0}),
        ("a client on a circle", {"clients": 6, "dropped": 0, "degree": 2, "threshold": 2}),
    ):
        tale = ClientTale(name, oracle.UNMASK, **changes)
        yield case(name, "client", tale.inputs(), {"answers": tale.world.said[VICTIM]})


def bad_offers() -> Iterator[Case]:
    """What a client must refuse before it has said anything."""
    tale = ClientTale("an invited list in another order", None)
    yield tale.refuses("offer-invited", tale.offer(invited=tale.world.names[::-1]))
    tale = ClientTale("a stranger in the invited list", None)
    yield tale.refuses("offer-invited", tale.offer(invited=[*tale.world.names[:-1], "mallory"]))
    tale = ClientTale("a name with a space", None)
    yield tale.refuses("offer-invited", tale.offer(invited=["client 0", *tale.world.names[1:]]))
    tale = ClientTale("one name too few", None)
    yield tale.refuses("offer-invited", tale.offer(invited=tale.world.names[1:]))
    tale = ClientTale("one name twice", None)
    twice = [tale.world.names[0], *tale.world.names[:-1]]
    named = tale.world.config._replace(invited_digest=oracle.digest("hash/invited", *(n.encode() for n in twice)))
    yield tale.refuses("offer-invited", tale.offer(named, invited=twice))
    for number, key in enumerate((*LOW_ORDER, FIELD_PRIME.to_bytes(32, "little"), b"\xff" * 32)):
        tale = ClientTale(f"a server key that is none, {number}", None)
        yield tale.refuses("offer-server-key", tale.offer(server_key=key))
    tale = ClientTale("a round for others", None)
    others = sorted({*tale.world.names, "zoe"} - {tale.world.names[VICTIM]})
    named = tale.world.config._replace(invited_digest=oracle.digest("hash/invited", *(n.encode() for n in others)))
    yield tale.refuses("offer-self", tale.offer(named, invited=others))
    tale = ClientTale("a plan that is not safe", None)
    yield tale.refuses("offer-plan", tale.offer(tale.world.config._replace(threshold=2)))
    tale = ClientTale("a suite of the future", None)
    yield tale.refuses("offer-config", tale.offer(tale.world.config._replace(suite=3)))
    tale = ClientTale("a downgrade to a curious server", None)
    yield tale.refuses("offer-policy", tale.offer(tale.world.config._replace(adversary="semi-honest", quorum=0)))
    for name, policy in (
        ("a sum smaller than the client hides in", {"min_survivors": 4}),
        ("fewer honest ones than it hides among", {"min_honest": 4}),
        ("fewer colluders withstood than it fears", {"min_corrupt": 1}),
        ("a longer input than it masks", {"max_length": "2"}),
        ("another session than the one it serves", {"session": bytes(16)}),
    ):
        tale = ClientTale(name, None)
        yield tale.refuses("offer-policy", tale.offer(), policy=policy)
    tale = ClientTale("a round number used before", None)
    yield tale.refuses("offer-fresh", tale.offer(), last_round=1)
    tale = ClientTale("a round number far ahead", None, number=2**20 + 1)
    yield tale.refuses("offer-fresh", tale.offer())
    for name, recipe in (
        ("another recipe", {"digest": bytes(32)}),
        ("another length", {"length": "4"}),
        ("a ring in which the sum would wrap", {"ring_bits": 21}),
    ):
        tale = ClientTale(name, None)
        yield tale.refuses("offer-recipe", tale.offer(), recipe=recipe)
    tale = ClientTale("another model", None)
    yield tale.refuses("offer-instructions", tale.offer(), instructions=b"the model this client holds")
    tale = ClientTale("an offer whose header names another config", None)
    yield tale.refuses("wire-round", tale.offer()[:5] + bytes(32) + tale.offer()[37:])
    tale = ClientTale("an offer in a client's name", None)
    yield tale.refuses("wire-sender", tale.offer()[:37] + oracle.u32(LIAR) + tale.offer()[41:])
    tale = ClientTale("an offer with a byte behind it", None)
    yield tale.refuses("wire-format", tale.offer() + b"\0")
    tale = ClientTale("an offer cut short", None)
    yield tale.refuses("wire-format", tale.offer()[:-1])
    tale = ClientTale("a roster before any offer", None)
    yield tale.refuses("wire-order", oracle.front(oracle.ROSTER, tale.digest, oracle.SERVER, [b"\x0f", []]) + bytes(16))


def bad_gaps() -> Iterator[Case]:
    """Messages that are right but for what stands behind their body."""
    tale = ClientTale("an offer whose gap is not zero", None)
    offer = tale.offer()
    end = body_end(offer)
    yield tale.refuses("wire-format", offer[:end] + b"\1" * (len(offer) - end))
    tale = ClientTale("an offer that takes in its gap", None)
    yield tale.refuses("wire-format", taking_in_the_gap(tale.offer()))
    tale = ClientTale("a roster that takes in its gap", oracle.ADVERT)
    front = oracle.front(oracle.ROSTER, tale.digest, oracle.SERVER, tale.roster())
    yield tale.refuses("wire-format", tale.tag(taking_in_the_gap(front)))
    for name, gap_of in (
        ("no gap", lambda _: b""),
        ("a gap that is too short", lambda gap: gap[1:]),
        ("a gap that is not zero", lambda gap: gap[1:] + b"\1"),
        ("a gap that is too long", lambda gap: gap + bytes(8)),
    ):
        tale = ClientTale(name, oracle.ADVERT)
        front = oracle.front(oracle.ROSTER, tale.digest, oracle.SERVER, tale.roster())
        end = body_end(front)
        yield tale.refuses("wire-format", tale.tag(front[:end] + gap_of(front[end:])))


def bad_envelopes() -> Iterator[Case]:
    """Rosters of everyone with something wrong about their envelope."""
    name = "a message of another version"
    tale = ClientTale(name, oracle.ADVERT)
    genuine = tale.told(oracle.ROSTER, tale.roster())
    yield tale.refuses("wire-format", b"SAG1" + genuine[4:])
    tale = ClientTale("less than a header", oracle.ADVERT)
    yield tale.refuses("wire-format", tale.told(oracle.ROSTER, tale.roster())[:44])
    tale = ClientTale("a body that runs past the end", oracle.ADVERT)
    front = oracle.front(oracle.ROSTER, tale.digest, oracle.SERVER, tale.roster())
    length = int.from_bytes(front[41:45], "big") + 8
    yield tale.refuses("wire-format", tale.tag(front[:41] + oracle.u32(length) + front[45:]))
    tale = ClientTale("a tail where none belongs", oracle.ADVERT)
    front = oracle.front(oracle.ROSTER, tale.digest, oracle.SERVER, tale.roster(), b"?")
    yield tale.refuses("wire-format", tale.tag(front))
    bodies: dict[str, Callable[[list[Any]], bytes]] = {
        "bytes behind the array": lambda body: oracle.pack(body) + b"\xc0",
        "a bitmap in the longer form": lambda body: b"\x92\xc5\0\x01" + body[0] + oracle.pack(body[1]),
        "a bitmap of text": lambda body: b"\x92\xa1\x0f" + oracle.pack(body[1]),
        "a field more": lambda body: oracle.pack([*body, 0]),
        "no array": lambda body: oracle.pack(body[0]),
        "a mask key of 31 bytes": lambda body: oracle.pack(
            [body[0], [[body[1][0][0][:-1], *body[1][0][1:]], *body[1][1:]]]
        ),
    }
    for name, body_of in bodies.items():
        tale = ClientTale(name, oracle.ADVERT)
        packed = body_of(tale.roster())
        yield tale.refuses("wire-format", tale.tag(raw(oracle.ROSTER, tale.digest, oracle.SERVER, packed)))
    tale = ClientTale("a roster longer than any", oracle.ADVERT)
    yield tale.refuses("wire-size", tale.told(oracle.ROSTER, tale.roster()).ljust(744 + 16 + 1, b"\0"))
    tale = ClientTale("a roster of another round", oracle.ADVERT)
    front = oracle.front(oracle.ROSTER, bytes(32), oracle.SERVER, tale.roster())
    yield tale.refuses("wire-round", tale.tag(front))
    tale = ClientTale("a roster in a client's name", oracle.ADVERT)
    yield tale.refuses("wire-sender", tale.tag(oracle.front(oracle.ROSTER, tale.digest, LIAR, tale.roster())))
    tale = ClientTale("a roster tagged for someone else", oracle.ADVERT)
    yield tale.refuses("wire-tag", tale.server.says(LIAR, oracle.ROSTER, tale.roster()))
    tale = ClientTale("a flipped bit", oracle.ADVERT)
    genuine = tale.told(oracle.ROSTER, tale.roster())
    yield tale.refuses("wire-tag", genuine[:60] + bytes([genuine[60] ^ 1]) + genuine[61:])
    tale = ClientTale("a tag of the client's own direction", oracle.ADVERT)
    front = oracle.front(oracle.ROSTER, tale.digest, oracle.SERVER, tale.roster())
    yield tale.refuses("wire-tag", oracle.tagged(front, tale.server.channel(VICTIM), oracle.UP))
    tale = ClientTale("survivors before the inbox", oracle.SHARES)
    yield tale.refuses("wire-order", tale.survivors(sorted(EVERYONE)))
    tale = ClientTale("another roster after the first", oracle.SHARES)
    yield tale.refuses(
        "wire-order", tale.told(oracle.ROSTER, tale.server.roster({p: tale.roster()[1][p] for p in (0, 1, 2)}))
    )
    tale = ClientTale("the inbox again, whose answer was not kept", oracle.INPUT)
    yield tale.refuses("wire-order", tale.world.told[VICTIM][-1])
    tale = ClientTale("a second survivor set", oracle.CONFIRM)
    yield tale.refuses("wire-order", tale.survivors([0, 1, 2]))
    tale = ClientTale("a kind that does not exist", oracle.ADVERT)
    yield tale.refuses("wire-order", oracle.front(11, tale.digest, oracle.SERVER, tale.roster()))


def bad_rosters() -> Iterator[Case]:
    """What a client must refuse about who joined."""
    tale = ClientTale("a peer nobody pinned", oracle.ADVERT)
    known = {name: key for name, key in tale.world.directory.items() if name != tale.liar.name}
    yield tale.refuses("advert-identity", tale.told(oracle.ROSTER, tale.roster()), directory=known)
    tale = ClientTale("a peer pinned to another identity", oracle.ADVERT)
    known = tale.world.directory | {tale.liar.name: oracle.identity_key(entropy("someone else"))}
    yield tale.refuses("advert-signature", tale.told(oracle.ROSTER, tale.roster()), directory=known)
    tale = ClientTale("a box key swapped on the way", oracle.ADVERT)
    advert = list(tale.server.heard[oracle.ADVERT][0])
    advert[1] = tale.server.public
    yield tale.refuses("advert-signature", tale.told(oracle.ROSTER, tale.roster(p0=advert)))
    for name, signed in (
        ("an advert of another round", bytes(32) + oracle.u32(LIAR)),
        ("an advert of another position", None),
    ):
        tale = ClientTale(name, oracle.ADVERT)
        advert = tale.liar.advert(signed=signed or tale.digest + oracle.u32(0))
        yield tale.refuses("advert-signature", tale.told(oracle.ROSTER, tale.roster(p3=advert)))
    for number, key in enumerate((*LOW_ORDER, (FIELD_PRIME + 9).to_bytes(32, "little"), b"\xff" * 32)):
        field = ("mask_key", "box_key")[number % 2]
        tale = ClientTale(f"a {field} that is none, {number}", oracle.ADVERT)
        advert = tale.liar.advert(**{field: key})
        yield tale.refuses("advert-key", tale.told(oracle.ROSTER, tale.roster(p3=advert)))
    tale = ClientTale("the victim's own mask key, advertised back at it", oracle.ADVERT)
    advert = tale.liar.advert(mask_key=tale.server.heard[oracle.ADVERT][VICTIM][0])
    yield tale.refuses("advert-distinct", tale.told(oracle.ROSTER, tale.roster(p3=advert)))
    tale = ClientTale("one key for both purposes", oracle.ADVERT)
    advert = tale.liar.advert(mask_key=tale.liar.box_public)
    yield tale.refuses("advert-distinct", tale.told(oracle.ROSTER, tale.roster(p3=advert)))
    tale = ClientTale("another's commitment", oracle.ADVERT)
    advert = tale.liar.advert(seed_commitment=tale.server.heard[oracle.ADVERT][0][2])
    yield tale.refuses("advert-distinct", tale.told(oracle.ROSTER, tale.roster(p3=advert)))
    tale = ClientTale("more names than adverts", oracle.ADVERT)
    joined, adverts = tale.roster()
    yield tale.refuses("roster-order", tale.told(oracle.ROSTER, [joined, adverts[:-1]]))
    for name, bitmap in (
        ("a name beyond the last position", b"\x1f"),
        ("no bitmap", b""),
        ("two bytes of it", b"\x0f\0"),
    ):
        tale = ClientTale(name, oracle.ADVERT)
        yield tale.refuses("roster-order", tale.told(oracle.ROSTER, [bitmap, tale.roster()[1]]))
    tale = ClientTale("a roster without the victim", oracle.ADVERT)
    others = {p: body for p, body in tale.server.heard[oracle.ADVERT].items() if p != VICTIM}
    yield tale.refuses("roster-self", tale.told(oracle.ROSTER, tale.server.roster(others)))
    tale = ClientTale("adverts in another order", oracle.ADVERT)
    joined, adverts = tale.roster()
    yield tale.refuses("roster-self", tale.told(oracle.ROSTER, [joined, adverts[::-1]]))
    tale = ClientTale("a roster of too few", oracle.ADVERT)
    few = {p: tale.server.heard[oracle.ADVERT][p] for p in (0, VICTIM)}
    yield tale.refuses("roster-floor", tale.told(oracle.ROSTER, tale.server.roster(few)))
    yield lonely()


def lonely() -> Case:
    """On a k-regular graph a client counts its neighbors too: here one of two is missing, and four others joined."""
    changes = {"clients": 6, "dropped": 1, "degree": 2, "threshold": 3}
    for number in range(1, 9):  # the graph is drawn anew for every roster
        name = "a roster that leaves the victim too few neighbors"
        tale = ClientTale(name, oracle.ADVERT, number=number, **changes)
        adverts = tale.server.heard[oracle.ADVERT]
        for gone in sorted(adverts.keys() - {VICTIM}):
            body = tale.server.roster({p: advert for p, advert in adverts.items() if p != gone})
            if len(oracle.Joined(tale.world.config, body).neighbors(VICTIM)) == 1:
                return tale.refuses("roster-floor", tale.told(oracle.ROSTER, body))
    raise ValueError("somebody is the victim's neighbor")


def bad_inboxes() -> Iterator[Case]:
    """What a client must refuse, or leave out, among the boxes."""
    tale = ClientTale("a box of the victim itself", oracle.SHARES)
    boxes = tale.server.inbox(VICTIM, [0, 2, 3])[1]
    yield tale.refuses("inbox-senders", tale.told(oracle.INBOX, [oracle.bitmap([1, 2, 3], 4), boxes]))
    tale = ClientTale("more senders than boxes", oracle.SHARES)
    senders, boxes = tale.server.inbox(VICTIM, [0, 2, 3])
    yield tale.refuses("inbox-senders", tale.told(oracle.INBOX, [senders, boxes[: -oracle.BOX]]))
    tale = ClientTale("half a box", oracle.SHARES)
    senders, boxes = tale.server.inbox(VICTIM, [0, 2, 3])
    yield tale.refuses("inbox-senders", tale.told(oracle.INBOX, [senders, boxes[: -oracle.BOX // 2]]))
    tale = ClientTale("a sender beyond the last position", oracle.SHARES)
    boxes = tale.server.inbox(VICTIM, [0, 2, 3])[1]
    yield tale.refuses("inbox-senders", tale.told(oracle.INBOX, [b"\x1c", boxes]))
    tale = ClientTale("a box of one that is no neighbor", oracle.SHARES, clients=6, dropped=0, degree=2, threshold=2)
    near = tale.server.joined.neighbors(VICTIM)
    stranger = next(position for position in range(6) if position not in {VICTIM, *near})
    boxes = tale.server.inbox(VICTIM, near)[1]
    yield tale.refuses("inbox-senders", tale.told(oracle.INBOX, [oracle.bitmap([near[0], stranger], 6), boxes]))
    tale = ClientTale("an inbox below the threshold", oracle.SHARES)
    yield tale.refuses("inbox-floor", tale.told(oracle.INBOX, tale.server.inbox(VICTIM, [0])))
    tale = ClientTale("an empty inbox", oracle.SHARES)
    yield tale.refuses("inbox-floor", tale.told(oracle.INBOX, [b"\0", b""]))
    tale = ClientTale("boxes that do not open, one too many", oracle.SHARES)
    senders, boxes = tale.server.inbox(VICTIM, [0, 2, 3])
    first, second, third = oracle.slices(boxes, oracle.BOX)
    yield tale.refuses("inbox-floor", tale.told(oracle.INBOX, [senders, first + third + second]))
    yield from unopened_boxes()


def unopened_boxes() -> Iterator[Case]:
    """No refusal: the dealer is left out of the sum of masks, and reported with the input."""
    contents: dict[str, Callable[[bytes], bytes]] = {
        "a box with its labels exchanged": lambda content: b"\x02" + content[1:20] + b"\x01" + content[21:],
        "a box with a share beyond the field": lambda content: content[:1] + b"\xff" * 18 + b"\x07" + content[20:],
        "a box with padding in a share": lambda content: content[:39] + b"\x80",
    }
    for name, spoil in contents.items():
        tale = ClientTale(name, oracle.SHARES)
        box = sealed(tale, spoil)
        yield left_out(tale, box)
    tale = ClientTale("a box of zeros", oracle.SHARES)
    yield left_out(tale, bytes(oracle.BOX))
    tale = ClientTale("a box sealed for someone else", oracle.SHARES)
    yield left_out(tale, tale.server.inbox(0, [LIAR])[1])
    tale = ClientTale("the victim's own box, turned around", oracle.SHARES)
    yield left_out(tale, tale.server.inbox(LIAR, [VICTIM])[1])


def sealed(tale: ClientTale, spoil: Callable[[bytes], bytes]) -> bytes:
    """The liar's box for the victim with other contents, that opens."""
    joined, private = tale.server.joined, tale.liar.box_private
    key, context = joined.box_key(private, LIAR, VICTIM, LIAR)
    content = AESGCM(key[:16]).decrypt(key[16:], tale.server.inbox(VICTIM, [LIAR])[1], context)
    return oracle.seal(key, spoil(content), context)


def left_out(tale: ClientTale, box: bytes) -> Case:
    """The victim finds this in the place of the liar's box."""
    senders, boxes = tale.server.inbox(VICTIM, [0, 2, 3])
    tale.world.tell(VICTIM, tale.told(oracle.INBOX, [senders, boxes[: -oracle.BOX] + box]))
    return bad(tale.name, "client", "box-opens", tale.inputs(), {"answers": tale.world.said[VICTIM]})


def bad_endings() -> Iterator[Case]:
    """What a client must refuse about survivors and the quorum."""
    for name, rule, survivors in (
        ("survivors without the victim", "survivors-self", [0, 2, 3]),
        ("survivors below the floor", "survivors-floor", [0, 1]),
        ("a survivor beyond the last position", "survivors-form", [0, 1, 2, 3, 4]),
    ):
        tale = ClientTale(name, oracle.INPUT)
        yield tale.refuses(rule, tale.survivors(survivors))
    tale = ClientTale("a survivor that never joined", oracle.INPUT, silent={oracle.ADVERT: {0}})
    yield tale.refuses("survivors-form", tale.survivors([0, 1, 2, 3]))
    tale = ClientTale("a survivor outside the victim's inbox", oracle.SHARES)
    tale.world.tell(VICTIM, tale.told(oracle.INBOX, tale.server.inbox(VICTIM, [0, 2])))
    yield tale.refuses("survivors-inbox", tale.survivors([0, 1, 2, 3]))
    tale = ClientTale("a survivor whose box did not open", oracle.SHARES)
    senders, boxes = tale.server.inbox(VICTIM, [0, 2, 3])
    tale.world.tell(VICTIM, tale.told(oracle.INBOX, [senders, boxes[:-1] + b"\0"]))
    yield tale.refuses("survivors-inbox", tale.survivors([0, 1, 2, 3]))
    tale = ClientTale("one signature short of the quorum", oracle.CONFIRM)
    signed = tale.signatures()
    yield tale.refuses("quorum-reached", tale.request({signer: signed[signer] for signer in (0, 1)}))
    tale = ClientTale("no signature at all", oracle.CONFIRM)
    yield tale.refuses("quorum-reached", tale.request({}))
    tale = ClientTale("one signature for two signers", oracle.CONFIRM)
    yield tale.refuses("quorum-signature", tale.request(tale.signatures() | {LIAR: tale.signatures()[0]}))
    tale = ClientTale("a signature on another survivor set", oracle.CONFIRM)
    statement = tale.server.joined.survivor_statement([1, 2, 3])
    other = oracle.sign(tale.liar.seed, "sign/survivors", statement)
    yield tale.refuses("quorum-signature", tale.request(tale.signatures() | {LIAR: other}))
    tale = ClientTale("a signature of an advert", oracle.CONFIRM)
    other = tale.server.heard[oracle.ADVERT][LIAR][3]
    yield tale.refuses("quorum-signature", tale.request(tale.signatures() | {LIAR: other}))
    tale = ClientTale("half a signature", oracle.CONFIRM)
    body = [b"\x0f", b"".join(tale.signatures().values())[:-32]]
    yield tale.refuses("quorum-order", tale.told(oracle.REQUEST, body))
    tale = ClientTale("a signer beyond the last position", oracle.CONFIRM)
    body = [b"\x1e", b"".join(tale.signatures().values())]
    yield tale.refuses("quorum-order", tale.told(oracle.REQUEST, body))
    tale = ClientTale("a signer that did not survive", oracle.CONFIRM, silent={oracle.INPUT: {LIAR}})
    late = oracle.sign(tale.liar.seed, "sign/survivors", tale.server.joined.survivor_statement([0, 1, 2]))
    yield tale.refuses("quorum-order", tale.request(tale.signatures() | {LIAR: late}))


def bad_clients() -> Iterator[Case]:
    """Every client that must refuse something, leg by leg."""
    for make in (bad_offers, bad_gaps, bad_envelopes, bad_rosters, bad_inboxes, bad_endings):
        yield from make()
