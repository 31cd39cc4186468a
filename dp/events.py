"""What was released, as frozen values whose docstrings are the mathematics an accountant charges for.

Promise: the meaning of an event never changes; one event has one text in JSON, and no other text is read.

An event says what one release does to one client's vector. How two neighboring data sets differ (`Neighboring`) is no
part of it: that is said once, where a guarantee is asked for, and so cannot differ from event to event.

Imports this package's errors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, Final

from dp.errors import ParameterError

_SMALLEST: Final = 1e-24
_LARGEST: Final = 1e24
"""No real parameter lies outside, so that no formula leaves the floats."""


class Neighboring(Enum):
    """How the data sets of two neighbors differ. Each client sends one vector of L2 norm at most B.

    The participants of a secure aggregation are known to the server, so leaving one out is not what is protected:
    what it sent is.
    """

    ZERO_OUT = "zero_out"
    """One client's vector becomes zero; it still takes part and still adds its noise. The sum moves by at most B."""

    REPLACE_ONE = "replace_one"
    """One client's vector becomes any other of norm at most B. The sum moves by at most 2 B."""

    ADD_OR_REMOVE = "add_or_remove"
    """One client is there or not; the sum moves by at most B. It stands only for noise that somebody outside the
    cohort adds: a client that leaves takes its own share of distributed noise along, so that those events refuse."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gaussian:
    """Release of s + N(0, (noise_multiplier * B)^2 I) over the reals; s is the sum of vectors of L2 norm at most B.

    Unit: noise_multiplier is the standard deviation of a coordinate over B, whatever the neighboring relation; under
    REPLACE_ONE the sum moves by 2 B, and the accountant charges for noise_multiplier / 2.
    Floating-point noise only approximates this event.
    """

    noise_multiplier: float

    def __post_init__(self) -> None:
        _require_number("noise_multiplier", self.noise_multiplier)


@dataclass(frozen=True, kw_only=True, slots=True)
class SkellamSum:
    """Release of s + Z, integers, where every coordinate of Z is an independent Skellam variable of mean zero.

    Skellam noise of variance v is the difference of two Poisson variables of mean v / 2; sums of such are Skellam
    again (Agarwal, Kairouz, Liu, "The Skellam mechanism for differentially private federated learning", NeurIPS 2021).
    The release may be reduced modulo anything, rotated or rounded afterwards.

    Attributes:
        variance: of one coordinate of Z, in integer units: what all clients add whose noise the observer does not
            know. With survivors S, of whom m collude, that is (|S| - m) times the variance each adds.
        sensitivity: B, the largest L2 norm of one client's integer vector, after rounding; at least 1.
    """

    variance: float
    sensitivity: float

    def __post_init__(self) -> None:
        _require_number("variance", self.variance)
        _require_number("sensitivity", self.sensitivity, least=1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class DiscreteGaussianSum:
    """Release of s + Z_1 + ... + Z_parties, integers, where every coordinate of each Z_i is a discrete Gaussian.

    The discrete Gaussian puts mass proportional to exp(-k^2 / (2 sigma^2)) on every integer k (Canonne, Kamath,
    Steinke, "The discrete Gaussian for differential privacy", NeurIPS 2020). The sum is not one again (Kairouz, Liu,
    Steinke, "The distributed discrete Gaussian mechanism for federated learning", ICML 2021); it is charged as it is.

    Attributes:
        sigma: the parameter of one client's noise, in integer units; at least 0.25, below which hardly any is added.
        parties: how many clients added noise that the observer does not know: survivors less colluders.
        sensitivity: B, the largest L2 norm of one client's integer vector, after rounding; at least 1.
    """

    sigma: float
    parties: int
    sensitivity: float

    def __post_init__(self) -> None:
        _require_number("sigma", self.sigma, least=0.25)
        _require_count("parties", self.parties)
        _require_number("sensitivity", self.sensitivity, least=1.0)


Release = Gaussian | SkellamSum | DiscreteGaussianSum
"""One noisy sum."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PoissonSampled:
    """The release over a cohort that every client joined by its own coin, with probability `rate`, kept secret.

    The noise does not depend on who joined. An observer who knows the cohort, as the server of a secure aggregation
    does, gets the release itself: against it nothing is gained by sampling.
    """

    release: Release
    rate: float

    def __post_init__(self) -> None:
        _require_release(self.release)
        _require_number("rate", self.rate)
        if self.rate > 1.0:
            raise ParameterError(f"rate={self.rate!r} is a probability: give at most 1.0")


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedSizeSampled:
    """The release over a uniformly drawn cohort of exactly `sample` of `population` clients, kept secret.

    The noise does not depend on who was drawn. As with PoissonSampled, nothing is gained against who knows the cohort.
    """

    release: Release
    population: int
    sample: int

    def __post_init__(self) -> None:
        _require_release(self.release)
        _require_count("population", self.population)
        _require_count("sample", self.sample)
        if self.sample > self.population:
            raise ParameterError(
                f"sample={self.sample} of population={self.population} cannot be drawn: give at most {self.population}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Composed:
    """All of the events, each with its own fresh randomness; later ones may depend on what earlier ones released.

    Their parameters must not: those are fixed before the first release.
    """

    events: tuple[Event, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.events, tuple) or not self.events:
            raise ParameterError("events must be a tuple of one event or more")
        for event in self.events:
            require_event(event)


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeated:
    """The event `count` times, composed as by Composed."""

    event: Event
    count: int

    def __post_init__(self) -> None:
        require_event(self.event)
        _require_count("count", self.count)


Event = Release | PoissonSampled | FixedSizeSampled | Composed | Repeated

_TAGS: Final[Mapping[str, type[Event]]] = {
    "gaussian": Gaussian,
    "skellam_sum": SkellamSum,
    "discrete_gaussian_sum": DiscreteGaussianSum,
    "poisson_sampled": PoissonSampled,
    "fixed_size_sampled": FixedSizeSampled,
    "composed": Composed,
    "repeated": Repeated,
}
"""Every kind of event there is in JSON; nothing else is looked up by name."""

_TAG_OF: Final[Mapping[type[Event], str]] = {kind: tag for tag, kind in _TAGS.items()}

_DEEPEST: Final = 32


def require_event(event: object) -> None:
    """Refuse what is not one of this module's events.

    Raises:
        ParameterError: it is not, or it nests more than 32 deep.
    """
    if type(event) not in _TAG_OF:
        raise ParameterError(f"{type(event).__name__} is not an event of dp.events: nothing is known about its privacy")
    if _depth(event) > _DEEPEST:
        raise ParameterError(f"the event nests more than {_DEEPEST} deep: compose its parts side by side")


def to_json(event: Event) -> str:
    """Return the one text of an event: ASCII, sorted keys, no spaces, shortest floats that read back the same.

    Raises:
        ParameterError: not an event.
    """
    require_event(event)
    return _dump(_to_plain(event))


def from_json(text: str) -> Event:
    """Return the event of a text that `to_json` wrote.

    Raises:
        ParameterError: not JSON, an unknown tag or field, a field that is missing or out of range, or a text other
            than the one `to_json` writes for the same event (spaces, key order, repeated keys, 1 for 1.0).
    """
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ParameterError("the text is not the JSON of an event") from error
    event = _from_plain(plain, _DEEPEST)
    if to_json(event) != text:
        raise ParameterError(f"the text is not how this event is written, which is {to_json(event):.200}")
    return event


def _dump(plain: dict[str, Any]) -> str:
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def _to_plain(event: Event) -> dict[str, Any]:
    write = {name: _KINDS[str(kind)][0] for name, kind in _fields(type(event))}
    return {"kind": _TAG_OF[type(event)]} | {name: to(getattr(event, name)) for name, to in write.items()}


def _from_plain(plain: object, depth: int) -> Event:
    if not isinstance(plain, dict) or depth < 1:
        raise ParameterError(f"an event is a JSON object, nested at most {_DEEPEST} deep")
    tag = plain.get("kind")
    if not isinstance(tag, str) or tag not in _TAGS:
        raise ParameterError(f"unknown event {tag!r:.80}: this version knows {', '.join(_TAGS)}")
    kinds = dict(_fields(_TAGS[tag]))
    if set(plain) != {"kind", *kinds}:
        odd = sorted(set(plain) ^ {"kind", *kinds})
        raise ParameterError(f"event {tag!r} has exactly the fields {', '.join(kinds)}: look at {odd!r:.200}")
    return _TAGS[tag](**{name: _KINDS[kind][1](plain[name], depth - 1) for name, kind in kinds.items()})


def _fields(kind: type[Event]) -> list[tuple[str, str]]:
    return [(field.name, str(field.type)) for field in fields(kind)]


def _read_float(value: object, _depth: int) -> float:
    if type(value) is not float:
        raise ParameterError(f"{value!r:.80} must be a number with a decimal point, for example 1.0")
    return value


def _read_int(value: object, _depth: int) -> int:
    if type(value) is not int:
        raise ParameterError(f"{value!r:.80} must be a whole number")
    return value


def _read_events(value: object, depth: int) -> tuple[Event, ...]:
    if not isinstance(value, list):
        raise ParameterError("events must be a JSON array")
    return tuple(_from_plain(each, depth) for each in value)


_KINDS: Final[Mapping[str, tuple[Callable[[Any], Any], Callable[[Any, int], Any]]]] = {
    "float": (float, _read_float),
    "int": (int, _read_int),
    "Release": (_to_plain, _from_plain),
    "Event": (_to_plain, _from_plain),
    "tuple[Event, ...]": (lambda events: [_to_plain(event) for event in events], _read_events),
}
"""By the annotation of a field: how it is written and how it is read."""


def _depth(event: object) -> int:
    """How deep an event nests; its parts were checked when they were made, so that this recursion is bounded."""
    if isinstance(event, Composed):
        return 1 + max(_depth(each) for each in event.events)
    if isinstance(event, Repeated):
        return 1 + _depth(event.event)
    return 2 if isinstance(event, PoissonSampled | FixedSizeSampled) else 1


def _require_release(release: object) -> None:
    if not isinstance(release, Gaussian | SkellamSum | DiscreteGaussianSum):
        raise ParameterError(
            f"release is of type {type(release).__name__}: a sampled event holds one Gaussian, SkellamSum or "
            "DiscreteGaussianSum; put Repeated and Composed outside"
        )


def _require_number(name: str, value: object, *, least: float = _SMALLEST) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ParameterError(f"{name} is of type {type(value).__name__}: give a number")
    if not least <= value <= _LARGEST:  # NaN as well
        raise ParameterError(f"{name}={value!r} must be from {least!r} to {_LARGEST!r}")


def _require_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ParameterError(f"{name} is of type {type(value).__name__}: give a whole number")
    if not 1 <= value < 1 << 53:
        raise ParameterError(f"{name}={value} must be a whole number from 1 to 2^53 - 1, for example 100")
