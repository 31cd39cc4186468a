"""The simulator itself: short campaigns, the same from every driver, small reproductions, and eyes that see.

The campaign of CI size is `python -m tests.simulation --schedules 50000 --json`; here is what fits into a test run.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulation import invariants
from tests.simulation.__main__ import main
from tests.simulation.breach import Breach
from tests.simulation.campaign import play_one, recorded_tape, run
from tests.simulation.cells import REQUIRED
from tests.simulation.choices import Choices, Drawn, FromBytes, Replayed, Seeded
from tests.simulation.mutants import MUTANTS
from tests.simulation.session import ACTIVE, Report, Session
from tests.simulation.shrink import FOLDER, load, shrink
from tests.simulation.tape import Tape

SCHEDULES = 400
FOUND_WITHIN = 800
REPRODUCTIONS = sorted(FOLDER.glob("*.json"))


@pytest.fixture(scope="module")
def tape() -> Iterator[Tape]:
    with recorded_tape() as installed:
        yield installed


def play(choices: Choices, tape: Tape) -> Report:
    return Session(choices, tape).play()


def test_a_short_campaign_breaks_nothing_and_reaches_most_cells() -> None:
    result, _ = run(SCHEDULES, seed=1)
    assert result.violations == []
    assert result.schedules == SCHEDULES
    assert result.finished > SCHEDULES / 5
    assert result.aborted > SCHEDULES / 10
    assert len(result.cells & REQUIRED) > 0.75 * len(REQUIRED)


def test_a_campaign_repeats_itself_whoever_does_the_work() -> None:
    """The digest covers everything said and told, so this holds every byte of 150 schedules."""
    alone, _ = run(150, seed=7)
    shared, _ = run(150, seed=7, workers=2)
    assert alone == shared
    assert alone.digest != run(20, seed=8)[0].digest


def test_nothing_goes_wrong_where_nothing_is_chosen(tape: Tape) -> None:
    report = play(Replayed([]), tape)
    assert (report.finished, report.aborted, report.cells) == (1, 0, set())


@pytest.mark.parametrize("seed", range(6))
def test_what_a_seed_drew_replays_from_its_list(seed: int, tape: Tape) -> None:
    drawn = Seeded(f"replay/{seed}")
    first = play(drawn, tape)
    replayed = Replayed(drawn.taken)
    again = play(replayed, tape)
    assert again == first
    assert replayed.taken == drawn.taken


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_hypothesis_drives_the_same_schedules(data: st.DataObject) -> None:
    with recorded_tape() as tape:
        play(Drawn(data), tape)


@settings(deadline=None, max_examples=30)
@given(st.binary(max_size=400))
def test_a_fuzzers_bytes_drive_the_same_schedules(data: bytes) -> None:
    """`Session(FromBytes(data), tape).play()` is all a fuzzer has to call."""
    with recorded_tape() as tape:
        play(FromBytes(data), tape)


# Eyes that see: faults planted in the product.


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_fault_is_found(name: str) -> None:
    mutant = MUTANTS[name]
    with recorded_tape() as tape, mutant.plant():
        schedules = (Seeded(f"mutant/{number}") for number in range(FOUND_WITHIN))
        broken = (play_one(schedule, tape, plans=mutant.plans)[1] for schedule in schedules)
        assert next(filter(None, broken), "nothing") in mutant.invariants


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("roster_instead_of_inbox", "i3_nothing_but_the_sum_shows"),
        ("quorum_off_by_one", "i6_all_who_unmask_agree"),
    ],
)
def test_the_harm_is_seen_and_not_only_the_broken_rule(name: str, harm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at what clients agree to; what the adversary then learns, or two sums of one round, still shows."""
    monkeypatch.setattr(invariants, "i5_floors_hold", lambda witness, position: None)
    with recorded_tape() as tape, MUTANTS[name].plant():
        broken = (play_one(Seeded(f"mutant/{number}"), tape)[1] for number in range(FOUND_WITHIN))
        assert next(filter(None, broken), "nothing") == harm


@pytest.mark.parametrize("path", REPRODUCTIONS, ids=lambda path: path.stem)
def test_a_kept_reproduction_breaks_the_mutant_and_not_the_product(path: Path) -> None:
    """One without a mutant was a fault of the product, or of a verdict on it; it must not come back."""
    kept = load(path)
    choices, mutant = kept["choices"], MUTANTS.get(str(kept["mutant"]))
    assert isinstance(choices, list)
    plans = ACTIVE if mutant is None else mutant.plans
    with recorded_tape() as tape:
        if plans is ACTIVE:
            assert play_one(Replayed(choices), tape)[1:] == ("", "")
        if mutant is not None:
            with mutant.plant():
                assert play_one(Replayed(choices), tape, plans=plans)[1] == kept["invariant"]


def test_there_are_reproductions_to_replay() -> None:
    assert {load(path)["mutant"] for path in REPRODUCTIONS} >= {"roster_instead_of_inbox", "quorum_off_by_one"}


# Shrinking.


def test_shrinking_keeps_what_breaks_and_drops_the_rest() -> None:
    """What breaks here is a seven or more, anywhere behind a three."""

    def breaks(choices: list[int]) -> bool:
        return any(one == 3 and other >= 7 for one, other in itertools.combinations(choices, 2))

    assert shrink([9, 0, 4, 3, 1, 1, 55, 3, 8, 0, 0, 2], breaks) == [3, 7]


def test_a_violating_schedule_shrinks_to_a_short_one() -> None:
    mutant = MUTANTS["leaves_no_mark"]
    with recorded_tape() as tape, mutant.plant():
        numbers = itertools.count()
        found = next(
            drawn
            for drawn in (Seeded(f"shrink/{number}") for number in numbers)
            if play_one(drawn, tape)[1] in mutant.invariants
        )

        def breaks(choices: list[int]) -> bool:
            return play_one(Replayed(choices), tape)[1] in mutant.invariants

        small = shrink(found.taken, breaks, max_runs=150)
        assert breaks(small)
    assert len(small) <= len(found.taken) // 4


def test_a_violation_ends_the_command_with_a_reproduction(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tests.simulation.shrink.FOLDER", tmp_path)
    with MUTANTS["forgets_the_number"].plant():
        assert main(["--schedules", "3", "--json"]) == 1
    assert '"violations": 3' in capsys.readouterr().out
    (kept, *_) = sorted(tmp_path.glob("*.json"))
    assert load(kept)["invariant"] == "i7_recorded_before_said"


def test_a_clean_command_ends_with_zero(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--schedules", "10", "--json"]) == 0
    assert '"violations": 0' in capsys.readouterr().out


def test_a_breach_names_its_invariant() -> None:
    assert Breach("i1_a_sum_is_exact", "so and so").invariant == "i1_a_sum_is_exact"
