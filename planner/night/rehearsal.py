"""Carrying out one cohort's update, before the fleet does."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from planner.demand.cohorts import Cohort
from planner.errors import FollowError
from planner.follow.follower import Abilities, Followed, Trust, follow
from planner.follow.remote import Remote
from planner.history.objects import ObjectSets
from planner.history.records import History
from planner.night.repositories import Site
from planner.publish.signatures import PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """One cohort's update, carried out."""

    cohort: Cohort
    followed: Followed | None
    error: str | None

    @property
    def is_verified(self) -> bool:
        """Whether the client reached the target, whole."""
        return self.followed is not None


def rehearse(
    site: Site,
    remote: Remote,
    cohort: Cohort,
    objects: ObjectSets,
    scratch: Path,
    keys: tuple[PublicKey, ...] = (),
) -> Rehearsal:
    """Let a new client follow its published route that holds the cohort's base, its layers where it keeps them apart,
    and nothing else; with keys, the routes must be signed. A cohort that wants an older target is let go back.
    """  # noqa: D205
    abilities = Abilities(
        max_hops=cohort.max_hops, max_wire_bytes=cohort.max_wire_bytes, layers=cohort.layers, codecs=cohort.codecs
    )
    base = objects.history.commits.get(cohort.base)
    held = (cohort.base, *(base.layers if base and cohort.layers else ()))
    trust = Trust(keys=keys, allow_downgrade=_is_downgrade(objects.history, cohort))
    want, is_ref = cohort.ref or cohort.target, cohort.ref is not None
    with tempfile.TemporaryDirectory(dir=scratch, prefix="client-") as folder:
        client = site.make_client(remote, Path(folder) / "repository", held, objects)
        try:
            done = follow(client, remote, base=cohort.base, want=want, is_ref=is_ref, abilities=abilities, trust=trust)
        except FollowError as error:
            return Rehearsal(cohort=cohort, followed=None, error=str(error))
    return Rehearsal(cohort=cohort, followed=done, error=None)


def raise_unverified(done: tuple[Rehearsal, ...]) -> None:
    """Raise where a cohort did not reach its target, or only by a full pull that the plan did not choose.

    Raises:
        FollowError: it names the first such cohort.
    """
    for one in done:
        reason = one.error or (one.followed.fallback_reason if one.followed else None)
        if reason:
            raise FollowError("a base did not reach its target by its route", base=one.cohort.base, reason=reason)


def _is_downgrade(history: History, cohort: Cohort) -> bool:
    base, target = history.commits.get(cohort.base), history.commits.get(cohort.target)
    return base is not None and target is not None and target.committed_at < base.committed_at
