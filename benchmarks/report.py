"""The kept results as one page with plots, without a script, a font or a picture from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

from benchmarks import plots, results
from benchmarks.peers.catalog import PARTIES
from benchmarks.results import Figure, Result
from benchmarks.targets import TARGETS, Target, Verdict

_CELL = re.compile(r"n(\d+)_(k\d+_)?len(\d+)_drop(\d+)$")
_STAGES: Mapping[str, Mapping[str, str]] = {
    "client": {
        "advertise": "c1",
        "share": "c2",
        "inbox": "c3",
        "encode": "c4",
        "mask": "c5",
        "confirm": "c6",
        "unmask": "c7",
    },
    "server": {
        "advertise": "c1",
        "share": "c2",
        "mask": "c5",
        "confirm": "c6",
        "unmask": "c7",
        "recover": "c3",
        "decode": "c4",
    },
}
_COLORS = {Verdict.GOAL: "good", Verdict.GATE: "fair", Verdict.MISSED: "bad", Verdict.UNKNOWN: "muted"}

_STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf8; --card: #fff; --ink: #22252b; --muted: #8a8f98; --rule: #e4e2dd;
  --good: #2e8b6f; --fair: #d09a2c; --bad: #c2493d; --c1: #b8c4d6; --c2: #4f7cac; --c3: #7a5ea8; --c4: #d9a441;
  --c5: #2e8b6f; --c6: #a9b18f; --c7: #c77b58; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181c; --card: #1f2228; --ink: #e6e4df; --muted: #8d929c;
  --rule: #333740; --c1: #5d6b80; --c2: #6f9bcb; --c3: #9d84c9; --c6: #7f876a; } }
body { background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; margin: 0; }
main { max-width: 1000px; margin: 0 auto; padding: 48px 24px 80px; }
h1 { font-size: 32px; line-height: 1.2; margin: 0 0 8px; letter-spacing: -0.01em; }
h2 { font-size: 20px; margin: 48px 0 4px; } h3 { font-size: 15px; margin: 20px 0 6px; font-weight: 600; }
p { max-width: 70ch; margin: 4px 0 12px; } .note { color: var(--muted); font-size: 14px; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 16px 20px; }
.tally { display: flex; gap: 12px; margin: 24px 0; flex-wrap: wrap; }
.tally div { flex: 1; min-width: 120px; } .tally b { display: block; font-size: 30px; line-height: 1.2; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
td, th { padding: 6px 10px 6px 0; text-align: left; border-bottom: 1px solid var(--rule); vertical-align: middle; }
th { color: var(--muted); font-weight: 500; } tr:last-child td { border-bottom: 0; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th.number { text-align: right; } code { font-size: 13px; }
.dot { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 6px; }
.legend { font-size: 13px; color: var(--muted); } .legend span { margin-right: 16px; white-space: nowrap; }
svg.plot { width: 100%; height: auto; display: block; } svg.bullet { width: 220px; height: 20px; display: block; }
svg text { font: 12px system-ui, sans-serif; fill: var(--muted); }
svg text.strong { fill: var(--ink); paint-order: stroke; stroke: var(--card); stroke-width: 4px; }
.grid { stroke: var(--rule); } .track { fill: var(--rule); } .gate { stroke: var(--ink); stroke-width: 1.5; }
.goal { fill: var(--card); stroke: var(--ink); stroke-width: 1.5; }
"""


def write(file: str = "report.html") -> str:
    """Write the page and return where it is."""
    path = Path(file)
    path.write_text(page(results.load()), encoding="utf-8")
    return str(path.resolve())


def page(kept: Mapping[str, Result]) -> str:
    """The whole page."""
    head = f"<meta charset='utf-8'><title>secagg, measured</title><style>{_STYLE}</style>"
    measured = (*_rounds(kept), _peers(kept), _growth(kept), _memory(kept))
    sections = (_opening(kept), _targets(kept), *measured, _sources(kept))
    viewport = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    body = f"<body><main>{''.join(sections)}</main></body>"
    return f'<!doctype html><html lang="en"><head>{viewport}{head}</head>{body}</html>\n'


def _opening(kept: Mapping[str, Result]) -> str:
    verdicts = [target.verdict(kept) for target in TARGETS]
    words = {Verdict.GOAL: "at their goal", Verdict.GATE: "past their gate", Verdict.MISSED: "short of their gate"}
    words[Verdict.UNKNOWN] = "not measured here"
    tally = "".join(
        f'<div class="card"><b style="color:var(--{_COLORS[verdict]})">{verdicts.count(verdict)}</b>{text}</div>'
        for verdict, text in words.items()
        if verdict in verdicts
    )
    return (
        "<h1>Secure aggregation, measured</h1><p>Real rounds, with every check, signature and tag on. Times are CPU "
        "time of one core, medians of repetitions taken in turn; ratios are of two things measured in one process.</p>"
        f'<div class="tally">{tally}</div>'
    )


def _targets(kept: Mapping[str, Result]) -> str:
    rows = "".join(_target(target, kept) for target in TARGETS)
    return (
        "<h2>What must hold</h2><p class='note'>A bar passes the line where its figure passes the gate, and each "
        "doubling beyond is as long again. The diamond is the goal.</p><div class='card'><table><tr><th>figure"
        "<th class='number'>measured<th><th class='number'>gate<th class='number'>goal</tr>"
        f"{rows}</table></div>"
    )


def _target(target: Target, kept: Mapping[str, Result]) -> str:
    value, color = target.value(kept), _COLORS[target.verdict(kept)]
    bar = "" if value is None else plots.bullet(value, target.gate, target.goal, more=target.more, color=color)
    numbers = [target.shown(number) for number in (value, target.gate, target.goal)]
    measured, gate, goal = (f"<td class='number'>{escape(number)}</td>" for number in numbers)
    return f"<tr><td>{escape(target.what)}</td>{measured}<td>{bar}</td>{gate}{goal}</tr>"


def _rounds(kept: Mapping[str, Result]) -> Iterator[str]:
    """A section for each party: a plot a length, a bar a cohort, a color a stage."""
    about = {
        "client": "A client's round: from the offer to its last answer, the encoding of its update included.",
        "server": "The server's round: from the offer to the decoded mean.",
    }
    for party, words in about.items():
        if party not in kept:
            continue
        colors = _STAGES[party]
        legend = "".join(
            f'<span><i class="dot" style="background:var(--{c})"></i>{s}</span>' for s, c in colors.items()
        )
        by_length = _cells(party, kept[party].figures)
        figures = "".join(
            f"<h3>{length:,} coordinates</h3>{plots.stacked_bars(rows, colors, unit='ms')}"
            for length, rows in sorted(by_length.items())
        )
        card = f"<div class='card'><p class='legend'>{legend}</p>{figures}</div>"
        yield f"<h2>{party.capitalize()}</h2><p>{words}</p>{card}"


def _cells(party: str, figures: Mapping[str, Figure]) -> dict[int, dict[str, dict[str, float]]]:
    found: dict[int, dict[str, dict[str, float]]] = {}
    for name in figures:
        cell = name.removeprefix(f"{party}_").removesuffix("_ms")
        if (match := _CELL.match(cell)) is None or not name.endswith("_ms"):
            continue
        clients, degree, length, dropped = match.groups()
        graph = f", k = {degree[1:-1]}" if degree else ""
        parts = {stage: float(figures.get(f"{party}_{cell}_{stage}_ms", 0.0)) for stage in _STAGES[party]}
        found.setdefault(int(length), {})[f"n = {clients}{graph}, {dropped} % drop"] = parts
    return found


def _peers(kept: Mapping[str, Result]) -> str:
    """A plot for the client and one for the server: how many times our CPU time each peer takes, by length."""
    if "peers" not in kept:
        return ""
    figures = {name: value for name, value in kept["peers"].figures.items() if not isinstance(value, str)}
    plotted = ""
    for party in ("client", "server"):
        points = {
            peer.title: _points(figures, rf"{peer.name}_n100_(\de\d)_drop10_{party}_ratio") for peer in PARTIES.values()
        }
        series = {title: places for title, places in points.items() if places}
        colors = dict(zip(series, ("c2", "c5", "c3", "c4"), strict=False))
        plot = plots.log_lines(series, colors, x="coordinates", y="times ours") if series else ""
        plotted += f"<h3>{party.capitalize()}</h3><div class='card'>{plot}</div>"
    return (
        "<h2>Beside peers</h2><p>CPU time of a peer's own code over ours, whole rounds of 100 clients of whom 10 drop "
        "out, in turn in one run. On a k-regular graph ours is semi-honest, on the complete one it is safe against a "
        f"server that lies; docs/peers.md has every cell, and what each side does.</p>{plotted}"
    )


def _growth(kept: Mapping[str, Result]) -> str:
    if "growth" not in kept:
        return ""
    figures = kept["growth"].figures
    series: dict[str, dict[float, float]] = {}
    for graph, words in (("complete", "complete"), ("k_regular", "sparse")):
        for party in ("client", "server"):
            points = _points(figures, rf"{party}_{graph}_n(\d+)_ms")
            slope = float(figures[f"exponent_{party}_{graph}"])
            series[f"{party}, {words}: n^{slope:.2f}"] = points
    plot = plots.log_lines(series, dict(zip(series, ("c2", "c5", "c3", "c4"), strict=True)), x="clients", y="CPU ms")
    lengths = {party: _points(figures, rf"{party}_len(\d+)_ms") for party in ("client", "server")}
    named = {
        f"{party}: L^{float(figures[f'exponent_length_{party}']):.2f}": points for party, points in lengths.items()
    }
    by_length = plots.log_lines(named, dict(zip(named, ("c2", "c5"), strict=True)), x="coordinates", y="CPU ms")
    drops = {f"{percent:g} % drop": {"server": ms} for percent, ms in _points(figures, r"server_drop(\d+)_ms").items()}
    forecast = ", ".join(
        f"{party} {float(figures[f'forecast_over_measured_{party}_least']):.2f} to "
        f"{float(figures[f'forecast_over_measured_{party}_most']):.2f}"
        for party in ("client", "server")
    )
    return (
        "<h2>Growth</h2><p>Exponents are slopes of least-squares lines. The sparse graph has one degree for every "
        f"cohort.</p><div class='card'>{plot}</div><h3>With the length</h3><div class='card'>{by_length}</div>"
        f"<h3>With drop-out: the server</h3><div class='card'>{plots.stacked_bars(drops, {'server': 'c5'}, unit='ms')}"
        f"</div><p class='note'>What <code>secagg plan --measure</code> foretold, over what was measured, in all cells "
        f"of this benchmark: {forecast}.</p>"
    )


def _points(figures: Mapping[str, Figure], pattern: str) -> dict[float, float]:
    matches = ((re.fullmatch(pattern, name), value) for name, value in figures.items())
    return {float(match[1]): float(value) for match, value in matches if match}


def _memory(kept: Mapping[str, Result]) -> str:
    if "memory" not in kept:
        return ""
    figures = kept["memory"].figures
    client = {
        f"n = {clients}": {
            "masked output": float(figures[f"n{clients}_output_bytes"]) / 1e6,
            "beside it": (float(figures[f"n{clients}_client_peak_bytes"]) - float(figures[f"n{clients}_output_bytes"]))
            / 1e6,
        }
        for clients in (10, 100)
    }
    server = {
        f"n = {clients}": {"server": float(figures[f"n{clients}_server_peak_bytes"]) / 1e6} for clients in (10, 100)
    }
    long = ""
    if "long_length" in figures:
        names = {
            "update": "long_client_update_bytes",
            "client, beyond it": "long_client_beyond_update_bytes",
            "server, receiving": "long_server_receiving_bytes",
            "server, recovering": "long_server_recovering_bytes",
        }
        rows = {words: {"bytes": float(figures[name]) / 1e6} for words, name in names.items()}
        bars = plots.stacked_bars(rows, {"bytes": "c3"}, unit="MB")
        long = f"<h3>{int(figures['long_length']):,} coordinates, streamed</h3><div class='card'>{bars}</div>"
    colors = {"masked output": "c2", "beside it": "c4"}
    return (
        f"<h2>Memory</h2><p>Peaks of a whole round of {int(figures['length']):,} coordinates, the update left out.</p>"
        f"<h3>A client</h3><div class='card'>{plots.stacked_bars(client, colors, unit='MB')}</div><h3>The server</h3>"
        f"<div class='card'>{plots.stacked_bars(server, {'server': 'c5'}, unit='MB')}</div>{long}"
    )


def _sources(kept: Mapping[str, Result]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(result.command)}</code></td><td>{escape(result.date)}</td>"
        f"<td>{escape(str(result.machine.get('processor', 'unknown')))}, Python {escape(result.machine['python'])}</td>"
        f"<td class='number'>{escape(str(result.machine.get('load_before', '-')))}</td></tr>"
        for result in kept.values()
    )
    return (
        "<h2>Where the figures are from</h2><div class='card'><table><tr><th>command<th>day<th>machine"
        f"<th class='number'>load before</tr>{rows}</table></div>"
    )
