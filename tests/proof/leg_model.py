"""The legs of a round as a small machine, explored to its last state: a lying server, m helpers, and honest clients.

Messages are symbols here. An honest client is what it was shown so far, a `View`; the server shows anything it can
make, in any order, to any client, and never has to show the next thing, which is all that dropping out is. What the
clients said follows from their views, so a state is one view a client, and `explore` visits every reachable one,
breadth first, each interleaving included.

`Numbers` are a plan's, and need not be safe ones; `Rules` says what a client refuses, and need not be what the product
refuses: a model that cannot fail proves nothing.

Left out: signatures and boxes are ideal, a box opens for its receiver under the dealer's roster and for nobody else,
and the graph is complete. Sets of clients are bit masks.

Imports nothing of the product.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """Who takes part: the first clients - corrupt are honest, the others are the server's."""

    clients: int
    corrupt: int
    dropped: int
    threshold: int
    quorum: int

    @property
    def everyone(self) -> int:
        return (1 << self.clients) - 1

    @property
    def honest(self) -> range:
        return range(self.clients - self.corrupt)

    @property
    def helpers(self) -> int:
        return self.everyone & ~((1 << (self.clients - self.corrupt)) - 1)

    @property
    def floor(self) -> int:
        """Fewest survivors."""
        return self.clients - self.dropped


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What an honest client holds against what.

    Attributes:
        against_inbox: a survivor set is held against the own inbox; false holds it against the roster.
        honest_floor: survivors besides the plan's colluders that a sum must have.
        rosters: whether the server tries rosters other than of everyone.
    """

    against_inbox: bool = True
    honest_floor: int = 2
    rosters: bool = True


class View(NamedTuple):
    """What one honest client was shown; 0 where it was shown nothing yet. No set of these is ever empty."""

    roster: int = 0
    inbox: int = 0
    survivors: int = 0
    unmasked: bool = False


State = tuple[View, ...]


def size(members: int) -> int:
    return members.bit_count()


def holds(members: int, position: int) -> bool:
    return bool(members >> position & 1)


def subsets(members: int) -> Iterator[int]:
    """Every subset, the empty one last."""
    chosen = members
    while chosen:
        yield chosen
        chosen = (chosen - 1) & members
    yield 0


# What an honest client accepts, one leg after the other. An inbox holds the client's own bit: it has its own shares.


def accepts_roster(numbers: Numbers, position: int, roster: int) -> bool:
    return holds(roster, position) and size(roster) >= max(numbers.threshold, numbers.floor)


def accepts_inbox(numbers: Numbers, roster: int, position: int, inbox: int) -> bool:
    """`inbox` is of the boxes that open, and the client's own shares."""
    return not inbox & ~roster and holds(inbox, position) and size(inbox) >= numbers.threshold


def accepts_survivors(numbers: Numbers, rules: Rules, view: View, position: int, survivors: int) -> bool:
    believed = view.inbox if rules.against_inbox else view.roster
    return (
        not survivors & ~view.roster
        and holds(survivors, position)
        and not survivors & ~believed
        and size(survivors) >= numbers.floor
        and size(survivors) - numbers.corrupt >= rules.honest_floor
    )


def accepts_request(numbers: Numbers, signers: int) -> bool:
    return size(signers) >= numbers.quorum


# What the server can show next.


def successors(numbers: Numbers, rules: Rules, state: State) -> Iterator[State]:
    """Every state one delivery away."""
    for position, view in enumerate(state):
        for shown in deliveries(numbers, rules, state, position, view):
            yield (*state[:position], shown, *state[position + 1 :])


def deliveries(numbers: Numbers, rules: Rules, state: State, position: int, view: View) -> Iterator[View]:
    own = 1 << position
    if not view.roster:
        rosters = subsets(numbers.everyone) if rules.rosters else iter((numbers.everyone,))
        yield from (view._replace(roster=roster) for roster in rosters if accepts_roster(numbers, position, roster))
    elif not view.inbox:
        dealt = numbers.helpers & view.roster | dealers_under(state, view.roster)
        choices = (own | chosen for chosen in subsets(dealt & ~own))
        yield from (
            view._replace(inbox=inbox) for inbox in choices if accepts_inbox(numbers, view.roster, position, inbox)
        )
    elif not view.survivors:
        yield from (
            view._replace(survivors=survivors)
            for survivors in subsets(view.roster)
            if accepts_survivors(numbers, rules, view, position, survivors)
        )
    elif not view.unmasked and accepts_request(numbers, signers_of(numbers, state, view)):
        yield view._replace(unmasked=True)


def dealers_under(state: State, roster: int) -> int:
    """Honest clients that sealed boxes under this roster."""
    return sum(1 << position for position, view in enumerate(state) if view.roster == roster)


def signers_of(numbers: Numbers, state: State, view: View) -> int:
    """Survivors whose signature on this client's survivor set exists; helpers sign anything."""
    honest = sum(
        1 << position
        for position, other in enumerate(state)
        if (other.roster, other.survivors) == (view.roster, view.survivors)
    )
    return (honest | numbers.helpers) & view.survivors


# What the server and its helpers know.


@dataclass(frozen=True)
class Knowledge:
    """What can be worked out from all that was said.

    Attributes:
        seeds: honest clients whose self-mask seed is open.
        keys: honest clients whose mask key is open.
        sums: the sets of honest clients whose inputs' sum can be read.
    """

    seeds: int
    keys: int
    sums: frozenset[int]


def knowledge(numbers: Numbers, state: State) -> Knowledge:
    seeds = sum(1 << victim for victim in numbers.honest if opens(numbers, state, victim, of_survivor=True))
    keys = sum(1 << victim for victim in numbers.honest if opens(numbers, state, victim, of_survivor=False))
    return Knowledge(seeds, keys, readable_sums(numbers, state, seeds, keys))


def opens(numbers: Numbers, state: State, victim: int, *, of_survivor: bool) -> bool:
    """Whether enough shares of a victim's seed, or of its mask key, are known: the helpers hold both from leg 1 on."""
    roster = state[victim].roster
    given = sum(
        view.unmasked
        and view.roster == roster
        and holds(view.inbox, victim)
        and holds(view.survivors, victim) == of_survivor
        for view in state
    )
    return bool(roster) and given + size(numbers.helpers & roster) >= numbers.threshold


def readable_sums(numbers: Numbers, state: State, seeds: int, keys: int) -> frozenset[int]:
    """Sets of honest clients whose masked inputs add up to nothing but inputs and known masks.

    A mask between two clients that is not known ties their inputs together where both put it in, and spoils the one
    that did where only one did. What is tied together and not spoilt can be read, and nothing smaller.
    """
    tied: dict[int, int] = {}
    spoilt = 0
    for position, view in enumerate(state):
        if not view.inbox:
            continue
        tied[position] = 1 << position
        if not holds(seeds, position):
            spoilt |= 1 << position
        for peer in numbers.honest:
            known = holds(keys, position) or holds(keys, peer)
            if peer == position or known or not holds(view.inbox, peer):
                continue
            other = state[peer]
            if holds(other.inbox, position) and other.roster == view.roster:
                tied[position] |= 1 << peer
            else:
                spoilt |= 1 << position
    return frozenset(group for group in groups(tied) if not group & spoilt)


def groups(tied: dict[int, int]) -> Iterator[int]:
    """Connected components of a symmetric relation."""
    left = sum(1 << position for position in tied)
    while left:
        group, grown = 0, left & -left
        while grown != group:
            group = grown
            for position, others in tied.items():
                if holds(group, position):
                    grown |= others
        yield group
        left &= ~group


# What must never be.


def violation(numbers: Numbers, rules: Rules, state: State) -> str | None:
    """The name of what went wrong in this state, or None."""
    known = knowledge(numbers, state)
    if known.seeds & known.keys:
        return "both secrets"
    confirmed = {(view.roster, view.survivors) for view in state if view.unmasked}
    if len(confirmed) > 1:
        return "two survivor sets"
    honest = numbers.everyone & ~numbers.helpers
    whole = {survivors & honest for _, survivors in confirmed}
    if not known.sums <= whole or any(size(group) < rules.honest_floor for group in known.sums):
        return "partial sum"
    return None


@dataclass
class Explored:
    """All of it.

    Attributes:
        states: how many were reached.
        sums: every set of honest clients whose sum was readable in some state.
        violations: what went wrong -> a shortest way there, one state a delivery.
    """

    states: int = 0
    sums: set[int] = field(default_factory=set)
    violations: dict[str, tuple[State, ...]] = field(default_factory=dict)


def explore(numbers: Numbers, rules: Rules | None = None, *, until: str | None = None) -> Explored:
    """Visit every reachable state, breadth first.

    Args:
        numbers: who takes part.
        rules: what clients refuse; the product's rules unless given.
        until: a violation to stop at; none unless given, and every state is visited.
    """
    rules = rules or Rules()
    start: State = tuple(View() for _ in numbers.honest)
    parents: dict[State, State | None] = {start: None}
    waiting = collections.deque([start])
    found = Explored()
    while waiting:
        state = waiting.popleft()
        if any(view.unmasked for view in state) or numbers.helpers:  # else nobody has revealed a thing
            found.sums |= knowledge(numbers, state).sums
            wrong = violation(numbers, rules, state)
            if wrong is not None and wrong not in found.violations:
                found.violations[wrong] = way_to(state, parents)
                if wrong == until:
                    break
        for following in successors(numbers, rules, state):
            if following not in parents:
                parents[following] = state
                waiting.append(following)
    found.states = len(parents)
    return found


def way_to(state: State, parents: dict[State, State | None]) -> tuple[State, ...]:
    way = [state]
    while (parent := parents[way[-1]]) is not None:
        way.append(parent)
    return tuple(reversed(way))


def certified(clients: int) -> Iterator[Numbers]:
    """The numbers of every safe plan against a lying server, each with its smallest threshold and quorum."""
    for corrupt, dropped in itertools.product(range(clients), repeat=2):
        least = (clients + corrupt) // 2 + 1
        if least <= clients - dropped and clients - dropped - corrupt >= 2:
            yield Numbers(clients=clients, corrupt=corrupt, dropped=dropped, threshold=least, quorum=least)
