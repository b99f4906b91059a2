"""Carrying out one cohort's update, before the fleet does."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from planner.demand.cohorts import Cohort
from planner.errors import FollowError
from planner.follow.follower import Abilities, Followed, follow
from planner.follow.remote import Remote
from planner.history.objects import ObjectSets
from planner.night.repositories import Site


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


def rehearse(site: Site, remote: Remote, cohort: Cohort, objects: ObjectSets, scratch: Path) -> Rehearsal:
    """Let a new client follow its published route that holds the cohort's base, its layers where it keeps them apart,
    and nothing else.
    """  # noqa: D205
    abilities = Abilities(max_hops=cohort.max_hops, max_wire_bytes=cohort.max_wire_bytes, layers=cohort.layers)
    base = objects.history.commits.get(cohort.base)
    held = (cohort.base, *(base.layers if base and cohort.layers else ()))
    want, is_ref = cohort.ref or cohort.target, cohort.ref is not None
    with tempfile.TemporaryDirectory(dir=scratch, prefix="client-") as folder:
        client = site.make_client(remote, Path(folder) / "repository", held, objects)
        try:
            done = follow(client, remote, base=cohort.base, want=want, is_ref=is_ref, abilities=abilities)
        except FollowError as error:
            return Rehearsal(cohort=cohort, followed=None, error=str(error))
    return Rehearsal(cohort=cohort, followed=done, error=None)
