"""What is summed: slots and their digest, what an encoding refuses and how it names it, and arrays of every kind."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import math
import pickle
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from secagg.errors import ConfigError, InputError, MisuseError
from secagg.fixedpoint import FixedPoint
from secagg.layout import BLOCK, EncodedInput, Layout
from secagg.plan import Plan
from secagg.ring import Ring
from secagg.slot import Slot, SlotKind

RNG = np.random.default_rng(11)
FIXED = FixedPoint(bound=1.0, step=2.0**-19)
UNIT = FixedPoint(bound=1.0, step=0.25)


def layout_of(**tensors: Any) -> Layout:
    return Layout.like(tensors, bound=1.0, step=2.0**-19)


def words_of(layout: Layout, tensors: dict[str, Any], **more: Any) -> list[int]:
    ring = layout.ring_for(1)
    encoded = layout.encode(tensors, ring=ring, **more)
    return [int(value) for value in ring.center(encoded.read(0, layout.length))]


def slot(**fields: Any) -> Slot:
    plain: dict[str, Any] = {
        "kind": SlotKind.TENSOR,
        "name": "w",
        "shape": (2,),
        "dtype": "float32",
        "fixed": FIXED,
    }
    return Slot(**(plain | fields))


# Slots and order.


def test_tensors_come_in_order_of_name_and_then_scalars() -> None:
    example: dict[str, Any] = {"b": np.zeros((2, 3)), "a": np.zeros(4, np.float32)}
    layout = Layout.like(example, bound=1.0, step=0.5, scalars={"z": UNIT, "a": UNIT})
    assert [(s.kind, s.name, s.shape, s.dtype) for s in layout.slots] == [
        ("tensor", "a", (4,), "float32"),
        ("tensor", "b", (2, 3), "float64"),
        ("scalar", "a", (), "float64"),
        ("scalar", "z", (), "float64"),
    ]
    assert layout.offsets == (0, 4, 10, 11, 12)
    assert layout.length == 12
    assert layout.limit == 4


def test_order_of_names_is_that_of_their_utf8_bytes() -> None:
    names = ["\U0001f600", "\uffee", "é", "z", "Z", "a.10", "a.2"]
    layout = Layout.like({name: np.zeros(1) for name in names}, bound=1.0, step=0.5)
    assert [s.name.encode() for s in layout.slots] == sorted(name.encode() for name in names)


def test_refuses_slots_out_of_order_or_twice() -> None:
    first, second, scalar = slot(name="a"), slot(name="b"), slot(kind=SlotKind.SCALAR, shape=(), dtype="float64")
    Layout(slots=(first, second, scalar))
    with pytest.raises(ConfigError, match="lists tensor 'a' twice"):
        Layout(slots=(first, slot(name="a", shape=(9,))))
    for wrong in ((second, first), (scalar, first)):
        with pytest.raises(ConfigError, match="must come before"):
            Layout(slots=wrong)


@pytest.mark.parametrize("tensors", [{}, {"a": np.zeros((0, 3))}])
def test_refuses_a_layout_of_nothing(tensors: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="no coordinate"):
        Layout.like(tensors, bound=1.0, step=0.5)


@pytest.mark.parametrize("name", ["", "a" * 257, "é" * 129, "\ud800", 3, None, b"w"])
def test_refuses_an_unfit_name(name: Any) -> None:
    with pytest.raises(ConfigError, match="a name is a str of 1 to 256 bytes"):
        Layout.like({name: np.zeros(2)}, bound=1.0, step=0.5)
    with pytest.raises(ConfigError, match="a name is a str of 1 to 256 bytes"):
        Layout.like({"a": np.zeros(2)}, bound=1.0, step=0.5, scalars={name: UNIT})


def test_takes_the_longest_name() -> None:
    assert layout_of(**{"é" * 128: np.zeros(2)}).length == 2


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"dtype": "float128"}, "dtype"),
        ({"shape": [2]}, "shape"),
        ({"shape": (-1,)}, "shape"),
        ({"shape": (True,)}, "shape"),
        ({"shape": (2.0,)}, "shape"),
        ({"fixed": 0.5}, "FixedPoint"),
        ({"kind": SlotKind.SCALAR}, "scalar 'w' must have shape"),
    ],
)
def test_refuses_an_unfit_slot(fields: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        slot(**fields)


# The digest.


def test_the_digest_is_that_of_the_documented_bytes() -> None:
    state = hashlib.sha256(b"secagg/v1/hash/layout\0")
    parts = [b"tensor", "é".encode(), struct.pack(">QQ", 2, 3), b"float32", struct.pack(">dd", 1.0, 0.5)]
    parts += [b"scalar", b"w", b"", b"float64", struct.pack(">dd", 1.0, 0.25)]
    for part in parts:
        state.update(len(part).to_bytes(8, "big") + part)
    layout = Layout.like({"é": np.zeros((2, 3), np.float32)}, bound=1.0, step=0.5, scalars={"w": UNIT})
    assert layout.digest == state.digest()


@pytest.mark.parametrize(
    "change",
    [
        {"name": "v"},
        {"shape": (2, 1)},
        {"shape": (3,)},
        {"dtype": "float64"},
        {"dtype": "float16"},
        {"fixed": FixedPoint(bound=math.nextafter(1.0, 2.0), step=FIXED.step)},
        {"fixed": FixedPoint(bound=1.0, step=math.nextafter(FIXED.step, 1.0))},
        {"kind": SlotKind.SCALAR, "shape": (), "dtype": "float64"},
    ],
)
def test_every_field_of_a_slot_flips_the_digest(change: dict[str, Any]) -> None:
    last = slot(name="x")
    base = Layout(slots=(slot(), last))
    changed = tuple(sorted((dataclasses.replace(slot(), **change), last), key=lambda s: s.sort_key))
    assert Layout(slots=changed).digest != base.digest
    assert Layout(slots=(slot(),)).digest != base.digest


def test_kinds_shapes_and_names_do_not_run_into_one_another() -> None:
    square, flat = layout_of(a=np.zeros((2, 2))), layout_of(a=np.zeros(4))
    split, joined = layout_of(a=np.zeros(1), b=np.zeros(1)), layout_of(ab=np.zeros(2))
    vector, scalar = layout_of(a=np.zeros(1)), layout_of(a=np.zeros(()))
    assert len({one.digest for one in (square, flat, split, joined, vector, scalar)}) == 6


def test_the_digest_forgets_what_changes_no_number() -> None:
    plain = {"a": np.zeros((2, 3), "<f4"), "b": np.zeros(2)}
    twin = {"b": np.ones(2), "a": np.asfortranarray(np.ones((2, 3), ">f4"))}
    assert layout_of(**plain).digest == layout_of(**twin).digest


# The ring.


@pytest.mark.parametrize(
    ("clients", "limit", "bits"),
    [(1, 1, 8), (63, 2, 8), (64, 2, 9), (4095, 2**19, 32), (4096, 2**19, 33), (2**11 - 1, 2**52, 64)],
)
def test_the_ring_is_the_smallest_that_holds_the_sum(clients: int, limit: int, bits: int) -> None:
    layout = Layout.like({"a": np.zeros(1)}, bound=1.0, step=1.0 / limit)
    assert layout.limit == limit
    assert layout.ring_for(clients).bits == bits


def test_a_sum_beyond_64_bits_is_refused_with_the_numbers_that_would_do() -> None:
    example, fine = {"a": np.zeros(1)}, 1e-15
    layout = Layout.like(example, bound=3.0, step=fine)
    with pytest.raises(ConfigError, match=r"clients=60000 and step=1e-15 of tensor 'a' need 69 bits") as refusal:
        layout.ring_for(60_000)
    numbers = str(refusal.value).split("take at most ")[1]
    fewer, coarser = int(numbers.split()[0]), float(numbers.split()[-1])
    assert layout.ring_for(fewer).bits == 64
    assert Layout.like(example, bound=3.0, step=coarser).ring_for(60_000).bits == 64
    with pytest.raises(ConfigError):
        layout.ring_for(fewer + 1)


@pytest.mark.parametrize("clients", [0, -1, 65_537, 2.0, True, "3"])
def test_refuses_an_unfit_number_of_clients(clients: Any) -> None:
    with pytest.raises(ConfigError, match="clients="):
        layout_of(a=np.zeros(1)).ring_for(clients)


def test_the_ring_of_a_plan_is_that_of_its_clients() -> None:
    layout = layout_of(a=np.zeros(1))
    plan = Plan.find(clients=20, max_dropped=3, max_corrupt=4)
    assert layout.ring(plan) == layout.ring_for(20)


def test_a_ring_too_small_for_one_input_is_refused() -> None:
    layout = layout_of(a=np.zeros(1))
    layout.encode({"a": np.zeros(1)}, ring=Ring(21))
    with pytest.raises(ConfigError, match="20 bits cannot hold"):
        layout.encode({"a": np.zeros(1)}, ring=Ring(20))


# Encoding: examples.


def test_words_are_the_rounded_multiples_in_c_order() -> None:
    tensors = {"b": np.array([[0.25, 0.5], [-0.75, 1.0]]), "a": np.array(-0.25)}
    layout = Layout.like(tensors, bound=1.0, step=0.25, scalars={"w": UNIT})
    assert words_of(layout, tensors, scalars={"w": -0.5}) == [-1, 1, 2, -3, 4, -2]
    assert words_of(layout, tensors, scalars={"w": -0.5}, scale=0.5) == [0, 0, 1, -2, 2, -2]


def test_reads_of_any_range_agree_across_slots_and_blocks() -> None:
    tensors = {
        "a": RNG.uniform(-1, 1, 5),
        "b": np.zeros((0, 4)),
        "c": np.asfortranarray(RNG.uniform(-1, 1, (3, BLOCK // 2))),
        "d": np.array(0.5),
        "e": RNG.uniform(-1, 1, BLOCK + 1).astype(np.float32),
        "f": np.zeros(0),
    }
    layout, ring = layout_of(**tensors), Ring(32)
    encoded = layout.encode(tensors, ring=ring)
    whole = encoded.read(0, layout.length)
    flat = np.concatenate([tensors[name].astype(np.float64).reshape(-1) for name in sorted(tensors)])
    assert (ring.center(whole) == np.rint(flat * 2**19)).all()
    edges = sorted({0, 4, 5, 6, BLOCK, layout.length - 1, layout.length, *layout.offsets})
    for start in edges:
        for stop in (edge for edge in edges if edge >= start):
            part = encoded.read(start, stop)
            assert part.dtype == ring.word
            assert part.tobytes() == whole[start:stop].tobytes()


@pytest.mark.parametrize(
    ("bits", "step"), [(20, 2.0**-18), (31, 2.0**-29), (32, 2.0**-30), (33, 2.0**-31), (64, 2.0**-50)]
)
def test_words_of_every_width_are_the_integers_modulo_the_ring(bits: int, step: float) -> None:
    tensors = {"a": np.array([1.0, -1.0, 0.75, -step, step, 0.0])}
    encoded = Layout.like(tensors, bound=1.0, step=step).encode(tensors, ring=Ring(bits))
    words = encoded.read(0, 6)
    assert words.dtype == Ring(bits).word
    assert words.tolist() == [round(x / step) % 2**bits for x in tensors["a"].tolist()]


def test_an_input_of_a_ring_that_would_wrap_it_is_not_made_by_hand_either() -> None:
    array = np.ones(3)
    with pytest.raises(ConfigError, match="20 bits cannot hold"):
        EncodedInput(layout=layout_of(a=array), arrays=(array,), scales=(1.0,), ring=Ring(20))


def test_every_read_is_a_fresh_writable_array() -> None:
    tensors = {"a": np.ones(3)}
    encoded = layout_of(**tensors).encode(tensors, ring=Ring(32))
    encoded.read(0, 3)[:] = 7
    assert encoded.read(0, 3).tolist() == [2**19] * 3


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (2, 1), (0, 4), (4, 4)])
def test_refuses_to_read_outside(start: int, stop: int) -> None:
    encoded = layout_of(a=np.ones(3)).encode({"a": np.ones(3)}, ring=Ring(32))
    with pytest.raises(ConfigError, match="cannot read words"):
        encoded.read(start, stop)


@pytest.mark.parametrize("order", ["C", "F"])
def test_no_whole_copy_is_made(order: Literal["C", "F"]) -> None:
    tensors = {"a": np.zeros((16, BLOCK), order=order)}
    layout = layout_of(**tensors)
    tracemalloc.start()
    try:
        layout.encode(tensors, ring=Ring(32)).read(BLOCK, 2 * BLOCK)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < tensors["a"].nbytes / 2


# Encoding: arrays of every kind.


EXOTIC: dict[str, Callable[[Any], Any]] = {
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "Fortran": np.asfortranarray,
    "reversed": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    "strided": lambda a: np.repeat(np.repeat(a, 2, 0), 3, 1)[::2, ::3],
    "transposed": lambda a: a.T.copy().T,
    "unaligned": lambda a: np.frombuffer(b"x" + a.tobytes(), a.dtype, offset=1).reshape(a.shape),
    "broadcast": lambda a: np.broadcast_to(a, a.shape),
    "memory-mapped": lambda a: a.view(np.memmap),
}


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8"])
@pytest.mark.parametrize("kind", EXOTIC)
def test_memory_layout_changes_nothing_and_nothing_is_changed(kind: str, dtype: str) -> None:
    plain = RNG.uniform(-1, 1, (6, 5)).astype(dtype)
    twin = EXOTIC[kind](plain)
    twin.flags.writeable = False
    before = twin.tobytes()
    layout = layout_of(a=plain)
    assert layout_of(a=twin).digest == layout.digest
    assert words_of(layout, {"a": twin}) == words_of(layout, {"a": plain})
    assert twin.tobytes() == before


@pytest.mark.parametrize("value", [np.float64(0.5), np.array(0.5), np.array(0.5, dtype=">f8")])
def test_numpy_scalars_are_arrays_of_shape_nothing(value: Any) -> None:
    layout = layout_of(a=value)
    assert layout.slots[0].shape == ()
    assert words_of(layout, {"a": value}) == [2**18]


def test_a_file_mapped_to_memory_is_an_array(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full(4, 0.5))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert words_of(layout_of(a=np.zeros(4)), {"a": mapped}) == [2**18] * 4


class Subclass(np.ndarray):
    """An ndarray that could mean anything by shape and order."""


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (np.zeros(2, np.int64), "dtype int64"),
        (np.zeros(2, bool), "dtype bool"),
        (np.zeros(2, complex), "dtype complex128"),
        (np.zeros(2, object), "dtype object"),
        (np.zeros(2, "U3"), "dtype <U3"),
        (np.zeros(2, "S3"), r"dtype \|S3"),
        (np.zeros(2, "M8[s]"), "dtype datetime64"),
        (np.zeros(2, [("x", "f8")]), "dtype"),
        (np.zeros(2, np.longdouble), "dtype"),
        (np.int64(3), "is of type int64: pass a numpy array"),
        (np.ma.masked_array(np.zeros(2), [True, False]), "masked array"),
        (np.zeros((1, 2)).view(np.matrix), "is of type matrix: pass a plain numpy array"),
        (np.zeros(2).view(Subclass), "is of type Subclass: pass a plain numpy array"),
        (np.rec.array([(1.0,)], dtype=[("x", "f8")]), "recarray"),
        ([0.0, 0.0], "is of type list: pass a numpy array"),
        (0.5, "is of type float: pass a numpy array"),
        (None, "is of type NoneType: pass a numpy array"),
        (memoryview(b"12345678"), "is of type memoryview: pass a numpy array"),
    ],
)
def test_refuses_by_name_what_is_no_array_of_floats(value: Any, match: str) -> None:
    layout = layout_of(fine=np.zeros(2), layer=np.zeros(2))
    with pytest.raises(InputError, match=rf"tensor 'layer' .*{match}|tensor 'layer' {match}"):
        layout.encode({"fine": np.zeros(2), "layer": value}, ring=Ring(32))
    with pytest.raises(InputError, match="tensor 'layer'"):
        layout_of(layer=value)


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (np.zeros(3), r"has shape \(3,\), the layout has \(2,\)"),
        (np.zeros((2, 1)), r"has shape \(2, 1\)"),
        (np.zeros(()), r"has shape \(\)"),
        (np.zeros(2, np.float32), "has dtype float32, the layout has float64"),
        (np.array([0.0, math.nan]), "holds NaN or an infinity"),
        (np.array([math.inf, 0.0]), "holds NaN or an infinity"),
        (np.array([0.0, -1.1]), r"beyond its bound of 1\.0"),
        (np.array([0.0, 1e300]), r"beyond its bound of 1\.0"),
    ],
)
def test_refuses_by_name_what_does_not_fit(value: Any, match: str) -> None:
    layout = layout_of(fine=np.zeros(2), layer=np.zeros(2))
    tensors = {"fine": np.zeros(2), "layer": value}
    with pytest.raises(InputError, match=f"tensor 'layer' .*{match}"):
        layout.encode(tensors, ring=Ring(32))
    if match.startswith("has"):
        with pytest.raises(InputError, match=f"tensor 'layer' {match}"):
            layout.check(tensors)


def test_an_infinity_is_refused_even_at_scale_zero() -> None:
    layout = layout_of(a=np.zeros(2))
    with pytest.raises(InputError, match="NaN or an infinity"):
        layout.encode({"a": np.array([math.inf, 0.0])}, scale=0.0, ring=Ring(32))


def test_a_signaling_nan_is_refused_without_a_warning() -> None:
    signaling = np.array([0x7FA00000], dtype=np.uint32).view(np.float32)
    with pytest.raises(InputError, match="NaN"):
        layout_of(a=signaling).encode({"a": signaling}, ring=Ring(32))


def test_a_fault_in_the_last_coordinate_is_found_before_anything_is_read() -> None:
    values = np.zeros(2 * BLOCK + 1)
    values[-1] = math.nan
    with pytest.raises(InputError, match="tensor 'a' holds NaN"):
        layout_of(a=values).encode({"a": values}, ring=Ring(32))


def test_names_missing_and_unknown_names() -> None:
    layout = layout_of(a=np.zeros(1), b=np.zeros(1))
    with pytest.raises(InputError, match="tensors differ from the layout: missing 'b'; unknown 'c'"):
        layout.encode({"a": np.zeros(1), "c": np.zeros(1)}, ring=Ring(32))
    many = {"a": np.zeros(1), "b": np.zeros(1)} | {f"x{i}": np.zeros(1) for i in range(9)}
    with pytest.raises(InputError, match="unknown 'x0', 'x1', 'x2', 'x3', 'x4' and 4 more"):
        layout.encode(many, ring=Ring(32))
    with pytest.raises(InputError, match="tensors is of type list: pass a mapping"):
        layout.encode([np.zeros(1)], ring=Ring(32))  # type: ignore[arg-type]  # what a hasty caller passes
    with pytest.raises(InputError, match="tensors is of type list: pass a mapping"):
        Layout.like([np.zeros(1)], bound=1.0, step=0.5)  # type: ignore[arg-type]  # the same


@pytest.mark.parametrize("scale", [-0.1, 1.1, math.nan, math.inf])
def test_refuses_a_scale_that_could_enlarge(scale: float) -> None:
    with pytest.raises(ConfigError, match="scale="):
        layout_of(a=np.zeros(1)).encode({"a": np.zeros(1)}, scale=scale, ring=Ring(32))


@pytest.mark.parametrize(
    ("scalars", "match"),
    [
        ({}, "scalars differ from the layout: missing 'n'"),
        ({"n": 0.5, "m": 0.5}, "unknown 'm'"),
        ({"n": "0.5"}, "scalar 'n' is of type str: pass a float"),
        ({"n": True}, "scalar 'n' is of type bool"),
        ({"n": np.zeros(1)}, "scalar 'n' is of type ndarray"),
        ({"n": math.nan}, "scalar 'n' holds NaN"),
        ({"n": 1.2}, "scalar 'n' holds a number beyond its bound"),
        ({"n": 10**400}, "scalar 'n' holds NaN or an infinity"),
    ],
)
def test_refuses_unfit_scalars(scalars: dict[str, Any], match: str) -> None:
    layout = Layout.like({"a": np.zeros(1)}, bound=1.0, step=0.5, scalars={"n": UNIT})
    with pytest.raises(InputError, match=match):
        layout.encode({"a": np.zeros(1)}, scalars, ring=Ring(32))


@pytest.mark.parametrize("number", [1, 1.0, np.float32(1.0), np.int64(1)])
def test_takes_any_real_number_for_a_scalar(number: Any) -> None:
    layout = Layout.like({"a": np.zeros(1)}, bound=1.0, step=0.5, scalars={"n": UNIT})
    assert words_of(layout, {"a": np.zeros(1)}, scalars={"n": number}) == [0, 4]


# What the caller does between encode and read.


def changed(act: Callable[[Any], Any]) -> EncodedInput:
    values = np.zeros((2, 3))
    encoded = layout_of(layer=values).encode({"layer": values}, ring=Ring(32))
    act(values)
    return encoded


@pytest.mark.parametrize("number", [math.nan, math.inf, 1.5, -1e12])
def test_a_number_changed_after_encode_cannot_wrap(number: float) -> None:
    encoded = changed(lambda values: values.fill(number))
    with pytest.raises(InputError, match="tensor 'layer' holds"):
        encoded.read(0, 6)


def test_an_array_turned_into_another_after_encode_is_refused() -> None:
    encoded = changed(lambda values: values.resize((1, 2), refcheck=False))
    with pytest.raises(InputError, match=r"tensor 'layer' has shape \(1, 2\)"):
        encoded.read(0, 6)


def test_a_mapping_changed_after_encode_does_not_matter() -> None:
    tensors = {"a": np.ones(2)}
    encoded = layout_of(**tensors).encode(tensors, ring=Ring(32))
    tensors.clear()
    assert encoded.read(0, 2).tolist() == [2**19] * 2


# It is a secret.


def test_an_input_shows_its_length_only() -> None:
    encoded = layout_of(a=np.full(3, 0.123)).encode({"a": np.full(3, 0.123)}, ring=Ring(32))
    assert repr(encoded) == str(encoded) == "<EncodedInput of 3 words>"
    for leave in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(MisuseError, match="never pickled or copied"):
            leave(encoded)


# Decoding.


def test_decodes_a_sum_into_the_callers_shapes() -> None:
    example = {"b": np.zeros((2, 2), ">f4"), "a": np.zeros(()), "e": np.zeros((0, 3))}
    layout = Layout.like(example, bound=1.0, step=0.5, scalars={"n": UNIT})
    tensors, scalars = layout.decode(np.array([9, 1, -2, 3, -4, 5], dtype=np.int64))
    assert {name: array.tolist() for name, array in tensors.items()} == {"a": 4.5, "b": [[0.5, -1], [1.5, -2]], "e": []}
    assert all(type(array) is np.ndarray and array.dtype == np.float64 for array in tensors.values())
    assert tensors["e"].shape == (0, 3)
    assert scalars == {"n": 1.25}


@pytest.mark.parametrize("values", [np.zeros(2, np.int64), np.zeros((1, 1), np.int64), np.zeros(1), [0]])
def test_refuses_to_decode_another_length_or_dtype(values: Any) -> None:
    with pytest.raises(InputError, match=r"int64 array of shape \(1,\)"):
        layout_of(a=np.zeros(1)).decode(values)
