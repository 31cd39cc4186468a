"""Who masks with whom: the complete graph, or a k-regular one that nobody chose.

Promise: the k-regular graph is a function of public bytes that exist only after every key is advertised, so whoever
corrupts clients does so before the graph is known. It is a Harary graph on a random order (Bell et al. 2020,
section 3): each client is joined to the degree/2 positions on either side of it in a circle.

The circle is made of all invited positions. One that never joined counts as dropped, so the odds the plan certified
for n invited clients hold as stated.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from secagg.errors import ConfigError
from secagg.primitives import labels
from secagg.primitives.kdf import derive
from secagg.primitives.prg import STREAM_KEY_SIZE, reader
from secagg.primitives.secret import Secret

_WORDS = 1 << 64


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph over positions 0..clients-1.

    Attributes:
        clients: number of positions, the invited.
        degree: neighbors of every position; clients - 1 on the complete graph.
        circle: the random order of positions; empty on the complete graph, where order means nothing.
        places: where each position stands in the circle.
    """

    clients: int
    degree: int
    circle: tuple[int, ...] = ()
    places: tuple[int, ...] = ()

    def neighbors(self, position: int) -> tuple[int, ...]:
        """Return the neighbors of `position` in ascending order, itself left out."""
        if not self.circle:
            return tuple(other for other in range(self.clients) if other != position)
        place, reach = self.places[position], self.degree // 2
        around = (self.circle[(place + step) % self.clients] for step in range(-reach, reach + 1) if step)
        return tuple(sorted(around))


def complete(clients: int) -> Graph:
    """The graph in which everyone masks with everyone."""
    return Graph(clients=clients, degree=clients - 1)


@functools.lru_cache(maxsize=8)  # all clients of a simulation ask for the same public graph
def regular(clients: int, degree: int, seed: bytes) -> Graph:
    """The k-regular Harary graph on a uniformly random order drawn from a public seed.

    Args:
        clients: positions in the circle.
        degree: even, 2 <= degree < clients - 1.
        seed: 32 public bytes, the digest of config and signed adverts.

    Raises:
        ConfigError: the degree is odd or out of range.
    """
    if degree % 2 or not 2 <= degree < clients - 1:
        raise ConfigError(f"degree must be even, from 2 to {clients - 2} for {clients} clients, got {degree}")
    circle = permutation(clients, seed)
    places = np.empty(clients, dtype=np.int64)
    places[list(circle)] = np.arange(clients)
    return Graph(clients=clients, degree=degree, circle=circle, places=tuple(places.tolist()))


def permutation(count: int, seed: bytes) -> tuple[int, ...]:
    """Shuffle 0..count-1 by Fisher and Yates (Knuth, TAOCP volume 2, 3.4.2, algorithm P).

    Each swap index is drawn by rejection from 64-bit little-endian words of an AES-CTR stream, so every order is
    equally likely if the stream is uniform.
    """
    words = _words(seed, count)
    order = list(range(count))
    for last in range(count - 1, 0, -1):
        choices = last + 1
        word = next(words)
        while word >= _WORDS - _WORDS % choices:
            word = next(words)
        swap = word % choices
        order[last], order[swap] = order[swap], order[last]
    return tuple(order)


def _words(seed: bytes, batch: int) -> Iterator[int]:
    """Yield uniform 64-bit words from a public seed without end, `batch` of them at a time."""
    read = reader(derive(Secret(seed), salt=b"", label=labels.GRAPH, length=STREAM_KEY_SIZE))
    while True:
        yield from np.frombuffer(read(8 * batch), dtype="<u8").tolist()
