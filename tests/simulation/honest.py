"""A round of an honest server over a network and hosts that fail in every way, with up to max_corrupt lying clients.

What goes wrong is drawn event by event; then faults stop, and the round is played to its end. Whatever happened, it
must come to the exact sum, or fail with a typed error that names nobody honest; and it must come to the sum where a
floor of clients can still answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from protocols.faults import flip
from secagg.errors import RoundAborted
from secagg.pairwise import server as server_phases
from secagg.pairwise.messages import NAMES, RoundOffer
from secagg.ring import Words
from secagg.round.events import Events, Failed, Finished, Rejected, Send
from secagg.rules import Rule
from secagg.types import Leg
from secagg.wire import HEADER_SIZE
from tests.simulation import invariants, liveness
from tests.simulation.breach import Breach, require
from tests.simulation.cast import Cast
from tests.simulation.cells import HOST, NETWORK, Cell, cell
from tests.simulation.choices import Choices
from tests.simulation.disks import WriteFault
from tests.simulation.lies import Liar
from tests.simulation.tape import SERVER

MAX_EVENTS: Final = 50
_PROCEED: Final = 40
_STRUCTURE: Final = (*range(5), *range(HEADER_SIZE - 8, HEADER_SIZE + 4))
"""Bytes that say how to read the others: magic, kind, sender, body length, and the head of the body."""
FAULTS: Final = (*NETWORK, *HOST, "heal", "resume", "close early", "resend", "slow input")


@dataclass(eq=False)
class Packet:
    """A message on its way: up to the server, or down to a client."""

    up: bool
    name: str
    data: bytes

    @property
    def kind(self) -> int:
        """The number of the message it claims to be."""
        return self.data[4] if len(self.data) > 4 else 0


def draw_weights(choices: Choices) -> list[int]:
    """How often each fault happens in this schedule: most never, a few often (swarm testing)."""
    return [_PROCEED, *(max(choices.choose(12, "weight") - 8, 0) for _ in FAULTS)]


class HonestRound:
    """One round.

    Args:
        cast: the parties.
        choices: where decisions come from.
        weights: how often each fault happens.
        past: packets of earlier rounds of the session; those of this one are added.
        hits: where cells are counted.
    """

    def __init__(
        self, cast: Cast, choices: Choices, *, weights: list[int], past: list[Packet], hits: Callable[[Cell], None]
    ) -> None:
        self.cast = cast
        self.choices = choices
        self.weights = weights
        self.hits = hits
        self.earlier = tuple(past)
        self.past = past
        self.flying: list[Packet] = []
        self.held: list[Packet] = []
        self.cut: set[tuple[str, bool]] = set()
        self.requests: dict[str, list[bytes]] = {}
        self.counted: dict[str, Words] = {}
        self.liars = {name: Liar(cast, name, choices, hits) for name in sorted(cast.corrupt_names)}
        self.told: dict[str, int] = {}
        self.misled: set[str] = set()

    def play(self) -> Finished | Failed:
        """Play the round to its end."""
        self._send(self._server(self.cast.server.start))
        late = self.choices.flag(0.6, "whether faults come late")
        for _ in range(self.choices.choose(MAX_EVENTS, "events before faults begin") if late else 0):
            if self.cast.server.outcome is None:
                self._proceed()
        for _ in range(self.choices.choose(MAX_EVENTS, "events before faults stop")):
            if self.cast.server.outcome is not None:
                break
            self._event()
        return self._heal_and_finish()

    # One event.

    def _event(self) -> None:
        index = self.choices.weighted(self.weights, "event")
        if index == 0:
            self._proceed()
            return
        fault = FAULTS[index - 1]
        if fault in NETWORK:
            self._disturb(fault)
        elif fault in HOST:
            self._afflict(fault)
        elif fault == "heal":
            self._mend_network()
        elif fault == "resume":
            self._resume_one()
        elif fault == "close early":
            self._close()
        elif fault == "resend":
            self._resend(self.choices.pick(self.cast.names, "to whom again"))
        else:
            self._tell_without_input()

    def _proceed(self) -> None:
        """What happens where nothing goes wrong: the next message arrives, the next input is ready, the leg closes."""
        if self.flying:
            self._deliver(self.flying.pop(0))
        elif waiting := sorted(self.cast.asked_input):
            self._say(waiting[0], self.cast.give_input(waiting[0]))
        else:
            self._close()

    def _disturb(self, fault: str) -> None:
        """Something goes wrong between the parties."""
        if fault == "partition":
            self._partition()
        elif fault == "replay":
            self._again(self.past[len(self.earlier) :], fault)
        elif fault == "earlier round":
            self._again(self.earlier, fault)
        elif self.flying:
            packet = self.flying.pop(self.choices.choose(len(self.flying), "which packet"))
            self.hits(cell(packet.kind, fault, "network"))
            self._mangle(packet, fault)

    def _mangle(self, packet: Packet, fault: str) -> None:
        data = packet.data
        match fault:
            case "delay":
                self.held.append(packet)
            case "reorder":
                self._deliver(packet)
            case "duplicate":
                self.flying.append(packet)
                self._deliver(packet)
            case "corrupt":
                self._deliver_spoiled(packet, self._flipped(data))
            case "truncate":
                self._deliver_spoiled(packet, data[: self.choices.choose(len(data), "how long")])
            case "extend":
                self._deliver_spoiled(packet, data + self.choices.bytes(2, "what behind"))
            case "misroute":
                self._misroute(packet)
            case _:
                pass  # lost

    def _flipped(self, data: bytes) -> bytes:
        """One bit is flipped, half the time in the header or the head of the body, where most of the structure is."""
        if self.choices.flag(0.5, "anywhere"):
            return flip(data, self.choices.choose(8 * len(data), "which bit"))
        return flip(data, 8 * self.choices.pick(_STRUCTURE, "which byte") + self.choices.choose(8, "which bit"))

    def _again(self, packets: tuple[Packet, ...] | list[Packet], fault: str) -> None:
        """An old message arrives once more."""
        if packets:
            packet = self.choices.pick(packets, "which old packet")
            self.hits(cell(packet.kind, fault, "network"))
            self._deliver(packet)

    def _misroute(self, packet: Packet) -> None:
        """A message arrives at another client, or under another client's name."""
        others = [name for name in self.cast.names if name != packet.name]
        other = self.choices.pick(others, "whom instead")
        self.past.append(packet)
        if packet.up:
            self._submit(other, packet.data, genuine=False)
        else:
            self._tell(other, packet.data)

    def _deliver_spoiled(self, packet: Packet, data: bytes) -> None:
        if packet.up:
            self._submit(packet.name, data, genuine=False)
        else:
            self.misled.add(packet.name)
            self._tell(packet.name, data)

    def _partition(self) -> None:
        """A client is cut off in one direction or both; its messages wait."""
        name = self.choices.pick(self.cast.names, "who is cut off")
        ways = self.choices.pick(((True, False), (True,), (False,)), "which way")
        self.cut |= {(name, up) for up in ways}
        for packet in self.flying:
            if (packet.name, packet.up) in self.cut:
                self.hits(cell(packet.kind, "partition", "network"))

    # What happens to hosts.

    def _afflict(self, fault: str) -> None:
        name = self.choices.pick(self.cast.names, "whose host")
        if name in self.cast.corrupt_names or name in self.cast.down:
            return
        last = self.told.get(name, RoundOffer.KIND)
        client = self.cast.clients[name]
        match fault:
            case "crash":
                self._hit_host(last, fault, unless=client.closed)
                self.cast.crash(name)
            case "leave":
                self._hit_host(last, fault, unless=client.closed)
                self.cast.leave(name)
            case "rolled back":
                self._roll_back(name, last)
            case "zombie":
                self._haunt(name)
            case _:
                self._fail_write(name, WriteFault(fault))

    def _hit_host(self, kind: int, fault: str, *, unless: bool = False) -> None:
        if not unless:
            self.hits(cell(kind, fault, "host"))

    def _roll_back(self, name: str, last: int) -> None:
        """A host comes back with an earlier state of its disk."""
        disk = self.cast.disks[name]
        if disk.past:
            state = self.choices.choose(len(disk.past), "how far back")
            self._hit_host(last, "rolled back")
            self.cast.crash(name)
            disk.roll_back(len(disk.past) - 1 - state)
            self.cast.rolled_back.add(name)
            self._say(name, self.cast.resume(name))

    def _haunt(self, name: str) -> None:
        """A client's process is started anew beside the running one, and both are told the next message."""
        packets = [packet for packet in self.flying if packet.name == name and not packet.up]
        if packets and not self.cast.clients[name].closed:
            packet = packets[0]
            self.flying.remove(packet)
            self._hit_host(packet.kind, "zombie")
            old, handle = self.cast.clients[name], self.cast.handles[name]
            self._say(name, self.cast.resume(name))
            first = self.choices.flag(0.5, "the zombie first")
            if first:
                self._say(name, self.cast.zombie(name, old, handle, packet.data))
            self._deliver(packet)
            if not first:
                self._say(name, self.cast.zombie(name, old, handle, packet.data))

    def _fail_write(self, name: str, fault: WriteFault) -> None:
        """The disk fails under the next message for this client."""
        packets = [packet for packet in self.flying if packet.name == name and not packet.up]
        if packets and not self.cast.clients[name].closed:
            self.flying.remove(packets[0])
            self.cast.handles[name].arm(fault, after=self.choices.choose(4, "how many writes later"))
            self._hit_host(packets[0].kind, fault.value)
            self._deliver(packets[0])

    def _resume_one(self) -> None:
        if down := sorted(self.cast.down):
            name = self.choices.pick(down, "who comes back")
            self._say(name, self.cast.resume(name))

    def _tell_without_input(self) -> None:
        """A client is told the next message, and its input is not ready yet."""
        for packet in self.flying:
            if not packet.up and packet.name not in self.cast.down:
                self.flying.remove(packet)
                self.past.append(packet)
                self._answer(packet.name, packet.data, at_once=False)
                return

    # Delivery.

    def _deliver(self, packet: Packet) -> None:
        if (packet.name, packet.up) in self.cut:
            self.held.append(packet)
            return
        self.past.append(packet)
        if packet.up:
            self._submit(packet.name, packet.data)
        else:
            self._tell(packet.name, packet.data)

    def _tell(self, name: str, data: bytes) -> None:
        self._answer(name, data, at_once=True)

    def _answer(self, name: str, data: bytes, *, at_once: bool) -> None:
        if name in self.cast.down:
            return
        if len(data) > 4 and data[4] in NAMES:
            self.told[name] = data[4]
        self._say(name, self.cast.hand(name, data) if at_once else self.cast.tell(name, data))

    def _say(self, name: str, answers: list[bytes]) -> None:
        liar = self.liars.get(name)
        for answer in answers:
            for said in [answer] if liar is None else liar.instead_of(answer):
                self.flying.append(Packet(up=True, name=name, data=said))

    def _submit(self, name: str, data: bytes, *, genuine: bool = True) -> None:
        """Hand the server a message: it is admitted, or refused without a trace."""
        server = self.cast.server
        if server.outcome is None and isinstance(server._phase, server_phases.CollectingInputs):
            opened = server._phase._inboxes
        else:
            opened = {}
        before, leg, waiting = self._fingerprint(), server.leg, server.waiting_for
        events = self._server(lambda: server.receive(name, data))
        if events:
            (event,) = events
            invariants.i11_only_typed_errors(isinstance(event, Rejected), f"receive returned {event!r}")
            if isinstance(event, Rejected) and event.error.rule is not Rule.INBOX_CONFLICT:
                invariants.i9_a_refusal_changes_nothing(before, self._fingerprint(), event.error.rule.value)
            return
        require(name in waiting, "i9_a_refusal_changes_nothing", f"{name} was admitted out of turn")
        honest = name not in self.cast.corrupt_names
        require(genuine or not honest, "i1_a_sum_is_exact", f"a changed {NAMES.get(data[4])} was admitted")
        if leg is Leg.MASK:
            self.counted[name] = self._input_behind(name, data, opened)

    def _input_behind(self, name: str, data: bytes, opened: dict[int, frozenset[int]]) -> Words:
        """The input an admitted message counts with."""
        if (liar := self.liars.get(name)) is not None:
            return liar.input_behind(data, opened[liar.position])
        words = self.cast.witness.inputs.get(data)
        if words is None:
            raise Breach("i1_a_sum_is_exact", f"{name} never said the input it counts with")
        return words

    def _fingerprint(self) -> tuple[object, ...]:
        """All of the server's round that a message may change, in short."""
        server = self.cast.server
        phase = server._phase
        parts: list[object] = [type(phase), server.waiting_for, server.outcome]
        for slot in getattr(type(phase), "__slots__", ()):
            value = getattr(phase, slot)
            if isinstance(value, dict | set):
                parts.append(len(value))
            elif slot == "_accumulator":
                parts.append(value.tobytes())
        return tuple(parts)

    # The server.

    def _server(self, call: Callable[[], Events]) -> Events:
        with self.cast.tape.of(SERVER):
            try:
                return call()
            except Exception as error:
                raise Breach("i11_only_typed_errors", f"the server raised {type(error).__name__}: {error}") from error

    def _close(self) -> None:
        """Close the leg, or recover where all are closed."""
        server = self.cast.server
        if server.outcome is None:
            self.requests = {}
            self._send(self._server(server.recover if server.ready else server.close_leg))

    def _send(self, events: Events) -> None:
        for event in events:
            match event:
                case Send():
                    data = bytes(event.data)
                    invariants.i10_messages_stay_within_bounds(data, self.cast.config)
                    self.requests.setdefault(str(event.to), []).append(data)
                    self.flying.append(Packet(up=False, name=str(event.to), data=data))
                case Finished():
                    self._judge_sum(event)
                case Failed():
                    self._judge_failure(event)
                case _:
                    raise Breach("i11_only_typed_errors", f"the server sent {event!r}")

    def _judge_sum(self, event: Finished) -> None:
        total = event.aggregate
        if total is None:
            raise Breach("i1_a_sum_is_exact", "finished without a sum")
        values = self.cast.exact(self.counted[name] for name in total.survivors if name in self.counted)
        invariants.i1_a_sum_is_exact(total, self.counted, values)
        invariants.blamed_pairs_hold_a_liar(total, self.liars)
        plan = self.cast.plan
        require(len(total.survivors) >= plan.min_survivors, "i5_floors_hold", f"a sum of {len(total.survivors)}")
        survivors = frozenset(self.cast.names.index(name) for name in total.survivors)
        views = {view for seen in self.cast.witness.seen.values() for view in seen.unmasked}
        require(views == {survivors}, "i6_all_who_unmask_agree", f"a sum over {survivors}, unmasked for {views}")

    def _judge_failure(self, event: Failed) -> None:
        if not isinstance(event.error, RoundAborted):
            raise Breach("i11_only_typed_errors", f"a round failed of {type(event.error).__name__}")
        invariants.blame_is_just(event.error, self.liars)

    # The end.

    def _heal_and_finish(self) -> Finished | Failed:
        """Faults stop: the network is whole, hosts come back, requests are repeated; then the round must end."""
        self._mend_network()
        for name in sorted(self.cast.down):
            self._say(name, self.cast.resume(name))
        for handle in self.cast.handles.values():
            handle.disarm()
        able, need = liveness.able(self), liveness.need(self.cast.plan)
        while (outcome := self.cast.server.outcome) is None:
            self._drain()
            for name in sorted(self.cast.server.waiting_for):
                self._resend(name)
            self._drain()
            self._close()
        if not self.liars:
            invariants.a_healed_round_finishes(able, need, outcome)
        return outcome

    def _drain(self) -> None:
        while self.flying or self.cast.asked_input:
            self._proceed()

    def _mend_network(self) -> None:
        self.cut.clear()
        self.flying += self.held
        self.held = []

    def _resend(self, name: str) -> None:
        """A driver that heard nothing sends its last request again; without one, nothing was asked of this client."""
        if name in self.cast.server.waiting_for:
            self.flying += [Packet(up=False, name=name, data=data) for data in self.requests.get(name, [])]
