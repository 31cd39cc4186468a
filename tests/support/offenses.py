"""Messages a server must refuse: one or more scenarios for each rule that a server enforces.

`SERVER_REFUSES` lists them. Each brings a round to the middle of a leg and holds a bad message ready;
tests/adversary/test_rules.py sends it, and then plays the round to its end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from secagg import wire
from secagg.identity import MemoryDirectory
from secagg.pairwise.channel import TAG_SIZE
from secagg.pairwise.messages import (
    BOX_SIZE,
    MaskedInput,
    SealedShares,
    SurvivorSignature,
    UnmaskShares,
    max_size,
)
from secagg.primitives.suite import DIGEST_SIZE
from secagg.rules import Rule
from secagg.shamir import SHARE_SIZE
from secagg.testing.table import Table
from secagg.types import Leg
from secagg.wire import HEADER_SIZE, Message
from tests.support.baits import EVERYONE, LIAR, LOW_ORDER, NAMES, PLAN, new_table
from tests.support.liars import LyingClient


class Collection:
    """A server in the middle of a leg: every client's honest answers are ready, none is handed in yet."""

    def __init__(self, leg: Leg, *, table: Table | None = None) -> None:
        self.table = new_table() if table is None else table
        self.table.advance(leg)
        self.answers = {name: self.table.deliver(name) for name in NAMES}
        self.liar = LyingClient(self.table, NAMES[LIAR])
        self.sender = NAMES[LIAR]

    def sends(self, message: bytes | Message, *, tail: bytes = b"", index: int = 0) -> Offense:
        """The liar sends bytes, or a message under its valid tag."""
        data = message if isinstance(message, bytes) else self.liar.says(message, tail=tail, index=index)
        return Offense(self, data)

    @property
    def honest(self) -> bytes:
        """What the liar would honestly send."""
        return self.answers[self.sender][0]

    def masked(self) -> tuple[MaskedInput, bytes]:
        """The liar's honest input, taken apart."""
        envelope = wire.open_envelope(self.honest, max_size=len(self.honest), tag_size=TAG_SIZE)
        return wire.decode_body(MaskedInput, envelope.body), bytes(envelope.tail)


@dataclass(frozen=True)
class Offense:
    """A message the server must refuse; `bars` says whose input can then no longer count."""

    at: Collection
    data: bytes
    bars: frozenset[str] = frozenset()


ServerScenario = Callable[[], Offense]
SERVER_REFUSES: list[tuple[Rule, ServerScenario]] = []


def a_server_refuses(rule: Rule) -> Callable[[ServerScenario], ServerScenario]:
    def register(scenario: ServerScenario) -> ServerScenario:
        SERVER_REFUSES.append((rule, scenario))
        return scenario

    return register


@a_server_refuses(Rule.WIRE_FORMAT)
def an_answer_cut_short() -> Offense:
    at = Collection(Leg.SHARE)
    return at.sends(at.honest[:HEADER_SIZE])


@a_server_refuses(Rule.WIRE_FORMAT)
def a_body_in_its_second_encoding() -> Offense:
    """The same shares, their length written in four bytes where one would do."""
    at = Collection(Leg.UNMASK)
    body = wire.open_envelope(at.honest, max_size=len(at.honest), tag_size=TAG_SIZE).body
    longer = bytes(body[:1]) + b"\xc6" + len(body[3:]).to_bytes(4, "big") + bytes(body[3:])
    header = at.honest[: HEADER_SIZE - 4] + len(longer).to_bytes(4, "big")
    data = (header + longer).ljust(wire.aligned(len(header + longer)), b"\0")
    return at.sends(data + at.liar.tag(UnmaskShares.KIND, data))


@a_server_refuses(Rule.WIRE_SIZE)
def an_answer_longer_than_any() -> Offense:
    at = Collection(Leg.CONFIRM)
    return at.sends(at.honest.ljust(max_size(SurvivorSignature, at.table.config) + 1, b"\0"))


@a_server_refuses(Rule.WIRE_ROUND)
def an_advert_for_another_round() -> Offense:
    at = Collection(Leg.ADVERTISE)
    return at.sends(wire.front(at.liar.advert(), config_digest=bytes(DIGEST_SIZE), sender=LIAR))


@a_server_refuses(Rule.WIRE_SENDER)
def another_clients_answer_passed_off_as_ones_own() -> Offense:
    at = Collection(Leg.SHARE)
    return at.sends(at.answers[NAMES[0]][0])


@a_server_refuses(Rule.WIRE_TAG)
def boxes_under_no_tag() -> Offense:
    at = Collection(Leg.SHARE)
    return at.sends(at.honest[:-TAG_SIZE] + bytes(TAG_SIZE))


@a_server_refuses(Rule.WIRE_TAG)
def a_chunk_under_the_tag_of_another() -> Offense:
    at = Collection(Leg.MASK)
    message, tail = at.masked()
    return at.sends(message, tail=tail, index=1)


@a_server_refuses(Rule.WIRE_ORDER)
def shares_before_anyone_asked() -> Offense:
    at = Collection(Leg.CONFIRM)
    return at.sends(UnmaskShares(shares=b""))


@a_server_refuses(Rule.ADVERT_SIGNATURE)
def an_advert_signed_for_another_position() -> Offense:
    at = Collection(Leg.ADVERTISE)
    return at.sends(at.liar.advert(position=0))


@a_server_refuses(Rule.ADVERT_KEY)
def an_advert_of_a_low_order_key() -> Offense:
    at = Collection(Leg.ADVERTISE)
    return at.sends(at.liar.advert(box_key=LOW_ORDER))


@a_server_refuses(Rule.ADVERT_DISTINCT)
def a_key_someone_else_has_advertised() -> Offense:
    at = Collection(Leg.ADVERTISE)
    first = at.answers.pop(NAMES[0])
    assert at.table.submit(NAMES[0], first[0]) == ()
    return at.sends(at.liar.advert(mask_key=LyingClient(at.table, NAMES[0]).mask_key))


@a_server_refuses(Rule.ADVERT_DISTINCT)
def one_key_advertised_for_both_purposes() -> Offense:
    at = Collection(Leg.ADVERTISE)
    return at.sends(at.liar.advert(mask_key=at.liar.box_key))


@a_server_refuses(Rule.ADVERT_IDENTITY)
def an_advert_of_one_the_server_has_not_pinned() -> Offense:
    table = new_table()
    known = {name: identity.public for name, identity in table.identities.items() if name != NAMES[LIAR]}
    table.server._phase._desk = replace(table.server._phase._desk, directory=MemoryDirectory(known))  # type: ignore[union-attr]  # as if built so
    at = Collection(Leg.ADVERTISE, table=table)
    return Offense(at, at.honest, bars=frozenset({NAMES[LIAR]}))


@a_server_refuses(Rule.BOXES_RECEIVERS)
def one_box_too_few() -> Offense:
    at = Collection(Leg.SHARE)
    return at.sends(SealedShares(boxes=bytes(BOX_SIZE * (PLAN.degree - 1))))


@a_server_refuses(Rule.INPUT_CHUNK)
def the_second_chunk_first() -> Offense:
    at = Collection(Leg.MASK)
    _, tail = at.masked()
    return at.sends(MaskedInput(chunk=1, unopened=b""), tail=tail, index=1)


@a_server_refuses(Rule.INPUT_CHUNK)
def a_chunk_one_byte_too_long() -> Offense:
    at = Collection(Leg.MASK)
    message, tail = at.masked()
    return at.sends(message, tail=tail[:-1])


@a_server_refuses(Rule.INPUT_RANGE)
def padding_that_is_not_zero() -> Offense:
    at = Collection(Leg.MASK)
    message, tail = at.masked()
    return at.sends(message, tail=tail[:-1] + bytes((tail[-1] | 0x80,)))


@a_server_refuses(Rule.INPUT_UNOPENED)
def a_report_about_oneself() -> Offense:
    at = Collection(Leg.MASK)
    return at.sends(report_of(LIAR), tail=at.masked()[1])


@a_server_refuses(Rule.INPUT_UNOPENED)
def more_reports_than_can_be_true() -> Offense:
    at = Collection(Leg.MASK)
    return at.sends(report_of(0, 1), tail=at.masked()[1])


@a_server_refuses(Rule.INPUT_UNOPENED)
def a_report_with_a_padding_bit() -> Offense:
    at = Collection(Leg.MASK)
    return at.sends(MaskedInput(chunk=0, unopened=b"\x80"), tail=at.masked()[1])


def a_table_with_a_bad_box() -> Table:
    """Client 0 seals one box that does not open: that for the client called liar, which is honest here."""
    table = new_table()
    at = Collection(Leg.SHARE, table=table)
    (sealed,) = at.answers.pop(NAMES[0])
    dealer = LyingClient(table, NAMES[0])
    body = wire.open_envelope(sealed, max_size=len(sealed), tag_size=TAG_SIZE).body
    boxes = wire.decode_body(SealedShares, body).boxes
    table.submit(NAMES[0], dealer.says(SealedShares(boxes=boxes[:-BOX_SIZE] + bytes(BOX_SIZE))))
    for name, (answer,) in at.answers.items():
        table.submit(name, answer)
    table.close()
    return table


@a_server_refuses(Rule.INBOX_CONFLICT)
def an_input_without_the_mask_of_one_that_counts() -> Offense:
    at = Collection(Leg.MASK, table=a_table_with_a_bad_box())
    (first,) = at.answers.pop(NAMES[0])
    assert at.table.submit(NAMES[0], first) == ()
    return Offense(at, at.honest, bars=frozenset({NAMES[LIAR]}))


@a_server_refuses(Rule.INBOX_CONFLICT)
def an_input_with_the_mask_of_one_that_counts_without_it() -> Offense:
    """The other way round: the report came first, and the reported dealer is the one that is late."""
    at = Collection(Leg.MASK, table=a_table_with_a_bad_box())
    (report,) = at.answers.pop(NAMES[LIAR])
    assert at.table.submit(NAMES[LIAR], report) == ()
    at.sender = NAMES[0]
    return Offense(at, at.honest, bars=frozenset({NAMES[0]}))


@a_server_refuses(Rule.CONFIRM_SIGNATURE)
def a_confirmation_of_another_survivor_set() -> Offense:
    at = Collection(Leg.CONFIRM)
    joined = at.table.server._phase._joined  # type: ignore[union-attr]  # the roster, which a liar knows too
    return at.sends(SurvivorSignature(signature=at.liar.confirmation(joined, EVERYONE - {0})))


@a_server_refuses(Rule.SHARES_HOLDERS)
def a_share_too_few() -> Offense:
    at = Collection(Leg.UNMASK)
    return at.sends(UnmaskShares(shares=bytes(SHARE_SIZE * (PLAN.clients - 1))))


@a_server_refuses(Rule.SHARE_RANGE)
def shares_beyond_the_field() -> Offense:
    at = Collection(Leg.UNMASK)
    return at.sends(UnmaskShares(shares=b"\xff" * (SHARE_SIZE * PLAN.clients)))


def report_of(*positions: int) -> MaskedInput:
    return MaskedInput(chunk=0, unopened=wire.pack_positions(positions, PLAN.clients))
