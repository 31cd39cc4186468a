"""The walk over all rules: `python -m tests.rules`, with `--json` for one line of figures.

Promise: a rule is proven when code enforces it, the page of the protocol states it, a published bad vector trips it
and an adversary's scenario breaks it. Whoever adds a rule adds all four, or this walk ends with exit code 1 and says
what is missing. It reads what is registered and runs none of it; the tests beside the registers do that.

`docs/make_validation.py` writes docs/validation.md from the same walk.
"""

from __future__ import annotations

import argparse
import collections
import importlib.util
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final

from secagg.rules import Rule
from secagg.testing import vectors
from tests.adversary.test_rules import AT_RECOVERY
from tests.support.baits import CLIENT_REFUSES
from tests.support.offenses import SERVER_REFUSES

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = ROOT / "docs" / "protocol.md"
VECTORS: Final = ROOT / "tests" / "vectors"


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What stands behind one rule.

    Attributes:
        rule: the rule.
        when: the group it stands in.
        places: where it is enforced, as `module.function`.
        stated: whether the page states it, by its id and its meaning.
        vectors: how many published bad vectors trip it.
        refusing: scenarios by who refuses: "client", "server", or "recovery", which is the server's.
    """

    rule: Rule
    when: str
    places: tuple[str, ...]
    stated: bool
    vectors: int
    refusing: Mapping[str, tuple[str, ...]]

    @property
    def missing(self) -> tuple[str, ...]:
        """What the rule lacks; nothing where it is proven."""
        has = {
            "code that enforces it": bool(self.places),
            "a row in docs/protocol.md": self.stated,
            "a bad vector": self.vectors > 0,
            "an adversary scenario": any(self.refusing.values()),
        }
        return tuple(name for name, present in has.items() if not present)


def walk(
    *, page: str | None = None, bad_vectors: Mapping[Rule, int] | None = None, code: ModuleType | None = None
) -> tuple[Proof, ...]:
    """Return what stands behind every rule; the arguments take the place of what is read, for tests of the walk.

    Args:
        page: docs/protocol.md.
        bad_vectors: how many trip each rule.
        code: docs/make_tables.py, which reads rules off the syntax tree of the product.
    """
    page = PAGE.read_text(encoding="utf-8") if page is None else page
    tripped = count_bad_vectors() if bad_vectors is None else bad_vectors
    tables = make_tables() if code is None else code
    places, groups, scenarios = tables.places(), tables.groups(), scenarios_by_rule()
    return tuple(
        Proof(
            rule=rule,
            when=groups[rule],
            places=places.get(rule, ()),
            stated=f"`{rule.value}` | {rule.meaning} |" in page,
            vectors=tripped.get(rule, 0),
            refusing=scenarios[rule],
        )
        for rule in Rule
    )


def count_bad_vectors() -> Mapping[Rule, int]:
    """How many published vectors trip each rule."""
    return collections.Counter(case.rule for case in vectors.load(VECTORS) if case.rule is not None)


def scenarios_by_rule() -> dict[Rule, dict[str, tuple[str, ...]]]:
    """Rule -> who refuses -> the names of the scenarios, all of them played by tests/adversary/test_rules.py."""
    registers: dict[str, list[tuple[Rule, Callable[..., object]]]] = {
        "client": [*CLIENT_REFUSES],
        "server": [*SERVER_REFUSES],
        "recovery": [*AT_RECOVERY.items()],
    }
    return {
        rule: {
            who: names
            for who, register in registers.items()
            if (names := tuple(scenario.__name__ for broken, scenario in register if broken is rule))
        }
        for rule in Rule
    }


def make_tables() -> ModuleType:
    """docs/make_tables.py, which is a script and in no package."""
    spec = importlib.util.spec_from_file_location("make_tables", ROOT / "docs" / "make_tables.py")
    if spec is None or spec.loader is None:
        raise ImportError("docs/make_tables.py is not where it was")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def summary(proofs: Sequence[Proof]) -> dict[str, object]:
    """The figures of a walk."""
    unproven = {proof.rule.value: list(proof.missing) for proof in proofs if proof.missing}
    return {
        "rules": len(proofs),
        "unproven": len(unproven),
        "missing": unproven,
        "bad_vectors": sum(proof.vectors for proof in proofs),
        "scenarios": sum(len(names) for proof in proofs for names in proof.refusing.values()),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the walk; the exit code is 1 where a rule is unproven."""
    parser = argparse.ArgumentParser(prog="python -m tests.rules", description="What stands behind every rule.")
    parser.add_argument("--json", action="store_true", help="one line of figures")
    chosen = parser.parse_args(arguments)
    proofs = walk()
    figures = summary(proofs)
    print(json.dumps(figures) if chosen.json else listing(proofs))  # noqa: T201  # what was asked for
    return int(bool(figures["unproven"]))


def listing(proofs: Sequence[Proof]) -> str:
    """One line a rule, for people."""
    lines = []
    for proof in proofs:
        counts = f"{proof.vectors} bad vectors, {sum(map(len, proof.refusing.values()))} scenarios"
        lines.append(f"{proof.rule.value:20} {'lacks ' + ', '.join(proof.missing) if proof.missing else counts}")
    unproven = sum(bool(proof.missing) for proof in proofs)
    return "\n".join([*lines, f"{len(proofs)} rules, {unproven} unproven"])


if __name__ == "__main__":
    sys.exit(main())
