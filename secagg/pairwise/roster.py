"""What a roster says, worked out once: who joined, under which keys, on which graph, with which digest.

Client and server build the same `Joined` from the same bytes; nothing in it is secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from secagg import graph
from secagg.config import RoundConfig
from secagg.pairwise.keys import Endpoint
from secagg.pairwise.messages import KeyAdvert, Roster
from secagg.primitives import labels
from secagg.primitives.kdf import digest
from secagg.wire import encode_body, pack_positions


@dataclass(frozen=True, slots=True, eq=False)
class Joined:
    """The joined clients of a round.

    Attributes:
        adverts: every joined position's advert, in ascending position order.
        digest: SHA-256 over config digest and roster; part of every pair's key context.
        graph: who is joined to whom, over all invited positions.
    """

    adverts: Mapping[int, KeyAdvert]
    digest: bytes
    graph: graph.Graph

    def neighbors(self, position: int) -> tuple[int, ...]:
        """The joined neighbors of a position, ascending, itself left out."""
        return tuple(other for other in self.graph.neighbors(position) if other in self.adverts)

    def mask_endpoint(self, position: int) -> Endpoint:
        """A client's side of its pairwise masks."""
        return Endpoint(position, self.adverts[position].mask_key)

    def box_endpoint(self, position: int) -> Endpoint:
        """A client's side of its share boxes."""
        return Endpoint(position, self.adverts[position].box_key)


def roster_of(adverts: Mapping[int, KeyAdvert], clients: int) -> Roster:
    """Write the roster message of a set of adverts."""
    ordered = [adverts[position] for position in sorted(adverts)]
    return Roster(joined=pack_positions(adverts, clients), adverts=ordered)


def joined(config: RoundConfig, positions: tuple[int, ...], roster: Roster) -> Joined:
    """Work out a roster whose positions and adverts were checked.

    The graph's seed is a hash of the config digest and every signed advert in order, so it exists only after the
    last key is advertised; the complete graph needs none.
    """
    adverts = dict(zip(positions, roster.adverts, strict=True))
    roster_digest = digest(labels.ROSTER_DIGEST, config.digest, encode_body(roster))
    return Joined(adverts, roster_digest, _graph(config, roster_digest))


def _graph(config: RoundConfig, roster_digest: bytes) -> graph.Graph:
    plan = config.plan
    if plan.complete:
        return graph.complete(plan.clients)
    return graph.regular(plan.clients, plan.degree, digest(labels.GRAPH_SEED, config.digest, roster_digest))
