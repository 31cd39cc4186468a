"""The parties: where each one's code comes from, which driver plays it, and what it does and does not do.

Promise: the words are features of the code that is driven, for ours as for theirs, and nothing is judged. Every party
has a word for every feature; a test holds that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

FEATURES: Final = (
    "scheme",
    "server learns",
    "signed keys",
    "signed survivor set",
    "server that lies",
    "drop-outs",
    "quantization",
    "kept over rounds",
    "timed",
)
"""What the parties are compared by, beside what is measured."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Party:
    """Somebody who can play a round.

    Attributes:
        name: a plain name, part of the names of figures.
        title: for people.
        driver: module of this package that plays its rounds.
        requirements: what its environment is built of, newest that installs; nothing for ours, which is here already.
        features: a word or a few for each of FEATURES.
    """

    name: str
    title: str
    driver: str
    requirements: tuple[str, ...] = ()
    features: Mapping[str, str]


_OUR_FEATURES: Final = {
    "scheme": "pairwise masks and a self mask, Shamir shares of both",
    "server learns": "the sum",
    "signed keys": "yes, by pinned identities",
    "signed survivor set": "yes on the complete graph",
    "server that lies": "yes on the complete graph, no on a k-regular one",
    "drop-outs": "at any point",
    "quantization": "in the client, L2 clip and rounding to the nearest step; ring of 32 bits (whole_words)",
    "kept over rounds": "identities",
    "timed": "everything from offer to mean, encoding of messages included",
}

OURS: Final = Party(name="ours", title="this project", driver="drive_ours", features=_OUR_FEATURES)

_FLWR_FEATURES: Final = {
    "scheme": "pairwise masks and a self mask, Shamir shares of both",
    "server learns": "the sum",
    "signed keys": "no",
    "signed survivor set": "no",
    "server that lies": "no",
    "drop-outs": "at any point",
    "quantization": "in the client, clip of each coordinate and stochastic rounding",
    "kept over rounds": "nothing",
    "timed": "mods and workflow; encoding of messages for a transport left out, averaging strategy counted apart",
}

FLWR: Final = Party(
    name="flwr_secagg",
    title="flwr SecAgg",
    driver="drive_flwr",
    requirements=("flwr",),
    features=_FLWR_FEATURES,
)

FLWR_PLUS: Final = Party(
    name="flwr_secagg_plus",
    title="flwr SecAgg+",
    driver="drive_flwr",
    requirements=("flwr",),
    features={**_FLWR_FEATURES, "scheme": "as flwr SecAgg, on a k-regular graph"},
)

DECLEARN: Final = Party(
    name="declearn_masking",
    title="declearn masking",
    driver="drive_declearn",
    requirements=("declearn",),
    features={
        "scheme": "pairwise masks",
        "server learns": "the sum",
        "signed keys": "yes, by trusted identities",
        "signed survivor set": "no set: every client is in the sum",
        "server that lies": "in the key agreement",
        "drop-outs": "no: set up again",
        "quantization": "in the client, clip of each coordinate and rounding to the nearest level",
        "kept over rounds": "identities and mask seeds; their set-up is counted apart",
        "timed": "encryption, sum and decryption, encoding of messages included",
    },
)

TENSEAL: Final = Party(
    name="tenseal_ckks",
    title="TenSEAL CKKS",
    driver="drive_tenseal",
    requirements=("tenseal",),
    features={
        "scheme": "homomorphic encryption under a key the clients hold",
        "server learns": "nothing; the clients learn the sum",
        "signed keys": "no",
        "signed survivor set": "no",
        "server that lies": "no",
        "drop-outs": "before their vector is sent",
        "quantization": "none; CKKS is approximate",
        "kept over rounds": "the key; its making is counted apart",
        "timed": "encryption, sum and decryption, encoding of ciphertexts included",
    },
)

PARTIES: Final[Mapping[str, Party]] = {party.name: party for party in (OURS, FLWR, FLWR_PLUS, DECLEARN, TENSEAL)}
