"""Write the table of rules into docs/protocol.md: `python docs/make_tables.py`, or with `--check` to compare only.

Promise: the page's list of rules is the code's. A rule's id and meaning come from `secagg/rules.py`, its group from
the comment above it there, and the place that checks it from the syntax tree of the package.

Imports `secagg.rules` and the standard library.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from secagg.rules import Rule

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = ROOT / "docs" / "protocol.md"
PACKAGE: Final = ROOT / "secagg"
BEGIN: Final = "<!-- rules: written by docs/make_tables.py -->"
END: Final = "<!-- end of rules -->"

OUTCOMES: Final[Mapping[Rule, str]] = {
    Rule.BOX_OPENS: "no error: `pairwise/client.py` `_open_boxes`; the sender is left out of the inbox and reported",
    Rule.SHARE_CONSISTENT: "no error: `pairwise/recover.py` `_blame`; `Blame` names holder and dealer",
    Rule.SECRET_MATCHES: "`pairwise/recover.py` `_verifies`; where nothing verifies, `Unrecoverable` ends the round",
}
"""Rules that are data or the end of a round, never the rule of a refused message."""


def rules_table() -> str:
    """Return the table, one row a rule, in the order of `secagg/rules.py`."""
    when, where = groups(), _places()
    rows = ["| when | rule | what must hold | checked in |", "|---|---|---|---|"]
    for rule in Rule:
        checked = OUTCOMES.get(rule) or ", ".join(where[rule.name])
        rows.append(f"| {when[rule]} | `{rule.value}` | {rule.meaning} | {checked} |")
    return "\n".join(rows)


def replaced(page: str) -> str:
    """Return the page with the table between its markers written anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{rules_table()}\n{END}{after}"


def raised_rules() -> frozenset[Rule]:
    """Every rule that code of the package names: those a message can be refused by."""
    return frozenset(Rule[name] for name in _places())


def places() -> dict[Rule, tuple[str, ...]]:
    """Rule -> the functions that enforce it, as `module.function`; of an outcome, the one that brings it about."""
    found = {Rule[name]: where for name, where in _places().items()}
    for rule, text in OUTCOMES.items():
        file, function = re.findall(r"`([^`]+)`", text)[:2]
        found[rule] = [f"`{file}` `{function}`"] if _defines(PACKAGE / file, function) else []
    return {rule: tuple(dict.fromkeys(map(_dotted, where))) for rule, where in found.items()}


def _defines(path: Path, function: str) -> bool:
    names = {name for name, _ in _functions(ast.parse(path.read_text(encoding="utf-8")))}
    return any(name == function or name.endswith(f".{function}") for name in names)


def _dotted(place: str) -> str:
    """`pairwise/checks.py` `check_offer` -> pairwise.checks.check_offer."""
    file, function = re.findall(r"`([^`]+)`", place)
    return f"{file.removesuffix('.py').replace('/', '.')}.{function}"


def groups() -> dict[Rule, str]:
    """Rule -> the comment its group stands under, in small letters."""
    found: dict[Rule, str] = {}
    group = ""
    for line in (PACKAGE / "rules.py").read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"    # (.+)\.", line):
            group = heading[1].lower()
        elif member := re.match(r"    ([A-Z_]+) = ", line):
            found[Rule[member[1]]] = group
    return found


def _places() -> dict[str, list[str]]:
    """Rule name -> where the package refuses by it, as file and function."""
    places: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.is_relative_to(PACKAGE / "testing"):
            continue
        for name, function in _functions(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"`{path.relative_to(PACKAGE).as_posix()}` `{name}`"
            for rule in dict.fromkeys(_named_rules(function)):
                places.setdefault(rule, []).append(where)
    return places


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Every function of a module and every method of its classes, with its qualified name."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, ast.FunctionDef):
                    yield f"{node.name}.{member.name}", member


def _named_rules(function: ast.FunctionDef) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Rule":
            yield node.attr


def main(arguments: Sequence[str]) -> int:
    """Write the page, or compare it; returns the exit code."""
    page = PAGE.read_text(encoding="utf-8")
    wanted = replaced(page)
    if "--check" not in arguments:
        PAGE.write_text(wanted, encoding="utf-8")
    elif wanted != page:
        print("docs/protocol.md is stale: run python docs/make_tables.py", file=sys.stderr)  # noqa: T201  # a script
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
