"""Which holders lie: shares of one secret are a Reed-Solomon word, and wrong shares are its errors.

Promise: the sets yielded here are suggestions that the caller checks against a commitment; nothing is decided here.

Shamir's shares are a codeword of a generalized Reed-Solomon code (McEliece & Sarwate, Communications of the ACM 24(9),
1981), and the 7 limbs of a secret are 7 codewords whose errors sit at the same holders: an interleaved code. With R
holders and threshold t there are N = R - t syndromes a limb,

    S_k = sum_i v_i x_i**k y_i,   v_i = 1 / prod_{j != i} (x_i - x_j),   k = 0 .. N-1,

all zero for a polynomial of degree below t. With errors at E they are power sums over E alone, so the locator
L(x) = prod_{i in E} (x - x_i) = sum_j L_j x**j satisfies sum_j L_j S_{k+j} = 0 for every k and every limb. Look for L
with degree at most D, in the rows k < N - D:

* |E| <= N/2, any errors: with D = N/2 there are at least |E| rows a limb, the power sums of |E| distinct points over
  them are independent, and each point errs in some limb, so every solution vanishes on all of E. The solution of
  least degree is L itself. This is unique decoding and cannot be misled.
* errors that are independent in r limbs: the same holds up to |E| <= rN / (r + 1) with D = that bound, except for
  coincidences of probability about 1/p (Bleichenbacher, Kiayias & Yung, ICALP 2003, for random errors). With the 7
  limbs of a share that is 7/8 of the spare shares: all but one of them, up to 8.

Imports numpy and `field`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from secagg import field
from secagg.field import PRIME, Integers

SEARCH_LIMIT: Final = 200_000
"""Most subsets of holders tried one by one; at or below it the search is complete (10 of 20 is, 11 of 22 is not)."""

_BATCH_ELEMENTS = 1 << 18

Mask = npt.NDArray[np.bool_]


def suspects(xs: Integers, values: Integers, threshold: int) -> Iterator[Mask]:
    """Yield sets of holders whose errors would explain the shares, surest first.

    Args:
        xs: the holders' x coordinates, shape (R,).
        values: their shares, shape (R, limbs).
        threshold: t; a share is a value of a polynomial of degree below t.

    Yields:
        Shape (R,), true at the suspects; between 1 and R - t of them.
    """
    spare = len(xs) - threshold
    syndromes = _syndromes(xs, values, spare)
    tried = 0
    for rank in range(1, values.shape[1] + 1):
        degree = rank * spare // (rank + 1)
        if degree > tried:
            tried = degree
            errors = _locate(xs, syndromes, degree)
            if errors is not None:
                yield errors


def subsets(xs: Integers, values: Integers, threshold: int, order: Integers) -> Iterator[tuple[Integers, Integers]]:
    """Try every way to leave out R - t holders, the last of `order` first; none where they exceed SEARCH_LIMIT.

    Leaving holder j out multiplies the weight of every other holder i by (x_j - x_i) / x_j, and its own by zero, so
    the weights of a subset are a product of R - t rows of one table.

    Args:
        xs: the holders' x coordinates, shape (R,).
        values: their shares, shape (R, limbs).
        threshold: t.
        order: indexes of the holders, most trusted first.

    Yields:
        Batches of (indexes left out, shape (B, R - t); the value at zero of the rest, shape (B, limbs)).
    """
    spare = len(xs) - threshold
    if spare == 0 or math.comb(len(xs), spare) > SEARCH_LIMIT:
        return
    everyone = field.lagrange(xs, np.zeros(1, dtype=np.int64)).astype(np.int64)
    leaving = (xs[:, None] - xs) % PRIME * field.invert(xs)[:, None] % PRIME
    combinations = itertools.combinations(order[::-1].tolist(), spare)
    elements = values.astype(np.float64)
    batch = max(1, _BATCH_ELEMENTS // len(xs))
    while chunk := list(itertools.islice(combinations, batch)):
        left_out = np.array(chunk, dtype=np.int64).reshape(len(chunk), spare)
        weights = np.broadcast_to(everyone, (len(chunk), len(xs)))
        for holder in left_out.T:
            weights = weights * leaving[holder] % PRIME
        yield left_out, field.matmul(weights.astype(np.float64), elements).astype(np.int64)


def _syndromes(xs: Integers, values: Integers, spare: int) -> Integers:
    """Syndromes of every limb, shape (spare, limbs)."""
    multipliers = field.invert(field.differences_product(xs, xs)).astype(np.float64)
    checks = field.reduce(field.powers(xs, spare) * multipliers)
    return field.matmul(checks, values.astype(np.float64)).astype(np.int64)


def _locate(xs: Integers, syndromes: Integers, degree: int) -> Mask | None:
    """Find the holders at the roots of the least locator of at most `degree`, or None where there is none."""
    rows = len(syndromes) - degree
    shifted = [syndromes[shift : shift + rows].reshape(-1) for shift in range(degree + 1)]
    locator = _first_dependency(np.stack(shifted, axis=1))
    if locator is None or len(locator) == 1:
        return None
    at_holders = np.zeros_like(xs)
    for coefficient in locator[::-1]:
        at_holders = (at_holders * xs + coefficient) % PRIME
    errors = at_holders == 0
    return errors if np.count_nonzero(errors) == len(locator) - 1 else None


def _first_dependency(matrix: Integers) -> Integers | None:
    """Write the first dependent column by those before it: c with matrix[:, :len(c)] @ c = 0 and c[-1] = 1.

    Gaussian elimination modulo p, column by column, so its work grows with the number of errors, not with the
    number it could locate.
    """
    matrix = matrix.copy()
    for column in range(matrix.shape[1]):
        below = np.flatnonzero(matrix[column:, column])
        if len(below) == 0:
            return _solve_above(matrix[:column, : column + 1])
        pivot = column + int(below[0])
        matrix[[column, pivot]] = matrix[[pivot, column]]
        head = matrix[column, column:] * pow(int(matrix[column, column]), -1, PRIME) % PRIME
        matrix[column, column:] = head
        rest = matrix[column + 1 :, column:]
        rest += (PRIME - rest[:, :1]) * head
        rest %= PRIME
    return None


def _solve_above(triangle: Integers) -> Integers:
    """Kernel vector, last entry 1, of a unit upper triangular matrix with one column more than rows."""
    size = len(triangle)
    solution = np.zeros(size + 1, dtype=np.int64)
    solution[size] = 1
    for row in reversed(range(size)):
        known = triangle[row, row + 1 :] * solution[row + 1 :] % PRIME
        solution[row] = -int(known.sum()) % PRIME
    return solution
