"""What a lying client says instead of the truth, and with what input it then counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from secagg import masking, wire
from secagg.pairwise import keys
from secagg.pairwise.channel import TAG_SIZE
from secagg.pairwise.messages import (
    BOX_SIZE,
    FROM_CLIENT,
    SHARE_LABELS,
    KeyAdvert,
    MaskedInput,
    SealedShares,
    SurvivorSignature,
    UnmaskShares,
)
from secagg.pairwise.roster import Joined
from secagg.primitives.secret import Secret
from secagg.ring import Words
from secagg.rules import Rule
from secagg.shamir import SHARE_SIZE
from tests.simulation.cast import Cast
from tests.simulation.cells import CLIENT_LIES, Cell, cell
from tests.simulation.choices import Choices
from tests.support.liars import LyingClient, box_content

_KINDS: Final = {kind.KIND: kind for kind in FROM_CLIENT}
_LIE_ODDS: Final = 0.4


class Liar:
    """A client of the adversary in a round of an honest server: it lies at one leg, at any, or not at all.

    Args:
        cast: the round.
        name: which client it is.
        choices: which lies it tells.
        hits: where cells are counted.
    """

    def __init__(self, cast: Cast, name: str, choices: Choices, hits: Callable[[Cell], None]) -> None:
        self.cast = cast
        self.name = name
        self.position = cast.names.index(name)
        self.choices = choices
        self.hits = hits
        self.client = LyingClient(cast, name)
        favorite = choices.choose(len(FROM_CLIENT) + 2, "which leg it lies at")
        self.odds = {
            kind.KIND: _LIE_ODDS if favorite > len(FROM_CLIENT) else float(favorite == leg)
            for leg, kind in enumerate(FROM_CLIENT, start=1)
        }
        self._said: dict[bytes, list[bytes]] = {}

    def instead_of(self, answer: bytes) -> list[bytes]:
        """What it sends where it should send `answer`; the same again where it is asked again."""
        if answer not in self._said:
            self._said[answer] = self._choose_lie(answer)
        return self._said[answer]

    def input_behind(self, data: bytes, inbox: frozenset[int]) -> Words:
        """The input its masked words amount to: whatever is left of them once its masks are off."""
        envelope = wire.open_envelope(data, max_size=len(data), tag_size=TAG_SIZE)
        message = wire.decode_body(MaskedInput, envelope.body)
        unopened = wire.unpack_positions(message.unopened, self.cast.plan.clients, Rule.INPUT_UNOPENED)
        config, joined = self.cast.config, self._joined
        words = config.ring.unpack(envelope.tail, config.length)
        seed = self.client.secrets.self_mask_seed
        plus = [keys.self_mask_key(seed, config_digest=config.digest, box=joined.box_endpoint(self.position))]
        minus: list[Secret] = []
        for peer in sorted(inbox - set(unopened)):
            ends = joined.mask_endpoint(self.position), joined.mask_endpoint(peer)
            key = keys.pairwise_mask_key(
                self.client.secrets.mask_private, *ends, config_digest=config.digest, roster_digest=joined.digest
            )
            (plus if masking.pair_sign(self.position, peer) > 0 else minus).append(key)
        masking.accumulate(words, plus=minus, minus=plus)
        config.ring.reduce(words)
        return words

    def _choose_lie(self, answer: bytes) -> list[bytes]:
        kind = _KINDS[answer[4]]
        if not self.choices.flag(self.odds[kind.KIND], "whether to lie"):
            return [answer]
        lie = self.choices.pick(CLIENT_LIES[kind.__name__], "which lie")
        said = [] if lie == "silence" else self._lie(kind, lie, answer)
        self.hits(cell(kind.KIND, lie, "lying client"))
        return said

    def _lie(self, kind: type[wire.Message], lie: str, answer: bytes) -> list[bytes]:
        tag_size = 0 if kind is KeyAdvert else TAG_SIZE
        envelope = wire.open_envelope(answer, max_size=len(answer), tag_size=tag_size)
        message = wire.decode_body(kind, envelope.body)
        match message:
            case KeyAdvert():
                return self._advert(lie, answer)
            case SealedShares():
                return [self.client.says(SealedShares(boxes=self._boxes(lie, _pieces(message.boxes, BOX_SIZE))))]
            case MaskedInput():
                return [self._masked(lie, message, bytes(envelope.tail))]
            case SurvivorSignature():
                return [self.client.says(SurvivorSignature(signature=self._signature(lie, message.signature)))]
            case UnmaskShares():
                return [self.client.says(UnmaskShares(shares=self._shares(lie, message.shares)))]
        raise ValueError(f"no lie about a {kind.__name__}")

    @property
    def _joined(self) -> Joined:
        joined: Joined = self.cast.server._phase._joined  # type: ignore[union-attr]  # the roster, which everyone knows
        return joined

    def _advert(self, lie: str, answer: bytes) -> list[bytes]:
        """A bad advert, and the good one behind it where it tries again."""
        liar, others = self.client, self.cast.honest
        match lie:
            case "bad signature":
                bad = liar.advert(position=(self.position + 1) % self.cast.plan.clients)
            case "low-order key":
                bad = liar.advert(mask_key=bytes(32))
            case "copied key":
                bad = liar.advert(box_key=LyingClient(self.cast, self.choices.pick(others, "whose key")).box_key)
            case _:
                bad = liar.advert(digest=bytes(32))
        tries_again = self.choices.flag(0.6, "whether to try again")
        return [liar.says(bad), answer] if tries_again else [liar.says(bad)]

    def _boxes(self, lie: str, boxes: Sequence[bytes]) -> bytes:
        joined = self._joined
        holders = joined.neighbors(self.position)
        some = self.choices.flag(0.5, "whether to deceive only some")
        deceived = set(self.choices.some(holders, "whom to deceive") if some else holders)
        if lie == "a box too few":
            return b"".join(boxes[1:])
        if lie == "other secrets":
            dealt = self.client.deal(joined, threshold=self.cast.plan.threshold, secrets=(bytes(16), bytes(16)))
            false = {holder: self.client.seal(joined, holder, box_content(*dealt[holder])) for holder in deceived}
        elif lie == "swapped labels":
            marks = SHARE_LABELS[1], SHARE_LABELS[0]
            content = box_content(bytes(SHARE_SIZE), bytes(SHARE_SIZE), marks=marks)
            false = {holder: self.client.seal(joined, holder, content) for holder in deceived}
        else:
            false = dict.fromkeys(deceived, bytes(BOX_SIZE))
        return b"".join(false.get(holder, box) for holder, box in zip(holders, boxes, strict=True))

    def _masked(self, lie: str, message: MaskedInput, tail: bytes) -> bytes:
        config = self.cast.config
        match lie:
            case "false report":
                peers = self._joined.neighbors(self.position)
                accused = self.choices.pick(peers, "whom to accuse")
                message = MaskedInput(chunk=0, unopened=wire.pack_positions((accused,), config.plan.clients))
            case "shifted words":
                words = config.ring.unpack(memoryview(tail), config.length)
                words += words.dtype.type(1)
                config.ring.reduce(words)
                tail = bytes(config.ring.pack(words))
            case "another chunk":
                return self.client.says(MaskedInput(chunk=1, unopened=b""), tail=tail, index=1)
            case _:
                tail = tail[:-1] + bytes((tail[-1] | 0x80,))
        return self.client.says(message, tail=tail)

    def _signature(self, lie: str, signature: bytes) -> bytes:
        if lie == "copied signature":
            return signature[::-1]
        everyone = self._joined.adverts.keys()
        return self.client.confirmation(self._joined, everyone - {self.position})

    def _shares(self, lie: str, shares: bytes) -> bytes:
        match lie:
            case "a share too few":
                return shares[SHARE_SIZE:]
            case "shares beyond the field":
                return b"\xff" * len(shares)
            case _:
                bent = np.frombuffer(shares, dtype=np.uint8).reshape(-1, SHARE_SIZE).copy()
                for index in self.choices.some(range(len(bent)), "which shares to bend") or [0]:
                    bent[index, 0] ^= 1
                return bent.tobytes()


def _pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]
