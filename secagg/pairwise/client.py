"""The client's five phases: each takes the server's message and returns the next phase and the answer.

    join -> AwaitingRoster -> AwaitingInbox -> AwaitingInput -> AwaitingSurvivors -> AwaitingUnmask

Promise: a phase holds exactly the secrets its future answers need. Private keys are wiped when the masked input is
made; shares when they are revealed; everything when the server breaks a rule. Nothing here does I/O, owns a clock or
draws randomness: the round secret comes in, and all else follows from it (keys.py).

The protocol of Bonawitz et al., CCS 2017, with the survivor set held against the client's own inbox.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from secagg import masking, shamir
from secagg.config import RoundConfig
from secagg.errors import MisuseError, Violation
from secagg.identity import Directory, Identity
from secagg.pairwise import checks, keys
from secagg.pairwise.messages import (
    SHARE_LABELS,
    Inbox,
    KeyAdvert,
    Roster,
    SealedShares,
    SurvivorSet,
    SurvivorSignature,
    UnmaskRequest,
    UnmaskShares,
)
from secagg.pairwise.outgoing import MaskedMessages, MaskSource, Seal
from secagg.pairwise.phase import Phase
from secagg.pairwise.roster import Joined
from secagg.primitives import aead, agreement, labels
from secagg.primitives.secret import Secret
from secagg.rules import Rule
from secagg.wire import pack_positions


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Seat:
    """What a client keeps through all five legs: the offer it accepted, who it is, and who it believes others are."""

    invitation: checks.Invitation
    identity: Identity
    directory: Directory

    @property
    def config(self) -> RoundConfig:
        """The round's config."""
        return self.invitation.config

    @property
    def position(self) -> int:
        """The client's own position."""
        return self.invitation.position


class Held:
    """The shares a client holds: for each client of its inbox and itself, one of either secret. Opens once."""

    __slots__ = ("_shares",)

    def __init__(self, shares: dict[int, tuple[Secret, Secret]]) -> None:
        self._shares = shares

    def __contains__(self, position: int) -> bool:
        return position in self._shares

    @property
    def positions(self) -> tuple[int, ...]:
        """Whose shares these are, ascending."""
        return tuple(sorted(self._shares))

    def reveal(self, survivors: frozenset[int]) -> bytes:
        """Return one share a dealer, ascending: of a survivor's self-mask seed or a dropped client's mask-key seed."""
        chosen = (self._shares[dealer][dealer in survivors] for dealer in self.positions)
        return b"".join(share.reveal() for share in chosen)

    def wipe(self) -> None:
        """Overwrite every share."""
        for pair in self._shares.values():
            for share in pair:
                share.wipe()


def join(seat: Seat, *, root: Secret) -> tuple[AwaitingRoster, KeyAdvert]:
    """Leg 0: advertise two fresh public keys and the commitment to the self-mask seed.

    Args:
        seat: the accepted offer, the identity that signs, the directory that pins everyone else.
        root: the 32-byte round secret, drawn for this round and never used before.
    """
    digest, position = seat.config.digest, seat.position
    secrets = keys.round_secrets(root, config_digest=digest, position=position)
    mask_key = agreement.public_key(secrets.mask_private)
    box_key = secrets.box.public
    commitment = keys.seed_commitment(secrets.self_mask_seed, config_digest=digest, box=secrets.box)
    statement = checks.advert_statement(digest, position, mask_key, box_key, commitment)
    signature = seat.identity.sign(label=labels.SIGN_ADVERT, message=statement)
    advert = KeyAdvert(mask_key=mask_key, box_key=box_key, seed_commitment=commitment, signature=signature)
    return AwaitingRoster(seat, secrets, advert), advert


class AwaitingRoster(Phase):
    """After leg 0: waiting to learn who joined."""

    __slots__ = ("_advert", "_seat", "_secrets")

    def __init__(self, seat: Seat, secrets: keys.RoundSecrets, advert: KeyAdvert) -> None:
        super().__init__()
        self._seat = seat
        self._secrets = secrets
        self._advert = advert

    def share(self, roster: Roster) -> tuple[AwaitingInbox, SealedShares]:
        """Leg 1: share both secrets among the joined neighbors and itself, and seal each neighbor's shares.

        Raises:
            RemoteError: the roster breaks a rule; the phase is spent and wiped.
        """
        with self._answering():
            seat, secrets = self._seat, self._secrets
            joined = checks.check_roster(roster, invitation=seat.invitation, own=self._advert, directory=seat.directory)
            receivers = joined.neighbors(seat.position)
            shares = _deal(seat, joined, secrets, receivers)
            boxes = {peer: _box_keys(seat, joined, secrets, peer) for peer in receivers}
            sealed = b"".join(
                aead.seal(boxes[peer].sending, _box_content(shares[peer]), context=boxes[peer].context)
                for peer in receivers
            )
            own = shares.pop(seat.position)
            Held(shares).wipe()
            phase = AwaitingInbox(seat, secrets, joined, boxes, own)
            return phase, SealedShares(boxes=sealed)

    def _wipe(self) -> None:
        self._secrets.wipe()


class AwaitingInbox(Phase):
    """After leg 1: waiting for the boxes that neighbors sealed."""

    __slots__ = ("_boxes", "_joined", "_own", "_seat", "_secrets")

    def __init__(
        self,
        seat: Seat,
        secrets: keys.RoundSecrets,
        joined: Joined,
        boxes: dict[int, keys.BoxKeys],
        own: tuple[Secret, Secret],
    ) -> None:
        super().__init__()
        self._seat = seat
        self._secrets = secrets
        self._joined = joined
        self._boxes = boxes
        self._own = own

    def open(self, inbox: Inbox) -> AwaitingInput:
        """Open the boxes; one that does not open leaves its sender out, and the server is told with the input.

        Raises:
            RemoteError: the inbox breaks a rule, or too few boxes open; the phase is spent and wiped.
        """
        with self._answering():
            seat = self._seat
            received = checks.check_inbox(inbox, invitation=seat.invitation, joined=self._joined)
            held = _open_boxes(self._boxes, received)
            if len(held) + 1 < seat.config.plan.threshold:
                Held(held).wipe()
                raise Violation(Rule.INBOX_FLOOR, f"{len(held)} boxes opened")
            unopened = frozenset(received.keys() - held.keys())
            held[seat.position] = self._own
            self._wipe_box_keys()
            return AwaitingInput(seat, self._secrets, self._joined, Held(held), unopened)

    def _wipe(self) -> None:
        self._secrets.wipe()
        self._wipe_box_keys()
        for share in self._own:
            share.wipe()

    def _wipe_box_keys(self) -> None:
        for box_keys in self._boxes.values():
            box_keys.sending.wipe()
            box_keys.receiving.wipe()


class AwaitingInput(Phase):
    """Between the legs of others: the inbox is open, and the caller's input is missing."""

    __slots__ = ("_held", "_joined", "_seat", "_secrets", "_unopened")

    def __init__(
        self, seat: Seat, secrets: keys.RoundSecrets, joined: Joined, held: Held, unopened: frozenset[int]
    ) -> None:
        super().__init__()
        self._seat = seat
        self._secrets = secrets
        self._joined = joined
        self._held = held
        self._unopened = unopened

    @property
    def unopened(self) -> bytes:
        """The report that travels with chunk 0: a bitmap of the senders whose boxes did not open."""
        return pack_positions(self._unopened, self._seat.config.plan.clients)

    def mask(
        self,
        source: MaskSource,
        *,
        fronts: Sequence[bytes],
        room_behind: int = 0,
        seal: Seal | None = None,
        executor: Executor | None = None,
        workers: int = 1,
    ) -> tuple[AwaitingSurvivors, list[bytearray]]:
        """Leg 2: mask and pack the input behind each chunk's front, and forget every private key.

        The client masks towards exactly its inbox.

        Args:
            source: the input.
            fronts: header, body and gap of each chunk's message.
            room_behind: bytes left blank behind each chunk, for the channel's tag.
            seal: fills them in, called with each chunk's number and message.
            executor: threads to expand masks on, or None.
            workers: how many of them.

        Raises:
            MisuseError: the input has another length or ring than the config says; the phase is unspent.
            InputError: the source yields a word outside the ring; the phase is unspent.
        """
        with self._answering():
            messages = list(self._messages(source, fronts, room_behind, seal, executor, workers))
            return self._next(), messages

    def stream(
        self,
        source: MaskSource,
        *,
        fronts: Sequence[bytes],
        room_behind: int = 0,
        seal: Seal | None = None,
        executor: Executor | None = None,
        workers: int = 1,
    ) -> tuple[AwaitingSurvivors, MaskedMessages]:
        """Leg 2 for a large input: as `mask`, but each message is made when it is asked for.

        The keys of the masks live until the last one is made or the messages are closed. A word outside the ring is
        found when its chunk is made: it ends the messages, and the phase is spent by then.

        Raises:
            MisuseError: as `mask`.
        """
        with self._answering():
            messages = self._messages(source, fronts, room_behind, seal, executor, workers)
            return self._next(), messages

    def _messages(
        self,
        source: MaskSource,
        fronts: Sequence[bytes],
        room_behind: int,
        seal: Seal | None,
        executor: Executor | None,
        workers: int,
    ) -> MaskedMessages:
        config = self._seat.config
        if source.length != config.length or len(fronts) != config.chunks:
            raise MisuseError(f"the round sums inputs of length {config.length}, got {source.length}")
        if source.ring != config.ring:  # a smaller one would fit and be a wrong number all the same
            raise MisuseError(f"the round sums in {config.ring}, the input is made for {source.ring}")
        masking.check_workers(executor, workers)
        plus, minus = self._mask_keys()
        return MaskedMessages(
            source,
            config=config,
            plus=plus,
            minus=minus,
            fronts=fronts,
            room_behind=room_behind,
            seal=seal,
            executor=executor,
            workers=workers,
        )

    def skip(self) -> AwaitingSurvivors:
        """Go on without masking: for a resumed client whose masked input may have left before it stopped."""
        with self._answering():
            return self._next()

    def _next(self) -> AwaitingSurvivors:
        self._secrets.wipe()
        return AwaitingSurvivors(self._seat, self._joined, self._held)

    def _mask_keys(self) -> tuple[list[Secret], list[Secret]]:
        """The stream keys to add and to subtract: its self mask, and one mask for each client of the inbox."""
        joined, secrets = self._joined, self._secrets
        digest, position = self._seat.config.digest, self._seat.position
        plus = [keys.self_mask_key(secrets.self_mask_seed, config_digest=digest, box=secrets.box)]
        minus: list[Secret] = []
        for peer in self._held.positions:
            if peer != position:
                ends = joined.mask_endpoint(position), joined.mask_endpoint(peer)
                key = keys.pairwise_mask_key(
                    secrets.mask_private, *ends, config_digest=digest, roster_digest=joined.digest
                )
                (plus if masking.pair_sign(position, peer) > 0 else minus).append(key)
        return plus, minus

    def _wipe(self) -> None:
        self._secrets.wipe()
        self._held.wipe()


class AwaitingSurvivors(Phase):
    """After leg 2: waiting to learn whose inputs count."""

    __slots__ = ("_held", "_joined", "_seat")

    def __init__(self, seat: Seat, joined: Joined, held: Held) -> None:
        super().__init__()
        self._seat = seat
        self._joined = joined
        self._held = held

    def confirm(self, message: SurvivorSet) -> tuple[AwaitingUnmask, SurvivorSignature]:
        """Leg 3: sign the one survivor set this client will ever unmask.

        Raises:
            RemoteError: the set breaks a rule, the inbox rule among them; the phase is spent and wiped.
        """
        with self._answering():
            seat, joined, held = self._seat, self._joined, self._held
            survivors = checks.check_survivors(message, invitation=seat.invitation, joined=joined, inbox=held.positions)
            statement = checks.survivor_statement(seat.config.digest, joined.digest, survivors)
            signature = seat.identity.sign(label=labels.SIGN_SURVIVORS, message=statement)
            return AwaitingUnmask(seat, joined, held, survivors), SurvivorSignature(signature=signature)

    def _wipe(self) -> None:
        self._held.wipe()


class AwaitingUnmask(Phase):
    """After leg 3: waiting for proof that a quorum signed the same survivor set."""

    __slots__ = ("_held", "_joined", "_seat", "_survivors")

    def __init__(self, seat: Seat, joined: Joined, held: Held, survivors: frozenset[int]) -> None:
        super().__init__()
        self._seat = seat
        self._joined = joined
        self._held = held
        self._survivors = survivors

    @property
    def survivors(self) -> int:
        """How many clients are in the set this client confirmed."""
        return len(self._survivors)

    def unmask(self, request: UnmaskRequest) -> UnmaskShares:
        """Leg 4: reveal one share for each client of the inbox and itself, then wipe them all.

        Raises:
            RemoteError: no quorum for this client's own survivor set; the phase is spent and wiped.
        """
        with self._answering():
            checks.check_unmask_request(
                request,
                config=self._seat.config,
                invited=self._seat.invitation.invited,
                joined=self._joined,
                survivors=self._survivors,
                directory=self._seat.directory,
            )
            revealed = self._held.reveal(self._survivors)
            self._held.wipe()
            return UnmaskShares(shares=revealed)

    def _wipe(self) -> None:
        self._held.wipe()


def _deal(
    seat: Seat, joined: Joined, secrets: keys.RoundSecrets, receivers: tuple[int, ...]
) -> dict[int, tuple[Secret, Secret]]:
    """Share mask-key seed and self-mask seed among the receivers and this client itself; x is position + 1."""
    holders = sorted((*receivers, seat.position))
    with keys.coefficient_entropy(
        secrets.root, config_digest=seat.config.digest, roster_digest=joined.digest
    ) as entropy:
        dealt = shamir.split(
            [secrets.mask_key_seed, secrets.self_mask_seed],
            threshold=seat.config.plan.threshold,
            xs=np.asarray(holders, dtype=np.int64) + 1,
            entropy=entropy,
        )
    shares = {
        holder: (Secret(dealt[0, index].tobytes()), Secret(dealt[1, index].tobytes()))
        for index, holder in enumerate(holders)
    }
    dealt.fill(0)
    return shares


def _box_keys(seat: Seat, joined: Joined, secrets: keys.RoundSecrets, peer: int) -> keys.BoxKeys:
    return keys.box_keys(
        secrets.box_private,
        joined.box_endpoint(seat.position),
        joined.box_endpoint(peer),
        config_digest=seat.config.digest,
        roster_digest=joined.digest,
    )


def _box_content(shares: tuple[Secret, Secret]) -> bytes:
    return b"".join(bytes((label,)) + share.reveal() for label, share in zip(SHARE_LABELS, shares, strict=True))


def _open_boxes(
    box_keys: Mapping[int, keys.BoxKeys], received: Mapping[int, bytes]
) -> dict[int, tuple[Secret, Secret]]:
    """Open what opens: sender -> its two shares.

    A box that is not authentic, is mislabelled or holds no well-formed shares (Rule.BOX_OPENS) is left out and
    reported; the fault is its sender's.
    """
    opened = {
        sender: aead.open_box(box_keys[sender].receiving, box, context=box_keys[sender].context)
        for sender, box in received.items()
    }
    contents = {sender: content for sender, content in opened.items() if content is not None}
    # All shares are checked as one array: a call for each would cost more than opening the boxes.
    block = np.frombuffer(b"".join(contents.values()), dtype=np.uint8)
    block = block.reshape(len(contents), len(SHARE_LABELS), 1 + shamir.SHARE_SIZE)
    _, valid = shamir.decode_shares(block[:, :, 1:])
    fit = (block[:, :, 0] == SHARE_LABELS).all(axis=1) & valid.all(axis=1)
    return {
        sender: (Secret(shares[0].tobytes()), Secret(shares[1].tobytes()))
        for sender, shares, good in zip(contents, block[:, :, 1:], fit.tolist(), strict=True)
        if good
    }
