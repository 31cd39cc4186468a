"""CPU seconds of a round on this machine, from the work it counts and what each kind of work takes here.

Promise: nothing is assumed of the machine. Two small rounds are played and the work on vectors is timed, about a
second in all; `secagg.cost` says how often each comes. The forecast is held against real rounds by
`python -m benchmarks growth`, and by no test: a test that asserts time fails on somebody's machine.

A forecast is for one thread with its core to itself: the least of several timings is taken, because a busy machine
only ever adds. Beside other work a round takes longer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from protocols.recipe import Recipe
from secagg import ClientRound, Identity, MemoryDirectory, NeedInput, Plan, Ring, RoundConfig, Send, ServerRound
from secagg.cost import Cost, Work
from secagg.masking import accumulate, mask_input
from secagg.pairwise.messages import KeyAdvert, Roster
from secagg.primitives import agreement, labels, prg, signature
from secagg.primitives.secret import Secret
from secagg.primitives.suite import DIGEST_SIZE, PUBLIC_KEY_SIZE, SIGNATURE_SIZE
from secagg.types import system_entropy
from secagg.wire import decode_body, encode_body

_FEW: Final = 8
_MANY: Final = 48
_WORDS: Final = 1 << 18
_KEYS: Final = 8
_REPEATS: Final = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """CPU seconds of this machine.

    Attributes:
        client: of a client, whatever the cohort.
        neighbor: of a client, for each neighbor: its advert, both agreements, the boxes and the shares.
        joined: of a client, for each client of the roster.
        server_client: of the server, for each client.
        server_pair: of the server, for each neighbor of each client: boxes carried and shares put together.
        agreement: an X25519 exchange.
        verification: an Ed25519 verification.
        mask: opening the keystream of a mask.
        mask_word: expanding a word of a mask and adding it.
        send_word: a client's, for a word of its input: encoding and packing.
        sum_word: the server's, for a word of an input: unpacking and adding.
        result_word: the server's, for a word of the sum: centering and decoding.
    """

    client: float
    neighbor: float
    joined: float
    server_client: float
    server_pair: float
    agreement: float
    verification: float
    mask: float
    mask_word: float
    send_word: float
    sum_word: float
    result_word: float


def client_seconds(plan: Plan, rates: Rates, *, length: int) -> float:
    """CPU seconds of a client through a round in which it stays to the end."""
    return (
        rates.client
        + plan.degree * rates.neighbor
        + plan.clients * rates.joined
        + plan.quorum * rates.verification
        + length * ((plan.degree + 1) * rates.mask_word + rates.send_word)
    )


def server_seconds(plan: Plan, work: Work, rates: Rates, *, length: int) -> float:
    """CPU seconds of the server, for the work of `secagg.cost`; a pair is a survivor and a neighbor that dropped."""
    pairs = work.agreements - plan.clients
    return (
        plan.clients * (rates.server_client + plan.degree * rates.server_pair)
        + (plan.clients if plan.quorum else 0) * rates.verification
        + pairs * (rates.agreement + rates.mask)
        + length * (work.masks * rates.mask_word + (work.masks - pairs) * rates.sum_word + rates.result_word)
    )


def seconds(plan: Plan, price: Cost, rates: Rates, *, length: int) -> dict[str, float]:
    """The forecast of a round: a client, the server with nobody missing, and the server at worst."""
    return {
        "client_cpu_s": client_seconds(plan, rates, length=length),
        "server_cpu_s_no_drop": server_seconds(plan, price.server, rates, length=length),
        "server_cpu_s_worst": server_seconds(plan, price.server_worst, rates, length=length),
    }


def measure(ring: Ring) -> Rates:
    """Take this machine's rates, for words of one ring."""
    verification, agree = _verification(), _agreement()
    joined, mask = _joined(), _opening()
    plans = [Plan.find(clients=clients, max_dropped=0, max_corrupt=0) for clients in (_FEW, _MANY)]
    few, many = (_small_round(plan) for plan in plans)
    step = _MANY - _FEW
    clients = [party.client - plan.quorum * verification for plan, party in zip(plans, (few, many), strict=True)]
    servers = [party.server / plan.clients - verification for plan, party in zip(plans, (few, many), strict=True)]
    neighbor = (clients[1] - clients[0]) / step - joined
    server_pair = max((servers[1] - servers[0]) / step, 0.0)
    return Rates(
        client=max(clients[0] - (_FEW - 1) * neighbor - _FEW * joined, 0.0),
        neighbor=neighbor,
        joined=joined,
        server_client=max(servers[0] - (_FEW - 1) * server_pair, 0.0),
        server_pair=server_pair,
        agreement=agree,
        verification=verification,
        mask=mask,
        **_word_rates(ring),
    )


@dataclass(frozen=True, slots=True)
class _Parties:
    client: float
    server: float


def _small_round(plan: Plan) -> _Parties:
    """Least seconds of a client and of the server in a round of a few words: a busy machine only ever adds."""
    rounds = [_play(plan) for _ in range(2 if plan.clients == _MANY else 6)]
    return _Parties(min(party.client for party in rounds), min(party.server for party in rounds))


def _play(plan: Plan) -> _Parties:
    update = {"w": np.zeros(16, dtype=np.float32)}
    recipe = Recipe.like(update, clip=1.0)
    identities = {f"c{number:02d}": Identity.generate() for number in range(plan.clients)}
    directory = MemoryDirectory({name: identity.public for name, identity in identities.items()})
    config = RoundConfig.create(
        session=system_entropy(16), round=1, plan=plan, invited=tuple(identities), recipe=recipe
    )
    clients = {
        name: ClientRound(client=name, identity=identity, directory=directory, recipe=recipe)
        for name, identity in identities.items()
    }
    server = ServerRound(config, invited=tuple(identities), directory=directory)
    spent = {"client": 0.0, "server": 0.0}

    def timed(party: str, work: Callable[[], tuple[object, ...]]) -> tuple[object, ...]:
        begun = time.process_time()
        events = work()
        spent[party] += time.process_time() - begun
        return events

    events = timed("server", server.start)
    while not server.ready:
        answers: list[tuple[str, bytes]] = []
        for send in events:
            if isinstance(send, Send) and send.to is not None:
                said = timed("client", partial(clients[send.to].receive, bytes(send.data)))
                if any(isinstance(event, NeedInput) for event in said):
                    source = recipe.encode(update, ring=config.ring)
                    said = timed("client", partial(clients[send.to].provide, source))
                answers += [(send.to, bytes(event.data)) for event in said if isinstance(event, Send)]
        for name, data in answers:
            timed("server", partial(server.receive, name, data))
        events = timed("server", server.close_leg)
    timed("server", server.recover)
    return _Parties(spent["client"] / plan.clients, spent["server"])


def _each(work: Callable[[], object], times: int) -> float:
    """Least CPU seconds of one call, of `_REPEATS` batches."""
    taken = []
    for _ in range(_REPEATS):
        begun = time.process_time()
        for _ in range(times):
            work()
        taken.append((time.process_time() - begun) / times)
    return min(taken)


def _verification() -> float:
    identity, message = Identity.generate(), bytes(200)
    signed = identity.sign(label=labels.SIGN_ADVERT, message=message)
    return _each(lambda: signature.verify(identity.public, signed, label=labels.SIGN_ADVERT, message=message), 100)


def _agreement() -> float:
    private, other = (Secret(system_entropy(PUBLIC_KEY_SIZE)) for _ in range(2))
    public = agreement.public_key(other)
    return _each(lambda: agreement.agree(private, public).wipe(), 100)


def _opening() -> float:
    key, block = Secret(system_entropy(prg.STREAM_KEY_SIZE)), memoryview(bytearray(prg.BLOCK_SIZE))
    return _each(lambda: prg.open_stream(key).write(0, block), 200)


def _joined() -> float:
    """Reading one advert of a roster."""
    advert = KeyAdvert(
        mask_key=bytes(PUBLIC_KEY_SIZE),
        box_key=bytes(PUBLIC_KEY_SIZE),
        seed_commitment=bytes(DIGEST_SIZE),
        signature=bytes(SIGNATURE_SIZE),
    )
    roster = encode_body(Roster(joined=bytes(25), adverts=[advert] * 200))
    return _each(lambda: decode_body(Roster, roster), 5) / 200


def _word_rates(ring: Ring) -> dict[str, float]:
    update = {"w": np.linspace(-1e-4, 1e-4, _WORDS, dtype=np.float32)}
    recipe = Recipe.like(update, clip=1.0)
    keys = [Secret(system_entropy(prg.STREAM_KEY_SIZE)) for _ in range(_KEYS)]
    words = np.zeros(_WORDS, dtype=ring.word)
    packed = ring.pack(words)
    wide = recipe.layout.ring_for(2)

    def send() -> None:
        mask_input(recipe.encode(update, ring=wide).read, ring=wide, length=_WORDS, plus=(), minus=())

    return {
        "mask_word": _each(lambda: accumulate(words, plus=keys, minus=()), 2) / (_KEYS * _WORDS),
        "send_word": _each(send, 2) / _WORDS,
        "sum_word": _each(lambda: ring.add_packed(words, packed), 2) / _WORDS,
        "result_word": _each(lambda: recipe.layout.decode(ring.center(words)), 2) / _WORDS,
    }
