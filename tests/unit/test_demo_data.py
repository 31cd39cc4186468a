"""The shipped data are what their README says, damaged files are refused, and both tasks learn together."""

from __future__ import annotations

import datetime
import difflib
import hashlib
import importlib.resources
import json
import lzma
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp import l2_norm
from protocols.demo import columns, digits, flights
from protocols.demo.columns import Table, pack, read, unpack
from protocols.demo.supervised import SupervisedTask, split_rows
from protocols.demo.task import DataFileError, DemoError, SettingError, Task
from protocols.demo.training_plain import schedule, train_plain
from secagg.identity import client_id

DATA = importlib.resources.files("protocols.demo") / "data"
FILES = ("flights.xz", "digits.xz")
RANGES = {np.uint8: (0, 255), np.uint16: (0, 65_535), np.int16: (-32_768, 32_767)}


@cache
def table(name: str) -> Table:
    return read(name)


@cache
def flight_task(seed: int = 0) -> SupervisedTask:
    return flights.from_table(table(flights.FILE), seed_data=seed)


@cache
def digit_task(seed: int = 0) -> SupervisedTask:
    return digits.from_table(table(digits.FILE), seed_data=seed)


@pytest.fixture(params=[flight_task, digit_task], ids=["flights", "digits"])
def task(request: pytest.FixtureRequest) -> SupervisedTask:
    made: SupervisedTask = request.param()
    return made


# The format.


@st.composite
def tables(draw: st.DrawFn) -> Table:
    made = {}
    for name in draw(st.lists(st.text(min_size=1, max_size=5), max_size=4, unique=True)):
        dtype, (low, high) = draw(st.sampled_from(list(RANGES.items())))
        made[name] = np.array(draw(st.lists(st.integers(low, high), max_size=9)), dtype=dtype)
    coded = [name for name in made if made[name].size == 0 or 0 <= made[name].min() <= made[name].max() < 9]
    return Table(source=draw(st.text()), columns=made, vocabularies={name: tuple("abcdefghi") for name in coded})


@given(tables())
def test_a_table_comes_back_as_it_was_written(written: Table) -> None:
    back = unpack(pack(written))
    assert (back.source, back.vocabularies) == (written.source, written.vocabularies)
    assert list(back.columns) == list(written.columns)
    for name, column in written.columns.items():
        assert back.columns[name].dtype == column.dtype
        np.testing.assert_array_equal(back.columns[name], column)
        assert not back.columns[name].flags.writeable


def packed_by_hand(header: object, body: bytes = b"", *, magic: bytes = b"secagg demo columns 1\n") -> bytes:
    text = json.dumps(header).encode()
    return lzma.compress(magic + len(text).to_bytes(4, "little") + text + body)


def header(*heads: tuple[str, str, int], **more: object) -> dict[str, object]:
    made = [{"name": name, "dtype": dtype, "length": length} for name, dtype, length in heads]
    return {"source": "", "columns": made, "vocabularies": {}} | more


GOOD = packed_by_hand(header(("a", "u1", 2), ("b", "u2", 1)), b"\1\2\3\4")


def test_a_file_made_by_hand_reads_as_the_format_says() -> None:
    made = unpack(GOOD)
    assert made.columns["a"].tolist() == [1, 2]
    assert made.columns["b"].tolist() == [0x0403]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (b"", "one whole xz stream"),
        (b"not xz at all", "damaged"),
        (GOOD[:-1], "one whole xz stream"),
        (GOOD + b"\0", "one whole xz stream"),
        (GOOD[:30] + bytes([GOOD[30] ^ 1]) + GOOD[31:], "damaged"),
        (lzma.compress(b"secagg"), "begins with"),
        (packed_by_hand(header(), magic=b"secagg demo columns 2\n"), "begins with"),
        (lzma.compress(b"secagg demo columns 1\n\xff\xff\xff\xff{}"), "header"),
        (packed_by_hand([]), "header"),
        (packed_by_hand(header(("a", "f8", 1)), bytes(8)), "header"),
        (packed_by_hand(header(("a", "u1", -1))), "header"),
        (packed_by_hand(header(extra=1)), "header"),
        (packed_by_hand({"source": "", "columns": []}), "header"),
        (packed_by_hand(header(("a", "u1", 2)), b"\1"), "take 2 bytes, the file holds 1"),
        (packed_by_hand(header(("a", "u1", 2)), b"\1\2\3"), "take 2 bytes, the file holds 3"),
        (packed_by_hand(header(("a", "u1", 1), ("a", "u1", 1)), b"\1\2"), "twice"),
        (packed_by_hand(header(("a", "u1", 1), vocabularies={"a": ["x"]}), b"\1"), "leaves its vocabulary of 1"),
        (packed_by_hand(header(("a", "i2", 1), vocabularies={"a": ["x"]}), b"\xff\xff"), "leaves its vocabulary"),
        (packed_by_hand(header(vocabularies={"a": ["x"]})), "no column"),
        (lzma.compress(bytes(columns.MAX_BYTES + 1)), "at most"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused(bad: bytes, says: str) -> None:
    with pytest.raises(DataFileError, match=says):
        unpack(bad)


@pytest.mark.parametrize("column", [np.zeros((2, 2), dtype=np.uint8), np.zeros(2, dtype=np.int64), np.zeros(2)])
def test_a_column_of_another_shape_or_type_is_not_written(column: columns.Column) -> None:
    with pytest.raises(DataFileError, match="column a has"):
        pack(Table(source="", columns={"a": column}, vocabularies={}))


def test_a_missing_file_is_a_data_error_with_the_fix() -> None:
    with pytest.raises(DataFileError, match="reinstall"):
        read("absent.xz")
    assert issubclass(DataFileError, DemoError)


# The shipped files.


@pytest.mark.parametrize("name", FILES)
def test_the_readme_has_the_digest_of_each_file(name: str) -> None:
    content = lzma.decompress((DATA / name).read_bytes())
    row = next(line for line in (DATA / "README.md").read_text("utf-8").splitlines() if line.startswith(f"| `{name}`"))
    assert hashlib.sha256(content).hexdigest() in row


@pytest.mark.parametrize("name", FILES)
def test_files_stay_small_and_name_their_licence(name: str) -> None:
    assert len((DATA / name).read_bytes()) < 1_000_000
    assert "CC" in table(name).source


def test_the_flights_are_those_of_the_package() -> None:
    made = table(flights.FILE)
    delay = made.columns["delay"]
    assert len(delay) == 327_346
    assert int(np.sum(delay > 15)) == 77_630
    assert (int(delay.min()), int(delay.max())) == (-86, 1272)
    sizes = {name: len(words) for name, words in made.vocabularies.items()}
    assert sizes == {"aircraft": 4037, "origin": 3, "destination": 104, "carrier": 16}


def test_the_first_flight_of_the_year_is_there_with_its_weather() -> None:
    made = table(flights.FILE)
    words = {name: np.array(vocabulary) for name, vocabulary in made.vocabularies.items()}
    at = (words["aircraft"][made.columns["aircraft"]] == "N14228") & (made.columns["day"] == 0)
    (row,) = np.flatnonzero(at)
    got = {name: str(words[name][made.columns[name][row]]) for name in ("origin", "destination", "carrier")}
    assert got == {"origin": "EWR", "destination": "IAH", "carrier": "UA"}
    assert (made.columns["hour"][row], made.columns["delay"][row]) == (5, 11)
    newark_at_one = {name: int(made.columns[name][1]) for name in flights._WEATHER_EDGES}
    assert newark_at_one == {
        "humidity": 59,
        "visibility": 100,
        "pressure": 112,
        "wind": 10,
        "rain": 0,
        "temperature": 39,
    }


def test_the_digits_are_those_of_the_package() -> None:
    made = table(digits.FILE)
    assert np.bincount(made.columns["label"]).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    first = made.columns["pixels"].reshape(-1, 8, 8)[0]
    assert first[0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    assert first[7].tolist() == [0, 0, 6, 13, 10, 0, 0, 0]


# Flights as examples.


def test_a_flight_is_one_index_in_each_of_twelve_blocks() -> None:
    made, task = table(flights.FILE), flight_task()
    blocks = flights._blocks(made)
    ends = np.cumsum([block.size for block in blocks])
    features = task.examples.features
    assert features.shape == (327_346, 12)
    assert ends[-1] == task.initial()["weights"].size
    assert (features.min(axis=0) >= ends - [block.size for block in blocks]).all()
    assert (features.max(axis=0) < ends).all()


def test_months_weekdays_and_hours_are_those_of_the_calendar() -> None:
    made = table(flights.FILE)
    hour, month, weekday = (block.codes for block in flights._blocks(made)[:3])
    for row in range(0, 327_346, 5_003):
        date = datetime.date(2013, 1, 1) + datetime.timedelta(days=int(made.columns["day"][row]))
        assert (month[row], weekday[row], hour[row]) == (date.month - 1, date.weekday(), made.columns["hour"][row])


def test_weather_is_read_at_the_origin_in_the_scheduled_hour() -> None:
    made = table(flights.FILE)
    marked = made.columns["rain"].copy()
    marked[:] = 0
    marked[(2 * 365 + 40) * 24 + 17] = 99  # La Guardia, the 41st day, 17 h
    rain = flights._blocks(replace(made, columns={**made.columns, "rain": marked}))[-2]
    wet = np.flatnonzero(rain.codes)
    assert len(wet) > 0
    places = {tuple(int(made.columns[name][row]) for name in ("origin", "day", "hour")) for row in wet}
    assert places == {(2, 40, 17)}
    assert set(rain.codes[wet]) == {5}


def test_a_missing_reading_has_a_bin_of_its_own() -> None:
    block = flights._weather_block(np.array([0, 4, 5, 9, 10, 254, 255], dtype=np.uint8), (5, 10))
    assert block.codes.tolist() == [0, 0, 1, 1, 2, 2, 3]
    assert block.size == 4


def test_labels_say_more_than_fifteen_minutes_late() -> None:
    delay = table(flights.FILE).columns["delay"]
    labels = flight_task().examples.labels
    assert set(labels[delay == 15]) == {0}
    assert set(labels[delay == 16]) == {1}


def test_an_aircraft_holds_its_own_flights_and_all_that_are_not_held_out() -> None:
    made, task = table(flights.FILE), flight_task()
    names = np.array(made.vocabularies["aircraft"])
    counts = np.bincount(made.columns["aircraft"])
    assert set(task.clients) == set(names[counts >= 100].tolist())
    held_out = np.zeros(327_346, dtype=bool)
    held_out[task.examples.held_out] = True
    for client in task.clients[::100]:
        own = np.flatnonzero(names[made.columns["aircraft"]] == client)
        np.testing.assert_array_equal(task.examples.rows_of[client], own[~held_out[own]])


def changed(name: str, change: Callable[[columns.Column], columns.Column]) -> Table:
    made = table(flights.FILE)
    return replace(made, columns={**made.columns, name: change(made.columns[name].copy())})


def last_set_to(value: int) -> Callable[[columns.Column], columns.Column]:
    def change(column: columns.Column) -> columns.Column:
        column[-1] = value
        return column

    return change


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (lambda: table(digits.FILE), "expected"),
        (lambda: replace(table(flights.FILE), vocabularies={}), "expected"),
        (lambda: changed("hour", lambda column: column[1:]), "column hour"),
        (lambda: changed("rain", lambda column: column[1:]), "column rain"),
        (lambda: changed("day", last_set_to(365)), "column day .* leaves 0 to 364"),
        (lambda: changed("hour", last_set_to(24)), "column hour .* leaves 0 to 23"),
    ],
)
def test_a_table_that_is_not_the_flights_is_refused(bad: Callable[[], Table], says: str) -> None:
    with pytest.raises(DataFileError, match=says):
        flights.from_table(bad(), seed_data=0)


def test_a_table_without_a_busy_aircraft_is_refused() -> None:
    with pytest.raises(DataFileError, match="no aircraft"):
        flights.from_table(table(flights.FILE), seed_data=0, min_flights=545)


# Digits as examples.


def test_every_inferred_writer_fills_in_the_same_form() -> None:
    label = table(digits.FILE).columns["label"]
    ends = (*digits.WRITERS[1:], digits.IMAGES)
    forms = ["".join(map(str, label[start:end])) for start, end in zip(digits.WRITERS, ends, strict=True)]
    assert [len(form) for form in forms] == [130, 126, 130, 130, 130, 130, 130, 123, 128, 130, 128, 130, 122, 130]
    for form in forms:
        assert difflib.SequenceMatcher(None, forms[0], form, autojunk=False).ratio() > 0.95
        assert difflib.SequenceMatcher(None, "0123456789" * 3, form[:30], autojunk=False).ratio() > 0.9
        assert form[:2] in {"01", "12"}  # one writer's first zero is not in the data


def test_a_writer_holds_the_images_of_its_form_and_all_that_are_not_held_out() -> None:
    examples = digit_task().examples
    ends = (*digits.WRITERS[1:], digits.IMAGES)
    for (_, rows), start, end in zip(sorted(examples.rows_of.items()), digits.WRITERS, ends, strict=True):
        np.testing.assert_array_equal(rows, np.setdiff1d(np.arange(start, end), examples.held_out))


@pytest.mark.parametrize(
    ("columns_of", "says"),
    [
        (lambda label, pixels: {"label": label}, "expected"),
        (lambda label, pixels: {"label": label[1:], "pixels": pixels}, "expected"),
        (lambda label, pixels: {"label": label, "pixels": pixels[64:]}, "expected"),
        (lambda label, pixels: {"label": label + np.uint8(1), "pixels": pixels}, "column label"),
        (lambda label, pixels: {"label": label, "pixels": pixels + np.uint8(1)}, "column pixels"),
    ],
)
def test_a_table_that_is_not_the_digits_is_refused(
    columns_of: Callable[[columns.Column, columns.Column], dict[str, columns.Column]], says: str
) -> None:
    good = table(digits.FILE).columns
    bad = replace(table(digits.FILE), columns=columns_of(good["label"], good["pixels"]))
    with pytest.raises(DataFileError, match=says):
        digits.from_table(bad, seed_data=0)


# Both as tasks.


def test_a_task_declares_valid_clients_and_settings_that_fit(task: Task) -> None:
    assert list(task.clients) == sorted({client_id(name) for name in task.clients})
    assert task.defaults.lone_sample <= len(task.clients)
    settings = task.defaults
    plan = schedule(task, clients=settings.clients, rounds=settings.rounds, dropout=settings.dropout, seed_data=0)
    assert len(plan) == settings.rounds
    assert task.quality_name in {"AUC", "accuracy"}


def test_a_fifth_is_held_out_and_nobody_trains_on_it(task: SupervisedTask) -> None:
    examples = task.examples
    training = np.concatenate(list(examples.rows_of.values()))
    assert len(examples.held_out) == round(0.2 * len(examples.labels))
    assert len(np.unique(training)) == len(training)
    assert not np.isin(training, examples.held_out).any()


@given(st.integers(0, 400), st.floats(0, 1), st.integers(0, 2**32))
def test_a_split_marks_exactly_its_share(count: int, fraction: float, seed: int) -> None:
    assert split_rows(count, fraction, np.random.default_rng(seed)).sum() == round(fraction * count)


def test_the_split_depends_on_the_data_seed_alone() -> None:
    again = digits.load(seed_data=0)
    np.testing.assert_array_equal(again.examples.held_out, digit_task().examples.held_out)
    assert set(digits.load(seed_data=1).examples.held_out) != set(again.examples.held_out)


def test_loading_the_flights_reads_the_shipped_file() -> None:
    assert flights.load(seed_data=0).clients == flight_task().clients


def test_an_update_is_new_minus_old_within_the_declared_bounds(task: SupervisedTask) -> None:
    model = {name: tensor + 0.01 for name, tensor in task.initial().items()}
    for client in task.clients[:: len(task.clients) // 10]:
        made = task.local_update(client, model)
        rows = task.examples.rows_of[client]
        features, labels = task.examples.features[rows], task.examples.labels[rows]
        trained = task.local.run(task.learner, model, features, labels)
        assert made.weight == len(rows)
        assert 1 <= made.weight <= task.max_weight
        assert l2_norm(made.update) <= task.clip * (1 + 1e-12)
        assert set(made.metrics) == set(task.metric_bounds)
        assert made.metrics["loss"] == task.learner.loss_and_gradient(model, features, labels)[0]
        assert made.metrics["clipped"] == 0.0
        for name, tensor in made.update.items():
            np.testing.assert_array_equal(tensor, trained[name] - model[name])


def test_an_update_beyond_the_clip_is_scaled_onto_it_and_says_so(task: SupervisedTask) -> None:
    client = task.clients[0]
    free = task.local_update(client, task.initial())
    bound = l2_norm(free.update) / 4
    tight = replace(task, clip=bound).local_update(client, task.initial())
    assert tight.metrics["clipped"] == 1.0
    assert l2_norm(tight.update) == pytest.approx(bound, rel=1e-12)
    for name, tensor in tight.update.items():
        np.testing.assert_allclose(tensor, free.update[name] / 4, rtol=1e-9)


def test_a_client_with_more_rows_than_the_largest_weight_is_refused(task: SupervisedTask) -> None:
    most = max(len(rows) for rows in task.examples.rows_of.values())
    assert replace(task, max_weight=most).max_weight == most
    with pytest.raises(DataFileError, match=f"max_weight={most - 1}"):
        replace(task, max_weight=most - 1)


def test_instructions_change_with_whatever_a_client_executes(task: SupervisedTask) -> None:
    other_local = replace(task, local=replace(task.local, steps=task.local.steps + 1))
    other_rate = replace(task, local=replace(task.local, rate=task.local.rate / 2))
    other_clip = replace(task, clip=task.clip * 2)
    lines = {each.instructions for each in (task, other_local, other_rate, other_clip)}
    assert len(lines) == 4
    assert all(line.isascii() and line.isprintable() for line in lines)


def test_a_stranger_has_no_update_and_no_model(task: SupervisedTask) -> None:
    with pytest.raises(SettingError, match="stranger"):
        task.local_update("stranger", task.initial())
    with pytest.raises(SettingError, match="stranger"):
        task.lone("stranger")


@pytest.mark.parametrize("sample", [0, 5000])
def test_a_sample_is_of_the_clients_there_are(task: SupervisedTask, sample: int) -> None:
    with pytest.raises(SettingError, match=f"sample={sample}"):
        task.lone_mean(sample)


def test_the_lone_mean_over_everybody_is_the_mean_of_each() -> None:
    task = digit_task()
    assert task.lone_mean(14) == pytest.approx(np.mean([task.lone(client) for client in task.clients]))


def test_a_task_prints_no_rows(task: SupervisedTask) -> None:
    assert len(repr(task)) < 1000
    assert "array" not in repr(task)


def test_flights_learned_together_beat_an_aircraft_alone_and_come_near_the_pool() -> None:
    task = flight_task()
    together, alone, pooled = task.quality(train_plain(task)), task.lone_mean(20), task.pooled()
    assert together > alone + 0.08
    assert pooled - 0.02 < together < pooled + 0.01
    assert 0.71 < pooled < 0.74


def test_digits_learned_together_beat_a_writer_alone() -> None:
    task = digit_task()
    together, alone, pooled = task.quality(train_plain(task)), task.lone_mean(14), task.pooled()
    assert together > alone + 0.1
    assert pooled > alone + 0.1
    assert together > 0.9
