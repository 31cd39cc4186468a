"""Clipping group by group, and to a quantile of the norms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from dp.adaptive import QuantileClip
from dp.clipping import group_bound, group_factors, l2_norm
from dp.errors import ParameterError, UpdateError

UPDATE = {"a": np.asarray([3.0, 4.0]), "b": np.asarray([[12.0]]), "c": np.zeros(2)}


def test_each_group_is_brought_to_its_own_bound() -> None:
    factors, clipped = group_factors(UPDATE, ((("a", "b"), 6.5), (("c",), 1.0)))
    assert factors == {"a": 0.5, "b": 0.5, "c": 1.0}
    assert clipped
    assert group_factors(UPDATE, ((("a",), 5.0), (("b", "c"), 12.0))) == ({"a": 1.0, "b": 1.0, "c": 1.0}, False)


def test_the_whole_is_within_the_bound_over_all_groups() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        update = {name: rng.normal(0, 100, 7) for name in "abc"}
        bounds = dict(zip("abc", rng.uniform(0.1, 3.0, 3).tolist(), strict=True))
        factors, _ = group_factors(update, [((name,), bound) for name, bound in bounds.items()])
        whole = l2_norm({name: update[name] * factors[name] for name in update})
        assert whole <= group_bound(bounds.values()) * (1 + 1e-12)


def test_one_group_has_its_own_bound_and_more_are_rounded_up() -> None:
    assert group_bound([0.1]) == 0.1
    assert group_bound([3.0, 4.0]) == math.nextafter(5.0, 6.0)
    for bad in ([], [0.0], [-1.0, 2.0], [math.inf], [math.nan]):
        with pytest.raises(ParameterError):
            group_bound(bad)


@pytest.mark.parametrize("groups", [((("a",), 1.0),), ((("a", "b", "c"), 1.0), (("a",), 1.0)), ((("d",), 1.0),)])
def test_groups_that_do_not_part_the_tensors_are_refused(groups: Any) -> None:
    with pytest.raises(ParameterError, match="exactly once"):
        group_factors(UPDATE, groups)


def test_what_is_not_finite_has_no_norm() -> None:
    with pytest.raises(UpdateError, match="'a'"):
        group_factors({"a": np.asarray([math.nan])}, ((("a",), 1.0),))


def test_the_clip_follows_the_quantile() -> None:
    clip = QuantileClip(clip=1.0, quantile=0.5, rate=0.2)
    assert clip.next(0.5) == clip
    assert clip.next(1.0).clip == pytest.approx(math.exp(-0.1))
    assert clip.next(0.0).clip == pytest.approx(math.exp(0.1))
    assert clip.next(7.0) == clip.next(1.0)
    assert clip.next(-7.0) == clip.next(0.0)
    with pytest.raises(ParameterError, match="within="):
        clip.next(math.nan)


def test_the_clip_settles_at_the_quantile() -> None:
    norms = np.random.default_rng(0).lognormal(2.0, 1.0, 2000)
    clip = QuantileClip(clip=0.01, quantile=0.8)
    for _ in range(200):
        clip = clip.next(float((norms <= clip.clip).mean()))
    assert clip.clip == pytest.approx(float(np.quantile(norms, 0.8)), rel=0.02)


def test_the_clip_never_leaves_the_floats() -> None:
    small = QuantileClip(clip=2.0**-498, rate=9.0)
    large = QuantileClip(clip=2.0**498, rate=9.0)
    for _ in range(5):
        small, large = small.next(1.0), large.next(0.0)
    assert 0.0 < small.clip < large.clip < math.inf


@pytest.mark.parametrize(
    "bad",
    [{"clip": 0.0}, {"clip": math.nan}, {"quantile": 0.0}, {"quantile": 1.0}, {"rate": 0.0}, {"rate": True}],
)
def test_fields_out_of_range_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match=next(iter(bad))):
        QuantileClip(**({"clip": 1.0} | bad))
