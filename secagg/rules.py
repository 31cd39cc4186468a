"""Every check of the protocol has a name, and this is the list.

The specification (docs/protocol.md), the code that enforces, the tests that trip and the errors that report use the
same name. A `Rule`'s value is its id on the page; its meaning is one sentence that says what must hold.

Imports nothing.
"""

from __future__ import annotations

import enum
from typing import Self


class Rule(enum.StrEnum):
    """One thing that must hold about bytes from another party."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Self:
        """Bind the id and the sentence."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    # Any message.
    WIRE_FORMAT = "wire-format", "a message is one canonical envelope of this version, fully consumed"
    WIRE_SIZE = "wire-size", "a message is no longer than its kind can be in this round"
    WIRE_ROUND = "wire-round", "a message carries the digest of this round's config"
    WIRE_SENDER = "wire-sender", "a message carries the position of the party that sent it"
    WIRE_TAG = "wire-tag", "a message after offer and advert carries the tag of the channel it came through"
    WIRE_ORDER = "wire-order", "a party sends the one message expected of it now, or repeats its last one unchanged"

    # Offer.
    OFFER_CONFIG = "offer-config", "every field of the config is in range and agrees with the others"
    OFFER_INVITED = "offer-invited", "the invited list is sorted, distinct, of the planned length and digest"
    OFFER_SERVER_KEY = "offer-server-key", "the server's channel key is a full-order X25519 point"
    OFFER_SELF = "offer-self", "the client that is offered the round is invited to it"
    OFFER_PLAN = "offer-plan", "the plan is certified safe for its adversary"
    OFFER_POLICY = "offer-policy", "the config meets the client's own policy"
    OFFER_FRESH = "offer-fresh", "the round number is above the last one this client used in the session, not far above"
    OFFER_RECIPE = "offer-recipe", "the recipe digest, ring and length are the client's own"
    OFFER_INSTRUCTIONS = "offer-instructions", "the instructions digest is the client's own"

    # Leg 0, advertise.
    ADVERT_IDENTITY = "advert-identity", "the directory knows the advertiser"
    ADVERT_SIGNATURE = "advert-signature", "an advert is signed by its advertiser for this config and position"
    ADVERT_KEY = "advert-key", "an advertised key is a full-order X25519 point"
    ADVERT_DISTINCT = "advert-distinct", "no key or commitment is advertised twice in a round"
    ROSTER_ORDER = "roster-order", "the roster lists invited positions in ascending order, each once"
    ROSTER_SELF = "roster-self", "the client's own advert stands in the roster unaltered"
    ROSTER_FLOOR = "roster-floor", "at least the threshold and the survivor floor have joined"

    # Leg 1, share.
    BOXES_RECEIVERS = "boxes-receivers", "a client seals exactly one box for each of its neighbors, in order"
    INBOX_SENDERS = "inbox-senders", "an inbox holds boxes of neighbors, in order, each once"
    INBOX_FLOOR = "inbox-floor", "enough boxes open to recover a secret, the client's own share counted"
    BOX_OPENS = "box-opens", "a box opens for its receiver and holds the two shares of its sender"

    # Leg 2, mask.
    INPUT_CHUNK = "input-chunk", "chunks come in order, each once, each of its exact length"
    INPUT_RANGE = "input-range", "a masked word is below the ring's modulus and padding bits are zero"
    INPUT_UNOPENED = "input-unopened", "the unopened list names senders of the client's own inbox, in order"
    INBOX_CONFLICT = "inbox-conflict", "two counted clients opened each other's boxes"
    SURVIVORS_FORM = "survivors-form", "the survivor set is a bitmap of joined positions, padding bits zero"
    SURVIVORS_SELF = "survivors-self", "a client that confirms is itself a survivor"
    SURVIVORS_INBOX = "survivors-inbox", "every survivor among a client's neighbors is in its own inbox"
    SURVIVORS_FLOOR = "survivors-floor", "the survivors number at least min_survivors"
    SURVIVORS_HONEST = "survivors-honest", "the survivors without max_corrupt of them still hide one another"

    # Leg 3, confirm.
    CONFIRM_SIGNATURE = "confirm-signature", "a survivor signs this config, this roster and this survivor set"
    QUORUM_ORDER = "quorum-order", "signers are survivors, in ascending order, each once"
    QUORUM_SIGNATURE = "quorum-signature", "every forwarded signature verifies on the client's own survivor set"
    QUORUM_REACHED = "quorum-reached", "at least quorum survivors signed the same survivor set"

    # Leg 4, unmask.
    SHARES_HOLDERS = "shares-holders", "a client reveals one share for each client of its inbox, in order"
    SHARE_RANGE = "share-range", "a share is seven field elements below the prime, padding bits zero"
    SHARE_CONSISTENT = "share-consistent", "a share lies on the polynomial its dealer's other holders agree on"
    SECRET_MATCHES = "secret-matches", "a recovered secret opens its dealer's commitment or public key"
