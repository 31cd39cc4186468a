"""How a privacy ledger is written: one record a line, chained by hashes, and no second way to write any of them.

Promise: `decode` takes a line only where `encode` writes that very line for what it says, in that place of that chain.
An auditor needs no more than this module's text to read a ledger in another language.

A line is a JSON object in ASCII, keys sorted, no spaces, floats as the shortest text that reads back the same, and a
newline. Every record has `kind`, `sequence` (0, 1, 2, ...), `prev` (the hash of the record before; 64 zeros in front)
and `hash`: SHA-256, in hexadecimal, of this object without `hash`, written the same way and without the newline. Then:

| kind | besides |
|---|---|
| `open`, the first alone | `version` (1), `ledger` (random, 32 hexadecimal digits), `order`, and `budget`, which has |
| | `epsilon`, `delta` and `neighboring` |
| `reserve` | `name`, `charge`: `server` and `public`, events as dp.events writes them, and `sampler_error` |
| `commit` | `name`, `charge`: what it was after all |
| `release` | `name`: the reservation is lifted |

No record has a time: a clock proves nothing, and says when somebody was online.

Imports the events, the orders of the accountants and this package's errors.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from dp.accountants.orders import ORDERS
from dp.errors import LedgerCorrupt, ParameterError
from dp.events import Event, Neighboring, Repeated, from_json, require_event, to_json

ASIDE: Final = 2.0**-20
"""The part of delta that is kept for samplers being within their stated total variation of their laws."""

_VERSION: Final = 1
_HASH_SIZE: Final = 64
_ID_SIZE: Final = 16
_LARGEST_EPSILON: Final = 512.0
_LEAST_DELTA: Final = 1e-100
_LONGEST_NAME: Final = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """What all releases together may cost one client, against the server and its colluders.

    Attributes:
        epsilon: above 0, at most 512.
        delta: at least 1e-100, below 1.
        neighboring: between which data sets.

    Raises:
        ParameterError: a number is out of range or none.
    """

    epsilon: float
    delta: float
    neighboring: Neighboring

    def __post_init__(self) -> None:
        _require_number("epsilon", self.epsilon, least=0.0, most=_LARGEST_EPSILON)
        _require_number("delta", self.delta, least=_LEAST_DELTA, most=math.nextafter(1.0, 0.0))
        if self.epsilon == 0.0:
            raise ParameterError("epsilon=0.0 allows no release at all: give a number above 0, for example 1.0")
        if not isinstance(self.neighboring, Neighboring):
            raise ParameterError(f"neighboring is of type {type(self.neighboring).__name__}: give Neighboring.ZERO_OUT")
        object.__setattr__(self, "epsilon", float(self.epsilon))
        object.__setattr__(self, "delta", float(self.delta))

    @property
    def noise_delta(self) -> float:
        """What of delta pays for the noise as its law says: calibrate noise and plan rounds at this one."""
        return self.delta * (1.0 - ASIDE)

    @property
    def sampler_delta(self) -> float:
        """What of delta pays for samplers that miss the law; together with `noise_delta` no more than delta."""
        return self.delta * (ASIDE * (1.0 - 2.0**-30))


@dataclass(frozen=True, kw_only=True, slots=True)
class Charge:
    """What one round costs.

    Attributes:
        server: the release as the server and its colluders see it. They know who took part and their own noise, so
            only the noise of |S| - m honest survivors counts. This is what the budget is charged.
        public: the release as those see it who learn nothing but what is published: it may be sampled, and the noise
            of all survivors counts. It is reported, and never lowers what is charged.
        sampler_error: a bound on the total variation between all the noise of the round and its law: survivors, times
            coordinates, times the sampler's `total_variation`.

    Raises:
        ParameterError: not events, or `sampler_error` is not from 0 to 1.
    """

    server: Event
    public: Event
    sampler_error: float = 0.0

    def __post_init__(self) -> None:
        _require_number("sampler_error", self.sampler_error, least=0.0, most=1.0)
        for event in (self.server, self.public):
            require_event(Repeated(event=event, count=1))  # as it is counted
        # What is written is what is counted, to the last bit.
        object.__setattr__(self, "server", from_json(to_json(self.server)))
        object.__setattr__(self, "public", from_json(to_json(self.public)))
        object.__setattr__(self, "sampler_error", float(self.sampler_error))


@dataclass(frozen=True, kw_only=True, slots=True)
class Anchor:
    """How far a ledger got: kept where whoever can change the ledger cannot, it tells a ledger from an earlier one.

    Attributes:
        records: how many there were.
        head: the hash of the last of them, in hexadecimal; 64 zeros where there is none.
    """

    records: int
    head: str


EMPTY: Final = Anchor(records=0, head="0" * _HASH_SIZE)
"""Before any record."""

OPENING: Final = b'{"budget":{"delta":'
"""How every ledger begins."""


class Kind(Enum):
    """What a record says."""

    OPEN = "open"
    RESERVE = "reserve"
    COMMIT = "commit"
    RELEASE = "release"


@dataclass(frozen=True, kw_only=True, slots=True)
class Opening:
    """The first record: what is kept, and the Renyi order it is kept at."""

    ledger: str
    budget: Budget
    order: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A later record: what happened to one round. `charge` is None in a RELEASE, and only there."""

    kind: Kind
    name: str
    charge: Charge | None


Record = Opening | Step


def require_name(name: object) -> str:
    """Return the name of a round, and refuse what cannot be one.

    Raises:
        ParameterError: not 1 to 200 printable ASCII characters.
    """
    if not isinstance(name, str) or not (name.isascii() and name.isprintable() and 1 <= len(name) <= _LONGEST_NAME):
        raise ParameterError(f"name={name!r:.80} must be 1 to {_LONGEST_NAME} printable ASCII characters")
    return name


def encode(record: Record, behind: Anchor) -> tuple[bytes, Anchor]:
    """Return the line of a record that follows `behind`, newline included, and the anchor that it becomes."""
    plain = _to_plain(record) | {"sequence": behind.records, "prev": behind.head}
    head = hashlib.sha256(_dump(plain)).hexdigest()
    return _dump(plain | {"hash": head}) + b"\n", Anchor(records=behind.records + 1, head=head)


def decode(line: bytes, behind: Anchor) -> tuple[Record, Anchor]:
    """Return the record of a line that follows `behind`, and the anchor that it becomes.

    Raises:
        LedgerCorrupt: any byte differs from what `encode` writes there.
    """
    try:
        record = _from_plain(json.loads(line.decode("ascii")))
    except (ValueError, TypeError, KeyError, RecursionError) as error:  # among the ValueErrors, ParameterError
        raise LedgerCorrupt(f"record {behind.records} of the ledger is none: {line[:80]!r}") from error
    again, anchor = encode(record, behind)
    if again != line:
        raise LedgerCorrupt(
            f"record {behind.records} of the ledger is not what a ledger writes behind the one before: {line[:80]!r}"
        )
    return record, anchor


def write_anchor(anchor: Anchor) -> bytes:
    """Return the line that notes an anchor."""
    return _dump({"head": anchor.head, "records": anchor.records}) + b"\n"


def read_anchor(note: bytes) -> Anchor:
    """Return the anchor of a line that `write_anchor` wrote; of no line, the one before any record.

    Raises:
        LedgerCorrupt: any other line.
    """
    if not note:
        return EMPTY
    try:
        plain = json.loads(note.decode("ascii"))
        anchor = Anchor(records=plain["records"], head=plain["head"])
        if type(anchor.records) is int and type(anchor.head) is str and write_anchor(anchor) == note:
            return anchor
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise LedgerCorrupt(f"the note beside the ledger is none: {note[:80]!r}") from error
    raise LedgerCorrupt(f"the note beside the ledger is not what a ledger writes: {note[:80]!r}")


def _dump(plain: dict[str, Any]) -> bytes:
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return text.encode("ascii")


def _to_plain(record: Record) -> dict[str, Any]:
    if isinstance(record, Opening):
        budget = {
            "epsilon": record.budget.epsilon,
            "delta": record.budget.delta,
            "neighboring": record.budget.neighboring.value,
        }
        head = {"kind": Kind.OPEN.value, "version": _VERSION, "ledger": record.ledger}
        return head | {"order": record.order, "budget": budget}
    plain: dict[str, Any] = {"kind": record.kind.value, "name": record.name}
    if record.charge is None:
        return plain
    return plain | {"charge": _charge_to_plain(record.charge)}


def _charge_to_plain(charge: Charge) -> dict[str, Any]:
    return {
        "server": json.loads(to_json(charge.server)),
        "public": json.loads(to_json(charge.public)),
        "sampler_error": charge.sampler_error,
    }


def _from_plain(plain: Any) -> Record:
    """Read what is needed to write the record again; what else there is shows when that differs."""
    kind = Kind(plain["kind"])
    if kind is Kind.OPEN:
        return _opening(plain["ledger"], plain["order"], plain["budget"])
    charge = None if kind is Kind.RELEASE else _charge_from_plain(plain["charge"])
    return Step(kind=kind, name=require_name(plain["name"]), charge=charge)


def _opening(ledger: str, order: float, budget: dict[str, Any]) -> Opening:
    kept = Budget(epsilon=budget["epsilon"], delta=budget["delta"], neighboring=Neighboring(budget["neighboring"]))
    if len(ledger) != 2 * _ID_SIZE or bytes.fromhex(ledger).hex() != ledger or order not in ORDERS:
        raise ParameterError("a ledger is named by 16 bytes and kept at an order of this version's grid")
    return Opening(ledger=ledger, budget=kept, order=float(order))


def _charge_from_plain(plain: dict[str, Any]) -> Charge:
    return Charge(
        server=_event_from_plain(plain["server"]),
        public=_event_from_plain(plain["public"]),
        sampler_error=plain["sampler_error"],
    )


def _event_from_plain(plain: dict[str, Any]) -> Event:
    return from_json(_dump(plain).decode("ascii"))


def _require_number(name: str, value: object, *, least: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ParameterError(f"{name} is of type {type(value).__name__}: give a number")
    if not least <= value <= most:  # NaN as well
        raise ParameterError(f"{name}={value!r} must be from {least!r} to {most!r}")
