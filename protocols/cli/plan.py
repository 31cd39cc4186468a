"""`secagg plan`: who must behave, what follows from it, and what a round then costs."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from typing import Final

from protocols.cli import forecast
from protocols.cli.words import Figure, Verb, json_line
from protocols.demo.show import human_bytes
from secagg import Adversary, Plan, Ring, cost
from secagg.plan import MIN_CORRECTNESS_BITS, MIN_SECURITY_BITS

_LENGTH: Final = 1_000_000
_BITS: Final = 32

_JSON_HELP: Final = """\
--json prints one object in one line. Odds are base-2 logarithms, null where
counting rules the event out. Bytes are those of a round in which everyone
stays: uplink_bytes and downlink_bytes of one client, server_uplink_bytes and
server_downlink_bytes of all together. Masks are vectors of the input's length:
client_masks for a client, server_masks_no_drop and server_masks_worst for the
server.

--measure plays two small rounds here, a few seconds in all, and adds the CPU
seconds that this round would take on one core of this machine: client_cpu_s,
server_cpu_s_no_drop and server_cpu_s_worst."""


def run(options: argparse.Namespace) -> int:
    """Print the plan.

    Raises:
        secagg.ConfigError: no plan is safe, or a number is out of range.
    """
    plan = Plan.find(
        clients=options.clients,
        max_dropped=options.max_dropped,
        max_corrupt=options.max_corrupt,
        adversary=options.adversary,
        security_bits=options.security_bits,
        correctness_bits=options.correctness_bits,
    )
    price = cost.of(plan, length=options.length, ring_bits=options.bits)
    rates = forecast.measure(Ring(options.bits)) if options.measure else None
    taken = {} if rates is None else forecast.seconds(plan, price, rates, length=options.length)
    if options.json:
        sizes = {"length": options.length, "ring_bits": options.bits}
        print(json_line({**_plan_figures(plan), **sizes, **_costs(price), **taken}))
    else:
        print(plan.explain())
        print(f"\nA round of {options.length:,} words of {options.bits} bits, in which everyone stays:\n")
        print(_table(_byte_rows(price)), end="\n\n")
        print(_table(_work_rows(price)))
        if taken:
            print("\nOn one core of this machine, with nothing else to do:\n")
            print(_table(_second_rows(taken)))
    return 0


def _plan_figures(plan: Plan) -> dict[str, Figure]:
    odds = plan.odds
    return {
        "clients": plan.clients,
        "max_dropped": plan.max_dropped,
        "max_corrupt": plan.max_corrupt,
        "adversary": plan.adversary.value,
        "graph": "complete" if plan.complete else "k-regular",
        "degree": plan.degree,
        "threshold": plan.threshold,
        "quorum": plan.quorum,
        "min_survivors": plan.min_survivors,
        "security_bits": plan.security_bits,
        "correctness_bits": plan.correctness_bits,
        "log2_secrets_opened": _log2(odds.secrets_opened),
        "log2_disconnected": _log2(odds.disconnected),
        "log2_unrecoverable": _log2(odds.unrecoverable),
    }


def _costs(price: cost.Cost) -> dict[str, Figure]:
    return {
        "payload_bytes": price.payload_bytes,
        "uplink_bytes": price.uplink_bytes,
        "downlink_bytes": price.downlink_bytes,
        "server_uplink_bytes": price.server_uplink_bytes,
        "server_downlink_bytes": price.server_downlink_bytes,
        "client_masks": price.client.masks,
        "client_agreements": price.client.agreements,
        "client_verifications": price.client.verifications,
        "server_masks_no_drop": price.server.masks,
        "server_masks_worst": price.server_worst.masks,
        "server_agreements_no_drop": price.server.agreements,
        "server_agreements_worst": price.server_worst.agreements,
        "server_verifications": price.server_worst.verifications,
    }


def _log2(odds: float) -> float | None:
    return None if odds == -math.inf else odds


def _byte_rows(price: cost.Cost) -> list[Sequence[str]]:
    legs = [
        (leg.leg.name.lower(), human_bytes(leg.downlink_bytes), human_bytes(leg.uplink_bytes)) for leg in price.legs
    ]
    return [
        ("leg", "a client is sent", "and sends"),
        *legs,
        ("in all", human_bytes(price.downlink_bytes), human_bytes(price.uplink_bytes)),
        ("all clients", human_bytes(price.server_downlink_bytes), human_bytes(price.server_uplink_bytes)),
    ]


def _work_rows(price: cost.Cost) -> list[Sequence[str]]:
    parties = (
        ("a client", price.client),
        ("the server", price.server),
        ("the server at worst", price.server_worst),
    )
    return [
        ("work", "masks expanded", "key agreements", "signatures verified"),
        *((who, f"{work.masks:,}", f"{work.agreements:,}", f"{work.verifications:,}") for who, work in parties),
    ]


def _second_rows(taken: Mapping[str, float]) -> list[Sequence[str]]:
    parties = ("a client", "the server", "the server at worst")
    return [
        ("CPU time", "seconds"),
        *((who, f"{value:.3f}") for who, value in zip(parties, taken.values(), strict=True)),
    ]


def _table(rows: list[Sequence[str]]) -> str:
    """Write rows in columns, the first to the left and numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  "
        + "   ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    )


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clients", type=int, required=True, metavar="N", help="clients invited to a round")
    parser.add_argument(
        "--max-dropped", type=int, required=True, metavar="D", help="how many of them may be missing, at any point"
    )
    parser.add_argument(
        "--max-corrupt", type=int, required=True, metavar="M", help="how many of them may work for the server"
    )
    parser.add_argument(
        "--adversary",
        choices=[member.value for member in Adversary],
        default=Adversary.ACTIVE.value,
        help="what the server does: lie (active, the default) or follow the protocol (semi-honest)",
    )
    parser.add_argument("--length", type=int, default=_LENGTH, metavar="L", help="words of an input (default 1000000)")
    parser.add_argument("--bits", type=int, default=_BITS, metavar="B", help="bits of a word (default 32)")
    parser.add_argument("--security-bits", type=int, default=MIN_SECURITY_BITS, metavar="S", help="40 (default) to 128")
    parser.add_argument(
        "--correctness-bits", type=int, default=MIN_CORRECTNESS_BITS, metavar="C", help="30 (default) to 128"
    )
    parser.add_argument("--measure", action="store_true", help="forecast CPU time on this machine, measured first")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


VERB: Final = Verb(
    name="plan",
    summary="find the graph, threshold and quorum for a cohort, and what a round costs",
    description="Find the cheapest safe plan for a cohort and say what a round costs, or why no plan is safe.",
    epilog=_JSON_HELP,
    options=_options,
    run=run,
)
