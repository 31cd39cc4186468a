"""Every check has a name, and every name is used: in the code that enforces it and on the page that specifies it."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

import pytest

from secagg.rules import Rule

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = ROOT / "docs" / "protocol.md"


def cited(path: Path) -> set[str]:
    """Members of Rule that a module names in its code; words in comments and docstrings do not count."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Rule"
    }


PRODUCT: Final = [
    path
    for path in sorted((ROOT / "secagg").rglob("*.py"))
    if path.name != "rules.py" and "testing" not in path.relative_to(ROOT).parts
]
OUTCOMES: Final = {Rule.BOX_OPENS}
"""Rules whose breach raises nothing: a box that does not open leaves its sender out, and is reported."""


def test_every_rule_is_cited_in_product_code() -> None:
    names = set().union(*map(cited, PRODUCT))
    assert names <= {rule.name for rule in Rule}, "a rule that does not exist"
    assert {rule.name for rule in Rule} - names <= {rule.name for rule in OUTCOMES}


@pytest.mark.parametrize("rule", Rule, ids=lambda rule: rule.value)
def test_the_page_says_what_every_rule_means(rule: Rule) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert f"`{rule.value}`" in text
    assert rule.meaning in text


def test_the_page_names_no_rule_that_does_not_exist() -> None:
    first_words = {rule.value.partition("-")[0] for rule in Rule}
    table = re.findall(r"^\| [^|]+ \| `([a-z]+(?:-[a-z]+)+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    named = {name for name in table if name.partition("-")[0] in first_words}
    assert named == {rule.value for rule in Rule}


def test_ids_follow_names_and_meanings_are_sentences() -> None:
    for rule in Rule:
        assert rule.value == rule.name.lower().replace("_", "-")
        assert len(rule.meaning.split()) >= 4
        assert not rule.meaning.endswith(".")
    assert len({rule.meaning for rule in Rule}) == len(Rule)


def test_no_rule_is_compared_or_raised_by_its_text() -> None:
    values = {rule.value for rule in Rule}
    for path in PRODUCT:
        constants = {
            node.value
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert not constants & values, path.name
