"""Write docs/validation.md: `python docs/make_validation.py`, or with `--check` to compare only.

Promise: nothing on the page is typed by hand but its sentences. What stands behind each rule is the walk of
`tests/rules.py`; the phases of client and server, and what takes one to the next, are read off the annotations of
`secagg/pairwise/client.py` and `server.py`.

Imports `tests.rules` and the standard library.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, the tests are not importable otherwise

from tests import rules  # noqa: E402  # found by the line above

PAGE: Final = ROOT / "docs" / "validation.md"
PHASES: Final = {
    "The client": ROOT / "secagg" / "pairwise" / "client.py",
    "The server": ROOT / "secagg" / "pairwise" / "server.py",
}
OUTSIDE: Final = "[*]"
"""Before the first phase and after the last, as Mermaid writes it."""

INTRODUCTION: Final = """\
# Validation: what stands behind every rule

This page is written by `python docs/make_validation.py` and a test fails when it is stale. What a rule must hold, and
the order in which rules are checked, is specified in [protocol.md](protocol.md); each check is proven three times over.

- **Checked in** names the functions of `secagg` that enforce it.
- **Refused by** says who meets it. "recovery" is the server again, where shares that look well one by one do not fit
  together: what breaks the rule then is no message to refuse but someone to blame, or the end of the round.
- **Bad vectors** counts the published cases that trip it ([vectors.md](vectors.md)).
- **Scenarios** are played, through the public face, by `tests/adversary/test_rules.py`.

`python -m tests.rules`, with the extra `dev`, lists a rule that lacks one of these, and ends with exit code 1.
"""

STATES: Final = """\
## The phases

A phase is an object with exactly the fields its future answers need. It answers once: whatever takes it to the next one
spends it. Not drawn: a message that breaks a rule spends and wipes a client's phase and leaves a server's as it is; any
phase can be abandoned. Labels are `method(message) / answer`.
"""


def page() -> str:
    """Return the whole page."""
    parts = [INTRODUCTION, rules_table(), STATES]
    for title, path in PHASES.items():
        parts.append(f"### {title}\n\n`{path.relative_to(ROOT).as_posix()}`\n\n{diagram(path)}")
    return "\n".join(parts)


def rules_table() -> str:
    """One row a rule."""
    rows = [
        "| rule | what must hold | checked in | refused by | bad vectors | scenarios |",
        "|---|---|---|---|---|---|",
    ]
    for proof in rules.walk():
        places = ", ".join(f"`{place}`" for place in proof.places)
        scenarios = ", ".join(f"`{name}`" for names in proof.refusing.values() for name in names)
        who = ", ".join(proof.refusing)
        rows.append(
            f"| `{proof.rule.value}` | {proof.rule.meaning} | {places} | {who} | {proof.vectors} | {scenarios} |"
        )
    return "\n".join(rows) + "\n"


def diagram(path: Path) -> str:
    """The phases of a module as a Mermaid state diagram."""
    lines = [f"    {source} --> {target} : {label}" for source, target, label in transitions(path)]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```", ""])


def transitions(path: Path) -> Iterator[tuple[str, str, str]]:
    """(phase, next phase, label) of everything that leads from one phase to another; in the order of the module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    phases = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef) and _bases(node) == ["Phase"]}
    arrows = []
    for source, members in {OUTSIDE: tree.body, **{name: node.body for name, node in phases.items()}}.items():
        for function in members:
            if isinstance(function, ast.FunctionDef) and not function.name.startswith("_"):
                returned = _returned(function)
                following = [name for name in returned if name in phases]
                label = _label(function, [name for name in returned if name not in phases and name != "None"])
                if following or _spends(function):
                    arrows.append((source, following[0] if following else OUTSIDE, label))
                elif function.name == "receive":
                    arrows.append((source, source, label))
    for first in phases.keys() - {target for source, target, _ in arrows if source != target}:
        yield OUTSIDE, first, "a new round"
    yield from arrows


def _bases(node: ast.ClassDef) -> list[str]:
    return [ast.unparse(base) for base in node.bases]


def _spends(function: ast.FunctionDef) -> bool:
    """Whether it is an answer of its phase, which is spent by it."""
    return any(isinstance(node, ast.Attribute) and node.attr == "_answering" for node in ast.walk(function))


def _returned(function: ast.FunctionDef) -> list[str]:
    """What a function is annotated to return, the parts of a tuple one by one."""
    returns = function.returns
    if (
        isinstance(returns, ast.Subscript)
        and isinstance(returns.slice, ast.Tuple)
        and ast.unparse(returns.value) == "tuple"
    ):
        return [ast.unparse(part) for part in returns.slice.elts]
    return [] if returns is None else [ast.unparse(returns)]


def _label(function: ast.FunctionDef, answers: Sequence[str]) -> str:
    """`method(message) / answer`; who sent it and what everyone keeps are left out."""
    taken = [
        ast.unparse(argument.annotation)
        for argument in function.args.args
        if argument.annotation is not None and argument.arg not in ("position", "seat")
    ]
    return f"{function.name}({', '.join(taken)})" + (f" / {', '.join(answers)}" if answers else "")


def main(arguments: Sequence[str]) -> int:
    """Write the page, or compare it; returns the exit code."""
    wanted = page()
    if "--check" not in arguments:
        PAGE.write_text(wanted, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != wanted:
        print("docs/validation.md is stale: run python docs/make_validation.py", file=sys.stderr)  # noqa: T201  # a script
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
