"""The demonstration over masked sums: exact books, the models bound, and a picture that shows what it is given."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from protocols.demo import digits, picture
from protocols.demo.live import LiveScreen
from protocols.demo.outcome import MAX_ROUNDS, Glimpse, Outcome, RoundRecord, Settings
from protocols.demo.picture import ASCII, BLOCKS, Glyphs
from protocols.demo.secure import Federation, ServerView, instructions
from protocols.demo.show import PlainScreen, Section, human_bytes, opening, report, round_line
from protocols.demo.supervised import SupervisedTask
from protocols.demo.task import LocalUpdate, Model, SettingError
from protocols.demo.training_plain import ScheduledRound, plain_mean, train
from protocols.simulate import LegReport, RoundReport
from protocols.total import Total
from protocols.training import PrivateRounds
from secagg import Adversary, ConfigError, Leg, Ring, RoundAborted, cost

SETTINGS = Settings(
    clients=9,
    rounds=3,
    dropout=0.3,
    max_dropped=0.3,
    max_corrupt=0.1,
    adversary=Adversary.ACTIVE,
    seed_data=0,
)


@cache
def task() -> SupervisedTask:
    return digits.load()


@dataclass
class Spy:
    """A screen that only writes down what it is told."""

    told: list[str] = field(default_factory=list)
    records: list[RoundRecord] = field(default_factory=list)

    def opened(self, federation: Federation) -> None:
        self.told.append("opened")

    def leg(self, scheduled: ScheduledRound, report: LegReport) -> None:
        self.told.append(f"{scheduled.number} {report.leg.name.lower()}")

    def round(self, record: RoundRecord) -> None:
        self.told.append(f"{record.scheduled.number} over")
        self.records.append(record)

    def comparing(self, what: str) -> None:
        self.told.append(what)


@cache
def ran(**changes: Any) -> tuple[Federation, Outcome, Spy]:
    federation, spy = Federation(task(), replace(SETTINGS, **changes)), Spy()
    return federation, federation.run(spy), spy


def run_that_aborts() -> tuple[Federation, Outcome, Spy]:
    """More drop out than the plan allows: rounds whose drop-outs all left before their input end without a sum."""
    return ran(clients=12, rounds=8, max_dropped=0.2)


# The books.


@pytest.mark.parametrize("adversary", list(Adversary))
def test_a_round_loses_exactly_the_clients_that_the_schedule_drops(adversary: Adversary) -> None:
    federation, outcome, _ = ran(adversary=adversary)
    assert [record.scheduled for record in outcome.records] == list(federation.scheduled)
    for record in outcome.records:
        assert record.aborted is None
        assert record.survivors == record.scheduled.survivors
        assert sum(leg.asked - leg.answered for leg in record.legs) == len(record.scheduled.dropping) == 3
        assert record.dropped_before_input == 9 - len(record.scheduled.survivors)
    assert outcome.dropped_total == 3 * 3
    assert outcome.dropped_before_input == sum(
        leg != "unmask" for r in federation.scheduled for leg in r.dropping.values()
    )
    assert 0 < outcome.dropped_before_input < outcome.dropped_total
    assert outcome.rounds_aborted == 0


@pytest.mark.parametrize("adversary", list(Adversary))
def test_masked_training_is_plain_training_up_to_rounding(adversary: Adversary) -> None:
    federation, outcome, _ = ran(adversary=adversary)
    assert 0.0 < outcome.difference <= outcome.step < 1e-4
    assert outcome.federated == pytest.approx(outcome.plain_sum, abs=2 / 360)
    assert outcome.records[-1].quality == outcome.federated > 0.7
    last = task().initial()
    for state in train(task(), federation.scheduled, plain_mean, momentum=task().defaults.momentum):
        last = state.model
    assert outcome.plain_sum == task().quality(last)
    assert outcome.pooled == task().pooled()
    assert outcome.lone_mean == task().lone_mean(14)


def test_a_client_that_stays_sends_and_is_sent_exactly_the_bytes_foretold() -> None:
    federation, outcome, _ = ran(rounds=1, dropout=0.0)
    price = cost.of(
        federation.plan,
        length=federation.recipe.length,
        ring_bits=federation.ring.bits,
        name_size=len("writer-01"),
    )
    assert outcome.uplink_bytes_per_client == price.uplink_bytes
    assert outcome.downlink_bytes_per_client == price.downlink_bytes
    assert outcome.records[0].uplink_bytes == price.server_uplink_bytes
    assert outcome.records[0].downlink_bytes == price.server_downlink_bytes
    assert outcome.dropped_total == outcome.dropped_before_input == 0


def test_bytes_per_client_are_the_mean_of_those_that_stayed(monkeypatch: pytest.MonkeyPatch) -> None:
    reports: list[RoundReport] = []
    masked_sum = PrivateRounds.sum

    def summing(self: PrivateRounds, *args: Any, **kwargs: Any) -> Total:
        total = masked_sum(self, *args, **kwargs)
        assert self.last is not None
        reports.append(self.last)
        return total

    monkeypatch.setattr(PrivateRounds, "sum", summing)
    federation = Federation(task(), SETTINGS)
    outcome = federation.run(Spy())
    stayed = [
        (report.uplink[client], report.downlink[client])
        for report, scheduled in zip(reports, federation.scheduled, strict=True)
        for client in scheduled.invited
        if client not in scheduled.dropping
    ]
    assert len(stayed) == 3 * 6
    up, down = zip(*stayed, strict=True)
    assert outcome.uplink_bytes_per_client == sum(up) / 18
    assert outcome.downlink_bytes_per_client == sum(down) / 18


def test_the_screen_hears_of_every_leg_in_order() -> None:
    _, _, spy = ran()
    legs = ("advertise", "share", "mask", "confirm", "unmask", "over")
    rounds = [f"{number} {leg}" for number in (1, 2, 3) for leg in legs]
    assert spy.told[:1] + rounds == spy.told[: 1 + len(rounds)]
    assert spy.told[1 + len(rounds) :] == [
        "the same schedule with plain sums",
        "all rows in one place",
        "14 clients alone",
    ]


# Rounds that abort.


def test_a_round_that_aborts_is_skipped_in_both_trainings() -> None:
    _, outcome, spy = run_that_aborts()
    aborted = [record for record in outcome.records if record.aborted is not None]
    assert 0 < len(aborted) == outcome.rounds_aborted < len(outcome.records) == len(spy.records)
    for record in aborted:
        assert record.survivors == ()
        assert (record.difference, record.step) == (0.0, 0.0)
        assert len(record.scheduled.survivors) < 12 - 3
    assert all(len(record.survivors) >= 12 - 3 for record in outcome.records if record.aborted is None)
    assert outcome.federated == pytest.approx(outcome.plain_sum, abs=2 / 360)
    assert outcome.dropped_total == 8 * 4
    assert outcome.dropped_before_input == sum(12 - len(r.survivors) for r in outcome.records if r.survivors)


def test_a_first_round_that_aborts_leaves_the_model_where_it_was() -> None:
    _, outcome, _ = ran(rounds=1, max_dropped=0.0)
    assert isinstance(outcome.records[0].aborted, RoundAborted)
    assert outcome.federated == outcome.plain_sum == task().quality(task().initial())
    assert outcome.uplink_bytes_per_client is outcome.downlink_bytes_per_client is None
    assert outcome.glimpse is None
    assert outcome.mean_norm is None


def test_a_client_that_dropped_out_or_whose_round_aborted_is_invited_again() -> None:
    # All fourteen writers are in every round, so whoever dropped out of one is back in the next.
    federation, outcome, _ = ran(clients=14, rounds=4, max_dropped=0.2, dropout=0.3)
    again = set(federation.scheduled[0].dropping) - set(federation.scheduled[1].dropping)
    assert again <= set(outcome.records[1].survivors) or outcome.records[1].aborted is not None
    assert {record.aborted is None for record in outcome.records} == {True, False}


# What every client executes.


def test_every_round_binds_its_clients_to_the_model_they_train(monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[Model] = []
    bound: list[bytes] = []
    local_update, masked_sum = SupervisedTask.local_update, PrivateRounds.sum

    def training(self: SupervisedTask, client: str, model: Model) -> LocalUpdate:
        trained.append(model)
        return local_update(self, client, model)

    def summing(self: PrivateRounds, *args: Any, **kwargs: Any) -> Total:
        bound.append(kwargs["instructions"])
        assert bound[-1] == instructions(task(), trained[-1])
        return masked_sum(self, *args, **kwargs)

    monkeypatch.setattr(SupervisedTask, "local_update", training)
    monkeypatch.setattr(PrivateRounds, "sum", summing)
    Federation(task(), SETTINGS).run(Spy())
    assert len(bound) == len(set(bound)) == 3
    assert bound[0] == instructions(task(), task().initial())


CHANGES: dict[str, Callable[[dict[str, Any]], Mapping[str, Any]]] = {
    "a number": lambda model: model | {"weights": model["weights"] + 1e-12},
    "a shape": lambda model: model | {"weights": model["weights"].reshape(10, 64)},
    "a name": lambda model: {"bias": model["bias"], "weight": model["weights"]},
    "one tensor more": lambda model: model | {"zero": np.zeros(0)},
}


@pytest.mark.parametrize("change", CHANGES)
def test_instructions_differ_wherever_the_model_does(change: str) -> None:
    model = dict(task().initial())
    assert instructions(task(), CHANGES[change](model)) != instructions(task(), model)


def test_instructions_are_canonical_and_hold_the_training() -> None:
    model = task().initial()
    backwards = {name: np.asfortranarray(model[name]) for name in reversed(list(model))}
    written = instructions(task(), model)
    assert instructions(task(), backwards) == written
    assert task().instructions.encode() in written
    assert instructions(replace(task(), clip=2.0), model) != written


# What the server saw.


def test_the_server_saw_every_masked_word_and_no_update() -> None:
    federation, outcome, _ = ran()
    glimpse = outcome.glimpse
    assert glimpse is not None
    assert glimpse.number == 3
    assert glimpse.client in outcome.records[-1].survivors
    assert int(outcome.parts.sum()) == federation.recipe.length * sum(len(r.survivors) for r in outcome.records)
    own = federation.ring.lift(glimpse.update)
    assert np.mean(own == glimpse.received) < 0.01
    assert picture.chi_square(picture.count_parts(own, federation.ring)) > 1000


def test_the_glimpse_is_of_a_client_that_stayed() -> None:
    scheduled = Federation(task(), replace(SETTINGS, rounds=20)).scheduled
    late = next(each for each in scheduled if each.dropping.get(each.survivors[0]) == "unmask")
    _, outcome, _ = ran(rounds=late.number)
    assert outcome.glimpse is not None
    assert outcome.glimpse.number == late.number
    assert outcome.glimpse.client not in late.dropping


def test_the_glimpse_is_the_clients_own_input() -> None:
    federation, outcome, _ = ran(rounds=1)
    glimpse = outcome.glimpse
    assert glimpse is not None
    own = task().local_update(glimpse.client, task().initial())
    decoded = federation.recipe.layout.decode(glimpse.update)
    for name, tensor in own.update.items():
        np.testing.assert_allclose(decoded.tensors[name], tensor * own.weight / task().max_weight, atol=1e-5)
    assert decoded.scalars["weight"] * task().max_weight == pytest.approx(own.weight, abs=1e-3)


def test_the_view_counts_an_input_when_its_last_chunk_is_in(monkeypatch: pytest.MonkeyPatch) -> None:
    class Opened:
        def __init__(self, message: bytes, **_: int) -> None:
            self.tail = message

    monkeypatch.setattr("protocols.demo.secure.open_envelope", Opened)
    ring, words = Ring(20), np.arange(0, 16 << 16, 1 << 16, dtype=np.uint32)
    view, packed = ServerView(ring, 16), ring.pack(words)
    view.tap("a", Leg.SHARE, packed)
    view.tap("a", Leg.MASK, packed[:25])
    view.tap("b", Leg.MASK, packed[:10])
    assert int(view.parts.sum()) == 0
    view.tap("a", Leg.MASK, packed[25:])
    assert view.parts.tolist() == [1] * 16
    np.testing.assert_array_equal(view.words("a"), words)
    view.begin()
    view.tap("a", Leg.MASK, packed)
    assert view.parts.tolist() == [2] * 16


# Settings.


@pytest.mark.parametrize(
    ("bad", "names"),
    [
        ({"rounds": 0}, "rounds=0 must be 1 to 1000"),
        ({"rounds": MAX_ROUNDS + 1}, "rounds=1001 must be 1 to 1000"),
        ({"max_dropped": -0.1}, "max_dropped=-0.1"),
        ({"max_dropped": math.nan}, "max_dropped=nan"),
        ({"max_corrupt": 1.0}, "max_corrupt=1.0 must be a fraction"),
        ({"clients": 15}, "clients=15 must be 1 to 14"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"seed_data": -1}, "seed_data=-1"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(bad: dict[str, Any], names: str) -> None:
    with pytest.raises(SettingError, match=names):
        Federation(task(), replace(SETTINGS, **bad))


def test_a_plan_that_no_client_takes_part_in_is_refused_before_it_aborts_every_round() -> None:
    for clients, max_dropped, fix in ((2, 0.0, "raise clients to 3"), (4, 0.5, "lower max_dropped to 1")):
        lonely = replace(
            SETTINGS,
            clients=clients,
            dropout=0.0,
            max_dropped=max_dropped,
            max_corrupt=0.0,
            adversary=Adversary.SEMI_HONEST,
        )
        with pytest.raises(ConfigError, match=rf"shrink to 2 clients, .* under 3: {fix}"):
            Federation(task(), lonely)


# The picture.


def glimpse_of(update: Sequence[int], received: Sequence[int], *, bits: int = 20, client: str = "a") -> Glimpse:
    ring = Ring(bits)
    return Glimpse(
        number=7,
        client=client,
        ring=ring,
        update=np.array(update, dtype=np.int64),
        received=np.array(received, dtype=ring.word),
    )


@given(st.integers(8, 64), st.data())
def test_words_are_counted_by_the_sixteenth_of_the_ring_they_lie_in(bits: int, data: st.DataObject) -> None:
    ring = Ring(bits)
    words = data.draw(st.lists(st.integers(0, ring.modulus - 1), max_size=20))
    counted = picture.count_parts(np.array(words, dtype=ring.word), ring)
    expected = [0] * 16
    for word in words:
        expected[(word + ring.modulus // 2) % ring.modulus * 16 // ring.modulus] += 1
    assert counted.tolist() == expected


def test_chi_square_is_pearsons_statistic() -> None:
    assert picture.chi_square(np.array([5, 5, 5, 5])) == 0.0
    assert picture.chi_square(np.array([8, 2])) == pytest.approx(3.6)
    with pytest.raises(SettingError, match="chi-square"):
        picture.chi_square(np.zeros(16, dtype=np.int64))


def test_uniform_words_give_what_the_report_says_they_do() -> None:
    rng = np.random.default_rng(3)  # non-secret test data
    statistics = [
        picture.chi_square(picture.count_parts(rng.integers(0, 1 << 26, 2000, dtype=np.uint32), Ring(26)))
        for _ in range(400)
    ]
    assert np.mean(statistics) == pytest.approx(15, abs=1)
    assert np.std(statistics) == pytest.approx(np.sqrt(30), abs=0.8)


def test_an_update_is_shaded_by_magnitude_and_words_by_place() -> None:
    seen = glimpse_of([0, 10, -20, -40, *([40] * 20)], [0, 1 << 18, 1 << 19, 3 << 18, *([(1 << 20) - 1] * 20)])
    assert picture.update_shades(seen).tolist() == [0.0, 0.25, 0.5, 1.0, *([1.0] * 20)]
    assert picture.received_shades(seen)[:4].tolist() == [0.0, 0.25, 0.5, 0.75]
    assert float(picture.received_shades(seen).max()) < 1.0


def test_the_largest_twentieth_of_an_update_is_black_and_the_rest_is_in_proportion() -> None:
    update = [*range(101), 10_000]
    shades = picture.update_shades(glimpse_of(update, update))
    cut = float(np.quantile(update, 0.95))
    assert shades[50] == pytest.approx(50 / cut)
    assert shades[shades == 1.0].size == 6
    assert not picture.update_shades(glimpse_of([0] * 40, [0] * 40)).any()


def test_a_strip_is_one_character_a_coordinate() -> None:
    lines = picture.strip(np.array([0.0, 0.19, 0.2, 0.5, 0.99, 1.0, 0.7]), BLOCKS, width=3)
    assert lines == ["  ░", "▒██", "▓"]
    assert picture.histogram(np.array([0, 1, 7, 14]), Glyphs(shades=" #", bars="01234567")) == "0037"
    assert picture.histogram(np.array([0, 0]), ASCII) == "__"


@pytest.mark.parametrize(
    ("encoding", "glyphs"), [("utf-8", BLOCKS), ("ascii", ASCII), ("latin-1", ASCII), (None, ASCII), ("no-such", ASCII)]
)
def test_blocks_are_drawn_only_where_the_terminal_has_them(encoding: str | None, glyphs: Glyphs) -> None:
    assert picture.glyphs_for(encoding) is glyphs
    assert len(ASCII.shades) == len(BLOCKS.shades)
    assert len(ASCII.bars) == len(BLOCKS.bars)
    assert (ASCII.shades + ASCII.bars).isascii()


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_image_has_a_square_a_coordinate_and_escapes_names() -> None:
    update = list(range(300))
    parsed = Elements()
    parsed.feed(picture.svg(glimpse_of(update, update, client="<b>&")))
    squares = [attrs for tag, attrs in parsed.seen if tag == "rect"]
    assert len(squares) == 1 + 2 * 300
    assert {tag for tag, _ in parsed.seen} == {"svg", "rect", "text"}
    assert "what <b>& trained in round 7" in parsed.text
    width, height = (int(str(squares[0][name])) for name in ("width", "height"))
    for square in squares[1:]:
        assert 0 <= int(str(square["x"])) <= width - 6
        assert 0 <= int(str(square["y"])) <= height - 6


# What is said.


def text_of(sections: Sequence[Section]) -> str:
    return "\n".join(line for section in sections for line in (section.heading, *section.lines))


@pytest.mark.parametrize("glyphs", [BLOCKS, ASCII])
def test_the_report_has_every_figure_and_fits_80_columns(glyphs: Glyphs) -> None:
    federation, outcome, _ = ran()
    text = text_of(report(federation, outcome, glyphs))
    assert max(map(len, text.splitlines())) <= 80
    for figure in (outcome.pooled, outcome.federated, outcome.plain_sum, outcome.lone_mean):
        assert f"{figure:.4f}" in text
    assert "Who dropped out: 9 of 27" in text
    assert f"the mean of {len(outcome.records[-1].survivors)} updates" in " ".join(text.split())
    assert f"{int(outcome.parts.sum()):,} words" in " ".join(text.split())
    assert "The sum itself is exact, and tells what an exact sum tells." in text
    assert "secagg plan --clients" in text
    for client in outcome.records[-1].scheduled.dropping:
        assert client in text


@pytest.mark.parametrize(("count", "said"), [(12, "c-11 (mask)."), (13, "c-11 (mask), and 1 more.")])
def test_a_report_names_a_dozen_of_those_that_dropped_out(count: int, said: str) -> None:
    federation, outcome, _ = ran()
    dropping = {f"c-{number:02d}": "mask" for number in range(count)}
    scheduled = ScheduledRound(number=1, invited=tuple(dropping), dropping=dropping)
    crowd = replace(outcome, records=(replace(outcome.records[-1], scheduled=scheduled),))
    text = " ".join(text_of(report(federation, crowd, ASCII)).split())
    assert f"{count} before mask" in text
    assert said in text


def test_the_report_of_a_run_without_a_sum_says_so() -> None:
    federation, outcome, _ = ran(rounds=1, max_dropped=0.0)
    text = " ".join(text_of(report(federation, outcome, BLOCKS)).split())
    assert "1 of 1 rounds gave no sum" in text
    assert "no round gave a sum" in text
    assert "What the server saw" not in text


def test_plain_progress_is_one_line_a_round_and_fits_80_columns() -> None:
    federation, outcome, _ = run_that_aborts()
    stream = io.StringIO()
    with PlainScreen(stream) as screen:
        screen.opened(federation)
        for record in outcome.records:
            for leg in record.legs:
                screen.leg(record.scheduled, leg)
            screen.round(record)
        screen.comparing("nothing")
        screen.closed(report(federation, outcome, ASCII))
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[: len(opening(federation))] == list(opening(federation))
    said = [line for line in lines if line.startswith("round ")]
    assert said == [round_line(record, rounds=8, quality_name="accuracy") for record in outcome.records]
    assert sum(": no sum, at leg " in line for line in said) == outcome.rounds_aborted
    assert lines[len(opening(federation)) + 8] == "for comparison: nothing"


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (4_004_751, "4.0 MB"),
        (4.2e9, "4.2 GB"),
        (3e15, "3000 TB"),
    ],
)
def test_bytes_are_said_in_about_three_digits(count: float, said: str) -> None:
    assert human_bytes(count) == said


# The live table.


def terminal(height: int) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, color_system=None, width=80, height=height)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def frame(screen: LiveScreen) -> list[str]:
    canvas = Console(file=io.StringIO(), width=80, color_system=None)
    canvas.print(screen._render())
    return written(canvas).rstrip("\n").splitlines()


def test_the_table_fits_the_terminal_while_it_runs_and_is_whole_at_the_end() -> None:
    federation, outcome, _ = run_that_aborts()
    console = terminal(height=9)
    with LiveScreen(console) as screen:
        screen.opened(federation)
        for record in outcome.records:
            for played, leg in enumerate(record.legs, start=1):
                screen.leg(record.scheduled, leg)
                lines = frame(screen)
                assert len(lines) <= 9
                assert max(map(len, lines)) <= 80
                asked = sum(each.asked - each.answered for each in record.legs[:played])
                shown = lines[-2].split()
                assert shown[0] == str(record.scheduled.number)
                assert f"{record.legs[0].answered}/12" in shown
                assert str(asked) in shown
            screen.round(record)
        assert frame(screen)[1].split() == ["1-4", "done"]
        assert "round 9" not in "".join(frame(screen))
        screen.comparing("something")
        assert frame(screen)[-1].endswith("for comparison: something")
        screen.closed(report(federation, outcome, BLOCKS))
    rows = [line.split() for line in frame(screen)]
    assert [row[0] for row in rows[1:]] == [str(number) for number in range(1, 9)]
    for row, record in zip(rows[1:], outcome.records, strict=True):
        assert row[-1] == ("skipped" if record.aborted is not None else f"{record.quality:.4f}")
    assert "The sum itself is exact" in written(console)


def test_a_table_that_is_left_by_an_error_gives_the_terminal_back() -> None:
    federation, _, _ = ran()
    console = terminal(height=24)
    screen = LiveScreen(console)

    def interrupted() -> None:
        with screen:
            screen.opened(federation)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert written(console).count("\x1b[?25l") == written(console).count("\x1b[?25h") == 1


def test_no_array_is_in_any_repr() -> None:
    _, outcome, _ = ran()
    assert "array" not in repr(outcome)
    assert "array" not in repr(outcome.glimpse)
