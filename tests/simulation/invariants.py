"""What must hold after every event, each as one function with its meaning: I1 to I11 and what goes with them.

The numbers are those of the design of this simulator. Each function looks at facts that the simulation gathered
from outside the product (`witness.py`, `tape.py`, and the calls themselves in `cast.py` and `honest.py`) and raises
`Breach` where they do not fit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Final

from secagg.aggregate import Aggregate
from secagg.config import RoundConfig
from secagg.errors import RoundAborted, TooFewClients, Unrecoverable
from secagg.pairwise.messages import (
    FROM_CLIENT,
    FROM_SERVER,
    MAX_OFFER_SIZE,
    MaskedInput,
    RoundOffer,
    UnmaskShares,
    max_size,
)
from secagg.round.events import Failed, Finished
from secagg.round.journal import Kind
from tests.simulation.breach import require
from tests.simulation.disks import Disk

if TYPE_CHECKING:
    from tests.simulation.witness import Seen, Witness

MASK_KEY_SEED: Final = 0
SELF_MASK_SEED: Final = 1
MIN_HONEST: Final = 2
_KINDS: Final = {kind.KIND: kind for kind in (*FROM_CLIENT, *FROM_SERVER)}


def i1_a_sum_is_exact(total: Aggregate, counted: Iterable[str], values: list[int]) -> None:
    """I1: an output of an honest server is exactly the sum of the one survivor set it declares, in the ring.

    What a lying client counts with is its masked words less the masks it was to put on; whatever it sent, nobody
    else's input may come out changed by it.
    """
    name = "i1_a_sum_is_exact"
    require(total.survivors == tuple(sorted(counted)), name, f"declared {total.survivors}, counted {sorted(counted)}")
    require(total.values.tolist() == values, name, f"{total.values.tolist()} is not {values}")


def i2_one_answer_a_leg(name: str, seen: Seen, *, rolled_back: bool) -> None:
    """I2: no client releases shares of both secrets of one peer, and none answers a leg in two ways.

    It agrees to one survivor set of a round and reveals shares for one. A client whose disk was rolled back may forget
    what it said; told the same by an honest server, it still reveals one secret of each peer only.
    """
    both = [dealer for dealer, kinds in seen.revealed.items() if len(kinds) > 1]
    require(not both, "i2_one_answer_a_leg", f"{name} released shares of both secrets of {both}")
    require(len(seen.unmasked) < 2, "i2_one_answer_a_leg", f"{name} unmasked {len(seen.unmasked)} survivor sets")
    require(len(seen.confirmed) < 2, "i2_one_answer_a_leg", f"{name} signed {len(seen.confirmed)} survivor sets")
    twice = [_KINDS[kind].__name__ for kind, said in seen.said.items() if len(said) > 1]
    require(rolled_back or not twice, "i2_one_answer_a_leg", f"{name} answered twice: {', '.join(twice)}")


def i3_nothing_but_the_sum_shows(witness: Witness) -> None:
    """I3: the server and all corrupt clients together never know both secrets of an honest client, nor any sum of
    honest inputs but that over the honest members of the one survivor set unmasked.
    """
    name = "i3_nothing_but_the_sum_shows"
    for position in witness.seen:
        open_to_both = witness.knows(position, SELF_MASK_SEED) and witness.knows(position, MASK_KEY_SEED)
        require(not open_to_both, name, f"both secrets of position {position} are known")
    groups = witness.shown()
    honest = {unmasked.intersection(witness.seen) for seen in witness.seen.values() for unmasked in seen.unmasked}
    require(len(groups) < 2, name, f"{len(groups)} partial sums show: {[sorted(group) for group in groups]}")
    for group in groups:
        require(group in honest, name, f"the sum of {sorted(group)} shows, which is no survivor set")
        i8_every_sum_holds_enough_honest_inputs(witness.config, group)


def i4_no_key_is_used_twice(known: object, now: object, detail: str) -> None:
    """I4: no box key, tag key or mask stream of an honest party serves two different messages, in any round of a
    session; to say the same again is no reuse. `Tape` knows which key made which message.
    """
    require(known == now, "i4_no_key_is_used_twice", detail)


def i5_floors_hold(witness: Witness, position: int) -> None:
    """I5: an honest client agrees to no survivor set without itself, below min_survivors, with fewer than two honest
    members left, or with a neighbor outside its own inbox; and it unmasks none that fewer than quorum clients signed.
    """
    name, seen, plan = "i5_floors_hold", witness.seen[position], witness.config.plan
    for survivors in seen.confirmed | seen.unmasked:
        require(position in survivors, name, f"position {position} agreed to a set without itself")
        require(len(survivors) >= plan.min_survivors, name, f"{len(survivors)} survivors")
        require(len(survivors) - plan.max_corrupt >= MIN_HONEST, name, f"{len(survivors)} survivors, too few honest")
        near = set() if seen.roster is None else survivors.intersection(seen.roster.neighbors(position))
        require(near <= seen.opened, name, f"position {position} agreed to survivors outside its inbox")
    for survivors in seen.unmasked if plan.quorum else ():
        signed = {peer for peer, other in witness.seen.items() if survivors in other.confirmed}
        signers = len(signed | (witness.corrupt & survivors))
        require(signers >= plan.quorum, name, f"position {position} unmasked on {signers} signatures")


def i6_all_who_unmask_agree(witness: Witness) -> None:
    """I6: all honest clients that unmask in a round believe in one roster and one survivor set."""
    views = {
        (seen.roster.digest, survivors)
        for seen in witness.seen.values()
        for survivors in seen.unmasked
        if seen.roster is not None
    }
    require(len(views) < 2, "i6_all_who_unmask_agree", f"{len(views)} views of one round were unmasked")


def i7_recorded_before_said(config: RoundConfig, answers: list[bytes], disk: Disk, *, finished: bool) -> None:
    """I7: nothing is released that was not spent before. When an answer leaves, the round's number is used up, the
    secret it is made from is on record, and so is the mark that an input was masked. A finished client keeps nothing.
    """
    name = "i7_recorded_before_said"
    require(disk.numbers.get(config.session, 0) >= config.round, name, "an answer left on an unused round number")
    kinds = {record[0] for record in disk.records}
    if finished:
        require(not disk.records, name, "a finished client kept its record")
        require(all(answer[4] == UnmaskShares.KIND for answer in answers), name, "a closed client spoke")
        return
    require(Kind.SECRET in kinds and Kind.REQUEST in kinds, name, "an answer left before its secret was on record")
    if any(answer[4] == MaskedInput.KIND for answer in answers):
        require(Kind.MASKED in kinds, name, "an input left without its mark")


def i8_every_sum_holds_enough_honest_inputs(config: RoundConfig, group: Collection[int]) -> None:
    """I8: a sum that can be computed holds at least min_survivors - max_corrupt honest inputs.

    Noise is sized for exactly so many honest shares of it (`docs/protocol.md`), so the noise realized is at least the
    noise planned. The simulator counts shares of noise as it counts inputs; it draws none.
    """
    floor = config.plan.min_survivors - config.plan.max_corrupt
    require(len(group) >= floor, "i8_every_sum_holds_enough_honest_inputs", f"{len(group)} honest inputs, {floor} due")


def i9_a_refusal_changes_nothing(before: object, after: object, rule: str) -> None:
    """I9: a message the server refuses leaves its round as it was, to the byte of its running sum.

    The one exception is a client whose inbox conflicts with a counted one: it is barred (`inbox-conflict`).
    """
    require(before == after, "i9_a_refusal_changes_nothing", f"a refusal by {rule} changed the round")


def i10_messages_stay_within_bounds(data: bytes, config: RoundConfig) -> None:
    """I10: nothing an honest party sends is longer than its kind can be in this round."""
    limit = MAX_OFFER_SIZE if data[4] == RoundOffer.KIND else max_size(_KINDS[data[4]], config)
    require(len(data) <= limit, "i10_messages_stay_within_bounds", f"{len(data)} bytes, at most {limit}")


def i11_only_typed_errors(allowed: object, detail: str) -> None:
    """I11: nothing but the typed errors of `secagg.errors` leaves the API, each only where its meaning allows it:
    MisuseError from a closed round, StorageError over an unsound disk, RemoteError never (it is an event).
    """
    require(allowed, "i11_only_typed_errors", detail)


# What goes with them.


def repeats_are_identical(name: str, first: tuple[bytes, ...], again: tuple[bytes, ...]) -> None:
    """An identical request gets identical bytes, in this life and in the next."""
    require(first == again, "repeats_are_identical", f"{name} answered one request in two ways")


def blame_is_just(error: RoundAborted, liars: Collection[str]) -> None:
    """No honest client is a suspect, and one of each two in dispute lies."""
    wronged = set(error.suspects) - set(liars)
    require(not wronged, "blame_is_just", f"{sorted(wronged)} suspected")
    disputes = [pair for pair in error.disputes if not set(pair) & set(liars)]
    require(not disputes, "blame_is_just", f"{disputes} in dispute, and none of them lies")
    typed = isinstance(error, TooFewClients | Unrecoverable)
    require(typed or not error.suspects, "blame_is_just", f"{type(error).__name__} names suspects")


def blamed_pairs_hold_a_liar(total: Aggregate, liars: Collection[str]) -> None:
    """A wrong share is blamed on a holder and a dealer of whom one lies."""
    unjust = [blame for blame in total.blamed if blame.holder not in liars and blame.dealer not in liars]
    require(not unjust, "blame_is_just", f"{unjust} blamed, and none of them lies")


def a_healed_round_finishes(able: Collection[str], need: int, outcome: Finished | Failed) -> None:
    """Liveness: once faults stop, nobody lies and a floor of clients can still answer, the round comes to a sum."""
    finished = isinstance(outcome, Finished)
    text = f"{sorted(able)} can still answer, {need} needed, and it ended as {outcome!r}"
    require(finished or len(able) < need, "a_healed_round_finishes", text)
