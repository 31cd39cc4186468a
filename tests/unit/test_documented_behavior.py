"""What SECURITY.md and docs/protocol.md say happens, seen happening: mostly limits, which no other test looks for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from protocols import PrivateRounds, Recipe, drop
from secagg import ClientRound, Failed, MemoryStore, Plan, Policy, Rejected, RoundAborted, Send, wire
from secagg.pairwise import server as phases
from secagg.pairwise.channel import TAG_SIZE, Channel, Direction
from secagg.pairwise.keys import Endpoint
from secagg.pairwise.messages import (
    BOX_SIZE,
    FROM_CLIENT,
    KeyAdvert,
    Roster,
    RoundOffer,
    SealedShares,
)
from secagg.primitives import agreement
from secagg.primitives.secret import Secret
from secagg.rules import Rule
from secagg.store import MemorySpool
from secagg.testing.table import Table
from secagg.types import SERVER, Leg


def six(**arguments: object) -> Table:
    """Six clients, two of which may be missing and one corrupt: threshold, quorum and floor are 4."""
    plan = Plan.find(clients=6, max_dropped=2, max_corrupt=1)
    words = np.random.default_rng(6).integers(0, 1000, (6, 9), dtype=np.uint32)
    return Table(plan, words, **arguments)  # type: ignore[arg-type]  # exactly Table's


def refused_by(table: Table, name: str, data: bytes) -> Rule:
    (event,) = table.submit(name, data)
    assert isinstance(event, Rejected)
    return event.error.rule


# The network.


def test_a_swapped_server_key_lets_nobody_speak_for_the_client() -> None:
    table = six()
    table.start()
    victim, position = table.names[2], 2
    offer = wire.open_envelope(table.pending.pop(victim)[0], max_size=10**6)
    genuine = wire.decode_body(RoundOffer, offer.body)
    private = Secret(b"\x55" * 32)
    public = agreement.public_key(private)
    swapped = RoundOffer(config=genuine.config, invited=genuine.invited, server_key=public)
    (advert,) = table.hand(victim, wire.front(swapped, config_digest=table.config.digest, sender=SERVER))
    table.submit(victim, advert)
    table.play_leg(silent=[victim])

    keys = wire.decode_body(KeyAdvert, wire.open_envelope(advert, max_size=10**6).body)
    client = Endpoint(position, keys.box_key)
    attacker = Channel.of_server(private, public=public, client=client, config_digest=table.config.digest)
    roster = table.pending[table.names[3]][0][:-TAG_SIZE]
    (shares,) = table.hand(victim, roster + attacker.tag(Direction.DOWN, Roster.KIND, roster))  # it cannot tell
    assert refused_by(table, victim, shares) is Rule.WIRE_TAG


def test_whoever_reads_the_wire_learns_the_sum_as_the_server_does() -> None:
    table, wiretap = six(), Wiretap()
    table.start()
    while not table.server.ready:
        for name in table.names:
            for answer in table.deliver(name):
                table.submit(name, answer)
                wiretap.hear(table.names.index(name), answer)
        table.close()
    aggregate = wiretap.sum(table)
    assert np.array_equal(aggregate, table.expected(table.names))


class Wiretap:
    """Holds what clients sent and no key at all; adds up what a server would."""

    def __init__(self) -> None:
        self._heard: list[tuple[int, wire.Message, memoryview]] = []

    def hear(self, position: int, data: bytes) -> None:
        kind = {kind.KIND: kind for kind in FROM_CLIENT}[data[4]]
        envelope = wire.open_envelope(data, max_size=len(data), tag_size=0 if kind is KeyAdvert else TAG_SIZE)
        self._heard.append((position, wire.decode_body(kind, envelope.body), envelope.tail))

    def sum(self, table: Table) -> npt.NDArray[np.int64]:
        desk = phases.Desk(table.config, tuple(table.server.invited), table.directory)
        adverts = phases.CollectingAdverts(desk)
        self._replay(adverts.receive)
        sharing, _ = adverts.close()
        self._replay(sharing.receive)
        masking, _ = sharing.close()
        for position, message, tail in self._next():
            masking.receive(position, message, tail, MemorySpool())  # type: ignore[arg-type]  # in order of legs
        confirming, _ = masking.close()
        self._replay(confirming.receive)
        unmasking, _ = confirming.close()
        self._replay(unmasking.receive)
        return unmasking.close().run().values

    def _replay(self, receive: Callable[..., None]) -> None:
        for position, message, _ in self._next():
            receive(position, message)

    def _next(self) -> list[tuple[int, wire.Message, memoryview]]:
        kind = type(self._heard[0][1])
        leg = [entry for entry in self._heard if type(entry[1]) is kind]
        self._heard = self._heard[len(leg) :]
        return leg


# One corrupt client against the end of a round.


def play_with_bad_boxes(order: Callable[[list[str]], list[str]], *, good: int, bad_dealer_stays: bool) -> Table:
    """Client 0 seals `good` boxes that open and garbage for the rest; inputs arrive in the order given."""
    table = six()
    table.advance(Leg.SHARE)
    bad = table.names[0]
    for name in table.names:
        (answer,) = table.deliver(name)
        table.submit(name, spoiled(table, bad, answer, good) if name == bad else answer)
    table.close()
    for name in order(table.names):
        if name == bad and not bad_dealer_stays:
            table.pending.pop(name)
            continue
        for answer in table.deliver(name):
            table.submit(name, answer)
    table.close()
    return table


def spoiled(table: Table, name: str, answer: bytes, good: int) -> bytes:
    front = bytearray(answer[:-TAG_SIZE])
    body = wire.open_envelope(answer, max_size=len(answer), tag_size=TAG_SIZE).body
    first = wire.HEADER_SIZE + len(body) - BOX_SIZE * (len(table.names) - 1)
    for box in range(good, len(table.names) - 1):
        front[first + BOX_SIZE * box] ^= 1
    channel = table.clients[name]._channel
    assert channel is not None
    data = bytes(front)
    return data + channel.tag(Direction.UP, SealedShares.KIND, data)


def test_a_dealer_whose_boxes_open_for_nobody_is_left_out() -> None:
    table = play_with_bad_boxes(list, good=0, bad_dealer_stays=False)
    aggregate = table.finish()
    assert list(aggregate.survivors) == table.names[1:]
    assert np.array_equal(aggregate.values, table.expected(table.names[1:]))


def test_a_dealer_whose_boxes_open_for_too_few_ends_the_round() -> None:
    table = play_with_bad_boxes(list, good=1, bad_dealer_stays=False)
    with pytest.raises(RoundAborted, match="1 shares of a secret of client-0000, 4 needed"):
        table.finish()


def test_a_dealer_of_bad_boxes_whose_input_comes_first_ends_the_round_and_is_suspected() -> None:
    table = play_with_bad_boxes(list, good=1, bad_dealer_stays=True)
    assert {event.error.rule for event in table.server.rejected} == {Rule.INBOX_CONFLICT}
    assert isinstance(table.outcome, Failed)
    assert isinstance(table.outcome.error, RoundAborted)
    assert table.outcome.error.suspects == ("client-0000",)


# What a client's caller decides.


def offered(table: Table, name: str, store: MemoryStore | None) -> bool:
    """Whether a fresh object of a client takes the table's offer."""
    client: ClientRound = table.new_client(name, store)
    table.start()
    events = client.receive(table.pending[name][0])
    return not any(isinstance(event, Failed) for event in events)


def test_a_round_number_is_used_up_only_in_a_store_that_lasts() -> None:
    lasting = MemoryStore()
    assert offered(six(), "client-0000", lasting)
    lasting.erase()  # as at the end of the round
    assert not offered(six(), "client-0000", lasting)
    assert offered(six(), "client-0000", None)
    assert offered(six(), "client-0000", None)


def test_a_new_session_counts_from_one_again() -> None:
    lasting = MemoryStore()
    assert offered(six(), "client-0000", lasting)
    lasting.erase()
    assert offered(six(session=b"another session!"), "client-0000", lasting)


def test_the_default_policy_takes_a_plan_against_no_colluders() -> None:
    plan = Plan.find(clients=6, max_dropped=2, max_corrupt=0)
    words = np.zeros((6, 9), dtype=np.uint32)
    assert offered(Table(plan, words, policy=Policy()), "client-0000", None)
    assert not offered(Table(plan, words, policy=Policy(min_corrupt=1)), "client-0000", None)


# Resume.


class CrashError(Exception):
    """The process ended here."""


class CrashingStore(MemoryStore):
    """A store whose process ends before the record is erased."""

    crashing = True

    def erase(self) -> None:
        if self.crashing:
            raise CrashError
        super().erase()


def test_a_client_that_stopped_before_it_erased_its_finished_round_can_take_the_next() -> None:
    store = CrashingStore()
    table = six(stores={"client-0000": store})
    table.advance(Leg.UNMASK)
    with pytest.raises(CrashError):
        table.deliver("client-0000")
    store.crashing = False

    resumed = table.new_client("client-0000", store)
    (answer,) = (event for event in resumed.resume() if isinstance(event, Send))
    assert table.submit("client-0000", bytes(answer.data)) == ()
    assert offered(six(number=2, stores={}), "client-0000", store)


# Round after round.


def test_clients_that_dropped_out_of_one_round_take_part_in_the_next() -> None:
    updates = {f"c{index}": {"w": np.full(4, 0.01 * index)} for index in range(6)}
    rounds = PrivateRounds(Recipe.like(updates["c0"], clip=1.0), max_dropped=2, max_corrupt=1)
    first = rounds.sum(updates, faults=[drop("c1", before="mask"), drop("c2", before="unmask")])
    second = rounds.sum(updates)
    assert first.dropped == ("c1",)
    assert second.survivors == tuple(updates)
