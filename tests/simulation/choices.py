"""`Choices`: where a schedule takes its decisions from; the one seam between the simulator and whatever drives it.

A seed (a campaign), a list of numbers (a reproduction, a shrinking step), hypothesis or a fuzzer's bytes answer the
same questions. Every answer is noted in `taken`, so a schedule found by any of them is replayed from that list alone.
Zero is the quiet answer to every question: a list of zeros, or an empty one, is a round in which nothing goes wrong.
"""

from __future__ import annotations

import abc
import random
from collections.abc import Sequence
from typing import TypeVar

from hypothesis import strategies as st

Option = TypeVar("Option")

_FLAG_STEPS = 1_000


class Choices(abc.ABC):
    """Answers to questions, each from 0 to n - 1, noted as they are given."""

    def __init__(self) -> None:
        self.taken: list[int] = []

    @abc.abstractmethod
    def _draw(self, count: int, label: str) -> int:
        """An integer from 0 to count - 1; count is at least 2."""

    def choose(self, count: int, label: str) -> int:
        """An integer from 0 to count - 1; where only one is possible, nothing is asked."""
        if count < 2:
            return 0
        value = self._draw(count, label)
        self.taken.append(value)
        return value

    def flag(self, odds: float, label: str) -> bool:
        """True with these odds where answers are uniform; zero answers False."""
        return self.choose(_FLAG_STEPS, label) >= _FLAG_STEPS - round(odds * _FLAG_STEPS)

    def pick(self, options: Sequence[Option], label: str) -> Option:
        """One of the options; zero picks the first."""
        return options[self.choose(len(options), label)]

    def weighted(self, weights: Sequence[int], label: str) -> int:
        """An index, as often as its weight says; zero picks the first that has any."""
        point = self.choose(sum(weights), label)
        for index, weight in enumerate(weights):
            if point < weight:
                return index
            point -= weight
        raise ValueError("weights are not negative and not all zero")

    def some(self, options: Sequence[Option], label: str) -> list[Option]:
        """Any subset, in order; zero picks none."""
        bits = self.choose(1 << len(options), label)
        return [option for index, option in enumerate(options) if bits >> index & 1]

    def bytes(self, count: int, label: str) -> bytes:
        """Any bytes."""
        return bytes(self.choose(256, label) for _ in range(count))


class Seeded(Choices):
    """Answers of a generator with a seed: the same on every machine."""

    def __init__(self, seed: str) -> None:
        super().__init__()
        self._random = random.Random(seed)  # noqa: S311  # test data, nothing secret

    def _draw(self, count: int, label: str) -> int:
        return int(self._random.random() * count)


class Replayed(Choices):
    """Answers from a list, wrapped into range; zeros once it is used up."""

    def __init__(self, answers: Sequence[int]) -> None:
        super().__init__()
        self._answers = iter(answers)

    def _draw(self, count: int, label: str) -> int:
        return next(self._answers, 0) % count


class FromBytes(Choices):
    """Answers from a fuzzer's input, as many bytes each as its range needs; zeros once it is used up."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data = data
        self._read = 0

    def _draw(self, count: int, label: str) -> int:
        size = ((count - 1).bit_length() + 7) // 8
        start, self._read = self._read, self._read + size
        return int.from_bytes(self._data[start : self._read], "little") % count


class Drawn(Choices):
    """Answers of hypothesis, which then shrinks them by its own means."""

    def __init__(self, data: st.DataObject) -> None:
        super().__init__()
        self._data = data

    def _draw(self, count: int, label: str) -> int:
        return self._data.draw(st.integers(0, count - 1), label)
