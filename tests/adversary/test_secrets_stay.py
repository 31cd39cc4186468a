"""Canaries: known secrets go through whole rounds, and nothing a program could print, log or copy has them in it.

Looked for are the bytes themselves and their usual spellings: hexadecimal, base64, Python's escapes and numbers. The
text looked through is the repr, str and format of everything a party holds at every leg, all that is logged, and
every error with its whole chain, the local variables of its frames included.
"""

from __future__ import annotations

import base64
import copy
import logging
import pickle
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocols.faults import flip
from secagg import shamir
from secagg.errors import ConfigError, InputError, MisuseError, SecAggError, StorageError
from secagg.identity import Identity
from secagg.pairwise import keys
from secagg.pairwise.phase import Phase
from secagg.plan import Plan
from secagg.primitives import agreement
from secagg.primitives.secret import Secret
from secagg.round.client import ClientRound
from secagg.round.events import Events, Failed
from secagg.round.journal import Journal, Kind
from secagg.store import FileStore, MemoryStore
from secagg.testing.entropy import FixedEntropy
from secagg.testing.strategies import LEGS
from secagg.testing.table import Table, VectorInput
from secagg.types import Leg
from tests.support.liars import LyingClient, LyingServer
from tests.support.whitebox import reachable_from, secrets_in, unwiped

PLAN = Plan.find(clients=4, max_dropped=1, max_corrupt=0)
NAMES = [f"client-{position:04d}" for position in range(4)]
INPUTS = np.frombuffer(FixedEntropy("inputs nobody may see")(4 * 4 * 6), dtype="<u4").reshape(4, 6).astype(np.uint32)


def new_table(**changes: Any) -> Table:
    return Table(PLAN, INPUTS, **changes)


# What to look for.


def canaries(table: Table) -> dict[str, bytes]:
    """Everything secret in a round, by name."""
    liars = [LyingClient(table, name) for name in table.names]
    server = LyingServer(table)
    server.adverts = {liar.position: liar.advert() for liar in liars}
    joined, salt = server.joined, table.config.digest
    found = {"the server's channel key": FixedEntropy(f"{table.label}/server")(32)}
    for liar in liars:
        name, secrets = liar.name, liar.secrets
        found |= {
            f"{name}'s identity": FixedEntropy(name)(32),
            f"{name}'s round secret": secrets.root.reveal(),
            f"{name}'s mask-key seed": secrets.mask_key_seed.reveal(),
            f"{name}'s mask key": secrets.mask_private.reveal(),
            f"{name}'s box key": secrets.box_private.reveal(),
            f"{name}'s self-mask seed": secrets.self_mask_seed.reveal(),
            f"{name}'s input": table.inputs[liar.position].tobytes(),
        }
        own = keys.self_mask_key(secrets.self_mask_seed, config_digest=salt, box=secrets.box)
        found[f"{name}'s self mask"] = own.reveal()
        with keys.coefficient_entropy(secrets.root, config_digest=salt, roster_digest=joined.digest) as entropy:
            dealt = shamir.split(
                [secrets.mask_key_seed, secrets.self_mask_seed],
                threshold=PLAN.threshold,
                xs=np.arange(1, 5, dtype=np.int64),
                entropy=entropy,
            )
        for peer in joined.neighbors(liar.position):
            masks = joined.mask_endpoint(liar.position), joined.mask_endpoint(peer)
            boxes = joined.box_endpoint(liar.position), joined.box_endpoint(peer)
            mask = keys.pairwise_mask_key(secrets.mask_private, *masks, config_digest=salt, roster_digest=joined.digest)
            box = keys.box_keys(secrets.box_private, *boxes, config_digest=salt, roster_digest=joined.digest)
            to = f"{name} to {table.names[peer]}"
            found |= {
                f"the agreed value of {to}": agreement.agree(secrets.mask_private, masks[1].public).reveal(),
                f"the mask of {to}": mask.reveal(),
                f"the box key of {to}": box.sending.reveal(),
                f"the mask-key seed share of {to}": dealt[0, peer].tobytes(),
                f"the self-mask seed share of {to}": dealt[1, peer].tobytes(),
            }
    return found


def spellings(secret: bytes) -> Iterator[str]:
    """How bytes end up in text; a part is enough to be found, and a number is found whole."""
    for part in (secret[:12], secret[-12:]):
        yield part.hex()
        yield part.hex().upper()
        yield part.hex(" ")
        yield base64.b64encode(part).decode()
        yield base64.urlsafe_b64encode(part).decode()
        yield repr(part)[2:-1]
        yield repr(bytearray(part))[12:-2]
        yield part.decode("latin-1")
        yield ", ".join(map(str, part))
    for number in (int.from_bytes(secret, "big"), int.from_bytes(secret, "little")):
        yield str(number)
        yield f"{number:x}"


class Watch:
    """Looks through text for the canaries of a round."""

    def __init__(self, table: Table) -> None:
        self.known = {spelling: name for name, secret in canaries(table).items() for spelling in spellings(secret)}

    def assert_clean(self, text: str, where: str) -> None:
        found = {name for spelling, name in self.known.items() if spelling in text}
        assert not found, f"{where} shows {sorted(found)}"


def test_the_watch_sees_every_spelling() -> None:
    table = new_table()
    watch = Watch(table)
    root = FixedEntropy(f"table/{NAMES[0]}")(32)
    for spelling in spellings(root):
        with pytest.raises(AssertionError, match=r"client-0000's round secret"):
            watch.assert_clean(f"<Thing at {spelling}...>", "a thing")
    watch.assert_clean(repr(table.clients), "nothing of it")


# Text.


def texts_of(things: Iterable[object]) -> Iterator[tuple[str, str]]:
    """The texts of each thing that one of our classes, or an error, is in charge of printing."""
    for thing in things:
        kind = type(thing)
        if kind.__module__.startswith("secagg") or isinstance(thing, BaseException):
            yield kind.__qualname__, f"{thing!r} {thing!s} {thing}"


def everything_at(table: Table) -> list[object]:
    return reachable_from(table.server, *table.clients.values(), table.config, table.pending, table.outcome)


@pytest.mark.parametrize("keep_input", [False, True])
def test_nothing_a_party_holds_prints_a_secret_at_any_leg(
    caplog: pytest.LogCaptureFixture, *, keep_input: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    table = new_table(keep_input=keep_input)
    watch = Watch(table)
    seen: set[str] = set()
    while table.outcome is None:
        if table.server.ready:
            table.finish()
        elif not table.pending:
            table.start()
        else:
            answers = {name: table.deliver(name) for name in table.names}
            for kind, text in texts_of(everything_at(table)):
                seen.add(kind)
                watch.assert_clean(text, kind)
            for name, said in answers.items():
                for event in [event for data in said for event in table.submit(name, flip(data, 400))]:
                    watch.assert_clean(f"{event!r} {event}", "a rejection")
                for data in said:
                    table.submit(name, data)
            table.close()
        for kind, text in texts_of(everything_at(table)):
            seen.add(kind)
            watch.assert_clean(text, kind)
    watch.assert_clean(caplog.text, "the log")
    assert {"Secret", "RoundSecrets", "BoxKeys", "Held", "Channel", "Recovery", "Identity", "Send"} <= seen
    assert {"FixedClientRound", "FixedServerRound", "AwaitingRoster", "AwaitingInbox", "AwaitingUnmask"} <= seen


def test_messages_and_events_print_sizes() -> None:
    server = LyingServer(new_table())
    watch = Watch(server.table)
    for leg in LEGS:
        for position, name in enumerate(server.table.names):
            for message in server.tell(name, server._honest_message(leg, position)):
                watch.assert_clean(f"{message!r} {message}", type(message).__name__)
        server._played = leg


# Errors.


def whole_text(error: BaseException) -> str:
    """All that a crash report could show: the chain, each frame with its variables, the error itself."""
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join(report.format(chain=True)) + repr(error) + str(error) + repr(vars(error)) + repr(error.args)


def refusals() -> Iterator[tuple[str, Table, Events]]:
    """A client refusing at each leg: bytes it cannot read, and a message it can."""
    for leg in LEGS[:-1]:
        for what in ("garbled", "lie"):
            server = LyingServer(new_table())
            server.play(leg)
            name = NAMES[1]
            if what == "garbled":
                data = flip(server.envelope(name, server._honest_message(Leg(leg + 1), 1)), 500)
            else:
                lie = {
                    Leg.ADVERTISE: lambda server: server.roster({0, 2, 3}),
                    Leg.SHARE: lambda server: server.inbox(1, {0}),
                    Leg.MASK: lambda server: server.survivor_set({0, 1}),
                    Leg.CONFIRM: lambda server: server.unmask_request({0: bytes(64), 2: bytes(64), 3: bytes(64)}),
                }[leg](server)
                data = server.envelope(name, lie)
            yield f"{what} after {leg.name.lower()}", server.table, server.table.clients[name].receive(data)


def test_the_errors_clients_leave_with_show_no_secret() -> None:
    for where, table, events in refusals():
        (event,) = events
        assert isinstance(event, Failed)
        Watch(table).assert_clean(whole_text(event.error), where)


class FailingInput(VectorInput):
    """An input whose source gives out on the way."""

    def read(self, start: int, stop: int) -> Any:
        raise ConfigError("the source of the input failed")


def misuses(table: Table) -> list[Callable[[ClientRound], object]]:
    """What a confused caller could do to a client; at most legs most of it is an error."""
    short = VectorInput(INPUTS[0, :2])
    return [
        pickle.dumps,
        lambda client: client._phase and copy.copy(client._phase),
        lambda client: client._seat and copy.deepcopy(client._seat),
        lambda client: client.provide(short),
        lambda client: client.provide(FailingInput(INPUTS[0])),
        lambda client: client.provide(table.input_of(NAMES[1])),
        lambda client: client.resume(),
        lambda client: client.receive(b""),
        lambda client: client.receive(b""),
        lambda client: client.provide(table.input_of(NAMES[1])),
    ]


@pytest.mark.parametrize("leg", LEGS, ids=str)
def test_the_errors_of_misuse_show_no_secret(leg: Leg) -> None:
    server = LyingServer(new_table())
    server.play(leg)
    watch = Watch(server.table)
    client = server.table.clients[NAMES[1]]
    errors = 0
    for misuse in misuses(server.table):
        try:
            misuse(client)
        except SecAggError as error:
            errors += 1
            watch.assert_clean(whole_text(error), f"{type(error).__name__} after {leg.name.lower()}")
    assert errors >= 5


def test_an_input_outside_the_ring_is_refused_without_its_numbers() -> None:
    """Of the error itself. A debugger that prints local variables sees the input, as it is the caller's own."""
    inputs = INPUTS & np.uint32(2**31 - 1)
    table = Table(PLAN, inputs, bits=31)
    client = table.clients[NAMES[0]]
    server = LyingServer(table)
    server.play(Leg.SHARE)
    client.receive(server.envelope(NAMES[0], server.inbox(0, {1, 2, 3})))
    outside = inputs[0].copy()
    outside[-1] |= np.uint32(1 << 31)
    with pytest.raises(InputError) as caught:
        client.provide(VectorInput(outside, bits=31))
    Watch(table).assert_clean(f"{caught.value!r} {caught.value} {caught.value.args}", "the error")


# Storage.


class FailingStore(MemoryStore):
    """A disk that is full after a number of records."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def append(self, record: bytes) -> None:
        if len(self._records) >= self.room:
            raise StorageError("the disk is full")
        super().append(record)


@pytest.mark.parametrize("room", range(1, 12))
def test_a_disk_that_fills_up_shows_no_secret(room: int) -> None:
    """Whichever record it is, but for the first: that one is the round secret itself (see the next test)."""
    store = FailingStore(room)
    table = new_table(stores={NAMES[1]: store}, keep_input=True)
    server = LyingServer(table)
    watch = Watch(table)
    try:
        server.play(Leg.UNMASK)
    except StorageError as error:
        watch.assert_clean(whole_text(error), f"record {room}")
        assert table.clients[NAMES[1]].closed
        assert not unwiped(
            secret for secret in secrets_in(table.clients[NAMES[1]]) if secret is not table.identities[NAMES[1]]._seed
        )
        assert not list(store.records())
    else:
        assert room >= 10


def test_a_round_secret_that_could_not_be_recorded_is_never_used() -> None:
    """The one failure whose variables show a secret: nothing was said by it, and nothing will be."""
    store = FailingStore(0)
    table = new_table(stores={NAMES[1]: store})
    client = table.clients[NAMES[1]]
    table.start()
    (offer,) = table.pending[NAMES[1]]
    with pytest.raises(StorageError):
        client.receive(offer)
    assert client.closed
    with pytest.raises(MisuseError):
        client.receive(offer)
    assert store.last_round(table.config.session) == table.config.round


def test_a_record_that_was_tampered_with_shows_no_secret(tmp_path: Path) -> None:
    """A client stops, its file is changed, and it is resumed."""
    key = Secret(FixedEntropy("the key of the store")(32))
    table = new_table(stores={NAMES[1]: FileStore(tmp_path, key=key)})
    server = LyingServer(table)
    server.play(Leg.MASK)
    watch = Watch(table)
    path = tmp_path / "open-round"
    path.write_bytes(flip(path.read_bytes(), 8 * (path.stat().st_size - 3)))
    resumed = table.new_client(NAMES[1], FileStore(tmp_path, key=Secret(key.reveal())))
    with pytest.raises(StorageError) as caught:
        resumed.resume()
    watch.assert_clean(whole_text(caught.value), "the error")


def test_a_record_that_does_not_replay_shows_no_secret() -> None:
    """Another client's record: the seat does not fit, and the error's chain has been through the secret."""
    store = MemoryStore()
    table = new_table(stores={NAMES[1]: store})
    server = LyingServer(table)
    server.play(Leg.MASK)
    watch = Watch(table)
    for spoiled in range(len(list(store.records()))):
        copied = MemoryStore()
        for index, record in enumerate(store.records()):
            copied.append(flip(record, 77) if index == spoiled else record)
        resumed = table.new_client(NAMES[1], copied)
        try:
            resumed.resume()
        except StorageError as error:
            if spoiled:  # the first record is the secret, and flipped it is none
                watch.assert_clean(whole_text(error), f"record {spoiled}")
        else:
            assert spoiled == len(list(store.records())) - 1


def test_what_a_journal_reads_back_does_not_print() -> None:
    secret = FixedEntropy("a round secret")(32)
    store = MemoryStore()
    Journal(store).write(Kind.SECRET, secret)
    text = repr(Journal(store).entries()) + repr(store) + str(Journal(store))
    assert not [spelling for spelling in spellings(secret) if spelling in text]


# Copies.


def secret_bearing(table: Table) -> list[object]:
    """Every object of ours that has a secret in it somewhere."""
    ours = [thing for thing in everything_at(table) if type(thing).__module__.startswith("secagg")]
    return [thing for thing in ours if unwiped(secrets_in(thing)) and not isinstance(thing, type)]


@pytest.mark.parametrize("leg", [leg for leg in LEGS if leg < Leg.UNMASK], ids=str)
@pytest.mark.parametrize("copier", [pickle.dumps, copy.deepcopy], ids=["pickle", "deepcopy"])
def test_nothing_with_a_secret_in_it_is_pickled_or_copied(leg: Leg, copier: Callable[[object], object]) -> None:
    server = LyingServer(new_table())
    server.play(leg)
    bearers = secret_bearing(server.table)
    assert {"Secret", "Identity", "FixedClientRound", "Channel"} <= {type(thing).__name__ for thing in bearers}
    for thing in bearers:
        with pytest.raises(MisuseError):
            copier(thing)


@pytest.mark.parametrize("leg", [leg for leg in LEGS if leg < Leg.UNMASK], ids=str)
def test_a_shallow_copy_is_refused_or_holds_the_very_same_secrets(leg: Leg) -> None:
    """Then wiping the one wipes the other, and no second set of bytes exists."""
    server = LyingServer(new_table())
    server.play(leg)
    for thing in secret_bearing(server.table):
        try:
            shallow = copy.copy(thing)
        except MisuseError:
            continue
        assert not isinstance(thing, Secret | Identity | Phase)
        assert {id(secret) for secret in secrets_in(shallow)} <= {id(secret) for secret in secrets_in(thing)}


def test_a_round_is_not_copied_for_a_second_chance_to_answer() -> None:
    server = LyingServer(new_table())
    server.play(Leg.MASK)
    for round_ in (server.table.clients[NAMES[0]], server.table.server):
        for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(MisuseError, match="never pickled or copied"):
                duplicate(round_)
