"""Loading and checking vectors: an implementation that is right passes, and each way of being wrong is reported."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from secagg.errors import MisuseError, StorageError
from secagg.rules import Rule
from secagg.testing.vectors import LineHandle, VectorCase, check, check_all, load
from tests.support.product_handle import handle

ROOT = Path(__file__).resolve().parents[2]
CASES = load(ROOT / "tests" / "vectors")
GOOD = next(case for case in CASES if case.kind == "derive")
BAD = next(case for case in CASES if case.kind == "unpack" and case.rule is not None)
FEW = [next(case for case in CASES if case.kind == kind) for kind in ("hash", "pack", "graph", "share-decode")]


def test_what_is_right_passes() -> None:
    assert check_all([GOOD, BAD, *FEW], handle) == ()


WRONG: Mapping[str, tuple[VectorCase, dict[str, Any], tuple[str, ...]]] = {
    "another output": (GOOD, {"key": "00"}, ("key",)),
    "an output missing": (GOOD, {}, ("key",)),
    "an output too many": (GOOD, {**GOOD.outputs, "more": None}, ("more",)),
    "a refusal of what is right": (GOOD, {**GOOD.outputs, "rule": "wire-format"}, ("rule",)),
    "what is bad taken": (BAD, {"words": ["1"]}, ("rule", "words")),
    "another rule": (BAD, {"rule": "input-chunk"}, ("rule",)),
    "no rule": (BAD, {"rule": None}, ("rule",)),
    "a number for a text": (GOOD, {"key": 7}, ("key",)),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_reported(name: str) -> None:
    case, got, differing = WRONG[name]
    mismatch = check(case, lambda kind, inputs: got)
    assert mismatch is not None
    assert mismatch.differing == differing
    assert case.name in str(mismatch)
    assert all(f"{field}: expected" in str(mismatch) for field in differing)


def test_long_values_are_cut_in_the_report() -> None:
    mismatch = check(GOOD, lambda kind, inputs: {"key": "0" * 10_000})
    assert len(str(mismatch)) < 400


def test_a_case_is_asked_by_its_kind_and_inputs() -> None:
    asked: list[tuple[str, Mapping[str, Any]]] = []

    def recorded(kind: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        asked.append((kind, inputs))
        return GOOD.outputs

    check(GOOD, recorded)
    assert asked == [(GOOD.kind, GOOD.inputs)]


# Loading.

ENTRY = {"name": "one", "kind": "hash", "inputs": {}, "outputs": {}}
TRIPPED = ENTRY | {"rule": Rule.WIRE_TAG.value}


def written(folder: Path, entries: object, *, name: str = "some.json") -> Path:
    (folder / name).write_text(entries if isinstance(entries, str) else json.dumps(entries), encoding="utf-8")
    return folder


def test_files_come_in_order_and_those_about_noise_are_left_out(tmp_path: Path) -> None:
    written(tmp_path, [ENTRY])
    written(tmp_path, [TRIPPED], name="bad_some.json")
    written(tmp_path, {"law": "Skellam"}, name="dp_some.json")
    assert [(case.file, case.rule) for case in load(tmp_path)] == [("bad_some", Rule.WIRE_TAG), ("some", None)]


def test_a_folder_without_vectors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="source distribution"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("entries", "name"),
    [
        ("[", "some.json"),
        ('["\u00e9"]', "some.json"),
        ({}, "some.json"),
        (["text"], "some.json"),
        ([7], "some.json"),
        ([{"name": "one"}], "some.json"),
        ([ENTRY | {"more": 1}], "some.json"),
        ([ENTRY | {"inputs": []}], "some.json"),
        ([ENTRY, ENTRY], "some.json"),
        ([TRIPPED], "some.json"),
        ([ENTRY], "bad_some.json"),
        ([TRIPPED | {"rule": "wire-less"}], "bad_some.json"),
        ([], "some.json"),
    ],
    ids=[
        *("not JSON", "not ASCII", "no list", "a text", "a number", "fields missing", "a field more", "no object"),
        *("a name twice", "a rule too many", "no rule", "an unknown rule", "no cases"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, entries: object, name: str) -> None:
    with pytest.raises(StorageError):
        load(written(tmp_path, entries, name=name))


# Another process.

OTHER = "import json, sys; from tests.support.product_handle import handle\n"
ECHO = "for line in sys.stdin: print(json.dumps(handle(**json.loads(line))), flush=True)"


def answers_of(program: str) -> tuple[object, ...]:
    command = [sys.executable, "-c", program]
    with subprocess.Popen(  # noqa: S603  # our own words
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        return check_all([GOOD, BAD, *FEW], LineHandle(writer=other.stdin, reader=other.stdout))


def test_another_process_is_asked_line_by_line() -> None:
    assert answers_of(OTHER + ECHO) == ()


@pytest.mark.parametrize("answer", ["", "what?", "[]", '"text"'])
def test_an_answer_that_is_none_is_refused(answer: str) -> None:
    said = f"import sys; sys.stdin.readline(); print({answer!r}, flush=True); sys.stdin.read()"
    with pytest.raises(MisuseError, match="JSON object"):
        answers_of(said)


def test_a_process_that_ends_is_noticed() -> None:
    with pytest.raises(MisuseError, match="JSON object"):
        answers_of("import sys; sys.stdin.readline()")
