"""declearn's party: its masking-based secure aggregation, set up by its own X3DH routine, messages handed over.

Runs in declearn's own environment. Nothing of the protocol is written here: identity keys, key agreement,
quantization, masks, messages and their serialization are declearn's. What stands in for the network are two endpoints
that hand bytes over, and a loop that lets every party run until it waits for a message. The set-up serves as many
rounds as its clients stay for, so it is counted apart from the round.
"""

# mypy: disable-error-code="import-not-found, misc"
# declearn is installed where this module runs, which is not where it is type-checked.

from __future__ import annotations

import collections
from collections.abc import Coroutine, Generator, Mapping
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from declearn.aggregator import AveragingAggregator
from declearn.messaging import Message, SerializedMessage, TrainReply
from declearn.model.sklearn import NumpyVector
from declearn.secagg.masking import MaskingEncrypter, MaskingSecaggConfigClient, MaskingSecaggConfigServer
from declearn.secagg.messaging import SecaggTrainReply, aggregate_secagg_messages
from declearn.secagg.utils import IdentityKeys

from benchmarks.peers.station import CLIP, SERVER, Meter, Task, serve

_BITS = 32
_EXPAND = "_generate_masks_numpy"


class NotForDropOutsError(Exception):
    """The scheme sums what all of its clients send; there is no round with some of them missing."""


def play(task: Task, meter: Meter) -> npt.NDArray[Any]:
    """One round of declearn."""
    if task.dropped:
        raise NotForDropOutsError("the scheme needs every client's masked vector")
    with mock.patch.object(MaskingEncrypter, _EXPAND, meter.masking(getattr(MaskingEncrypter, _EXPAND))):
        office = _Office(task, meter)
        meter.setting_up = True
        decrypter, encrypters = office.set_up()
        meter.setting_up = False
        replies = {}
        for number, encrypter in enumerate(encrypters):
            data = _encrypt(task, meter, number, encrypter)
            meter.send(number, len(data))
            with meter.on(SERVER):
                replies[_name(number)] = SerializedMessage.from_bin_message(data).deserialize()
        with meter.on(SERVER):
            total = aggregate_secagg_messages(replies, decrypter)
            mean = AveragingAggregator(steps_weighted=False).finalize_updates(total.updates)
    return np.asarray(mean.coefs["update"])


def _encrypt(task: Task, meter: Meter, number: int, encrypter: Any) -> bytes:
    vector = NumpyVector({"update": task.vector(number)})
    with meter.peak.of_client(), meter.on(number):
        updates = AveragingAggregator(steps_weighted=False).prepare_for_sharing(vector, 1)
        reply = TrainReply(n_epoch=1, n_steps=1, t_spent=0.0, updates=updates, aux_var={})
        return bytes(SecaggTrainReply.from_cleartext_message(reply, encrypter).serialize())


def _name(number: int) -> str:
    return f"client-{number:04d}"


class _Wait:
    """Awaited by a party that needs a message and has none; the office runs the others meanwhile."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class _Office:
    """Everyone of a set-up, and the bytes between them."""

    def __init__(self, task: Task, meter: Meter) -> None:
        self._task, self._meter = task, meter
        self.names = [_name(number) for number in range(task.clients)]
        self.to_client: dict[str, collections.deque[bytes]] = {name: collections.deque() for name in self.names}
        self.to_server: dict[str, collections.deque[bytes]] = {name: collections.deque() for name in self.names}
        private = [Ed25519PrivateKey.generate() for _ in self.names]
        trusted = [key.public_key() for key in private]
        self._keys = [
            IdentityKeys(key, trusted=[other for other in trusted if other is not public])
            for key, public in zip(private, trusted, strict=True)
        ]

    def set_up(self) -> tuple[Any, list[Any]]:
        """Run the set-up to its end: the server's decrypter and every client's encrypter."""
        server = MaskingSecaggConfigServer(bitsize=_BITS, clipval=CLIP)
        parties: dict[int | str, Coroutine[Any, Any, Any]] = {
            SERVER: server.setup_decrypter(_ServerEnd(self), set(self.names))
        }
        parties |= {number: self._join(number) for number in range(self._task.clients)}
        done: dict[int | str, Any] = {}
        while len(done) < len(parties):
            for party, coroutine in parties.items():
                if party not in done:
                    self._run(party, coroutine, done)
        return done[SERVER], [done[number] for number in range(self._task.clients)]

    def _run(self, party: int | str, coroutine: Coroutine[Any, Any, Any], done: dict[int | str, Any]) -> None:
        with self._meter.on(party):
            try:
                coroutine.send(None)
            except StopIteration as end:
                done[party] = end.value

    async def _join(self, number: int) -> Any:
        end = _ClientEnd(self, self.names[number])
        config = MaskingSecaggConfigClient(id_keys=self._keys[number])
        return await config.setup_encrypter(end, await end.recv_message())


class _ServerEnd:
    """The server's end of the network, as the set-up uses it."""

    def __init__(self, office: _Office) -> None:
        self._office = office
        self.client_names = set(office.names)

    async def broadcast_message(self, message: Message, clients: set[str] | None = None) -> None:
        """Send one message to many clients."""
        data = message.serialize()
        for name in clients or self.client_names:
            self._office.to_client[name].append(data)

    async def send_messages(self, messages: Mapping[str, Message]) -> None:
        """Send each client a message of its own."""
        for name, message in messages.items():
            self._office.to_client[name].append(message.serialize())

    async def wait_for_messages(self, clients: set[str] | None = None) -> dict[str, SerializedMessage]:
        """Wait for one message of every client."""
        boxes = {name: self._office.to_server[name] for name in clients or self.client_names}
        while not all(boxes.values()):
            await _Wait()
        return {name: SerializedMessage.from_bin_message(box.popleft()) for name, box in boxes.items()}


class _ClientEnd:
    """A client's end of the network, as the set-up uses it."""

    def __init__(self, office: _Office, name: str) -> None:
        self._office, self._name = office, name

    async def send_message(self, message: Message) -> None:
        """Send a message to the server."""
        self._office.to_server[self._name].append(message.serialize())

    async def recv_message(self) -> SerializedMessage:
        """Wait for the server's next message."""
        box = self._office.to_client[self._name]
        while not box:
            await _Wait()
        return SerializedMessage.from_bin_message(box.popleft())


if __name__ == "__main__":
    serve(play, distributions=("declearn", "numpy", "cryptography"))
