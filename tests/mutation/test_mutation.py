"""The engine finds the faults it plants, tells them apart by name, and what is kept of its findings names real ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.mutation.__main__ import HERE, LEAST_RATIO, ROOT, reasons, score
from tests.mutation.guards import GUARDS
from tests.mutation.operators import mutants

SMALL: Final = '''
"""A module, whose text 3 is left alone."""
LIMIT: int = 3

def clip(values: list[int], most: int = LIMIT) -> list[int]:
    """Refuse what is too large."""
    if max(values) > most and len(values) >= 1:
        raise ValueError(f"above {most}")
    return sorted(value for value in values[:most] if value)
'''
TESTS: Final = """
import pytest
import small

def test_small_values_come_sorted():
    assert small.clip([2, 0, 1]) == [1, 2]

def test_a_large_one_is_refused():
    with pytest.raises(ValueError):
        small.clip([4])
"""


def changes() -> set[str]:
    return {mutant.name.partition(": ")[2] for mutant in mutants(SMALL)}


def test_every_kind_of_fault_is_planted_and_texts_are_left_alone() -> None:
    assert changes() == {
        "3 -> 4",
        "if max(values) > most and len(values) >= 1 -> if not (max(values) > most and len(values) >= 1)",
        "max(values) > most and len(values) >= 1 -> max(values) > most or len(values) >= 1",
        "max(values) > most -> max(values) >= most",
        "max(values) -> min(values)",
        "len(values) >= 1 -> len(values) > 1",
        "1 -> 2",
        "raise ValueError(f'above {most}') -> nothing",
        "return sorted((value for value in values[:most] if value)) -> return None",
        "sorted((value for value in values[:most] if value)) -> list((value for value in values[:most] if value))",
        "(value for value in values[:most] if value) -> (value for value in values[:most])",
        "[:most] -> [:most + 1]",
    }


def test_a_mutant_is_the_module_with_one_change() -> None:
    for mutant in mutants(SMALL):
        names: dict[str, object] = {"max": max, "min": min}
        exec(mutant.plant("small.py"), names)  # noqa: S102  # the source above
        assert callable(names["clip"])


def test_names_tell_mutants_apart_and_hold_no_line_number() -> None:
    names = [mutant.name for mutant in mutants(SMALL)]
    assert len(set(names)) == len(names)
    assert [mutant.name for mutant in mutants("\n\n" + SMALL)] == names
    assert mutants("a = b = 1 + 1")[-1].name == "module: 1 -> 2 #2"


def test_those_that_a_test_notices_die_and_the_others_live(tmp_path: Path) -> None:
    (tmp_path / "small.py").write_text(SMALL, encoding="utf-8")
    (tmp_path / "test_small.py").write_text(TESTS, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n", encoding="utf-8")
    alive = "play('small.py', ['test_small.py'], None, lambda name: None).alive"
    code = f"import json; from tests.mutation.player import play; print(json.dumps({alive}))"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    answer = subprocess.run(  # noqa: S603  # the line above
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    )
    assert set(json.loads(answer.stdout)) == {
        "clip: max(values) > most -> max(values) >= most",
        "clip: max(values) -> min(values)",
        "clip: [:most] -> [:most + 1]",
    }


def test_what_changes_nothing_is_left_out_and_what_has_no_reason_is_told() -> None:
    known = {"m.py": {"same": {"equivalent": True, "reason": ""}, "hard": {"equivalent": False, "reason": ""}}}
    figures = score("m.py", 11, ["same", "hard", "new"], known)
    assert figures["killed_ratio"] == 0.8
    assert (figures["equivalent"], figures["survivors"], figures["unexplained"]) == (1, ["hard", "new"], ["new"])


@pytest.mark.parametrize("module", GUARDS)
def test_what_is_kept_is_about_mutants_that_there_are(module: str) -> None:
    names = {mutant.name for mutant in mutants((ROOT / module).read_text(encoding="utf-8"))}
    for name, why in reasons().get(module, {}).items():
        assert name in names
        assert why["reason"]
    for test in GUARDS[module]:
        path = test.removeprefix("--deselect=tests/").partition("::")[0]
        assert (ROOT / "tests" / path).exists(), path


def test_every_kept_result_is_above_its_floor_and_explained() -> None:
    kept = json.loads((HERE / "results.json").read_text(encoding="utf-8"))
    assert kept.keys() == GUARDS.keys()
    for module, figures in kept.items():
        assert figures["killed_ratio"] >= LEAST_RATIO, module
        assert set(figures["survivors"]) <= reasons().get(module, {}).keys(), module
