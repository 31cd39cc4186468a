"""`secagg budget` and what it says: figures against published values, order, what is found, and what is refused."""

from __future__ import annotations

import csv
import itertools
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dp.accountants import Against, epsilon
from dp.budgeting import DEFAULT_RESOLUTION, usable
from dp.events import FixedSizeSampled, Neighboring, Repeated, SkellamSum
from dp.noise import Skellam
from dp.rounding import rounded_limit
from protocols import Recipe
from protocols.budget import (
    BudgetError,
    Choice,
    Mechanism,
    Sampling,
    best_guess,
    least_noise,
    most_rounds,
)
from protocols.cli import main
from protocols.cli.assumptions import assumptions
from secagg import Plan

ROOT = Path(__file__).parents[2]
ZERO_OUT, REPLACE_ONE, ADD_OR_REMOVE = Neighboring
CAPSYS = pytest.CaptureFixture[str]

ASKED = "--population 4000 --invited 100 --rounds 100 --clip 1 --noise-multiplier 1 --delta 1e-5"
KEYS = {
    "population",
    "invited",
    "rounds",
    "clip",
    "noise_multiplier",
    "delta",
    "epsilon_server_view",
    "epsilon_public_view",
    "accountant_server_view",
    "accountant_public_view",
    "neighboring",
    "noise_std_mean",
    "curve",
    "assumptions",
}
CHOICE = Choice(
    population=4000, invited=100, rounds=100, clip=1.0, noise_multiplier=1.0, delta=1e-5, neighboring=ZERO_OUT
)


def rows(name: str) -> list[dict[str, str]]:
    text = (ROOT / "tests" / "vectors" / name).read_text(encoding="ascii")
    return list(csv.DictReader(text.splitlines()))


GAUSSIANS = rows("dp_reference.csv")
EXACT = [row for row in rows("dp_reference_exact.csv") if row["family"] == "survivors"]


def budgeted(capsys: CAPSYS, typed: str) -> dict[str, Any]:
    assert main(["budget", *typed.split(), "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert len(out.splitlines()) == 1
    figures: dict[str, Any] = json.loads(out)
    return figures


def text_of(capsys: CAPSYS, typed: str) -> str:
    assert main(["budget", *typed.split()]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert max(map(len, out.splitlines())) <= 80
    return " ".join(out.split())


# Against published values.


@pytest.mark.parametrize("row", [row for row in GAUSSIANS if row["exact_gaussian"] != "nan"])
def test_everyone_in_every_round_is_exact(row: dict[str, str]) -> None:
    choice = Choice(
        population=50,
        invited=50,
        rounds=int(row["steps"]),
        clip=3.0,
        noise_multiplier=float(row["noise_multiplier"]),
        delta=float(row["delta"]),
        neighboring=ZERO_OUT,
        mechanism=Mechanism.GAUSSIAN,
    )
    for found in (choice.server(), choice.public()):
        assert found.epsilon == pytest.approx(float(row["exact_gaussian"]), rel=1e-9)
        assert found.accountant == "gaussian"


@pytest.mark.parametrize("row", [row for row in GAUSSIANS if row["exact_gaussian"] == "nan"])
def test_a_secret_coin_for_every_client_agrees_with_the_libraries(row: dict[str, str]) -> None:
    rate = Fraction(float(row["sampling_rate"])).limit_denominator(10**6)
    choice = Choice(
        population=rate.denominator,
        invited=rate.numerator,
        rounds=int(row["steps"]),
        clip=1.0,
        noise_multiplier=float(row["noise_multiplier"]),
        delta=float(row["delta"]),
        neighboring=ZERO_OUT,
        mechanism=Mechanism.GAUSSIAN,
        sampling=Sampling.POISSON,
    )
    found = choice.public().epsilon
    assert found <= min(float(row["opacus_rdp"]), float(row["dp_accounting_rdp"])) * (1.0 + 1e-9)
    assert found >= float(row["dp_accounting_pld"]) * (1.0 - 1e-3) - 1e-4
    assert found <= choice.server().epsilon


def test_a_draw_of_fixed_size_agrees_with_the_library() -> None:
    # The library's noise multiplier is over the norm of a difference of two vectors, ours over one client's bound.
    (row,) = (r for r in rows("dp_reference_other.csv") if r["event"] == "WOR n=100 of N=10000 gaussian nm=1 T=1000")
    for neighboring in (ZERO_OUT, REPLACE_ONE):
        choice = replace(
            CHOICE,
            population=10_000,
            rounds=1000,
            noise_multiplier=2.0,
            neighboring=neighboring,
            mechanism=Mechanism.GAUSSIAN,
        )
        assert choice.public().epsilon == pytest.approx(float(row["dp_accounting_rdp"]), rel=1e-3)


@pytest.mark.parametrize("row", [row for row in EXACT if row["quantity"] == "eps_gaussian_exact"])
def test_noise_of_the_dropped_and_of_colluders_is_taken_off(row: dict[str, str]) -> None:
    given = {name: float(text) for name, _, text in (part.partition("=") for part in row["parameters"].split())}
    survivors, colluders = int(given["survivors"]), int(given["colluders"])
    choice = replace(
        CHOICE,
        rounds=1,
        noise_multiplier=given["z"],
        delta=given["delta"],
        invited=int(given["n"]),
        max_dropped=int(given["n"]) - survivors,
        max_corrupt=colluders,
        mechanism=Mechanism.GAUSSIAN,
    )
    assert choice.server().epsilon == pytest.approx(float(row["value"]), rel=1e-9)
    assert choice.charged == given["z"] * math.sqrt((survivors - colluders) / given["n"])


def test_skellam_noise_is_charged_as_the_integers_that_it_is() -> None:
    choice = replace(CHOICE, clip=2.0, step=0.25, noise_multiplier=3.0, max_dropped=10, max_corrupt=15, length=4)
    release = choice.release
    assert isinstance(release, SkellamSum)
    assert release.variance == pytest.approx(9.0 * 64.0 * 0.75)
    assert release.sensitivity == math.sqrt(rounded_limit(8.0, 4)) > 8.0  # rounding four coordinates adds to the norm
    sampled = FixedSizeSampled(release=choice.release, population=4000, sample=100)
    for event, against, found in (
        (choice.release, Against.SERVER, choice.server()),
        (sampled, Against.PUBLISHED, choice.public()),
    ):
        events = [Repeated(event=event, count=100)]
        assert found == epsilon(events, delta=usable(1e-5), neighboring=ZERO_OUT, against=against)


def test_a_recipe_with_the_same_noise_charges_the_same() -> None:
    choice = replace(CHOICE, clip=2.0, invited=20, max_dropped=3, max_corrupt=4, noise_multiplier=1.5, length=1234)
    share = (1.5 * DEFAULT_RESOLUTION) ** 2 / 20
    recipe = Recipe.like({"w": np.zeros(1234)}, clip=2.0, noise=Skellam(variance=share))
    plan = Plan.find(clients=20, max_dropped=3, max_corrupt=4)
    charged, release = recipe.charge(plan).server, choice.release
    assert isinstance(charged, SkellamSum)
    assert isinstance(release, SkellamSum)
    assert charged.sensitivity == release.sensitivity
    assert charged.variance == pytest.approx(release.variance, rel=1e-12)


# Order.

CHOICES = [
    replace(
        CHOICE,
        noise_multiplier=noise,
        population=population,
        mechanism=mechanism,
        neighboring=neighboring,
        sampling=sampling,
        participations=participations,
    )
    for noise in (0.3, 1.0, 8.0)
    for population in (100, 120, 4000, 100_000)
    for mechanism in Mechanism
    for neighboring, sampling in (
        (ZERO_OUT, Sampling.FIXED),
        (ZERO_OUT, Sampling.POISSON),
        (REPLACE_ONE, Sampling.FIXED),
    )
    for participations in ((None, 5) if population >= 4000 else (None,))
]


@pytest.mark.parametrize("choice", CHOICES)
def test_the_public_figure_is_never_above_the_servers_and_neither_falls(choice: Choice) -> None:
    curve = choice.curve()
    assert [at.round for at in curve] == list(range(1, 101))
    assert all(0.0 < at.public <= at.server for at in curve)
    for before, after in itertools.pairwise(curve):
        assert before.server <= after.server
        assert before.public <= after.public
    assert (curve[-1].server, curve[-1].public) == (choice.server().epsilon, choice.public().epsilon)


@pytest.mark.parametrize("mechanism", Mechanism)
@pytest.mark.parametrize("step", [1.0, None, 2.0**-29])
def test_the_worst_choice_has_finite_figures_and_the_best_has_some(mechanism: Mechanism, step: float | None) -> None:
    most = 10**12
    common: dict[str, Any] = {"length": 1, "clip": 1.0, "mechanism": mechanism, "step": step, "neighboring": ZERO_OUT}
    worst = Choice(
        population=most,
        invited=most,
        rounds=10**6,
        noise_multiplier=1e-3,
        delta=1e-30,
        max_dropped=most - 2,
        max_corrupt=1,
        **common,
    )
    best = Choice(population=most, invited=1, rounds=1, noise_multiplier=1e3, delta=1e-12, **common)
    assert worst.server().epsilon < math.inf
    assert 0.0 <= best.public().epsilon <= best.server().epsilon < 0.05


def test_more_noise_fewer_rounds_and_more_to_draw_from_cost_less() -> None:
    server, public = CHOICE.server().epsilon, CHOICE.public().epsilon
    assert replace(CHOICE, noise_multiplier=2.0).server().epsilon < server / 2
    assert replace(CHOICE, rounds=50).server().epsilon < server
    assert replace(CHOICE, population=40_000).public().epsilon < public / 2
    assert replace(CHOICE, population=40_000).server().epsilon == server
    assert replace(CHOICE, max_dropped=20).server().epsilon > server
    assert replace(CHOICE, max_corrupt=20).public().epsilon > public
    assert replace(CHOICE, clip=9.0).server().epsilon == server
    assert replace(CHOICE, neighboring=REPLACE_ONE).server().epsilon > 2 * server


def test_a_long_curve_has_a_hundred_rounds_from_the_first_to_the_last() -> None:
    after = [at.round for at in replace(CHOICE, rounds=12_345).curve()]
    assert (len(after), after[0], after[-1]) == (100, 1, 12_345)
    assert after == sorted(set(after))
    assert [at.round for at in replace(CHOICE, rounds=1).curve()] == [1]


def test_a_cap_on_participations_is_what_the_server_is_charged_for() -> None:
    capped = replace(CHOICE, participations=3)
    assert capped.fairest == 3
    assert capped.server() == replace(CHOICE, rounds=3).server()
    assert capped.public().epsilon == capped.server().epsilon  # no gain from draws that depend on one another
    assert capped.server(2).epsilon < capped.server(3).epsilon == capped.server(50).epsilon
    assert replace(CHOICE, participations=100).public() == CHOICE.public()


# What is found.


@pytest.mark.parametrize("mechanism", Mechanism)
@pytest.mark.parametrize("neighboring", [ZERO_OUT, REPLACE_ONE])
@pytest.mark.parametrize(("target", "rounds", "step"), [(1.0, 100, None), (30.0, 7, 2.0**-12), (0.05, 1, None)])
def test_the_least_noise_keeps_the_budget_and_a_little_less_does_not(
    mechanism: Mechanism, neighboring: Neighboring, target: float, rounds: int, step: float | None
) -> None:
    choice = replace(
        CHOICE, mechanism=mechanism, neighboring=neighboring, rounds=rounds, step=step, max_dropped=20, max_corrupt=10
    )
    found = least_noise(choice, target)
    assert found == replace(choice, noise_multiplier=found.noise_multiplier)
    assert found.server().epsilon <= target
    assert replace(found, noise_multiplier=found.noise_multiplier / 1.003).server().epsilon > target


@pytest.mark.parametrize("mechanism", Mechanism)
@pytest.mark.parametrize(("noise", "target"), [(1.0, 5.0), (4.0, 5.0), (30.0, 1.0)])
def test_as_many_rounds_as_fit_and_not_one_more(mechanism: Mechanism, noise: float, target: float) -> None:
    choice = replace(CHOICE, mechanism=mechanism, noise_multiplier=noise)
    found = most_rounds(choice, target)
    assert replace(choice, rounds=found).server().epsilon <= target
    assert replace(choice, rounds=found + 1).server().epsilon > target


def test_no_round_fits_where_one_costs_more() -> None:
    assert most_rounds(CHOICE, 1.0) == 0


def test_the_best_guess_is_that_of_randomized_response() -> None:
    for epsilon_ in (0.0, 0.1, 1.0, 8.0):
        assert best_guess(epsilon_, 0.0) == pytest.approx(math.exp(epsilon_) / (1.0 + math.exp(epsilon_)))
    assert best_guess(0.0, 0.5) == 0.75
    assert best_guess(1e300, 1e-5) == 1.0


# What is said.


def test_the_json_has_what_it_promises(capsys: CAPSYS) -> None:
    figures = budgeted(capsys, ASKED)
    assert figures.keys() >= KEYS
    assert (figures["population"], figures["invited"], figures["rounds"]) == (4000, 100, 100)
    assert (figures["clip"], figures["noise_multiplier"], figures["delta"]) == (1.0, 1.0, 1e-5)
    assert (figures["neighboring"], figures["found"]) == ("zero_out", None)
    assert figures["epsilon_server_view"] == CHOICE.server().epsilon
    assert figures["epsilon_public_view"] == CHOICE.public().epsilon
    assert figures["accountant_server_view"] == figures["accountant_public_view"] == "renyi"
    assert figures["noise_std_mean"] == 0.01
    assert 2.0**16 < figures["sensitivity"] < 1.0001 * 2.0**16
    assert (figures["variance"], figures["step"], figures["length"]) == (2.0**32, 2.0**-16, 1 << 20)
    assert len(figures["curve"]) == 100
    assert figures["curve"][-1] == {
        "round": 100,
        "epsilon_server_view": figures["epsilon_server_view"],
        "epsilon_public_view": figures["epsilon_public_view"],
    }
    assert figures["assumptions"] == list(assumptions(CHOICE))


def test_settings_reach_the_figures(capsys: CAPSYS) -> None:
    figures = budgeted(
        capsys,
        f"{ASKED} --mechanism gaussian --neighboring replace-one --max-dropped 19 --max-corrupt 17 --clip 2",
    )
    choice = replace(
        CHOICE, clip=2.0, mechanism=Mechanism.GAUSSIAN, neighboring=REPLACE_ONE, max_dropped=19, max_corrupt=17
    )
    assert figures["epsilon_server_view"] == choice.server().epsilon
    assert figures["epsilon_public_view"] == choice.public().epsilon
    assert figures["accountant_server_view"] == "gaussian"
    assert figures["noise_multiplier_charged"] == 0.8
    assert figures["noise_std_mean"] == 0.02
    assert figures["variance"] is figures["sensitivity"] is figures["step"] is None
    assert budgeted(capsys, f"{ASKED} --sampling poisson")["epsilon_public_view"] < 3.0
    assert budgeted(capsys, f"{ASKED} --participations 3")["participations"] == 3
    assert budgeted(capsys, f"{ASKED} --step 0.125 --length 1")["sensitivity"] == math.sqrt(rounded_limit(8.0, 1))


def test_what_is_found_is_said(capsys: CAPSYS) -> None:
    clients = "--population 4000 --invited 100 --clip 1 --delta 1e-5"
    figures = budgeted(capsys, f"{clients} --rounds 100 --epsilon 8")
    assert figures["found"] == "noise_multiplier"
    assert 7.9 < figures["epsilon_server_view"] <= 8.0
    figures = budgeted(capsys, f"{clients} --noise-multiplier 9 --epsilon 8")
    assert figures["found"] == "rounds"
    assert figures["epsilon_server_view"] <= 8.0
    assert len(figures["curve"]) == min(100, figures["rounds"])
    assert "Found: noise multiplier" in text_of(capsys, f"{clients} --rounds 100 --epsilon 8")
    assert f"Found: {figures['rounds']} rounds" in text_of(capsys, f"{clients} --noise-multiplier 9 --epsilon 8")


def test_the_text_has_both_figures_a_verdict_and_levers_that_work(capsys: CAPSYS) -> None:
    said = text_of(capsys, ASKED)
    server, public = CHOICE.server().epsilon, CHOICE.public().epsilon
    assert re.search(rf"against the server [\d. ]+ {server:.4g} ", said)
    assert re.search(rf"against the published model [\d. ]+ {public:.4g} ", said)
    assert "Verdict: weak to none, against the server as against the published model." in said
    for sentence in assumptions(CHOICE):
        assert sentence in said
    noise = re.search(r"noise: multiplier ([\d.]+), which puts ([\d.]+) on the mean, or 0.01 as now if (\d+)", said)
    rounds = re.search(r"rounds: (\d+) in place of 100", said)
    fair = re.search(r"more than 3 times, .* the server's figure is ([\d.]+) \(--participations 3\)", said)
    assert noise is not None
    assert rounds is not None
    assert fair is not None
    quieter = replace(CHOICE, noise_multiplier=float(noise[1]) + 1e-3)
    assert quieter.server().epsilon <= server / 2
    assert replace(quieter, invited=int(noise[3])).noise_std_mean == pytest.approx(0.01, rel=1e-2)
    assert quieter.noise_std_mean == pytest.approx(float(noise[2]), rel=1e-2)
    assert replace(CHOICE, rounds=int(rounds[1])).server().epsilon <= server / 2
    assert float(fair[1]) == pytest.approx(replace(CHOICE, rounds=3).server().epsilon, rel=1e-3)


@pytest.mark.parametrize(
    ("noise", "verdict"),
    [
        (60, "Verdict: strong, against the server as against the published model."),
        (18, "Verdict: moderate against the server, strong against the published model."),
        (1, "Verdict: weak to none against the server, moderate against the published model."),
    ],
)
def test_the_verdict_is_a_band_and_a_bound_on_guessing(capsys: CAPSYS, noise: int, verdict: str) -> None:
    said = text_of(capsys, f"{ASKED} --population 40000 --noise-multiplier {noise}")
    assert verdict in said
    choice = replace(CHOICE, population=40_000, noise_multiplier=noise)
    percent = re.search(r"([\d.]+) % of the time with the server's view", said)
    if percent is None:
        assert "practically always with the server's view" in said
    else:
        assert 0.0 <= float(percent[1]) - 100 * best_guess(choice.server().epsilon, 1e-5) < 0.1001


@pytest.mark.parametrize("noise", ["0.001", "1000"])
def test_no_lever_is_offered_beyond_its_range(capsys: CAPSYS, noise: str) -> None:
    said = text_of(capsys, f"{ASKED} --rounds 1 --noise-multiplier {noise}")
    assert "noise: multiplier 1" not in said or noise == "0.001"
    assert "rounds: " not in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "charged for all 100 rounds"),
        ({}, "draws exactly the invited"),
        ({}, "to 65536 steps and holds the L2 norm of its 1048576 integers, after rounding, to 655"),
        ({"rounds": 1}, "charged for the round"),
        ({"participations": 3}, "No client is in more than 3 of the 100 rounds"),
        ({"participations": 3}, "no gain from sampling is claimed"),
        ({"population": 100}, "no draw that could be secret"),
        ({"sampling": Sampling.POISSON}, "tosses a coin for every client"),
        ({"sampling": Sampling.POISSON}, "sized by the number invited"),
        ({"sampling": Sampling.POISSON, "max_corrupt": 7}, "in proportion fewer in a smaller cohort"),
        ({"neighboring": REPLACE_ONE}, "any others"),
        ({"mechanism": Mechanism.GAUSSIAN}, "floats only approximate it"),
        ({"max_dropped": 5, "max_corrupt": 7}, "of 88 of 100 invited: up to 5 are missing and up to 7 are at work"),
    ],
)
def test_every_assumption_is_spelled_out(change: dict[str, Any], said: str) -> None:
    assert said in " ".join(assumptions(replace(CHOICE, **change)))


# What is refused.


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("--population 0", ["population=0 must be 1 to"]),
        ("--invited 4001", ["invited=4001 must be 1 to population=4000"]),
        ("--rounds 0", ["rounds=0 must be 1 to 1000000"]),
        ("--clip nan", ["clip=nan"]),
        ("--clip 0", ["clip=0.0"]),
        ("--noise-multiplier 0", ["noise_multiplier=0.0 must be 0.001 to 1000"]),
        ("--delta 0", ["delta=0.0"]),
        ("--delta 2", ["delta=2.0"]),
        ("--delta 0.001", ["population=4000", "lower delta to 0.00025"]),
        ("--max-dropped 60 --max-corrupt 40", ["max_dropped=60 and max_corrupt=40", "lower max_dropped to 59"]),
        ("--max-dropped 100", ["max_dropped=100 must be 0 to invited - 1=99"]),
        ("--max-corrupt -1", ["max_corrupt=-1"]),
        ("--participations 2", ["participations=2 must be 3 to rounds=100"]),
        ("--participations 101", ["participations=101"]),
        ("--step 2", ["step=2.0", "clip=1"]),
        ("--step 1e-12", ["step=1e-12"]),
        ("--step 1e-8", ["length=1048576", "take a step of at least clip / "]),
        ("--length 0", ["length=0"]),
        ("--sampling poisson --neighboring replace-one", ["poisson", "sampling=fixed"]),
        ("--epsilon 8", ["give two of --rounds, --noise-multiplier and --epsilon"]),
        ("--plot x.pdf", ["--plot 'x.pdf'", ".svg or .png"]),
        ("--plot /no/such/folder/x.svg", ["--plot", "folder"]),
    ],
)
def test_a_budget_that_cannot_be_is_refused_in_one_line_with_the_fix(
    capsys: CAPSYS, typed: str, named: Sequence[str]
) -> None:
    check_refused(capsys, f"{ASKED} {typed}", named)


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("--rounds 100", ["give two of"]),
        ("--rounds 100 --epsilon 0", ["epsilon=0.0"]),
        ("--rounds 100 --epsilon nan", ["epsilon=nan"]),
        ("--noise-multiplier 1 --epsilon 8 --participations 3", ["--participations", "give --rounds"]),
        ("--noise-multiplier 1000 --epsilon 100000", ["more than 1000000 rounds"]),
    ],
)
def test_what_cannot_be_found_is_refused_in_one_line(capsys: CAPSYS, typed: str, named: Sequence[str]) -> None:
    check_refused(capsys, f"--population 4000 --invited 100 --clip 1 --delta 1e-5 {typed}", named)


def check_refused(capsys: CAPSYS, typed: str, named: Sequence[str]) -> None:
    assert main(["budget", *typed.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("secagg budget: error: ")
    assert len(err.splitlines()) == 1
    for words in named:
        assert words in err


def test_the_numbers_that_refusals_offer_would_do(capsys: CAPSYS) -> None:
    clients = "budget --population 4001 --invited 100 --clip 1"
    for typed, pattern, option in (
        ("--rounds 9 --delta 1e-5 --epsilon 1e-4", r"allow epsilon=(\S+)", "--epsilon"),
        ("--noise-multiplier 3 --delta 1e-5 --epsilon 0.1", r"raise noise_multiplier to (\S+)", "--noise-multiplier"),
        ("--rounds 9 --noise-multiplier 3 --delta 0.1", r"lower delta to (\S+)", "--delta"),
    ):
        arguments = f"{clients} {typed}".split()
        assert main(arguments) == 2
        offered = re.search(pattern, capsys.readouterr().err)
        assert offered is not None
        assert main([*arguments, option, offered[1]]) == 0
        capsys.readouterr()


def test_local_steps_are_no_parameter(capsys: CAPSYS) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["budget", *ASKED.split(), "--local-steps", "5"])
    assert stopped.value.code == 2
    assert "--local-steps" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(["budget", "--help"])
    lines = capsys.readouterr().out
    assert stopped.value.code == 0
    assert "How many local steps" in lines


@pytest.mark.parametrize(
    "change",
    [
        {"neighboring": ADD_OR_REMOVE},
        {"neighboring": "zero_out"},
        {"mechanism": "gaussian"},
        {"sampling": "poisson"},
        {"invited": 10.0},
        {"rounds": True},
        {"clip": "1"},
        {"step": 1e-8},
        {"length": 0},
    ],
)
def test_what_is_no_parameter_of_its_kind_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BudgetError):
        replace(CHOICE, **change)


def test_help_fits_80_columns(capsys: CAPSYS, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main(["budget", "--help"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


# Without matplotlib.

NO_MATPLOTLIB = "import sys; sys.modules['matplotlib'] = None"


def run_apart(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    code = f"{NO_MATPLOTLIB}\nfrom protocols.cli import main\nsys.exit(main({list(arguments)!r}))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)  # noqa: S603  # our own interpreter


def test_a_plot_without_matplotlib_names_the_extra_in_one_line(tmp_path: Path) -> None:
    image = tmp_path / "epsilon.svg"
    done = run_apart(["budget", *ASKED.split(), "--plot", os.fspath(image)])
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "install 'secagg[report]'" in done.stderr
    assert not image.exists()


def test_everything_else_works_without_matplotlib() -> None:
    done = run_apart(["budget", *ASKED.split(), "--json"])
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout).keys() >= KEYS
