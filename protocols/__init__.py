"""Secure aggregation around any training loop: recipes, simulated rounds, drivers and a demonstration.

    total = simulate(updates, plan, recipe)                     # one round, all parties in this process
    rounds = PrivateRounds(recipe, max_dropped=0.2, ...)        # the same, round after round
    run_server(...), run_client(...)                            # real parties over a transport of yours

Here, and only here, `secagg` and `dp` meet. Nothing below needs more than the core dependencies.
"""

import dp
from protocols._guard import foreign, is_own

if not is_own(dp):  # before anything of it is imported
    raise foreign(dp)

from protocols.driver import arun_client, arun_server, run_client, run_server
from protocols.errors import DeadlinePassed, FaultError, NoWeight, ProtocolError, RecipeError
from protocols.faults import corrupt, drop, late
from protocols.recipe import Recipe
from protocols.simulate import RoundReport, simulate
from protocols.spending import Spending
from protocols.total import Total
from protocols.training import PrivateRounds
from protocols.transport import AsyncMemoryNetwork, ClientTransport, MemoryNetwork, ServerTransport

__all__ = [
    "AsyncMemoryNetwork",
    "ClientTransport",
    "DeadlinePassed",
    "FaultError",
    "MemoryNetwork",
    "NoWeight",
    "PrivateRounds",
    "ProtocolError",
    "Recipe",
    "RecipeError",
    "RoundReport",
    "ServerTransport",
    "Spending",
    "Total",
    "arun_client",
    "arun_server",
    "corrupt",
    "drop",
    "late",
    "run_client",
    "run_server",
    "simulate",
]
