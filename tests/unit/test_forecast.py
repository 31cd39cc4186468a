"""A forecast of seconds is the counted work times what each kind of work takes; no test here asserts a time."""

from __future__ import annotations

import dataclasses
import json

import pytest

from protocols.cli import forecast, main
from protocols.cli.forecast import Rates
from secagg import ConfigError, Plan, Ring, cost
from secagg.testing.plans import small_regular_plan

PLAN = Plan.find(clients=10, max_dropped=3, max_corrupt=2)
FREE = Rates(
    client=0.0,
    neighbor=0.0,
    joined=0.0,
    server_client=0.0,
    server_pair=0.0,
    agreement=0.0,
    verification=0.0,
    mask=0.0,
    mask_word=0.0,
    send_word=0.0,
    sum_word=0.0,
    result_word=0.0,
)


@pytest.mark.parametrize(
    ("rate", "client", "server"),
    [
        ("client", 1, 0),
        ("neighbor", 9, 0),
        ("joined", 10, 0),
        ("server_client", 0, 10),
        ("server_pair", 0, 90),
        ("agreement", 0, 21),  # 3 dropped, 7 survivors
        ("verification", PLAN.quorum, 10),
        ("mask", 0, 21),
        ("mask_word", 10 * 100, 28 * 100),
        ("send_word", 100, 0),
        ("sum_word", 0, 7 * 100),
        ("result_word", 0, 100),
    ],
)
def test_each_rate_is_paid_as_often_as_its_work_is_done(rate: str, client: int, server: int) -> None:
    rates = dataclasses.replace(FREE, **{rate: 1.0})
    assert forecast.client_seconds(PLAN, rates, length=100) == client
    work = cost.server_work(PLAN, dropped=3)
    assert forecast.server_seconds(PLAN, work, rates, length=100) == server


def test_the_work_of_a_drop_out_lies_between_none_and_the_worst() -> None:
    price = cost.of(PLAN, length=100, ring_bits=32)
    assert cost.server_work(PLAN, dropped=0) == price.server
    assert cost.server_work(PLAN, dropped=3) == price.server_worst
    sparse = small_regular_plan(clients=17, degree=6, threshold=3, max_dropped=4)
    assert cost.server_work(sparse, dropped=4).agreements == 17 + round(4 * 6 * 13 / 16)
    with pytest.raises(ConfigError, match="dropped=4 must be from 0 to max_dropped=3"):
        cost.server_work(PLAN, dropped=4)


def test_measuring_gives_rates_that_mean_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "_FEW", 3)
    monkeypatch.setattr(forecast, "_MANY", 5)
    monkeypatch.setattr(forecast, "_WORDS", 1 << 10)
    rates = forecast.measure(Ring(27))
    assert all(value >= 0.0 for name, value in dataclasses.asdict(rates).items() if name != "neighbor")
    assert min(rates.agreement, rates.verification, rates.mask, rates.mask_word) > 0.0


def test_a_plan_is_forecast_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = dataclasses.replace(FREE, mask_word=1e-3, sum_word=1e-3)
    monkeypatch.setattr(forecast, "measure", lambda ring: rates if ring == Ring(20) else FREE)
    typed = ["plan", "--clients", "10", "--max-dropped", "3", "--max-corrupt", "2", "--length", "100", "--bits", "20"]
    assert main([*typed, "--json"]) == 0
    assert "client_cpu_s" not in json.loads(capsys.readouterr().out)
    assert main([*typed, "--json", "--measure"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["client_cpu_s"] == pytest.approx(1.0)
    assert figures["server_cpu_s_no_drop"] == pytest.approx(2.0)
    assert figures["server_cpu_s_worst"] == pytest.approx(3.5)
    assert main([*typed, "--measure"]) == 0
    assert "CPU time" in capsys.readouterr().out
