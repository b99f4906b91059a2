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
from functools import cached_property, partial
from pathlib import Path

from planner.build.pool import Pool
from planner.delta.superblock import COMPOSED
from planner.demand.cohorts import Demand
from planner.demand.layers import with_layers
from planner.errors import BuildError, InputError
from planner.history.objects import ObjectSets, full_pull_bytes
from planner.history.records import History
from planner.night.asking import read_demand
from planner.night.composing import choose_mixes, compose_mixes
from planner.night.images import ImageSite
from planner.night.making import Maker, Reporter, find_chains
from planner.night.rehearsal import Rehearsal, rehearse
from planner.night.repositories import OSTreeSite, Site, StoreSite
from planner.night.routing import Routing
from planner.night.sources import Places, import_source
from planner.night.weighing import Weigher, Weighing, weighing_document
from planner.night.workspace import Workspace
from planner.optimize.assemble import Assembly, assemble
from planner.optimize.evaluate import Selection
from planner.optimize.plan import Plan
from planner.optimize.problem import Problem
from planner.optimize.replan import carry_over
from planner.optimize.solve import Options, solve
from planner.publish.publisher import Published, is_published, publish
from planner.scenario import Scenario
from planner.weigh.candidates import Candidate, Weight, WeightStatus
from planner.weigh.catalogue import Catalogue


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
        if section.kind == "oci":
            return ImageSite.open(path)
        return OSTreeSite.open(path, self._proofs, section.signing(self._home))

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
        pairs = {(cohort.base, cohort.target) for cohort in with_layers(self.history, self.demand.cohorts)}
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
            self._forget()
        history = self.history
        return Imported(commits=len(history.commits), added=added, refs=history.refs, incomplete=history.incomplete)

    def compose(self, only: Sequence[str] = ()) -> dict[str, str]:
        """Make the scenario's known mixes that the repository lacks (or `only` some, by name); commits by name."""
        with self.workspace.locked():
            mixes = choose_mixes(self.scenario.mixes, self.history, only)
            made = compose_mixes(mixes, self.history, self.site.committer, self._reporter.say)
            self._forget()
        return made

    def weigh(self) -> Weighing:
        """Propose candidates by rule, weigh what was never weighed, and prune them.

        All are measured, unless the scenario gives a budget for it: then what is not probed is projected.
        """
        with self.workspace.locked(), Catalogue(self.workspace.catalogue_path) as catalogue:
            self.pool.clean()
            weigher = Weigher(
                scenario=self.scenario,
                history=self.history,
                cohorts=with_layers(self.history, self.demand.cohorts),
                maker=self._maker(catalogue),
                full_pulls_of=self._full_pulls_of,
                assemble_with=partial(self._assemble, catalogue, is_trial=True),
                solve_options=self._options(None),
            )
            weighing = weigher.weigh()
        self.workspace.write_json("candidates.json", weighing_document(weighing))
        return weighing

    def plan(self) -> Plan:
        """Choose what to build and a route for every cohort, with a proven bound."""
        with self.workspace.locked(), Catalogue(self.workspace.catalogue_path) as catalogue:
            known = catalogue.weights(WeightStatus.PROJECTED) | catalogue.weights()
            file = self.workspace.read_json("candidates.json", "weigh")
            kept = [Candidate(base=row["base"], target=row["target"], codec=row["codec"]) for row in file["kept"]]
            assembly = self._assemble(catalogue, {candidate: known[candidate] for candidate in kept})
            plan = solve(assembly.problem, self._options(self._start_for(assembly.problem)))
            self.workspace.write_plan(assembly, plan)
        return plan

    def build(self) -> Built:
        """Make and prove the plan's deltas that are not there yet."""
        assembly, plan = self.workspace.read_plan()
        chosen = assembly.candidates_of(plan.build)
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
        chosen = assembly.candidates_of(plan.build)
        with self.workspace.locked(), Catalogue(self.workspace.catalogue_path) as catalogue:
            known = catalogue.artifacts()
            lost = [candidate for candidate in chosen if candidate not in known]
            if lost:
                raise BuildError("is not built yet: run `deltaplan build` first", path=self.name_pair(lost[0]))
            routes = Routing(assembly, plan, self.history, self.site).routes()
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

    def _forget(self) -> None:
        """Read the repository again: it has changed."""
        for name in ("history", "objects", "demand", "full_pulls"):
            self.__dict__.pop(name, None)

    def name_pair(self, candidate: Candidate) -> str:
        """A candidate as a person names it."""
        names = self.history.name_of(candidate.base), self.history.name_of(candidate.target)
        return f"{names[0]} -> {names[1]} ({candidate.codec})"

    def _start_for(self, problem: Problem) -> Selection | None:
        """Yesterday's plan as the solver's start, where there is one and it fits."""
        yesterday = self.workspace.read_last_plan()
        return None if yesterday is None else carry_over(yesterday[0].problem, yesterday[1], problem).start

    def _assemble(
        self, catalogue: Catalogue, weighed: Mapping[Candidate, Weight], *, is_trial: bool = False
    ) -> Assembly:
        """The problem with these candidates; a trial asks for each layer beside what is composed of them."""
        cohorts = with_layers(self.history, self.demand.cohorts) if is_trial else self.demand.cohorts
        return assemble(
            self.history,
            cohorts,
            weighed,
            self.full_pulls,
            needs=catalogue.needs(),
            built={candidate for candidate in weighed if is_published(self.site, candidate)},
            prices=self.scenario.optimizer_prices(),
            limits=self.scenario.optimizer_limits(),
        )

    def _options(self, start: Selection | None) -> Options:
        section = self.scenario.solve
        return Options(
            gap=section.gap, time_limit_s=section.time_limit_s, seed=section.seed, start=start, clock=self._clock
        )

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
