"""What the server rebuilds after leg 4, how it knows it is right, and whom it names where it is not.

Promise: every rebuilt seed opens what its dealer advertised, a self-mask seed its commitment and a mask-key seed its
public key; nothing is guessed and nothing unverified touches the sum. Wrong shares up to the spare ones do not stop
the round and are blamed on the pair (holder, dealer); a secret that cannot be rebuilt ends it.

Only one seed of each client is ever rebuilt: the self-mask seed of a survivor, or the mask-key seed of a client that
dropped after others masked towards it.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from secagg import masking, shamir
from secagg.aggregate import Aggregate, Blame
from secagg.config import RoundConfig
from secagg.errors import Unrecoverable
from secagg.pairwise import keys
from secagg.pairwise.roster import Joined
from secagg.primitives import agreement
from secagg.primitives.secret import Secret
from secagg.rules import Rule
from secagg.types import ClientId, Leg

_BATCH: Final = 512
"""Stream keys expanded together: enough to keep the kernel's chunk in cache, few enough to keep memory flat in n."""

Share = npt.NDArray[np.int64]


class Reports:
    """Who could not open whose box in leg 2, and what that proves.

    Args:
        unopened: reporter position -> the dealers it reported.
        max_corrupt: how many clients may lie.

    Attributes:
        proven: dealers reported by more than max_corrupt clients, so by an honest one.
        disputed: the other (reporter, dealer) pairs: one of the two lies.
    """

    __slots__ = ("disputed", "proven")

    def __init__(self, unopened: Mapping[int, frozenset[int]], max_corrupt: int) -> None:
        pairs = [(reporter, dealer) for reporter, dealers in sorted(unopened.items()) for dealer in sorted(dealers)]
        counts = collections.Counter(dealer for _, dealer in pairs)
        self.proven = frozenset(dealer for dealer, count in counts.items() if count > max_corrupt)
        self.disputed = tuple(pair for pair in pairs if pair[1] not in self.proven)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Recovery:
    """The heavy end of a round, ready to run.

    Attributes:
        config: the round.
        invited: all names, by position.
        joined: the roster.
        words: the sum of the survivors' masked inputs; `run` unmasks it in place.
        survivors: whose inputs are in it.
        opened: for each survivor, the clients it masked towards.
        shares: for each secret to rebuild, its dealer's position -> holder position -> share; emptied by `run`.
    """

    config: RoundConfig
    invited: tuple[ClientId, ...]
    joined: Joined
    words: npt.NDArray[np.unsignedinteger]
    survivors: frozenset[int]
    opened: Mapping[int, frozenset[int]]
    shares: dict[int, dict[int, Share]]

    @classmethod
    def prepare(
        cls,
        *,
        config: RoundConfig,
        invited: tuple[ClientId, ...],
        joined: Joined,
        words: npt.NDArray[np.unsignedinteger],
        survivors: frozenset[int],
        opened: Mapping[int, frozenset[int]],
        revealed: Mapping[int, Mapping[int, Share]],
        reports: Reports,
    ) -> Recovery:
        """Sort the revealed shares by dealer and see that every secret the sum needs has enough of them.

        Args:
            config: the round.
            invited: all names, by position.
            joined: the roster.
            words: the sum of masked inputs.
            survivors: whose inputs are in it.
            opened: for each survivor, the clients it masked towards.
            revealed: holder position -> dealer position -> share.
            reports: whose boxes did not open; a dealer short of shares is named only by what they prove.

        Raises:
            Unrecoverable: a secret has fewer shares than the threshold.
        """
        needed = survivors.union(*(opened[position] for position in survivors))
        shares: dict[int, dict[int, Share]] = {dealer: {} for dealer in sorted(needed)}
        for holder, dealt in sorted(revealed.items()):
            for dealer, share in dealt.items():
                shares[dealer][holder] = share
        for dealer, held in shares.items():
            if len(held) < config.plan.threshold:
                reason = f"{len(held)} shares of a secret of {invited[dealer]}, {config.plan.threshold} needed"
                suspects = (invited[dealer],) if dealer in reports.proven else ()
                disputes = tuple((invited[one], invited[other]) for one, other in reports.disputed if other == dealer)
                raise Unrecoverable(Rule.SECRET_MATCHES, reason, leg=Leg.UNMASK, suspects=suspects, disputes=disputes)
        return cls(config, invited, joined, words, survivors, opened, shares)

    def run(self, *, executor: Executor | None = None, workers: int = 1) -> Aggregate:
        """Rebuild the secrets, take every mask off and center the sum.

        Args:
            executor: threads to expand masks on, or None.
            workers: how many of them.

        Raises:
            Unrecoverable: a secret could not be rebuilt; names the dealer where the shares prove its fault.
            ConfigError: workers do not fit the executor; nothing was done.
        """
        masking.check_workers(executor, workers)
        secrets: dict[int, Secret] = {}
        try:
            blamed = self._rebuild(secrets)
            self.shares.clear()  # they grow with the square of the cohort; the masks and the sum need their memory
            with contextlib.closing(self._masks(secrets)) as masks:  # whatever ends it, it wipes what it holds
                while self._remove_some(masks, executor, workers):
                    pass
        finally:
            for secret in secrets.values():
                secret.wipe()
        self.config.ring.reduce(self.words)
        return Aggregate(
            values=self.config.ring.center(self.words),
            invited=self.invited,
            joined=self._names(self.joined.adverts),
            survivors=self._names(self.survivors),
            config_digest=self.config.digest,
            blamed=blamed,
            instructions_digest=self.config.instructions_digest,
        )

    def _remove_some(self, masks: Iterator[tuple[Secret, int]], executor: Executor | None, workers: int) -> bool:
        """Take the next few masks off; False where there were none left."""
        batch: list[tuple[Secret, int]] = []
        try:
            batch.extend(itertools.islice(masks, _BATCH))  # keeps, to be wiped, what was made before an error
            masking.accumulate(
                self.words,
                plus=[key for key, sign in batch if sign < 0],
                minus=[key for key, sign in batch if sign > 0],
                executor=executor,
                workers=workers,
            )
        finally:
            for key, _ in batch:
                key.wipe()
        return bool(batch)

    def _names(self, positions: Mapping[int, object] | frozenset[int]) -> tuple[ClientId, ...]:
        return tuple(self.invited[position] for position in sorted(positions))

    # Rebuilding secrets.

    def _rebuild(self, secrets: dict[int, Secret]) -> tuple[Blame, ...]:
        """Rebuild every secret into `secrets`, most of them in one batch for each set of holders.

        A secret whose first shares fail its check is recovered past the wrong ones on its own. The holders it names
        are distrusted from then on, so one liar costs one slow recovery, not one for each dealer.
        """
        distrust: collections.Counter[int] = collections.Counter()
        blamed: list[Blame] = []
        pending = list(self.shares)
        while pending:
            self._rebuild_batch(pending, distrust, secrets)
            pending = [dealer for dealer in pending if dealer not in secrets]
            if pending:
                dealer = pending.pop(0)
                secrets[dealer], liars = self._rebuild_past_liars(dealer, distrust)
                distrust.update(liars)
                # With t + m shares on the dealer's polynomial t of them are honest; with fewer, holders who collude
                # can bend it around honest ones and still meet the dealer's secret.
                if len(liars) <= self._spare(dealer) - self.config.plan.max_corrupt:
                    blamed += [self._blame(liar, dealer) for liar in liars]
        return tuple(blamed)

    def _rebuild_batch(
        self, dealers: list[int], distrust: collections.Counter[int], secrets: dict[int, Secret]
    ) -> None:
        """Rebuild into `secrets` what verifies from the t least distrusted shares of each dealer."""
        groups: dict[tuple[int, ...], list[int]] = collections.defaultdict(list)
        for dealer in dealers:
            trusted = sorted(self.shares[dealer], key=lambda holder: (distrust[holder], holder))
            groups[tuple(trusted[: self.config.plan.threshold])].append(dealer)
        for holders, group in groups.items():
            values = np.stack([[self.shares[dealer][holder] for holder in holders] for dealer in group])
            recovered = shamir.recover_many(values, np.asarray(holders, dtype=np.int64) + 1)
            found = {dealer: secret for dealer, secret in zip(group, recovered, strict=True) if secret is not None}
            try:
                secrets |= {dealer: secret for dealer, secret in found.items() if self._verifies(dealer, secret)}
            finally:
                for dealer, secret in found.items():
                    if dealer not in secrets:
                        secret.wipe()  # a wrong share away from the right one is too near

    def _rebuild_past_liars(self, dealer: int, distrust: collections.Counter[int]) -> tuple[Secret, list[int]]:
        held = self.shares[dealer]
        holders = list(held)
        found = shamir.recover_verified(
            np.stack(list(held.values())),
            np.asarray(holders, dtype=np.int64) + 1,
            threshold=self.config.plan.threshold,
            verify=lambda secret: self._verifies(dealer, secret),
            distrust=[distrust[holder] for holder in holders],
        )
        if found.secret is None:
            raise self._unrecoverable(dealer, found)
        return found.secret, [x - 1 for x in found.bad_holders]

    def _spare(self, dealer: int) -> int:
        return len(self.shares[dealer]) - self.config.plan.threshold

    def _blame(self, holder: int, dealer: int) -> Blame:
        return Blame(rule=Rule.SHARE_CONSISTENT, holder=self.invited[holder], dealer=self.invited[dealer])

    def _unrecoverable(self, dealer: int, found: shamir.Recovery) -> Unrecoverable:
        """Name the dealer where the shares prove its fault, and nobody where they do not.

        Colluding holders can bend their shares until t + 1 agree on a secret the dealer never shared: t - 1 honest
        ones and two of theirs are enough. With t + max_corrupt agreeing, t of them are honest, and they had their
        shares from the dealer. And where max_corrupt wrong shares are at most half the spare ones, they could not
        have kept an honest dealer's secret from being found.
        """
        name, plan = self.invited[dealer], self.config.plan
        agreed = found.dealer_at_fault and found.agreeing >= plan.threshold + plan.max_corrupt
        certain = agreed or plan.max_corrupt <= self._spare(dealer) // 2
        fault = "what it shared is not what it advertised" if certain else "too many shares are wrong to tell whose"
        suspects = (name,) if certain else ()
        reason = f"a secret of {name} does not verify: {fault}"
        return Unrecoverable(Rule.SECRET_MATCHES, reason, leg=Leg.UNMASK, suspects=suspects)

    def _verifies(self, dealer: int, secret: Secret) -> bool:
        """Whether a rebuilt seed opens what its dealer advertised: a survivor's commitment, anyone else's mask key."""
        advert, digest, box = self.joined.adverts[dealer], self.config.digest, self.joined.box_endpoint(dealer)
        if dealer in self.survivors:
            return keys.seed_commitment(secret, config_digest=digest, box=box) == advert.seed_commitment
        private = keys.mask_private(secret, config_digest=digest, box=box)
        public = agreement.public_key(private)
        private.wipe()
        return public == advert.mask_key

    # Expanding masks.

    def _masks(self, secrets: Mapping[int, Secret]) -> Generator[tuple[Secret, int], None, None]:
        """Every mask still in the sum, with the sign it went in by.

        Masks between two survivors have cancelled. Left are each survivor's self mask, and the masks survivors put
        in towards clients that dropped.
        """
        digest = self.config.digest
        for dealer, secret in secrets.items():
            box = self.joined.box_endpoint(dealer)
            if dealer in self.survivors:
                yield keys.self_mask_key(secret, config_digest=digest, box=box), 1
                continue
            private = keys.mask_private(secret, config_digest=digest, box=box)
            try:
                yield from self._masks_towards(dealer, private)
            finally:
                private.wipe()

    def _masks_towards(self, dealer: int, private: Secret) -> Iterator[tuple[Secret, int]]:
        """The masks that survivors put in towards one client that dropped."""
        own = self.joined.mask_endpoint(dealer)
        for survivor in sorted(self.survivors):
            if dealer in self.opened[survivor]:
                peer = self.joined.mask_endpoint(survivor)
                key = keys.pairwise_mask_key(
                    private, own, peer, config_digest=self.config.digest, roster_digest=self.joined.digest
                )
                yield key, masking.pair_sign(survivor, dealer)
