"""Making candidates: what they have in common first, then each of them, proven; every result is kept as it comes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from planner.build.builders import OSTreeBuilder
from planner.build.executors import Executor
from planner.build.jobs import Failed, Made, run_jobs
from planner.build.pool import Pool
from planner.delta.superblock import COMPOSED, NATIVE
from planner.errors import BuildError
from planner.night.joblog import JobLog
from planner.night.repositories import Site
from planner.publish.publisher import is_published
from planner.weigh.candidates import Candidate
from planner.weigh.catalogue import Catalogue
from planner.weigh.chains import Chain, Pair, cheapest_chains


class Reporter(Protocol):
    """Where progress goes."""

    def say(self, text: str) -> None:
        """One line of news."""

    def advance(self, step: str, done: int, total: int, note: str) -> None:
        """How far a step has come, and what it just finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker:
    """Makes candidates of one site; `name` is how a person names one, `attempts` how often one is tried in a night."""

    site: Site
    pool: Pool
    catalogue: Catalogue
    log: JobLog
    reporter: Reporter
    executor: Executor
    proofs: Path
    name: Callable[[Candidate], str]
    attempts: int = 1

    @property
    def workers(self) -> int:
        """Jobs at a time."""
        return self.executor.workers

    def make(self, step: str, candidates: Sequence[Candidate], chains: Mapping[Pair, Chain]) -> list[Failed]:
        """Build and prove candidates; those that failed. `chains` has the hops of every composed one.

        Hops are made first where they are not at hand, whether anybody else needs them or not.
        """
        hops = {
            one: [Candidate(base=base, target=target, codec=NATIVE) for base, target in chains[one.base, one.target]]
            for one in candidates
            if one.codec == COMPOSED
        }
        direct = [candidate for candidate in candidates if candidate.codec != COMPOSED]
        of_all = sorted({hop for of_one in hops.values() for hop in of_one})
        failed = self._run(step, [*direct, *self.lacking([hop for hop in of_all if hop not in direct])])
        gone = set(self.lacking(of_all))
        ready = {one: of_one for one, of_one in hops.items() if not gone.intersection(of_one)}
        reason = "a delta that it is composed of could not be made"
        failed += [Failed(candidate=one, reason=reason, is_final=False) for one in hops if one not in ready]
        self._order(ready)
        failed += self._run(step, list(ready))
        # Proofs keep a repository per base for the next proof; between runs that would only fill the disk.
        shutil.rmtree(self.proofs, ignore_errors=True)
        return failed

    def lacking(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Those that are neither published nor proven in the pool."""
        artifacts = self.catalogue.artifacts()
        return [
            candidate
            for candidate in candidates
            if not is_published(self.site, candidate)
            and not (candidate in artifacts and self.pool.has(artifacts[candidate]))
        ]

    def _order(self, hops: Mapping[Candidate, Sequence[Candidate]]) -> None:
        """Tell the workshop what composed deltas are made of."""
        builder, needs = self.site.builder, self.catalogue.needs()
        for one, of_one in hops.items():
            assert isinstance(builder, OSTreeBuilder)  # noqa: S101 - only OSTree has composed deltas
            pairs = [(hop.base, hop.target) for hop in of_one]
            of_hops = [need for hop in of_one for need in needs.get(hop, ())]
            builder.workshop.order_composed(one.base, one.target, pairs, of_hops)

    def _run(self, step: str, candidates: Sequence[Candidate]) -> list[Failed]:
        """Try candidates, those that failed for a reason that may pass again; those that failed in the end."""
        failed: list[Failed] = []
        waiting = list(candidates)
        for attempt in range(1, self.attempts + 1):
            outcomes = list(self._try(step, waiting)) if waiting else []
            is_last = attempt == self.attempts
            failed += [one for one in outcomes if one.is_final or is_last]
            waiting = [one.candidate for one in outcomes if not (one.is_final or is_last)]
        return failed

    def _try(self, step: str, candidates: Sequence[Candidate]) -> Iterator[Failed]:
        """One attempt at each candidate that the gate lets start; those that failed."""
        ready, unprepared = self._prepare(candidates)
        for one in unprepared:
            self._record(step, one)
            yield one
        starting = (one for one in ready if self.log.begin(step, one))
        with closing(run_jobs(self.site.builder, self.pool, starting, executor=self.executor)) as outcomes:
            for number, outcome in enumerate(outcomes, start=1):
                note = self._record(step, outcome)
                self.reporter.advance(step, number, len(ready), note)
                if isinstance(outcome, Failed):
                    yield outcome

    def _prepare(self, candidates: Sequence[Candidate]) -> tuple[list[Candidate], list[Failed]]:
        """Make what candidates have in common: for all together, or where that fails for each target alone."""
        if not self._fault_of_preparing(candidates):
            return list(candidates), []
        by_target: dict[str, list[Candidate]] = {}
        for one in candidates:
            by_target.setdefault(one.target, []).append(one)
        ready: list[Candidate] = []
        failed: list[Failed] = []
        for some in by_target.values():
            reason = self._fault_of_preparing(some)
            ready += [] if reason else some
            failed += [Failed(candidate=one, reason=reason, is_final=False) for one in some if reason]
        return ready, failed

    def _fault_of_preparing(self, candidates: Sequence[Candidate]) -> str:
        try:
            self.site.builder.prepare(candidates, executor=self.executor, report=self.reporter.advance)
        except BuildError as error:
            return str(error)
        return ""

    def _record(self, step: str, outcome: Made | Failed) -> str:
        """Keep a job's result in the catalogue; what a person reads about it."""
        if isinstance(outcome, Made):
            self.catalogue.record_artifact(outcome.artifact)
            self.catalogue.record_needs(outcome.artifact.candidate, outcome.needs)
            self.catalogue.record_weight(outcome.artifact.candidate, outcome.weight)
            self.log.made(step, outcome)
            return self.name(outcome.artifact.candidate)
        if outcome.is_final:
            self.catalogue.record_failure(outcome.candidate, outcome.reason)
        self.log.failed(step, outcome)
        return f"{self.name(outcome.candidate)} failed: {outcome.reason}"


def find_chains(pairs: Sequence[Pair], catalogue: Catalogue) -> dict[Pair, Chain]:
    """What composed deltas of these pairs would be made of: the cheapest of our own deltas that were ever weighed."""
    known = catalogue.weights()
    wire_bytes = {(c.base, c.target): weight.wire_bytes for c, weight in known.items() if c.codec == NATIVE}
    return cheapest_chains(pairs, wire_bytes)
