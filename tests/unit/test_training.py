"""Many rounds around a training loop: one identity a client, a new number and new keys each time, fractions of n."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import pytest

from protocols import Recipe
from protocols.faults import corrupt, drop
from protocols.training import PrivateRounds
from secagg import Adversary, ConfigError, InputError, Plan, Policy, RoundAborted, TooFewClients
from secagg.pairwise.messages import KeyAdvert
from secagg.types import Leg
from secagg.wire import decode_body, open_envelope

NAMES: Final = [f"phone-{i}" for i in range(10)]
UPDATES: Final[dict[str, dict[str, Any]]] = {
    name: {"w": np.random.default_rng(i).normal(0, 0.01, (4, 3))} for i, name in enumerate(NAMES)
}
RECIPE: Final = Recipe.like(UPDATES["phone-0"], clip=1.0)


def rounds_of(**changes: Any) -> PrivateRounds:
    return PrivateRounds(RECIPE, **({"max_dropped": 2, "max_corrupt": 1} | changes))


def assert_mean(total: Any, names: list[str]) -> None:
    assert list(total.survivors) == sorted(names)
    truth = np.mean([UPDATES[name]["w"] for name in names], axis=0)
    assert np.abs(total.mean()["w"] - truth).max() <= total.step


def some(names: list[str]) -> dict[str, Any]:
    return {name: UPDATES[name] for name in names}


# Numbers of clients.


@pytest.mark.parametrize(
    ("share", "counts"),
    [
        (0, {10: 0, 100: 0}),
        (3, {10: 3, 100: 3}),
        (0.0, {10: 0, 100: 0}),
        (0.2, {10: 2, 11: 3, 15: 3, 16: 4}),
        (0.07, {10: 1, 100: 7, 101: 8, 300: 21}),
        (0.1, {10: 1, 11: 2, 30: 3, 70: 7}),
        (1 / 3, {9: 3, 10: 4, 30: 10}),
        (0.3, {10: 3, 20: 6}),
        (1e-6, {10: 1}),
    ],
)
def test_a_fraction_is_of_those_asked_and_rounded_up(share: float, counts: dict[int, int]) -> None:
    rounds = PrivateRounds(RECIPE, max_dropped=share, max_corrupt=0)
    assert {clients: rounds.plan(clients).max_dropped for clients in counts} == counts
    rounds = PrivateRounds(RECIPE, max_dropped=0, max_corrupt=share)
    assert {clients: rounds.plan(clients).max_corrupt for clients in counts} == counts


@pytest.mark.parametrize("name", ["max_dropped", "max_corrupt"])
@pytest.mark.parametrize("share", [-1, -0.1, 1.0, 1.5, float("nan"), float("inf"), -float("inf"), True, False])
def test_a_share_that_is_none_is_refused(name: str, share: float) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be a number of clients"):
        rounds_of(**{name: share})


def test_a_plan_is_that_of_its_numbers() -> None:
    assert rounds_of().plan(10) == Plan.find(clients=10, max_dropped=2, max_corrupt=1)
    semi_honest = rounds_of(adversary="semi-honest").plan(10)
    assert semi_honest.adversary is Adversary.SEMI_HONEST
    with pytest.raises(ConfigError, match="lower"):
        rounds_of(max_dropped=0.9).plan(10)


# Rounds.


def test_rounds_follow_one_another() -> None:
    rounds = rounds_of()
    assert (rounds.rounds, rounds.last) == (0, None)
    for number in (1, 2, 3):
        assert_mean(rounds.sum(UPDATES), NAMES)
        assert rounds.rounds == number
        assert rounds.last is not None
        assert rounds.last.config.round == number
        assert rounds.last.refused == {}


def test_a_client_keeps_its_identity_and_takes_new_keys() -> None:
    rounds = rounds_of()
    adverts: list[dict[str, KeyAdvert]] = []
    sessions, identities = set(), []
    for _ in range(3):
        heard: dict[str, KeyAdvert] = {}

        def tap(name: str, leg: Leg, data: bytes, heard: dict[str, KeyAdvert] = heard) -> None:
            if leg is Leg.ADVERTISE:
                heard[name] = decode_body(KeyAdvert, open_envelope(data, max_size=len(data)).body)

        rounds.sum(UPDATES, tap=tap)
        assert rounds.last is not None
        sessions.add(rounds.last.config.session)
        identities.append({name: party.identity.public for name, party in rounds._parties.items()})
        adverts.append(heard)
    assert len(sessions) == 1
    assert identities[0] == identities[1] == identities[2]
    for name in NAMES:
        for value in ("mask_key", "box_key", "seed_commitment"):
            assert len({getattr(heard[name], value) for heard in adverts}) == 3


def test_two_sessions_share_nothing() -> None:
    one, other = rounds_of(), rounds_of()
    for rounds in (one, other):
        rounds.sum(UPDATES)
    assert one.last is not None
    assert other.last is not None
    assert one.last.config.session != other.last.config.session
    publics = [{party.identity.public for party in rounds._parties.values()} for rounds in (one, other)]
    assert not publics[0] & publics[1]


@pytest.mark.parametrize("leg", ["advertise", "share", "mask", "confirm", "unmask"])
def test_after_an_aborted_round_comes_a_new_one_with_everyone(leg: str) -> None:
    rounds = rounds_of()
    with pytest.raises(RoundAborted) as failure:
        rounds.sum(UPDATES, faults=[drop(name, before=leg) for name in NAMES[:6]])
    assert failure.value.leg.name.lower() == leg
    assert rounds.rounds == 1
    assert_mean(rounds.sum(UPDATES), NAMES)
    assert rounds.rounds == 2
    assert rounds.last is not None
    assert rounds.last.config.round == 2


@pytest.mark.parametrize("leg", ["advertise", "share", "mask", "confirm", "unmask"])
def test_a_client_that_dropped_out_is_back_in_the_next_round(leg: str) -> None:
    rounds = rounds_of()
    rounds.sum(UPDATES, faults=[drop("phone-3", before=leg), corrupt("phone-4", leg=leg)])
    assert_mean(rounds.sum(UPDATES), NAMES)
    assert rounds.last is not None
    assert rounds.last.refused == {}


def test_an_update_that_does_not_fit_uses_a_number_and_stops_nothing() -> None:
    rounds = rounds_of()
    with pytest.raises(InputError):
        rounds.sum(UPDATES | {"phone-2": {"w": np.full((4, 3), np.nan)}})
    assert_mean(rounds.sum(UPDATES), NAMES)
    assert rounds.last is not None
    assert rounds.last.config.round == rounds.rounds == 2


def test_clients_come_and_go() -> None:
    rounds = rounds_of(max_dropped=0.2, max_corrupt=0.1)
    assert_mean(rounds.sum(some(NAMES[:6])), NAMES[:6])
    first = dict(rounds._parties)
    assert_mean(rounds.sum(some(NAMES[4:])), NAMES[4:])
    assert_mean(rounds.sum(UPDATES), NAMES)
    assert all(rounds._parties[name] is party for name, party in first.items())
    assert rounds.last is not None
    assert rounds.last.refused == {}
    assert rounds.last.config.plan == rounds.plan(10)


def test_everything_a_round_takes_is_passed_on() -> None:
    recipe = Recipe.like(UPDATES["phone-0"], clip=1.0, weight=4.0, metrics={"loss": 10.0})
    legs: list[Leg] = []
    with ThreadPoolExecutor(1) as executor:
        rounds = PrivateRounds(recipe, max_dropped=1, max_corrupt=1, executor=executor, workers=2)
        total = rounds.sum(
            UPDATES,
            weights=dict.fromkeys(NAMES, 2.0),
            metrics={name: {"loss": 1.5} for name in NAMES},
            instructions=b"model",
            watch=lambda report: legs.append(report.leg),
        )
    assert total.weight == pytest.approx(20.0, rel=1e-4)
    assert total.metric("loss") == pytest.approx(1.5, abs=1e-3)
    assert len(legs) == 5


def test_a_policy_holds_for_every_client() -> None:
    rounds = rounds_of(policy=Policy(min_survivors=9))
    with pytest.raises(TooFewClients):
        rounds.sum(UPDATES)
    assert_mean(rounds_of(max_dropped=1, policy=Policy(min_survivors=9)).sum(UPDATES), NAMES)


def test_the_session_shows_no_secret() -> None:
    rounds = rounds_of()
    rounds.sum(UPDATES)
    text = repr(rounds._parties["phone-0"])
    assert "Identity" in text
    assert rounds._parties["phone-0"].identity._seed.reveal().hex()[:8] not in text
