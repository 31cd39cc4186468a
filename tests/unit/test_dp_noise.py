"""Noise: probabilities to the last bit, tables that reproduce them, and acceptances that float64 does not decide."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp import ParameterError
from dp.noise import DiscreteGaussian, IntegerNoise, Skellam, envelope, exact, pmf
from dp.noise.discrete_gaussian import GaussianWeights
from dp.noise.envelope import EnvelopeSampler, Weights
from dp.noise.pmf import Pmf
from dp.noise.sampler import CHUNK
from dp.noise.skellam import SkellamWeights
from dp.noise.tables import AliasTable, ScanTable, TableSampler
from dp.randomness import Words, new_words
from dp.testing import FixedRandomness
from tests.reference import dp_noise_oracle as oracle

SEED = hashlib.sha256(b"unit tests of noise").digest()
VECTORS = Path(__file__).parent.parent / "vectors"
REFERENCE = list(csv.DictReader((VECTORS / "dp_reference_discrete.csv").read_text(encoding="utf-8").splitlines()))
GOLDEN = json.loads((VECTORS / "dp_noise_golden.json").read_text(encoding="utf-8"))

LISTED = [
    pmf.discrete_gaussian(Fraction(1, 4)),
    pmf.discrete_gaussian(Fraction(9)),
    pmf.discrete_gaussian(Fraction(10_000)),
    pmf.skellam(Fraction(1, 1000)),
    pmf.skellam(Fraction(10, 3)),
    pmf.skellam(Fraction(160)),
]
WIDE: list[Weights] = [
    GaussianWeights(Fraction(1 << 20)),
    GaussianWeights(Fraction(123_456_789_012, 7)),
    GaussianWeights(Fraction(50_000_000**2)),
    SkellamWeights(Fraction(1 << 20)),
    SkellamWeights(Fraction(123_456_789_012, 7)),
    SkellamWeights(Fraction(50_000_000**2)),
]


class Scripted:
    """Hands out the words it was given, in order."""

    def __init__(self, *words: int) -> None:
        self.left = list(words)

    def fill(self, words: Words, /) -> None:
        words[:] = self.left[: len(words)]
        del self.left[: len(words)]


def deviations(weights: Weights, *multiples: float) -> list[int]:
    root = math.sqrt(weights.variance)
    return [int(multiple * root) for multiple in multiples]


# --- functions in integers ---------------------------------------------------------------------------------------


@settings(deadline=None)
@given(x=st.fractions(min_value=0, max_value=250), bits=st.integers(20, 400))
def test_exponentials_are_within_two_units(x: Fraction, bits: int) -> None:
    units = exact.scaled(x, bits)
    with localcontext(prec=200):
        truth = (-Decimal(units) / (1 << bits)).exp() * (1 << bits)
        assert abs(exact.exp_negative(units, bits) - truth) < 2


@pytest.mark.parametrize("bits", [20, 128, 400])
def test_exponentials_are_zero_only_below_a_unit(bits: int) -> None:
    almost = exact.scaled(Fraction(bits) * Fraction(69, 100), bits)
    assert exact.exp_negative(almost, bits) > 0
    assert exact.exp_negative(2 * almost, bits) == 0


@settings(deadline=None)
@given(x=st.floats(-8, 8), bits=st.integers(60, 400))
def test_cosines_and_sines_lie_on_their_curves(x: float, bits: int) -> None:
    one = 1 << bits
    cos, sin = exact.cosine_pair(exact.scaled(Fraction(x), bits), bits)
    cosh, sinh = exact.cosine_pair(exact.scaled(Fraction(x), bits), bits, hyperbolic=True)
    assert abs(cos * cos + sin * sin - one * one) < 8 * one
    assert abs(cosh * cosh - sinh * sinh - one * one) < 16_000 * one
    assert cos / one == pytest.approx(math.cos(x), abs=1e-15)
    assert sin / one == pytest.approx(math.sin(x), abs=1e-15)
    assert cosh / one == pytest.approx(math.cosh(x), rel=1e-14)
    assert sinh / one == pytest.approx(math.sinh(x), rel=1e-14, abs=1e-15)


@pytest.mark.parametrize("bits", [1, 10, 64, 300])
def test_pi_and_roots_are_rounded_down(bits: int) -> None:
    with localcontext(prec=100):
        assert int(Decimal(oracle.PI) * (1 << bits)) - exact.pi(bits) in (0, 1)
        assert exact.square_root(Fraction(2, 7), bits) == int((Decimal(2) / 7).sqrt() * (1 << bits))


# --- probabilities -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [row for row in REFERENCE if row["family"].endswith("_pmf") and row["quantity"] != "Z"],
    ids=lambda r: r["parameters"] + " " + r["quantity"],
)
def test_probabilities_and_moments_agree_with_published_values(row: dict[str, str]) -> None:
    parameter, quantity = Fraction(row["parameters"].split("=")[1]), row["quantity"]
    law = {"discrete_gaussian_pmf": pmf.discrete_gaussian, "skellam_pmf": pmf.skellam}[row["family"]]
    listed = law(parameter, tail_bits=700 if parameter < Fraction(1, 10) else 128)  # P[3] at 0.01 is 3.7e-196
    answers = {"variance": lambda: listed.variance, "entropy_bits": lambda: listed.entropy}
    answer = answers.get(quantity, lambda: listed.probability(int(quantity[2:-1])))()
    assert answer == pytest.approx(float(row["value"]), rel=1e-12)


@pytest.mark.parametrize(
    ("law", "plain", "parameter"),
    [
        (pmf.discrete_gaussian, oracle.gaussian, Fraction(1, 5)),
        (pmf.discrete_gaussian, oracle.gaussian, Fraction(77, 3)),
        (pmf.discrete_gaussian, oracle.gaussian, Fraction(3.7) ** 2),
        (pmf.skellam, oracle.skellam, Fraction(1, 50)),
        (pmf.skellam, oracle.skellam, Fraction(5)),
        (pmf.skellam, oracle.skellam, Fraction(0.1)),
        (pmf.skellam, oracle.skellam, Fraction(2000, 7)),
    ],
)
def test_every_probability_is_within_two_units_and_the_tail_within_its_bound(
    law: Callable[[Fraction], Pmf], plain: Callable[[Fraction, int], list[Decimal]], parameter: Fraction
) -> None:
    listed = law(parameter)
    with localcontext(prec=oracle.DIGITS):
        truth = plain(parameter, 2 * listed.radius + 40)
        assert all(abs(k - p * (1 << listed.bits)) < 2 for k, p in zip(listed.half, truth, strict=False))
        tail = 2 * sum(truth[listed.radius + 1 :])
        assert tail < Decimal(listed.omitted.numerator) / listed.omitted.denominator == Decimal(2) ** -128
        assert (
            tail + 2 * truth[listed.radius] > Decimal(2) ** -128 or listed.radius == 0
        )  # and no further out than that


def test_a_deeper_tail_is_a_wider_support() -> None:
    shallow, deep = pmf.skellam(Fraction(10)), pmf.skellam(Fraction(10), tail_bits=400)
    assert deep.radius > 1.5 * shallow.radius
    assert deep.omitted == Fraction(1, 1 << 400)
    assert shallow.probability(7) == deep.probability(-7)
    assert shallow.probability(deep.radius) == 0.0 < deep.probability(deep.radius)


def test_the_law_of_a_sum_of_skellam_shares_is_the_law_of_the_whole() -> None:
    share, whole = pmf.skellam(Fraction(2, 3)), pmf.skellam(Fraction(2))
    one = np.array([share.probability(k) for k in range(-30, 31)])
    three = np.convolve(np.convolve(one, one), one)
    assert three[90 - 20 : 90 + 21] == pytest.approx([whole.probability(k) for k in range(-20, 21)], abs=1e-16)


@pytest.mark.parametrize("value", [Fraction(0), Fraction(-1), Fraction(1 << 33)])
@pytest.mark.parametrize("law", [pmf.discrete_gaussian, pmf.skellam])
def test_probabilities_of_what_is_no_law_are_refused(law: Callable[[Fraction], Pmf], value: Fraction) -> None:
    with pytest.raises(ParameterError, match=f"={float(value)} must be positive and at most 4294967296"):
        law(value)


@pytest.mark.parametrize("bits", [15, 1025])
def test_a_tail_out_of_reach_is_refused(bits: int) -> None:
    with pytest.raises(ParameterError, match=f"tail_bits={bits} must be from 16 to 1024"):
        pmf.skellam(Fraction(1), tail_bits=bits)


# --- tables ------------------------------------------------------------------------------------------------------


def check_words(sampler: TableSampler, law: Pmf) -> None:
    """Words sum to 2^64, each value owns its probability within one, and the rest is fewer than the values."""
    owned = sampler._table.owned()
    assert sum(owned.values()) == 1 << 64
    assert 0 < owned.pop(sampler._ask_again) <= 2 * law.radius
    for k in range(-law.radius, law.radius + 1):
        below = Fraction(law.half[abs(k)] << 64, 1 << law.bits) - owned.get(k, 0)
        assert 0 <= below < 1 or (k == 0 and -1 < below < 1)


@pytest.mark.parametrize("law", LISTED)
def test_every_value_owns_its_probability_of_the_words_to_within_one(law: Pmf) -> None:
    check_words(TableSampler(law), law)


@settings(max_examples=30, deadline=None)
@given(
    parameter=st.fractions(min_value=Fraction(1, 50), max_value=2000),
    law=st.sampled_from([pmf.skellam, pmf.discrete_gaussian]),
)
def test_tables_of_any_law_share_out_the_words(parameter: Fraction, law: Callable[[Fraction], Pmf]) -> None:
    listed = law(parameter)
    check_words(TableSampler(listed), listed)
    if parameter <= 169:
        check_words(TableSampler(listed, constant_time=True), listed)


@pytest.mark.parametrize("law", LISTED)
def test_words_and_the_bits_they_ask_for_make_up_each_probability(law: Pmf) -> None:
    sampler = TableSampler(law)
    owned, grid = sampler._table.owned(), law.grid(192)
    asked = owned.pop(sampler._ask_again)
    assert sum(grid) == 1 << 192
    remainders = [mass & ((1 << 128) - 1) for mass in grid]
    assert sum(remainders) == asked << 128
    for k, mass, remainder in zip(range(-law.radius, law.radius + 1), grid, remainders, strict=True):
        assert (owned.get(k, 0) << 128) + remainder == mass
        assert abs(mass - Fraction(law.half[abs(k)] << 192, 1 << law.bits)) < 2 or k == 0


def find_word(sampler: TableSampler, value: int) -> int:
    """A word that stands for a value, found by looking words up."""
    table = sampler._table
    if isinstance(table, ScanTable):
        edges = [0, *map(int, table._thresholds)]
    else:
        edges = [edge for bound in table._bounds.tolist() for edge in (bound, max(bound - 1, 0))]
    values = table.lookup(np.array(edges, dtype=np.uint64))
    return edges[int(np.flatnonzero(values == value)[0])]


@pytest.mark.parametrize("constant_time", [False, True])
def test_a_word_left_over_asks_for_128_more_bits_and_shares_them_out(*, constant_time: bool) -> None:
    law = pmf.skellam(Fraction(10))
    sampler = TableSampler(law, constant_time=constant_time)
    again = find_word(sampler, sampler._ask_again)
    remainders = [mass & ((1 << 128) - 1) for mass in law.grid(192)]
    three = find_word(sampler, 3)
    edge = 0
    for k, remainder in zip(range(-law.radius, law.radius + 1), remainders, strict=True):
        for drawn in {edge, edge + remainder - 1}:
            words = [drawn >> shift & ((1 << 64) - 1) for shift in (0, 64, 128)]
            out = np.empty(3, dtype=np.int64)
            sampler.sample_into(out, Scripted(three, again, three, *words))
            assert out.tolist() == [3, k, 3]
        edge += remainder


@settings(max_examples=50, deadline=None)
@given(cuts=st.lists(st.integers(0, 1 << 64), max_size=40))
def test_an_alias_table_gives_each_value_its_mass(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), 1 << 64]
    masses = [high - low for low, high in pairwise(edges)]
    table = AliasTable(range(-7, len(masses) - 7), masses)
    assert table.owned() == {value - 7: mass for value, mass in enumerate(masses) if mass}
    choose = oracle.alias(masses)
    words = np.concatenate([new_words(FixedRandomness(SEED), 99), table._bounds, table._bounds[1:] - np.uint64(1)])
    assert table.lookup(words).tolist() == [choose(int(word)) - 7 for word in words]


def test_tables_hold_values_beyond_16_bits() -> None:
    table = AliasTable([-40_000, 5, 40_000], [1 << 62, 1 << 63, 1 << 62])
    values, counts = np.unique(table.lookup(new_words(FixedRandomness(SEED), 4000)), return_counts=True)
    assert values.tolist() == [-40_000, 5, 40_000]
    assert counts == pytest.approx([1000, 2000, 1000], abs=150)


# --- wide laws ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", WIDE, ids=lambda w: f"{type(w).__name__} {float(w.variance):.3g}")
def test_float64_weights_are_within_their_bound_of_the_precise_ones(weights: Weights) -> None:
    ks = [0, 1, *deviations(weights, 0.01, 0.5, 1, 2, 3.3, 5, 6.1, 8, 11, 13.4)]
    rough = weights.approximate(np.array(ks, dtype=np.float64))
    mirrored = weights.approximate(-np.array(ks, dtype=np.float64))
    precise = [weights.precise(k, 416) for k in ks]
    assert precise == [weights.precise(-k, 416) for k in ks]
    assert np.array_equal(rough, mirrored)
    assert max(abs(Fraction(a) * (1 << 416) / w - 1) for a, w in zip(rough.tolist(), precise, strict=True)) < 2**-38
    normal = [exact.exp_negative(exact.scaled(k * k / (2 * weights.variance), 416), 416) for k in ks]
    assert all(abs(w - g) << 12 < g for k, w, g in zip(ks, precise, normal, strict=True) if k <= ks[-4])


@pytest.mark.parametrize("variance", [Fraction(1 << 20), Fraction(3 << 20) + Fraction(1, 7)])
def test_two_ways_to_a_skellam_probability_agree(variance: Fraction) -> None:
    listed, weights = pmf.skellam(variance), SkellamWeights(variance)
    norm = exact.square_root(2 * variance * Fraction(exact.pi(500), 1 << 500), 500)
    for k in [0, 1, 2, 3, *deviations(weights, 1, 4.4, 9), listed.radius]:
        expected = listed.half[k] * norm >> listed.bits + 500 - 416
        assert abs(weights.precise(k, 416) - expected) < 1 << (416 - 300)


@pytest.mark.parametrize("weights", WIDE, ids=lambda w: f"{type(w).__name__} {float(w.variance):.3g}")
def test_every_value_comes_out_with_one_multiple_of_its_weight(weights: Weights) -> None:
    sampler = EnvelopeSampler(weights)
    edge, width = sampler._edge, 1 << sampler._block_bits
    masses = sampler._blocks.owned()
    assert sum(masses.values()) == 1 << 64
    assert edge * width >= deviations(weights, 6)[0] - 1
    unit = sampler._scale[0] * masses[-edge]
    assert all(sampler._scale[block + edge] * masses[block] == unit for block in range(-edge, edge))
    # in the tail a value is proposed once in tail_values, in a block once in a width
    assert sampler._tail_scale * masses[edge] * width == unit * sampler._tail_values


@pytest.mark.parametrize("weights", WIDE, ids=lambda w: f"{type(w).__name__} {float(w.variance):.3g}")
def test_no_acceptance_is_above_one_or_below_what_is_accepted_unseen(weights: Weights) -> None:
    sampler = EnvelopeSampler(weights)
    edge, width = sampler._edge, 1 << sampler._block_bits
    unseen = Fraction(int(sampler._unseen), 1 << 64)
    assert 0.95 < unseen < 1
    assert int(sampler._unseen) % width == 0
    for block in (-edge, -edge // 2, -2, -1, 0, 1, 7, edge // 2, edge - 1):
        for k in (block * width, block * width + width - 1):
            acceptance = sampler._scale[block + edge] * Fraction(weights.precise(k, 416), 1 << 416)
            assert unseen <= acceptance <= 1
    highest = sampler._tail_scale * Fraction(weights.precise(edge * width, 416), 1 << 416)
    assert 0.99 < highest <= 1


def test_a_close_acceptance_is_settled_by_more_bits_in_integers() -> None:
    weights = SkellamWeights(Fraction(10**12))
    sampler = EnvelopeSampler(weights)
    k = 3_000_001
    scale = sampler._scale[(k >> sampler._block_bits) + sampler._edge]
    acceptance = scale * Fraction(weights.precise(k, 500), 1 << 500)
    bits = 64 - sampler._block_bits
    boundary = int(acceptance * (1 << bits))
    more = int((acceptance * (1 << bits) - boundary) * (1 << 128))
    ones = (1 << 64) - 1

    def settle(level: int, extra: int) -> bool:
        source = Scripted(extra & ones, extra >> 64)
        verdict = sampler._settle(k, scale, level, bits, source)
        assert not source.left  # it did ask for them
        return verdict

    assert settle(boundary - 1, (1 << 128) - 1)
    assert settle(boundary, 0)
    assert settle(boundary, more)
    assert not settle(boundary, more + 1)
    assert not settle(boundary, (1 << 128) - 1)
    assert not settle(boundary + 1, 0)
    assert not sampler._settle(k, scale, (1 << bits) - 1, bits, Scripted())  # far from it, float64 answers


@pytest.mark.parametrize("weights", [WIDE[0], WIDE[2]], ids=["narrowest", "widest"])
def test_float64_never_changes_a_verdict(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoMoreBits:
        """A stream that has only zeros for the two words that settle a close acceptance."""

        def __init__(self) -> None:
            self.words, self.asked = FixedRandomness(SEED), 0

        def fill(self, words: Words, /) -> None:
            if len(words) == 2:
                self.asked += 1
                words[:] = 0
            else:
                self.words.fill(words)

    def propose() -> tuple[Any, Any, int]:
        source, out = NoMoreBits(), np.empty(8000, dtype=np.int64)
        rejected = EnvelopeSampler(weights)._propose(out, source)
        return out.tolist(), rejected.tolist(), source.asked

    usual = propose()
    monkeypatch.setattr(envelope, "BAND", 2.0)
    out, rejected, asked = propose()
    assert (out, rejected) == usual[:2]
    assert usual[2] == 0
    assert asked > 50
    assert len(rejected) >= 2


def test_the_tail_is_a_block_of_its_own() -> None:
    sampler = EnvelopeSampler(GaussianWeights(Fraction(10**8)))
    edge, values = sampler._edge << sampler._block_bits, sampler._tail_values
    assert 2 * (sampler.radius - edge) + 1 == values
    right = sampler.radius + 1 - edge
    places = {0: edge, 1: edge + 1, right - 1: sampler.radius, right: -edge - 1, values - 1: -sampler.radius}
    for index, k in places.items():
        accepts = sampler._tail_scale * Fraction(sampler._weights.precise(k, 416), 1 << 416)
        boundary = int(accepts * (1 << 64))
        assert sampler._propose_tail(Scripted(index, boundary // 2, 0, 0)) == (k, True)
        assert sampler._propose_tail(Scripted(index, boundary + 1, 0, 0)) == (k, False)


def test_a_block_of_the_tail_is_looked_into() -> None:
    sampler = EnvelopeSampler(GaussianWeights(Fraction(10**8)))
    edge = sampler._edge
    tail = next(
        bound + step
        for bound in sampler._blocks._bounds.tolist()
        for step in (0, -1)
        if sampler._blocks.lookup(np.array([bound + step], dtype=np.uint64))[0] == edge
    )
    first, far = edge << sampler._block_bits, sampler._tail_values - 1
    out = np.empty(1, dtype=np.int64)
    words = (tail, 0, 5, 1 << 60)  # the block, a place that counts for nothing, an index in the tail, a level
    sampler.sample_into(out, Scripted(*words))
    assert out[0] == first + 5
    sampler.sample_into(out, Scripted(tail, 0, 5, (1 << 64) - 1, tail, 0, far, 1 << 40, *words))  # twice refused
    assert out[0] == first + 5


# --- the public classes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda c: f"{c['law']} {c['parameter']} {c['constant_time']}")
def test_golden_samples(case: dict[str, Any]) -> None:
    parameter = Fraction(case["parameter"])
    noise = DiscreteGaussian(sigma=parameter) if case["law"] == "DiscreteGaussian" else Skellam(variance=parameter)
    source = FixedRandomness(bytes.fromhex(GOLDEN["seed"]))
    samples = noise.sample(GOLDEN["count"], randomness=source, constant_time=case["constant_time"])
    assert samples.dtype == np.int64
    assert samples[: len(case["first"])].tolist() == case["first"]
    assert oracle.digest(samples.tolist()) == case["digest"]


def test_the_golden_file_is_what_the_plain_oracle_writes() -> None:
    written = {"seed": oracle.SEED.hex(), "count": oracle.COUNT, "cases": oracle.vectors()}
    assert written == GOLDEN


ALL = [
    DiscreteGaussian(sigma=0.5),
    DiscreteGaussian(sigma=3),
    DiscreteGaussian(sigma=4e4),
    Skellam(variance=0.001),
    Skellam(variance=Fraction(22, 7)),
    Skellam(variance=2e9),
]


@pytest.mark.parametrize("noise", ALL)
def test_a_law_says_what_it_is(noise: IntegerNoise) -> None:
    deviation = math.sqrt(noise.variance)
    assert 0 < noise.total_variation < Fraction(1, 1 << 126)
    assert 12.9 * deviation < noise.radius < max(30 * deviation, 16)
    assert noise.pmf(-1) == noise.pmf(1) < noise.pmf(0)
    assert noise.pmf(noise.radius) > 0.0 == noise.pmf(noise.radius + 1)
    total = noise.pmf(0) + 2 * sum(noise.pmf(k) for k in range(1, 101))
    assert total == pytest.approx(1.0 if deviation < 10 else 201 * noise.pmf(0), rel=1e-2)
    samples = noise.sample(20_000, randomness=FixedRandomness(SEED))
    assert samples.dtype == np.int64
    assert samples.shape == (20_000,)
    assert abs(samples).max() <= noise.radius
    assert float((samples.astype(np.float64) ** 2).mean()) == pytest.approx(float(noise.variance), rel=0.5)


def test_the_variance_of_a_narrow_discrete_gaussian_is_below_sigma_squared() -> None:
    assert DiscreteGaussian(sigma=0.5).variance == pytest.approx(0.2150126750881384863835551, rel=1e-15)
    assert DiscreteGaussian(sigma=1).variance == pytest.approx(1 - 8 * math.pi**2 * math.exp(-2 * math.pi**2), abs=1e-9)
    assert DiscreteGaussian(sigma=100).variance == 10_000.0
    assert DiscreteGaussian(sigma=1e6).variance == 1e12


def test_probabilities_of_wide_laws_are_those_of_listed_ones() -> None:
    listed = pmf.skellam(Fraction(3 << 20))
    noise = Skellam(variance=3 << 20)
    for k in (0, 1, -500, 9000):
        assert noise.pmf(k) == pytest.approx(listed.probability(k), rel=1e-14)
    assert DiscreteGaussian(sigma=2000).pmf(1000) == pytest.approx(math.exp(-1 / 8) / 2000 / math.sqrt(2 * math.pi))


def test_samples_beyond_one_chunk_go_on_where_the_words_do() -> None:
    noise, source = Skellam(variance=10), FixedRandomness(SEED)
    together = noise.sample(2 * CHUNK + 5, randomness=FixedRandomness(SEED))
    parts = [noise.sample(count, randomness=source) for count in (CHUNK, CHUNK, 5, 0)]
    assert np.array_equal(together, np.concatenate(parts))


@pytest.mark.parametrize("sigma", [3, 5000])
def test_no_two_vectors_of_noise_are_the_same(sigma: int) -> None:
    noise = DiscreteGaussian(sigma=sigma)
    assert len({noise.sample(200).tobytes() for _ in range(5)}) == 5


def test_numbers_that_are_equal_make_equal_laws() -> None:
    assert Skellam(variance=2) == Skellam(variance=Fraction(2)) == Skellam(variance=np.float64(2.0))
    assert hash(DiscreteGaussian(sigma=2)) == hash(DiscreteGaussian(sigma=2.0))
    sigmas: list[Any] = [3, 3.0, np.float32(3), np.int64(3), Fraction(3)]
    drawn = [DiscreteGaussian(sigma=s).sample(9, randomness=FixedRandomness(SEED)).tolist() for s in sigmas]
    assert all(samples == drawn[0] for samples in drawn)


def test_a_law_does_not_change() -> None:
    with pytest.raises(AttributeError):
        Skellam(variance=2).variance = 3  # type: ignore[misc]  # what is tested
    with pytest.raises(TypeError):
        Skellam(2)  # type: ignore[call-arg]  # what is tested


@settings(deadline=None)
@given(variance=st.fractions(min_value=1, max_value=10**6), parties=st.integers(1, 10_000))
def test_shares_of_skellam_noise_sum_to_the_whole_exactly(variance: Fraction, parties: int) -> None:
    share = Skellam(variance=variance).split(parties)
    assert isinstance(share.variance, Fraction)
    assert share.variance * parties == variance


def test_a_share_of_a_float_is_a_share_of_the_number_it_is() -> None:
    assert Skellam(variance=0.1).split(np.int64(3)).variance * 3 == Fraction(0.1)  # type: ignore[arg-type]  # as users do


@pytest.mark.parametrize("parties", [0, -2, 1.5, True, None])
def test_noise_is_split_among_whole_parties(parties: Any) -> None:
    with pytest.raises(ParameterError, match="parties="):
        Skellam(variance=1).split(parties)


def test_a_share_too_small_to_draw_is_refused() -> None:
    with pytest.raises(ParameterError, match="variance=1/2000000 must be from 1e-06"):
        Skellam(variance=1).split(2_000_000)


@pytest.mark.parametrize("sigma", [0.0, -1, 0.499999, 0.25, 50_000_001, math.nan, math.inf])
def test_sigma_is_refused_with_the_number_that_would_do(sigma: float) -> None:
    with pytest.raises(ParameterError, match=r"sigma=.* must be from 0\.5 to 50000000: it is in integer units"):
        DiscreteGaussian(sigma=sigma)


@pytest.mark.parametrize("variance", [0, -1.0, 9e-7, 2.6e15, math.nan, math.inf])
def test_a_variance_out_of_range_is_refused(variance: float) -> None:
    with pytest.raises(
        ParameterError, match=r"variance=.* must be from 1e-06 to 2500000000000000: encode with a finer step"
    ):
        Skellam(variance=variance)


@pytest.mark.parametrize("bad", ["1", None, True, 1j, Decimal(1), np.bool_(1), np.array([1.0])])
def test_a_parameter_is_a_real_number(bad: Any) -> None:
    with pytest.raises(ParameterError, match="variance is of type"):
        Skellam(variance=bad)
    with pytest.raises(ParameterError, match="sigma is of type"):
        DiscreteGaussian(sigma=bad)


@pytest.mark.parametrize("count", [-1, 1.0, "3", None, True])
def test_a_count_is_an_integer_from_zero(count: Any) -> None:
    with pytest.raises(ParameterError, match="count"):
        Skellam(variance=1).sample(count)
    assert Skellam(variance=1).sample(0).shape == (0,)


@pytest.mark.parametrize("noise", [DiscreteGaussian(sigma=13.001), Skellam(variance=170), Skellam(variance=2e9)])
def test_wide_laws_are_not_scanned(noise: IntegerNoise) -> None:
    with pytest.raises(ParameterError, match=r"constant_time=True .* 169 is the most"):
        noise.sample(1, constant_time=True)


@pytest.mark.parametrize("noise", [DiscreteGaussian(sigma=13), Skellam(variance=169), Skellam(variance=1e-6)])
def test_the_widest_and_narrowest_scans_fit_a_byte(noise: IntegerNoise) -> None:
    samples = noise.sample(50_000, randomness=FixedRandomness(SEED), constant_time=True)
    assert float((samples**2).mean()) == pytest.approx(float(noise.variance), abs=0.05 * float(noise.variance) + 1e-3)
    assert abs(samples.mean()) < 0.3
