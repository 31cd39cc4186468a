"""`ServerRound`: the server's part in one round, as bytes in and events out.

Promise: a client's bad message is an event (`Rejected`) and an unchanged round. Only closing a leg below its floor
ends the round, with `Failed`. When to close a leg is the driver's decision: when `waiting_for` is empty, or when its
clock says so.

The server is trusted with nothing here: every rule that protects a client is enforced by the client. What this class
guards is that an honest server's round comes to its sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import Final, NoReturn

from secagg import wire
from secagg.config import RoundConfig, invited_digest, sorted_invited
from secagg.errors import (
    ConfigError,
    Malformed,
    MisuseError,
    RemoteError,
    RoundAborted,
    StorageError,
    Unauthentic,
    Unexpected,
    Violation,
    detached,
)
from secagg.identity import Directory
from secagg.pairwise import server as phases
from secagg.pairwise.channel import Channel, Direction
from secagg.pairwise.messages import (
    NAMES,
    KeyAdvert,
    MaskedInput,
    RoundOffer,
    SealedShares,
    SurvivorSignature,
    UnmaskShares,
    open_message,
)
from secagg.pairwise.phase import Phase
from secagg.pairwise.recover import Recovery
from secagg.primitives import agreement
from secagg.primitives.secret import Secret
from secagg.primitives.suite import ROUND_SECRET_SIZE
from secagg.round.events import Events, Failed, Finished, Rejected, Send
from secagg.rules import Rule
from secagg.store import MemorySpool, Spool
from secagg.types import SERVER, ClientId, Leg, system_entropy

# The leg each phase collects, and the message it collects.
_LEGS: Final[Mapping[type[Phase], tuple[Leg, type[wire.Message]]]] = {
    phases.CollectingAdverts: (Leg.ADVERTISE, KeyAdvert),
    phases.CollectingShares: (Leg.SHARE, SealedShares),
    phases.CollectingInputs: (Leg.MASK, MaskedInput),
    phases.CollectingSignatures: (Leg.CONFIRM, SurvivorSignature),
    phases.CollectingUnmaskShares: (Leg.UNMASK, UnmaskShares),
}


class ServerRound:
    """The server's part in one round.

    `rejected` keeps the first refusal of each invited client and rule, `rejections` counts them all.

    Args:
        config: the round, as `RoundConfig.create` wrote it.
        invited: the invited clients' names, in any order.
        directory: the identities the server believes; adverts of others are refused.
        spool: where chunks of open uploads wait; in memory unless given.

    Raises:
        ConfigError: the invited list is not the one the config was written for.
    """

    _draw = staticmethod(system_entropy)
    """Where the channel key comes from. Not an argument: only the subclass in `secagg.testing` has another source."""

    def __init__(
        self,
        config: RoundConfig,
        *,
        invited: Sequence[str],
        directory: Directory,
        spool: Spool | None = None,
    ) -> None:
        names = sorted_invited(invited)
        if len(names) != config.plan.clients or invited_digest(names) != config.invited_digest:
            raise ConfigError("invited is not the list the config was written for; pass the same names to both")
        self.config = config
        self.invited = names
        self.rejected: list[Rejected] = []
        self.rejections = 0
        self._refused: set[tuple[str, Rule]] = set()
        self._positions = {name: position for position, name in enumerate(names)}
        self._spool: Spool = MemorySpool() if spool is None else spool
        self._phase: Phase | None = phases.CollectingAdverts(phases.Desk(config, names, directory))
        self._private = Secret(self._draw(ROUND_SECRET_SIZE))
        self._public = agreement.public_key(self._private)
        self._channels: dict[int, Channel] = {}
        self._started = False
        self._recovery: Recovery | None = None
        self._outcome: Finished | Failed | None = None

    # What a driver calls.

    @property
    def leg(self) -> Leg:
        """The leg being collected; UNMASK once all are."""
        return Leg.UNMASK if self._phase is None else _LEGS[type(self._phase)][0]

    @property
    def waiting_for(self) -> frozenset[ClientId]:
        """Clients that can still answer this leg; empty when nothing more can come."""
        match self._phase:
            case (
                phases.CollectingAdverts()
                | phases.CollectingShares()
                | phases.CollectingInputs()
                | phases.CollectingSignatures()
                | phases.CollectingUnmaskShares()
            ) as phase:
                return frozenset(self.invited[position] for position in phase.missing)
        return frozenset()

    @property
    def ready(self) -> bool:
        """Whether every leg is closed and `recover` is what comes next."""
        return self._recovery is not None

    @property
    def outcome(self) -> Finished | Failed | None:
        """How the round ended, or None while it runs."""
        return self._outcome

    def start(self) -> Events:
        """Offer the round to everyone invited.

        Raises:
            MisuseError: it was started already.
        """
        if self._started:
            raise MisuseError("the round was started already; a repeated offer is the driver's to resend")
        self._started = True
        offer = RoundOffer(config=self.config.encoded, invited=list(self.invited), server_key=self._public)
        data = self._front(offer)
        return tuple(Send(client, data) for client in self.invited)

    def receive(self, sender: str, data: bytes) -> Events:
        """Take one message of a client, named by the transport that authenticated it.

        Returns:
            Nothing where it was admitted, else `Rejected` with the rule it broke. The round is as it was, but for one
            rule: a client whose inbox conflicts with a counted one is barred from the sum (`inbox-conflict`).

        Raises:
            StorageError: the spool lost a chunk or could not keep one; the round has failed.
        """
        try:
            self._take(sender, data)
        except RemoteError as error:
            return (self._reject(sender, error),)
        except StorageError as error:
            self._fail(RoundAborted(self.leg, f"the spool failed: {error}"))
            raise
        return ()

    def close_leg(self) -> Events:
        """End the leg being collected and open the next; cheap, and the verdict on the floor.

        Returns:
            What to send; `Failed` where too few answered. After the last leg nothing, and `ready` is true.

        Raises:
            MisuseError: not started, over, or waiting for `recover`.
            StorageError: the spool failed; the round has.
        """
        if not self._started or self._phase is None:
            raise MisuseError("no leg is open: start the round first, and recover after the last leg")
        try:
            return self._advance(self._phase)
        except RoundAborted as error:
            return self._fail(error)
        except StorageError as error:
            self._fail(RoundAborted(self.leg, f"the spool failed: {error}"))
            raise

    def recover(self, executor: Executor | None = None, *, workers: int = 1) -> Events:
        """Rebuild the secrets, take every mask off and return the aggregate in `Finished`, or `Failed`.

        Args:
            executor: threads to expand masks on, `workers` of them; none unless given.
            workers: see `executor`.

        Raises:
            MisuseError: not every leg is closed, or it was called before.
            ConfigError: workers do not fit the executor; call again with right ones.
        """
        if self._recovery is None:
            raise MisuseError("nothing to recover: close every leg first; a round is recovered once")
        try:
            aggregate = self._recovery.run(executor=executor, workers=workers)
        except RoundAborted as error:
            return self._fail(error)
        except ConfigError:
            raise  # nothing was touched yet
        except BaseException:
            self._fail(RoundAborted(self.leg, "recovery broke off with some of the masks removed"))
            raise
        return self._end(Finished(aggregate))

    def abort(self, reason: str) -> Events:
        """End the round without a sum; clients learn of it from the driver, or by silence."""
        return self._fail(RoundAborted(self.leg, reason)) if self._outcome is None else ()

    def __repr__(self) -> str:
        return f"<ServerRound {self.config.round}, {self.leg.name.lower()}{', over' if self._outcome else ''}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise MisuseError("a round is never pickled or copied")

    # How a message is admitted.

    def _reject(self, sender: str, error: RemoteError) -> Rejected:
        """Count every refusal and keep the first of each client and rule: a client cannot fill the server's memory."""
        rejected = Rejected(sender, detached(error).located(peer=sender, leg=self.leg))
        self.rejections += 1
        if sender in self._positions and (sender, error.rule) not in self._refused:
            self._refused.add((sender, error.rule))
            self.rejected.append(rejected)
        return rejected

    def _take(self, sender: str, data: bytes) -> None:
        position = self._positions.get(ClientId(sender))
        if position is None:
            raise Unauthentic(Rule.WIRE_SENDER, "not invited to this round")
        phase = self._phase
        if phase is None or not self._started:
            raise Unexpected(Rule.WIRE_ORDER, expected="nothing", got="a message")
        kind = _LEGS[type(phase)][1]
        envelope = open_message(data, config=self.config)
        if envelope.kind != kind.KIND:
            raise Unexpected(Rule.WIRE_ORDER, expected=kind.__name__, got=NAMES.get(envelope.kind, "no known kind"))
        if envelope.config_digest != self.config.digest:
            raise Violation(Rule.WIRE_ROUND)
        if envelope.sender != position:
            raise Violation(Rule.WIRE_SENDER, "the envelope names another position")
        if len(envelope.tail) and kind is not MaskedInput:
            raise Malformed(Rule.WIRE_FORMAT, "bytes after the message")
        message = wire.decode_body(kind, envelope.body)
        self._authenticate(position, message, envelope)
        self._admit(phase, position, message, envelope.tail)

    def _authenticate(self, position: int, message: wire.Message, envelope: wire.Envelope) -> None:
        """An advert is signed; everything after it is tagged by the channel the advert opened."""
        if isinstance(message, KeyAdvert):
            return
        channel = self._channels.get(position)
        index = message.chunk if isinstance(message, MaskedInput) else 0
        if channel is None or not channel.verifies(
            Direction.UP, message.KIND, envelope.tagged, envelope.tag, index=index
        ):
            raise Unauthentic(Rule.WIRE_TAG)

    def _admit(self, phase: Phase, position: int, message: wire.Message, tail: memoryview) -> None:
        match phase, message:
            case phases.CollectingAdverts(), KeyAdvert():
                phase.receive(position, message)
            case phases.CollectingShares(), SealedShares():
                phase.receive(position, message)
            case phases.CollectingInputs(), MaskedInput():
                phase.receive(position, message, tail, self._spool)
            case phases.CollectingSignatures(), SurvivorSignature():
                phase.receive(position, message)
            case phases.CollectingUnmaskShares(), UnmaskShares():
                phase.receive(position, message)

    # How a leg ends.

    def _advance(self, phase: Phase) -> Events:
        match phase:
            case phases.CollectingAdverts():
                self._phase, roster = phase.close()
                self._open_channels(self._phase)
                return self._to(self._phase.missing, roster)
            case phases.CollectingShares():
                self._phase, inboxes = phase.close()
                return tuple(self._send(to, inbox.KIND, self._front(inbox)) for to, inbox in inboxes.items())
            case phases.CollectingInputs():
                for position in phase.missing:
                    self._spool.discard(position)
                confirming, survivors = phase.close()
                self._phase = confirming
                sends = self._to(confirming.survivors, survivors)
                # Where no quorum is needed nothing is waited for: the request goes out with the set.
                return sends if self.config.plan.quorum else sends + self._advance(confirming)
            case phases.CollectingSignatures():
                unmasking, request = phase.close()
                self._phase = unmasking
                return self._to(unmasking.asked, request)
            case phases.CollectingUnmaskShares():
                self._recovery = phase.close()
                self._phase = None
        return ()

    def _fail(self, error: RoundAborted) -> Events:
        if self._phase is not None:
            self._phase.abandon()
        return self._end(Failed(detached(error)))

    def _end(self, outcome: Finished | Failed) -> Events:
        """Keep the outcome, and nothing that could still speak."""
        self._phase, self._recovery, self._outcome = None, None, outcome
        self._private.wipe()
        for channel in self._channels.values():
            channel.wipe()
        self._channels.clear()
        return (outcome,)

    def _open_channels(self, phase: phases.CollectingShares) -> None:
        for position in phase.missing:
            self._channels[position] = Channel.of_server(
                self._private,
                public=self._public,
                client=phase.box_endpoint(position),
                config_digest=self.config.digest,
            )

    def _front(self, message: wire.Message) -> bytes:
        return wire.front(message, config_digest=self.config.digest, sender=SERVER)

    def _to(self, positions: frozenset[int], message: wire.Message) -> Events:
        """One message for many clients: its bytes once, a tag each."""
        data = self._front(message)
        return tuple(self._send(position, message.KIND, data) for position in sorted(positions))

    def _send(self, position: int, kind: int, data: bytes) -> Send:
        return Send(self.invited[position], data, self._channels[position].tag(Direction.DOWN, kind, data))
