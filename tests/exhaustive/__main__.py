"""Play every way small rounds can go: `python -m tests.exhaustive --clients 4`, with `--json` for one JSON object.

All safe plans of so many clients are searched, against a lying server with its helpers and with an honest one; five
honest clients against a lying server do not fit and are left out. The exit code is 1 where anything went wrong.
"""

from __future__ import annotations

import argparse
import collections
import json
import sys
import time
from collections.abc import Sequence

from tests.exhaustive.search import Found, lying_server
from tests.exhaustive.silences import honest_server
from tests.proof.leg_model import Numbers, certified

MOST_HONEST = 4


def searches(clients: int) -> list[tuple[str, Numbers, Found]]:
    """(which server, the plan's numbers, what was found) of every safe plan."""
    plans = list(certified(clients))
    lying = [("lying", numbers, lying_server(numbers)) for numbers in plans if len(numbers.honest) <= MOST_HONEST]
    return lying + [("honest", numbers, honest_server(numbers)) for numbers in plans]


def main(arguments: Sequence[str] | None = None) -> int:
    """Search, print, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.exhaustive", description=__doc__)
    parser.add_argument("--clients", type=int, default=3, choices=(3, 4, 5), help="how many clients a round invites")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a line a search")
    options = parser.parse_args(arguments)
    started = time.perf_counter()
    done = searches(options.clients)
    violations = [(server, numbers, wrong) for server, numbers, found in done for wrong in found.violations.items()]
    outcomes: collections.Counter[str] = collections.Counter()
    for _, _, found in done:
        outcomes.update(found.outcomes)
    if options.json:
        figures = {
            "clients": options.clients,
            "searches": len(done),
            "states": sum(found.states for _, _, found in done),
            "answers": sum(found.answers for _, _, found in done),
            "outcomes": dict(sorted(outcomes.items())),
            "violations": len(violations),
            "seconds": round(time.perf_counter() - started, 1),
        }
        print(json.dumps(figures))  # noqa: T201  # a command line prints
    else:
        for server, numbers, found in done:
            print(f"{server:<7} {numbers}: {found.states} states, {dict(found.outcomes)}")  # noqa: T201  # the same
    for server, numbers, (wrong, where) in violations:
        print(f"{wrong}, {server} server, {numbers}: {where}", file=sys.stderr)  # noqa: T201  # the same
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
