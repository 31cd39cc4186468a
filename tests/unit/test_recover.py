"""What the server rebuilds is verified: lies up to the spare shares are found and named, anything beyond ends it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pytest

from protocols.faults import flip
from secagg import masking, shamir
from secagg.aggregate import Aggregate, Blame
from secagg.errors import RoundAborted, Unrecoverable
from secagg.field import PRIME
from secagg.pairwise import keys
from secagg.pairwise import server as phases
from secagg.pairwise.recover import Recovery, Reports
from secagg.plan import Plan
from secagg.primitives.secret import Secret
from secagg.round.events import Failed, Finished
from secagg.rules import Rule
from secagg.testing.plans import small_regular_plan
from secagg.testing.table import Table
from secagg.types import Leg
from tests.support.liars import LyingClient
from tests.support.whitebox import is_wiped

PLAN: Final = Plan.find(clients=12, max_dropped=4, max_corrupt=2)
"""Threshold 8, so four spare shares: lies of two holders are named, of four are found, of five end the round."""

T: Final = PLAN.threshold
SPARE: Final = PLAN.clients - T
SPARSE: Final = small_regular_plan(clients=9, degree=4, threshold=3, max_dropped=2)
LENGTH: Final = 7

Revealed = dict[int, dict[int, npt.NDArray[np.int64]]]


def unmasking(
    plan: Plan = PLAN, silent: Mapping[Leg, Iterable[str]] | None = None, *, quiet: Iterable[str] = ()
) -> tuple[Table, Revealed]:
    """A table whose last answers are in, the quiet ones' left out, and the shares they revealed; changeable."""
    inputs = np.random.default_rng(5).integers(0, 2**32, (plan.clients, LENGTH), dtype=np.uint32)
    table = Table(plan, inputs)
    table.advance(Leg.UNMASK, silent)
    gone = {name for names in (silent or {}).values() for name in names} | set(quiet)
    for name in table.names:
        for answer in () if name in gone else table.deliver(name):
            assert table.submit(name, answer) == ()
    phase = table.server._phase
    assert isinstance(phase, phases.CollectingUnmaskShares)
    return table, phase._revealed


def lie(revealed: Revealed, holder: int, dealers: Iterable[int] | None = None, *, seed: int = 0) -> None:
    """Replace a holder's shares, of some dealers or all, by random ones."""
    rng = np.random.default_rng([seed, holder])
    for dealer in tuple(revealed[holder]) if dealers is None else dealers:
        revealed[holder][dealer] = rng.integers(0, PRIME, shamir.LIMBS, dtype=np.int64)


def recover(table: Table) -> Aggregate:
    events = table.server.close_leg()
    if events == ():
        events = table.server.recover()
    (event,) = events
    if isinstance(event, Failed):
        raise event.error
    assert isinstance(event, Finished)
    assert event.aggregate is not None
    return event.aggregate


def assert_exact(table: Table, aggregate: Aggregate) -> None:
    assert np.array_equal(aggregate.values, table.expected(aggregate.survivors))


def unrecoverable(table: Table) -> Unrecoverable:
    with pytest.raises(Unrecoverable) as failure:
        recover(table)
    assert failure.value.leg is Leg.UNMASK
    assert table.server.outcome == Failed(failure.value)
    return failure.value


def holders_named(aggregate: Aggregate) -> set[str]:
    return {blame.holder for blame in aggregate.blamed}


def watched(monkeypatch: pytest.MonkeyPatch, name: str) -> list[Any]:
    """The results of every call of a function of `shamir`."""
    results: list[Any] = []
    real = getattr(shamir, name)

    def call(*arguments: Any, **named: Any) -> Any:
        results.append(real(*arguments, **named))
        return results[-1]

    monkeypatch.setattr(shamir, name, call)
    return results


# Lies within the spare shares.


def test_where_nobody_lies_nobody_is_blamed_and_one_batch_does(monkeypatch: pytest.MonkeyPatch) -> None:
    slow, batches = watched(monkeypatch, "recover_verified"), watched(monkeypatch, "recover_many")
    table, _ = unmasking()
    aggregate = recover(table)
    assert_exact(table, aggregate)
    assert aggregate.blamed == ()
    assert (len(slow), len(batches)) == (0, 1)


LIARS: Final = [set(liars) for count in range(1, SPARE + 1) for liars in itertools.combinations(range(12), count)]


def test_any_liars_within_the_spare_shares_change_nothing() -> None:
    for liars in LIARS[::23]:
        table, revealed = unmasking()
        for liar in liars:
            lie(revealed, liar)
        aggregate = recover(table)
        assert_exact(table, aggregate)
        named = holders_named(aggregate)
        assert named <= {table.names[liar] for liar in liars}, liars
        # The first eight holders are asked first, so a lie among them is seen. Where liars are at most half the spare
        # shares, no honest holder can be taken for one of them; where there are more, nobody is named.
        assert bool(named) == (any(liar < T for liar in liars) and len(liars) <= SPARE // 2), liars


def test_a_liar_is_named_with_the_dealer_it_lied_about() -> None:
    table, revealed = unmasking()
    lie(revealed, 2, dealers=[7])
    aggregate = recover(table)
    assert_exact(table, aggregate)
    rule, holder, dealer = Rule.SHARE_CONSISTENT, table.server.invited[2], table.server.invited[7]
    assert aggregate.blamed == (Blame(rule=rule, holder=holder, dealer=dealer),)


def test_liars_about_one_dealer_are_named_the_spare_holders_too() -> None:
    table, revealed = unmasking()
    for liar in (0, 11):  # 11 is spare, and seen once 0 makes the recovery of that secret a slow one
        lie(revealed, liar, dealers=[4])
    aggregate = recover(table)
    assert_exact(table, aggregate)
    named = {(blame.holder, blame.dealer) for blame in aggregate.blamed}
    assert named == {(table.names[liar], table.names[4]) for liar in (0, 11)}


def test_more_liars_than_half_the_spare_shares_are_found_and_not_named() -> None:
    table, revealed = unmasking()
    for liar in (0, 5, 11):
        lie(revealed, liar, dealers=[4])
    aggregate = recover(table)
    assert_exact(table, aggregate)
    assert aggregate.blamed == ()


def test_a_lie_that_is_never_used_is_not_looked_for() -> None:
    table, revealed = unmasking()
    for liar in range(T, 12):
        lie(revealed, liar)
    aggregate = recover(table)
    assert_exact(table, aggregate)
    assert aggregate.blamed == ()


def test_one_liar_costs_one_slow_recovery_not_one_a_dealer(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = watched(monkeypatch, "recover_verified")
    table, revealed = unmasking()
    lie(revealed, 0)
    aggregate = recover(table)
    assert_exact(table, aggregate)
    assert len(slow) == 1
    assert holders_named(aggregate) == {table.names[0]}


def test_liars_that_take_turns_cost_a_slow_recovery_each_and_are_all_named(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = watched(monkeypatch, "recover_verified")
    table, revealed = unmasking()
    for liar, dealers in ((0, [0, 1, 2, 3]), (1, [4, 5, 6, 7]), (2, [8, 9, 10, 11])):
        lie(revealed, liar, dealers=dealers)
    aggregate = recover(table)
    assert_exact(table, aggregate)
    assert holders_named(aggregate) == set(table.names[:3])
    assert len(slow) <= 3


def test_a_distrusted_holder_is_asked_last(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []
    real = shamir.recover_many

    def call(values: npt.NDArray[np.int64], xs: npt.NDArray[np.int64]) -> Any:
        asked.append(tuple((xs - 1).tolist()))
        return real(values, xs)

    monkeypatch.setattr(shamir, "recover_many", call)
    table, revealed = unmasking()
    lie(revealed, 1)
    recover(table)
    assert asked == [(0, 1, 2, 3, 4, 5, 6, 7), (0, 2, 3, 4, 5, 6, 7, 8)]


def test_lies_about_a_dropped_clients_mask_key_are_found_too() -> None:
    table, revealed = unmasking(silent={Leg.MASK: ["client-0003"]})
    lie(revealed, 1, dealers=[3])
    aggregate = recover(table)
    assert_exact(table, aggregate)
    assert list(aggregate.dropped) == ["client-0003"]
    assert [(blame.holder, blame.dealer) for blame in aggregate.blamed] == [("client-0001", "client-0003")]


def test_a_share_of_the_other_secret_is_a_lie() -> None:
    table, revealed = unmasking()
    other, _ = unmasking(silent={Leg.MASK: ["client-0004"]})
    phase = other.server._phase
    assert isinstance(phase, phases.CollectingUnmaskShares)
    revealed[1][4] = phase._revealed[1][4]  # of the mask key, where the seed was asked for; the rounds are one
    aggregate = recover(table)
    assert_exact(table, aggregate)
    assert [(blame.holder, blame.dealer) for blame in aggregate.blamed] == [("client-0001", "client-0004")]


# Beyond the spare shares.


LOST: Final = tuple(f"client-{number:04d}" for number in range(12))


def test_one_lie_more_than_spare_shares_ends_the_round() -> None:
    table, revealed = unmasking()
    for liar in range(SPARE + 1):
        lie(revealed, liar, dealers=[2])
    error = unrecoverable(table)
    assert error.rule is Rule.SECRET_MATCHES
    assert "client-0002" in str(error)
    # Two liars, all that the plan allows, could not have hidden an honest dealer's secret behind four spare shares.
    assert error.suspects == ("client-0002",)


@pytest.mark.parametrize("quiet", [1, 2, 3, 4])
def test_where_the_plans_liars_could_have_done_it_nobody_is_named(quiet: int) -> None:
    names = LOST[12 - quiet :]
    spare = SPARE - quiet
    table, revealed = unmasking(quiet=names)
    for liar in range(spare):
        lie(revealed, liar, dealers=[9])
    assert_exact(table, recover(table))
    table, revealed = unmasking(quiet=names)
    for liar in range(spare + 1):
        lie(revealed, liar, dealers=[9])
    assert unrecoverable(table).suspects == ()


def reshared(revealed: Revealed, dealer: int, holders: Iterable[int]) -> None:
    """Give these holders shares of a secret that their dealer never advertised; they agree with one another."""
    xs = np.arange(1, PLAN.clients + 1, dtype=np.int64)
    block = shamir.split([Secret(os.urandom(16))], threshold=T, xs=xs, entropy=os.urandom)
    values, _ = shamir.decode_shares(block)
    for holder in holders:
        revealed[holder][dealer] = values[0, holder]


def test_a_dealer_that_shared_what_it_did_not_advertise_is_named() -> None:
    table, revealed = unmasking()
    reshared(revealed, 5, range(12))
    error = unrecoverable(table)
    assert error.suspects == ("client-0005",)
    assert error.rule is Rule.SECRET_MATCHES


def test_a_dropped_dealer_that_shared_another_mask_key_seed_is_named() -> None:
    table, revealed = unmasking(silent={Leg.MASK: ["client-0003"]})
    reshared(revealed, 3, sorted(revealed))
    assert unrecoverable(table).suspects == ("client-0003",)


def test_a_rebuilt_mask_key_seed_that_leads_to_another_public_key_is_refused() -> None:
    table, _ = unmasking(silent={Leg.MASK: ["client-0003"]})
    recovery = prepared(table)
    secrets = LyingClient(table, "client-0003").secrets
    assert recovery._verifies(3, secrets.mask_key_seed)
    others = [secrets.self_mask_seed, LyingClient(table, "client-0004").secrets.mask_key_seed, Secret(bytes(16))]
    others += [Secret(flip(secrets.mask_key_seed.reveal(), bit)) for bit in range(128)]
    assert not any(recovery._verifies(3, other) for other in others)
    assert not recovery._verifies(4, secrets.mask_key_seed)


def test_mask_keys_derived_from_rebuilt_seeds_are_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Secret] = []
    derive = keys.mask_private

    def derived(*arguments: Any, **named: Any) -> Secret:
        made.append(derive(*arguments, **named))
        return made[-1]

    table, _ = unmasking(silent={Leg.MASK: ["client-0003", "client-0007"]})
    monkeypatch.setattr(keys, "mask_private", derived)
    assert_exact(table, recover(table))
    assert len(made) == 4  # to verify each, and to take its masks off
    assert all(is_wiped(private) for private in made)


@pytest.mark.parametrize(("agreeing", "named"), [(11, True), (10, True), (9, False), (8, False)])
def test_a_dealer_is_named_where_honest_holders_are_among_those_that_agree(
    agreeing: int,
    named: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    # Eleven answer, so three shares are spare and two liars could hide a secret. Of ten that agree on another one,
    # eight are honest, and had their shares from the dealer; of nine, too few to fix a polynomial.
    table, revealed = unmasking(quiet=LOST[11:])
    reshared(revealed, 5, range(agreeing))
    for holder in range(agreeing, 11):
        lie(revealed, holder, dealers=[5])
    assert unrecoverable(table).suspects == (("client-0005",) if named else ())


def test_holders_that_agree_on_another_secret_do_not_outvote_the_commitment() -> None:
    table, revealed = unmasking()
    reshared(revealed, 5, range(SPARE))  # four liars in one voice: the other eight still open the commitment
    aggregate = recover(table)
    assert_exact(table, aggregate)
    table, revealed = unmasking()
    reshared(revealed, 5, range(2))
    aggregate = recover(table)
    assert_exact(table, aggregate)
    assert holders_named(aggregate) == set(table.names[:2])


# Missing shares.


def test_exactly_threshold_holders_are_enough() -> None:
    table, _ = unmasking(quiet=["client-0000", "client-0004", "client-0008", "client-0011"])
    assert_exact(table, recover(table))


def test_fewer_answers_than_the_threshold_end_the_round_before_anything_is_rebuilt() -> None:
    table, _ = unmasking(quiet=LOST[: SPARE + 1])
    (failed,) = table.server.close_leg()
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, RoundAborted)
    assert not table.server.ready


def test_on_a_sparse_graph_a_secret_with_too_few_holders_is_named() -> None:
    table, _ = unmasking(SPARSE)
    phase = table.server._phase
    assert isinstance(phase, phases.CollectingUnmaskShares)
    near = phase._joined.neighbors(0)
    for count, fits in ((2, True), (3, False)):
        table, _ = unmasking(SPARSE, quiet=[table.names[peer] for peer in near[:count]])
        if fits:
            assert_exact(table, recover(table))
            continue
        error = unrecoverable(table)
        assert "2 shares of a secret of client-0000, 3 needed" in str(error)


# What is rebuilt, and what becomes of it.


def prepared(table: Table) -> Recovery:
    assert table.server.close_leg() == ()
    recovery = table.server._recovery
    assert recovery is not None
    return recovery


def test_only_what_the_sum_needs_is_rebuilt() -> None:
    silent = {Leg.ADVERTISE: ["client-0000"], Leg.SHARE: ["client-0001"], Leg.MASK: ["client-0002"]}
    table, revealed = unmasking(silent=silent)
    recovery = prepared(table)
    # Neither joined without sharing nor invited without joining left a mask in the sum.
    assert list(recovery.shares) == list(range(2, 12))
    assert recovery.survivors == set(range(3, 12))
    assert all(set(shares) == set(revealed) for shares in recovery.shares.values())
    aggregate = recovery.run()
    assert_exact(table, aggregate)


@pytest.mark.parametrize("found", [True, False], ids=["to the end", "until one is lost"])
def test_every_rebuilt_secret_is_wiped(
    monkeypatch: pytest.MonkeyPatch,
    found: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    rebuilt: list[Secret] = []
    verifies = Recovery._verifies

    def watch(self: Recovery, dealer: int, secret: Secret) -> bool:
        verdict = verifies(self, dealer, secret)
        rebuilt.extend([secret] if verdict else [])
        return verdict

    monkeypatch.setattr(Recovery, "_verifies", watch)
    table, revealed = unmasking(silent={Leg.MASK: ["client-0003"]})
    lie(revealed, 0)
    if found:
        assert_exact(table, recover(table))
    else:
        reshared(revealed, 11, sorted(revealed))
        unrecoverable(table)
    assert len(rebuilt) >= 10
    assert not [secret for secret in rebuilt if not secret._wiped]


@pytest.mark.parametrize("where", ["a seed is looked at", "a key is derived", "masks are expanded"])
def test_whatever_ends_a_recovery_its_secrets_are_wiped(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the error, and with it every frame, is still held."""
    made: list[Secret] = []

    def watched(make: Callable[..., Any], *, fails_at: int | None = None) -> Callable[..., Any]:
        calls = itertools.count()

        def watching(*arguments: Any, **named: Any) -> Any:
            if next(calls) == fails_at:
                raise MemoryError
            found = make(*arguments, **named)
            several = found if isinstance(found, tuple) else [found]
            made.extend(secret for secret in several if isinstance(secret, Secret))
            return found

        return watching

    table, _ = unmasking(silent={Leg.MASK: ["client-0003", "client-0007"]})
    recovery = prepared(table)
    monkeypatch.setattr("secagg.pairwise.recover._BATCH", 4)
    for module, name, place in (
        (shamir, "recover_many", ""),
        (Recovery, "_verifies", "a seed is looked at"),
        (keys, "mask_private", ""),
        (keys, "self_mask_key", ""),
        (keys, "pairwise_mask_key", "a key is derived"),
        (masking, "accumulate", "masks are expanded"),
    ):
        monkeypatch.setattr(module, name, watched(getattr(module, name), fails_at=3 if place == where else None))
    with pytest.raises(MemoryError) as failed:
        recovery.run()
    assert failed.tb is not None
    assert len(made) > 8
    assert all(is_wiped(secret) for secret in made)


def test_many_masks_are_expanded_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secagg.pairwise.recover._BATCH", 4)
    table, _ = unmasking(silent={Leg.MASK: ["client-0003", "client-0005", "client-0006"]})
    assert_exact(table, recover(table))


# What reports of unopened boxes prove.


def test_reports_by_more_clients_than_can_lie_prove_a_dealers_fault() -> None:
    reports = Reports({1: frozenset({7, 8}), 2: frozenset({7}), 3: frozenset({7}), 4: frozenset({8})}, 2)
    assert reports.proven == {7}
    assert reports.disputed == ((1, 8), (4, 8))
    assert Reports({1: frozenset({7})}, 0).proven == {7}
    assert Reports({}, 2).proven == frozenset()
    assert Reports({}, 2).disputed == ()


def test_disputes_and_names_stand_in_the_order_of_positions() -> None:
    reports = Reports({9: frozenset({8, 1}), 2: frozenset({16, 3})}, 1)
    assert reports.disputed == ((2, 3), (2, 16), (9, 1), (9, 8))
    table, _ = unmasking()
    recovery = prepared(table)
    assert recovery._names(frozenset({8, 1})) == (table.names[1], table.names[8])


def test_a_secret_short_of_shares_names_what_the_reports_prove() -> None:
    table, revealed = unmasking()
    recovery = prepared(table)
    missing = {holder: {dealer: share for dealer, share in held.items() if dealer != 7 or holder < 3}
               for holder, held in revealed.items()}  # fmt: skip  # a dealer with three shares left
    for unopened, suspects, disputes in (
        ({9: {7}, 10: {7}, 11: {7}}, ("client-0007",), ()),
        ({9: {7}, 10: {7, 4}}, (), (("client-0009", "client-0007"), ("client-0010", "client-0007"))),
        ({}, (), ()),
    ):
        with pytest.raises(Unrecoverable, match="3 shares of a secret of client-0007, 8 needed") as failure:
            Recovery.prepare(
                config=recovery.config,
                invited=recovery.invited,
                joined=recovery.joined,
                words=recovery.words,
                survivors=recovery.survivors,
                opened=recovery.opened,
                revealed=missing,
                reports=Reports({one: frozenset(dealers) for one, dealers in unopened.items()}, PLAN.max_corrupt),
            )
        assert (failure.value.suspects, failure.value.disputes) == (suspects, disputes)


def test_nobody_is_blamed_where_colluders_could_have_bent_the_polynomial() -> None:
    plan = Plan.find(clients=20, max_dropped=2, max_corrupt=5)
    spare = plan.clients - plan.threshold
    assert 1 <= spare - plan.max_corrupt < spare // 2  # unique decoding reaches further than certainty
    certain, doubtful = spare - plan.max_corrupt, spare - plan.max_corrupt + 1
    for liars, named in ((certain, certain), (doubtful, 0)):
        table, revealed = unmasking(plan)
        for holder in range(liars):
            lie(revealed, holder, [15])
        aggregate = recover(table)
        assert_exact(table, aggregate)
        assert len(holders_named(aggregate)) == named
