"""This project's accountant inside opacus: in a PrivacyEngine, in its searches, through its checkpoints."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import pytest
import torch
from opacus import PrivacyEngine
from opacus.accountants import RDPAccountant, create_accountant, registry
from opacus.accountants.utils import get_noise_multiplier

from dp.accountants import Against, epsilon
from dp.calibrate import gaussian_multiplier
from dp.errors import ParameterError
from dp.events import Gaussian, Neighboring, PoissonSampled, Repeated
from protocols.integrations.opacus import SecaggAccountant, events_from_history, register

ZERO_OUT, REPLACE_ONE, ADD_OR_REMOVE = Neighboring
KNOWN_AFTER_IMPORT = frozenset(registry._ACCOUNTANTS)
HISTORY = [(1.0, 0.01, 1000), (2.0, 0.05, 200)]


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known to opacus within one test alone."""
    monkeypatch.setattr(registry, "_ACCOUNTANTS", dict(registry._ACCOUNTANTS))
    register()


def accountant(history: list[tuple[float, float, int]]) -> SecaggAccountant:
    made = SecaggAccountant()
    made.history = history
    return made


def published(events: Any, delta: float) -> float:
    return epsilon(events, delta=delta, neighboring=ADD_OR_REMOVE, against=Against.PUBLISHED).epsilon


# Histories are events.


def test_a_history_is_read_as_it_was_written() -> None:
    assert events_from_history([(1.5, 0.1, 7), [2, 1.0, 3]]) == (
        Repeated(event=PoissonSampled(release=Gaussian(noise_multiplier=1.5), rate=0.1), count=7),
        Repeated(event=Gaussian(noise_multiplier=2), count=3),
    )
    assert events_from_history([]) == ()


def test_a_history_of_opacus_own_accountant_costs_no_more_here() -> None:
    theirs = RDPAccountant()
    for sigma, rate, steps in HISTORY:
        for _ in range(steps // 50):
            theirs.step(noise_multiplier=sigma, sample_rate=rate)
    ours = published(events_from_history(theirs.history), 1e-5)
    assert ours <= theirs.get_epsilon(1e-5) * (1.0 + 1e-9)
    assert ours == pytest.approx(theirs.get_epsilon(1e-5), rel=1e-3)


@pytest.mark.parametrize(
    "entry",
    [
        (0.0, 0.1, 1),
        (-1.0, 0.1, 1),
        (math.nan, 0.1, 1),
        ("1.0", 0.1, 1),
        (1.0, 0.0, 1),
        (1.0, 1.1, 1),
        (1.0, math.nan, 1),
        (1.0, None, 1),
        (1.0, 0.1, 0),
        (1.0, 0.1, 1.0),
        (1.0, 0.1),
        None,
    ],
)
def test_what_is_no_history_is_refused(entry: Any) -> None:
    with pytest.raises(ParameterError):
        events_from_history([*HISTORY, entry])
    with pytest.raises(ParameterError):
        accountant([*HISTORY, entry]).get_epsilon(1e-5)
    with pytest.raises(ParameterError):
        SecaggAccountant().load_state_dict({"history": [entry], "mechanism": "secagg"})
    strange: Any
    for strange in (None, "history", 3):
        with pytest.raises(ParameterError, match="history is of type"):
            events_from_history(strange)


# The accountant.


def test_steps_are_counted_and_checked_as_they_are_taken() -> None:
    ours = SecaggAccountant()
    for sigma, rate in [(1.0, 0.1), (1.0, 0.1), (2.0, 0.1), (2.0, 0.2), (1.0, 0.1)]:
        ours.step(noise_multiplier=sigma, sample_rate=rate)
    assert ours.history == [(1.0, 0.1, 2), (2.0, 0.1, 1), (2.0, 0.2, 1), (1.0, 0.1, 1)]
    assert len(ours) == 5
    wrong: Any
    for wrong in ((0.0, 0.1), (math.inf, 0.1), (None, 0.1), (1.0, 0.0), (1.0, 1.5), (1.0, "0.1")):
        with pytest.raises(ParameterError):
            ours.step(noise_multiplier=wrong[0], sample_rate=wrong[1])
    assert len(ours) == 5


def test_asking_changes_nothing_and_is_what_dp_answers() -> None:
    ours = accountant(list(HISTORY))
    before = copy.deepcopy(ours.__dict__)
    answers = {ours.get_epsilon(delta=1e-5) for _ in range(3)}
    assert answers == {published(events_from_history(HISTORY), 1e-5)}
    assert ours.__dict__ == before
    assert ours.get_epsilon(1e-5, neighboring=ZERO_OUT) in answers
    with pytest.raises(ParameterError, match="REPLACE_ONE"):
        ours.get_epsilon(1e-5, neighboring=REPLACE_ONE)
    with pytest.raises(ParameterError, match="delta"):
        ours.get_epsilon(0.0)
    assert SecaggAccountant().get_epsilon(1e-5) == 0.0


def test_steps_that_are_not_sampled_are_charged_exactly() -> None:
    exact = published([Repeated(event=Gaussian(noise_multiplier=5.0), count=10)], 1e-6)
    assert accountant([(5.0, 1.0, 10)]).get_epsilon(1e-6) == exact == pytest.approx(2.921600590427046, rel=1e-11)


def test_more_accountants_may_be_handed_over() -> None:
    class Half:
        name = "half"

        def supports(self, event: object, neighboring: object) -> bool:
            return True

        def epsilon(self, counts: object, *, delta: float, neighboring: object) -> float:
            return 0.5

    assert accountant(HISTORY).get_epsilon(1e-5, accountants=[Half()]) == 0.5


# Its state.


def test_the_state_goes_through_json_and_back() -> None:
    ours = accountant([(1, 0.01, 3), (2.0, 0.05, 2)])
    state = ours.state_dict()
    assert state == {"history": [[1.0, 0.01, 3], [2.0, 0.05, 2]], "mechanism": "secagg"}
    other = SecaggAccountant()
    other.load_state_dict(json.loads(json.dumps(state)))
    assert other.history == ours.history
    assert other.state_dict() == state
    other.step(noise_multiplier=2.0, sample_rate=0.05)
    assert ours.state_dict() == state == json.loads(json.dumps(state))  # nothing is shared
    target: dict[str, Any] = {"more": 1}
    assert ours.state_dict(target) is target
    assert target == state | {"more": 1}


@pytest.mark.parametrize(
    "state",
    [
        None,
        {},
        {"history": []},
        {"mechanism": "secagg"},
        {"history": [], "mechanism": "rdp"},
        {"history": None, "mechanism": "secagg"},
    ],
)
def test_another_state_is_refused_and_nothing_taken_over(state: Any) -> None:
    ours = accountant(list(HISTORY))
    with pytest.raises(ParameterError) as refused:
        ours.load_state_dict(state)
    assert isinstance(refused.value, ValueError)  # which opacus says it raises
    assert ours.history == HISTORY


# Inside opacus.


def test_registering_twice_is_once_and_takes_nobodys_place() -> None:
    register()
    assert type(create_accountant("secagg")) is SecaggAccountant
    registry._ACCOUNTANTS["secagg"] = RDPAccountant
    with pytest.raises(ParameterError, match="another accountant"):
        register()
    assert registry._ACCOUNTANTS["secagg"] is RDPAccountant


def test_importing_registers_nothing() -> None:
    assert {"rdp", "gdp", "prv"} <= KNOWN_AFTER_IMPORT
    assert "secagg" not in KNOWN_AFTER_IMPORT


@pytest.mark.parametrize("target", [1.0, 8.0])
def test_opacus_finds_noise_by_it(target: float) -> None:
    sigma = get_noise_multiplier(
        target_epsilon=target, target_delta=1e-5, sample_rate=0.01, steps=1000, accountant="secagg"
    )
    assert target - 0.01 <= accountant([(sigma, 0.01, 1000)]).get_epsilon(1e-5) <= target
    least = gaussian_multiplier(
        epsilon=target,
        delta=1e-5,
        rounds=1000,
        neighboring=ADD_OR_REMOVE,
        sampling=lambda release: PoissonSampled(release=release, rate=0.01),
    )
    assert sigma == pytest.approx(least, rel=0.01)


def trained(engine: PrivacyEngine, steps: int) -> tuple[Any, Any, Any]:
    """A tiny model after a few private steps, with its optimizer and data."""
    torch.manual_seed(0)
    data = torch.utils.data.TensorDataset(torch.randn(40, 3), torch.randn(40, 1))
    model: Any = torch.nn.Linear(3, 1)
    model, optimizer, loader = engine.make_private(
        module=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        data_loader=torch.utils.data.DataLoader(data, batch_size=10),
        noise_multiplier=1.5,
        max_grad_norm=1.0,
    )
    done = 0
    while done < steps:
        for x, y in loader:
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()
            done += 1
            if done == steps:
                break
    return model, optimizer, loader


quiet = pytest.mark.filterwarnings(
    "ignore:Secure RNG turned off",  # opacus' own noise generator, which is not under test
    "ignore:Full backward hook is firing",  # torch: the inputs of a first layer never have gradients
)


@quiet
def test_a_privacy_engine_trains_with_it(tmp_path: Any) -> None:
    engine = PrivacyEngine(accountant="secagg")
    model, optimizer, _ = trained(engine, 6)
    assert engine.accountant.history == [(1.5, 0.25, 6)]
    event = Repeated(event=PoissonSampled(release=Gaussian(noise_multiplier=1.5), rate=0.25), count=6)
    assert engine.get_epsilon(1e-5) == published([event], 1e-5)
    engine.save_checkpoint(path=tmp_path / "checkpoint", module=model, optimizer=optimizer)
    other = PrivacyEngine(accountant="secagg")
    other.load_checkpoint(path=tmp_path / "checkpoint", module=model, optimizer=optimizer)
    assert other.accountant.history == [(1.5, 0.25, 6)]


@quiet
def test_a_privacy_engine_sizes_its_noise_by_it() -> None:
    engine = PrivacyEngine(accountant="secagg")
    model: Any = torch.nn.Linear(3, 1)
    data = torch.utils.data.TensorDataset(torch.zeros(40, 3), torch.zeros(40, 1))
    _, optimizer, _ = engine.make_private_with_epsilon(
        module=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        data_loader=torch.utils.data.DataLoader(data, batch_size=10),
        target_epsilon=2.0,
        target_delta=1e-5,
        epochs=5,
        max_grad_norm=1.0,
    )
    assert 1.99 <= accountant([(optimizer.noise_multiplier, 0.25, 20)]).get_epsilon(1e-5) <= 2.0
