"""Fuzz targets for what is read: bytes of another party, of a disk, of a caller.

The contract of each: an error of the package's own kind, or an answer; and where bytes were accepted, writing the
answer down again gives those bytes. Anything else that leaves a target is a finding.
"""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from dp.errors import LedgerCorrupt, ParameterError
from dp.events import from_json, to_json
from dp.ledger import verify
from dp.records import read_anchor, write_anchor
from secagg import shamir, wire
from secagg.config import RoundConfig
from secagg.errors import ConfigError, InputError, Malformed, RemoteError, StorageError, Violation
from secagg.fixedpoint import FixedPoint
from secagg.identity import FileDirectory
from secagg.layout import Layout
from secagg.pairwise import checks, messages
from secagg.pairwise.messages import FROM_CLIENT, FROM_SERVER
from secagg.pairwise.roster import Joined
from secagg.plan import Plan
from secagg.ring import MAX_BITS, MIN_BITS, Ring
from secagg.rules import Rule
from secagg.shamir import SHARE_SIZE
from secagg.testing.plans import LaxPolicy, UncertifiedPlan
from secagg.testing.table import Table
from secagg.types import Leg
from tests.fuzz.finding import require
from tests.simulation.choices import FromBytes
from tests.support.liars import LyingServer

Target = Callable[[bytes], None]

DTYPES: Final = ("<f2", "<f4", "<f8", ">f2", ">f4", ">f8")


@functools.cache
def table() -> Table:
    """A round to read messages in; its parties are never moved."""
    return Table(Plan.find(clients=5, max_dropped=1, max_corrupt=1), np.zeros((5, 40), dtype=np.uint32), bits=20)


# The wire.


def envelope(data: bytes) -> None:
    """Any bytes, with and without a round known, as a client and as a server take them apart."""
    for config in (None, table().config):
        try:
            found = messages.open_message(data, config=config)
        except Malformed:
            continue
        body = len(found.body).to_bytes(4, "big") + bytes(found.body)
        header = wire.MAGIC + bytes((found.kind,)) + found.config_digest + found.sender.to_bytes(4, "big")
        gap = bytes(-len(header + body) % 8)
        require(header + body + gap + bytes(found.tail) + bytes(found.tag) == data, "its parts are not the envelope")
        require(bytes(found.tagged) + bytes(found.tag) == data, "the tag covers something else")
        require(len(data) <= messages.MAX_OFFER_SIZE or config is not None, "longer than any offer")


def body(kind: type[wire.Message], data: bytes) -> None:
    """Any bytes as the body of one kind of message."""
    try:
        message = wire.decode_body(kind, data)
    except Malformed:
        return
    require(wire.encode_body(message) == data, "another encoding was accepted")
    require(len(repr(message)) < 200, "it prints more than sizes")
    check(message)


def check(message: wire.Message) -> None:
    """Hold a decoded message against a round, as whoever receives it would; the checks are pure."""
    with contextlib.suppress(RemoteError):
        CHECKS[type(message)](message)


@functools.cache
def place() -> checks.Invitation:
    """Where client 0 sits."""
    config, names = table().config, tuple(table().clients[name].client for name in table().names)
    return checks.Invitation(config, names, 0, min_survivors=config.plan.min_survivors, min_honest=2)


@functools.cache
def joined() -> Joined:
    """The roster of everyone, genuinely signed."""
    server = LyingServer(Table(table().plan, table().inputs, bits=20))
    server.play(Leg.ADVERTISE)
    return server.joined


def check_offer(offer: messages.RoundOffer) -> None:
    """An offer that is believed names a plan that both accept and everyone once."""
    found = checks.check_offer(
        offer,
        client=place().invited[0],
        policy=LaxPolicy(),
        recipe=table().recipe,
        instructions_digest=place().config.instructions_digest,
    )
    require(found.config.encoded == offer.config, "another encoding of the config was accepted")
    require(list(found.invited) == offer.invited, "others are invited than it says")


def check_advert(advert: messages.KeyAdvert) -> None:
    name, directory = place().invited[1], table().directory
    checks.check_new_advert(
        advert, client=name, position=1, config=place().config, directory=directory, taken=frozenset()
    )


def check_input(message: messages.MaskedInput) -> None:
    checks.check_chunk(message, memoryview(bytes(100)), config=place().config, expected=0)
    checks.check_unopened(message, config=place().config, inbox=frozenset(range(1, 5)))


def check_request(request: messages.UnmaskRequest) -> None:
    survivors, directory = frozenset(range(5)), table().directory
    checks.check_unmask_request(
        request,
        config=place().config,
        invited=place().invited,
        joined=joined(),
        survivors=survivors,
        directory=directory,
    )


CHECKS: Final[Mapping[type[wire.Message], Callable[[Any], object]]] = {
    messages.RoundOffer: check_offer,
    messages.KeyAdvert: check_advert,
    messages.Roster: lambda roster: checks.check_roster(
        roster, invitation=place(), own=joined().adverts[0], directory=table().directory
    ),
    messages.SealedShares: lambda shares: checks.check_sealed_shares(shares, receivers=(1, 2, 3, 4)),
    messages.Inbox: lambda inbox: checks.check_inbox(inbox, invitation=place(), joined=joined()),
    messages.MaskedInput: check_input,
    messages.SurvivorSet: lambda survivors: checks.check_survivors(
        survivors, invitation=place(), joined=joined(), inbox=range(5)
    ),
    messages.SurvivorSignature: lambda given: checks.check_survivor_signature(
        given, client=place().invited[1], statement=b"", directory=table().directory
    ),
    messages.UnmaskRequest: check_request,
    messages.UnmaskShares: lambda shares: checks.check_unmask_shares(shares, dealers=tuple(range(5))),
}


def config(data: bytes) -> None:
    """Any bytes as a round's config, its plan certified and not."""
    for plan_type in (Plan, UncertifiedPlan):
        try:
            found = RoundConfig.decode(data, plan_type=plan_type)
        except (Malformed, Violation):
            continue
        require(found.encoded == data, "another encoding was accepted")
        require(found.chunks >= 1, "an input of no chunk")


def positions(data: bytes) -> None:
    """A bitmap of any length for any number of clients."""
    clients = int.from_bytes(data[:1], "big") + 1
    try:
        found = wire.unpack_positions(data[1:], clients, Rule.SURVIVORS_FORM)
    except Malformed:
        return
    require(wire.pack_positions(found, clients) == data[1:], "another bitmap was accepted")


# Numbers.


def packed(data: bytes) -> None:
    """Any bytes as packed words of any ring, and as shares."""
    ring = Ring(MIN_BITS + int.from_bytes(data[:1], "big") % (MAX_BITS - MIN_BITS + 1))
    raw = data[1:]
    length = len(raw) * 8 // ring.bits
    if ring.packed_size(length) == len(raw):
        words = ring.unpack(raw, length)
        only_one = length == 0 or ring.padding_is_zero(raw, length)
        require((ring.pack(words) == raw) == only_one, "packed words with another padding")
        require((ring.lift(ring.center(words)) == words).all(), "centering loses words")
        total = np.zeros(length, dtype=ring.word)
        ring.add_packed(total, raw)
        require((total == words).all(), "adding packed words is not adding words")
    shares = np.frombuffer(raw[: len(raw) // SHARE_SIZE * SHARE_SIZE], dtype=np.uint8).reshape(-1, SHARE_SIZE)
    values, valid = shamir.decode_shares(shares)
    for share, value, good in zip(shares, values, valid.tolist(), strict=True):
        if good:
            require((shamir.encode_shares(value) == share).all(), "another encoding of a share was accepted")


def layout(data: bytes) -> None:
    """Bytes as the floats of an update, whatever they are, in whatever shape; the bound and step among them."""
    choices = FromBytes(data[:8])
    dtype = np.dtype(DTYPES[choices.choose(len(DTYPES), "dtype")])
    bound, step = (2.0 ** (choices.choose(128, "exponent") - 64) for _ in range(2))
    raw = data[8:]
    flat = np.frombuffer(raw[: len(raw) // dtype.itemsize * dtype.itemsize], dtype=dtype)
    columns = 1 + choices.choose(5, "columns")
    update = {
        "w": flat[: len(flat) // columns * columns].reshape(-1, columns),
        "b": flat[:: -1 - choices.choose(3, "stride")],
    }
    try:
        found = Layout.like(update, bound=bound, step=step, scalars={"n": FixedPoint(bound=bound, step=step)})
        ring = found.ring_for(1 + choices.choose(4096, "clients"))
        words = found.encode(update, {"n": bound / 2}, ring=ring).read(0, found.length)
    except (ConfigError, InputError):
        return
    decoded = found.decode(ring.center(words), clients=1)
    for name, array in update.items():
        error = np.abs(decoded.tensors[name] - array.astype(np.float64))
        slack = step / 2 * (1 + 2**-40) + np.abs(array).astype(np.float64) * 2.0**-52
        require((error <= slack).all(), "further off than half a step")


# Disks.


def directory(data: bytes) -> None:
    """Any bytes as a file of pinned identities."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "directory.json"
        path.write_bytes(data)
        try:
            FileDirectory(path)
        except (StorageError, ConfigError):
            return


def ledger(data: bytes) -> None:
    """Any bytes as a ledger, as the note beside it, and as an event."""
    with contextlib.suppress(LedgerCorrupt):
        book = verify(data.splitlines(keepends=True))
        require(len(book.entries) < data.count(b"\n"), "more rounds than lines behind the opening")
    with contextlib.suppress(LedgerCorrupt):
        require(data == b"" or write_anchor(read_anchor(data)) == data, "another note was accepted")
    with contextlib.suppress(ParameterError):
        text = data.decode("latin-1")
        require(to_json(from_json(text)) == text, "another text of an event was accepted")


BODIES: Final[Mapping[str, Target]] = {
    f"message_{kind.__name__}": functools.partial(body, kind) for kind in (*FROM_SERVER, *FROM_CLIENT)
}

DECODERS: Final[Mapping[str, Target]] = {
    "envelope": envelope,
    **BODIES,
    "config": config,
    "positions": positions,
    "packed": packed,
    "layout": layout,
    "directory": directory,
    "ledger": ledger,
}
