"""`Cast`: the parties of one round on lasting disks, with someone watching everything clients are told and say.

A `secagg.testing.table.Table` whose clients live several lives: each life draws fresh entropy, and may bring another
input, as a client does that trains again after a crash.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from secagg.errors import MisuseError, SecAggError, StorageError
from secagg.plan import Plan
from secagg.ring import Words
from secagg.round.client import ClientRound
from secagg.round.events import Event, Failed, NeedInput, Send
from secagg.store import RoundStore
from secagg.testing.entropy import FixedClientRound, FixedEntropy
from secagg.testing.table import Table, VectorInput
from tests.simulation import invariants
from tests.simulation.breach import Breach, require
from tests.simulation.disks import Disk, Handle, PowerLoss
from tests.simulation.tape import Tape
from tests.simulation.witness import Witness


class Cast(Table):
    """A server and clients on disks.

    Args:
        plan: the round's plan.
        inputs: ring words, shape (clients, length).
        disks: every client's disk.
        corrupt: positions that work for the adversary.
        tape: what is sealed and which masks are opened.
        label: names the fixed entropy of the round.
        bits: ring bits.
        number: the round's number.
        keep_input: whether clients keep their masked input.
    """

    def __init__(
        self,
        plan: Plan,
        inputs: Words,
        *,
        disks: Mapping[str, Disk],
        corrupt: frozenset[int],
        tape: Tape,
        label: str,
        bits: int,
        number: int,
        keep_input: bool,
    ) -> None:
        self.disks = disks
        self.lives: dict[str, int] = {}
        self.handles: dict[str, Handle] = {}
        self.tape = tape
        self.corrupt_names: frozenset[str] = frozenset()
        super().__init__(plan, inputs, bits=bits, label=label, number=number, keep_input=keep_input)
        self.corrupt_names = frozenset(self.names[position] for position in corrupt)
        self.witness = Witness(self.config, self.names, corrupt=corrupt)
        self.rolled_back: set[str] = set()
        self.haunted: set[str] = set()
        self.sent: dict[str, Words] = {}
        self.asked_input: set[str] = set()
        self.down: set[str] = set()

    def new_client(self, name: str, store: RoundStore | None = None, **changes: object) -> FixedClientRound:
        """Begin a life of a client on its disk; a corrupt one keeps its entropy, so that its liar knows it."""
        life = self.lives[name] = self.lives.get(name, -1) + 1
        handle = self.handles[name] = Handle(self.disks[name])
        client = super().new_client(name, store or handle, **changes)
        if life:
            client._draw = FixedEntropy(f"{self.label}/{name}/life {life}")
        return client

    @property
    def honest(self) -> list[str]:
        """Clients that keep the rules."""
        return [name for name in self.names if name not in self.corrupt_names]

    def input_of(self, name: str) -> VectorInput:
        """A client's input: another one in each life; but a rolled-back host is given its last one again.

        It may have sent that one and forgotten, and what a rolled-back host sends is no promise of the product.
        """
        if name in self.rolled_back and name in self.sent:
            return VectorInput(self.sent[name], bits=self.config.ring_bits)
        words = self.inputs[self.names.index(name)] + self._word(self.lives[name])
        words &= self._word((1 << self.config.ring_bits) - 1)
        return VectorInput(words, bits=self.config.ring_bits)

    def _word(self, value: int) -> np.unsignedinteger:
        word: np.unsignedinteger = self.inputs.dtype.type(value)
        return word

    # Clients, watched.

    def hand(self, name: str, data: bytes) -> list[bytes]:
        """Hand a client one message; its input follows at once where it asks."""
        answers = self.tell(name, data)
        return answers + (self.give_input(name) if name in self.asked_input else [])

    def tell(self, name: str, data: bytes) -> list[bytes]:
        """Hand a client one message and return what it answers; nothing reaches one that is down."""
        if name in self.down:
            return []
        client = self.clients[name]
        closed, phase = client.closed, client._phase
        events = self._guarded(name, client, lambda: client.receive(data), misuse=closed)
        if name not in self.down and phase is not None and client._phase is not phase:
            require(phase._spent, "phases_are_single_use", f"{phase!r} of {name} answered and is not spent")
        return self._heard(name, client, data, events)

    def give_input(self, name: str) -> list[bytes]:
        """Hand a client its input and return the masked one."""
        self.asked_input.discard(name)
        client = self.clients[name]
        source = self.input_of(name)
        self.witness.provided[name] = source.read(0, source.length)
        events = self._guarded(name, client, lambda: client.provide(source), misuse=client.closed)
        return self._heard(name, client, None, events)

    def crash(self, name: str) -> None:
        """The process of a client ends; its disk stays."""
        self.handles[name].kill()
        self.down.add(name)
        self.asked_input.discard(name)

    def resume(self, name: str) -> list[bytes]:
        """Begin a client's next life from its disk, and return what it repeats."""
        self.down.discard(name)
        self.asked_input.discard(name)
        client = self.clients[name] = self.new_client(name)
        events = self._guarded(name, client, client.resume, misuse=False)
        return self._heard(name, client, b"", events)

    def leave(self, name: str) -> None:
        """A client leaves of itself."""
        client = self.clients[name]
        finished = client.closed and bool(client._answers)
        self.asked_input.discard(name)
        self._guarded(name, client, lambda: client.abort() or (), misuse=False)  # type: ignore[func-returns-value]  # events of none
        if name not in self.down:
            self._require_gone(name, client, finished=finished)

    def zombie(self, name: str, client: ClientRound, handle: Handle, data: bytes) -> list[bytes]:
        """Hand a message, and an input of its own, to a process of a former life that runs beside the present one."""
        self.haunted.add(name)
        self.tape.begin(name)
        try:
            events: tuple[Event, ...] = client.receive(data)
            if any(isinstance(event, NeedInput) for event in events):
                source = VectorInput(self.inputs[self.names.index(name)], bits=self.config.ring_bits)
                self.witness.provided[name] = source.read(0, source.length)
                events = client.provide(source)
                return self._heard(name, client, None, events)
        except MisuseError:
            return []
        except (StorageError, PowerLoss):
            invariants.i11_only_typed_errors(handle.failed or handle.dead, "a sound disk failed")
            return []
        finally:
            self.tape.party = ""
        return self._heard(name, client, data, events)

    def _guarded(self, name: str, client: ClientRound, call: object, *, misuse: bool) -> tuple[Event, ...]:
        """Call into the product; a power loss takes the client down, and only the errors that are due may come."""
        self.tape.begin(name)
        handle = self.handles[name]
        try:
            return call()  # type: ignore[operator,no-any-return]  # a call that returns events
        except PowerLoss:
            self.down.add(name)
        except MisuseError as error:
            invariants.i11_only_typed_errors(misuse or name in self.haunted, f"{name} misused: {error}")
        except StorageError as error:
            invariants.i11_only_typed_errors(handle.failed, f"{name} found its sound disk unsound: {error}")
            require(client.closed, "store_is_erased", f"{name} goes on without a record")
        except SecAggError as error:
            raise Breach("i11_only_typed_errors", f"{name}: {type(error).__name__} left the API") from error
        except Exception as error:  # this is the invariant: nothing but our own errors leaves the API
            raise Breach("i11_only_typed_errors", f"{name}: bare {type(error).__name__}: {error}") from error
        finally:
            self.tape.party = ""
        return ()

    def _heard(self, name: str, client: ClientRound, request: bytes | None, events: Iterable[Event]) -> list[bytes]:
        events = tuple(events)
        if name in self.down:
            return []
        if any(isinstance(event, NeedInput) for event in events) and not client.closed:
            self.asked_input.add(name)
        answers = [bytes(event.data) for event in events if isinstance(event, Send)]
        for event in events:
            if isinstance(event, Failed):
                self.failures[name] = event
                self._require_gone(name, client)
        self.tape.party = name
        self.tape.note_left(answers)
        self.tape.party = ""
        if request is None and answers:
            self.sent[name] = self.witness.provided[name]
        self.witness.hears(
            name, request, answers, disk=self.disks[name], rolled_back=name in self.rolled_back, client=client
        )
        return answers

    def require_forgotten(self, name: str) -> None:
        """A round that is over for a client is on no disk."""
        require(not self.disks[name].records, "store_is_erased", f"{name} has a record of a round that is over")

    def _require_gone(self, name: str, client: ClientRound, *, finished: bool = False) -> None:
        """A client that left holds no secret and no record, and no answer; one that finished may repeat its own."""
        held = client._root, None if client._channel is None else client._channel._key
        secrets = [secret for secret in held if secret is not None]
        gone = client.closed and client._phase is None and (finished or not client._answers)
        require(gone and all(secret._wiped for secret in secrets), "store_is_erased", f"{name} left unwiped")
        require(not self.disks[name].records, "store_is_erased", f"{name} left its record behind")

    def exact(self, rows: Iterable[Words]) -> list[int]:
        """The centered sum of ring vectors, in plain integers."""
        modulus = 1 << self.config.ring_bits
        totals = [sum(column) % modulus for column in zip(*(np.asarray(row).tolist() for row in rows), strict=True)]
        return [total - modulus if 2 * total >= modulus else total for total in totals]
