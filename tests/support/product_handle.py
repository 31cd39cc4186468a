"""This implementation, as `secagg.testing.vectors` asks any: `handle(kind, inputs) -> outputs`.

It goes through the public face where there is one (rounds, clients, servers) and calls single functions for the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from secagg import graph, masking, shamir, wire
from secagg.config import RoundConfig, _Fields
from secagg.errors import RemoteError, RoundAborted, Unrecoverable
from secagg.identity import Identity, MemoryDirectory
from secagg.pairwise import checks, keys, messages
from secagg.pairwise.channel import Channel, Direction
from secagg.pairwise.roster import Joined
from secagg.plan import Plan
from secagg.policy import Policy
from secagg.primitives import agreement, kdf
from secagg.primitives.secret import Secret
from secagg.ring import Ring
from secagg.round.client import ClientRound
from secagg.round.events import Event, Failed, Finished, NeedInput, Rejected, Send
from secagg.round.server import ServerRound
from secagg.rules import Rule
from secagg.store import MemoryStore
from secagg.testing.entropy import FixedClientRound, FixedEntropy, FixedServerRound
from secagg.testing.plans import LaxPolicy, UncertifiedPlan
from secagg.testing.table import VectorInput
from secagg.types import SERVER, Adversary, ClientId
from secagg.wire import Message

Outputs = dict[str, Any]
HANDLERS: dict[str, Callable[..., Outputs]] = {}


def handle(kind: str, inputs: Mapping[str, Any]) -> Outputs:
    """Do what a case says; a broken rule is an output."""
    try:
        return HANDLERS[kind](**inputs)
    except RemoteError as error:
        return {"rule": error.rule.value}


def handles(kind: str) -> Callable[[Callable[..., Outputs]], Callable[..., Outputs]]:
    def register(handler: Callable[..., Outputs]) -> Callable[..., Outputs]:
        HANDLERS[kind] = handler
        return handler

    return register


def raw(text: str) -> bytes:
    return bytes.fromhex(text)


def secret(text: str) -> Secret:
    return Secret(bytes.fromhex(text))


def label(name: str) -> bytes:
    return b"secagg/v1/" + name.encode() + b"\0"


def words_of(numbers: Iterable[str], bits: int) -> Any:
    return np.array([int(number) for number in numbers], dtype=Ring(bits).word)


def texts(words: Any) -> list[str]:
    return [str(word) for word in words.tolist()]


# Derivations.


@handles("derive")
def derive(secret: str, salt: str, label: str, context: str, length: int) -> Outputs:
    name = b"secagg/v1/" + label.encode() + b"\0"
    key = kdf.derive(Secret(raw(secret)), salt=raw(salt), label=name, context=raw(context), length=length)
    return {"key": key.reveal().hex()}


@handles("hash")
def hashed(label: str, parts: list[str]) -> Outputs:
    return {"digest": kdf.digest(b"secagg/v1/" + label.encode() + b"\0", *map(raw, parts)).hex()}


@handles("round-keys")
def round_keys(round_secret: str, config_digest: str, position: int) -> Outputs:
    digest = raw(config_digest)
    made = keys.round_secrets(secret(round_secret), config_digest=digest, position=position)
    commitment = keys.seed_commitment(made.self_mask_seed, config_digest=digest, box=made.box)
    return {
        "mask_key_seed": made.mask_key_seed.reveal().hex(),
        "mask_key": made.mask_private.reveal().hex(),
        "box_key": made.box_private.reveal().hex(),
        "self_mask_seed": made.self_mask_seed.reveal().hex(),
        "mask_public": agreement.public_key(made.mask_private).hex(),
        "box_public": made.box.public.hex(),
        "seed_commitment": commitment.hex(),
    }


@handles("pair-keys")
def pair_keys(
    private: str, own: dict[str, Any], peer: dict[str, Any], config_digest: str, roster_digest: str
) -> Outputs:
    ends = [keys.Endpoint(end["position"], raw(end["public"])) for end in (own, peer)]
    digests: dict[str, Any] = {"config_digest": raw(config_digest), "roster_digest": raw(roster_digest)}
    boxes = keys.box_keys(secret(private), ends[0], ends[1], **digests)
    return {
        "mask_key": keys.pairwise_mask_key(secret(private), ends[0], ends[1], **digests).reveal().hex(),
        "sending_box_key": boxes.sending.reveal().hex(),
        "receiving_box_key": boxes.receiving.reveal().hex(),
        "box_context": boxes.context.hex(),
    }


# Arithmetic.


@handles("mask-words")
def mask_words(key: str, bits: int, start: int, count: int) -> Outputs:
    """As a client does it: the mask put on nothing, from a coordinate on."""
    ring = Ring(bits)
    out = bytearray(ring.packed_size(count))
    masking.mask_input(
        lambda first, last: np.zeros(last - first, dtype=ring.word),
        length=count,
        ring=ring,
        plus=[secret(key)],
        minus=[],
        start=start,
        out=memoryview(out),
    )
    return {"words": texts(ring.unpack(out, count))}


@handles("pack")
def pack(bits: int, words: list[str]) -> Outputs:
    return {"packed": Ring(bits).pack(words_of(words, bits)).hex()}


@handles("unpack")
def unpack(bits: int, count: int, packed: str) -> Outputs:
    """As a server admits it."""
    config = some_config(bits=bits, length=count)
    tail = memoryview(raw(packed))
    checks.check_chunk(messages.MaskedInput(chunk=0, unopened=b""), tail, config=config, expected=0)
    return {"words": texts(config.ring.unpack(tail, count))}


def some_config(*, bits: int, length: int) -> RoundConfig:
    plan = Plan.find(clients=3, max_dropped=1, max_corrupt=0)
    digests = {"invited_digest": bytes(32), "recipe_digest": bytes(32), "instructions_digest": bytes(32)}
    return RoundConfig(session=bytes(16), round=1, plan=plan, ring_bits=bits, length=length, **digests)  # type: ignore[arg-type]  # the fields named above


@handles("shamir-split")
def shamir_split(secrets: list[str], threshold: int, xs: list[int], draws: str) -> Outputs:
    source = iter(raw(draws))
    block = shamir.split(
        [secret(each) for each in secrets],
        threshold=threshold,
        xs=np.array(xs, dtype=np.int64),
        entropy=lambda count: bytes(next(source) for _ in range(count)),
    )
    return {"shares": [[share.tobytes().hex() for share in shares] for shares in block]}


@handles("shamir-recover")
def shamir_recover(xs: list[int], shares: list[str]) -> Outputs:
    block = np.frombuffer(b"".join(map(raw, shares)), dtype=np.uint8).reshape(1, len(shares), -1)
    values, valid = shamir.decode_shares(block)
    assert valid.all()
    (recovered,) = shamir.recover_many(values, np.array(xs, dtype=np.int64))
    assert recovered is not None
    return {"secret": recovered.reveal().hex()}


@handles("share-decode")
def share_decode(share: str) -> Outputs:
    """As a server admits it."""
    checks.check_unmask_shares(messages.UnmaskShares(shares=raw(share)), dealers=(0,))
    return {}


@handles("graph")
def neighbors(clients: int, degree: int, seed: str) -> Outputs:
    everyone = degree == clients - 1
    made = graph.complete(clients) if everyone else graph.regular(clients, degree, raw(seed))
    return {"neighbors": [list(made.neighbors(position)) for position in range(clients)]}


# Bytes.


@handles("config")
def config(fields: dict[str, Any]) -> Outputs:
    """Encoded through our own constructor where the plan is certified by it, and decoded again."""
    values = fields | {"round": int(fields["round"]), "length": int(fields["length"])}
    for name in ("session", "invited_digest", "recipe_digest", "instructions_digest"):
        values[name] = raw(values[name])
    encoded = wire.encode_body(_Fields(**values))
    made = RoundConfig.decode(encoded, plan_type=UncertifiedPlan)
    return {"encoded": made.encoded.hex(), "digest": made.digest.hex()}


@handles("config-decode")
def config_decode(encoded: str) -> Outputs:
    return {"digest": RoundConfig.decode(raw(encoded)).digest.hex()}


@handles("message")
def message(
    message: str, config_digest: str, sender: int, fields: dict[str, Any], tail: str, channel_key: str | None
) -> Outputs:
    kind: type[Message] = getattr(messages, message)
    position = SERVER if sender == -1 else sender
    body = built(kind, fields)
    data = wire.front(body, config_digest=raw(config_digest), sender=position) + raw(tail)
    assert wire.decode_body(kind, wire.open_envelope(data, max_size=len(data)).body) == body
    if channel_key is not None:
        channel = Channel.__new__(Channel)
        channel._key, channel._config_digest = secret(channel_key), raw(config_digest)
        direction = Direction.DOWN if sender == -1 else Direction.UP
        data += channel.tag(direction, kind.KIND, data, index=fields.get("chunk", 0))
    return {"bytes": data.hex()}


def built(kind: type[Message], fields: dict[str, Any]) -> Message:
    texts_too = {"invited", "chunk"}
    values = {name: value if name in texts_too else adverts_or_bytes(value) for name, value in fields.items()}
    return kind(**values)


def adverts_or_bytes(value: Any) -> Any:
    return [built(messages.KeyAdvert, advert) for advert in value] if isinstance(value, list) else raw(value)


@handles("survivor-check")
def survivor_check(
    config: str, position: int, joined: list[int], inbox: list[int], min_survivors: int, min_honest: int, survivors: str
) -> Outputs:
    decoded = RoundConfig.decode(raw(config))
    invitation = checks.Invitation(decoded, (), position, min_survivors, min_honest)
    adverts: Any = dict.fromkeys(joined)
    seen = Joined(adverts, b"", graph.complete(decoded.plan.clients))
    body = messages.SurvivorSet(survivors=raw(survivors))
    return {"survivors": sorted(checks.check_survivors(body, invitation=invitation, joined=seen, inbox=inbox))}


# Parties.


class Given(FixedEntropy):
    """The bytes a vector gives, drawn at once."""

    def __init__(self, text: str) -> None:
        super().__init__("given")
        self._bytes = raw(text)

    def __call__(self, count: int) -> bytes:
        assert count == len(self._bytes)
        return self._bytes


class GivenRecipe:
    """What a vector says is summed."""

    def __init__(self, *, digest: str, length: str, ring_bits: int) -> None:
        self.digest, self.length, self._ring = raw(digest), int(length), Ring(ring_bits)

    def ring(self, plan: Plan) -> Ring:
        return self._ring


def new_client(spec: dict[str, Any]) -> ClientRound:
    pinned = {name: raw(key) for name, key in spec["directory"].items()}
    policy = dict(spec["policy"])
    made = Policy if policy.pop("certified") else LaxPolicy
    session, adversaries = policy.pop("session"), policy.pop("adversaries")
    store = MemoryStore()
    arguments: dict[str, Any] = {
        "client": spec["name"],
        "identity": Identity(secret(spec["identity_seed"])),
        "directory": MemoryDirectory(pinned),
        "recipe": GivenRecipe(**spec["recipe"]),
        "instructions": raw(spec["instructions"]),
        "policy": made(
            session=None if session is None else raw(session),
            adversaries=frozenset(map(Adversary, adversaries)),
            **policy | {"max_length": int(policy["max_length"])},
        ),
        "store": store,
    }
    return FixedClientRound(entropy=Given(spec["round_secret"]), **arguments)


@handles("client")
def client(client: dict[str, Any], messages: list[str]) -> Outputs:
    party = new_client(client)
    source = VectorInput(words_of(client["input"], client["recipe"]["ring_bits"]), bits=client["recipe"]["ring_bits"])
    answers: list[list[str]] = []
    rule: Rule | None = None
    for data in messages:
        if client["last_round"] and not answers:
            session = RoundConfig.decode(wire_config(raw(data))).session
            party._journal.reserve(session, client["last_round"])
        events = party.receive(raw(data))
        if any(isinstance(event, NeedInput) for event in events):
            events = party.provide(source)
        rule = rule_of(events) or rule
        if party.closed and any(isinstance(event, Failed) for event in events):
            break
        answers.append(sent_by(events))
    return {"answers": answers} | ({} if rule is None else {"rule": rule.value})


def wire_config(offer: bytes) -> bytes:
    body = wire.open_envelope(offer, max_size=len(offer)).body
    return wire.decode_body(messages.RoundOffer, body).config


def sent_by(events: Iterable[Event]) -> list[str]:
    return [bytes(event.data).hex() for event in events if isinstance(event, Send)]


def rule_of(events: Iterable[Event]) -> Rule | None:
    """The rule a client left by, or that of the boxes it reports with its input."""
    for event in events:
        if isinstance(event, Failed) and isinstance(event.error, RemoteError):
            return event.error.rule
        if isinstance(event, Send) and event.data[4] == messages.MaskedInput.KIND:
            body = wire.open_envelope(bytes(event.data), max_size=len(event.data)).body
            if any(wire.decode_body(messages.MaskedInput, body).unopened):
                return Rule.BOX_OPENS
    return None


def new_server(spec: dict[str, Any]) -> ServerRound:
    plan_type = Plan if spec["certified"] else UncertifiedPlan
    pinned = {name: raw(key) for name, key in spec["directory"].items()}
    return FixedServerRound(
        RoundConfig.decode(raw(spec["config"]), plan_type=plan_type),
        invited=spec["invited"],
        directory=MemoryDirectory(pinned),
        entropy=Given(spec["private"]),
    )


@handles("server")
def server(server: dict[str, Any], events: list[dict[str, Any]]) -> Outputs:
    party = new_server(server)
    party.start()
    refused: list[list[Any]] = []
    for index, event in enumerate(events):
        if "close" in event:
            party.close_leg()
            continue
        for result in party.receive(event["from"], raw(event["data"])):
            assert isinstance(result, Rejected)
            refused.append([index, result.error.rule.value])
    if party.ready:
        party.recover()
    outcome, rule = ending(party.outcome)
    rule = refused[-1][1] if refused else rule
    return {"refused": refused, "outcome": outcome} | ({} if rule is None else {"rule": rule})


def ending(outcome: Finished | Failed | None) -> tuple[Outputs | None, str | None]:
    """How a server's round ended, and the rule it names."""
    if isinstance(outcome, Failed):
        error = outcome.error
        assert isinstance(error, RoundAborted)
        rule = error.rule.value if isinstance(error, Unrecoverable) else None
        return {"failed": error.leg.name.lower(), "suspects": list(error.suspects)}, rule
    if outcome is None or outcome.aggregate is None:
        return None, None
    total = outcome.aggregate
    rule = total.blamed[0].rule.value if total.blamed else None
    blamed = [[blame.holder, blame.dealer] for blame in total.blamed]
    return {"survivors": list(total.survivors), "sum": texts(total.values), "blamed": blamed}, rule


@handles("round")
def whole_round(
    config: str,
    certified: bool,  # noqa: FBT001  # a handler takes the inputs of its kind by name
    invited: list[str],
    identity_seeds: list[str],
    round_secrets: list[str],
    server_private: str,
    inputs: list[list[str]],
    silent: dict[str, list[int]],
) -> Outputs:
    """Every party of a round, and everything they say to each other."""
    decoded = RoundConfig.decode(raw(config), plan_type=Plan if certified else UncertifiedPlan)
    identities = [Identity(secret(seed)) for seed in identity_seeds]
    directory = MemoryDirectory({name: each.public for name, each in zip(invited, identities, strict=True)})
    recipe = GivenRecipe(digest=decoded.recipe_digest.hex(), length=str(decoded.length), ring_bits=decoded.ring_bits)
    given: dict[str, Any] = {"directory": directory, "recipe": recipe, "policy": LaxPolicy()}
    party = FixedServerRound(decoded, invited=invited, directory=directory, entropy=Given(server_private))
    parties = []
    for name, identity, root in zip(invited, identities, round_secrets, strict=True):
        made = FixedClientRound(entropy=Given(root), client=name, identity=identity, **given)
        made._instructions_digest = decoded.instructions_digest  # the vector gives the digest alone
        parties.append(made)
    said: list[list[Any]] = []
    places = {ClientId(name): position for position, name in enumerate(invited)}
    pending = party.start()
    while not party.ready:
        asked: dict[int, list[bytes]] = {}
        for event in pending:
            assert isinstance(event, Send)
            assert event.to is not None
            asked.setdefault(places[event.to], []).append(bytes(event.data))
        said += [[-1, position, data.hex()] for position, group in asked.items() for data in group]
        leg = _ANSWERS[party.leg.value]
        for position, group in asked.items():
            if any(position in gone for kind, gone in silent.items() if _ANSWERS.index(kind) <= _ANSWERS.index(leg)):
                continue
            for data in group:
                events = parties[position].receive(data)
                if any(isinstance(event, NeedInput) for event in events):
                    events = parties[position].provide(
                        VectorInput(words_of(inputs[position], decoded.ring_bits), bits=decoded.ring_bits)
                    )
                for answer in sent_by(events):
                    said.append([position, -1, answer])
                    refused = party.receive(invited[position], raw(answer))
                    assert refused == ()
        pending = party.close_leg()
    party.recover()
    outcome, _ = ending(party.outcome)
    assert outcome is not None
    survivors = [places[name] for name in outcome["survivors"]]
    return {"messages": said, "survivors": survivors, "sum": outcome["sum"]}


_ANSWERS = [kind.__name__ for kind in messages.FROM_CLIENT]
"""By leg."""
