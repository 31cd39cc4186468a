"""Arithmetic modulo p = 2,097,143, the largest prime below 2**21, exact in float64.

Promise: every product here is exact, and what happens to a share happens without a branch, a table or a division that
depends on it. An element is below 2**21, so a product is below 2**42 and a sum of up to 2,048 products is below
2**53, where float64 still holds every integer: one matrix product of the machine's own library, in any order of
additions, fused or not, and one reduction.

What depends on the holders' x coordinates alone (weights, inverses) is public and uses int64 and `%`.

Imports numpy only.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

PRIME: Final = 2_097_143
ELEMENT_BITS: Final = 21

MAX_TERMS: Final = 2_048
"""Most products in a sum: (p - 1)**2 * 2048 < 2**53."""

_RECIPROCAL = (1.0 - 2.0**-50) / PRIME
_PIECE_ELEMENTS = 1 << 15  # of a piece of the table of powers: 256 KiB, in the cache with its temporaries
_TABLE_ELEMENTS = 1 << 18  # of a table of differences: 2 MiB, so that a large cohort takes no more

Elements = npt.NDArray[np.float64]
"""Integers in [0, p), or sums of their products below 2**53, held as float64."""

Integers = npt.NDArray[np.int64]


def reduce(sums: Elements) -> Elements:
    """Reduce integers in [0, 2**53) modulo p, in place, and return them.

    The reciprocal is a little low, by more than rounding can add, so the quotient is the true one or one less: at
    2**32 its error stays below 2**-17. Products and differences are exact below 2**53, and one conditional
    subtraction, written as arithmetic, ends in [0, p). Multiplications take the same time for every operand;
    divisions do not on all processors, which is why this is not `%`.
    """
    quotient = sums * _RECIPROCAL
    np.floor(quotient, out=quotient)
    quotient *= PRIME
    sums -= quotient
    np.greater_equal(sums, PRIME, out=quotient)
    quotient *= PRIME
    sums -= quotient
    return sums


def matmul(left: Elements, right: Elements) -> Elements:
    """Product of two matrices of elements, reduced; leading axes broadcast as in `numpy.matmul`.

    Sums of more than MAX_TERMS products are reduced in between, so the result is exact for every size.
    """
    total = reduce(np.matmul(left[..., :MAX_TERMS], right[..., :MAX_TERMS, :]))
    for first in range(MAX_TERMS, left.shape[-1], MAX_TERMS):
        part = slice(first, first + MAX_TERMS)
        total = reduce(total + reduce(np.matmul(left[..., part], right[..., part, :])))
    return total


def invert(values: Integers) -> Integers:
    """Inverses of values in [1, p), by Fermat's little theorem: v**(p-2)."""
    power, result = values, np.ones_like(values)
    exponent = PRIME - 2
    while exponent:
        if exponent & 1:
            result = result * power % PRIME
        power = power * power % PRIME
        exponent >>= 1
    return result


def powers(xs: Integers, count: int) -> Elements:
    """Powers 0 to count - 1 of each x, shape (count, len(xs)): row j holds x**j.

    Rows are made from the rows `width` above them, times x**width; the width doubles while a piece fits the cache.
    """
    table = np.empty((count, len(xs)))
    table[:1] = 1
    step, width, filled = xs.astype(np.float64), 1, 1
    while filled < count:
        more = min(width, count - filled)
        piece = table[filled : filled + more]
        np.multiply(table[filled - width : filled - width + more], step, out=piece)
        reduce(piece)
        filled += more
        if filled == 2 * width and 2 * width * len(xs) <= _PIECE_ELEMENTS:
            step, width = reduce(step * step), 2 * width
    return table


def differences_product(points: Integers, nodes: Integers) -> Integers:
    """Product over all nodes of (point - node), the point itself left out where it is a node; shape (len(points),)."""
    block = max(1, _TABLE_ELEMENTS // max(len(nodes), 1))
    products = np.empty(len(points), dtype=np.int64)
    for first in range(0, len(points), block):
        factors = (points[first : first + block] - nodes[:, None]) % PRIME
        factors[factors == 0] = 1
        products[first : first + block] = _product(factors)
    return products


def lagrange(nodes: Integers, points: Integers) -> Elements:
    """Matrix that takes a polynomial's values at `nodes` to its values at `points`, for degrees below len(nodes).

    Entry (j, i) is the product over m != i of (point_j - node_m) / (node_i - node_m). The last few are kept, because
    a server recovers the secrets of a whole cohort from one set of holders.

    Args:
        nodes: distinct x coordinates in [0, p).
        points: x coordinates in [0, p), none of them a node.

    Returns:
        Shape (len(points), len(nodes)), read-only.
    """
    return _lagrange(nodes.tobytes(), points.tobytes())


def forget_weights() -> None:
    """Drop the matrices that `lagrange` keeps; they hold nothing secret, so this is for memory and measurements."""
    _lagrange.cache_clear()


@lru_cache(maxsize=4)
def _lagrange(nodes_key: bytes, points_key: bytes) -> Elements:
    nodes, points = (np.frombuffer(key, dtype=np.int64) for key in (nodes_key, points_key))
    numerators, denominators = differences_product(points, nodes), differences_product(nodes, nodes)
    matrix = numerators[:, None] * _inverse_products(denominators, points[:, None] - nodes) % PRIME
    elements = matrix.astype(np.float64)
    elements.setflags(write=False)
    return elements


def _inverse_products(factors: Integers, differences: Integers) -> Integers:
    """Inverses of factors * differences, shape (points, nodes); by a table of 1..span where that is smaller."""
    span = int(np.abs(differences).max(initial=0))
    if span >= differences.size:
        return invert(factors * (differences % PRIME) % PRIME)
    inverses: Integers = invert(np.arange(1, span + 1, dtype=np.int64))[np.abs(differences) - 1]
    inverses[differences < 0] *= -1
    return invert(factors) * (inverses % PRIME) % PRIME


def _product(factors: Integers) -> Integers:
    """Product over the first axis, by halves."""
    while len(factors) > 1:
        half, odd = divmod(len(factors), 2)
        paired = factors[:half] * factors[half : 2 * half] % PRIME
        factors = np.concatenate([paired, factors[-1:]]) if odd else paired
    product: Integers = factors[0] if len(factors) else np.ones(factors.shape[1:], dtype=np.int64)
    return product
