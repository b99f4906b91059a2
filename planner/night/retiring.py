"""Deltas on their way out: retired when no route names them, removed once nobody can be under way with them.

    retired     no route and no plan names it; it is whole, and stock clients find it, for the grace period
    unlinked    the file that clients fetch first is gone: who asks gets a 404 and pulls in full; the rest is there
                for clients that fetched the first file before
    removed     nothing is left

Each state is in the journal before it is brought about, and bringing it about twice does no harm. Time is measured
by `elapsed_s`, and no delta goes through two states in one run: a clock that jumped takes nothing from anybody at once.

A stock client pulls in full where a superblock is missing; a missing part ends its update. Hence the two states.

Source: libostree, `ostree-repo-pull.c`: a superblock that is not found is no error, a part that is not found is.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from planner.build.builders import DELTA_FILE
from planner.delta.paths import SUPERBLOCK
from planner.history.files import remove_files, sync_directory
from planner.night.clock import elapsed_s
from planner.night.journal import Retirement, RetirementState
from planner.night.repositories import Site
from planner.night.session import Session
from planner.publish.publisher import is_published
from planner.publish.signatures import SigningKey
from planner.weigh.candidates import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Retirer:
    """Retires deltas of one site; `grace_s` and `drain_s` are how long a delta stays in the two states at least."""

    site: Site
    session: Session
    grace_s: float
    drain_s: float

    def retire(self, used: Collection[Candidate]) -> list[Candidate]:
        """Deltas of ours that are published and not used any more: their grace begins. Those used again stay.

        Deltas that somebody else made are left alone.
        """
        journal, now = self.session.journal, self.session.clock.now()
        known = journal.retired()
        for candidate in known:
            if candidate in used:
                journal.forget_retired(candidate)
        new = [candidate for candidate in self.served() if candidate not in used and candidate not in known]
        for candidate in new:
            journal.retire(candidate, RetirementState.RETIRED, self.session.run, now)
        return new

    def served(self) -> dict[Candidate, int]:
        """Deltas of ours that clients find, with their bytes."""
        artifacts = self.session.catalogue.artifacts()
        return {one: artifact.wire_bytes for one, artifact in artifacts.items() if is_published(self.site, one)}

    def sweep(
        self, used: Collection[Candidate], key: SigningKey | None = None
    ) -> tuple[list[Candidate], list[Candidate]]:
        """Unlink what was retired long enough ago, and remove what was unlinked long enough ago.

        Index and summary are written again where something was unlinked; `key` signs a summary of ours.
        """
        due = [one for one in self.session.journal.retired().values() if one.candidate not in used]
        removed = [one.candidate for one in due if self._is_over(one, RetirementState.UNLINKED, self.drain_s)]
        unlinked = [one.candidate for one in due if self._is_over(one, RetirementState.RETIRED, self.grace_s)]
        self._remove(removed)
        self._unlink(unlinked, key)
        return unlinked, removed

    def draining(self) -> set[Path]:
        """Places that are not free: what is left of an unlinked delta may still be read there."""
        retired = self.session.journal.retired().values()
        return {self.place(one.candidate) for one in retired if one.state is RetirementState.UNLINKED}

    def _is_over(self, one: Retirement, state: RetirementState, least_s: float) -> bool:
        if one.state is not state or one.run >= self.session.run:
            return False
        return elapsed_s(one.since, self.session.clock.now()) >= least_s

    def _remove(self, candidates: Iterable[Candidate]) -> None:
        for candidate in candidates:
            place = self.place(candidate)
            shutil.rmtree(place, ignore_errors=True)
            if place.parent.exists():
                sync_directory(place.parent)
            self.session.journal.forget_retired(candidate)

    def _unlink(self, candidates: Collection[Candidate], key: SigningKey | None) -> None:
        now = self.session.clock.now()
        for candidate in candidates:
            self.session.journal.retire(candidate, RetirementState.UNLINKED, self.session.run, now)
            place = self.place(candidate)
            if place.exists():
                remove_files([place / SUPERBLOCK, place / DELTA_FILE])
        if candidates:
            self.site.reindex()
            self.site.write_summary(key)

    def place(self, candidate: Candidate) -> Path:
        """The folder in which clients look for a delta."""
        path = self.site.published_path(candidate.base, candidate.target, candidate.codec)
        return self.site.path / path
