"""Which tests guard which module: those of its own unit first, then those that would miss it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_ROUND = ("unit/test_round_server.py", "unit/test_round_client.py", "unit/test_phase.py", "unit/test_mended_doubts.py")
_PARTIES = (*_ROUND, "unit/test_checks.py", "unit/test_mutants_messages.py", "adversary/test_rules.py")
_SERVER = (*_PARTIES, "unit/test_streaming_memory.py", "unit/test_recover.py", "unit/test_mutants_server.py")
_CLIENT = (*_PARTIES, "unit/test_round_resume.py", "unit/test_mutants_client.py")
# Some of the slowest, which kill nothing that their smaller ones do not.
_SLOW = tuple(
    f"--deselect=tests/unit/test_plan.py::test_exactly_the_safe_plans_construct[{n}-{adversary}]"
    for n in range(9, 13)
    for adversary in ("active", "semi-honest")
)
_WIRE = ("unit/test_wire.py", "unit/test_checks.py", "vectors/test_vectors.py", "unit/test_protocol_page.py")
_PLANS = ("unit/test_plan.py", "unit/test_bounds.py", "unit/test_mutants_plan.py", *_SLOW)
_LEDGER = ("unit/test_dp_ledger.py", "unit/test_dp_budget.py", "unit/test_mutants_ledger.py")

GUARDS: Final[Mapping[str, tuple[str, ...]]] = {
    "secagg/pairwise/channel.py": (*_PARTIES, "vectors/test_vectors.py"),
    "secagg/pairwise/checks.py": _PARTIES,
    "secagg/pairwise/client.py": (*_ROUND, "adversary/test_rules.py", "unit/test_mutants_client.py"),
    "secagg/pairwise/keys.py": (*_WIRE, "unit/test_round_server.py", "unit/test_mutants_messages.py"),
    "secagg/pairwise/messages.py": (*_WIRE, "unit/test_mutants_messages.py"),
    "secagg/pairwise/outgoing.py": (
        "unit/test_mutants_client.py",
        "unit/test_streaming_memory.py",
        "unit/test_mended_doubts.py",
        "unit/test_round_client.py",
    ),
    "secagg/pairwise/phase.py": ("unit/test_phase.py", "unit/test_round_server.py", "unit/test_mutants_server.py"),
    "secagg/pairwise/recover.py": ("unit/test_recover.py", "unit/test_round_server.py", "unit/test_mutants_server.py"),
    "secagg/pairwise/roster.py": (*_WIRE, "unit/test_round_server.py", "unit/test_mutants_messages.py"),
    "secagg/pairwise/server.py": _SERVER,
    "secagg/round/client.py": (*_CLIENT, "unit/test_streaming_memory.py"),
    "secagg/round/events.py": ("unit/test_mutants_messages.py", *_ROUND),
    "secagg/round/journal.py": _CLIENT,
    "secagg/round/server.py": _SERVER,
    "secagg/policy.py": ("unit/test_policy.py", "unit/test_checks.py", "unit/test_mutants_plan.py"),
    "secagg/plan.py": _PLANS,
    "secagg/bounds.py": _PLANS,
    "secagg/shamir.py": ("unit/test_shamir.py", "unit/test_mutants_shamir.py"),
    "secagg/wire.py": (*_WIRE, "unit/test_mutants_messages.py"),
    "dp/ledger.py": _LEDGER,
    "dp/book.py": _LEDGER,
    "dp/records.py": _LEDGER,
}
