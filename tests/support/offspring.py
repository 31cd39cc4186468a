"""What processes that come from one another draw: `python -m tests.support.offspring fork`, or spawn, or forkserver.

The parent draws once of everything that is drawn at random, and keeps what could be inherited: a generator of noise in
the middle of its stream, rounds that wait for an offer. Then children are started and draw the same things. One JSON
object: what is drawn -> what each process got, in hexadecimal. A process of its own for the parent, because threads of
a test runner and fork do not go together.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkContext, ForkServerContext, SpawnContext

import numpy as np

from dp.noise import DiscreteGaussian, Skellam
from dp.randomness import SystemRandomness, new_words
from secagg import wire
from secagg.identity import Identity
from secagg.pairwise.messages import KeyAdvert, RoundOffer
from secagg.plan import Plan
from secagg.round.client import ClientRound
from secagg.round.events import Send
from secagg.round.server import ServerRound
from secagg.testing.plans import LaxPolicy
from secagg.testing.table import Table
from secagg.types import system_entropy

CONTEXTS: Mapping[str, ForkContext | SpawnContext | ForkServerContext] = {
    "fork": multiprocessing.get_context("fork"),
    "spawn": multiprocessing.get_context("spawn"),
    "forkserver": multiprocessing.get_context("forkserver"),
}
CHILDREN = 3
NOISE = 64

Drawn = dict[str, str]


class Household:
    """What a process passes on: a round's table, rounds that have not begun, a generator in use."""

    def __init__(self) -> None:
        self.table = Table(Plan.find(clients=3, max_dropped=0, max_corrupt=0), np.zeros((3, 4), dtype=np.uint32))
        self.waiting = self.new_round()
        self.generator = SystemRandomness()
        new_words(self.generator, 4)

    def new_round(self) -> ClientRound:
        """A round whose secret comes from the operating system, unlike the table's own."""
        name = self.table.names[0]
        return ClientRound(
            client=name,
            identity=self.table.identities[name],
            directory=self.table.directory,
            recipe=self.table.recipe,
            policy=LaxPolicy(),
        )

    def draw(self) -> Drawn:
        """One of everything; the same code in parent and children."""
        server = ServerRound(self.table.config, invited=self.table.names, directory=self.table.directory)
        offer = next(bytes(event.data) for event in server.start() if isinstance(event, Send))
        inherited, fresh = advert_of(self.waiting, offer), advert_of(self.new_round(), offer)
        return {
            "entropy": system_entropy(32).hex(),
            "identity": Identity.generate().public.hex(),
            "server key": body_of(RoundOffer, offer).server_key.hex(),
            "mask key, round from before": inherited.mask_key.hex(),
            "box key, round from before": inherited.box_key.hex(),
            "seed commitment, round from before": inherited.seed_commitment.hex(),
            "mask key": fresh.mask_key.hex(),
            "box key": fresh.box_key.hex(),
            "seed commitment": fresh.seed_commitment.hex(),
            "words, generator from before": new_words(self.generator, 4).tobytes().hex(),
            "words": new_words(SystemRandomness(), 4).tobytes().hex(),
            "Skellam noise": Skellam(variance=1e6).sample(NOISE).tobytes().hex(),
            "discrete Gaussian noise": DiscreteGaussian(sigma=1e3).sample(NOISE).tobytes().hex(),
        }


def body_of(kind: type[wire.AnyMessage], data: bytes) -> wire.AnyMessage:
    return wire.decode_body(kind, wire.open_envelope(data, max_size=len(data)).body)


def advert_of(client: ClientRound, offer: bytes) -> KeyAdvert:
    (answer,) = client.receive(offer)
    if not isinstance(answer, Send):
        raise TypeError("the offer was refused")
    return body_of(KeyAdvert, bytes(answer.data))


_household: Household | None = None  # what a forked child finds; a spawned one makes its own


def draw_in_child(channel: Connection) -> None:
    household = Household() if _household is None else _household
    channel.send(household.draw())
    channel.close()


def draw_everywhere(method: str) -> list[Drawn]:
    """What children and then the parent drew."""
    global _household  # noqa: PLW0603  # a forked child inherits what stands in a module, and nothing else is passed
    _household = Household()
    context = CONTEXTS[method]
    drawn: list[Drawn] = []
    for _ in range(CHILDREN):
        receiving, sending = context.Pipe(duplex=False)
        child = context.Process(target=draw_in_child, args=(sending,))
        child.start()
        drawn.append(receiving.recv())
        child.join()
    return [*drawn, _household.draw()]


def main(arguments: Sequence[str]) -> int:
    """Draw, and print what was drawn."""
    (method,) = arguments
    drawn = draw_everywhere(method)
    print(json.dumps({what: [process[what] for process in drawn] for what in drawn[0]}))  # noqa: T201  # the answer
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
