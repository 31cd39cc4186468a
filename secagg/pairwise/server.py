"""The server's five phases: each collects one leg's messages and, when closed, returns the next phase and what to send.

    CollectingAdverts -> CollectingShares -> CollectingInputs -> CollectingSignatures -> CollectingUnmaskShares

Promise: a bad message moves nobody else. `receive` either admits a message whole or raises a `RemoteError` and leaves
the sum as it was; only `close` ends a leg, and only a leg closed below its floor ends the round. (A client can still
end a round by good messages with bad contents; docs/protocol.md, section 11, says how, and who is named.) Inputs go
into one accumulator as they arrive, so memory does not grow with the number of clients.

Nothing here does I/O or owns a clock: when to close a leg is the caller's decision.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from secagg.config import RoundConfig
from secagg.errors import RemoteError, StorageError, TooFewClients, Unexpected, Violation
from secagg.identity import Directory
from secagg.pairwise import checks
from secagg.pairwise.keys import Endpoint
from secagg.pairwise.messages import (
    Inbox,
    KeyAdvert,
    MaskedInput,
    Roster,
    SealedShares,
    SurvivorSet,
    SurvivorSignature,
    UnmaskRequest,
    UnmaskShares,
)
from secagg.pairwise.phase import Phase
from secagg.pairwise.recover import Recovery, Reports
from secagg.pairwise.roster import Joined, joined, roster_of
from secagg.rules import Rule
from secagg.store import Spool
from secagg.types import ClientId, Leg
from secagg.wire import pack_positions


@dataclass(frozen=True, slots=True, eq=False)
class Desk:
    """What the server keeps through all legs: the round, who is invited, who they are pinned as."""

    config: RoundConfig
    invited: tuple[ClientId, ...]
    directory: Directory

    @property
    def joining_floor(self) -> int:
        """Fewest clients that may reach the end of legs 0 and 1."""
        return max(self.config.plan.threshold, self.config.plan.min_survivors)

    def names(self, positions: Iterable[int]) -> tuple[ClientId, ...]:
        """The clients at these positions, ascending."""
        return tuple(self.invited[position] for position in sorted(positions))


class CollectingAdverts(Phase):
    """Leg 0: who joins, under which keys."""

    __slots__ = ("_adverts", "_desk", "_taken")

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self._adverts: dict[int, KeyAdvert] = {}
        self._taken: set[bytes] = set()

    @property
    def missing(self) -> frozenset[int]:
        """Positions that have not answered."""
        return frozenset(range(self._desk.config.plan.clients)) - self._adverts.keys()

    def receive(self, position: int, advert: KeyAdvert) -> None:
        """Admit one client's keys.

        Raises:
            RemoteError: the advert breaks a rule; nothing changed.
        """
        desk = self._desk
        _expect(missing=position in range(desk.config.plan.clients) and position not in self._adverts)
        values = checks.check_new_advert(
            advert,
            client=desk.invited[position],
            position=position,
            config=desk.config,
            directory=desk.directory,
            taken=self._taken,
        )
        self._taken.update(values)
        self._adverts[position] = advert

    def close(self) -> tuple[CollectingShares, Roster]:
        """End the leg.

        Raises:
            TooFewClients: fewer joined than the threshold or the survivor floor.
        """
        with self._answering():
            desk = self._desk
            if len(self._adverts) < desk.joining_floor:
                raise TooFewClients(Leg.ADVERTISE, got=len(self._adverts), need=desk.joining_floor)
            roster = roster_of(self._adverts, desk.config.plan.clients)
            return CollectingShares(desk, joined(desk.config, tuple(sorted(self._adverts)), roster)), roster


class CollectingShares(Phase):
    """Leg 1: who shared its secrets."""

    __slots__ = ("_boxes", "_desk", "_joined")

    def __init__(self, desk: Desk, joined: Joined) -> None:
        super().__init__()
        self._desk = desk
        self._joined = joined
        self._boxes: dict[int, dict[int, bytes]] = {}

    @property
    def missing(self) -> frozenset[int]:
        """Positions that have not answered."""
        return frozenset(self._joined.adverts.keys() - self._boxes.keys())

    def box_endpoint(self, position: int) -> Endpoint:
        """A joined client's signed box key, by which its channel is agreed."""
        return self._joined.box_endpoint(position)

    def receive(self, position: int, message: SealedShares) -> None:
        """Admit one client's boxes; the server cannot read them.

        Raises:
            RemoteError: not one box for each joined neighbor; nothing changed.
        """
        _expect(missing=position in self._joined.adverts and position not in self._boxes)
        self._boxes[position] = checks.check_sealed_shares(message, receivers=self._joined.neighbors(position))

    def close(self) -> tuple[CollectingInputs, dict[int, Inbox]]:
        """End the leg; each client that shared gets the boxes of its neighbors that shared.

        Raises:
            TooFewClients: fewer shared than the threshold or the survivor floor.
        """
        with self._answering():
            desk, boxes = self._desk, self._boxes
            if len(boxes) < desk.joining_floor:
                raise TooFewClients(Leg.SHARE, got=len(boxes), need=desk.joining_floor)
            senders = {
                receiver: tuple(peer for peer in self._joined.neighbors(receiver) if peer in boxes)
                for receiver in sorted(boxes)
            }
            inboxes = {
                receiver: Inbox(
                    senders=pack_positions(peers, desk.config.plan.clients),
                    boxes=b"".join(boxes[peer][receiver] for peer in peers),
                )
                for receiver, peers in senders.items()
            }
            sets = {receiver: frozenset(peers) for receiver, peers in senders.items()}
            return CollectingInputs(desk, self._joined, sets), inboxes


class CollectingInputs(Phase):
    """Leg 2: masked inputs, summed as they arrive.

    Args:
        desk: the round.
        joined: the roster.
        inboxes: for each client that shared, the senders of the boxes it was sent.
    """

    __slots__ = ("_accumulator", "_barred", "_counted", "_desk", "_inboxes", "_joined", "_open", "_reports", "_whole")

    def __init__(self, desk: Desk, joined: Joined, inboxes: dict[int, frozenset[int]]) -> None:
        super().__init__()
        self._desk = desk
        self._joined = joined
        self._inboxes = inboxes
        self._accumulator: npt.NDArray[np.unsignedinteger] = np.zeros(desk.config.length, dtype=desk.config.ring.word)
        self._open: dict[int, tuple[int, frozenset[int]]] = {}
        self._counted: dict[int, frozenset[int]] = {}
        self._reports: dict[int, frozenset[int]] = {}
        self._barred: set[int] = set()
        self._whole = True

    @property
    def missing(self) -> frozenset[int]:
        """Positions whose input is not complete and can still count."""
        return frozenset(self._inboxes.keys() - self._counted.keys() - self._barred)

    def receive(self, position: int, message: MaskedInput, tail: memoryview, spool: Spool) -> None:
        """Admit the next chunk of an input; the input counts when its last chunk is in.

        Raises:
            RemoteError: the chunk breaks a rule; the sum has not changed. Where inboxes conflict, the client is barred
                from this sum, and its report stays on record to name suspects should the round end without one.
        """
        config = self._desk.config
        _expect(missing=position in self._inboxes and position not in self._counted and position not in self._barred)
        expected, unopened = self._open.get(position, (0, frozenset()))
        checks.check_chunk(message, tail, config=config, expected=expected)
        reported = checks.check_unopened(message, config=config, inbox=self._inboxes[position])
        unopened = reported if expected == 0 else unopened
        self._reports[position] = unopened
        try:
            checks.check_no_conflict(position, unopened, counted=self._counted)
        except RemoteError:
            self._barred.add(position)
            self._open.pop(position, None)
            spool.discard(position)
            raise
        if expected == 0:
            spool.discard(position)  # a round that was cut short may have left chunks of its own there
        if expected + 1 < config.chunks:
            spool.append(position, tail)
            self._open[position] = (expected + 1, unopened)
            return
        self._add(itertools.chain(spool.take(position), (tail,)))
        self._open.pop(position, None)
        self._counted[position] = unopened

    def _add(self, chunks: Iterable[bytes | memoryview]) -> None:
        """Add a whole input to the sum, a chunk at a time; the contents of the spool are trusted, its sizes are not.

        Whatever stops this half-way leaves a part of an input in the sum: nothing is admitted or closed after it.
        """
        self._require_whole()
        config, self._whole = self._desk.config, False
        feed = iter(chunks)
        for index in range(config.chunks):
            start, stop = config.chunk_range(index)
            chunk = next(feed, b"")
            if len(chunk) != config.ring.packed_size(stop - start):
                raise StorageError(f"the spool did not give back chunk {index} as it was given")
            config.ring.add_packed(self._accumulator[start:stop], chunk)
        if next(feed, None) is not None:
            raise StorageError("the spool gave back more chunks than it was given")
        self._whole = True

    def _require_whole(self) -> None:
        if not self._whole:
            raise StorageError("the sum holds a part of an input: the spool failed while it was added")

    def close(self) -> tuple[CollectingSignatures, SurvivorSet]:
        """End the leg: the survivors are the clients whose input counts.

        Raises:
            TooFewClients: fewer than min_survivors; names clients whose boxes others could not open.
            StorageError: the spool failed while an input was added.
        """
        with self._answering():
            self._require_whole()
            desk, floor = self._desk, self._desk.config.plan.min_survivors
            reports = Reports(self._reports, desk.config.plan.max_corrupt)
            if len(self._counted) < floor:
                raise TooFewClients(
                    Leg.MASK,
                    got=len(self._counted),
                    need=floor,
                    suspects=desk.names(reports.proven),
                    disputes=tuple((desk.invited[one], desk.invited[other]) for one, other in reports.disputed),
                )
            survivors = frozenset(self._counted)
            opened = {position: self._inboxes[position] - unopened for position, unopened in self._counted.items()}
            sums = MaskedSum(self._accumulator, survivors, opened, reports)
            message = SurvivorSet(survivors=pack_positions(survivors, desk.config.plan.clients))
            return CollectingSignatures(desk, self._joined, sums), message


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class MaskedSum:
    """What leg 2 leaves: the sum of masked inputs and what has to be taken off it.

    Attributes:
        words: the accumulator, ring words not yet reduced.
        survivors: whose inputs are in it.
        opened: for each survivor, the clients it masks towards.
        reports: whose boxes did not open for whom.
    """

    words: npt.NDArray[np.unsignedinteger]
    survivors: frozenset[int]
    opened: dict[int, frozenset[int]]
    reports: Reports


class CollectingSignatures(Phase):
    """Leg 3: who confirms the survivor set."""

    __slots__ = ("_desk", "_joined", "_signatures", "_statement", "_sums")

    def __init__(self, desk: Desk, joined: Joined, sums: MaskedSum) -> None:
        super().__init__()
        self._desk = desk
        self._joined = joined
        self._sums = sums
        self._statement = checks.survivor_statement(desk.config.digest, joined.digest, sums.survivors)
        self._signatures: dict[int, bytes] = {}

    @property
    def survivors(self) -> frozenset[int]:
        """Positions whose input counts."""
        return self._sums.survivors

    @property
    def missing(self) -> frozenset[int]:
        """Survivors that have not answered; none where the plan needs no quorum."""
        return self._sums.survivors - self._signatures.keys() if self._desk.config.plan.quorum else frozenset()

    def receive(self, position: int, message: SurvivorSignature) -> None:
        """Admit one confirmation.

        Raises:
            RemoteError: not a survivor's signature over this survivor set; nothing changed.
        """
        desk = self._desk
        _expect(missing=position in self.missing)
        try:
            checks.check_survivor_signature(
                message, client=desk.invited[position], statement=self._statement, directory=desk.directory
            )
        except RemoteError as error:
            raise Violation(Rule.CONFIRM_SIGNATURE) from error
        self._signatures[position] = message.signature

    def close(self) -> tuple[CollectingUnmaskShares, UnmaskRequest]:
        """End the leg; the request goes to the clients that confirmed, or to all survivors where none needed to.

        Only a quorum of the signatures travels on: more would prove nothing and cost every client a verification.

        Raises:
            TooFewClients: fewer than quorum confirmed.
        """
        with self._answering():
            desk, quorum = self._desk, self._desk.config.plan.quorum
            if len(self._signatures) < quorum:
                raise TooFewClients(Leg.CONFIRM, got=len(self._signatures), need=quorum)
            signers = sorted(self._signatures)[:quorum]
            request = UnmaskRequest(
                signers=pack_positions(signers, desk.config.plan.clients),
                signatures=b"".join(self._signatures[signer] for signer in signers),
            )
            asked = frozenset(self._signatures) if quorum else self._sums.survivors
            return CollectingUnmaskShares(desk, self._joined, self._sums, asked), request


class CollectingUnmaskShares(Phase):
    """Leg 4: shares of one secret of each client."""

    __slots__ = ("_asked", "_desk", "_joined", "_revealed", "_sums")

    def __init__(self, desk: Desk, joined: Joined, sums: MaskedSum, asked: frozenset[int]) -> None:
        super().__init__()
        self._desk = desk
        self._joined = joined
        self._sums = sums
        self._asked = asked
        self._revealed: dict[int, dict[int, npt.NDArray[np.int64]]] = {}

    @property
    def asked(self) -> frozenset[int]:
        """Positions the request goes to."""
        return self._asked

    @property
    def missing(self) -> frozenset[int]:
        """Positions that have not answered."""
        return self._asked - self._revealed.keys()

    def receive(self, position: int, message: UnmaskShares) -> None:
        """Admit one client's shares.

        Raises:
            RemoteError: not one well-formed share for each client of its inbox and itself; nothing changed.
        """
        _expect(missing=position in self._asked and position not in self._revealed)
        dealers = tuple(sorted((*self._sums.opened[position], position)))
        self._revealed[position] = checks.check_unmask_shares(message, dealers=dealers)

    def close(self) -> Recovery:
        """End the leg; the recovery that comes back does the heavy work when run.

        Raises:
            TooFewClients: fewer than the threshold answered, or a secret has fewer shares than that.
        """
        with self._answering():
            desk, threshold = self._desk, self._desk.config.plan.threshold
            if len(self._revealed) < threshold:
                raise TooFewClients(Leg.UNMASK, got=len(self._revealed), need=threshold)
            return Recovery.prepare(
                config=desk.config,
                invited=desk.invited,
                joined=self._joined,
                words=self._sums.words,
                survivors=self._sums.survivors,
                opened=self._sums.opened,
                revealed=self._revealed,
                reports=self._sums.reports,
            )


def _expect(*, missing: bool) -> None:
    """Refuse a client that has answered this leg, or has no part in it: one not among `missing`."""
    if not missing:
        raise Unexpected(Rule.WIRE_ORDER, expected="no further message of this leg", got="one more")
