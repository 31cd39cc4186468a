"""The documents against the project: every Python block runs, every link and extra exists, the commands are real."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from secagg import Rule
from secagg.testing.vectors import load

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def blocks(path: Path, language: str) -> Iterator[tuple[int, str]]:
    """Line numbers and texts of the fenced blocks of a language."""
    text = read(path)
    for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield text.count("\n", 0, match.start(1)), match[1]


PYTHON = [
    pytest.param(path, line, text, id=f"{path.relative_to(ROOT)}:{line + 1}")
    for path in DOCUMENTS
    for line, text in blocks(path, "python")
]


@pytest.mark.parametrize(("path", "line", "text"), PYTHON)
def test_python_block_runs(path: Path, line: int, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    monkeypatch.chdir(tmp_path)  # a page may read the tests' files, and write its own
    # optimize=0: the assertions of a page hold under -O as well. The newlines make a traceback name the page's line.
    code = compile("\n" * line + text, str(path), "exec", optimize=0)
    exec(code, {"__name__": "page"})  # noqa: S102  # the project's own documents


def test_the_first_screen_and_the_entry_points_are_there() -> None:
    names = {"simulate", "PrivateRounds", "ClientRound", "ServerRound"}
    shown = "\n".join(text for _, text in blocks(ROOT / "README.md", "python"))
    assert len(PYTHON) >= 4
    assert names <= set(re.findall(r"\w+", shown))


LINKS = [
    pytest.param(path, target, id=f"{path.relative_to(ROOT)}->{target}")
    for path in DOCUMENTS
    for target in sorted(set(re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", read(path))))
]


@pytest.mark.parametrize(("path", "target"), LINKS)
def test_link_leads_somewhere(path: Path, target: str) -> None:
    assert (path.parent / target).exists()


NAMED = [
    pytest.param(name, id=f"{path.relative_to(ROOT)}->{name}")
    for path in DOCUMENTS
    for name in sorted(set(re.findall(r"`((?:secagg|dp|protocols|tests|benchmarks|docs)/[\w/.*-]*[\w*])`", read(path))))
]


@pytest.mark.parametrize("name", NAMED)
def test_named_path_exists(name: str) -> None:
    assert list(ROOT.glob(name))


NOT_RULES = {"semi-honest"} | {case.kind for case in load(ROOT / "tests" / "vectors")}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_looks_like_a_rule_is_one(path: Path) -> None:
    named = set(re.findall(r"`([a-z]+(?:-[a-z]+)+)`", read(path)))
    assert named <= {rule.value for rule in Rule} | NOT_RULES


def commands() -> list[str]:
    return [text.strip() for path in DOCUMENTS for _, text in blocks(path, "sh")]


def test_the_two_commands_stand_in_the_readme() -> None:
    install = "python3 -m venv .venv && .venv/bin/pip install -c constraints.txt -e"
    assert f'{install} ".[demo]" && .venv/bin/secagg demo' in commands()
    assert f'{install} ".[dev]" && .venv/bin/pytest' in commands()


def test_commands_use_extras_and_scripts_that_exist() -> None:
    text = "\n".join(commands())
    extras = {extra for group in re.findall(r"\.\[([\w,]+)\]", text) for extra in group.split(",")}
    assert extras <= PROJECT["optional-dependencies"].keys()
    assert "secagg" in PROJECT["scripts"]


def test_the_licence_is_the_one_the_project_names() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    text = read(ROOT / "LICENSE")
    assert text.lstrip().startswith("Apache License\n                           Version 2.0, January 2004")
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_changelog_names_the_version() -> None:
    assert f"## {PROJECT['version']}" in read(ROOT / "CHANGELOG.md")
