"""Every way clients can drop out of a small round with an honest server, played with the product's own parties."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from secagg.errors import RoundAborted, TooFewClients
from secagg.testing.table import Table
from secagg.types import Leg
from tests.exhaustive.search import Found, new_table, plan_of
from tests.proof.leg_model import Numbers

WRONG_SUM = "another sum than of the survivors"
WRONG_END = "another end than the numbers say"

NEVER = len(Leg)
"""A client that falls silent before this leg answers them all."""


def honest_server(numbers: Numbers) -> Found:
    """Let every client fall silent before each of its legs, or before none."""
    found = Found()
    silences = [*(leg for leg in Leg if leg is not Leg.OFFER), NEVER]
    for last in itertools.product(silences, repeat=numbers.clients):
        found.states += 1
        table = new_table(plan_of(numbers))
        silent = {
            leg: [name for name, gone in zip(table.names, last, strict=True) if gone == leg] for leg in silences[:-1]
        }
        judge_end(numbers, last, table, {Leg(leg): names for leg, names in silent.items()}, found)
    return found


def judge_end(
    numbers: Numbers, last: tuple[int, ...], table: Table, silent: Mapping[Leg, list[str]], found: Found
) -> None:
    expected = expected_end(numbers, last)
    try:
        total = table.finish(silent)
    except TooFewClients as error:
        found.outcomes[f"ended at {error.leg.name.lower()}"] += 1
        if expected is not error.leg:
            found.report(WRONG_END, (last, error))
        return
    except RoundAborted as error:
        found.report(WRONG_END, (last, error))
        return
    found.outcomes[f"sum of {len(total.survivors)}"] += 1
    survivors = tuple(name for name, gone in zip(table.names, last, strict=True) if gone > Leg.MASK)
    if expected is not None:
        found.report(WRONG_END, last)
    if tuple(total.survivors) != survivors or (total.values != table.expected(survivors)).any():
        found.report(WRONG_SUM, last)


def expected_end(numbers: Numbers, last: tuple[int, ...]) -> Leg | None:
    """The leg that too few answer, or None where the round comes to a sum."""
    floors = {
        Leg.ADVERTISE: max(numbers.threshold, numbers.floor),
        Leg.SHARE: max(numbers.threshold, numbers.floor),
        Leg.MASK: numbers.floor,
        Leg.CONFIRM: numbers.quorum,
        Leg.UNMASK: numbers.threshold,
    }
    for leg, floor in floors.items():
        if sum(gone > leg for gone in last) < floor:
            return leg
    return None
