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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from planner.build.pool import Pool
from planner.delta.superblock import COMPOSED
from planner.demand.cohorts import Demand
from planner.errors import BuildError, InputError
from planner.history.objects import ObjectSets, full_pull_bytes
from planner.history.records import History
from planner.night.asking import read_demand
from planner.night.making import Maker, Reporter, find_chains
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
from planner.weigh.candidates import Candidate, Need, Proposal, Pruned, Weight
from planner.weigh.catalogue import Catalogue
from planner.weigh.chains import Chain, Pair
from planner.weigh.prune import Surroundings, prune_weighed
from planner.weigh.rules import propose_pairs


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
            wanted = self._published(proposals, catalogue) + self._candidates(proposals)
            before = catalogue.weights().keys()
            failed = self._measure(wanted, {}, catalogue)
            if COMPOSED in self.scenario.codecs():
                asked = dict.fromkeys((cohort.base, cohort.target) for cohort in self.demand.cohorts)
                chains = find_chains(list(asked), catalogue)
                composed = [Candidate(base=b, target=t, codec=COMPOSED) for b, t in chains]
                failed |= self._measure(composed, chains, catalogue)
                wanted += composed
            known, needs = catalogue.weights(), catalogue.needs()
        failures = tuple(
            Pruned(base=c.base, target=c.target, codec=c.codec, reason=f"cannot be built: {failed[c]}")
            for c in wanted
            if c in failed
        )
        kept, rejected = self._prune({c: known[c] for c in wanted if c in known}, needs)
        rules = {(c.base, c.target): COMPOSED for c in wanted} | {(p.base, p.target): p.rule for p in proposals}
        weighing = Weighing(
            weighed=kept,
            rules=rules,
            pruned=(*pruned, *failures, *rejected),
            measured=len([candidate for candidate in wanted if candidate in known and candidate not in before]),
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
                needs=catalogue.needs(),
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
            maker = self._maker(catalogue)
            missing = maker.lacking(chosen)
            others = sorted({one.codec for one in missing} - set(self.scenario.codecs()))
            if others:
                raise InputError("the plan is for another builder: run `weigh` and `plan` with this one", codecs=others)
            composed = [(one.base, one.target) for one in missing if one.codec == COMPOSED]
            failed = maker.make("build", missing, find_chains(composed, catalogue))
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
            routes = publish_routes(assembly, plan, self.site)
            done = publish(self.site, self.pool, [known[c] for c in chosen], routes)
            self.site.record_routes(self.history, routes)
            for candidate in known.keys() - set(chosen):
                self.pool.discard(candidate)
            self.site.clean()
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
        codecs = [codec for codec in self.scenario.codecs() if codec != COMPOSED]
        return [Candidate(base=p.base, target=p.target, codec=codec) for p in proposals for codec in codecs]

    def _published(self, proposals: tuple[Proposal, ...], catalogue: Catalogue) -> list[Candidate]:
        """Deltas of the proposed pairs that clients find although no codec of this night would make them."""
        known = catalogue.weights()
        found = []
        for proposal in proposals:
            weight = self.site.weigh_published(proposal.base, proposal.target)
            if weight is None or weight[0] in self.scenario.codecs():
                continue
            candidate = Candidate(base=proposal.base, target=proposal.target, codec=weight[0])
            if candidate not in known:
                catalogue.record_weight(candidate, weight[1])
            found.append(candidate)
        return found

    def _maker(self, catalogue: Catalogue) -> Maker:
        return Maker(
            site=self.site,
            pool=self.pool,
            catalogue=catalogue,
            reporter=self._reporter,
            workers=self._workers,
            proofs=self._proofs,
            name=self.name_pair,
        )

    def _measure(
        self, wanted: Sequence[Candidate], chains: Mapping[Pair, Chain], catalogue: Catalogue
    ) -> dict[Candidate, str]:
        """Make what was never weighed; candidates that cannot be made, now or before, with the reason."""
        known, failed = catalogue.weights(), catalogue.failures()
        missing = [candidate for candidate in wanted if candidate not in known and candidate not in failed]
        return failed | {one.candidate: one.reason for one in self._maker(catalogue).make("weigh", missing, chains)}

    def _prune(
        self, weighed: Mapping[Candidate, Weight], needs: Mapping[Candidate, Sequence[Need]]
    ) -> tuple[dict[Candidate, Weight], tuple[Pruned, ...]]:
        pairs = {(candidate.base, candidate.target) for candidate in weighed}
        around = Surroundings(
            history=self.history,
            full_pull_bytes=self._full_pulls_of(pairs),
            published=frozenset(candidate for candidate in weighed if is_published(self.site, candidate)),
            needs=needs,
        )
        return prune_weighed(weighed, around)


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
