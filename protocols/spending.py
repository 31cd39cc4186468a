"""`Spending`: one party's privacy ledger, and what a round of one recipe costs it.

Promise: a round is charged before its data is touched, at the fewest survivors its plan allows, and again, no higher,
at those there were. A party whose budget has no room takes no part. What may have left stays charged.

The server reserves before it offers a round; a client reserves before its masked input leaves. Both name the round by
session and number, so that no round is charged twice and none twice released under one charge.

Imports `dp`, secagg's config and the recipe.
"""

from __future__ import annotations

from dataclasses import dataclass

from dp.ledger import Charge, Ledger, State
from protocols.errors import RecipeError
from protocols.recipe import Recipe
from secagg import Failed, Leg, RoundAborted, ServerRound
from secagg.config import RoundConfig


def round_name(config: RoundConfig) -> str:
    """Return a round's name in a ledger: its session in hexadecimal, and its number."""
    return f"{config.session.hex()} {config.round}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spending:
    """A ledger, and the recipe whose rounds are charged to it.

    A client is charged by the plan it was offered: against the colluders that the plan names, no more. Its `Policy`
    says how many that must be at least (`min_corrupt`, 0 unless set).

    Attributes:
        ledger: the party's own.
        recipe: what the rounds sum; one with noise.
    """

    ledger: Ledger
    recipe: Recipe

    def reserve(self, config: RoundConfig, *, resumed: bool = False) -> None:
        """Set the round's cost aside, at the fewest survivors of its plan.

        A round is reserved once. Whoever offers a number again offers another round, and what leaves in that one has
        noise of its own: a second charge under one name would be one too few. Only a client that was resumed, whose
        record shows that no input of it left, may come back to the reservation it made before it stopped.

        Args:
            config: the round.
            resumed: the client's round was resumed from its record, and asks again for the same one.

        Raises:
            dp.BudgetExceeded: there is no room; take no part.
            dp.LedgerError: the ledger cannot be used, or the round was reserved before.
            RecipeError: the recipe has no noise, or is not the one that the round sums.
        """
        name, charge = round_name(config), self._charge(config)
        if resumed and self._is_reserved(name, charge):
            return
        self.ledger.reserve(name, charge)

    def commit(self, config: RoundConfig, *, survivors: int | None = None) -> None:
        """Say that the round's data left, and how many survived where that is known and proven.

        Raises:
            dp.LedgerError: the ledger cannot be used, or the round was not reserved. The reservation still counts.
            RecipeError: as `reserve`, or survivors is not of the plan.
        """
        self.ledger.commit(round_name(config), self._charge(config, survivors))

    def release(self, config: RoundConfig) -> None:
        """Lift the charge of a round of which nothing left.

        Raises:
            dp.LedgerError: the ledger cannot be used, or the round was not reserved.
        """
        self.ledger.release(round_name(config))

    def _charge(self, config: RoundConfig, survivors: int | None = None) -> Charge:
        """What the round costs, if it is one of this recipe: another's noise says nothing about it."""
        if config.recipe_digest != self.recipe.digest:
            raise RecipeError("the round sums another recipe than the one it would be charged for: pass the round's")
        return self.recipe.charge(config.plan, survivors=survivors)

    def _is_reserved(self, name: str, charge: Charge) -> bool:
        return any(
            entry.name == name and entry.state is State.RESERVED and entry.charge == charge
            for entry in self.ledger.entries
        )


def settle_aborted(spending: Spending, server: ServerRound) -> None:
    """Settle a server's round that ended without a sum: lifted if no input was asked for, else charged as planned.

    Whoever was asked may have sent its input and charged its own ledger for it, so this one says the same.

    Raises:
        dp.LedgerError: the ledger cannot be used. The reservation still counts.
    """
    match server.outcome:
        case Failed(error=RoundAborted(leg=leg)) if leg < Leg.MASK:
            spending.release(server.config)
        case _:
            spending.commit(server.config)
