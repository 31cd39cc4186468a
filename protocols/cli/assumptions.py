"""What has to be so for the figures of a budget to hold, in sentences.

Promise: a sentence for everything that the accounting takes for granted, and none about what it does not.

Imports `protocols.budget` and dp's events.
"""

from __future__ import annotations

from typing import Final

from dp.events import Neighboring
from protocols.budget import Choice, Mechanism, Sampling


def assumptions(choice: Choice) -> tuple[str, ...]:
    """Return, in sentences, what has to be so for the two figures to hold."""
    return (
        _about_neighbors(choice.neighboring),
        _about_noise(choice),
        _about_survivors(choice),
        _about_participation(choice),
        _about_public(choice),
        _ABOUT_ROUNDS,
    )


_ABOUT_ROUNDS: Final = (
    "Every round draws fresh noise, and all parameters are fixed before the first. What else is released from the same "
    "clients' data, such as tuning runs and earlier models, costs extra."
)


def _about_neighbors(neighboring: Neighboring) -> str:
    what = "zeros" if neighboring is Neighboring.ZERO_OUT else "any others"
    return (
        f"Neighbors differ in that all updates of one client become {what}. That it takes part is no secret from the "
        "server; a person with two clients, or one record of a client, is another unit."
    )


def _about_noise(choice: Choice) -> str:
    if choice.mechanism is Mechanism.GAUSSIAN:
        return (
            "The noise is Gaussian over the reals, by shares of the invited or by somebody who is trusted; floats only "
            "approximate it."
        )
    sized = "" if choice.sampling is Sampling.FIXED else ", sized by the number invited so that the sum's is the same"
    return (
        f"Every honest client adds its share of the Skellam noise{sized}. It clips to {choice.levels:.10g} steps and "
        f"holds the L2 norm of its {choice.length} integers, after rounding, to {choice.sensitivity:.7g}, as a recipe "
        "with noise does."
    )


def _about_survivors(choice: Choice) -> str:
    few = choice.sampling is Sampling.POISSON and choice.honest < choice.invited
    return (
        f"The noise is charged at a multiplier of {choice.charged:.6g}, as that of {choice.honest} of {choice.invited} "
        f"invited: {_up_to(choice.max_dropped)} missing and {_up_to(choice.max_corrupt)} at work for the server"
        f"{', in proportion fewer in a smaller cohort' if few else ''}. A sum of fewer is not released."
    )


def _up_to(count: int) -> str:
    return f"up to {count} are" if count else "nobody is"


def _about_participation(choice: Choice) -> str:
    if choice.capped:
        return (
            f"No client is in more than {choice.participations} of the {choice.rounds} rounds; the coordinator or the "
            "client's own record enforces that, and nothing here does."
        )
    if choice.rounds == 1:
        return "Against the server a client is charged for the round, as it may be invited to it."
    return f"Against the server a client is charged for all {choice.rounds} rounds, as it may be invited to each."


def _about_public(choice: Choice) -> str:
    if choice.capped:
        return (
            "Against the published model no gain from sampling is claimed: a cap on participations makes the draws "
            "depend on one another."
        )
    if choice.invited == choice.population:
        return "Everyone is invited to every round, so there is no draw that could be secret."
    how = (
        "draws exactly the invited, uniformly"
        if choice.sampling is Sampling.FIXED
        else "tosses a coin for every client"
    )
    return (
        f"The published model's figure needs a coordinator that {how} and afresh each round, and keeps the draw "
        "secret; who drops out must not depend on it. It is none against a client that took part, as it saw who else "
        "was invited."
    )
