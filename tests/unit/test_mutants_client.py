"""What a changed client would get away with, if no other test looked."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest

from secagg import shamir
from secagg.config import instructions_digest
from secagg.errors import ConfigError, MisuseError
from secagg.pairwise import client as phases
from secagg.pairwise.client import Held, Seat
from secagg.pairwise.keys import BoxKeys
from secagg.pairwise.messages import Roster, RoundOffer
from secagg.pairwise.outgoing import MaskedMessages
from secagg.plan import Plan
from secagg.policy import Policy
from secagg.primitives import aead
from secagg.primitives.secret import Secret
from secagg.round.client import ClientRound
from secagg.round.events import Failed, Send, Stream
from secagg.store import MemoryStore
from secagg.testing.table import Table, VectorInput, Words
from secagg.types import Leg
from tests.support.whitebox import is_wiped, kept_by, round_secrets_of, secrets_in, unwiped, without

PLAN: Final = Plan.find(clients=4, max_dropped=1, max_corrupt=1)
INPUTS: Final = np.arange(12, dtype=np.uint32).reshape(4, 3)
NAME: Final = "client-0001"


def at(leg: Leg, **arguments: Any) -> tuple[Table, ClientRound]:
    table = Table(PLAN, INPUTS, **arguments)
    table.advance(leg)
    return table, table.clients[NAME]


# Before an offer there is nothing to say, and nothing to say it by.


def test_a_client_without_an_offer_has_no_round() -> None:
    client = Table(PLAN, INPUTS).clients[NAME]
    assert client.confirmed is None
    needs: list[Callable[[], object]] = [
        lambda: client.config,
        lambda: client._tag(1, b""),
        lambda: client._advance(RoundOffer(config=b"", invited=[], server_key=bytes(32))),
    ]
    for need in needs:
        with pytest.raises(MisuseError, match="no offer was accepted"):
            need()


def test_a_client_knows_its_config_from_the_offer_on_and_the_survivors_once_it_signed() -> None:
    table, client = at(Leg.SHARE)
    assert client.config.digest == table.config.digest
    assert client.confirmed is None
    _, client = at(Leg.UNMASK)
    assert client.confirmed == 4


def test_a_client_that_finishes_without_a_channel_is_closed_all_the_same() -> None:
    """No record of ours replays to this; a round that holds nothing has nothing to wipe."""
    client = Table(PLAN, INPUTS).clients[NAME]
    client._finish()
    assert client.closed


def test_a_message_that_is_not_the_phases_is_answered_nowhere() -> None:
    """`_read` refuses it before; were it to come so far, no phase would see it."""
    _, client = at(Leg.MASK)
    with pytest.raises(MisuseError, match="Roster reached"):
        client._advance(Roster(joined=b"", adverts=[]))


@pytest.mark.parametrize("lost", [0, 1])
def test_an_answer_stands_on_record_once_whether_or_not_it_stood_there_before_the_crash(lost: int) -> None:
    store, again = MemoryStore(), MemoryStore()
    table, _ = at(Leg.SHARE, stores={NAME: store})
    records = [bytes(record) for record in store.records()]
    for record in records[: len(records) - lost]:
        again.append(record)
    client = table.new_client(NAME, again)
    assert client.resumed is False
    client.resume()
    assert client.resumed is True
    assert [bytes(record) for record in again.records()] == records


class Made(VectorInput):
    """An input made by stated instructions."""

    def __init__(self, digest: bytes | None) -> None:
        super().__init__(INPUTS[1])
        self.instructions_digest = digest


def test_an_input_made_by_other_instructions_is_refused_and_one_made_by_none_is_not() -> None:
    for digest in (instructions_digest(b"model"), None):
        _, client = at(Leg.MASK, instructions=b"model")
        with pytest.raises(MisuseError, match="other instructions"):
            client.provide(Made(instructions_digest(b"another model")))
        client.provide(Made(digest))


class Leaving(VectorInput):
    """An input whose owner leaves while it is read."""

    def __init__(self, client: ClientRound) -> None:
        super().__init__(INPUTS[1])
        self.client = client

    def read(self, start: int, stop: int) -> Words:
        self.client.abort()
        return super().read(start, stop)


class LeavingSooner(Leaving):
    """An input of no ring, whose owner leaves while it is looked at."""

    @property
    def ring(self) -> Any:
        self.client.abort()
        return None


@pytest.mark.parametrize("source", [Leaving, LeavingSooner])
def test_who_leaves_while_its_input_is_taken_leaves_no_secret_behind(source: type[Leaving]) -> None:
    table, client = at(Leg.MASK)
    (inbox,) = table.pending[NAME]
    client.receive(inbox)
    secrets = round_secrets_of(client)
    with pytest.raises(MisuseError):
        client.provide(source(client))
    assert client.closed
    assert all(is_wiped(secret) for secret in secrets)


class LeavingInTime(Leaving):
    """An input of the right ring, whose owner leaves before any of it is read."""

    @property
    def ring(self) -> Any:
        self.client.abort()
        return super().ring


def opened(**arguments: Any) -> tuple[ClientRound, list[Secret]]:
    """A client whose inbox is open, and its secrets."""
    table = Table(PLAN, INPUTS)
    table.clients[NAME] = client = table.new_client(NAME, **arguments)
    table.advance(Leg.MASK)
    client.receive(table.pending[NAME][0])
    return client, round_secrets_of(client)


def test_who_leaves_before_its_input_is_streamed_streams_none_of_it() -> None:
    client, secrets = opened(stream=True)
    with pytest.raises(MisuseError, match="closed for client-0001 while its input was masked") as refusal:
        client.provide(LeavingInTime(client))
    assert all(is_wiped(secret) for secret in secrets)
    keys_of_masks = without(secrets_in(*kept_by(refusal.value)), secrets_in(client._identity, client._directory))
    assert not unwiped(keys_of_masks)


def test_who_leaves_while_its_input_is_sealed_sends_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    client, secrets = opened()
    monkeypatch.setattr(client, "_seal", lambda index, message: client.abort())
    with pytest.raises(MisuseError, match="closed for client-0001 while its input was masked"):
        client.provide(VectorInput(INPUTS[1]))
    assert all(is_wiped(secret) for secret in secrets)


def test_an_input_encoded_for_another_recipe_is_refused() -> None:
    client, _ = opened()
    source = VectorInput(INPUTS[1])
    source.recipe_digest = bytes(32)  # type: ignore[attr-defined]  # as sources that know their recipe have it
    with pytest.raises(MisuseError, match="another recipe"):
        client.provide(source)
    assert not client.resumed


def test_of_the_longest_messages_each_is_answered_by_its_own_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    table, client = at(Leg.SHARE)
    (roster,) = table.pending[NAME]
    monkeypatch.setattr(ClientRound, "_size_limit", len(roster))
    answer = client.receive(roster)
    assert client.receive(roster) is answer
    (refused,) = client.receive(roster + b"\0")
    assert isinstance(refused, Failed)


def test_a_round_is_never_copied() -> None:
    with pytest.raises(MisuseError, match="never pickled or copied"):
        copy.copy(Table(PLAN, INPUTS).clients[NAME])


def test_an_input_is_kept_only_where_that_is_asked_for() -> None:
    table = Table(PLAN, INPUTS)
    client = ClientRound(
        client=NAME, identity=table.identities[NAME], directory=table.directory, recipe=table.recipe, stream=True
    )
    assert not client._keep_input


@pytest.mark.parametrize("step", [1, 4])
def test_a_round_may_be_as_far_from_the_last_as_the_policy_says(step: int) -> None:
    table = Table(PLAN, INPUTS, number=step, policy=Policy(max_round_step=step))
    table.start()
    (answer,) = table.clients[NAME].receive(table.pending[NAME][0])
    assert isinstance(answer, Send)
    table = Table(PLAN, INPUTS, number=step + 1, policy=Policy(max_round_step=step))
    table.start()
    (refused,) = table.clients[NAME].receive(table.pending[NAME][0])
    assert isinstance(refused, Failed)


def test_an_input_that_was_streamed_is_not_asked_for_again() -> None:
    table = Table(PLAN, INPUTS)
    client = table.new_client(NAME, stream=True)
    table.clients[NAME] = client
    table.advance(Leg.MASK)
    (inbox,) = table.pending[NAME]
    client.receive(inbox)
    (stream,) = client.provide(VectorInput(INPUTS[1]))
    assert isinstance(stream, Stream)
    assert len(list(stream.messages)) == 1
    (refused,) = client.receive(inbox)
    assert isinstance(refused, Failed)
    assert client._outgoing is None


class Counting(MemoryStore):
    """Counts what is written."""

    written = 0

    def append(self, record: bytes) -> None:
        self.written += 1
        super().append(record)


def test_to_resume_what_never_began_writes_nothing() -> None:
    store = Counting()
    assert Table(PLAN, INPUTS).new_client(NAME, store).resume() == ()
    assert store.written == 0


def test_a_client_that_finished_holds_no_key_of_its_channel() -> None:
    table, client = at(Leg.UNMASK)
    assert client._channel is not None
    key = client._channel._key
    client.receive(table.pending[NAME][0])
    assert client.closed
    assert is_wiped(key)


def test_who_leaves_before_its_inbox_came_holds_its_input_no_longer() -> None:
    _, client = at(Leg.SHARE)
    client.provide(VectorInput(INPUTS[1]))
    client.abort()
    assert client._source is None


# The parts.


def test_shares_of_others_are_overwritten_once_they_are_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    dealt: dict[int, tuple[Secret, Secret]] = {}
    deal = phases._deal

    def watched(*arguments: Any) -> Any:
        shares = deal(*arguments)
        dealt.update(shares)
        return shares

    monkeypatch.setattr(phases, "_deal", watched)
    table, client = at(Leg.SHARE)
    client.receive(table.pending[NAME][0])
    assert dealt.keys() == {0, 1, 2, 3}
    for holder, pair in dealt.items():
        assert all(is_wiped(share) == (holder != 1) for share in pair)


@pytest.mark.parametrize("unopened", [1, 2])
def test_boxes_and_the_own_share_may_be_just_the_threshold(unopened: int, monkeypatch: pytest.MonkeyPatch) -> None:
    open_boxes = phases._open_boxes

    def fewer(*arguments: Any) -> Any:
        opened = open_boxes(*arguments)
        return {sender: opened[sender] for sender in list(opened)[unopened:]}

    assert PLAN.threshold == PLAN.clients - 1
    monkeypatch.setattr(phases, "_open_boxes", fewer)
    table, client = at(Leg.MASK)
    client.receive(table.pending[NAME][0])
    assert client.closed == (unopened > 1)


def test_a_box_of_other_labels_or_of_no_shares_is_left_out() -> None:
    share, no_share, key = bytes(shamir.SHARE_SIZE), b"\xff" * shamir.SHARE_SIZE, bytes(range(28))
    contents = {
        1: b"\1" + share + b"\2" + share,
        2: b"\2" + share + b"\1" + share,
        3: b"\1" + no_share + b"\2" + share,
        4: b"\1" + share + b"\2" + no_share,
    }
    box_keys = {sender: BoxKeys(Secret(key), Secret(key), b"") for sender in contents}
    boxes = {sender: aead.seal(Secret(key), content, context=b"") for sender, content in contents.items()}
    assert phases._open_boxes(box_keys, boxes).keys() == {1}


def test_shares_are_held_by_position() -> None:
    held = Held({3: (Secret(b"a"), Secret(b"b"))})
    assert 3 in held
    assert 2 not in held


def messages_of(table: Table, **arguments: Any) -> MaskedMessages:
    key = Secret(bytes(range(28)))
    return MaskedMessages(
        table.input_of(NAME), config=table.config, plus=[key], minus=[], fronts=[b"front"], **arguments
    )


def test_messages_need_nobody_to_seal_them() -> None:
    table = Table(PLAN, INPUTS)
    (message,) = messages_of(table, room_behind=2)
    assert message[:5] == b"front"
    assert message[-2:] == bytes(2)
    assert len(message) == 5 + 3 * 4 + 2
    (message,) = messages_of(table)
    assert len(message) == 5 + 3 * 4


def test_messages_given_up_are_never_made() -> None:
    messages = messages_of(Table(PLAN, INPUTS))
    assert repr(messages) == "<MaskedMessages, 0 of 1 made>"
    messages.close()
    with pytest.raises(MisuseError, match="given up"):
        next(messages)
    with pytest.raises(MisuseError, match="never pickled or copied"):
        copy.copy(messages)


def test_a_chunk_is_not_made_while_it_is_being_made() -> None:
    table = Table(PLAN, INPUTS)
    sealed: list[int] = []

    def again(index: int, message: bytearray) -> None:
        sealed.append(index)
        with pytest.raises(MisuseError, match="is being made"):
            next(messages)

    messages = messages_of(table, seal=again)
    next(messages)
    assert sealed == [0]
    assert messages.complete


class Closing(VectorInput):
    """An input that is given up while it is read."""

    messages: MaskedMessages

    def read(self, start: int, stop: int) -> Words:
        self.messages.close()
        return super().read(start, stop)


def test_a_chunk_that_is_given_up_while_it_is_read_is_not_sealed() -> None:
    table, sealed = Table(PLAN, INPUTS), []
    source = Closing(INPUTS[1])
    source.messages = MaskedMessages(
        source,
        config=table.config,
        plus=[],
        minus=[],
        fronts=[b""],
        seal=lambda index, message: sealed.append(index),
    )
    with pytest.raises(MisuseError, match="given up"):
        next(source.messages)
    assert not sealed


def test_a_seat_is_frozen_and_has_no_room_for_more() -> None:
    parameters = Seat.__dataclass_params__  # type: ignore[attr-defined]  # a dataclass has them
    assert (parameters.frozen, parameters.repr, parameters.eq) == (True, False, False)
    assert "__dict__" not in dir(Seat)


@pytest.mark.parametrize("way", ["mask", "stream"])
def test_an_input_is_masked_without_threads_unless_they_are_given(way: str) -> None:
    client, _ = opened()
    phase = client._phase
    assert isinstance(phase, phases.AwaitingInput)
    _, messages = getattr(phase, way)(VectorInput(INPUTS[1]), fronts=[b"front"])
    (message,) = messages
    assert len(message) == 5 + 3 * 4


@pytest.mark.parametrize("way", ["mask", "stream"])
def test_threads_that_cannot_be_had_leave_the_input_to_be_asked_for_again(way: str) -> None:
    client, secrets = opened()
    phase = client._phase
    assert isinstance(phase, phases.AwaitingInput)
    with pytest.raises(ConfigError, match="workers"):
        getattr(phase, way)(VectorInput(INPUTS[1]), fronts=[b""], workers=2)
    assert not any(is_wiped(secret) for secret in secrets)
    getattr(phase, way)(VectorInput(INPUTS[1]), fronts=[b""])


def test_an_input_that_may_have_left_is_skipped_and_what_unmasks_it_is_kept() -> None:
    client, _ = opened()
    phase = client._phase
    assert isinstance(phase, phases.AwaitingInput)
    assert isinstance(phase.skip(), phases.AwaitingSurvivors)


def test_shares_that_were_dealt_stand_nowhere_but_in_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks: list[Any] = []
    split = shamir.split

    def watched(*arguments: Any, **named: Any) -> Any:
        blocks.append(split(*arguments, **named))
        return blocks[-1]

    monkeypatch.setattr(shamir, "split", watched)
    at(Leg.SHARE)[0].play_leg()
    assert len(blocks) == 4
    assert not any(block.any() for block in blocks)


@pytest.mark.parametrize("fronts", [0, 2])
def test_an_input_of_other_chunks_or_length_is_our_own_mistake(fronts: int) -> None:
    table, client = at(Leg.MASK)
    (inbox,) = table.pending[NAME]
    client.receive(inbox)
    phase = client._phase
    assert isinstance(phase, phases.AwaitingInput)
    with pytest.raises(MisuseError, match="sums inputs of length 3"):
        phase.mask(table.input_of(NAME), fronts=[b""] * fronts)
    with pytest.raises(MisuseError, match="length 3, got 2"):
        phase.mask(VectorInput(INPUTS[1, :2]), fronts=[b""])
