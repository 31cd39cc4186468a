"""`secagg demo`: train over masked sums on this machine, and show what the server saw and what it did not."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from protocols.cli.words import Figure, MissingExtra, Verb, json_line
from protocols.demo import digits, flights, picture
from protocols.demo.outcome import DEFAULT_DELTA, Outcome, Settings
from protocols.demo.secure import Federation, find_plan
from protocols.demo.show import PlainScreen, report
from protocols.demo.supervised import SupervisedTask
from protocols.demo.task import SettingError
from protocols.recipe import Recipe
from secagg import Adversary, ConfigError

if TYPE_CHECKING:
    from protocols.demo.live import LiveScreen

MAX_CORRUPT: Final = 0.1
"""The fraction of the invited that may collude, unless said otherwise."""

_TASKS: Final[Mapping[str, Callable[..., SupervisedTask]]] = {"flights": flights.load, "digits": digits.load}

_EPILOG: Final = """\
The flights have one client an aircraft and ask which flights will be late; the
digits have one client an inferred writer. Data split, invitations and
drop-outs follow from --seed-data; keys and masks are always fresh.

A round that loses more clients than --max-dropped allows ends without a sum.
It is shown and skipped; nobody's update is asked for again.

--epsilon adds noise: every update is clipped lower and counts once, each client
adds its share of the noise before masking, sized for --rounds rounds with the
fewest honest survivors allowed. Rounds cost less when more survive, and more of
them are run until the privacy ledger has no room.

--json prints progress on stderr and one object as the last line of stdout. Its
qualities are named by what they measure: auc_pooled, auc_federated,
auc_plain_sum and auc_lone_mean for the flights, accuracy_pooled and so on for
the digits; "quality" says which. dropped_total counts the invited that dropped
out at any leg over all rounds, dropped_before_input those of them whose input
does not count, over the rounds that gave a sum. uplink_bytes_per_client and
downlink_bytes_per_client are means over the clients that stayed to the end of
a round that gave a sum. largest_difference is the furthest that a coordinate
of a masked mean was from the plain mean of the same updates, rounding_step the
bound on it; both are zero under --epsilon. Where no round gave a sum, what was
not measured is null or zero. Under --epsilon there are also epsilon_budget,
delta, epsilon_server_view (against the server and its colluders),
epsilon_public_view (against who sees the models only), accountant, neighboring,
rounds_planned, rounds_run, halted_by_budget, most_rounds_of_a_client, clip and
noise_std, that of the noise in a coordinate of the last mean."""


def run(options: argparse.Namespace) -> int:
    """Run the demonstration.

    Raises:
        SettingError: a setting is wrong, or no plan is safe for the settings.
        MissingExtra: rich is not installed, and --json was not asked for.
    """
    begun = time.monotonic()
    glyphs = picture.glyphs_for(sys.stdout.encoding)  # asked before a live table stands in for stdout
    _check_picture(options.picture)
    with _screen(as_json=options.json) as screen:
        task = _TASKS[options.task](seed_data=options.seed_data)
        federation = _federation(task, _settings(task, options), options)
        outcome = federation.run(screen)
        if not options.json:
            screen.closed(report(federation, outcome, glyphs))
    _save_picture(options.picture, outcome)
    if options.json:
        print(json_line(_figures(federation, outcome, seconds=time.monotonic() - begun)))
    return 0


def _settings(task: SupervisedTask, options: argparse.Namespace) -> Settings:
    """Fill in the task's defaults."""
    if options.delta is not None and options.epsilon is None:
        raise SettingError("--delta is part of a privacy budget: give --epsilon as well")
    defaults = task.defaults
    dropout = defaults.dropout if options.dropout is None else options.dropout
    return Settings(
        clients=defaults.clients if options.clients is None else options.clients,
        rounds=defaults.rounds if options.rounds is None else options.rounds,
        dropout=dropout,
        max_dropped=dropout if options.max_dropped is None else options.max_dropped,
        max_corrupt=options.max_corrupt,
        adversary=Adversary(options.adversary),
        seed_data=options.seed_data,
        epsilon=options.epsilon,
        delta=DEFAULT_DELTA if options.delta is None else options.delta,
    )


def _screen(*, as_json: bool) -> PlainScreen | LiveScreen:
    """Choose how progress is shown: lines on stderr beside JSON, a live table on a terminal, lines anywhere else."""
    if as_json:
        return PlainScreen(sys.stderr)
    try:
        from rich.console import Console  # noqa: PLC0415  # rich comes with an extra; only this verb needs it
    except ImportError as error:
        raise MissingExtra(
            "the demonstration shows itself with rich, which is not installed: install 'secagg[demo]', or use --json"
        ) from error
    from protocols.demo.live import LiveScreen  # noqa: PLC0415  # imports rich

    console = Console()
    live = console.is_terminal and not console.is_dumb_terminal
    return LiveScreen(console) if live else PlainScreen(sys.stdout)


def _federation(task: SupervisedTask, settings: Settings, options: argparse.Namespace) -> Federation:
    """Set the run up, or say which option to change."""
    try:
        return Federation(task, settings)
    except ConfigError as error:
        fix = _fix(task, settings, dropped="--dropout" if options.max_dropped is None else "--max-dropped")
        raise SettingError(f"{error}{fix}") from error


def _fix(task: SupervisedTask, settings: Settings, *, dropped: str) -> str:
    """Say which option would do at which value, in hundredths; nothing where neither fraction alone would."""
    recipe = Recipe.like(task.initial(), clip=task.clip)
    for value in _hundredths_below(settings.max_dropped):
        if _plannable(recipe, replace(settings, max_dropped=value)):
            return f"; that is {dropped} {value:.2f}"
    for value in _hundredths_below(settings.max_corrupt):
        if _plannable(recipe, replace(settings, max_corrupt=value)):
            return f"; that is --max-corrupt {value:.2f}"
    return ""


def _hundredths_below(value: float) -> list[float]:
    return [hundredths / 100 for hundredths in range(99, -1, -1) if hundredths / 100 < value]


def _plannable(recipe: Recipe, settings: Settings) -> bool:
    try:
        find_plan(recipe, settings)
    except (ConfigError, SettingError):
        return False
    return True


def _check_picture(path: Path | None) -> None:
    """Refuse a file that cannot be written before the rounds run, not after."""
    if path is not None and (
        path.is_dir() or not os.access(path if path.exists() else path.absolute().parent, os.W_OK)
    ):
        raise SettingError(f"--picture {str(path)!r} cannot be written: name a file in a folder that you may write to")


def _save_picture(path: Path | None, outcome: Outcome) -> None:
    if path is None:
        return
    if outcome.glimpse is None:
        print("no picture: no round gave a sum", file=sys.stderr)
        return
    try:
        path.write_text(picture.svg(outcome.glimpse), encoding="utf-8")
    except OSError as error:
        raise SettingError(f"--picture {str(path)!r} cannot be written: {error.strerror}") from error


def _figures(federation: Federation, outcome: Outcome, *, seconds: float) -> dict[str, Figure]:
    """Everything that was measured, by the names that --help documents."""
    plan, settings, quality = federation.plan, federation.settings, federation.task.quality_name.lower()
    words = int(outcome.parts.sum())
    return {
        "task": federation.task.name,
        "quality": quality,
        "clients": settings.clients,
        "rounds": settings.rounds,
        "rounds_aborted": outcome.rounds_aborted,
        "dropout": settings.dropout,
        "dropped_total": outcome.dropped_total,
        "dropped_before_input": outcome.dropped_before_input,
        f"{quality}_pooled": outcome.pooled,
        f"{quality}_federated": outcome.federated,
        f"{quality}_plain_sum": outcome.plain_sum,
        f"{quality}_lone_mean": outcome.lone_mean,
        "lone_sample": outcome.lone_sample,
        "largest_difference": outcome.difference,
        "rounding_step": outcome.step,
        "uplink_bytes_per_client": _rounded(outcome.uplink_bytes_per_client),
        "downlink_bytes_per_client": _rounded(outcome.downlink_bytes_per_client),
        "seed": settings.seed_data,
        "adversary": plan.adversary.value,
        "max_dropped": plan.max_dropped,
        "max_corrupt": plan.max_corrupt,
        "graph": "complete" if plan.complete else "k-regular",
        "degree": plan.degree,
        "threshold": plan.threshold,
        "quorum": plan.quorum,
        "min_survivors": plan.min_survivors,
        "ring_bits": federation.ring.bits,
        "length": federation.recipe.length,
        "masked_words": words,
        "chi_square": picture.chi_square(outcome.parts) if words else None,
        "chi_square_degrees": len(outcome.parts) - 1,
        "seconds": round(seconds, 2),
        **_privacy_figures(federation, outcome),
    }


def _privacy_figures(federation: Federation, outcome: Outcome) -> dict[str, Figure]:
    """What a private run cost; nothing for exact sums."""
    privacy, settings = outcome.privacy, federation.settings
    if privacy is None:
        return {}
    server, public = privacy.spent.server, privacy.spent.public
    return {
        "epsilon_budget": settings.epsilon,
        "delta": settings.delta,
        "epsilon_server_view": server.epsilon,
        "epsilon_public_view": public.epsilon,
        "accountant": server.accountant,
        "neighboring": server.neighboring.value,
        "rounds_planned": settings.rounds,
        "rounds_run": len(outcome.records),
        "halted_by_budget": privacy.halted_by_budget,
        "most_rounds_of_a_client": privacy.client_rounds,
        "clip": privacy.clip,
        "noise_std": privacy.noise_std,
    }


def _rounded(count: float | None) -> int | None:
    return None if count is None else round(count)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", nargs="?", choices=sorted(_TASKS), default="flights", help="default: flights")
    parser.add_argument("--clients", type=int, metavar="N", help="invited to each round (flights: 60, digits: 14)")
    parser.add_argument("--rounds", type=int, metavar="R", help="how many rounds (flights: 12, digits: 20)")
    parser.add_argument(
        "--dropout", type=float, metavar="F", help="fraction of the invited that drops out of each round (0.2)"
    )
    parser.add_argument(
        "--max-dropped", type=float, metavar="F", help="fraction that the plan lets drop out (that of --dropout)"
    )
    parser.add_argument(
        "--max-corrupt",
        type=float,
        default=MAX_CORRUPT,
        metavar="F",
        help=f"fraction that the plan lets collude with the server ({MAX_CORRUPT})",
    )
    parser.add_argument(
        "--adversary",
        choices=[member.value for member in Adversary],
        default=Adversary.ACTIVE.value,
        help="what the plan assumes of the server (active)",
    )
    parser.add_argument("--epsilon", type=float, metavar="E", help="train under this privacy budget, until it is spent")
    parser.add_argument("--delta", type=float, metavar="D", help=f"delta of the budget ({DEFAULT_DELTA})")
    parser.add_argument("--seed-data", type=int, default=0, metavar="S", help="decides data split and schedule (0)")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="save what the server saw as an SVG image")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the report")


VERB: Final = Verb(
    name="demo",
    summary="train over masked sums, with clients dropping out, and see what the server saw",
    description="Train one model over the data of many simulated clients, each round through a masked sum.",
    epilog=_EPILOG,
    options=_options,
    run=run,
)
