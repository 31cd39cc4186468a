"""`secagg budget`: what a choice of population, cohort, rounds, clip and noise costs, and what would halve that.

The figures are those of `protocols.budget`; the plot is in `plot`, which alone needs matplotlib.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Final

from dp.budgeting import DEFAULT_LENGTH
from dp.events import Neighboring, SkellamSum
from protocols.budget import (
    LEAST_EPSILON,
    MOST_EPSILON,
    BudgetError,
    Choice,
    Mechanism,
    Sampling,
    best_guess,
    least_noise,
    most_rounds,
)
from protocols.cli.assumptions import assumptions
from protocols.cli.words import Figure, MissingExtra, Verb, json_line

_WIDTH: Final = 78
_SUFFIXES: Final = (".png", ".svg")
_NEIGHBORS: Final = {"zero-out": Neighboring.ZERO_OUT, "replace-one": Neighboring.REPLACE_ONE}
_SHOWN: Final = (0.1, 0.25, 0.5, 0.75, 1.0)
"""After which parts of the rounds the text says what has been spent."""

_EPILOG: Final = """\
Give two of --rounds, --noise-multiplier and --epsilon. With --epsilon, the
third is found: the least noise or the most rounds that keep the figure
against the server within it.

The verdict calls an epsilon of up to 1 strong and of up to 10 moderate, which
is convention (Ponomareva et al., "How to DP-fy ML", 2023) and no theorem.

A client releases one clipped update a round. How many local steps, epochs or
examples went into it is no parameter, and changes nothing.

--json prints one object in one line. "found" is what was found, or null.
noise_multiplier_charged is that of the honest survivors' noise alone;
noise_std_mean is the standard deviation of the noise on a coordinate of the
mean when all the invited survive, in the unit of --clip. variance and
sensitivity are those of the integers, after rounding to step; with step they
are null for Gaussian noise. best_guess_... is how often somebody who started
at even odds can be right about one client. "curve" has at most 100 rounds."""


def run(options: argparse.Namespace) -> int:
    """Print what the choice costs, and plot it if asked to.

    Raises:
        BudgetError: a setting is wrong or unsafe, or nothing fits the epsilon that was asked for.
        MissingExtra: a plot was asked for and matplotlib is not installed.
    """
    plot = _plotter(options.plot)
    choice, found = _settle(options)
    if options.json:
        print(json_line(_figures(choice, found)))
    else:
        print("\n".join(_text(choice, found, options.epsilon)))
    if plot is not None:
        plot.save(options.plot, choice)
    return 0


def _settle(options: argparse.Namespace) -> tuple[Choice, str | None]:
    """Return the choice, with what was left open found, and what that was."""
    open_ends = {"rounds": options.rounds, "noise_multiplier": options.noise_multiplier, "epsilon": options.epsilon}
    if sum(value is not None for value in open_ends.values()) != 2:
        raise BudgetError("give two of --rounds, --noise-multiplier and --epsilon: with the third, all would be said")
    if options.rounds is None and options.participations is not None:
        raise BudgetError("--participations says what some rounds cost: give --rounds, and leave out one of the others")
    choice = Choice(
        population=options.population,
        invited=options.invited,
        rounds=1 if options.rounds is None else options.rounds,
        clip=options.clip,
        noise_multiplier=1.0 if options.noise_multiplier is None else options.noise_multiplier,
        delta=options.delta,
        neighboring=_NEIGHBORS[options.neighboring],
        max_dropped=options.max_dropped,
        max_corrupt=options.max_corrupt,
        participations=options.participations,
        mechanism=Mechanism(options.mechanism),
        sampling=Sampling(options.sampling),
        step=options.step,
        length=options.length,
    )
    if options.noise_multiplier is None:
        return least_noise(choice, options.epsilon), "noise_multiplier"
    if options.rounds is None:
        return _filled(choice, options.epsilon), "rounds"
    return choice, None


def _filled(choice: Choice, epsilon: float) -> Choice:
    """Return the choice with as many rounds as fit."""
    rounds = most_rounds(choice, epsilon)
    if rounds == 0:
        enough = math.ceil(1e3 * least_noise(choice, epsilon).noise_multiplier) / 1e3
        raise BudgetError(
            f"epsilon={epsilon!r} does not pay for one round at noise_multiplier={choice.noise_multiplier!r}: raise "
            f"noise_multiplier to {enough:g}"
        )
    return replace(choice, rounds=rounds)


def _figures(choice: Choice, found: str | None) -> dict[str, Figure | list[dict[str, Figure]] | list[str]]:
    server, public, release = choice.server(), choice.public(), choice.release
    curve: list[dict[str, Figure]] = [
        {"round": at.round, "epsilon_server_view": at.server, "epsilon_public_view": at.public} for at in choice.curve()
    ]
    skellam = release if isinstance(release, SkellamSum) else None
    return {
        "population": choice.population,
        "invited": choice.invited,
        "rounds": choice.rounds,
        "clip": choice.clip,
        "noise_multiplier": choice.noise_multiplier,
        "delta": choice.delta,
        "epsilon_server_view": server.epsilon,
        "epsilon_public_view": public.epsilon,
        "accountant_server_view": server.accountant,
        "accountant_public_view": public.accountant,
        "neighboring": choice.neighboring.value,
        "mechanism": choice.mechanism.value,
        "sampling": choice.sampling.value,
        "max_dropped": choice.max_dropped,
        "max_corrupt": choice.max_corrupt,
        "participations": choice.most_participations,
        "found": found,
        "noise_multiplier_charged": choice.charged,
        "noise_std_mean": choice.noise_std_mean,
        "variance": None if skellam is None else skellam.variance,
        "sensitivity": None if skellam is None else skellam.sensitivity,
        "step": None if skellam is None else choice.clip / choice.levels,
        "length": choice.length,
        "best_guess_server_view": best_guess(server.epsilon, choice.delta),
        "best_guess_public_view": best_guess(public.epsilon, choice.delta),
        "curve": curve,
        "assumptions": list(assumptions(choice)),
    }


def _text(choice: Choice, found: str | None, target: float | None) -> Iterator[str]:
    yield from _opening(choice, found, target)
    yield from ("", *_table(choice), "")
    yield from _wrapped(_verdict(choice))
    yield ""
    yield from _levers(choice)
    yield "This holds if:"
    for sentence in assumptions(choice):
        yield from textwrap.wrap(sentence, _WIDTH, initial_indent="  - ", subsequent_indent="    ")


def _opening(choice: Choice, found: str | None, target: float | None) -> Iterator[str]:
    rounds = f"{choice.rounds:,} rounds" if choice.rounds > 1 else "one round"
    each = f"each of {rounds}" if choice.rounds > 1 else rounds
    noise = f"noise multiplier {choice.noise_multiplier:.6g}"
    if found == "noise_multiplier":
        yield from _wrapped(f"Found: {noise}, the least that keeps the server's figure within {target:g}.")
    if found == "rounds":
        yield f"Found: {rounds}, as many as keep the server's figure within {target:g}."
    yield f"Who: {choice.invited:,} of {choice.population:,} clients are invited to {each}."
    yield from _wrapped(
        f"Noise: {choice.mechanism.value.capitalize()}, {noise}, clip {choice.clip:g}: a coordinate of the mean of "
        f"{choice.invited:,} is off by {choice.noise_std_mean:.3g} (standard deviation)."
    )


def _table(choice: Choice) -> Iterator[str]:
    """What is spent, by the round."""
    server, public = choice.server(), choice.public()
    at = sorted({max(1, round(choice.rounds * part)) for part in _SHOWN})
    heads = ["after round", *(f"{r:,}" for r in at)]
    rows = [
        ["against the server", *(f"{choice.server(r).epsilon:.4g}" for r in at)],
        ["against the published model", *(f"{choice.public(r).epsilon:.4g}" for r in at)],
    ]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    names = dict.fromkeys((server.accountant, public.accountant))
    yield f"Epsilon at delta {choice.delta:g}, by the accountant{'s' * (len(names) > 1)} {' and '.join(names)}:"
    for row in (heads, *rows):
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        yield "   ".join(["  " + row[0].ljust(widths[0]), *cells])


def _verdict(choice: Choice) -> str:
    """What the two figures say, and no more.

    The bands are those of Ponomareva et al., "How to DP-fy ML", JAIR 2023: up to 1, up to 10, above.
    """
    server, public = choice.server().epsilon, choice.public().epsilon
    if _band(server) == _band(public):
        strength = f"{_band(server)}, against the server as against the published model"
    else:
        strength = f"{_band(server)} against the server, {_band(public)} against the published model"
    with_server, with_model = _odds(server, choice.delta), _odds(public, choice.delta)
    often = f"{with_server} with either view"
    if with_server != with_model:
        often = f"{with_server} with the server's view, {with_model} with the model"
    secret = (
        "one client's updates were counted or zeroed"
        if choice.neighboring is Neighboring.ZERO_OUT
        else "one client sent these updates or those"
    )
    return (
        f"Verdict: {strength}. Who knows all else and starts at even odds on whether {secret} may end up right "
        f"{often}; no test does better."
    )


def _band(epsilon: float) -> str:
    if epsilon <= 1.0:
        return "strong"
    return "moderate" if epsilon <= 10.0 else "weak to none"


def _odds(epsilon: float, delta: float) -> str:
    """Rounded up, as it is a bound."""
    percent = math.ceil(1e3 * best_guess(epsilon, delta)) / 10
    return f"{percent:.1f} % of the time" if percent < 100.0 else "practically always"


def _levers(choice: Choice) -> Iterator[str]:
    """What would halve the server's figure, each by itself; nothing where it is next to nothing, or beyond measure."""
    half = choice.server().epsilon / 2.0
    if not LEAST_EPSILON <= half <= MOST_EPSILON:
        return
    yield f"Any one of these would halve the server's figure, to {half:.4g}:"
    with contextlib.suppress(BudgetError):  # the noise is at the end of its range: the other levers are left
        yield from _bullet(_more_noise(choice, least_noise(choice, half)))
    fits = most_rounds(choice, half)
    if fits:
        counted = "invitations of one client" if choice.capped else "rounds"
        yield from _bullet(f"{counted}: {fits:,} in place of {choice.most_participations:,}")
    if not choice.capped and choice.fairest < choice.rounds:
        fair = replace(choice, participations=choice.fairest).server().epsilon
        times = "once" if choice.fairest == 1 else f"{choice.fairest:,} times"
        yield from _wrapped(
            f"If it is enforced that nobody is invited more than {times}, which is as few as can be, the server's "
            f"figure is {fair:.4g} (--participations {choice.fairest})."
        )
    yield from ("A smaller clip lowers the noise and leaves epsilon as it is.", "")


def _more_noise(choice: Choice, quieter: Choice) -> str:
    growth = quieter.noise_multiplier / choice.noise_multiplier
    text = f"noise: multiplier {quieter.noise_multiplier:.4g}, which puts {quieter.noise_std_mean:.3g} on the mean"
    invited = math.ceil(choice.invited * growth)
    if invited > choice.population:
        return text
    return f"{text}, or {choice.noise_std_mean:.3g} as now if {invited:,} are invited"


def _bullet(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="  - ", subsequent_indent="    ")


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent="  ")


def _plotter(path: Path | None) -> ModuleType | None:
    """Refuse a plot that cannot be written before anything is computed, not after."""
    if path is None:
        return None
    if path.suffix not in _SUFFIXES:
        raise BudgetError(f"--plot {str(path)!r} has no known form: name a file that ends in .svg or .png")
    if path.is_dir() or not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise BudgetError(f"--plot {str(path)!r} cannot be written: name a file in a folder that you may write to")
    try:
        from protocols.cli import plot  # noqa: PLC0415  # matplotlib comes with an extra; only --plot needs it
    except ImportError as error:
        raise MissingExtra(
            "plots are drawn with matplotlib, which is not installed: install 'secagg[report]', or leave --plot out"
        ) from error
    return plot


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--population", type=int, required=True, metavar="P", help="clients that there are")
    parser.add_argument("--invited", type=int, required=True, metavar="N", help="of them, invited to each round")
    parser.add_argument("--rounds", type=int, metavar="R", help="how many")
    parser.add_argument("--clip", type=float, required=True, metavar="C", help="L2 bound of an update")
    parser.add_argument(
        "--noise-multiplier",
        type=float,
        metavar="Z",
        help="standard deviation of the whole sum's noise over the clip, when all the invited survive",
    )
    parser.add_argument("--epsilon", type=float, metavar="E", help="what all rounds may cost against the server")
    parser.add_argument("--delta", type=float, required=True, metavar="DELTA", help="at most 1 over the population")
    parser.add_argument(
        "--max-dropped", type=int, default=0, metavar="D", help="of the invited, may be missing (default 0)"
    )
    parser.add_argument(
        "--max-corrupt", type=int, default=0, metavar="M", help="of the invited, may work for the server (default 0)"
    )
    parser.add_argument(
        "--participations", type=int, metavar="K", help="rounds of one client at most, where that is enforced"
    )
    parser.add_argument(
        "--mechanism",
        choices=[member.value for member in Mechanism],
        default=Mechanism.SKELLAM.value,
        help="the clients' integer noise (skellam, the default) or, for comparison, real-valued noise (gaussian)",
    )
    parser.add_argument(
        "--neighboring",
        choices=list(_NEIGHBORS),
        default="zero-out",
        help="one client's updates become zeros (zero-out, the default) or any others",
    )
    parser.add_argument(
        "--sampling",
        choices=[member.value for member in Sampling],
        default=Sampling.FIXED.value,
        help="each round draws exactly N clients (fixed, the default), or tosses a coin for each (poisson)",
    )
    parser.add_argument(
        "--step", type=float, metavar="S", help="rounding step that Skellam noise is charged at (default C / 2^16)"
    )
    parser.add_argument(
        "--length", type=int, default=DEFAULT_LENGTH, metavar="L", help="coordinates of an input (default 2^20)"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw epsilon over rounds to FILE.svg or FILE.png")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


VERB: Final = Verb(
    name="budget",
    summary="plan differential privacy: epsilon over rounds, and what would halve it",
    description="Say what clients, rounds, clip and noise cost in epsilon, or find what fits.",
    epilog=_EPILOG,
    options=_options,
    run=run,
)
