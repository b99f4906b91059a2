"""A night over one scenario: the verbs of the command line as methods, with the same names.

    night = planner.open_night("scenarios/factory-bases.toml", work="night")
    night.import_()
    night.weigh()
    night.plan()
    night.build()
    night.publish()
    night.follow()

Each step reads what the one before left in the work folder, so that a night can be taken up where it stopped.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import msgspec

from planner.build.jobs import Failed, Made, run_jobs
from planner.build.pool import Pool
from planner.demand.cohorts import Demand
from planner.errors import BuildError
from planner.history.objects import ObjectSets, full_pull_bytes
from planner.history.records import History
from planner.night.asking import read_demand
from planner.night.rehearsal import Rehearsal, rehearse
from planner.night.repositories import OSTreeSite, Site, StoreSite
from planner.night.routing import publish_routes
from planner.night.sources import Places, import_source
from planner.night.workspace import Workspace
from planner.optimize.assemble import assemble
from planner.optimize.evaluate import Selection
from planner.optimize.plan import Plan
from planner.optimize.problem import Problem
from planner.optimize.replan import carry_over
from planner.optimize.solve import Options, solve
from planner.publish.publisher import Published, is_published, publish
from planner.scenario import Scenario
from planner.weigh.candidates import Candidate, Proposal, Pruned, Weight
from planner.weigh.catalogue import Catalogue
from planner.weigh.prune import Surroundings, prune_weighed
from planner.weigh.rules import propose_pairs


class Reporter(Protocol):
    """Where progress goes."""

    def say(self, text: str) -> None:
        """One line of news."""

    def advance(self, step: str, done: int, total: int, note: str) -> None:
        """How far a step has come, and what it just finished."""


class _Silent:
    """A reporter for programs."""

    def say(self, text: str) -> None:
        """Nothing."""

    def advance(self, step: str, done: int, total: int, note: str) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What the repository holds after `import_`."""

    commits: int
    added: int
    refs: Mapping[str, str]
    incomplete: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighing:
    """What `weigh` found: candidates with measured weights, how many were measured now, and what was dropped."""

    weighed: Mapping[Candidate, Weight]
    rules: Mapping[tuple[str, str], str]
    pruned: tuple[Pruned, ...]
    measured: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What `build` did: artifacts of the plan that are ready, and how many of them were made now."""

    ready: tuple[Candidate, ...]
    made: int


class Night:
    """The verbs over one scenario and one work folder.

    Args:
        scenario: what to do.
        work: the work folder; created.
        home: the folder that the scenario's relative paths are relative to.
        workers: jobs at a time.
        reporter: where progress goes.
        clock: seconds from any origin, for the optimizer's time limit.
        downloads: where fetched packages are kept; default: in the work folder.
    """

    def __init__(
        self,
        scenario: Scenario,
        work: Path,
        *,
        home: Path,
        workers: int = 2,
        reporter: Reporter | None = None,
        clock: Callable[[], float] = lambda: 0.0,
        downloads: Path | None = None,
    ) -> None:
        self.scenario = scenario
        self.workspace = Workspace(work)
        self._home = home
        self._workers = workers
        self._reporter = reporter or _Silent()
        self._clock = clock
        self._downloads = downloads or work / "packages"
        self._proofs = work / "proofs"

    # -- what there is ---------------------------------------------------------------------------------------

    @cached_property
    def site(self) -> Site:
        """The repository."""
        section = self.scenario.repository
        path = self.workspace.folder / section.path
        if section.kind == "store":
            return StoreSite.open(path)
        return OSTreeSite.open(path, self._proofs)

    @cached_property
    def pool(self) -> Pool:
        """The repository's pool of proven deltas."""
        return Pool.of_repository(self.site.path)

    @cached_property
    def history(self) -> History:
        """What was released."""
        return self.site.repository.read_history()

    @cached_property
    def objects(self) -> ObjectSets:
        """Object questions about the history."""
        return ObjectSets(self.history)

    @cached_property
    def demand(self) -> Demand:
        """Who asks for what."""
        return read_demand(self.scenario.demand, self.history, self._home)

    @cached_property
    def full_pulls(self) -> dict[tuple[str, str], int]:
        """What each cohort downloads without any delta."""
        pairs = {(cohort.base, cohort.target) for cohort in self.demand.cohorts}
        return self._full_pulls_of(pairs)

    def _full_pulls_of(self, pairs: set[tuple[str, str]]) -> dict[tuple[str, str], int]:
        repository = self.site.repository
        return {(b, t): full_pull_bytes(repository, self.objects, b, t) for b, t in sorted(pairs)}

    # -- the verbs -------------------------------------------------------------------------------------------

    def import_(self) -> Imported:
        """Bring the source's new releases into the repository, and read its history."""
        with self.workspace.locked():
            before = self.site.repository.read_history()
            known = {commit.version: checksum for checksum, commit in before.commits.items() if commit.version}
            places = Places(scenario=self._home, downloads=self._downloads, scratch=self.workspace.folder / "importing")
            added = import_source(self.scenario, self.site.committer, known, places, self._reporter.say)
            for name in ("history", "objects", "demand", "full_pulls"):
                self.__dict__.pop(name, None)
        history = self.history
        return Imported(commits=len(history.commits), added=added, refs=history.refs, incomplete=history.incomplete)

    def weigh(self) -> Weighing:
        """Propose candidates by rule, prune them, and measure what was never measured."""
        with self.workspace.locked(), Catalogue(self.workspace.catalogue_path) as catalogue:
            self.pool.clean()
            proposals, pruned = propose_pairs(self.history, self.demand.cohorts, self.scenario.weigh.rules)
            wanted = self._candidates(proposals)
            known, failed = catalogue.weights(), catalogue.failures()
            missing = [candidate for candidate in wanted if candidate not in known and candidate not in failed]
            failed |= {one.candidate: one.reason for one in self._make("weigh", missing, catalogue)}
            known = catalogue.weights()
        failures = tuple(
            Pruned(base=c.base, target=c.target, codec=c.codec, reason=f"cannot be built: {failed[c]}")
            for c in wanted
            if c in failed
        )
        kept, rejected = self._prune({c: known[c] for c in wanted if c in known})
        weighing = Weighing(
            weighed=kept,
            rules={(p.base, p.target): p.rule for p in proposals},
            pruned=(*pruned, *failures, *rejected),
            measured=len([candidate for candidate in missing if candidate in known]),
        )
        self.workspace.write_json("candidates.json", weighing_document(weighing))
        return weighing

    def plan(self) -> Plan:
        """Choose what to build and a route for every cohort, with a proven bound."""
        with self.workspace.locked(), Catalogue(self.workspace.catalogue_path) as catalogue:
            known = catalogue.weights()
            file = self.workspace.read_json("candidates.json", "weigh")
            kept = [Candidate(base=row["base"], target=row["target"], codec=row["codec"]) for row in file["kept"]]
            assembly = assemble(
                self.history,
                self.demand.cohorts,
                {candidate: known[candidate] for candidate in kept},
                self.full_pulls,
                built={candidate for candidate in kept if is_published(self.site, candidate)},
                prices=self.scenario.optimizer_prices(),
                limits=self.scenario.optimizer_limits(),
            )
            section = self.scenario.solve
            options = Options(
                gap=section.gap,
                time_limit_s=section.time_limit_s,
                seed=section.seed,
                start=self._start_for(assembly.problem),
                clock=self._clock,
            )
            plan = solve(assembly.problem, options)
            self.workspace.write_plan(assembly, plan)
        return plan

    def build(self) -> Built:
        """Make and prove the plan's deltas that are not there yet."""
        assembly, plan = self.workspace.read_plan()
        chosen = tuple(assembly.candidates[index] for index in plan.build)
        with self.workspace.locked(), Catalogue(self.workspace.catalogue_path) as catalogue:
            self.pool.clean()
            artifacts = catalogue.artifacts()
            missing = [
                candidate
                for candidate in chosen
                if not is_published(self.site, candidate)
                and not (candidate in artifacts and self.pool.has(artifacts[candidate]))
            ]
            failed = self._make("build", missing, catalogue)
        if failed:
            raise BuildError(
                "deltas of the plan cannot be built; run `deltaplan weigh` and `deltaplan plan` again without them",
                failed=len(failed),
                first=f"{self.name_pair(failed[0].candidate)}: {failed[0].reason}",
            )
        return Built(ready=chosen, made=len(missing))

    def publish(self) -> Published:
        """Put the plan's artifacts where clients look, then the routes, then the summary."""
        assembly, plan = self.workspace.read_plan()
        chosen = [assembly.candidates[index] for index in plan.build]
        with self.workspace.locked(), Catalogue(self.workspace.catalogue_path) as catalogue:
            known = catalogue.artifacts()
            lost = [candidate for candidate in chosen if candidate not in known]
            if lost:
                raise BuildError("is not built yet: run `deltaplan build` first", path=self.name_pair(lost[0]))
            done = publish(self.site, self.pool, [known[c] for c in chosen], publish_routes(assembly, plan, self.site))
            for candidate in known.keys() - set(chosen):
                self.pool.discard(candidate)
        return done

    def follow(self, base: str | None = None) -> tuple[Rehearsal, ...]:
        """Let a client on every cohort's base (or on one) follow its published route to the target."""
        assembly, _ = self.workspace.read_plan()
        only = None if base is None else self.history.resolve(base)
        cohorts = [cohort for cohort in assembly.cohorts if only is None or cohort.base == only]
        rehearsals = []
        with self.site.serve() as remote:
            for number, cohort in enumerate(cohorts, start=1):
                rehearsals.append(rehearse(self.site, remote, cohort, self.objects, self.workspace.folder))
                note = f"{self.history.name_of(cohort.base)} -> {cohort.ref or self.history.name_of(cohort.target)}"
                self._reporter.advance("follow", number, len(cohorts), note)
        return tuple(rehearsals)

    # -- how ---------------------------------------------------------------------------------------------------

    def name_pair(self, candidate: Candidate) -> str:
        """A candidate as a person names it."""
        names = self.history.name_of(candidate.base), self.history.name_of(candidate.target)
        return f"{names[0]} -> {names[1]} ({candidate.codec})"

    def _start_for(self, problem: Problem) -> Selection | None:
        """Yesterday's plan as the solver's start, where there is one and it fits."""
        yesterday = self.workspace.read_last_plan()
        return None if yesterday is None else carry_over(yesterday[0].problem, yesterday[1], problem).start

    def _candidates(self, proposals: tuple[Proposal, ...]) -> list[Candidate]:
        codecs = self.scenario.codecs()
        return [Candidate(base=p.base, target=p.target, codec=codec) for p in proposals for codec in codecs]

    def _prune(self, weighed: Mapping[Candidate, Weight]) -> tuple[dict[Candidate, Weight], tuple[Pruned, ...]]:
        pairs = {(candidate.base, candidate.target) for candidate in weighed}
        around = Surroundings(
            history=self.history,
            full_pull_bytes=self._full_pulls_of(pairs),
            published=frozenset(candidate for candidate in weighed if is_published(self.site, candidate)),
        )
        return prune_weighed(weighed, around)

    def _make(self, step: str, candidates: list[Candidate], catalogue: Catalogue) -> list[Failed]:
        """Build and prove candidates, keeping each result as it comes."""
        failed = []
        with closing(run_jobs(self.site.builder, self.pool, candidates, workers=self._workers)) as outcomes:
            for number, outcome in enumerate(outcomes, start=1):
                note = self._record(outcome, catalogue)
                if isinstance(outcome, Failed):
                    failed.append(outcome)
                self._reporter.advance(step, number, len(candidates), note)
        # Proofs keep a repository per base for the next proof; between runs that would only fill the disk.
        shutil.rmtree(self._proofs, ignore_errors=True)
        return failed

    def _record(self, outcome: Made | Failed, catalogue: Catalogue) -> str:
        """Keep a job's result in the catalogue; what a person reads about it."""
        if isinstance(outcome, Made):
            catalogue.record_artifact(outcome.artifact)
            catalogue.record_weight(outcome.artifact.candidate, outcome.weight)
            return self.name_pair(outcome.artifact.candidate)
        if outcome.is_final:
            catalogue.record_failure(outcome.candidate, outcome.reason)
        return f"{self.name_pair(outcome.candidate)} failed: {outcome.reason}"


def weighing_document(weighing: Weighing) -> dict[str, Any]:
    """`candidates.json`: what is kept with its weight and rule, what was dropped with the reason."""
    return {
        "kept": [
            {
                **msgspec.to_builtins(candidate),
                "rule": weighing.rules[candidate.base, candidate.target],
                **msgspec.to_builtins(weight),
            }
            for candidate, weight in weighing.weighed.items()
        ],
        "pruned": [msgspec.to_builtins(pruned) for pruned in weighing.pruned],
    }
