"""The conformance kit: what is honest passes, and each way of being broken is found."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from protocols.faults import flip
from protocols.transport import ClientTransport, MemoryNetwork, ServerTransport
from secagg import masking, shamir
from secagg.errors import ConfigError
from secagg.primitives.secret import Secret
from secagg.ring import Ring
from secagg.testing import conformance, masks
from secagg.testing.conformance import TRANSPORT_CHECKS, check_masks_cancel, check_sharing, check_transport
from secagg.testing.entropy import FixedEntropy
from secagg.testing.table import Table
from secagg.types import ClientId, system_entropy
from tests.reference import protocol_oracle as oracle

PATIENCE = 0.01

# Transports.


@pytest.mark.parametrize("check", TRANSPORT_CHECKS)
def test_a_network_in_memory_conforms(check: str) -> None:
    assert check_transport(MemoryNetwork, check) == ()


class Meddling:
    """A network in memory between whose ends stands someone, in either direction."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self.inner = MemoryNetwork(names)
        self.sent = 0

    @property
    def server(self) -> ServerTransport:
        return MeddledServer(self)

    def client(self, name: str) -> ClientTransport:
        return MeddledClient(self, name)

    def up(self, name: str, data: bytes) -> None:
        self.inner.client(name).send(data)

    def down(self, name: str, data: bytes) -> None:
        self.inner.server.send(ClientId(name), data)

    def counted(self, every: int) -> bool:
        self.sent += 1
        return self.sent % every == 0


class MeddledServer:
    def __init__(self, network: Meddling) -> None:
        self.network = network

    def send(self, client: ClientId, data: bytes) -> None:
        self.network.down(client, data)

    def receive(self, timeout: float) -> tuple[str, bytes] | None:
        return self.network.inner.server.receive(timeout)


class MeddledClient:
    def __init__(self, network: Meddling, name: str) -> None:
        self.network, self.name = network, name

    def send(self, data: bytes) -> None:
        self.network.up(self.name, data)

    def receive(self, timeout: float) -> bytes | None:
        return self.network.inner.client(self.name).receive(timeout)


class FlipsUp(Meddling):
    def up(self, name: str, data: bytes) -> None:
        super().up(name, flip(data, 77) if data and self.counted(7) else data)


class FlipsDown(Meddling):
    def down(self, name: str, data: bytes) -> None:
        super().down(name, flip(data, -1) if data and self.counted(7) else data)


class LosesUp(Meddling):
    def up(self, name: str, data: bytes) -> None:
        if not self.counted(7):
            super().up(name, data)


class LosesDown(Meddling):
    def down(self, name: str, data: bytes) -> None:
        if not self.counted(7):
            super().down(name, data)


class LosesEmpty(Meddling):
    def up(self, name: str, data: bytes) -> None:
        if data:
            super().up(name, data)


class CutsLong(Meddling):
    def up(self, name: str, data: bytes) -> None:
        super().up(name, data[:65_536])


class CutsText(Meddling):
    """As a transport does that takes bytes for text."""

    def down(self, name: str, data: bytes) -> None:
        super().down(name, data.rstrip(b"\n\0 "))


class MixesSenders(Meddling):
    def up(self, name: str, data: bytes) -> None:
        super().up(self.names[0] if self.counted(5) else name, data)


class MixesReceivers(Meddling):
    def down(self, name: str, data: bytes) -> None:
        super().down(self.names[self.names.index(name) ^ 1] if name in self.names[:2] else name, data)


class Shuffles(Meddling):
    """Longer messages take longer."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(names)
        self.waiting: list[tuple[str, bytes]] = []

    def up(self, name: str, data: bytes) -> None:
        self.waiting.append((name, data))

    @property
    def server(self) -> ServerTransport:
        return SlowServer(self)

    def arrive(self) -> None:
        for name, data in sorted(self.waiting, key=lambda message: len(message[1])):
            super().up(name, data)
        self.waiting.clear()


class SlowServer(MeddledServer):
    network: Shuffles

    def receive(self, timeout: float) -> tuple[str, bytes] | None:
        self.network.arrive()
        return super().receive(timeout)


BROKEN = [
    FlipsUp,
    FlipsDown,
    LosesUp,
    LosesDown,
    LosesEmpty,
    CutsLong,
    CutsText,
    MixesSenders,
    MixesReceivers,
    Shuffles,
]


@pytest.mark.parametrize("network", BROKEN, ids=lambda network: network.__name__)
def test_a_broken_network_is_found(network: type[Meddling]) -> None:
    assert check_transport(network, patience=PATIENCE)


def test_meddling_with_nothing_is_not_found() -> None:
    """So that what the networks above are found for is their meddling."""
    assert check_transport(Meddling, patience=PATIENCE) == ()


@pytest.mark.parametrize("network", [FlipsUp, LosesUp, MixesSenders, CutsLong])
def test_rounds_find_it_too(network: type[Meddling]) -> None:
    rounds = [check for check in TRANSPORT_CHECKS if check.startswith("a round")]
    assert [finding for check in rounds for finding in check_transport(network, check, patience=PATIENCE)]


def test_findings_are_sentences_that_name_their_check() -> None:
    (check,) = [check for check in TRANSPORT_CHECKS if "keep their order" in check]
    findings = check_transport(Shuffles, check, patience=PATIENCE)
    assert {finding.check for finding in findings} == {check}
    assert str(findings[0]).startswith(f"{check}: what client-0000 sent")


def test_a_check_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be one of"):
        check_transport(MemoryNetwork, "a round in the dark")


def test_a_sum_that_is_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kit's own verdict: were the parties to come to another sum, it would say so."""
    monkeypatch.setattr(Table, "expected", lambda table, names: np.zeros(40, dtype=np.int64))
    findings = check_transport(MemoryNetwork, "a round in which everyone answers")
    assert [finding.detail for finding in findings] == ["the sum is not that of the survivors"]


# Masks.

BITS, LENGTH = 20, 30
PairMask = Callable[[int, int], Sequence[int]]


def product_mask(position: int, peer: int) -> list[int]:
    key = Secret(FixedEntropy(f"pair {sorted((position, peer))}")(28))
    sign = masking.pair_sign(position, peer)
    words: list[int] = masks.pairwise_mask(key, ring=Ring(BITS), length=LENGTH, sign=sign).tolist()
    return words


def oracle_mask(position: int, peer: int) -> list[int]:
    words = oracle.mask_words(FixedEntropy(f"pair {sorted((position, peer))}")(28), BITS, LENGTH)
    return oracle.add([0] * LENGTH, words, 1 if position < peer else -1, BITS)


def test_masks_that_cancel_pass() -> None:
    assert check_masks_cancel(product_mask, clients=5, bits=BITS) == ()
    assert check_masks_cancel(oracle_mask, clients=5, bits=BITS) == ()


def spoiled(mask: PairMask, spoil: Callable[[int, int, list[int]], list[int]]) -> PairMask:
    return lambda position, peer: spoil(position, peer, list(mask(position, peer)))


COUNTER = itertools.count()
BROKEN_MASKS: Mapping[str, tuple[PairMask, str]] = {
    "one sign for both": (lambda position, peer: product_mask(min(position, peer), max(position, peer)), "cancel"),
    "a last word that is off": (
        spoiled(product_mask, lambda a, b, w: [*w[:-1], (w[-1] + (a == 1)) % 2**BITS]),
        "do not cancel",
    ),
    "words not reduced": (spoiled(product_mask, lambda a, b, w: [w[0] + 2**BITS, *w[1:]]), "outside the ring"),
    "negative words": (lambda a, b: [(w if a < b else -w) for w in product_mask(min(a, b), max(a, b))], "outside"),
    "nothing at all": (lambda a, b: [0] * LENGTH, "hides nothing"),
    "one mask for everyone": (lambda a, b: product_mask(0, 1) if a < b else product_mask(1, 0), "takes off both"),
    "one mask, turned round": (
        lambda a, b: product_mask(0, 1) if (a < b) != ((a + b) % 2 == 0) else product_mask(1, 0),
        "takes off both",
    ),
    "another one each time": (
        spoiled(product_mask, lambda a, b, w: [(w[0] + next(COUNTER)) % 2**BITS, *w[1:]]),
        "asked for again",
    ),
    "one side longer": (spoiled(product_mask, lambda a, b, w: w + [1] * (a < b)), "do not cancel"),
}


@pytest.mark.parametrize("name", BROKEN_MASKS)
def test_broken_masks_are_found(name: str) -> None:
    mask, said = BROKEN_MASKS[name]
    assert any(said in finding.detail for finding in check_masks_cancel(mask, clients=4, bits=BITS))


@pytest.mark.parametrize(("clients", "length"), [(1, 30), (4, 3)])
def test_too_little_to_compare_is_refused(clients: int, length: int) -> None:
    with pytest.raises(ConfigError, match="at least"):
        check_masks_cancel(lambda a, b: product_mask(a, b)[:length], clients=clients, bits=BITS)


# Shares.


def product_split(secret: bytes, threshold: int, holders: int) -> list[bytes]:
    xs = np.arange(1, holders + 1, dtype=np.int64)
    block = shamir.split([Secret(secret)], threshold=threshold, xs=xs, entropy=system_entropy)
    return [share.tobytes() for share in block[0]]


def product_recover(shares: Mapping[int, bytes], threshold: int) -> bytes | None:
    block = np.frombuffer(b"".join(shares.values()), dtype=np.uint8).reshape(1, len(shares), -1)
    values, _ = shamir.decode_shares(block)
    (secret,) = shamir.recover_many(values, np.array(list(shares), dtype=np.int64) + 1)
    return None if secret is None else secret.reveal()


def oracle_split(secret: bytes, threshold: int, holders: int) -> list[bytes]:
    xs = range(1, holders + 1)
    return list(oracle.split([secret], threshold, xs, system_entropy(4 * oracle.LIMBS * threshold))[0].values())


def oracle_recover(shares: Mapping[int, bytes], threshold: int) -> bytes | None:
    try:
        return oracle.recover({holder + 1: share for holder, share in list(shares.items())[:threshold]})
    except OverflowError:  # what comes of too few shares is not 16 bytes
        return None


def test_sharings_that_share_pass() -> None:
    assert check_sharing(product_split, product_recover) == ()
    assert check_sharing(oracle_split, oracle_recover, threshold=2, holders=4) == ()
    assert check_sharing(product_split, oracle_recover, threshold=4, holders=4) == ()
    assert check_sharing(oracle_split, product_recover) == ()


def fixed_split(secret: bytes, threshold: int, holders: int) -> list[bytes]:
    return list(oracle.split([secret], threshold, range(1, holders + 1), FixedEntropy("fixed")(999 * 4))[0].values())


@pytest.mark.parametrize(
    ("split", "recover", "said"),
    [
        (lambda s, t, n: product_split(s, t - 1, n), product_recover, "give zeros"),
        (lambda s, t, n: product_split(s, t + 1, n), product_recover, "do not give ones"),
        (lambda s, t, n: product_split(s, t, n)[:-1], product_recover, "dealt 4 shares"),
        (lambda s, t, n: [s] * n, lambda shares, t: next(iter(shares.values())), "give a secret"),
        (fixed_split, product_recover, "not drawn"),
        (product_split, lambda shares, t: None, "do not give"),
        (product_split, lambda shares, t: product_recover(shares, t) if 0 in shares else None, "[1, 2, 3] do not give"),
    ],
    ids=[
        "one too few",
        "one too many",
        "a holder short",
        "no sharing",
        "fixed",
        "nothing opens",
        "only with the first",
    ],
)
def test_broken_sharings_are_found(split: conformance.Split, recover: conformance.Recover, said: str) -> None:
    assert any(said in finding.detail for finding in check_sharing(split, recover))


@pytest.mark.parametrize(("threshold", "holders"), [(1, 3), (4, 3)])
def test_numbers_that_do_not_fit_are_refused(threshold: int, holders: int) -> None:
    with pytest.raises(ConfigError, match="threshold="):
        check_sharing(product_split, product_recover, threshold=threshold, holders=holders)


# The page.


def test_the_examples_on_the_page_run() -> None:
    page = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text(encoding="utf-8")
    transport, masks, implementation = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(masks, {})  # noqa: S102  # our own page
    scope: dict[str, object] = {}
    exec(transport, scope)  # noqa: S102  # our own page
    test = scope["test_my_transport"]
    assert callable(test)
    test("a round in which everyone answers")
    assert "check_all(load(" in implementation
