"""Events: what they refuse, and the one text each has."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp.errors import ParameterError
from dp.events import (
    Composed,
    DiscreteGaussianSum,
    Event,
    FixedSizeSampled,
    Gaussian,
    PoissonSampled,
    Release,
    Repeated,
    SkellamSum,
    from_json,
    require_event,
    to_json,
)

SKELLAM = SkellamSum(variance=1000, sensitivity=12.5)
TEXT = '{"kind":"skellam_sum","sensitivity":12.5,"variance":1000.0}'

numbers = st.floats(1.0, 1e12)
counts = st.integers(1, 1 << 40)
releases: st.SearchStrategy[Release] = st.one_of(
    st.builds(Gaussian, noise_multiplier=numbers),
    st.builds(SkellamSum, variance=numbers, sensitivity=numbers),
    st.builds(DiscreteGaussianSum, sigma=numbers, parties=counts, sensitivity=numbers),
)
sampled = st.one_of(
    st.builds(PoissonSampled, release=releases, rate=st.floats(1e-9, 1.0)),
    st.builds(FixedSizeSampled, release=releases, population=st.just(1 << 41), sample=counts),
)
events: st.SearchStrategy[Event] = st.recursive(
    st.one_of(releases, sampled),
    lambda inner: st.one_of(
        st.builds(Repeated, event=inner, count=counts),
        st.builds(Composed, events=st.lists(inner, min_size=1, max_size=3).map(tuple)),
    ),
    max_leaves=5,
)


@given(events)
def test_a_text_reads_back_as_the_same_event(event: Event) -> None:
    assert from_json(to_json(event)) == event


def test_texts_never_change() -> None:
    assert to_json(SKELLAM) == TEXT
    event = Composed(
        events=(
            FixedSizeSampled(release=Gaussian(noise_multiplier=0.1), population=10, sample=2),
            Repeated(event=PoissonSampled(release=SKELLAM, rate=1), count=3),
            DiscreteGaussianSum(sigma=0.5, parties=7, sensitivity=1),
        )
    )
    assert to_json(event) == (
        '{"events":['
        '{"kind":"fixed_size_sampled","population":10,"release":{"kind":"gaussian","noise_multiplier":0.1},'
        '"sample":2},'
        '{"count":3,"event":{"kind":"poisson_sampled","rate":1.0,"release":' + TEXT + '},"kind":"repeated"},'
        '{"kind":"discrete_gaussian_sum","parties":7,"sensitivity":1.0,"sigma":0.5}],"kind":"composed"}'
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        TEXT[:-1],
        TEXT + "\n",
        TEXT.replace(",", ", "),
        TEXT.replace("1000.0", "1000"),
        TEXT.replace("1000.0", "1e3"),
        TEXT.replace("1000.0", '"1000.0"'),
        TEXT.replace("1000.0", "NaN"),
        TEXT.replace("1000.0", "Infinity"),
        TEXT.replace("1000.0", "true"),
        TEXT.replace("12.5", "0.5"),
        TEXT.replace("skellam_sum", "skellam"),
        TEXT.replace("skellam_sum", "SkellamSum"),
        TEXT.replace('"skellam_sum"', "7"),
        TEXT.replace('"skellam_sum"', "[]"),
        TEXT.replace("variance", "varianc"),
        TEXT.replace("}", ',"zero":1.0}'),
        TEXT.replace('"sensitivity":12.5,', ""),
        TEXT.replace('"sensitivity":12.5,', '"sensitivity":12.5,"sensitivity":12.5,'),
        '{"variance":1000.0,"sensitivity":12.5,"kind":"skellam_sum"}',
        '{"events":{},"kind":"composed"}',
        '{"events":[],"kind":"composed"}',
        '{"events":[1.0],"kind":"composed"}',
        '{"count":1.0,"event":' + TEXT + ',"kind":"repeated"}',
        '{"count":0,"event":' + TEXT + ',"kind":"repeated"}',
        '{"kind":"poisson_sampled","rate":0.5,"release":{"count":2,"event":' + TEXT + ',"kind":"repeated"}}',
        '{"count":1,"event":' * 40 + TEXT + ',"kind":"repeated"}' * 40,
        "[" * 100_000,
        '{"event":' * 100_000,
    ],
)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(ParameterError):
        from_json(text)


def test_the_error_names_the_unknown_event_and_the_odd_field() -> None:
    with pytest.raises(ParameterError, match=r"laplace.*this version knows gaussian"):
        from_json('{"kind":"laplace","scale":1.0}')
    with pytest.raises(ParameterError, match="zero"):
        from_json(TEXT.replace("}", ',"zero":1.0}'))


@pytest.mark.parametrize("value", [0, -1.0, math.inf, -math.inf, math.nan, True, "1", None, 1 + 0j, 1e25, 1e-25])
def test_numbers_out_of_range_are_refused(value: Any) -> None:
    for make in (
        lambda: Gaussian(noise_multiplier=value),
        lambda: SkellamSum(variance=value, sensitivity=1.0),
        lambda: SkellamSum(variance=1.0, sensitivity=value),
        lambda: DiscreteGaussianSum(sigma=value, parties=1, sensitivity=1.0),
        lambda: DiscreteGaussianSum(sigma=1.0, parties=1, sensitivity=value),
        lambda: PoissonSampled(release=SKELLAM, rate=value),
    ):
        with pytest.raises(ParameterError):
            make()


@pytest.mark.parametrize("value", [0, -1, True, 1.0, "1", None, 1 << 53])
def test_counts_out_of_range_are_refused(value: Any) -> None:
    for make in (
        lambda: DiscreteGaussianSum(sigma=1.0, parties=value, sensitivity=1.0),
        lambda: FixedSizeSampled(release=SKELLAM, population=value, sample=1),
        lambda: FixedSizeSampled(release=SKELLAM, population=10, sample=value),
        lambda: Repeated(event=SKELLAM, count=value),
    ):
        with pytest.raises(ParameterError):
            make()


def test_limits_that_belong_to_one_event() -> None:
    with pytest.raises(ParameterError, match=r"rate=1\.5"):
        PoissonSampled(release=SKELLAM, rate=1.5)
    with pytest.raises(ParameterError, match="sample=11 of population=10"):
        FixedSizeSampled(release=SKELLAM, population=10, sample=11)
    with pytest.raises(ParameterError, match=r"sensitivity=0\.99"):
        SkellamSum(variance=1.0, sensitivity=0.99)
    with pytest.raises(ParameterError, match=r"sigma=0\.2"):
        DiscreteGaussianSum(sigma=0.2, parties=1, sensitivity=1.0)


def test_only_one_release_can_be_sampled() -> None:
    twice: Any = Repeated(event=SKELLAM, count=2)
    again: Any = PoissonSampled(release=SKELLAM, rate=0.5)
    number: Any = SKELLAM.variance
    for inner in (twice, again, number):
        with pytest.raises(ParameterError, match="one Gaussian, SkellamSum or"):
            PoissonSampled(release=inner, rate=0.5)
        with pytest.raises(ParameterError, match="one Gaussian, SkellamSum or"):
            FixedSizeSampled(release=inner, population=2, sample=1)


def test_what_is_not_an_event_is_refused() -> None:
    class Looser(SkellamSum):
        pass

    strange: tuple[Any, ...] = (None, "gaussian", SkellamSum, Looser(variance=1.0, sensitivity=1.0), [SKELLAM])
    for thing in strange:
        with pytest.raises(ParameterError, match="is not an event"):
            require_event(thing)
        with pytest.raises(ParameterError):
            Repeated(event=thing, count=1)
        with pytest.raises(ParameterError):
            Composed(events=(SKELLAM, thing))
    many: Any = [SKELLAM]
    with pytest.raises(ParameterError, match="tuple"):
        Composed(events=many)
    with pytest.raises(ParameterError, match="tuple"):
        Composed(events=())


def test_nesting_is_bounded() -> None:
    event: Event = SKELLAM
    for _ in range(31):
        event = Repeated(event=event, count=1)
    assert from_json(to_json(event)) == event
    deeper = Repeated(event=event, count=1)
    for use in (to_json, require_event, lambda inner: Repeated(event=inner, count=1)):
        with pytest.raises(ParameterError, match="32 deep"):
            use(deeper)


def test_events_are_values() -> None:
    assert SkellamSum(variance=1000.0, sensitivity=12.5) == SKELLAM
    assert hash(SkellamSum(variance=1000.0, sensitivity=12.5)) == hash(SKELLAM)
    with pytest.raises(dataclasses.FrozenInstanceError):
        SKELLAM.variance = 1.0  # type: ignore[misc]  # the point of the test
    positional: Any = Gaussian
    with pytest.raises(TypeError):
        positional(1.0)
    assert json.loads(to_json(SKELLAM))["variance"] == 1000
