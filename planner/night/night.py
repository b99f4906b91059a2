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

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import msgspec

from planner.build.jobs import Failed, Made, run_jobs
from planner.build.pool import Pool
from planner.demand.adoption import adoption_cohorts
from planner.demand.cohorts import Cohort, Demand, UnknownBase
from planner.demand.table import demand_row, parse_demand_csv
from planner.errors import BuildError, FollowError, InputError, raise_collected
from planner.follow.follower import Abilities, Followed, follow
from planner.history.files import read_bounded
from planner.history.objects import ObjectSets, full_pull_bytes
from planner.history.records import History
from planner.night.repositories import OSTreeSite, Site, StoreSite
from planner.night.sources import Places, import_source
from planner.night.workspace import Workspace
from planner.optimize.assemble import Assembly, assemble
from planner.optimize.plan import Plan
from planner.optimize.solve import Options, solve
from planner.publish.publisher import Published, is_published, publish
from planner.publish.routes import Hop, PublishedRoute
from planner.scenario import Scenario
from planner.weigh.candidates import Candidate, Proposal, Pruned, Weight
from planner.weigh.catalogue import Catalogue
from planner.weigh.prune import Surroundings, prune_weighed
from planner.weigh.rules import propose_pairs

_MAX_CSV_BYTES = 1_000_000_000


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

    # -- what there is ---------------------------------------------------------------------------------------

    @cached_property
    def site(self) -> Site:
        """The repository."""
        section = self.scenario.repository
        path = self.workspace.folder / section.path
        if section.kind == "store":
            return StoreSite.open(path)
        return OSTreeSite.open(path, self.workspace.folder / "proofs")

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
        section = self.scenario.demand
        cohorts: list[Cohort] = []
        unknown: list[UnknownBase] = []
        if section.csv is not None:
            path = self._home / section.csv
            try:
                text = read_bounded(path, _MAX_CSV_BYTES).decode()
            except (OSError, UnicodeDecodeError) as error:
                raise InputError("cannot be read", path=str(path), reason=str(error)) from error
            table = parse_demand_csv(text, self.history, name=section.csv)
            cohorts += table.cohorts
            unknown += table.unknown
        faults = []
        for index, row in enumerate(section.cohorts):
            try:
                read = demand_row(msgspec.structs.asdict(row), self.history, path=f"demand.cohorts[{index}]")
            except InputError as error:
                faults.append(error)
                continue
            (cohorts if isinstance(read, Cohort) else unknown).append(read)  # type: ignore[arg-type]
        raise_collected(faults)
        for model in section.adoption:
            cohorts += adoption_cohorts(self.history, **msgspec.structs.asdict(model))
        return Demand(cohorts=tuple(cohorts), unknown=tuple(unknown))

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
            options = Options(gap=section.gap, time_limit_s=section.time_limit_s, seed=section.seed, clock=self._clock)
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
            done = publish(self.site, self.pool, [known[c] for c in chosen], self._routes(assembly, plan))
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
                rehearsals.append(self._rehearse(remote, cohort))
                note = f"{self.history.name_of(cohort.base)} -> {cohort.ref or self.history.name_of(cohort.target)}"
                self._reporter.advance("follow", number, len(cohorts), note)
        return tuple(rehearsals)

    # -- how ---------------------------------------------------------------------------------------------------

    def name_pair(self, candidate: Candidate) -> str:
        """A candidate as a person names it."""
        names = self.history.name_of(candidate.base), self.history.name_of(candidate.target)
        return f"{names[0]} -> {names[1]} ({candidate.codec})"

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
        outcomes = run_jobs(self.site.builder, self.pool, candidates, workers=self._workers)
        for number, outcome in enumerate(outcomes, start=1):
            if isinstance(outcome, Made):
                catalogue.record_artifact(outcome.artifact)
                catalogue.record_weight(outcome.artifact.candidate, outcome.weight)
                note = self.name_pair(outcome.artifact.candidate)
            else:
                if outcome.is_final:
                    catalogue.record_failure(outcome.candidate, outcome.reason)
                failed.append(outcome)
                note = f"{self.name_pair(outcome.candidate)} failed: {outcome.reason}"
            self._reporter.advance(step, number, len(candidates), note)
        return failed

    def _routes(self, assembly: Assembly, plan: Plan) -> dict[str, list[PublishedRoute]]:
        """The plan's routes per base, as clients read them."""
        routes: dict[str, list[PublishedRoute]] = {}
        for index, (cohort, route) in enumerate(zip(assembly.cohorts, plan.routes, strict=True)):
            published = self._published_route(assembly, index, route)
            if published not in routes.setdefault(cohort.base, []):
                routes[cohort.base].append(published)
        return routes

    def _published_route(self, assembly: Assembly, index: int, route: tuple[int, ...] | None) -> PublishedRoute:
        cohort, rows = assembly.cohorts[index], assembly.problem.candidates
        if route is None:
            full = int(assembly.problem.demands.full_pull_bytes[index])
            return PublishedRoute(ref=cohort.ref, target=cohort.target, wire_bytes=full, hops=None)
        hops = tuple(
            Hop(
                commit=candidate.target,
                codec=candidate.codec,
                wire_bytes=int(rows.wire_bytes[hop]),
                path=self.site.published_path(candidate.base, candidate.target, candidate.codec),
            )
            for hop in route
            for candidate in (assembly.candidates[hop],)
        )
        total = sum(hop.wire_bytes for hop in hops)
        return PublishedRoute(ref=cohort.ref, target=cohort.target, wire_bytes=total, hops=hops)

    def _rehearse(self, remote: Any, cohort: Cohort) -> Rehearsal:
        abilities = Abilities(max_hops=cohort.max_hops, max_wire_bytes=cohort.max_wire_bytes)
        with tempfile.TemporaryDirectory(dir=self.workspace.folder, prefix="client-") as folder:
            client = self.site.make_client(remote, Path(folder) / "repository", cohort.base, self.objects)
            want = cohort.ref or cohort.target
            try:
                done = follow(
                    client, remote, base=cohort.base, want=want, is_ref=cohort.ref is not None, abilities=abilities
                )
            except FollowError as error:
                return Rehearsal(cohort=cohort, followed=None, error=str(error))
        return Rehearsal(cohort=cohort, followed=done, error=None)


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
