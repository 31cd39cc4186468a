"""`ClientRound`: one client's part in one round, as bytes in and events out.

Promise: it records what it needs to resume before it answers; it answers an identical repeated request with identical
bytes; on anything else it does not expect it closes, wipes its secrets and erases its record. It never answers two
different requests of one leg.
"""

from __future__ import annotations

import functools
from collections.abc import Generator, Mapping
from concurrent.futures import Executor
from typing import Final, NoReturn

from secagg import wire
from secagg.config import RoundConfig, Summable, instructions_digest
from secagg.errors import (
    ConfigError,
    Malformed,
    MisuseError,
    RemoteError,
    SecAggError,
    StorageError,
    Unauthentic,
    Unexpected,
    Violation,
    detached,
)
from secagg.identity import Directory, Identity, client_id
from secagg.pairwise import checks
from secagg.pairwise import client as phases
from secagg.pairwise.channel import TAG_SIZE, Channel, Direction
from secagg.pairwise.messages import (
    FROM_SERVER,
    MAX_OFFER_SIZE,
    NAMES,
    Inbox,
    MaskedInput,
    Roster,
    RoundOffer,
    SurvivorSet,
    UnmaskRequest,
    max_size,
    open_message,
)
from secagg.pairwise.outgoing import InstructedSource, MaskedMessages, MaskSource, RecipeSource
from secagg.pairwise.phase import Phase
from secagg.policy import Policy
from secagg.primitives import labels
from secagg.primitives.kdf import digest
from secagg.primitives.secret import Secret
from secagg.primitives.suite import ROUND_SECRET_SIZE
from secagg.round.events import Events, Failed, Finished, NeedInput, Send, Stream
from secagg.round.journal import Entry, Journal, Kind, answer_digest
from secagg.rules import Rule
from secagg.store import MemoryStore, RoundStore
from secagg.types import SERVER, Leg, system_entropy

# What a client in each phase waits for, and the leg it belongs to.
_LEGS: Final[Mapping[type[Phase], tuple[Leg, type[wire.Message]]]] = {
    phases.AwaitingRoster: (Leg.ADVERTISE, Roster),
    phases.AwaitingInbox: (Leg.SHARE, Inbox),
    phases.AwaitingInput: (Leg.MASK, SurvivorSet),
    phases.AwaitingSurvivors: (Leg.MASK, SurvivorSet),
    phases.AwaitingUnmask: (Leg.CONFIRM, UnmaskRequest),
}

_LATER: Final = tuple(kind for kind in FROM_SERVER if kind is not RoundOffer)


class ClientRound:
    """One client's part in one round.

    Args:
        client: this client's name.
        identity: its signing identity, pinned in everyone's directory.
        directory: the identities it believes.
        recipe: what it is willing to have summed.
        instructions: every byte it will execute by, the model included, as it holds them; see
            `secagg.config.instructions_digest`.
        policy: its floors.
        store: where the round's record is kept; in memory unless given.
        keep_input: keep the masked input for a repeated request. Without it such a repeat ends the round for this
            client, as a drop-out.
        stream: hand the masked input over as one `Stream`, which makes each message when it is asked for, instead of
            as one `Send` a chunk: for inputs too large to stand in memory masked. Until the last one is made, nothing
            the server says is waited for; what it says before then ends the input. So does whatever the input raises:
            a part of it may have left, so there is no second try in this round.
        executor: threads to expand masks on, `workers` of them; none unless given.
        workers: see `executor`.

    Raises:
        ConfigError: the name is not a client id, or the directory pins another key to it, or none; or keep_input and
            stream are both given.
    """

    _draw = staticmethod(system_entropy)
    """Where round secrets come from. Not an argument: only the subclass in `secagg.testing` has another source."""

    def __init__(
        self,
        *,
        client: str,
        identity: Identity,
        directory: Directory,
        recipe: Summable,
        instructions: bytes = b"",
        policy: Policy | None = None,
        store: RoundStore | None = None,
        keep_input: bool = False,
        stream: bool = False,
        executor: Executor | None = None,
        workers: int = 1,
    ) -> None:
        self.client = client_id(client)
        if directory.key_of(self.client) != identity.public:
            raise ConfigError(
                f"the directory does not pin this identity to client={client!r}: every peer would refuse it"
            )
        self._identity = identity
        self._directory = directory
        self._recipe = recipe
        self._instructions_digest = instructions_digest(instructions)
        self._policy = Policy() if policy is None else policy
        self._journal = Journal(MemoryStore() if store is None else store)
        if keep_input and stream:
            raise ConfigError("keep_input=True holds the masked input whole, stream=True never does: choose one")
        self._keep_input = keep_input
        self._stream = stream
        self._executor = executor
        self._workers = workers
        self._seat: phases.Seat | None = None
        self._root: Secret | None = None
        self._channel: Channel | None = None
        self._phase: Phase | None = None
        self._source: MaskSource | None = None
        self._outgoing: MaskedMessages | None = None
        self._inbox_request = b""
        self._answers: dict[bytes, Events | None] = {}
        self._closed = ""
        self._resumed = False
        self._confirmed: int | None = None

    # What a driver calls.

    @property
    def leg(self) -> Leg:
        """The leg this client answered last, or is preparing to answer; OFFER before the first."""
        return Leg.OFFER if self._phase is None else _LEGS[type(self._phase)][0]

    @property
    def closed(self) -> bool:
        """Whether the round is over for this client."""
        return bool(self._closed)

    @property
    def resumed(self) -> bool:
        """Whether the round goes on from a record: what is asked of it now may have been asked of it before."""
        return self._resumed

    @property
    def config(self) -> RoundConfig:
        """The round this client accepted the offer of.

        Raises:
            MisuseError: it accepted none yet.
        """
        return self._require_seat().config

    @property
    def confirmed(self) -> int | None:
        """How many clients are in the survivor set that this client signed; None before.

        Once the round is finished a quorum has signed that very set, where the plan has a quorum.
        """
        return self._confirmed

    def receive(self, data: bytes) -> Events:
        """Take one message of the server and return what to do.

        An identical repeat of an answered message returns the identical answer, also after the last one. Anything
        else this client does not expect closes the round, and the one event is `Failed`.

        Raises:
            MisuseError: the round is closed, or its store holds a round that was not resumed.
            StorageError: the record could not be written; nothing was answered and the round is closed.
            InputError, MisuseError, ConfigError: the inbox is open and the input provided earlier does not fit the
                round; provide another.
        """
        request = digest(labels.MESSAGE_DIGEST, data) if len(data) <= self._size_limit else b""
        if (answer := self._answers.get(request)) is not None:
            return answer
        self._require_open()
        self._require_resumed()
        leg = self.leg
        try:
            return self._take(data, request)
        except RemoteError as error:
            self._close("it refused a message of the server")
            return (Failed(detached(error).located(leg=leg)),)
        except StorageError:
            self._close("its record could not be written")
            raise

    def provide(self, source: MaskSource) -> Events:
        """Hand over the input; it is masked and sent once the inbox is open, now or later.

        Raises:
            MisuseError: an input was provided already, the round is closed, its store holds a round that was not
                resumed, the length is not the recipe's, or the input was made by another recipe or other instructions.
            InputError: the input holds a word outside the ring; the round stays open for a right one.
            StorageError: the record could not be written; nothing was sent and the round is closed.
        """
        self._require_open()
        self._require_resumed()
        if self._source is not None or isinstance(self._phase, phases.AwaitingSurvivors | phases.AwaitingUnmask):
            raise MisuseError("the round has its input; one round masks one input")
        if source.length != self._recipe.length:
            raise MisuseError(f"the recipe sums inputs of length {self._recipe.length}, got {source.length}")
        if isinstance(source, RecipeSource) and source.recipe_digest != self._recipe.digest:
            raise MisuseError("the input was made by another recipe than the round's: encode it with the same")
        by = source.instructions_digest if isinstance(source, InstructedSource) else None
        if by is not None and by != self._instructions_digest:
            raise MisuseError("the input was made by other instructions than this round's: encode it with the same")
        self._source = source
        return self._mask_if_ready()

    def resume(self) -> Events:
        """Replay the store's record and continue where it stopped; call it before anything else.

        Returns:
            The last answer again (the server refuses what it already has), or `NeedInput` where the input had not
            left; nothing where the record holds no offer, whose number stays used all the same; `Failed` where it
            stopped while it refused a message, which it refuses again. A masked input that may have left is never made
            again: unless it was kept, it is not repeated.

        Raises:
            MisuseError: the round has begun.
            StorageError: the record cannot be read, or does not replay to what it says was answered. It is left as
                it is: a wrong key or argument can be put right, and `erase` of the store gives the round up.
        """
        if self._phase is not None or self._closed:
            raise MisuseError("resume() comes first, before any message")
        entries = self._journal.entries()
        self._resumed = bool(entries)
        try:
            return self._replay(entries)
        except SecAggError as error:
            self._forget("its record does not replay")
            raise StorageError(f"the record does not replay: {detached(error)}") from None

    def abort(self) -> None:
        """Leave the round: wipe every secret and erase the record. Leaving twice is harmless."""
        if not self._closed:
            self._close("it left")

    def __repr__(self) -> str:
        return f"<ClientRound {self.client}, {self.leg.name.lower()}{', closed' if self._closed else ''}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise MisuseError("a round is never pickled or copied: a copy could answer a second time; see resume()")

    # How a message becomes an answer.

    def _take(self, data: bytes, request: bytes) -> Events:
        """Record and answer a request that was not answered before."""
        if request in self._answers:
            raise Unexpected(Rule.WIRE_ORDER, expected="each request once, its answer not being kept", got="a repeat")
        message = self._read(data)
        self._end_outgoing()
        if isinstance(message, RoundOffer):
            self._accept(message, data)
        self._journal.write(Kind.REQUEST, data)
        events = self._answer(message, request)
        if isinstance(message, Inbox):
            return self._mask_if_ready() or events
        self._journal.write(Kind.ANSWERED, answer_digest(events))
        if isinstance(message, UnmaskRequest):
            self._finish()
        return events

    def _read(self, data: bytes) -> wire.Message:
        """Decode the one message this client expects now."""
        kind = RoundOffer if self._phase is None else _LEGS[type(self._phase)][1]
        envelope = open_message(data, config=None if self._seat is None else self._seat.config)
        if envelope.kind != kind.KIND or isinstance(self._phase, phases.AwaitingInput):
            raise Unexpected(Rule.WIRE_ORDER, expected=kind.__name__, got=NAMES.get(envelope.kind, "no known kind"))
        if envelope.sender != SERVER:
            raise Violation(Rule.WIRE_SENDER)
        if self._seat is not None and envelope.config_digest != self._seat.config.digest:
            raise Violation(Rule.WIRE_ROUND)
        if self._channel is not None and not self._channel.verifies(
            Direction.DOWN, kind.KIND, envelope.tagged, envelope.tag
        ):
            raise Unauthentic(Rule.WIRE_TAG)
        if len(envelope.tail):
            raise Malformed(Rule.WIRE_FORMAT, "bytes after the message")
        return wire.decode_body(kind, envelope.body)

    def _accept(self, offer: RoundOffer, data: bytes) -> None:
        """Use the round's number up and record a fresh secret, before anything is said."""
        seat = self._seat_for(offer, data)
        session, number = seat.config.session, seat.config.round
        last = self._journal.last_round(session)
        if number <= last:
            raise Violation(Rule.OFFER_FRESH, f"round {number} is not above {last}, the last one of its session")
        if number > last + self._policy.max_round_step:
            raise Violation(Rule.OFFER_FRESH, f"round {number} is more than max_round_step above {last}")
        self._journal.reserve(session, number)
        root = Secret(self._draw(ROUND_SECRET_SIZE))
        self._journal.write(Kind.SECRET, root.reveal())
        self._sit(seat, root, offer)

    def _sit(self, seat: phases.Seat, root: Secret, offer: RoundOffer) -> None:
        """Take the seat: from here on this round's secret and its channel to the server exist."""
        self._seat, self._root = seat, root
        self._channel = Channel.of_client(
            root, position=seat.position, server_public=offer.server_key, config_digest=seat.config.digest
        )

    def _seat_for(self, offer: RoundOffer, data: bytes) -> phases.Seat:
        invitation = checks.check_offer(
            offer,
            client=self.client,
            policy=self._policy,
            recipe=self._recipe,
            instructions_digest=self._instructions_digest,
        )
        if open_message(data, config=None).config_digest != invitation.config.digest:
            raise Violation(Rule.WIRE_ROUND)
        return phases.Seat(invitation, self._identity, self._directory)

    def _answer(self, message: wire.Message, request: bytes) -> Events:
        """Move to the next phase and remember the answer; nothing is recorded here, so a replay runs it too."""
        events = self._advance(message)
        self._answers[request] = events
        if isinstance(message, Inbox):
            self._inbox_request = request
        return events

    def _advance(self, message: wire.Message) -> Events:
        seat, root = self._seat, self._root
        if seat is None or root is None:
            raise MisuseError("no offer was accepted, so there is nothing to answer by")
        match self._phase, message:
            case None, RoundOffer():
                self._phase, advert = phases.join(seat, root=root)
                return (Send(None, self._front(advert)),)
            case phases.AwaitingRoster() as phase, Roster() as roster:
                self._phase, shares = phase.share(roster)
                return (self._send(shares),)
            case phases.AwaitingInbox() as phase, Inbox() as inbox:
                self._phase = phase.open(inbox)
                return (NeedInput(seat.config.ring),)
            case phases.AwaitingSurvivors() as phase, SurvivorSet() as survivors:
                self._phase, signature = phase.confirm(survivors)
                self._confirmed = self._phase.survivors
                # Where no quorum is needed the request comes with the set, and the confirmation stays at home.
                return (self._send(signature),) if seat.config.plan.quorum else ()
            case phases.AwaitingUnmask() as phase, UnmaskRequest() as unmask:
                return self._send(phase.unmask(unmask)), Finished()
        raise MisuseError(f"{type(message).__name__} reached {self._phase!r}; _read admits only what a phase expects")

    def _mask_if_ready(self) -> Events:
        """Mask and send the input once both it and the inbox are here; the mark is recorded before it leaves."""
        phase, source = self._phase, self._source
        if source is None or not isinstance(phase, phases.AwaitingInput):
            return ()
        self._source = None
        try:
            events = self._mask(phase, source)
        except (ConfigError, MisuseError):
            if self._closed:  # it was left while the input was read, and whoever left could not wipe a phase at work
                phase.abandon()
            raise  # the caller's mistake: the phase still waits for a right input
        except BaseException:
            self._close("its input could not be masked and recorded")
            raise
        return events

    def _mask(self, phase: phases.AwaitingInput, source: MaskSource) -> Events:
        """Mask the input, or make ready to; the mark is on record before the first message can leave."""
        make = functools.partial(
            phase.stream if self._stream else phase.mask,
            source,
            fronts=self._fronts(phase),
            room_behind=TAG_SIZE,
            seal=self._seal,
            executor=self._executor,
            workers=self._workers,
        )
        following, messages = make()
        if self._closed:
            following.abandon()
            if isinstance(messages, MaskedMessages):
                messages.close()
            raise MisuseError(f"the round was closed for {self.client} while its input was masked: {self._closed}")
        self._phase = following
        if isinstance(messages, MaskedMessages):
            self._outgoing = messages
            self._journal.write(Kind.MASKED)
            self._answers[self._inbox_request] = None
            return (Stream(self._hand_out(messages)),)
        self._journal.write(Kind.MASKED, b"".join(messages) if self._keep_input else b"")
        # What is kept for a repeat is a copy: the caller may reuse the buffers it was handed.
        kept = tuple(Send(None, bytes(message)) for message in messages) if self._keep_input else None
        self._answers[self._inbox_request] = kept
        return tuple(Send(None, message) for message in messages)

    def _hand_out(self, messages: MaskedMessages) -> Generator[bytearray, None, None]:
        """Yield the messages; a client whose input is not asked for to its end has left the round."""
        try:
            yield from messages
        finally:
            if not (messages.complete or self._closed):
                self._close("its input was not handed over whole")

    def _seal(self, index: int, message: bytearray) -> None:
        message[-TAG_SIZE:] = self._tag(MaskedInput.KIND, memoryview(message)[:-TAG_SIZE], index)

    def _fronts(self, phase: phases.AwaitingInput) -> list[bytes]:
        """All of each chunk's message that stands before the packed words."""
        chunks = range(self._require_seat().config.chunks)
        return [self._front(MaskedInput(chunk=chunk, unopened=b"" if chunk else phase.unopened)) for chunk in chunks]

    def _front(self, message: wire.Message) -> bytes:
        seat = self._require_seat()
        return wire.front(message, config_digest=seat.config.digest, sender=seat.position)

    def _send(self, message: wire.Message) -> Send:
        front = self._front(message)
        return Send(None, front + self._tag(message.KIND, front))

    def _tag(self, kind: int, data: bytes | memoryview, index: int = 0) -> bytes:
        if self._channel is None:
            raise MisuseError("no offer was accepted, so there is no channel")
        return self._channel.tag(Direction.UP, kind, data, index=index)

    # How a round ends, and how it is found again.

    def _replay(self, entries: tuple[Entry, ...]) -> Events:
        events: Events = ()
        root: Secret | None = None
        recorded = True
        for index, (kind, payload) in enumerate(entries):
            if kind is Kind.SECRET:
                root = Secret(payload)
            elif kind is Kind.REQUEST:
                leg, unanswered = self.leg, self._phase is not None and index == len(entries) - 1
                try:
                    events = self._replay_request(payload, root)
                except RemoteError as error:
                    if not unanswered:  # it was answered once, so something else has changed since
                        raise
                    self._close("it had refused a message of the server")
                    return (Failed(detached(error).located(leg=leg)),)
                recorded = isinstance(self._phase, phases.AwaitingInput)
            elif kind is Kind.MASKED:
                events = self._replay_masked(payload)
            else:
                recorded = self._require_same(events, payload)
        if not recorded:  # it stopped between deriving the answer and recording it, so the answer never left
            self._journal.write(Kind.ANSWERED, answer_digest(events))
        if self._phase is None:
            self._journal.erase()
        if any(isinstance(event, Finished) for event in events):
            self._finish()
        return events

    def _replay_request(self, data: bytes, root: Secret | None) -> Events:
        message = self._read(data)
        if isinstance(message, RoundOffer):
            if root is None:
                raise StorageError("the record has an offer and no secret")
            self._sit(self._seat_for(message, data), root, message)
        return self._answer(message, digest(labels.MESSAGE_DIGEST, data))

    @staticmethod
    def _require_same(events: Events, recorded: bytes) -> bool:
        """Hold a replayed answer against the digest of the one that may have left."""
        if answer_digest(events) != recorded:
            raise StorageError("an answer differs from the one on record")
        return True

    def _replay_masked(self, kept: bytes) -> Events:
        if not isinstance(self._phase, phases.AwaitingInput):
            raise StorageError("the record has a masked input out of place")
        chunks = self._split(kept, self._fronts(self._phase)) if kept else []
        self._phase = self._phase.skip()
        events: Events = tuple(Send(None, chunk) for chunk in chunks)
        self._answers[self._inbox_request] = events or None
        return events

    def _split(self, kept: bytes, fronts: list[bytes]) -> list[bytes]:
        """Cut a kept masked input back into its chunks' messages."""
        config, chunks, start = self._require_seat().config, [], 0
        for chunk, front in enumerate(fronts):
            first, last = config.chunk_range(chunk)
            stop = start + len(front) + config.ring.packed_size(last - first) + TAG_SIZE
            chunks.append(kept[start:stop])
            start = stop
        return chunks

    @property
    def _size_limit(self) -> int:
        """The longest message this client would read now; nothing longer is even hashed."""
        config = None if self._seat is None else self._seat.config
        return MAX_OFFER_SIZE if config is None else max(max_size(kind, config) for kind in _LATER)

    def _require_open(self) -> None:
        if self._closed:
            raise MisuseError(f"the round is closed for {self.client}: {self._closed}")

    def _require_resumed(self) -> None:
        if self._phase is None and self._journal.is_open():
            raise MisuseError(
                "the store holds an open round: resume() it, or abort() to leave it (its number stays used)"
            )

    def _require_seat(self) -> phases.Seat:
        if self._seat is None:
            raise MisuseError("no offer was accepted")
        return self._seat

    def _finish(self) -> None:
        self._closed = "it is finished"
        self._phase = None
        if self._channel is not None:
            self._channel.wipe()
        self._journal.erase()

    def _close(self, reason: str) -> None:
        self._forget(reason)
        self._journal.erase()

    def _end_outgoing(self) -> None:
        """Wipe the keys of an input that is being handed over; what was not made by now never is."""
        if self._outgoing is not None:
            self._outgoing.close()
            self._outgoing = None

    def _forget(self, reason: str) -> None:
        """Wipe every secret in memory; the record is its caller's to erase or keep."""
        self._closed = reason
        self._end_outgoing()
        self._answers.clear()
        self._source = None
        if self._phase is not None:
            self._phase.abandon()
            self._phase = None
        for secret in (self._root, self._channel):
            if secret is not None:
                secret.wipe()
