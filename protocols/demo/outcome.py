"""What the demonstration was asked to do and what came of it, as plain values.

Promise: everything here may be shown. The one client's input in `Glimpse` is in it because this process plays all
parties; it does not print.

Imports numpy, the schedule of this package, `protocols` and `secagg`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from dp import Guarantee
from protocols.demo.task import SettingError
from protocols.demo.training_plain import ScheduledRound
from protocols.simulate import LegReport
from secagg import Adversary, Ring, RoundAborted
from secagg.ring import Words

Integers = npt.NDArray[np.int64]

MAX_ROUNDS: Final = 1000
DEFAULT_DELTA: Final = 1e-5
MAX_EPSILON: Final = 500.0
_MOST_ROUNDS_PER_PLANNED: Final = 3


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the demonstration is run.

    Attributes:
        clients: how many clients are invited to each round.
        rounds: how many rounds there are.
        dropout: the fraction of the invited that drops out of each round.
        max_dropped: the fraction of the invited that the plan lets drop out.
        max_corrupt: the fraction of the invited that the plan lets collude with the server.
        adversary: what the plan assumes of the server.
        seed_data: decides data split and schedule, and nothing secret.
        epsilon: the privacy budget of the whole run, or None for exact sums. Noise is sized for `rounds` rounds with
            the fewest survivors allowed; where more survive, rounds cost less, and more of them are run.
        delta: of the budget.

    Raises:
        SettingError: rounds or a fraction is out of range; what depends on the task is checked with it.
    """

    clients: int
    rounds: int
    dropout: float
    max_dropped: float
    max_corrupt: float
    adversary: Adversary
    seed_data: int
    epsilon: float | None = None
    delta: float = DEFAULT_DELTA

    def __post_init__(self) -> None:
        if not 1 <= self.rounds <= MAX_ROUNDS:
            raise SettingError(f"rounds={self.rounds} must be 1 to {MAX_ROUNDS}")
        for name in ("dropout", "max_dropped", "max_corrupt"):
            fraction = getattr(self, name)
            if not 0.0 <= fraction < 1.0:
                raise SettingError(f"{name}={fraction} must be a fraction of the invited, from 0 to below 1")
        if self.epsilon is not None and not 0.0 < self.epsilon <= MAX_EPSILON:
            raise SettingError(f"epsilon={self.epsilon} must be above 0 and at most {MAX_EPSILON:g}")
        if not 0.0 < self.delta < 1.0:
            raise SettingError(f"delta={self.delta} must be above 0 and below 1, for example {DEFAULT_DELTA}")

    @property
    def most_rounds(self) -> int:
        """How many rounds are scheduled: those asked for or, under a budget, more than it will admit."""
        return self.rounds if self.epsilon is None else self.rounds * _MOST_ROUNDS_PER_PLANNED


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """What a run's rounds have cost so far.

    Attributes:
        server: against the server and its colluders.
        public: against who sees the models only.
    """

    server: Guarantee
    public: Guarantee


@dataclass(frozen=True, kw_only=True, slots=True)
class Privacy:
    """How a private run went.

    Attributes:
        spent: what it cost.
        clip: the L2 bound of an update.
        halted_by_budget: whether the budget had no room for another round.
        noise_std: standard deviation of the noise in a coordinate of the last mean; None where no round finished.
        client_rounds: the most rounds that one client was charged for.
    """

    spent: Spent
    clip: float
    halted_by_budget: bool
    noise_std: float | None
    client_rounds: int


@dataclass(frozen=True, kw_only=True)
class RoundRecord:
    """One round, finished or aborted.

    Attributes:
        scheduled: who was invited and who dropped out.
        legs: the legs that were played.
        survivors: the clients in the sum; none where the round aborted.
        aborted: why there is no sum, or None.
        difference: largest distance of a coordinate of the mean from that of the same updates summed in the clear.
        step: the bound on it that the recipe states; zero, like it, where the round aborted.
        quality: of the model after the round.
        spent: what all rounds up to this one cost; None for exact sums.
    """

    scheduled: ScheduledRound
    legs: tuple[LegReport, ...] = field(repr=False)
    survivors: tuple[str, ...] = field(repr=False)
    aborted: RoundAborted | None
    difference: float
    step: float
    quality: float
    spent: Spent | None = None

    @property
    def dropped_before_input(self) -> int:
        """How many of the invited are not in the sum."""
        return len(self.scheduled.invited) - len(self.survivors)

    @property
    def uplink_bytes(self) -> int:
        """Bytes that reached the server."""
        return sum(leg.uplink_bytes for leg in self.legs)

    @property
    def downlink_bytes(self) -> int:
        """Bytes that left the server."""
        return sum(leg.downlink_bytes for leg in self.legs)


@dataclass(frozen=True, kw_only=True)
class Glimpse:
    """One client's input as it is, and as the server received it.

    Attributes:
        number: the round's number.
        client: whose.
        ring: the ring both are in.
        update: the client's own input, centered; nobody but this process, which plays all parties, holds it.
        received: the masked words of the same coordinates.
    """

    number: int
    client: str
    ring: Ring
    update: Integers = field(repr=False)
    received: Words = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A finished run.

    Attributes:
        records: one a round.
        pooled: quality of the model trained on all clients' rows in one place.
        federated: quality of the model trained over masked sums.
        plain_sum: quality of the model trained by the same schedule over plain sums.
        lone_mean: mean quality of the models that `lone_sample` clients train alone.
        lone_sample: see `lone_mean`.
        uplink_bytes_per_client: mean bytes sent in a finished round by a client that stayed to its end; None where no
            round finished.
        downlink_bytes_per_client: mean bytes the same clients were sent.
        mean_norm: L2 norm of the last mean the server learned; None where no round finished.
        glimpse: one client of the last finished round; None where none did.
        parts: how many of all masked words the server received lie in each of PARTS equal parts of the ring.
        privacy: what a private run cost; None for exact sums.
    """

    records: tuple[RoundRecord, ...]
    pooled: float
    federated: float
    plain_sum: float
    lone_mean: float
    lone_sample: int
    uplink_bytes_per_client: float | None
    downlink_bytes_per_client: float | None
    mean_norm: float | None
    glimpse: Glimpse | None
    parts: Integers = field(repr=False)
    privacy: Privacy | None = None

    @property
    def dropped_total(self) -> int:
        """Invited clients that dropped out at any leg, over all rounds."""
        return sum(len(record.scheduled.dropping) for record in self.records)

    @property
    def dropped_before_input(self) -> int:
        """Invited clients that are not in their round's sum, over all finished rounds."""
        return sum(record.dropped_before_input for record in self.records if record.aborted is None)

    @property
    def rounds_aborted(self) -> int:
        """Rounds that ended without a sum."""
        return sum(record.aborted is not None for record in self.records)

    @property
    def difference(self) -> float:
        """Largest difference of any round."""
        return max((record.difference for record in self.records), default=0.0)

    @property
    def step(self) -> float:
        """Largest step of any round."""
        return max((record.step for record in self.records), default=0.0)
