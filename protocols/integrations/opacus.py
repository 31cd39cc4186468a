"""opacus and this project's accountants, extra [torch]: ours in its PrivacyEngine, its histories as our events.

    register()
    engine = PrivacyEngine(accountant="secagg")

Promise: what opacus records is what is charged. A step is checked when it is recorded, asking for epsilon changes
nothing, and the state is plain lists, numbers and strings.

What opacus means by an entry (sigma, q, steps) of a history: so many sums of gradients, each clipped to C, with
Gaussian noise of deviation sigma C, over batches that every example joined by its own coin with probability q. That
the batches were drawn so (`poisson_sampling=True`) is believed, and so is that nobody who sees the model learns who
was in one. The server of a secure aggregation does: charge its rounds by `dp.accountants.epsilon`, Against.SERVER.

Imports dp and opacus, which imports torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from opacus.accountants import IAccountant, create_accountant, register_accountant

from dp.accountants import Accountant, Against, epsilon
from dp.errors import ParameterError
from dp.events import Event, Gaussian, Neighboring, PoissonSampled, Repeated

MECHANISM: Final = "secagg"
"""The name to ask opacus for."""


class SecaggAccountant(IAccountant):  # type: ignore[misc]  # opacus carries no types
    """The accountants of `dp` behind opacus' interface.

    Attributes:
        history: (noise multiplier, sampling rate, steps) of every stretch of equal steps, as opacus writes and assigns
            it; read, checked and never changed by `get_epsilon`.
    """

    def __init__(self) -> None:
        self.history: list[tuple[float, float, int]] = []

    def step(self, *, noise_multiplier: float, sample_rate: float) -> None:
        """Record one optimization step.

        Raises:
            ParameterError: no noise, or a rate that is no probability; nothing is recorded.
        """
        events_from_history([(noise_multiplier, sample_rate, 1)])
        done = 0
        if self.history and tuple(self.history[-1][:2]) == (noise_multiplier, sample_rate):
            done = self.history.pop()[2]
        self.history.append((float(noise_multiplier), float(sample_rate), done + 1))

    def get_epsilon(
        self,
        delta: float,
        *,
        neighboring: Neighboring = Neighboring.ADD_OR_REMOVE,
        accountants: Iterable[Accountant] = (),
    ) -> float:
        """Return epsilon at `delta` of all the steps so far, against whoever sees the model.

        Args:
            delta: above 0 and below 1.
            neighboring: opacus' own relation, or ZERO_OUT, which costs the same.
            accountants: more of them, as for `dp.accountants.epsilon`.

        Raises:
            ParameterError: delta, the history or the relation is none that something is proven about.
        """
        events = events_from_history(self.history)
        found = epsilon(
            events, delta=delta, neighboring=neighboring, against=Against.PUBLISHED, accountants=accountants
        )
        return found.epsilon

    def __len__(self) -> int:
        """How many steps were taken."""
        return sum(steps for _, _, steps in self.history)

    @classmethod
    def mechanism(cls) -> str:
        """The name this accountant is registered under."""
        return MECHANISM

    def state_dict(self, destination: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the history and the mechanism's name, fit for JSON, within `destination` if there is one."""
        state: dict[str, Any] = {} if destination is None else destination
        state["history"] = [[float(sigma), float(rate), steps] for sigma, rate, steps in self.history]
        state["mechanism"] = self.mechanism()
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the history of a state that `state_dict` returned, through JSON or not.

        Raises:
            ParameterError: another accountant's state, or a history that is none; nothing is taken over.
        """
        if not isinstance(state_dict, Mapping) or not {"history", "mechanism"} <= set(state_dict):
            raise ParameterError("state_dict needs the keys 'history' and 'mechanism', as state_dict() returns them")
        if state_dict["mechanism"] != self.mechanism():
            raise ParameterError(
                f"state_dict is of the accountant {state_dict['mechanism']!r:.80}, not of {self.mechanism()!r}: read "
                "its history by events_from_history"
            )
        events_from_history(state_dict["history"])
        self.history = [(float(sigma), float(rate), steps) for sigma, rate, steps in state_dict["history"]]


def register() -> None:
    """Make `PrivacyEngine(accountant="secagg")` and `get_noise_multiplier(accountant="secagg")` known to opacus.

    It is known to opacus for the rest of the process; asking twice is once.

    Raises:
        ParameterError: opacus knows somebody else's accountant by that name.
    """
    try:
        register_accountant(MECHANISM, SecaggAccountant)
    except ValueError as error:
        if type(create_accountant(MECHANISM)) is not SecaggAccountant:
            raise ParameterError(f"opacus has another accountant named {MECHANISM!r}: do not register it") from error


def events_from_history(history: Sequence[Any]) -> tuple[Event, ...]:
    """Return the events of an opacus history, of any of its accountants: (sigma, q, steps) each, in order.

    A rate of 1 is a release that is not sampled, which is charged exactly.

    Raises:
        ParameterError: an entry is no such triple, sigma is not positive, q is not above 0 and at most 1, or steps is
            no whole number from 1 up.
    """
    if not isinstance(history, list | tuple):
        raise ParameterError(f"history is of type {type(history).__name__}: give opacus' list of (sigma, q, steps)")
    return tuple(_event(entry) for entry in history)


def _event(entry: object) -> Event:
    if not isinstance(entry, list | tuple) or len(entry) != 3:
        raise ParameterError(f"history holds {entry!r:.80}: each entry is (sigma, q, steps)")
    sigma, rate, steps = entry
    release = Gaussian(noise_multiplier=sigma)
    sampled = PoissonSampled(release=release, rate=rate)
    return Repeated(event=sampled if rate < 1.0 else release, count=steps)
