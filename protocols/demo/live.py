"""The demonstration on a terminal: a table that fills while the rounds run.

Promise: it fits 80 columns and the height of the terminal. While there is not room for every round the earliest are
folded into one line; the table left behind at the end is whole.

The only module here that imports rich. Imports this package and the names of legs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from protocols.demo.outcome import RoundRecord
from protocols.demo.secure import Federation
from protocols.demo.show import Section, human_bytes, opening
from protocols.demo.training_plain import ScheduledRound
from protocols.simulate import LegReport
from secagg import Leg

_FRAMES_A_SECOND: Final = 8
_OTHER_LINES: Final = 5
"""Lines of a frame that are no round: above the table, its head, its fold, the status, and below."""

_WIDTHS: Final = {"round": 5, "leg": 17, "joined": 6, "dropped": 7, "up": 7, "down": 7}

Row = tuple[str, ...]


class LiveScreen:
    """Shows the rounds as a table; use it as a context manager, so that the terminal is given back.

    Args:
        console: where.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._spinner = Spinner("line", style="bold")
        self._quality_name = ""
        self._rounds = 0
        self._private = False
        self._legs_played: tuple[Leg, ...] = ()
        self._rows: list[Row] = []
        self._open: Row | None = None
        self._reports: list[LegReport] = []
        self._over = False
        self._live = Live(console=console, refresh_per_second=_FRAMES_A_SECOND, get_renderable=self._render)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def opened(self, federation: Federation) -> None:
        """Print the opening and start the table."""
        self._quality_name = federation.task.quality_name
        self._rounds = federation.settings.most_rounds
        self._private = federation.settings.epsilon is not None
        legs = (leg for leg in Leg if leg >= Leg.ADVERTISE)
        self._legs_played = tuple(leg for leg in legs if leg is not Leg.CONFIRM or federation.plan.quorum)
        first, *others = opening(federation)
        self._console.print(Text("\n").join([Text(first, style="bold"), *map(Text, others), Text()]))
        self._show_open(federation.scheduled[0])
        self._live.start(refresh=True)

    def leg(self, scheduled: ScheduledRound, report: LegReport) -> None:
        """Show what the leg came to."""
        self._reports.append(report)
        self._show_open(scheduled)

    def round(self, record: RoundRecord) -> None:
        """Leave the round's row behind."""
        survivors, aborted = len(record.survivors), record.aborted
        end = f"sum of {survivors}" if aborted is None else f"no sum, {aborted.leg.name.lower()}"
        quality = f"{record.quality:.4f}" if aborted is None else "skipped"
        spent = () if record.spent is None else (f"{record.spent.server.epsilon:.2f}",)
        self._rows.append(_row(record.scheduled, end, record.legs, quality) + spent)
        self._open = None
        self._reports = []
        following = record.scheduled.number + 1
        self._spinner.update(text=f"round {following}: clients train" if following <= self._rounds else "")

    def comparing(self, what: str) -> None:
        """Say what is computed now."""
        self._spinner.update(text=f"for comparison: {what}")

    def closed(self, sections: Iterable[Section]) -> None:
        """Leave the whole table behind and print the report under it."""
        self._over = True
        self._live.stop()
        for section in sections:
            self._console.print(Text(f"\n{section.heading}", style="bold"))
            for line in section.lines:
                self._console.print(Text(line), no_wrap=True, overflow="ignore", crop=False)

    def _show_open(self, scheduled: ScheduledRound) -> None:
        """Show the round that runs, up to its last closed leg."""
        done, legs = len(self._reports), self._legs_played
        doing = legs[done].name.lower() if done < len(legs) else "take masks off"
        self._open = _row(scheduled, doing, self._reports, "")
        step = f"leg {done + 1} of {len(legs)}, {doing}" if done < len(legs) else "the server takes the masks off"
        self._spinner.update(text=f"round {scheduled.number}: {step}")

    def _render(self) -> RenderableType:
        rows, opened = list(self._rows), self._open
        if opened is not None:
            rows.append(opened)
        if self._over:
            return self._table(rows, hidden=0)
        room = max(1, self._console.size.height - _OTHER_LINES)
        return Group(self._table(rows, hidden=max(0, len(rows) - room)), self._spinner)

    def _table(self, rows: Sequence[Row], *, hidden: int) -> Table:
        """Draw the rows from `hidden` on, and one for those before."""
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        for name, width in _WIDTHS.items():
            table.add_column(name, justify="left" if name == "leg" else "right", no_wrap=True, min_width=width)
        table.add_column(self._quality_name, justify="right", no_wrap=True, min_width=8)
        if self._private:
            table.add_column("epsilon", justify="right", no_wrap=True, min_width=7)
        if hidden:
            table.add_row(f"1-{hidden}", "done", style="dim")
        for row in rows[hidden:]:
            table.add_row(*map(Text, row))
        return table


def _row(scheduled: ScheduledRound, leg: str, reports: Sequence[LegReport], quality: str) -> Row:
    joined = f"{reports[0].answered}/{len(scheduled.invited)}" if reports else ""
    dropped = sum(report.asked - report.answered for report in reports)
    up = sum(report.uplink_bytes for report in reports)
    down = sum(report.downlink_bytes for report in reports)
    return (str(scheduled.number), leg, joined, str(dropped), human_bytes(up), human_bytes(down), quality)
