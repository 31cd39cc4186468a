"""What the demonstration says: its opening, a line a round, and the report at its end.

Promise: every line fits 80 columns, whatever the terminal; every figure in it was measured in this run. `PlainScreen`
writes lines as they come, for logs and pipes; the live table for terminals is in `live`.

Imports this package.
"""

from __future__ import annotations

import collections
import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, TextIO

from protocols.demo import picture
from protocols.demo.outcome import Glimpse, Outcome, RoundRecord, Settings
from protocols.demo.picture import Glyphs
from protocols.demo.secure import Federation
from protocols.demo.training_plain import DROP_LEGS, ScheduledRound
from protocols.simulate import LegReport

WIDTH: Final = 78
_INDENT: Final = "  "
_STRIP: Final = 64
_MOST_NAMES: Final = 12
_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB")


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading and the lines under it."""

    heading: str
    lines: tuple[str, ...]


def human_bytes(count: float) -> str:
    """Write a number of bytes in three digits or so, by powers of a thousand."""
    for unit in _UNITS:
        if count < 999.5 or unit == _UNITS[-1]:
            break
        count /= 1000
    return f"{count:.0f} {unit}" if count >= 99.95 or unit == "bytes" else f"{count:.1f} {unit}"


def opening(federation: Federation) -> tuple[str, ...]:
    """Say what is about to run, and under which plan."""
    task, plan, settings = federation.task, federation.plan, federation.settings
    dropping = len(federation.scheduled[0].dropping)
    cohort = f"{plan.clients} of {len(task.clients)} clients, {dropping} drop out"
    around = "all others" if plan.complete else f"{plan.degree} neighbors"
    parts = "update, weight, metrics" if settings.epsilon is None else "update and metrics, noised"
    budget = f"  budget epsilon {settings.epsilon} at delta {settings.delta}; the noise suits {settings.rounds} rounds"
    return (
        f"{task.name}: {_many(settings)} rounds, each of {cohort}",
        f"  plan   {plan.adversary.value} server; {plan.max_corrupt} may collude, {plan.max_dropped} may be missing",
        f"         masks shared with {around}, threshold {plan.threshold}, quorum {plan.quorum}",
        f"  input  {federation.recipe.length} words of {federation.ring.bits} bits: {parts}",
        *([] if settings.epsilon is None else [budget]),
        "  dropped: left at any leg; who left after its input was sent is in the sum",
    )


def _many(settings: Settings) -> str:
    """How many rounds there will be."""
    return str(settings.rounds) if settings.epsilon is None else f"{settings.rounds} or more"


def round_line(record: RoundRecord, *, rounds: int, quality_name: str) -> str:
    """Say in one line what became of a round, out of so many or, under a budget, so many planned."""
    number = f"round {record.scheduled.number:>{len(str(rounds))}}" + ("" if record.spent else f"/{rounds}")
    if record.aborted is not None:
        return f"{number}: no sum, {str(record.aborted).removeprefix('round ended ')}; skipped"
    who = f"sum of {len(record.survivors)}, {len(record.scheduled.dropping)} dropped"
    told = f"up {human_bytes(record.uplink_bytes)}, down {human_bytes(record.downlink_bytes)}"
    if record.spent is not None:  # both would not fit the line
        told = f"epsilon {record.spent.server.epsilon:.2f} spent"
    return f"{number}: {who}, {told}, {quality_name} {record.quality:.4f}"


def report(federation: Federation, outcome: Outcome, glyphs: Glyphs) -> tuple[Section, ...]:
    """Say what came of the run: quality, what the server saw and learned, who dropped, what it cost, its limits."""
    return (
        _quality(federation, outcome),
        *_spent(federation, outcome),
        *_seen(outcome, glyphs),
        _learned(outcome),
        _dropped(outcome),
        _cost(federation, outcome),
        _limits(outcome),
    )


class PlainScreen:
    """Prints a line for each thing that happens, as it happens."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._federation: Federation | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing is held that would have to be given back."""

    def opened(self, federation: Federation) -> None:
        """Print the opening."""
        self._federation = federation
        self._print(opening(federation))

    def leg(self, scheduled: ScheduledRound, report: LegReport) -> None:
        """Print nothing: a line a round is enough for a log."""

    def round(self, record: RoundRecord) -> None:
        """Print the round's line."""
        if self._federation is not None:
            task, rounds = self._federation.task, self._federation.settings.rounds
            self._print([round_line(record, rounds=rounds, quality_name=task.quality_name)])

    def comparing(self, what: str) -> None:
        """Print what is compared with."""
        self._print([f"for comparison: {what}"])

    def closed(self, sections: Iterable[Section]) -> None:
        """Print the report."""
        for section in sections:
            self._print(["", section.heading, *section.lines])

    def _print(self, lines: Iterable[str]) -> None:
        self._stream.writelines(f"{line}\n" for line in lines)
        self._stream.flush()


def _quality(federation: Federation, outcome: Outcome) -> Section:
    rows = (
        ("all rows in one place", outcome.pooled),
        ("federated, over masked sums" + (", noised" if outcome.privacy else ""), outcome.federated),
        ("federated, over plain sums", outcome.plain_sum),
        (f"one client alone, mean of {outcome.lone_sample}", outcome.lone_mean),
    )
    exactness = (
        f"No coordinate of a masked mean was further than {outcome.difference:.1e} from the plain mean of the same "
        f"updates; rounding allows {outcome.step:.1e}."
    )
    skipped = f"{outcome.rounds_aborted} of {len(outcome.records)} rounds gave no sum and were skipped in both."
    return Section(
        heading=f"Quality: {federation.task.quality_name} on rows that nobody trained on",
        lines=(
            *(f"{_INDENT}{name:<36} {value:.4f}" for name, value in rows),
            *_wrapped(exactness if outcome.step else ""),
            *_wrapped(skipped if outcome.rounds_aborted else ""),
        ),
    )


def _spent(federation: Federation, outcome: Outcome) -> tuple[Section, ...]:
    """What the run's privacy is, against whom, and why it ended."""
    privacy, settings = outcome.privacy, federation.settings
    if privacy is None:
        return ()
    server, public, plan = privacy.spent.server, privacy.spent.public, federation.plan
    end = (
        f"It ended after {len(outcome.records)} rounds, because the ledger had no room for another."
        if privacy.halted_by_budget
        else f"All {len(outcome.records)} rounds that were scheduled fit the budget."
    )
    noise = (
        ""
        if privacy.noise_std is None
        else f"Every update is clipped to {privacy.clip} and counts once; a coordinate of the last mean has noise of "
        f"standard deviation {privacy.noise_std:.1e}."
    )
    return (
        Section(
            heading=f"Privacy: delta {settings.delta}, between one client's updates and zeros in their place",
            lines=(
                f"{_INDENT}{f'server and its {plan.max_corrupt} colluders':<36} epsilon {server.epsilon:.4f}",
                f"{_INDENT}{'who sees the models only':<36} epsilon {public.epsilon:.4f}",
                *_wrapped(end),
                *_wrapped(f"No client was in more than {privacy.client_rounds} of them; its own ledger says so."),
                *_wrapped(noise),
            ),
        ),
    )


_NOTHING: Final = "Nothing: no round gave a sum. More clients dropped out than the plan bears: raise --max-dropped."


def _seen(outcome: Outcome, glyphs: Glyphs) -> tuple[Section, ...]:
    glimpse = outcome.glimpse
    if glimpse is None:
        return ()
    own = picture.count_parts(glimpse.ring.lift(glimpse.update), glimpse.ring)
    received = picture.count_parts(glimpse.received, glimpse.ring)
    statistic = picture.chi_square(outcome.parts)
    degrees = len(outcome.parts) - 1
    uniform = (
        f"Bars count words in {len(outcome.parts)} equal parts of the ring. Over all rounds "
        f"{int(outcome.parts.sum()):,} words came in: chi-square {statistic:.1f}; uniform words give {degrees}, "
        f"give or take {math.sqrt(2 * degrees):.0f}. Looking uniform proves nothing; the protocol does."
    )
    lines = (
        *_strips("its update", picture.update_shades(glimpse), picture.histogram(own, glyphs), glyphs),
        *_strips("as received", picture.received_shades(glimpse), picture.histogram(received, glyphs), glyphs),
        *_wrapped(uniform),
    )
    return (Section(heading=_seen_heading(glimpse), lines=lines),)


def _seen_heading(glimpse: Glimpse) -> str:
    return f"What the server saw of {glimpse.client} in round {glimpse.number}: {len(glimpse.received)} masked words"


def _strips(name: str, shades: picture.Shades, bars: str, glyphs: Glyphs) -> Sequence[str]:
    lines = picture.strip(shades, glyphs, width=_STRIP)
    return [f"{_INDENT}{name if not row else '':<12}{line}" for row, line in enumerate([*lines, bars])]


def _learned(outcome: Outcome) -> Section:
    last = next((record for record in reversed(outcome.records) if record.aborted is None), None)
    if last is None or outcome.mean_norm is None:
        return Section(heading="What the server learned", lines=_wrapped(_NOTHING))
    sum_ = "sum, its weight and its metrics" if outcome.privacy is None else "sum and its metrics, all noised"
    text = (
        f"In each round one {sum_}, and who is in it. In round {last.scheduled.number}: the "
        f"mean of {len(last.survivors)} updates, of norm {outcome.mean_norm:.3f}. No update, and no partial sum."
    )
    return Section(heading="What the server learned", lines=_wrapped(text))


def _dropped(outcome: Outcome) -> Section:
    legs = collections.Counter(leg for record in outcome.records for leg in record.scheduled.dropping.values())
    by_leg = ", ".join(f"{legs[leg]} before {leg}" for leg in DROP_LEGS)
    late = f"Those that left before {DROP_LEGS[-1]} had sent their input, and it counts."
    any_sum = any(record.aborted is None for record in outcome.records)
    last = outcome.records[-1].scheduled
    gone = [f"{client} ({leg})" for client, leg in sorted(last.dropping.items())]
    more = [f"and {len(gone) - _MOST_NAMES} more"] if len(gone) > _MOST_NAMES else []
    names = ", ".join(gone[:_MOST_NAMES] + more)
    return Section(
        heading=f"Who dropped out: {outcome.dropped_total} of {sum(len(r.scheduled.invited) for r in outcome.records)}",
        lines=(
            *_wrapped((f"{by_leg}. {late}" if any_sum else f"{by_leg}.") if outcome.dropped_total else "Nobody."),
            *_wrapped(f"In round {last.number}: {names}." if names else ""),
        ),
    )


def _cost(federation: Federation, outcome: Outcome) -> Section:
    packed = federation.ring.packed_size(federation.recipe.length)
    if outcome.uplink_bytes_per_client is None or outcome.downlink_bytes_per_client is None:
        return Section(heading="What it cost", lines=(f"{_INDENT}No round was finished.",))
    text = (
        f"A client that stayed sent {human_bytes(outcome.uplink_bytes_per_client)} a round and was sent "
        f"{human_bytes(outcome.downlink_bytes_per_client)}. Its masked input takes {human_bytes(packed)} of it; keys, "
        "shares and signatures take the rest, and do not grow with the model."
    )
    return Section(heading="What it cost", lines=_wrapped(text))


def _limits(outcome: Outcome) -> Section:
    if outcome.privacy is None:
        lines = (
            f"{_INDENT}The sum itself is exact, and tells what an exact sum tells. With noise:",
            f"{_INDENT}secagg demo --epsilon 8 --delta 1e-5",
        )
    else:
        lines = (
            f"{_INDENT}Fewer, larger rounds cost less: the same noise hides in a longer sum.",
            f"{_INDENT}secagg budget --help    says how to plan epsilon over rounds",
        )
    return Section(
        heading="Limits, and what to try next",
        lines=(*lines, f"{_INDENT}secagg plan --clients 1000 --max-dropped 100 --max-corrupt 50"),
    )


def _wrapped(text: str) -> tuple[str, ...]:
    return tuple(textwrap.wrap(text, WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT))
