"""docs/protocol.md against the code: its tables are compared, its derivations computed from the page's own words."""

from __future__ import annotations

import hashlib
import hmac
import importlib
import importlib.util
import math
import re
import struct
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from protocols.recipe import Recipe
from secagg import Adversary, Layout, Plan, RoundConfig, bounds, config, graph, masking, store
from secagg.config import instructions_digest, invited_digest
from secagg.identity import Identity
from secagg.pairwise import channel, checks, keys, messages
from secagg.pairwise.keys import Endpoint
from secagg.pairwise.messages import KeyAdvert, MaskedInput, RoundOffer
from secagg.pairwise.roster import joined, roster_of
from secagg.primitives import aead, agreement, labels, prg, signature
from secagg.primitives.secret import Secret
from secagg.round.events import Send
from secagg.round.journal import answer_digest
from secagg.rules import Rule
from secagg.testing.entropy import fixed_identity
from secagg.types import ClientId
from secagg.wire import HEADER_SIZE, aligned, encode_body

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
PREFIX = b"secagg/v1/"


def make_tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_tables", ROOT / "docs" / "make_tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table(name: str) -> list[list[str]]:
    """Cells of the page's table of that name, without its head; code quotes taken off whole cells."""
    found = re.search(rf"<!-- table: {name} -->\n(.*?)\n<!-- end of table -->", PAGE, re.DOTALL)
    assert found is not None, name
    rows = [line.strip("|").split("|") for line in found[1].splitlines()[2:]]
    return [[re.sub(r"^`([^`]*)`$", r"\1", cell.strip()) for cell in row] for row in rows]


# Rules.


def test_the_rules_on_the_page_are_those_of_the_code() -> None:
    tables = make_tables()
    assert tables.replaced(PAGE) == PAGE, "run python docs/make_tables.py"


def test_every_rule_is_named_by_code_or_listed_as_an_outcome() -> None:
    tables = make_tables()
    assert tables.raised_rules() | frozenset(tables.OUTCOMES) == frozenset(Rule)


def test_outcomes_name_functions_that_exist() -> None:
    for text in make_tables().OUTCOMES.values():
        path, name = re.findall(r"`([^`]+)`", text)[:2]
        assert f"def {name.rpartition('.')[2]}(" in (ROOT / "secagg" / path).read_text(encoding="utf-8")


# Bounds, config, messages.


@pytest.mark.parametrize(("constant", "value"), [row[:2] for row in table("bounds")])
def test_bound(constant: str, value: str) -> None:
    module, _, name = constant.rpartition(".")
    assert getattr(importlib.import_module(module), name) == int(value)


def test_the_config_has_the_fields_of_the_page_in_their_order() -> None:
    assert [row[0] for row in table("config")] == list(config._Fields.__struct_fields__)


KINDS = {kind.KIND: kind for kind in (*messages.FROM_SERVER, *messages.FROM_CLIENT)}


def test_every_message_has_its_row() -> None:
    assert [int(row[0]) for row in table("messages")] == sorted(KINDS)


@pytest.mark.parametrize("row", table("messages"), ids=lambda row: row[1])
def test_message_row(row: list[str]) -> None:
    number, name, sender, _, fields, _, tagged = row
    kind = KINDS[int(number)]
    described = [f"{field}: {kind.__annotations__[field]}" for field in kind.__struct_fields__]
    assert name == kind.__name__
    assert sender == ("server" if kind in messages.FROM_SERVER else "client")
    assert re.sub(r"`", "", fields).split(", ") == described
    assert tagged == ("no" if kind in {RoundOffer, KeyAdvert} else "yes")


def evaluate(size: str, symbols: dict[str, int]) -> int:
    """Value of a sum of products of numbers and symbols."""
    return sum(
        math.prod(symbols[factor] if factor in symbols else int(factor) for factor in term.strip().split("·"))
        for term in size.split("+")
    )


def some_config(plan: Plan, *, length: int = 10) -> RoundConfig:
    layout = Layout.like({"w": np.zeros(length)}, bound=1.0, step=2.0**-10)
    names = [f"c-{index:04d}" for index in range(plan.clients)]
    return RoundConfig.create(session=bytes(16), round=7, plan=plan, invited=names, recipe=layout, instructions=b"go")


@pytest.mark.parametrize("row", table("messages"), ids=lambda row: row[1])
@pytest.mark.parametrize("clients", [3, 8, 65, 300])
def test_message_size(row: list[str], clients: int) -> None:
    plan = Plan.find(clients=clients, max_dropped=0, max_corrupt=0, adversary=Adversary.SEMI_HONEST)
    kind = KINDS[int(row[0])]
    body = evaluate(row[5], {"n": clients, "k": plan.degree, "B": math.ceil(clients / 8)})
    if kind is RoundOffer:
        assert body == messages._OFFER
        assert aligned(HEADER_SIZE + body) == messages.MAX_OFFER_SIZE
        return
    config_ = some_config(plan)
    assert messages._BODY_LIMITS[kind.KIND](config_) == body  # rounding up would hide a byte too many
    tail = config_.ring.packed_size(10) if kind is MaskedInput else 0
    assert messages.max_size(kind, config_) == aligned(HEADER_SIZE + body) + tail + channel.TAG_SIZE


def test_the_header_is_the_sum_of_its_parts() -> None:
    drawn = re.search(r"^    magic .*$", PAGE, re.MULTILINE)
    assert drawn is not None
    assert sum(map(int, re.findall(r" (\d+) \|", drawn[0]))) == HEADER_SIZE


# Derivations: values for every word the tables use, and the code's own answer for every row.

CONFIG = some_config(Plan.find(clients=5, max_dropped=0, max_corrupt=0))
DIGEST = CONFIG.digest
LOW, HIGH = 1, 3
ROOTS = {position: Secret(bytes([position + 1]) * 32) for position in range(5)}
SECRETS = {p: keys.round_secrets(root, config_digest=DIGEST, position=p) for p, root in ROOTS.items()}
SERVER_PRIVATE = Secret(b"\x77" * 32)
SERVER_KEY = agreement.public_key(SERVER_PRIVATE)
NAMES = tuple(ClientId(f"c-{index:04d}") for index in range(5))
IDENTITIES = [fixed_identity(name) for name in NAMES]


def advert_of(position: int) -> KeyAdvert:
    secrets = SECRETS[position]
    values = (
        agreement.public_key(secrets.mask_private),
        secrets.box.public,
        keys.seed_commitment(secrets.self_mask_seed, config_digest=DIGEST, box=secrets.box),
    )
    statement = checks.advert_statement(DIGEST, position, *values)
    return KeyAdvert(*values, signature=IDENTITIES[position].sign(label=labels.SIGN_ADVERT, message=statement))


ADVERTS = {position: advert_of(position) for position in range(5)}
ROSTER = roster_of(ADVERTS, 5)
JOINED = joined(CONFIG, tuple(range(5)), ROSTER)
LAYOUT = Layout.like({"w": np.zeros(3)}, bound=1.0, step=0.5)
RECIPE = Recipe.like({"w": np.zeros(3)}, clip=1.0, weight=4.0, metrics={"loss": 2.0})
FILE_SALT = bytes(range(16))


def pos(position: int) -> bytes:
    return struct.pack(">I", position)


WORDS: dict[str, list[bytes]] = {
    "nothing": [b""],
    "config digest": [DIGEST],
    "roster digest": [JOINED.digest],
    "position": [pos(LOW)],
    "low position": [pos(LOW)],
    "high position": [pos(HIGH)],
    "sender position": [pos(LOW)],
    "client position": [pos(LOW)],
    "low mask key": [ADVERTS[LOW].mask_key],
    "high mask key": [ADVERTS[HIGH].mask_key],
    "low box key": [ADVERTS[LOW].box_key],
    "high box key": [ADVERTS[HIGH].box_key],
    "client box key": [ADVERTS[LOW].box_key],
    "mask key": [ADVERTS[LOW].mask_key],
    "box key": [ADVERTS[LOW].box_key],
    "seed commitment": [ADVERTS[LOW].seed_commitment],
    "server key": [SERVER_KEY],
    "direction": [b"\x01"],
    "kind": [b"\x06"],
    "chunk": [pos(2)],
    "file name": [b"open-round"],
    "record salt": [FILE_SALT],
    "encoded config": [CONFIG.encoded],
    "each invited name": [name.encode() for name in NAMES],
    "in order": [],
    "body of the Roster": [encode_body(ROSTER)],
    "self-mask seed": [SECRETS[LOW].self_mask_seed.reveal()],
    "the instructions": [b"go"],
    "each message": [b"one", b"two"],
    "position of each survivor": [pos(0), pos(LOW), pos(HIGH)],
    "ascending": [],
    "kind, name, shape, type, bound and step of each slot": [
        *(b"tensor", b"w", struct.pack(">Q", 3), b"float64"),
        struct.pack(">dd", 1.0, 0.5),
    ],
    "layout digest": [RECIPE.layout.digest],
    "weight": [struct.pack(">d", 4.0)],
    "noise": [b""],
    "adaptation": [b""],
    "whole words": [b"\x00"],
    "number of groups and of metrics": [struct.pack(">QQ", 1, 1)],
    "size": [struct.pack(">Q", 1)],
    "names and bound of each group": [b"w", struct.pack(">d", 1.0)],
    "name and bound of each metric": [b"loss", struct.pack(">d", 2.0)],
}


def words(cell: str, separator: str) -> list[bytes]:
    if cell in WORDS:
        return WORDS[cell]
    return [part for term in cell.split(separator) for part in WORDS[term.strip()]]


def hkdf(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869 with SHA-256, once more."""
    extracted = hmac.new(salt or bytes(32), secret, hashlib.sha256).digest()
    output, block = b"", b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.new(extracted, block + info + bytes([counter]), hashlib.sha256).digest()
        output += block
    return output[:length]


def stream(key: bytes, length: int) -> bytes:
    return prg.keystream(Secret(key), length).tobytes()


def pair_mask() -> Secret:
    return keys.pairwise_mask_key(
        SECRETS[HIGH].mask_private,
        JOINED.mask_endpoint(HIGH),
        JOINED.mask_endpoint(LOW),
        config_digest=DIGEST,
        roster_digest=JOINED.digest,
    )


def box_keys() -> keys.BoxKeys:
    return keys.box_keys(
        SECRETS[HIGH].box_private,
        JOINED.box_endpoint(HIGH),
        JOINED.box_endpoint(LOW),
        config_digest=DIGEST,
        roster_digest=JOINED.digest,
    )


def some_channel() -> channel.Channel:
    return channel.Channel.of_server(
        SERVER_PRIVATE, public=SERVER_KEY, client=Endpoint(LOW, ADVERTS[LOW].box_key), config_digest=DIGEST
    )


AGREED_CHANNEL = agreement.agree(SECRETS[LOW].box_private, SERVER_KEY)
GRAPH_SEED = b"\x21" * 32
STORE_KEY = b"\x22" * 32

# label -> (the secret derived from, what the code derives: the key itself, or bytes of the stream it opens)
DERIVED: dict[str, tuple[bytes, bytes | None]] = {
    "derive/mask-key-seed": (ROOTS[LOW].reveal(), SECRETS[LOW].mask_key_seed.reveal()),
    "derive/box-key": (ROOTS[LOW].reveal(), SECRETS[LOW].box_private.reveal()),
    "derive/self-mask-seed": (ROOTS[LOW].reveal(), SECRETS[LOW].self_mask_seed.reveal()),
    "derive/shamir-coefficients": (ROOTS[LOW].reveal(), None),
    "pair/mask": (agreement.agree(SECRETS[LOW].mask_private, ADVERTS[HIGH].mask_key).reveal(), pair_mask().reveal()),
    "pair/share-box": (
        agreement.agree(SECRETS[LOW].box_private, ADVERTS[HIGH].box_key).reveal(),
        box_keys().receiving.reveal(),
    ),
    "pair/channel": (AGREED_CHANNEL.reveal(), some_channel()._key.reveal()),
    "channel/tag": (some_channel()._key.reveal(), some_channel()._key_for(channel.Direction.DOWN, 6, 2).reveal()),
    "expand/mask-key": (SECRETS[LOW].mask_key_seed.reveal(), SECRETS[LOW].mask_private.reveal()),
    "expand/self-mask": (
        SECRETS[LOW].self_mask_seed.reveal(),
        keys.self_mask_key(SECRETS[LOW].self_mask_seed, config_digest=DIGEST, box=SECRETS[LOW].box).reveal(),
    ),
    "expand/graph": (GRAPH_SEED, None),
    "store/record": (STORE_KEY, None),
    "store/header": (STORE_KEY, None),
}


def derived_from_page(row: list[str]) -> bytes:
    label, _, salt, context, length, _ = row
    info = PREFIX + label.encode() + b"\0" + b"".join(words(context, "‖"))
    return hkdf(DERIVED[label][0], words(salt, "‖")[0], info, int(length))


def key_row(label: str) -> list[str]:
    return next(row for row in table("keys") if row[0] == label)


@pytest.mark.parametrize("row", table("keys"), ids=lambda row: row[0])
def test_key(row: list[str], tmp_path: Path) -> None:
    ours = derived_from_page(row)
    theirs = DERIVED[row[0]][1]
    if row[0] == "derive/shamir-coefficients":
        with keys.coefficient_entropy(ROOTS[LOW], config_digest=DIGEST, roster_digest=JOINED.digest) as entropy:
            ours, theirs = stream(ours, 96), entropy(40) + entropy(56)
    elif row[0] == "expand/graph":
        first = graph._words(GRAPH_SEED, 3)
        ours, theirs = stream(ours, 24), b"".join(struct.pack("<Q", next(first)) for _ in range(3))
    elif row[0] in ("store/record", "store/header"):
        records = store.FileStore(tmp_path, key=Secret(STORE_KEY))
        label = {"store/record": labels.STORE_RECORD, "store/header": labels.STORE_HEADER}[row[0]]
        theirs = records._key_for(label, "open-round", FILE_SALT).reveal()
    assert ours == theirs


def test_the_other_direction_has_another_box_key() -> None:
    row = key_row("pair/share-box")
    info = PREFIX + b"pair/share-box\0" + b"".join(words(row[3], "‖")[:-1]) + pos(HIGH)
    assert hkdf(DERIVED["pair/share-box"][0], DIGEST, info, 28) == box_keys().sending.reveal()


def test_the_contexts_of_boxes_and_tags() -> None:
    pair = b"".join(words(key_row("pair/share-box")[3], "‖")[:-1])
    assert box_keys().context == DIGEST + pair
    key = Secret(derived_from_page(key_row("channel/tag")))
    tag = some_channel().tag(channel.Direction.DOWN, 6, b"all bytes in front", index=2)
    assert tag == aead.seal(key, b"", context=b"all bytes in front")


def labelled_hash(label: str, parts: list[bytes]) -> bytes:
    framed = b"".join(struct.pack(">Q", len(part)) + part for part in parts)
    return hashlib.sha256(PREFIX + label.encode() + b"\0" + framed).digest()


HASHED = {
    "hash/config": DIGEST,
    "hash/invited": invited_digest(NAMES),
    "hash/roster": JOINED.digest,
    "hash/seed-commitment": ADVERTS[LOW].seed_commitment,
    "hash/layout": LAYOUT.digest,
    "hash/recipe": RECIPE.digest,
    "hash/instructions": instructions_digest(b"go"),
    "hash/message": answer_digest((Send(None, b"one"), Send(None, b"two"))),
}


@pytest.mark.parametrize("row", [row for row in table("hashes") if row[0] in HASHED], ids=lambda row: row[0])
def test_hash(row: list[str]) -> None:
    assert labelled_hash(row[0], words(row[1], ",")) == HASHED[row[0]]


def test_only_the_graph_seed_is_tested_apart() -> None:
    assert [row[0] for row in table("hashes") if row[0] not in HASHED] == ["hash/graph-seed"]


def test_the_graph_comes_from_the_seed_of_the_page() -> None:
    plan = Plan.find(clients=100, max_dropped=0, max_corrupt=0, adversary=Adversary.SEMI_HONEST)
    assert not plan.complete
    config_ = some_config(plan)
    seen = joined(config_, tuple(range(5)), ROSTER)
    assert labelled_hash("hash/roster", [config_.digest, encode_body(ROSTER)]) == seen.digest
    seed = labelled_hash("hash/graph-seed", [config_.digest, seen.digest])
    assert seen.graph == graph.regular(100, plan.degree, seed)


@pytest.mark.parametrize("row", table("signatures"), ids=lambda row: row[0])
def test_signature(row: list[str]) -> None:
    parts = [part for term in row[1].split("‖") for part in words(term.strip(), ",")]
    message = b"".join(parts)
    if row[0] == "sign/advert":
        given, label = ADVERTS[LOW].signature, labels.SIGN_ADVERT
    else:
        label = labels.SIGN_SURVIVORS
        statement = checks.survivor_statement(DIGEST, JOINED.digest, frozenset({HIGH, 0, LOW}))
        given = Identity.sign(IDENTITIES[LOW], label=label, message=statement)
    assert label == PREFIX + row[0].encode() + b"\0"
    assert signature.verify(IDENTITIES[LOW].public, given, label=label, message=message)


def test_the_three_tables_hold_every_label() -> None:
    on_page = [row[0] for name in ("keys", "hashes", "signatures") for row in table(name)]
    in_code = [value for name, value in vars(labels).items() if name.isupper() and name != "_PREFIX"]
    assert sorted(PREFIX + label.encode() + b"\0" for label in on_page) == sorted(in_code)


# Shares and masks.


def test_the_lower_position_adds() -> None:
    assert masking.pair_sign(LOW, HIGH) == 1
    assert masking.pair_sign(HIGH, LOW) == -1


def test_the_refusals_of_one_group_leave_no_quorum() -> None:
    """Section 9: however many survivors are cut off, what is left to sign is below the quorum."""
    for clients in range(3, 40):
        for corrupt in range(clients - 2):
            threshold = bounds.smallest_active_threshold(clients=clients, corrupt=corrupt)
            quorum = bounds.smallest_quorum(clients=clients, corrupt=corrupt)
            for cut_off in range(1, clients - corrupt):
                absent = max(0, threshold - corrupt - cut_off)
                assert clients - cut_off - absent < quorum
