"""Two linear models with exact gradients, plain gradient descent, and the area under the ROC curve.

Promise: small enough to check by hand; `tests/unit/test_demo_model.py` holds every gradient to finite differences and
the area to its definition. All arithmetic is float64.

Imports numpy and the words of `task`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from protocols.demo.task import FloatArray, IndexArray, Model, SettingError

Features = npt.NDArray[np.intp] | FloatArray
"""One row an example: indices of its non-zero coordinates, or the coordinates themselves; the learner says which."""


class Learner(Protocol):
    """A model family: where it starts, which way is downhill, how good it is."""

    @property
    def quality_name(self) -> str:
        """What `quality` measures."""

    def initial(self) -> Model:
        """Return the model that knows nothing: all zeros."""

    def loss_and_gradient(self, model: Model, features: Features, labels: IndexArray) -> tuple[float, Model]:
        """Return the mean log loss in nats and its gradient.

        `features` has one row an example and `labels` one class index; both are non-empty.
        """

    def quality(self, model: Model, features: Features, labels: IndexArray) -> float:
        """Return how good the model is on these examples, in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class LogisticRegression:
    """Two classes; each example is a row of indices into `size` one-hot coordinates, always equally many.

    An index row says "these coordinates are 1, all others 0", so a score is a sum of a dozen weights and a gradient
    is a weighted count.
    """

    size: int
    quality_name: ClassVar[str] = "AUC"

    def initial(self) -> Model:
        """Return zero weights and a zero bias."""
        return {"bias": np.zeros(1), "weights": np.zeros(self.size)}

    def scores(self, model: Model, features: Features) -> FloatArray:
        """Return the log-odds of class 1 for each row of `features`."""
        picked: FloatArray = model["weights"][_indices(features)]
        scores: FloatArray = picked.sum(axis=1) + model["bias"]
        return scores

    def loss_and_gradient(self, model: Model, features: Features, labels: IndexArray) -> tuple[float, Model]:
        """See `Learner`."""
        logits = self.scores(model, features)
        loss = float(np.mean(np.logaddexp(0.0, logits) - labels * logits))
        probability = 0.5 * (1.0 + np.tanh(0.5 * logits))  # the logistic function in the form that cannot overflow
        residual = (probability - labels) / len(labels)
        indices = _indices(features)
        per_index = np.repeat(residual, indices.shape[1])
        weights = np.bincount(indices.ravel(), weights=per_index, minlength=self.size)
        return loss, {"bias": np.array([residual.sum()]), "weights": weights}

    def quality(self, model: Model, features: Features, labels: IndexArray) -> float:
        """Return the area under the ROC curve."""
        return auc(self.scores(model, features), labels)


@dataclass(frozen=True, kw_only=True)
class SoftmaxRegression:
    """`classes` classes over dense rows of `width` float coordinates."""

    width: int
    classes: int
    quality_name: ClassVar[str] = "accuracy"

    def initial(self) -> Model:
        """Return zero weights and zero biases."""
        return {"bias": np.zeros(self.classes), "weights": np.zeros((self.width, self.classes))}

    def scores(self, model: Model, features: Features) -> FloatArray:
        """Return the logits, one row an example and one column a class."""
        logits: FloatArray = features @ model["weights"] + model["bias"]
        return logits

    def loss_and_gradient(self, model: Model, features: Features, labels: IndexArray) -> tuple[float, Model]:
        """See `Learner`."""
        logits = self.scores(model, features)
        logits -= logits.max(axis=1, keepdims=True)
        normalizer = np.log(np.exp(logits).sum(axis=1))
        each = np.arange(len(labels))
        loss = float(np.mean(normalizer - logits[each, labels]))
        residual = np.exp(logits - normalizer[:, None])
        residual[each, labels] -= 1.0
        residual /= len(labels)
        return loss, {"bias": residual.sum(axis=0), "weights": features.T @ residual}

    def quality(self, model: Model, features: Features, labels: IndexArray) -> float:
        """Return the fraction of examples whose highest score is their label's."""
        return float(np.mean(self.scores(model, features).argmax(axis=1) == labels))


def auc(scores: FloatArray, labels: IndexArray) -> float:
    """Return the probability that a positive scores above a negative, ties counting one half.

    This is the area under the ROC curve, in the form of the Mann-Whitney statistic (Hanley and McNeil 1982). Each
    positive is ranked among the sorted negatives from both sides; the mean of the two ranks is the half for ties.

    Args:
        scores: finite, one an example.
        labels: 0 or 1, one an example.

    Raises:
        SettingError: the examples are not of both classes.
    """
    positive = np.sort(scores[labels == 1])
    negative = np.sort(scores[labels == 0])
    if not len(positive) or not len(negative):
        raise SettingError(f"AUC needs both classes, got {len(positive)} positives and {len(negative)} negatives")
    below = np.searchsorted(negative, positive, side="left")
    not_above = np.searchsorted(negative, positive, side="right")
    return float(np.mean(below + not_above) / (2 * len(negative)))


@dataclass(frozen=True, kw_only=True)
class Descent:
    """Gradient descent on all rows at once.

    Attributes:
        steps: how many steps.
        rate: the length of a step, in units of the gradient of the mean loss.
    """

    steps: int
    rate: float

    def run(self, learner: Learner, model: Model, features: Features, labels: IndexArray) -> Model:
        """Return the model `steps` steps downhill; `model` is left as it is."""
        for _ in range(self.steps):
            _, gradient = learner.loss_and_gradient(model, features, labels)
            model = {name: tensor - self.rate * gradient[name] for name, tensor in model.items()}
        return model


@dataclass(frozen=True, kw_only=True)
class BatchDescent:
    """Stochastic gradient descent over shuffled batches.

    Attributes:
        epochs: how many passes over all rows.
        batch: rows a step; the last batch of a pass may be smaller.
        rate: the length of a step in the first pass; pass e, counted from 1, uses rate / e.
    """

    epochs: int
    batch: int
    rate: float

    def run(
        self, learner: Learner, model: Model, features: Features, labels: IndexArray, rng: np.random.Generator
    ) -> Model:
        """Return the model after all passes; `model` is left as it is."""
        for epoch in range(1, self.epochs + 1):
            step = Descent(steps=1, rate=self.rate / epoch)
            order = rng.permutation(len(labels))
            for start in range(0, len(order), self.batch):
                rows = order[start : start + self.batch]
                model = step.run(learner, model, features[rows], labels[rows])
        return model


def _indices(features: Features) -> npt.NDArray[np.intp]:
    if features.dtype != np.intp:
        raise SettingError(f"logistic regression takes rows of indices, got an array of {features.dtype}")
    return features.astype(np.intp, copy=False)
