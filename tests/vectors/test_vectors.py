"""The published vectors: the product passes every one, the oracle still writes them, and there are enough of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from secagg.pairwise.messages import FROM_CLIENT
from secagg.rules import Rule
from secagg.testing import vectors
from tests.reference import make_vectors
from tests.support.product_handle import HANDLERS, handle

FOLDER = Path(__file__).parent
CASES = vectors.load(FOLDER)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.file}: {case.name}")
def test_the_product_passes(case: vectors.VectorCase) -> None:
    assert (mismatch := vectors.check(case, handle)) is None, str(mismatch)


def test_the_files_are_what_the_oracle_writes() -> None:
    stale = [path.name for path, text in make_vectors.written().items() if path.read_text(encoding="ascii") != text]
    assert not stale, "run python -m tests.reference.make_vectors"


def test_no_file_is_left_over() -> None:
    assert {case.file for case in CASES} == set(make_vectors.FILES)


def test_there_are_enough() -> None:
    bad = [case for case in CASES if case.rule is not None]
    assert len(CASES) >= 200
    assert len(bad) >= 60
    assert {case.rule for case in bad} == set(Rule)


def test_the_pages_say_how_many() -> None:
    root = FOLDER.parents[1]
    bad = sum(case.rule is not None for case in CASES)
    assert f"{len(CASES)} vectors, {bad} of them bad" in (root / "SECURITY.md").read_text(encoding="utf-8")
    assert f"{len(CASES)} test vectors" in (root / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_kind_is_handled_and_used() -> None:
    assert {case.kind for case in CASES} == set(HANDLERS)


def test_they_are_small_enough_to_ship() -> None:
    assert sum(path.stat().st_size for path in make_vectors.written()) < 1_500_000


# The page.

PAGE = (FOLDER.parents[1] / "docs" / "vectors.md").read_text(encoding="utf-8")
OBJECTS = {("message", "fields"), ("config", "fields"), ("client", "directory"), ("server", "directory")}
"""(kind, field) of objects whose own keys are names, or fields of docs/protocol.md."""


def fields_of(kind: str, value: object) -> set[str]:
    """Every key there is in the inputs or outputs of a kind, but for those of OBJECTS."""
    if isinstance(value, list):
        return {field for item in value for field in fields_of(kind, item)}
    if not isinstance(value, dict):
        return set()
    inner = {field for key, item in value.items() if (kind, key) not in OBJECTS for field in fields_of(kind, item)}
    return inner | set(value)


def test_the_page_names_every_file_kind_and_field() -> None:
    messages = {kind.__name__ for kind in FROM_CLIENT}  # by which `silent` says who leaves when
    named = {name for case in CASES for name in (case.kind, case.file)}
    named |= {field for case in CASES for field in fields_of(case.kind, [dict(case.inputs), dict(case.outputs)])}
    assert {name for name in named - messages if f"`{name}`" not in PAGE} == set()


def test_the_page_names_no_kind_that_is_not_there() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| [^|]+ \| [^|]+ \|$", PAGE, re.MULTILINE)
    assert len(rows) >= 14
    assert set(rows) <= set(HANDLERS)
