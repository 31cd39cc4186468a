"""Faults name a client and a leg that exist, and do one thing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import FaultError, ProtocolError
from protocols.faults import Fault, FaultKind, check_faults, corrupt, drop, flip, late
from secagg.types import Leg

LEGS: Final = {
    "advertise": Leg.ADVERTISE,
    "share": Leg.SHARE,
    "mask": Leg.MASK,
    "confirm": Leg.CONFIRM,
    "unmask": Leg.UNMASK,
}


@pytest.mark.parametrize(("name", "leg"), LEGS.items())
def test_a_fault_is_a_value(name: str, leg: Leg) -> None:
    assert drop("a", before=name) == Fault(kind=FaultKind.DROP, client="a", leg=leg)
    assert late("a", leg=name) == Fault(kind=FaultKind.LATE, client="a", leg=leg)
    assert corrupt("a", leg=name, bit=9) == Fault(kind=FaultKind.CORRUPT, client="a", leg=leg, bit=9)
    assert corrupt("a", leg=name).bit == 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        drop("a", before=name).leg = Leg.SHARE  # type: ignore[misc]  # that it is frozen is the test


MAKERS: Final[dict[str, Callable[[str], Fault]]] = {
    "drop": lambda leg: drop("a", before=leg),
    "late": lambda leg: late("a", leg=leg),
    "corrupt": lambda leg: corrupt("a", leg=leg),
}


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("leg", ["", "offer", "MASK", "masks", "2"])
def test_a_leg_that_is_none_is_refused_with_those_that_are(maker: Callable[[str], Fault], leg: str) -> None:
    with pytest.raises(FaultError, match=f"advertise, share, mask, confirm, unmask, got {leg!r}"):
        maker(leg)


def test_a_fault_of_nobody_is_refused() -> None:
    check_faults([], [])
    check_faults([drop("a", before="mask"), late("b", leg="share")], ["a", "b", "c"])
    with pytest.raises(FaultError, match="'d', which is not among the 3 clients"):
        check_faults([drop("a", before="mask"), drop("d", before="mask")], ["a", "b", "c"])
    assert issubclass(FaultError, ProtocolError)
    assert issubclass(FaultError, ValueError)


@given(st.binary(min_size=1, max_size=20), st.integers(0, 10_000))
def test_a_flip_changes_one_bit_and_flips_back(data: bytes, bit: int) -> None:
    flipped = flip(data, bit)
    difference = int.from_bytes(data, "little") ^ int.from_bytes(flipped, "little")
    assert difference == 1 << bit % (8 * len(data))
    assert flip(bytearray(flipped), bit) == data
