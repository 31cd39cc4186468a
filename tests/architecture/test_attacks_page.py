"""docs/attacks.md against the tree: the tests and rules it names are there, and no attack is left out."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

from secagg import Rule

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "attacks.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


@functools.cache
def functions(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef))


def test_every_test_it_names_exists() -> None:
    assert len(NAMED) >= 60
    assert not [(path, name) for path, name in NAMED if name not in functions(path)]


def test_every_rule_it_names_is_one_and_every_rule_is_named() -> None:
    in_code = set(re.findall(r"`([a-z]+(?:-[a-z]+)+)`", PAGE))
    rules = {rule.value for rule in Rule}
    assert rules <= in_code, sorted(rules - in_code)
    assert in_code <= rules, sorted(in_code - rules)


def test_every_attack_has_a_row_with_a_test_or_says_that_nothing_stops_it() -> None:
    rows = {row[0]: row[1] for row in re.findall(r"^\| ([ABC]\d+) \|(.*)\|$", PAGE, re.MULTILINE)}
    expected = [f"A{n}" for n in range(1, 22)] + [f"B{n}" for n in range(1, 12)] + [f"C{n}" for n in range(1, 11)]
    assert sorted(rows) == sorted(expected)
    assert not [name for name, row in rows.items() if "tests/" not in row and "**not stopped**" not in row]
