"""A server and clients that keep no rule but the arithmetic: whatever they say carries a tag that verifies.

    server = LyingServer(Table(plan, inputs))
    server.play(Leg.SHARE)                                         # honest until everyone has answered leg 1
    server.tell("client-0001", server.inbox(1, dealers={0, 2}))    # from here on, each client hears what suits us

`LyingServer` knows what a server knows: its channel key and all it ever heard. `LyingClient` knows what one client
knows. Both take the honest parties from a `secagg.testing.table.Table` and speak to them in bytes alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

import numpy as np

from secagg import masking, shamir, wire
from secagg.config import RoundConfig
from secagg.pairwise import checks, keys
from secagg.pairwise.channel import TAG_SIZE, Channel, Direction
from secagg.pairwise.messages import (
    BOX_SIZE,
    FROM_CLIENT,
    SHARE_LABELS,
    Inbox,
    KeyAdvert,
    MaskedInput,
    Roster,
    RoundOffer,
    SealedShares,
    SurvivorSet,
    SurvivorSignature,
    UnmaskRequest,
    UnmaskShares,
)
from secagg.pairwise.roster import Joined, joined, roster_of
from secagg.primitives import aead, agreement, labels
from secagg.primitives.secret import Secret
from secagg.ring import Words
from secagg.rules import Rule
from secagg.shamir import SHARE_SIZE
from secagg.testing.entropy import FixedEntropy
from secagg.testing.table import Table
from secagg.types import SERVER, Leg

MASK_KEY_SEED: Final = 0
SELF_MASK_SEED: Final = 1
"""Which of a dealer's two secrets a share is of: its place in a box."""

_KINDS: Final = {kind.KIND: kind for kind in FROM_CLIENT}


class LyingServer:
    """A server that says anything to anyone and remembers all it hears.

    Args:
        table: the honest clients, and the channel key.
        config: the round it talks about; the table's unless given.

    Attributes:
        adverts: position -> its advert.
        rosters: position -> the roster it was shown.
        boxes: (dealer, holder) -> the box that was sealed for the holder.
        inboxes: position -> the dealers whose boxes it was handed, without those it reported as not opening.
        inputs: position -> its masked words.
        signatures: position -> each signature it gave on a survivor set.
        revealed: holder -> dealer -> the share it revealed.
        heard: position -> every answer, as it came.
        told: position -> everything it was handed.
    """

    def __init__(self, table: Table, *, config: RoundConfig | None = None) -> None:
        self.table = table
        self.config = config or table.config
        self.adverts: dict[int, KeyAdvert] = {}
        self.boxes: dict[tuple[int, int], bytes] = {}
        self.inboxes: dict[int, frozenset[int]] = {}
        self.inputs: dict[int, Words] = {}
        self.signatures: dict[int, list[bytes]] = {}
        self.revealed: dict[int, dict[int, bytes]] = {}
        self.heard: dict[int, list[bytes]] = {}
        self.told: dict[int, list[bytes]] = {}
        self._played = Leg.OFFER
        self.rosters: dict[int, Roster] = {}

    # Saying things.

    def tell(self, name: str, message: wire.Message) -> list[wire.Message]:
        """Say something to a client, hand it its input where it asks, and return what it answers."""
        self.note_told(self.table.names.index(name), message)
        return self.hand(name, self.envelope(name, message))

    def note_told(self, position: int, message: wire.Message) -> None:
        """Remember the first roster and inbox a client is told, by which its answers are read; it takes no second."""
        if isinstance(message, Roster):
            self.rosters.setdefault(position, message)
        elif isinstance(message, Inbox):
            senders = wire.unpack_positions(message.senders, self.config.plan.clients, Rule.INBOX_SENDERS)
            self.inboxes.setdefault(position, frozenset(senders))

    def hand(self, name: str, data: bytes) -> list[wire.Message]:
        """Hand a client bytes, and return what it answers."""
        position = self.table.names.index(name)
        self.told.setdefault(position, []).append(data)
        return [self._note(position, answer) for answer in self.table.hand(name, data)]

    def envelope(self, name: str, message: wire.Message) -> bytes:
        """The bytes of a message, under the tag this client expects."""
        data = wire.front(message, config_digest=self.config.digest, sender=SERVER)
        return data if isinstance(message, RoundOffer) else data + self.tag(name, message.KIND, data)

    def tag(self, name: str, kind: int, data: bytes) -> bytes:
        """The tag of any bytes to a client that has advertised."""
        position = self.table.names.index(name)
        endpoint = keys.Endpoint(position, self.adverts[position].box_key)
        private, public = self.table.server._private, self.table.server._public
        channel = Channel.of_server(private, public=public, client=endpoint, config_digest=self.config.digest)
        return channel.tag(Direction.DOWN, kind, data)

    def offer(self) -> RoundOffer:
        """The round's genuine offer."""
        invited, public = list(self.table.names), self.table.server._public
        return RoundOffer(config=self.config.encoded, invited=invited, server_key=public)

    def roster(self, adverts: Mapping[int, KeyAdvert] | Iterable[int] | None = None) -> Roster:
        """A roster of these adverts, or of the genuine ones of these positions; of everyone unless given."""
        if adverts is None:
            adverts = self.adverts
        if not isinstance(adverts, Mapping):
            adverts = {position: self.adverts[position] for position in adverts}
        return roster_of(adverts, self.config.plan.clients)

    def inbox(self, holder: int, dealers: Iterable[int], *, forged: Mapping[int, bytes] | None = None) -> Inbox:
        """An inbox of these dealers' boxes, all genuine but the forged ones."""
        forged = forged or {}
        boxes = {dealer: forged.get(dealer) or self.boxes[dealer, holder] for dealer in sorted(dealers)}
        return Inbox(senders=self._bitmap(boxes), boxes=b"".join(boxes.values()))

    def survivor_set(self, survivors: Iterable[int]) -> SurvivorSet:
        """A survivor set of any positions."""
        return SurvivorSet(survivors=self._bitmap(survivors))

    def unmask_request(self, signatures: Mapping[int, bytes]) -> UnmaskRequest:
        """A request with these signatures."""
        ordered = b"".join(signatures[signer] for signer in sorted(signatures))
        return UnmaskRequest(signers=self._bitmap(signatures), signatures=ordered)

    # Honest stretches on the way to a lie.

    def play(self, leg: Leg) -> None:
        """Be honest until every client has answered `leg`."""
        everyone = range(self.config.plan.clients)
        for turn in (turn for turn in Leg if self._played < turn <= leg):
            for position in everyone:
                self.tell(self.table.names[position], self._honest_message(turn, position))
            self._played = turn

    def _honest_message(self, leg: Leg, position: int) -> wire.Message:
        """What an honest server asks for the answer of a leg by, when nobody drops out."""
        everyone = frozenset(range(self.config.plan.clients))
        match leg:
            case Leg.ADVERTISE:
                return self.offer()
            case Leg.SHARE:
                return self.roster()
            case Leg.MASK:
                return self.inbox(position, everyone - {position})
            case Leg.CONFIRM:
                return self.survivor_set(everyone)
            case _:
                return self.unmask_request({signer: signed[0] for signer, signed in self.signatures.items()})

    def deliver_boxes(self, without: Mapping[int, Collection[int]]) -> None:
        """Hand everyone its inbox, `without` the boxes of some dealers for some holders."""
        for position, name in enumerate(self.table.names):
            self.tell(name, self.inbox(position, self.adverts.keys() - {position, *without.get(position, ())}))
        self._played = Leg.MASK

    @property
    def joined(self) -> Joined:
        """Everyone that advertised, as a client works the genuine roster out."""
        return self.joined_by(self.roster())

    def joined_by(self, roster: Roster) -> Joined:
        """Any roster, as a client works it out."""
        positions = wire.unpack_positions(roster.joined, self.config.plan.clients, Rule.ROSTER_ORDER)
        return joined(self.config, positions, roster)

    # Making use of what was heard.

    def shares_of(self, dealer: int, kind: int, survivors: Collection[int]) -> dict[int, bytes]:
        """Holder -> the share of one secret that it revealed, believing in these survivors."""
        if (dealer in survivors) != (kind == SELF_MASK_SEED):
            return {}
        return {holder: shares[dealer] for holder, shares in self.revealed.items() if dealer in shares}

    def rebuild(self, shares: Mapping[int, bytes]) -> Secret:
        """The secret behind a threshold of shares, by holder."""
        chosen = sorted(shares)[: self.config.plan.threshold]
        block = np.frombuffer(b"".join(shares[holder] for holder in chosen), dtype=np.uint8)
        values, _ = shamir.decode_shares(block.reshape(1, len(chosen), SHARE_SIZE))
        (secret,) = shamir.recover_many(values, np.asarray(chosen, dtype=np.int64) + 1)
        if secret is None:
            raise ValueError("these shares are of no secret")
        return secret

    def strip(self, victim: int, *, seed: Secret, mask_key_seeds: Mapping[int, Secret]) -> Words:
        """A victim's masked input without its self mask and its masks towards clients whose mask-key seed is known."""
        words = self.inputs[victim].copy()
        digest, roster = self.config.digest, self.joined
        plus = [keys.self_mask_key(seed, config_digest=digest, box=roster.box_endpoint(victim))]
        minus: list[Secret] = []
        for peer, key_seed in mask_key_seeds.items():
            private = keys.mask_private(key_seed, config_digest=digest, box=roster.box_endpoint(peer))
            ends = roster.mask_endpoint(peer), roster.mask_endpoint(victim)
            key = keys.pairwise_mask_key(private, *ends, config_digest=digest, roster_digest=roster.digest)
            (plus if masking.pair_sign(victim, peer) > 0 else minus).append(key)
        masking.accumulate(words, plus=minus, minus=plus)
        self.config.ring.reduce(words)
        return words

    def _bitmap(self, positions: Iterable[int]) -> bytes:
        return wire.pack_positions(positions, self.config.plan.clients)

    def _note(self, position: int, data: bytes) -> wire.Message:
        self.heard.setdefault(position, []).append(data)
        kind = _KINDS[data[4]]
        envelope = wire.open_envelope(data, max_size=len(data), tag_size=0 if kind is KeyAdvert else TAG_SIZE)
        message: wire.Message = wire.decode_body(kind, envelope.body)
        match message:
            case KeyAdvert():
                self.adverts[position] = message
            case SealedShares():
                seen = self.joined_by(self.rosters[position])
                for receiver, box in zip(seen.neighbors(position), _pieces(message.boxes, BOX_SIZE), strict=True):
                    self.boxes[position, receiver] = box
            case MaskedInput():
                unopened = wire.unpack_positions(message.unopened, self.config.plan.clients, Rule.INPUT_UNOPENED)
                self.inboxes[position] -= set(unopened)
                self.inputs[position] = self.config.ring.unpack(envelope.tail, self.config.length)
            case SurvivorSignature():
                self.signatures.setdefault(position, []).append(message.signature)
            case UnmaskShares():
                dealers = sorted({position, *self.inboxes[position]})
                self.revealed[position] = dict(zip(dealers, _pieces(message.shares, SHARE_SIZE), strict=True))
        return message


class LyingClient:
    """A client that says anything: it has its own round secret and identity, and no one else's.

    Args:
        table: the round it is invited to.
        name: the client it is.
    """

    def __init__(self, table: Table, name: str) -> None:
        self.table = table
        self.name = name
        self.position = table.names.index(name)
        self.digest = table.config.digest
        self.identity = table.identities[name]
        self.root = Secret(FixedEntropy(f"{table.label}/{name}")(32))
        self.secrets = keys.round_secrets(self.root, config_digest=self.digest, position=self.position)
        self.mask_key = agreement.public_key(self.secrets.mask_private)
        self.box_key = self.secrets.box.public
        self.commitment = keys.seed_commitment(
            self.secrets.self_mask_seed, config_digest=self.digest, box=self.secrets.box
        )

    def says(self, message: wire.Message, *, tail: bytes = b"", index: int = 0, sender: int | None = None) -> bytes:
        """The bytes of any message of this client, tagged as the server expects."""
        position = self.position if sender is None else sender
        data = wire.front(message, config_digest=self.digest, sender=position) + tail
        return data if isinstance(message, KeyAdvert) else data + self.tag(message.KIND, data, index=index)

    def tag(self, kind: int, data: bytes, *, index: int = 0) -> bytes:
        """The tag of any bytes to the server."""
        channel = Channel.of_client(
            self.root, position=self.position, server_public=self.table.server._public, config_digest=self.digest
        )
        return channel.tag(Direction.UP, kind, data, index=index)

    def advert(
        self,
        *,
        mask_key: bytes | None = None,
        box_key: bytes | None = None,
        commitment: bytes | None = None,
        digest: bytes | None = None,
        position: int | None = None,
    ) -> KeyAdvert:
        """Its advert, genuinely signed whatever stands in it."""
        mask_key, box_key = mask_key or self.mask_key, box_key or self.box_key
        commitment = commitment or self.commitment
        position = self.position if position is None else position
        statement = checks.advert_statement(digest or self.digest, position, mask_key, box_key, commitment)
        signature = self.identity.sign(label=labels.SIGN_ADVERT, message=statement)
        return KeyAdvert(mask_key=mask_key, box_key=box_key, seed_commitment=commitment, signature=signature)

    def confirmation(self, roster: Joined, survivors: Iterable[int]) -> bytes:
        """Its genuine signature on any survivor set."""
        statement = checks.survivor_statement(self.digest, roster.digest, frozenset(survivors))
        return self.identity.sign(label=labels.SIGN_SURVIVORS, message=statement)

    def deal(self, roster: Joined, *, threshold: int, secrets: tuple[bytes, bytes]) -> dict[int, tuple[bytes, bytes]]:
        """Holder -> its shares of any two secrets in the place of its own, dealt by the book."""
        holders = sorted(roster.adverts)
        block = shamir.split(
            [Secret(secret) for secret in secrets],
            threshold=threshold,
            xs=np.asarray(holders, dtype=np.int64) + 1,
            entropy=FixedEntropy(f"{self.name} deals"),
        )
        return {holder: (block[0, place].tobytes(), block[1, place].tobytes()) for place, holder in enumerate(holders)}

    def seal(self, roster: Joined, receiver: int, content: bytes) -> bytes:
        """A box for a receiver that opens, whatever is in it."""
        box = self._box_keys(roster, receiver)
        return aead.seal(box.sending, content, context=box.context)

    def open(self, roster: Joined, dealer: int, box: bytes) -> tuple[bytes, bytes]:
        """The two shares in a box that was sealed for it: of the mask-key seed, and of the self-mask seed."""
        keys_of_box = self._box_keys(roster, dealer)
        content = aead.open_box(keys_of_box.receiving, box, context=keys_of_box.context)
        if content is None:
            raise ValueError("this box was not sealed for this client")
        mask_key_part, seed_part = _pieces(content, 1 + SHARE_SIZE)
        return mask_key_part[1:], seed_part[1:]

    def _box_keys(self, roster: Joined, peer: int) -> keys.BoxKeys:
        ends = roster.box_endpoint(self.position), roster.box_endpoint(peer)
        private = self.secrets.box_private
        return keys.box_keys(private, *ends, config_digest=self.digest, roster_digest=roster.digest)


def box_content(mask_key_share: bytes, seed_share: bytes, *, marks: tuple[int, int] = SHARE_LABELS) -> bytes:
    """What stands in a box: each share behind its label."""
    return bytes(marks[:1]) + mask_key_share + bytes(marks[1:]) + seed_share


def _pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]
