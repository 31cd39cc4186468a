"""The demonstration's models against their definitions, and its training loop against hand-made rounds."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.demo.model import BatchDescent, Descent, Features, Learner, LogisticRegression, SoftmaxRegression, auc
from protocols.demo.task import Defaults, Draw, IndexArray, LocalUpdate, Model, SettingError, data_rng
from protocols.demo.training_plain import (
    DROP_LEGS,
    ScheduledRound,
    Trained,
    plain_mean,
    schedule,
    train,
    train_plain,
)

RNG = np.random.default_rng(1)  # non-secret test data
LOGISTIC = LogisticRegression(size=7)
SOFTMAX = SoftmaxRegression(width=5, classes=3)
LOGISTIC_ROWS = np.stack([RNG.integers(0, 4, 40), RNG.integers(4, 7, 40)], axis=1)
SOFTMAX_ROWS = RNG.normal(size=(40, 5))
CASES = [
    pytest.param(LOGISTIC, LOGISTIC_ROWS, RNG.integers(0, 2, 40), id="logistic"),
    pytest.param(SOFTMAX, SOFTMAX_ROWS, RNG.integers(0, 3, 40), id="softmax"),
]


def random_model(learner: Learner, scale: float = 1.0) -> Model:
    rng = np.random.default_rng(2)
    return {name: rng.normal(scale=scale, size=tensor.shape) for name, tensor in learner.initial().items()}


# Quality.


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=30))
def test_auc_is_the_share_of_pairs_in_the_right_order_with_ties_as_halves(scored: list[tuple[int, bool]]) -> None:
    positive = [score for score, label in scored if label]
    negative = [score for score, label in scored if not label]
    if not positive or not negative:
        return
    pairs = list(itertools.product(positive, negative))
    expected = sum((p > n) + 0.5 * (p == n) for p, n in pairs) / len(pairs)
    scores, labels = np.array([float(s) for s, _ in scored]), np.array([int(label) for _, label in scored])
    assert auc(scores, labels) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("label", [0, 1])
def test_auc_of_one_class_is_refused(label: int) -> None:
    with pytest.raises(SettingError, match="both classes"):
        auc(np.array([0.1, 0.2]), np.array([label, label]))


def test_accuracy_counts_the_images_whose_best_class_is_their_label() -> None:
    learner = SoftmaxRegression(width=2, classes=2)
    model = {"bias": np.zeros(2), "weights": np.eye(2)}
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0], [0.0, 3.0]])
    assert learner.quality(model, rows, np.array([0, 1, 1, 1])) == 0.75


# Losses and gradients.


@pytest.mark.parametrize(("learner", "features", "labels"), CASES)
def test_the_gradient_is_the_slope_of_the_loss_in_every_coordinate(
    learner: Learner, features: Features, labels: IndexArray
) -> None:
    model = random_model(learner)
    _, gradient = learner.loss_and_gradient(model, features, labels)
    assert {name: tensor.shape for name, tensor in gradient.items()} == {n: t.shape for n, t in model.items()}
    for name, tensor in model.items():
        for place in np.ndindex(tensor.shape):
            bump = np.zeros_like(tensor)
            bump[place] = 1e-5
            above, _ = learner.loss_and_gradient({**model, name: tensor + bump}, features, labels)
            below, _ = learner.loss_and_gradient({**model, name: tensor - bump}, features, labels)
            assert gradient[name][place] == pytest.approx((above - below) / 2e-5, abs=1e-8)


def test_logistic_loss_is_the_mean_of_minus_log_of_the_label_s_probability() -> None:
    model, labels = random_model(LOGISTIC), np.arange(40) % 2
    logits = [model["bias"][0] + model["weights"][a] + model["weights"][b] for a, b in LOGISTIC_ROWS]
    late = 1 / (1 + np.exp(-np.array(logits)))
    expected = -np.log(np.where(labels == 1, late, 1 - late)).mean()
    assert LOGISTIC.loss_and_gradient(model, LOGISTIC_ROWS, labels)[0] == pytest.approx(expected)


def test_softmax_loss_is_the_mean_of_minus_log_of_the_label_s_probability() -> None:
    model, labels = random_model(SOFTMAX), np.arange(40) % 3
    powers = np.exp(SOFTMAX_ROWS @ model["weights"] + model["bias"])
    expected = -np.log(powers[np.arange(40), labels] / powers.sum(axis=1)).mean()
    assert SOFTMAX.loss_and_gradient(model, SOFTMAX_ROWS, labels)[0] == pytest.approx(expected)


@pytest.mark.parametrize(("learner", "features", "labels"), CASES)
def test_huge_logits_neither_overflow_nor_lose_the_loss(
    learner: Learner, features: Features, labels: IndexArray
) -> None:
    loss, gradient = learner.loss_and_gradient(random_model(learner, scale=1e4), features, labels)
    assert 1e2 < loss < 1e6
    assert all(np.isfinite(tensor).all() for tensor in gradient.values())


@pytest.mark.parametrize(("learner", "features", "labels"), CASES)
def test_the_model_that_knows_nothing_gives_every_class_the_same_chance(
    learner: Learner, features: Features, labels: IndexArray
) -> None:
    classes = 2 if learner is LOGISTIC else 3
    assert learner.loss_and_gradient(learner.initial(), features, labels)[0] == pytest.approx(np.log(classes))


def test_logistic_regression_refuses_rows_of_floats() -> None:
    with pytest.raises(SettingError, match="rows of indices"):
        LOGISTIC.scores(LOGISTIC.initial(), np.zeros((2, 2)))


# Descent.


@pytest.mark.parametrize(("learner", "features", "labels"), CASES)
def test_descent_takes_each_step_along_the_gradient_where_it_stands(
    learner: Learner, features: Features, labels: IndexArray
) -> None:
    start = random_model(learner)
    kept = {name: tensor.copy() for name, tensor in start.items()}
    expected: Model = start
    for _ in range(3):
        _, slope = learner.loss_and_gradient(expected, features, labels)
        expected = {name: expected[name] - 0.25 * slope[name] for name in expected}
    got = Descent(steps=3, rate=0.25).run(learner, start, features, labels)
    for name in start:
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-12)
        np.testing.assert_array_equal(start[name], kept[name])


@pytest.mark.parametrize(("learner", "features", "labels"), CASES)
def test_batches_of_everything_are_descent_with_a_falling_rate(
    learner: Learner, features: Features, labels: IndexArray
) -> None:
    start = random_model(learner)
    expected = Descent(steps=1, rate=0.5).run(learner, start, features, labels)
    expected = Descent(steps=1, rate=0.25).run(learner, expected, features, labels)
    batches = BatchDescent(epochs=2, batch=1000, rate=0.5)
    got = batches.run(learner, start, features, labels, np.random.default_rng(0))
    for name in start:
        np.testing.assert_allclose(got[name], expected[name], atol=1e-12)


def test_a_pass_over_batches_uses_every_row_once() -> None:
    seen: list[int] = []

    @dataclass(frozen=True)
    class Spy(LogisticRegression):
        def loss_and_gradient(self, model: Model, features: Features, labels: IndexArray) -> tuple[float, Model]:
            seen.extend(labels)
            return super().loss_and_gradient(model, features, labels)

    learner = Spy(size=7)
    rng = np.random.default_rng(0)
    BatchDescent(epochs=1, batch=7, rate=0.1).run(learner, learner.initial(), LOGISTIC_ROWS, np.arange(40), rng)
    assert sorted(seen) == list(range(40))
    assert seen != list(range(40))


# The public generator.


def test_every_purpose_and_seed_has_its_own_stream() -> None:
    first = {(seed, draw): data_rng(seed, draw).integers(1 << 60) for seed in range(3) for draw in Draw}
    assert len(set(first.values())) == len(first)
    assert data_rng(1, Draw.SPLIT).integers(1 << 60) == first[1, Draw.SPLIT]


@pytest.mark.parametrize("seed", [-1, 1.0, "1", None])
def test_a_seed_that_is_no_natural_number_is_refused(seed: int) -> None:
    with pytest.raises(SettingError, match="seed_data"):
        data_rng(seed, Draw.SPLIT)


# The loop.


DEFAULTS = Defaults(clients=10, rounds=4, dropout=0.2, momentum=0.5, lone_sample=3)


@dataclass(frozen=True, kw_only=True)
class Pull:
    """A task whose every client pulls a scalar model half-way to its own number."""

    name: str = "pull"
    quality_name: str = "closeness"
    clients: tuple[str, ...] = tuple(f"c{i:02d}" for i in range(20))
    clip: float = 100.0
    private_clip: float = 10.0
    max_weight: int = 20
    metric_bounds: Mapping[str, float] = field(default_factory=dict)
    defaults: Defaults = DEFAULTS
    instructions: str = "pull half-way"

    def initial(self) -> Model:
        return {"x": np.zeros(1)}

    def local_update(self, client: str, model: Model) -> LocalUpdate:
        target = float(self.clients.index(client))
        return LocalUpdate(update={"x": (target - model["x"]) / 2}, weight=1 + self.clients.index(client), metrics={})

    def quality(self, model: Model) -> float:
        return 1 / (1 + float(model["x"][0]) ** 2)

    def pooled(self) -> float:
        return 1.0

    def lone(self, client: str) -> float:
        return 0.0

    def lone_mean(self, sample: int) -> float:
        return 0.0


def update(value: float, weight: int) -> LocalUpdate:
    return LocalUpdate(update={"x": np.array([value]), "y": np.array([[-value]])}, weight=weight, metrics={})


def test_the_plain_mean_weighs_survivors_and_leaves_out_who_dropped_before_its_input() -> None:
    dropping = {"a": "advertise", "b": "share", "c": "mask", "d": "unmask"}
    scheduled = ScheduledRound(number=1, invited=("a", "b", "c", "d", "e"), dropping=dropping)
    assert scheduled.survivors == ("d", "e")
    updates = {client: update(100.0, 50) for client in "abc"} | {"d": update(1.0, 1), "e": update(2.0, 3)}
    mean = plain_mean(scheduled, updates)
    assert mean["x"] == pytest.approx(7 / 4)
    assert mean["y"] == pytest.approx(np.array([[-7 / 4]]))


def test_a_mean_of_nobody_is_refused() -> None:
    scheduled = ScheduledRound(number=7, invited=("a",), dropping={"a": "mask"})
    with pytest.raises(SettingError, match="round 7 has no survivors"):
        plain_mean(scheduled, {"a": update(1.0, 1)})


@given(clients=st.integers(1, 20), rounds=st.integers(1, 5), dropout=st.floats(0.0, 0.9), seed=st.integers(0, 2**32))
def test_a_schedule_invites_and_drops_exactly_as_many_as_asked(
    clients: int, rounds: int, dropout: float, seed: int
) -> None:
    task = Pull()
    if round(dropout * clients) >= clients:
        with pytest.raises(SettingError, match="dropout"):
            schedule(task, clients=clients, rounds=rounds, dropout=dropout, seed_data=seed)
        return
    plan = schedule(task, clients=clients, rounds=rounds, dropout=dropout, seed_data=seed)
    assert [each.number for each in plan] == list(range(1, rounds + 1))
    for each in plan:
        assert list(each.invited) == sorted(set(each.invited))
        assert len(each.invited) == clients
        assert set(each.invited) <= set(task.clients)
        assert len(each.dropping) == round(dropout * clients)
        assert set(each.dropping) <= set(each.invited)
        assert set(each.dropping.values()) <= set(DROP_LEGS)
    assert plan == schedule(task, clients=clients, rounds=rounds, dropout=dropout, seed_data=seed)


def test_schedules_use_every_leg_and_differ_by_round_and_seed() -> None:
    plan = schedule(Pull(), clients=10, rounds=30, dropout=0.5, seed_data=0)
    assert {leg for each in plan for leg in each.dropping.values()} == set(DROP_LEGS)
    assert len({each.invited for each in plan}) == 30
    assert plan != schedule(Pull(), clients=10, rounds=30, dropout=0.5, seed_data=1)


@pytest.mark.parametrize(
    ("bad", "names"),
    [
        ({"clients": 0}, "clients=0"),
        ({"clients": 21}, "clients=21 must be 1 to 20"),
        ({"rounds": 0}, "rounds=0"),
        ({"dropout": -0.1}, "dropout=-0.1"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"dropout": 0.96}, r"dropout=0.96 must leave one of clients=10: 0 to 0.900"),
        ({"dropout": float("nan")}, "dropout=nan"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_by_name(bad: dict[str, float], names: str) -> None:
    settings = {"clients": 10, "rounds": 2, "dropout": 0.2, "seed_data": 0} | bad
    with pytest.raises(SettingError, match=names):
        schedule(Pull(), **settings)  # type: ignore[arg-type]  # each setting is an int or a float by name


@pytest.mark.parametrize("momentum", [-0.1, 1.0, float("nan")])
def test_momentum_outside_its_range_is_refused(momentum: float) -> None:
    with pytest.raises(SettingError, match="momentum"):
        next(train(Pull(), (), plain_mean, momentum=momentum))


def test_training_follows_the_momentum_recursion_and_hands_every_update_to_the_sum() -> None:
    task = Pull()
    plan = schedule(task, clients=5, rounds=6, dropout=0.2, seed_data=3)
    handed: list[tuple[ScheduledRound, set[str]]] = []

    def spy(scheduled: ScheduledRound, updates: Mapping[str, LocalUpdate]) -> Model:
        handed.append((scheduled, set(updates)))
        return plain_mean(scheduled, updates)

    states = list(train(task, plan, spy, momentum=0.5))
    assert handed == [(each, set(each.invited)) for each in plan]
    x = velocity = 0.0
    for state, each in zip(states, plan, strict=True):
        numbers = [int(client[1:]) for client in each.survivors]
        mean = sum((1 + n) * (n - x) / 2 for n in numbers) / sum(1 + n for n in numbers)
        velocity = 0.5 * velocity + mean
        x += velocity
        assert state.model["x"] == pytest.approx(x)
        assert state.velocity["x"] == pytest.approx(velocity)


def test_plain_training_uses_the_defaults_unless_told_otherwise() -> None:
    task = Pull()
    plan = schedule(task, clients=10, rounds=4, dropout=0.2, seed_data=5)
    *_, last = train(task, plan, plain_mean, momentum=0.5)
    np.testing.assert_array_equal(train_plain(task, seed_data=5)["x"], last.model["x"])
    assert train_plain(task, seed_data=5, rounds=3)["x"] != last.model["x"]
    assert train_plain(task, seed_data=5, clients=9)["x"] != last.model["x"]
    assert train_plain(task, seed_data=5, dropout=0.0)["x"] != last.model["x"]


def test_updates_do_not_print() -> None:
    scheduled = ScheduledRound(number=1, invited=("a",), dropping={})
    told = update(0.123456, 77)
    state = Trained(scheduled=scheduled, updates={"a": told}, model=told.update, velocity=told.update)
    for text in (repr(told), repr(state), str(state)):
        assert "0.123" not in text
        assert "77" not in text
