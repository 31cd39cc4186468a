"""The product and the oracle play the same rounds: every message of every leg is the same bytes, and so is the sum."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.config import CHUNK_GRAIN
from secagg.plan import Plan
from secagg.testing import strategies
from secagg.testing.entropy import FixedEntropy
from secagg.testing.strategies import Case
from secagg.testing.table import Table
from secagg.types import Adversary, Leg
from tests.reference import protocol_oracle as oracle


def oracle_server(table: Table) -> oracle.Server:
    """The same round, made of the same fields; the config is written anew, not copied."""
    plan, config = table.plan, table.config
    names = sorted(table.names)
    mirrored = oracle.Config(
        version=1,
        suite=2,
        session=config.session,
        round=config.round,
        clients=plan.clients,
        max_dropped=plan.max_dropped,
        max_corrupt=plan.max_corrupt,
        adversary=str(plan.adversary),
        degree=plan.degree,
        threshold=plan.threshold,
        quorum=plan.quorum,
        security_bits=plan.security_bits,
        correctness_bits=plan.correctness_bits,
        invited_digest=oracle.digest("hash/invited", *(name.encode() for name in names)),
        recipe_digest=config.recipe_digest,
        instructions_digest=oracle.digest("hash/instructions", table.instructions),
        ring_bits=config.ring_bits,
        length=config.length,
        chunk_words=config.chunk_words,
    )
    return oracle.Server(mirrored, names=names, private=FixedEntropy(f"{table.label}/server")(32))


def oracle_clients(table: Table) -> list[oracle.Client]:
    return [
        oracle.Client(
            name=name,
            seed=FixedEntropy(name)(32),
            root=FixedEntropy(f"{table.label}/{name}")(32),
            words=table.inputs[position].tolist(),
        )
        for position, name in enumerate(table.names)
    ]


def agree(case: Case, **changes: object) -> None:
    """Play a round on both sides at once; whatever either says is compared before the other hears it."""
    table = Table(case.plan, case.inputs, bits=case.bits, **changes)  # type: ignore[arg-type]  # Table's own keywords
    server, clients = oracle_server(table), oracle_clients(table)
    assert (server.config.encoded, server.config.digest) == (table.config.encoded, table.config.digest)
    table.start()
    sent = server.start()
    while not table.server.ready:
        leg = table.server.leg
        assert {table.names.index(name): messages for name, messages in table.pending.items()} == sent, leg
        gone = frozenset[str]().union(*(names for dropped, names in case.schedule.items() if dropped <= leg))
        for position, messages in sent.items():
            play_turn(table, server, clients, position, [] if table.names[position] in gone else messages)
        table.close()
        sent = {} if table.server.ready else server.close()
    assert not table.server.rejected
    assert not table.failures
    total = table.finish()
    assert total.values.tolist() == server.total()
    assert list(total.survivors) == [table.names[position] for position in server.survivors]


def play_turn(
    table: Table, server: oracle.Server, clients: list[oracle.Client], position: int, messages: list[bytes]
) -> None:
    """Let one client of either side answer what is pending for it; with no messages it has fallen silent."""
    name = table.names[position]
    if not messages:
        table.pending.pop(name)
        return
    answers = [answer for data in messages for answer in clients[position].receive(data)]
    said = table.deliver(name)
    assert said == answers
    for answer in answers:
        refused = table.submit(name, answer)
        assert refused == ()
        server.receive(position, answer)


@settings(deadline=None, max_examples=150)
@given(strategies.rounds(), st.integers(1, 2**20), st.binary(min_size=16, max_size=16), st.binary(max_size=40))
def test_random_rounds_agree_byte_for_byte(case: Case, number: int, session: bytes, instructions: bytes) -> None:
    agree(case, number=number, session=session, instructions=instructions)


def a_case(plan: Plan, *, bits: int, length: int, schedule: dict[Leg, frozenset[str]]) -> Case:
    words = np.random.default_rng(bits).integers(0, 2**bits, (plan.clients, length), dtype=np.uint64)
    return Case(plan=plan, bits=bits, inputs=words.astype(np.uint32 if bits <= 32 else np.uint64), schedule=schedule)


def test_inputs_of_several_chunks_agree() -> None:
    """The stream runs on through the chunks; each chunk is packed, and padded, by itself."""
    plan = Plan.find(clients=3, max_dropped=1, max_corrupt=0)
    agree(a_case(plan, bits=9, length=CHUNK_GRAIN + 5, schedule={Leg.MASK: frozenset({"client-0001"})}))


def test_a_certified_regular_graph_agrees() -> None:
    plan = Plan.find(clients=100, max_dropped=4, max_corrupt=2, adversary=Adversary.SEMI_HONEST)
    assert not plan.complete
    gone = {Leg.ADVERTISE: frozenset({"client-0007"}), Leg.MASK: frozenset({"client-0042", "client-0043"})}
    agree(a_case(plan, bits=20, length=4, schedule=gone))


def test_the_oracle_imports_nothing_of_ours() -> None:
    """Neither the product nor its arithmetic: what both say would otherwise be one mistake made once."""
    source = Path(oracle.__file__).read_text(encoding="utf-8")
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).partition(".")[0])
    standard = {"__future__", "collections", "hashlib", "hmac", "math", "typing"}
    assert imported == standard | {"cryptography"}
    assert len(source.splitlines()) < 500
