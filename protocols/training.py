"""`PrivateRounds`: secure sums for a training loop that has all its clients in one process.

Three calls around a loop of your own:

    rounds = PrivateRounds(recipe, max_dropped=0.2, max_corrupt=0.1)    # once
    total = rounds.sum(updates, instructions=model_bytes)               # each round: client name -> update
    model += total.mean()["w"]                                          # as before

Promise: each client keeps one identity and one record of the rounds it served; every sum is a new round with a new
number and new keys, also after one that was aborted. For clients on machines of their own, `run_server` and
`run_client` of `protocols.driver` take this class's place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor

from dp.ledger import Ledger
from protocols.faults import Fault
from protocols.recipe import Recipe
from protocols.simulate import LegReport, Party, RoundReport, Update, play_round, require_mapping
from protocols.total import Total
from secagg import Adversary, ConfigError, Identity, MemoryStore, Plan, Policy
from secagg.config import SESSION_SIZE
from secagg.types import Leg, system_entropy


class PrivateRounds:
    """A session of secure sums over one recipe.

    Args:
        recipe: what is summed.
        max_dropped: how many of a round's clients may drop out, or which fraction of them.
        max_corrupt: how many of them may collude with the server, or which fraction of them.
        adversary: what the server may do.
        policy: every client's floors; by default those of `secagg.Policy`, with the adversary class allowed.
        ledger: the server's privacy ledger, for a recipe with noise: a round it has no room for is not begun. Without
            one, nothing is accounted for, and nothing says when to stop.
        client_ledger: called once with each client's name, for the ledger it keeps of its own; a client whose ledger
            has no room drops out of the round before its input leaves.
        executor: threads to expand masks on, `workers` of them.
        workers: see `executor`.

    Raises:
        ConfigError: a fraction is outside [0, 1), a number negative, or recipe none.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        max_dropped: float,
        max_corrupt: float,
        adversary: Adversary | str = Adversary.ACTIVE,
        policy: Policy | None = None,
        ledger: Ledger | None = None,
        client_ledger: Callable[[str], Ledger] | None = None,
        executor: Executor | None = None,
        workers: int = 1,
    ) -> None:
        if not isinstance(recipe, Recipe):
            raise ConfigError(f"recipe is of type {type(recipe).__name__}: make one with Recipe.like")
        self.recipe = recipe
        self.ledger = ledger
        self._client_ledger = client_ledger
        self._max_dropped = _share("max_dropped", max_dropped)
        self._max_corrupt = _share("max_corrupt", max_corrupt)
        self._adversary = adversary
        self._policy = policy
        self._executor = executor
        self._workers = workers
        self._session = system_entropy(SESSION_SIZE)
        self._number = 0
        self._parties: dict[str, Party] = {}
        self.last: RoundReport | None = None

    @property
    def rounds(self) -> int:
        """Rounds begun so far, the aborted ones included."""
        return self._number

    def plan(self, clients: int) -> Plan:
        """The plan a round of this many clients runs under.

        Raises:
            ConfigError: no safe plan exists; the text says which number would do.
        """
        return Plan.find(
            clients=clients,
            max_dropped=self._max_dropped(clients),
            max_corrupt=self._max_corrupt(clients),
            adversary=self._adversary,
        )

    def sum(
        self,
        updates: Mapping[str, Update],
        *,
        weights: Mapping[str, float] | None = None,
        metrics: Mapping[str, Mapping[str, float]] | None = None,
        instructions: bytes = b"",
        faults: Sequence[Fault] = (),
        watch: Callable[[LegReport], None] | None = None,
        tap: Callable[[str, Leg, bytes], None] | None = None,
    ) -> Total:
        """Sum one round's updates; arguments as for `protocols.simulate.play_round`. `last` keeps the whole report.

        Raises:
            RoundAborted: fewer clients than a floor were left; there is no sum. Call again for a new round; with a
                ledger that is one more charge once inputs were asked for, so ask `ledger.would_allow` first.
            dp.BudgetExceeded: the ledger has no room for another round; nothing was touched.
        """
        require_mapping("updates", updates)
        for name in updates:
            if name not in self._parties:
                self._parties[name] = self._party(name)
        self._number += 1
        self.last = play_round(
            updates,
            self.plan(len(updates)),
            self.recipe,
            parties=self._parties,
            weights=weights,
            metrics=metrics,
            faults=faults,
            instructions=instructions,
            session=self._session,
            number=self._number,
            watch=watch,
            tap=tap,
            ledger=self.ledger,
            executor=self._executor,
            workers=self._workers,
        )
        return self.last.total

    def _party(self, name: str) -> Party:
        ledger = None if self._client_ledger is None else self._client_ledger(name)
        return Party(identity=Identity.generate(), store=MemoryStore(), policy=self._policy, ledger=ledger)


def _share(name: str, value: float) -> Callable[[int], int]:
    """Read a number of clients, or a fraction of them that is rounded up: more may misbehave, never fewer."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value < math.inf or (isinstance(value, float) and value >= 1):
        raise ConfigError(f"{name} must be a number of clients (int) or a fraction below 1 (float), got {value!r}")

    def count(clients: int) -> int:
        # A float product can stand a hair above the whole number it means (0.07 * 100); that hair is no client.
        return math.ceil(value * clients - 1e-9) if isinstance(value, float) else value

    return count
