"""The published vectors, for implementations of this protocol in any language: load them, run them, see what differs.

    for case in load("tests/vectors"):
        mismatch = check(case, handle)           # handle(kind, inputs) -> outputs; None where they are as expected

Promise: a case passes only if every output is exactly the one expected, and a bad one only if its rule is named too.
Nothing is skipped: a kind that `handle` does not know is `handle`'s to refuse aloud.

The files are in the source distribution, docs/vectors.md says what stands in them. `LineHandle` speaks to another
process over its two pipes, one JSON object a line.

Imports the errors and the rules.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from secagg.errors import MisuseError, StorageError
from secagg.rules import Rule

Handle = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
"""`handle(kind, inputs)` returns the outputs, with the broken rule's id under "rule" where one was; it never raises."""

OTHERS: Final = "dp_"
"""Files whose names begin so are about noise, and in another format."""

_RULES: Final = {rule.value: rule for rule in Rule}
_FIELDS: Final = {"name", "kind", "inputs", "outputs"}


@dataclass(frozen=True, kw_only=True)
class VectorCase:
    """One vector.

    Attributes:
        file: the file it stands in, without its ending.
        name: what it is about; unique within its file.
        kind: what is to be done; docs/vectors.md lists the kinds.
        inputs: what to do it with: byte strings as hexadecimal text, ring words and sums as decimal text.
        outputs: what must come out.
        rule: the rule that must be found broken, or None.
    """

    file: str
    name: str
    kind: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    rule: Rule | None = None

    @property
    def expected(self) -> dict[str, Any]:
        """What a handle must return, the rule with it."""
        return dict(self.outputs) | ({} if self.rule is None else {"rule": self.rule.value})


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """A case that came out otherwise.

    Attributes:
        case: the case.
        got: what came out.
        differing: the outputs that are missing, too many or other than expected.
    """

    case: VectorCase
    got: Mapping[str, Any]
    differing: tuple[str, ...]

    def __str__(self) -> str:
        parts = [
            f"{name}: expected {_short(self.case.expected.get(name))}, got {_short(self.got.get(name))}"
            for name in self.differing
        ]
        return f"{self.case.file}, {self.case.name!r} ({self.case.kind}): {'; '.join(parts)}"


def load(folder: str | Path) -> tuple[VectorCase, ...]:
    """Read every vector file of a folder, in the order of their names.

    Raises:
        StorageError: there is none, or one cannot be read, or is no list of cases; also a rule this version lacks, a
            name that stands twice, no case at all, a case of a `bad_` file without a rule, or of another file with one.
    """
    files = [path for path in sorted(Path(folder).glob("*.json")) if not path.name.startswith(OTHERS)]
    if not files:
        raise StorageError(f"there are no vectors in {folder}; they are in tests/vectors of the source distribution")
    return tuple(case for path in files for case in _cases(path))


def check(case: VectorCase, handle: Handle) -> Mismatch | None:
    """Run one case; None where every output is as expected."""
    got, expected = handle(case.kind, case.inputs), case.expected
    names = sorted({*got, *expected})
    differing = tuple(name for name in names if name not in got or name not in expected or got[name] != expected[name])
    return Mismatch(case=case, got=got, differing=differing) if differing else None


def check_all(cases: Iterable[VectorCase], handle: Handle) -> tuple[Mismatch, ...]:
    """Run many cases and return those that came out otherwise."""
    return tuple(mismatch for case in cases if (mismatch := check(case, handle)) is not None)


class LineHandle:
    """A handle at the other end of two text streams, such as the pipes of a process.

    Each case goes out as one line, a JSON object of `kind` and `inputs`; one line with the JSON object of the outputs
    comes back.

    Args:
        writer: what the other side reads.
        reader: what it writes.
    """

    def __init__(self, *, writer: IO[str], reader: IO[str]) -> None:
        self._writer = writer
        self._reader = reader

    def __call__(self, kind: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Ask the other side.

        Raises:
            MisuseError: it ended, or answered with something else than one JSON object on one line.
        """
        self._writer.write(json.dumps({"kind": kind, "inputs": inputs}) + "\n")
        self._writer.flush()
        line = self._reader.readline()
        try:
            outputs = json.loads(line)
        except ValueError as error:
            raise MisuseError(f"no JSON object came back for a case of kind {kind}, but {line!r:.80}") from error
        if not isinstance(outputs, dict):
            raise MisuseError(f"a JSON object must come back for a case of kind {kind}, got {line!r:.80}")
        return outputs


def _cases(path: Path) -> list[VectorCase]:
    try:
        cases = [_case(path.stem, entry) for entry in json.loads(path.read_text(encoding="ascii"))]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise StorageError(f"{path} is not a list of vectors of this version") from error
    if not cases or len({case.name for case in cases}) < len(cases):
        raise StorageError(f"{path} has no cases, or two of one name")
    if any((case.rule is None) == path.name.startswith("bad_") for case in cases):
        raise StorageError(f"{path}: cases of bad_ files, and only those, name the rule they trip")
    return cases


def _case(file: str, entry: dict[str, Any]) -> VectorCase:
    rule = entry.get("rule")
    fields = {name: entry[name] for name in _FIELDS}
    if entry.keys() - _FIELDS - {"rule"} or not (
        isinstance(fields["inputs"], dict) and isinstance(fields["outputs"], dict)
    ):
        raise StorageError(f"a case of {file} has other fields than a vector")
    return VectorCase(file=file, rule=None if rule is None else _RULES[rule], **fields)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."
