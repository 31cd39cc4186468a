"""The lists of SECURITY.md's reading order are what secrecy and privacy rest on, and stay small enough to be read."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
SECRECY: Final = "a client's secrecy"
PRIVACY: Final = "the privacy of the sum"
BUDGETS: Final = {SECRECY: 3500, PRIVACY: 3000}

SERVERS_ALONE: Final = {
    "secagg/aggregate.py": "what a server gets; the client's events name its type",
    "secagg/reed_solomon.py": "recovery past liars, which only a server does",
}
"""Files that a client's side imports and no client runs."""

_LAYOUT: Final = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def listed(name: str) -> list[str]:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    found = re.search(rf"<!-- trusted base: {re.escape(name)} -->(.*?)<!-- end of list -->", text, re.DOTALL)
    assert found is not None
    return re.findall(r"`([\w/]+\.py)`", found[1])


def lines_of_code(path: str) -> int:
    """Lines that hold a token of code: no comment, no docstring, no blank."""
    text = (ROOT / path).read_text(encoding="utf-8")
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            docstrings |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _LAYOUT:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings)


def file_of(module: str) -> str | None:
    for path in (f"{module.replace('.', '/')}.py", f"{module.replace('.', '/')}/__init__.py"):
        if (ROOT / path).exists():
            return path
    return None


def imported(path: str) -> set[str]:
    """Files of ours that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [inner if file_of(inner := f"{node.module}.{alias.name}") else node.module for alias in node.names]
        found |= {file for name in names if (file := file_of(name)) is not None}
    return found


def reach(start: str) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting += imported(path)
    return seen


def test_the_list_is_all_that_a_clients_side_imports() -> None:
    names = listed(SECRECY)
    assert len(names) == len(set(names))
    assert set(names) == reach("secagg/round/client.py") - SERVERS_ALONE.keys()


def test_noise_accounting_and_ledger_import_nothing_that_is_not_listed() -> None:
    names = set(listed(PRIVACY))
    ledger = reach("dp/ledger.py") | reach("dp/noise/tables.py") | reach("dp/noise/envelope.py")
    sizing = {"dp/errors.py"}  # words; how noise is sized decides its cost, which the accountant works out anew
    assert ledger - sizing <= names, sorted(ledger - sizing - names)


@pytest.mark.parametrize("name", BUDGETS)
def test_it_can_be_read(name: str) -> None:
    total = sum(lines_of_code(path) for path in listed(name))
    assert total <= BUDGETS[name], total
    assert total > BUDGETS[name] * 0.7, "the budget has become loose: lower it"


def test_the_count_leaves_out_what_is_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some.py").write_text(
        '"""Doc.\n\nmore"""\n\n# why\nx = (\n    1,\n)  # what\n\n\ndef f():\n    """Doc."""\n'
    )
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    assert lines_of_code("some.py") == 4
