"""A round as a state machine: anyone delivers, drops, repeats, reorders, garbles and closes anything at any time.

What must hold at every step: an output is the exact sum of the one survivor set it declares; no client answers one
leg in two ways; a refused message changes nothing; only typed errors leave the API.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from protocols.faults import flip
from secagg.errors import MisuseError, RemoteError, RoundAborted
from secagg.plan import Plan
from secagg.round.events import Event, Failed, Finished, NeedInput, Rejected, Send
from secagg.store import MemoryStore
from secagg.testing.plans import small_regular_plan
from secagg.testing.table import Table, client_names
from secagg.types import Adversary, Leg

PLANS = (
    Plan.find(clients=4, max_dropped=1, max_corrupt=0),
    Plan.find(clients=6, max_dropped=1, max_corrupt=1),
    Plan.find(clients=4, max_dropped=2, max_corrupt=0, adversary=Adversary.SEMI_HONEST),
    small_regular_plan(clients=5, degree=2, threshold=2, max_dropped=1),
)
clients = st.integers(0, 5)
picks = st.integers(0, 1_000)
bits = st.integers(0, 100_000)


class AnyRound(RuleBasedStateMachine):
    """The network is two heaps of messages, and the machine does with them what it likes."""

    @initialize(plan=st.sampled_from(PLANS), keep_input=st.booleans(), legs=st.integers(0, 4))
    def begin(self, plan: Plan, keep_input: bool, legs: int) -> None:  # noqa: FBT001  # drawn by hypothesis
        self.stores = {name: MemoryStore() for name in client_names(plan.clients)}
        inputs = np.arange(7, 7 + 3 * plan.clients, dtype=np.uint32).reshape(plan.clients, 3) * np.uint32(77_777_777)
        self.table = Table(plan, inputs, stores=self.stores, keep_input=keep_input)
        self.names = self.table.names
        self.down: list[tuple[str, bytes]] = []
        self.up: list[tuple[str, bytes]] = []
        self.seen_down: list[tuple[str, bytes]] = []
        self.said: dict[str, list[bytes]] = {name: [] for name in self.names}
        self.admitted: dict[Leg, set[str]] = {leg: set() for leg in Leg}
        self.send(self.table.server.start())
        for _ in range(legs):
            self.everyone_answers()
            self.close_the_leg_if_open()

    # The network.

    @rule()
    def everyone_answers(self) -> None:
        """A stretch without trouble, so that rounds come to an end now and then."""
        while self.down:
            self.deliver(*self.down.pop(0))
        while self.up:
            self.submit(*self.up.pop(0))

    @rule(pick=picks)
    def deliver_one(self, pick: int) -> None:
        if self.down:
            self.deliver(*self.down.pop(pick % len(self.down)))

    @rule(pick=picks)
    def hand_in_one(self, pick: int) -> None:
        if self.up:
            self.submit(*self.up.pop(pick % len(self.up)))

    @rule(pick=picks, up=st.booleans())
    def lose_one(self, pick: int, up: bool) -> None:  # noqa: FBT001  # drawn by hypothesis
        heap = self.up if up else self.down
        if heap:
            heap.pop(pick % len(heap))

    @rule(pick=picks)
    def hand_in_an_old_one(self, pick: int) -> None:
        answers = [(name, answer) for name, said in self.said.items() for answer in said]
        if answers:
            self.submit(*answers[pick % len(answers)])

    @rule(client=clients)
    def hand_in_the_latest_again(self, client: int) -> None:
        name = self.names[client % len(self.names)]
        for answer in self.said[name][-1:]:
            self.submit(name, answer)

    @rule(client=clients)
    def everyone_but_one_answers(self, client: int) -> None:
        """One client is cut off for a while: what it is told and what it says gets lost."""
        gone = self.names[client % len(self.names)]
        self.down = [(name, request) for name, request in self.down if name != gone]
        self.everyone_answers()
        self.close_the_leg_if_open()

    @rule(pick=picks)
    def deliver_an_old_one(self, pick: int) -> None:
        if self.seen_down:
            self.deliver(*self.seen_down[pick % len(self.seen_down)])

    @rule(pick=picks, bit=bits)
    def garble_an_answer(self, pick: int, bit: int) -> None:
        if self.up:
            name, answer = self.up[pick % len(self.up)]
            self.submit_refused(name, flip(answer, bit))

    @rule(pick=picks, sender=clients)
    def hand_in_under_another_name(self, pick: int, sender: int) -> None:
        if self.up:
            name, answer = self.up[pick % len(self.up)]
            other = self.names[sender % len(self.names)]
            if other != name:
                self.submit_refused(other, answer)

    @rule(pick=picks, bit=bits)
    def garble_a_request(self, pick: int, bit: int) -> None:
        """Costs a client its round, so it is not as frequent as the rest of this file may look."""
        if self.down and bit % 4 == 0:
            name, request = self.down.pop(pick % len(self.down))
            self.deliver(name, flip(request, bit))

    @rule(pick=picks, receiver=clients)
    def deliver_to_another(self, pick: int, receiver: int) -> None:
        if self.down and pick % 4 == 0:
            _, request = self.down[pick % len(self.down)]
            self.deliver(self.names[receiver % len(self.names)], request)

    # The parties.

    @rule(client=clients)
    def stop_and_resume(self, client: int) -> None:
        name = self.names[client % len(self.names)]
        self.table.clients[name] = resumed = self.table.new_client(name, self.stores[name])
        events = resumed.resume()
        if any(isinstance(event, NeedInput) for event in events):
            events = resumed.provide(self.table.input_of(name))
        self.note(name, events)

    @rule(client=clients, patience=st.integers(0, 5))
    def leave(self, client: int, patience: int) -> None:
        if patience == 0:
            self.table.clients[self.names[client % len(self.names)]].abort()

    @rule()
    def close_the_leg_if_open(self) -> None:
        server = self.table.server
        if server.outcome is None:
            self.send(server.recover() if server.ready else server.close_leg())

    # What must hold.

    @invariant()
    def no_client_answers_a_leg_in_two_ways(self) -> None:
        for said in self.said.values():
            assert len({answer[4] for answer in said}) == len(set(said))

    @invariant()
    def an_output_is_the_exact_sum_of_what_it_declares(self) -> None:
        outcome = self.table.server.outcome
        if isinstance(outcome, Finished):
            total = outcome.aggregate
            assert total is not None
            assert len(total.survivors) >= self.table.plan.min_survivors
            assert set(total.survivors) == self.admitted[Leg.MASK]
            assert np.array_equal(total.values, self.table.expected(total.survivors))
            assert total.blamed == ()

    @invariant()
    def a_round_fails_only_below_a_floor(self) -> None:
        outcome = self.table.server.outcome
        if isinstance(outcome, Failed):
            assert isinstance(outcome.error, RoundAborted)
            assert outcome.error.suspects == ()
            assert not hasattr(outcome, "aggregate")

    def teardown(self) -> None:
        """However it went, the round can be brought to an end, and to a right one."""
        if hasattr(self, "table"):
            while self.table.server.outcome is None:
                self.everyone_answers()
                self.close_the_leg_if_open()
            self.an_output_is_the_exact_sum_of_what_it_declares()

    # How it is done.

    def send(self, events: Iterable[Event]) -> None:
        self.down += [(str(event.to), bytes(event.data)) for event in events if isinstance(event, Send)]

    def deliver(self, name: str, request: bytes) -> None:
        client = self.table.clients[name]
        self.seen_down.append((name, request))
        try:
            events = client.receive(request)
        except MisuseError:
            assert client.closed
            return
        if any(isinstance(event, NeedInput) for event in events):
            events = client.provide(self.table.input_of(name))
        self.note(name, events)

    def note(self, name: str, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Send):
                self.said[name].append(bytes(event.data))
                self.up.append((name, bytes(event.data)))
            elif isinstance(event, Failed):
                assert isinstance(event.error, RemoteError)
                assert self.table.clients[name].closed

    def submit(self, name: str, answer: bytes) -> None:
        """Hand an honest answer in; it is admitted, or refused as a repeat or for coming late."""
        leg = self.table.server.leg
        waiting = self.table.server.waiting_for
        if self.table.server.receive(name, answer) == ():
            assert name in waiting - self.admitted[leg]
            self.admitted[leg].add(name)
        else:
            assert self.table.server.waiting_for == waiting

    def submit_refused(self, name: str, answer: bytes) -> None:
        server = self.table.server
        before = server.leg, server.waiting_for, server.outcome
        (event,) = server.receive(name, answer)
        assert isinstance(event, Rejected)
        assert event.peer == name
        assert (server.leg, server.waiting_for, server.outcome) == before


AnyRound.TestCase.settings = settings(deadline=None, max_examples=400, stateful_step_count=40)
TestAnyRound = AnyRound.TestCase
