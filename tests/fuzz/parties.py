"""Fuzz targets in which the bytes are a program: what a party is told and asked to do, step by step.

The party is the product's own. What it is told is what its peers honestly say, in any order, repeated, changed before
or after its tag is made, or any bytes. The contract: only errors and events of the package's own kinds; at most one
answer of each kind, however it is stopped and resumed; and a server that comes to a sum has the exact one.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable
from typing import Final

import numpy as np

from secagg import wire
from secagg.errors import MisuseError, SecAggError, StorageError
from secagg.pairwise.messages import MaskedInput, SurvivorSignature, UnmaskShares
from secagg.plan import Plan
from secagg.round.events import Failed, Finished, Rejected, Send
from secagg.round.journal import Kind
from secagg.store import MemoryStore
from secagg.testing.table import Table, VectorInput
from secagg.types import SERVER, Leg
from tests.fuzz.finding import require
from tests.simulation.campaign import play_one, recorded_tape
from tests.simulation.choices import FromBytes
from tests.support.liars import LyingClient, LyingServer

STEPS: Final = 24
CLIENT: Final = "client-0000"
ONE_ANSWER_EACH: Final = (MaskedInput.KIND, SurvivorSignature.KIND, UnmaskShares.KIND)


def new_table(**changes: object) -> Table:
    inputs = np.arange(1, 13, dtype=np.uint32).reshape(3, 4)
    plan = Plan.find(clients=3, max_dropped=1, max_corrupt=0)
    return Table(plan, inputs, **changes)  # type: ignore[arg-type]  # Table's own keywords


# A client.


@functools.cache
def honest_server() -> tuple[LyingServer, dict[Leg, wire.Message]]:
    """A server that played a whole round honestly, and what it told the client of the programs before each leg."""
    server = LyingServer(new_table())
    told: dict[Leg, wire.Message] = {}
    for leg in (Leg.ADVERTISE, Leg.SHARE, Leg.MASK, Leg.CONFIRM, Leg.UNMASK):
        server.play(Leg(leg - 1))
        told[leg] = server._honest_message(leg, 0)
    return server, told


class ClientProgram:
    """A client, a store that outlives it, and all it ever said."""

    def __init__(self, data: bytes) -> None:
        self.choices = FromBytes(data)
        self.server, self.told = honest_server()
        self.table = new_table(keep_input=self.choices.flag(0.5, "keep input"))
        self.store = MemoryStore()
        self.client = self.table.new_client(CLIENT, self.store)
        self.sent: list[bytes] = []
        self.said: dict[int, set[bytes]] = {kind: set() for kind in ONE_ANSWER_EACH}
        self.next = Leg.ADVERTISE

    def run(self) -> None:
        steps: tuple[Callable[[], None], ...] = (
            self.tell_what_comes_next,
            self.give_the_input,
            self.repeat,
            self.tell_out_of_turn,
            self.change_before_the_tag,
            self.change_after_the_tag,
            self.tell_anything,
            self.name_survivors,
            self.hand_out_boxes,
            self.give_another_input,
            self.stop_and_resume,
            self.spoil_the_record,
            self.leave,
        )
        for _ in range(self.choices.choose(STEPS, "steps")):
            with contextlib.suppress(SecAggError):
                steps[self.choices.choose(len(steps), "step")]()

    def hear(self, events: tuple[object, ...]) -> None:
        for event in events:
            if isinstance(event, Failed):
                require(self.client.closed, "it failed and is open")
            if isinstance(event, Send):
                data = bytes(event.data)
                kind = wire.kind_of(data)
                if kind in self.said:
                    self.said[kind].add(data)
                    require(len(self.said[kind]) == 1, f"two different answers of kind {kind}")

    def tell(self, data: bytes) -> None:
        self.sent.append(data)
        self.hear(self.client.receive(data))

    def tell_what_comes_next(self) -> None:
        leg, self.next = self.next, Leg(min(self.next + 1, Leg.UNMASK))
        self.tell(self.server.envelope(CLIENT, self.told[leg]))

    def repeat(self) -> None:
        if self.sent:
            self.tell(self.sent[self.choices.choose(len(self.sent), "which")])

    def any_message(self) -> wire.Message:
        return self.told[Leg(self.choices.choose(len(self.told), "leg"))]

    def tell_out_of_turn(self) -> None:
        self.tell(self.server.envelope(CLIENT, self.any_message()))

    def changed(self, data: bytes) -> bytes:
        spoilt = bytearray(data)
        spoilt[self.choices.choose(len(spoilt), "place")] ^= 1 + self.choices.choose(255, "bits")
        return bytes(spoilt)

    def change_before_the_tag(self) -> None:
        message = self.any_message()
        data = self.changed(wire.front(message, config_digest=self.table.config.digest, sender=SERVER))
        self.tell(data + self.server.tag(CLIENT, message.KIND, data))

    def change_after_the_tag(self) -> None:
        self.tell(self.changed(self.server.envelope(CLIENT, self.any_message())))

    def tell_anything(self) -> None:
        self.tell(self.choices.bytes(self.choices.choose(80, "size"), "bytes"))

    def name_survivors(self) -> None:
        chosen = [position for position in range(3) if self.choices.flag(0.5, "survives")]
        self.tell(self.server.envelope(CLIENT, self.server.survivor_set(chosen)))

    def hand_out_boxes(self) -> None:
        dealers = [position for position in (1, 2) if self.choices.flag(0.5, "dealer")]
        forged = {
            dealer: self.changed(self.server.boxes[dealer, 0]) for dealer in dealers if self.choices.flag(0.5, "x")
        }
        self.tell(self.server.envelope(CLIENT, self.server.inbox(0, dealers, forged=forged)))

    def give_the_input(self) -> None:
        self.hear(self.client.provide(self.table.input_of(CLIENT)))

    def give_another_input(self) -> None:
        words = np.zeros(self.choices.choose(9, "length"), dtype=np.uint32)
        self.hear(self.client.provide(VectorInput(words, bits=8 + self.choices.choose(57, "bits"))))

    def stop_and_resume(self) -> None:
        self.client = self.table.new_client(CLIENT, self.store)
        with contextlib.suppress(StorageError):
            self.hear(self.client.resume())

    def spoil_the_record(self) -> None:
        """Records that no client wrote; a store that seals its records never returns them, so nothing is said after."""
        records = [bytes((self.choices.choose(len(Kind) + 2, "kind"),)) + self.choices.bytes(4, "record")]
        store = copy.deepcopy(self.store)
        store._records[self.choices.choose(len(store._records) + 1, "place") :] = records
        client = self.table.new_client(CLIENT, store)
        with contextlib.suppress(StorageError):
            client.resume()

    def leave(self) -> None:
        self.client.abort()
        require(self.client.closed, "it left and is open")


def client(data: bytes) -> None:
    """A client is told and asked what the bytes say."""
    ClientProgram(data).run()


# A server.


class ServerProgram:
    """A server, three honest clients and whatever else is said in their names."""

    def __init__(self, data: bytes) -> None:
        self.choices = FromBytes(data)
        self.table = new_table()
        self.table.start()
        self.ready: list[tuple[str, bytes]] = []
        self.lied = False

    def run(self) -> None:
        steps: tuple[Callable[[], None], ...] = (
            self.play_a_leg,
            self.let_one_answer,
            self.hand_in,
            self.hand_in_twice,
            self.hand_in_under_another_name,
            self.hand_in_changed,
            self.hand_in_a_tagged_lie,
            self.hand_in_anything,
            self.close,
            self.recover,
        )
        for _ in range(self.choices.choose(STEPS, "steps")):
            with contextlib.suppress(MisuseError):
                steps[self.choices.choose(len(steps), "step")]()
        self.judge()

    def submit(self, name: str, data: bytes) -> None:
        server = self.table.server
        before = server.waiting_for
        events = server.receive(name, data)
        refused = [event for event in events if isinstance(event, Rejected)]
        require(len(events) == len(refused) <= 1, "a message is admitted or refused, once")
        if events and not self.lied:
            require(server.waiting_for == before, "a refusal changed what is waited for")

    def play_a_leg(self) -> None:
        for name in self.table.names:
            self.ready += [(name, answer) for answer in self.table.deliver(name)]
        while self.ready:
            self.submit(*self.ready.pop(0))
        self.close()

    def any_name(self) -> str:
        return self.table.names[self.choices.choose(3, "client")]

    def let_one_answer(self) -> None:
        name = self.any_name()
        self.ready += [(name, answer) for answer in self.table.deliver(name)]

    def any_ready(self) -> tuple[str, bytes]:
        if not self.ready:
            raise MisuseError("nobody has answered")
        return self.ready[self.choices.choose(len(self.ready), "which")]

    def hand_in(self) -> None:
        self.submit(*self.any_ready())

    def hand_in_twice(self) -> None:
        name, data = self.any_ready()
        self.submit(name, data)
        self.submit(name, data)

    def hand_in_under_another_name(self) -> None:
        _, data = self.any_ready()
        self.submit((*self.table.names, "nobody", "")[self.choices.choose(5, "name")], data)

    def hand_in_changed(self) -> None:
        name, data = self.any_ready()
        spoilt = bytearray(data)
        spoilt[self.choices.choose(len(spoilt), "place")] ^= 1 + self.choices.choose(255, "bits")
        self.submit(name, bytes(spoilt))

    def hand_in_a_tagged_lie(self) -> None:
        """A client's own lie may change its own input, so the sum is then not looked at."""
        name, data = self.any_ready()
        kind = wire.kind_of(data)
        front = bytearray(data[:-16])
        front[self.choices.choose(len(front), "place")] ^= 1 + self.choices.choose(255, "bits")
        self.lied = True
        self.submit(name, bytes(front) + LyingClient(self.table, name).tag(kind, bytes(front)))

    def hand_in_anything(self) -> None:
        self.submit(self.any_name(), self.choices.bytes(self.choices.choose(80, "size"), "bytes"))

    def close(self) -> None:
        self.table.close()

    def recover(self) -> None:
        self.table._lay_out(self.table.server.recover())

    def judge(self) -> None:
        outcome = self.table.server.outcome
        if isinstance(outcome, Finished) and outcome.aggregate is not None and not self.lied:
            total = outcome.aggregate
            require((total.values == self.table.expected(total.survivors)).all(), "another sum")
            require(len(total.survivors) >= self.table.plan.min_survivors, "a sum of too few")


def server(data: bytes) -> None:
    """A server hears what the bytes say."""
    ServerProgram(data).run()


# A whole round.


def schedule(data: bytes) -> None:
    """The bytes answer the simulator's questions: every party, every fault, its invariants after each event."""
    with recorded_tape() as tape:
        report, invariant, seen = play_one(FromBytes(data), tape)
    require(report is not None, f"{invariant}: {seen}")
