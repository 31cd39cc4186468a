"""A whole round in one process: what went wrong is what was asked for, and what comes out is the mean of the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import pytest

from protocols import Recipe
from protocols.errors import FaultError, NoWeight
from protocols.faults import Fault, corrupt, drop, late
from protocols.simulate import LegReport, Party, RoundReport, play_round, simulate
from secagg import (
    Adversary,
    ConfigError,
    Identity,
    InputError,
    MemoryStore,
    Plan,
    Policy,
    RoundAborted,
    Rule,
    TooFewClients,
)
from secagg.config import instructions_digest
from secagg.types import Leg

NAMES: Final = [f"phone-{i}" for i in range(20)]
RNG: Final = np.random.default_rng(0)
UPDATES: Final[dict[str, dict[str, Any]]] = {
    name: {"w": RNG.normal(0, 0.01, (6, 5)), "b": np.zeros(5, np.float32)} for name in NAMES
}
PLAN: Final = Plan.find(clients=20, max_dropped=3, max_corrupt=4)
RECIPE: Final = Recipe.like(UPDATES["phone-0"], clip=1.0)
LEGS: Final = ("advertise", "share", "mask", "confirm", "unmask")


def report_of(faults: Sequence[Fault] = (), recipe: Recipe = RECIPE, plan: Plan = PLAN, **changes: Any) -> RoundReport:
    parties = {name: Party(identity=Identity.generate()) for name in NAMES}
    arguments: dict[str, Any] = {"updates": UPDATES, "parties": parties} | changes
    return play_round(plan=plan, recipe=recipe, faults=faults, **arguments)


def assert_mean(total: Any, survivors: Sequence[str], updates: Mapping[str, Mapping[str, Any]] = UPDATES) -> None:
    assert sorted(total.survivors) == sorted(survivors)
    for name in ("w", "b"):
        truth = np.mean([updates[client][name] for client in survivors], axis=0)
        assert np.abs(total.mean()[name] - truth).max() <= total.step


# The first screen.


def test_the_first_screen_holds() -> None:
    faults = [drop("phone-3", before="mask"), drop("phone-7", before="unmask")]
    total = simulate(UPDATES, PLAN, RECIPE, faults=faults)
    assert total.dropped == ("phone-3",)
    assert "phone-7" in total.survivors
    assert set(total.joined) == set(NAMES)
    assert_mean(total, [name for name in NAMES if name != "phone-3"])


def test_without_faults_everyone_is_in_the_sum() -> None:
    total = simulate(UPDATES, PLAN, RECIPE)
    assert total.dropped == ()
    assert_mean(total, NAMES)
    assert np.allclose(total.sum()["w"], 20 * total.mean()["w"])


@pytest.mark.parametrize("clients", [64, 100])
def test_a_semi_honest_round_on_a_sparse_graph(clients: int) -> None:
    names = [f"phone-{i}" for i in range(clients)]
    updates = {name: UPDATES[NAMES[i % 20]] for i, name in enumerate(names)}
    plan = Plan.find(clients=clients, max_dropped=5, max_corrupt=3, adversary="semi-honest")
    assert not plan.complete
    gone = [drop("phone-8", before="share"), drop("phone-9", before="mask"), drop("phone-10", before="unmask")]
    total = simulate(updates, plan, RECIPE, faults=gone)
    assert_mean(total, [name for name in names if name not in ("phone-8", "phone-9")], updates)


# Faults.


@pytest.mark.parametrize("leg", LEGS)
def test_a_client_that_drops_before_a_leg_counts_if_its_input_was_in(leg: str) -> None:
    report = report_of([drop("phone-3", before=leg)])
    counts = leg in ("confirm", "unmask")
    assert ("phone-3" in report.total.survivors) is counts
    assert ("phone-3" in report.total.joined) is (leg != "advertise")
    assert_mean(report.total, [name for name in NAMES if counts or name != "phone-3"])
    assert report.rejected == ()
    assert {entry.leg.name.lower(): entry.answered for entry in report.legs} == {
        # Who does not share is not asked for an input; who does not confirm is not asked to unmask.
        name: 20 - (LEGS.index(name) >= LEGS.index(leg))
        for name in LEGS
    }


def test_a_client_that_dropped_stays_silent_where_legs_run_together() -> None:
    # A semi-honest round sends survivor set and request at once: who dropped before the one answers neither.
    plan = Plan.find(clients=20, max_dropped=3, max_corrupt=4, adversary="semi-honest")
    report = report_of([drop("phone-3", before="confirm")], plan=plan)
    assert [(entry.leg, entry.answered) for entry in report.legs][-1] == (Leg.UNMASK, 19)
    assert_mean(report.total, NAMES)


@pytest.mark.parametrize("leg", LEGS)
@pytest.mark.parametrize("kind", ["late", "corrupt"])
def test_an_answer_that_is_late_or_changed_is_rejected_and_the_rest_goes_on(leg: str, kind: str) -> None:
    fault = late("phone-3", leg=leg) if kind == "late" else corrupt("phone-3", leg=leg, bit=8 * 60)
    report = report_of([fault])
    assert [rejected.peer for rejected in report.rejected] == ["phone-3"]
    assert_mean(report.total, [name for name in NAMES if leg in ("confirm", "unmask") or name != "phone-3"])


@pytest.mark.parametrize("bit", [0, 40, 8 * 37 + 3, 8 * 45, 8 * 53, -1])  # magic, digest, sender, body, gap, tag
def test_whatever_bit_of_an_input_changes_it_does_not_count(bit: int) -> None:
    report = report_of([corrupt("phone-3", leg="mask", bit=bit)])
    assert len(report.rejected) == 1
    assert report.total.dropped == ("phone-3",)
    assert_mean(report.total, [name for name in NAMES if name != "phone-3"])


def test_faults_within_the_plan_add_up_and_beyond_it_end_the_round() -> None:
    three = [drop("phone-1", before="share"), late("phone-2", leg="mask"), corrupt("phone-3", leg="mask")]
    report = report_of(three)
    assert set(report.total.dropped) == {"phone-1", "phone-2", "phone-3"}
    assert_mean(report.total, [name for name in NAMES if name not in ("phone-1", "phone-2", "phone-3")])
    with pytest.raises(TooFewClients) as failure:
        simulate(UPDATES, PLAN, RECIPE, faults=[*three, drop("phone-4", before="mask")])
    assert (failure.value.leg, failure.value.got, failure.value.need) == (Leg.MASK, 16, 17)


@pytest.mark.parametrize(
    ("leg", "floor"), [("advertise", 17), ("share", 17), ("mask", 17), ("confirm", 13), ("unmask", 13)]
)
def test_a_leg_below_its_floor_ends_the_round(leg: str, floor: int) -> None:
    def faults(gone: int) -> list[Fault]:
        return [drop(name, before=leg) for name in NAMES[:gone]]

    assert len(simulate(UPDATES, PLAN, RECIPE, faults=faults(20 - floor)).survivors) >= 17
    with pytest.raises(RoundAborted) as failure:
        simulate(UPDATES, PLAN, RECIPE, faults=faults(21 - floor))
    assert failure.value.leg.name.lower() == leg


def test_a_fault_of_nobody_is_refused_before_anything_is_played() -> None:
    with pytest.raises(FaultError, match="phone-99"):
        simulate(UPDATES, PLAN, RECIPE, faults=[drop("phone-99", before="mask")])


# Weights and metrics.

WEIGHTS: Final = {name: float(1 + i % 7) for i, name in enumerate(NAMES)}
METRICS: Final = {name: {"loss": i / 10, "hits": float(i)} for i, name in enumerate(NAMES)}
WEIGHED: Final = Recipe.like(UPDATES["phone-0"], clip=1.0, weight=7.0, metrics={"loss": 10.0, "hits": 100.0})


def test_weights_and_metrics_travel_inside_the_input() -> None:
    total = simulate(UPDATES, PLAN, WEIGHED, weights=WEIGHTS, metrics=METRICS, faults=[drop("phone-4", before="mask")])
    survivors = [name for name in NAMES if name != "phone-4"]
    weights = np.array([WEIGHTS[name] for name in survivors])
    truth = np.average([UPDATES[name]["w"] for name in survivors], axis=0, weights=weights)
    assert np.abs(total.mean()["w"] - truth).max() <= total.step
    assert total.weight == pytest.approx(weights.sum(), rel=1e-4)
    assert total.metric("loss") == pytest.approx(np.mean([METRICS[name]["loss"] for name in survivors]), abs=1e-4)
    assert total.metric_sum("hits") == pytest.approx(sum(METRICS[name]["hits"] for name in survivors), abs=1e-2)


def test_weights_of_nothing_have_no_mean() -> None:
    total = simulate(UPDATES, PLAN, WEIGHED, weights=dict.fromkeys(NAMES, 0.0), metrics=METRICS)
    with pytest.raises(NoWeight):
        total.mean()
    assert not total.sum()["w"].any()


@pytest.mark.parametrize(
    ("weights", "metrics", "text"),
    [
        (None, METRICS, "weight is missing"),
        (dict.fromkeys(NAMES[1:], 1.0), METRICS, "weight is missing"),
        (WEIGHTS, None, "metrics differ"),
        (WEIGHTS, {name: METRICS[name] for name in NAMES[1:]}, "metrics differ"),
        (WEIGHTS | {"phone-5": 8.0}, METRICS, "weight must be"),
    ],
    ids=["no weights", "one weight short", "no metrics", "one client's metrics short", "a weight too large"],
)
def test_what_the_recipe_asks_of_everyone_is_missed(weights: Any, metrics: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        simulate(UPDATES, PLAN, WEIGHED, weights=weights, metrics=metrics)


def test_a_recipe_without_weights_takes_none() -> None:
    with pytest.raises(InputError, match="the recipe has none"):
        simulate(UPDATES, PLAN, RECIPE, weights=WEIGHTS)


def test_a_long_update_is_clipped_and_that_is_said() -> None:
    long = {"w": np.full((6, 5), 1.0), "b": np.zeros(5, np.float32)}
    report = report_of(updates=UPDATES | {"phone-5": long})
    assert report.clipped == ("phone-5",)
    clipped = {"w": long["w"] / np.linalg.norm(long["w"]), "b": long["b"]}
    assert_mean(report.total, NAMES, UPDATES | {"phone-5": clipped})


# Who may take part.


def test_a_policy_above_the_plan_empties_the_round() -> None:
    with pytest.raises(TooFewClients) as failure:
        simulate(UPDATES, PLAN, RECIPE, policy=Policy(min_survivors=18))
    assert (failure.value.leg, failure.value.got) == (Leg.ADVERTISE, 0)


def test_a_client_whose_own_policy_refuses_is_a_drop_out_with_a_reason() -> None:
    parties = {name: Party(identity=Identity.generate()) for name in NAMES}
    parties["phone-6"] = Party(identity=Identity.generate(), policy=Policy(min_corrupt=5))
    report = report_of(parties=parties)
    assert {name: error.rule for name, error in report.refused.items()} == {"phone-6": Rule.OFFER_POLICY}
    assert_mean(report.total, [name for name in NAMES if name != "phone-6"])


def test_a_client_that_served_the_number_already_is_a_drop_out() -> None:
    store = MemoryStore()
    session = bytes(16)
    store.reserve(session, 1)
    parties = {name: Party(identity=Identity.generate()) for name in NAMES}
    parties["phone-6"] = Party(identity=Identity.generate(), store=store)
    report = report_of(parties=parties, session=session, number=1)
    assert report.refused["phone-6"].rule is Rule.OFFER_FRESH
    assert "phone-6" not in report.total.joined


def test_the_number_of_updates_is_that_of_the_plan() -> None:
    with pytest.raises(ConfigError, match="clients=20"):
        simulate({name: UPDATES[name] for name in NAMES[:-1]}, PLAN, RECIPE)


def test_an_update_that_does_not_fit_plays_nothing() -> None:
    bad = UPDATES | {"phone-2": {"w": np.zeros((6, 4)), "b": np.zeros(5, np.float32)}}
    with pytest.raises(InputError, match="'w'"):
        simulate(bad, PLAN, RECIPE)


# Reports.


def test_a_report_counts_what_travelled() -> None:
    watched: list[LegReport] = []
    tapped: list[tuple[str, Leg, int]] = []

    def tap(name: str, leg: Leg, data: bytes) -> None:
        tapped.append((name, leg, len(data)))

    report = report_of([drop("phone-3", before="mask")], watch=watched.append, tap=tap)
    assert tuple(watched) == report.legs
    assert [entry.leg.name.lower() for entry in report.legs] == list(LEGS)
    assert [(entry.asked, entry.answered) for entry in report.legs] == [
        (20, 20),
        (20, 20),
        (20, 19),
        (19, 19),
        (19, 19),
    ]
    assert sum(entry.uplink_bytes for entry in report.legs) == sum(report.uplink.values())
    assert sum(entry.downlink_bytes for entry in report.legs) == sum(report.downlink.values())
    assert sum(size for *_, size in tapped) == sum(report.uplink.values())
    by_leg = {entry.leg: entry.uplink_bytes for entry in report.legs}
    for leg, size in by_leg.items():
        assert sum(length for _, at, length in tapped if at is leg) == size
    assert report.uplink["phone-3"] < report.uplink["phone-4"]


@pytest.mark.parametrize("fault", [late("phone-3", leg="mask"), corrupt("phone-3", leg="mask", bit=3)])
def test_the_tap_sees_every_message_that_reaches_the_server(fault: Fault) -> None:
    tapped: list[tuple[str, Leg]] = []
    report = report_of([fault], tap=lambda name, leg, data: tapped.append((name, leg)))
    assert len(report.rejected) == 1
    assert ("phone-3", Leg.MASK) in tapped


def test_a_report_prints_no_update_and_no_bytes() -> None:
    text = repr(report_of())
    assert len(text) < 4000
    assert "array(" not in text.replace(repr(RECIPE), "")


def test_the_config_holds_what_the_clients_execute() -> None:
    report = report_of(instructions=b"model", session=b"s" * 16, number=7)
    assert report.config.instructions_digest == instructions_digest(b"model")
    assert (report.config.session, report.config.round) == (b"s" * 16, 7)
    assert report.aggregate.config_digest == report.config.digest
    assert report_of().config.session != report_of().config.session


def test_threads_change_nothing() -> None:
    with ThreadPoolExecutor(2) as executor:
        report = report_of(executor=executor, workers=3)
    assert_mean(report.total, NAMES)


def test_a_party_that_dropped_can_serve_the_next_round() -> None:
    parties = {name: Party(identity=Identity.generate(), store=MemoryStore()) for name in NAMES}
    session = bytes(16)
    for number, leg in enumerate(LEGS, 1):
        report = report_of([drop("phone-3", before=leg)], parties=parties, session=session, number=number)
        assert report.refused == {}
    assert_mean(report_of(parties=parties, session=session, number=9).total, NAMES)


def test_after_an_aborted_round_every_party_can_serve_the_next() -> None:
    parties = {name: Party(identity=Identity.generate(), store=MemoryStore()) for name in NAMES}
    session = bytes(16)
    for number, leg in enumerate(LEGS, 1):
        gone = [drop(name, before=leg) for name in NAMES[:10]]
        with pytest.raises(RoundAborted):
            report_of(gone, parties=parties, session=session, number=number)
    assert_mean(report_of(parties=parties, session=session, number=9).total, NAMES)


def test_every_adversary_class_is_played() -> None:
    for adversary in Adversary:
        plan = Plan.find(clients=20, max_dropped=3, max_corrupt=4, adversary=adversary)
        assert_mean(simulate(UPDATES, plan, RECIPE), NAMES)
