"""What is played: cells of clients, length and drop-outs, and the sets they come in."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from typing import Any, Final

from benchmarks.peers.catalog import DECLEARN, FLWR, FLWR_PLUS, OURS, TENSEAL, Party
from benchmarks.peers.station import Task

SPARSE_DEGREE: Final = 20
"""Neighbors on the k-regular graph: 21 holders of a secret, its owner among them."""

_SPARSE_THRESHOLD: Final = 8
_CLIENTS: Final = (10, 50, 100)
_LENGTHS: Final = (10_000, 100_000, 1_000_000)
_DROPPED: Final = (0, 10, 30)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One task and those who play it, ours first.

    Attributes:
        clients: n.
        length: coordinates of a vector.
        dropped_percent: how many of the clients fall silent before their masked vector, in percent.
        sparse: whether masks and shares go to SPARSE_DEGREE neighbors instead of everybody; ours is then semi-honest.
        peers: who plays beside ours.
    """

    clients: int
    length: int
    dropped_percent: int
    sparse: bool = False
    peers: tuple[Party, ...]

    @property
    def parties(self) -> tuple[Party, ...]:
        """Everyone who plays, in turn."""
        return (OURS, *self.peers)

    @property
    def label(self) -> str:
        """The cell in the names of figures, such as n100_1e6_drop10."""
        return f"n{self.clients}_{self.length:.0e}_drop{self.dropped_percent}".replace("e+0", "e")

    @property
    def task(self) -> Task:
        """The task, of one threshold for every party.

        On the complete graph it is the smallest against a lying server with a tenth of the clients on its side. On
        the k-regular graph it is the largest of which a round with 30 % drop-outs hardly ever has too few shares.
        """
        corrupt = self.clients // (20 if self.sparse else 10)
        return Task(
            clients=self.clients,
            length=self.length,
            dropped=self.clients * self.dropped_percent // 100,
            degree=SPARSE_DEGREE if self.sparse else self.clients - 1,
            threshold=_SPARSE_THRESHOLD if self.sparse else (self.clients + corrupt) // 2 + 1,
            corrupt=corrupt,
            active=not self.sparse,
        )

    def as_json(self) -> dict[str, Any]:
        """The cell's own numbers."""
        return {"label": self.label, "dropped_percent": self.dropped_percent, **asdict(self.task)}


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Cells to play in one go.

    Attributes:
        name: as on the command line.
        cells: in order.
        limit_s: wall-clock seconds a round may take; what takes longer is unfinished.
        rounds: rounds a party plays of a cell, in turn with the others.
        enough_s: wall-clock seconds after which a party plays no further round of a cell.
    """

    name: str
    cells: tuple[Cell, ...]
    limit_s: float
    rounds: int = 3
    enough_s: float = 20.0


def _everyone(clients: int, length: int, dropped_percent: int) -> Cell:
    peers = (FLWR, TENSEAL) if dropped_percent else (FLWR, TENSEAL, DECLEARN)
    return Cell(clients=clients, length=length, dropped_percent=dropped_percent, peers=peers)


def _sparse(clients: int, length: int, dropped_percent: int) -> Cell:
    return Cell(clients=clients, length=length, dropped_percent=dropped_percent, sparse=True, peers=(FLWR_PLUS,))


SMALL: Final = Selection(
    name="small",
    cells=(
        _everyone(10, 100_000, 0),
        _everyone(10, 100_000, 10),
        _sparse(100, 100_000, 10),
    ),
    limit_s=60.0,
    enough_s=8.0,
)
"""Finishes in a few minutes, environments included."""

GATES: Final = Selection(
    name="gates",
    cells=(
        *SMALL.cells,
        *(_sparse(100, 1_000_000, percent) for percent in _DROPPED),
        *(Cell(clients=100, length=length, dropped_percent=10, peers=(FLWR,)) for length in _LENGTHS[1:]),
    ),
    limit_s=900.0,
)
"""What the targets of `benchmarks.targets` need, and the small set."""

FULL: Final = Selection(
    name="full",
    cells=(
        *itertools.starmap(_everyone, itertools.product(_CLIENTS, _LENGTHS, _DROPPED)),
        *itertools.starmap(_sparse, itertools.product(_CLIENTS[1:], _LENGTHS, _DROPPED)),
    ),
    limit_s=900.0,
)
"""The whole table; an hour or more."""

SELECTIONS: Final = {selection.name: selection for selection in (SMALL, GATES, FULL)}
