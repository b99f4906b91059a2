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

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from planner.build.executors import Executor, LocalExecutor
from planner.delta.superblock import COMPOSED
from planner.demand.cohorts import Cohort
from planner.demand.layers import with_layers
from planner.errors import BuildError, InputError
from planner.history.remembered_trees import remember_trees
from planner.night.clock import Clock
from planner.night.composing import choose_mixes, compose_mixes
from planner.night.ground import Ground
from planner.night.handing import HandOver
from planner.night.making import Maker, Reporter, find_chains
from planner.night.mirroring import mirror_published
from planner.night.outlook import Outlook
from planner.night.rehearsal import Rehearsal, rehearse
from planner.night.retiring import Retirer
from planner.night.session import Opening, Session
from planner.night.sources import Places, import_source
from planner.night.weighing import Weigher, Weighing, weighing_document
from planner.optimize.assemble import FULL_PULL, Assembly, assemble
from planner.optimize.evaluate import Selection
from planner.optimize.plan import Plan
from planner.optimize.problem import Problem
from planner.optimize.replan import carry_over
from planner.optimize.solve import Options
from planner.publish.mirror import Mirrored
from planner.publish.publisher import Published, is_published
from planner.scenario import Scenario
from planner.weigh.candidates import Candidate, Weight, WeightStatus
from planner.weigh.chains import Chain, Pair

_SOLVE_SHARE = 0.2
"""Of what is left of the window, what the optimizer may take of it."""
_LEAST_SOLVE_S = 1.0


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Retired:
    """What left use: no route names it any more, its first file is gone, or nothing is left of it."""

    retired: tuple[Candidate, ...]
    unlinked: tuple[Candidate, ...]
    removed: tuple[Candidate, ...]


class Night(Ground):
    """The verbs over one scenario and one work folder.

    Args:
        scenario: what to do.
        work: the work folder; created.
        home: the folder that the scenario's relative paths are relative to.
        executor: what runs jobs; default: two at a time on this machine.
        reporter: where progress goes.
        clock: what tells the time.
        downloads: where fetched packages are kept; default: in the work folder.
    """

    def __init__(
        self,
        scenario: Scenario,
        work: Path,
        *,
        home: Path,
        executor: Executor | None = None,
        reporter: Reporter | None = None,
        clock: Clock | None = None,
        downloads: Path | None = None,
    ) -> None:
        super().__init__(scenario, work, home)
        self._executor = executor or LocalExecutor(2)
        self.reporter = reporter or _Silent()
        self.clock = clock or Clock.of_system()
        self._downloads = downloads or work / "packages"
        self._session: Session | None = None

    # -- the verbs -------------------------------------------------------------------------------------------

    @contextmanager
    def session(self, verb: str, *, window_s: float | None = None) -> Iterator[Session]:
        """The run that this is part of, or a new one under the locks of the work folder and of the repository.

        Raises:
            BusyError: another run works in either.
        """
        if self._session is not None:
            yield self._session
            return
        with self.opening().open(verb, window_s) as session:
            self._session = session
            try:
                yield session
            finally:
                self._session = None

    def opening(self) -> Opening:
        """What it takes to open a run."""
        return Opening(
            workspace=self.workspace,
            repository=self.site.path,
            clock=self.clock,
            name=self.name_pair,
            free_bytes=self.scenario.night.free_bytes,
        )

    def import_(self) -> Imported:
        """Bring the source's new releases into the repository, and read its history."""
        with self.session("import") as session:
            session.begin_step("import")
            self.forget()
            before = self.history
            known = {commit.version: one for one, commit in before.commits.items() if commit.version}
            places = Places(scenario=self.home, downloads=self._downloads, scratch=self.workspace.folder / "importing")
            self.forget()  # also where importing ends half-way
            added = import_source(self.scenario, self.site.committer, known, places, self.reporter.say)
            if not added:
                self.history = before
            history = self.history
            if self.scenario.repository.kind != "oci":  # a layout has an index of its own
                remember_trees(self.site.path, history.trees)
        return Imported(commits=len(history.commits), added=added, refs=history.refs, incomplete=history.incomplete)

    def compose(self, only: Sequence[str] = ()) -> dict[str, str]:
        """Make the scenario's known mixes that the repository lacks (or `only` some, by name); commits by name."""
        with self.session("compose") as session:
            session.begin_step("compose")
            mixes = choose_mixes(self.scenario.mixes, self.history, only)
            made = compose_mixes(mixes, self.history, self.site.committer, self.reporter.say)
            if made:
                self.forget()
        return made

    def weigh(self) -> Weighing:
        """Propose candidates by rule, weigh what was never weighed, and prune them.

        All are measured, unless the scenario gives a budget for it: then what is not probed is projected.
        """
        with self.session("weigh") as session:
            session.begin_step("weigh")
            self.pool.clean()
            weigher = self.weigher(session)
            weighing = weigher.weigh()
            self.workspace.write_settled(weigher.settled)
            self.workspace.write_json("candidates.json", weighing_document(weighing))
        return weighing

    def plan(self) -> Plan:
        """Choose what to build and a route for every cohort, with a proven bound."""
        return self.plan_tonight()[1]

    def plan_tonight(self) -> tuple[Assembly, Plan]:
        """The same, with the problem that it is a plan for; both are kept for the next steps."""
        with self.session("plan") as session:
            session.begin_step("plan")
            known = session.catalogue.weights(WeightStatus.PROJECTED) | session.catalogue.weights()
            file = self.workspace.read_json("candidates.json", "weigh")
            kept = [Candidate(base=row["base"], target=row["target"], codec=row["codec"]) for row in file["kept"]]
            weighed = {one: known[one] for one in kept if self.is_here(one)}
            assembly, plan = self.plan_with(session, weighed)
            self.workspace.write_plan(assembly, plan)
        return assembly, plan

    def standing_plan(self) -> tuple[Assembly, Plan]:
        """The plan that `plan` left, and its problem as it stands: built is what clients find now.

        Raises:
            InputError: there is none, or its files do not belong together.
        """
        assembly, plan = self.workspace.read_plan()
        rows = assembly.problem.candidates
        built = np.array(
            [one.codec == FULL_PULL or is_published(self.site, one) for one in assembly.candidates], dtype=bool
        )
        return replace(assembly, problem=assembly.problem.replace(candidates=replace(rows, built=built))), plan

    def plan_with(self, session: Session, weighed: Mapping[Candidate, Weight]) -> tuple[Assembly, Plan]:
        """The problem with these candidates, as far as their places are free, and its plan."""
        retirer = self.retirer(session)
        outlook = Outlook(self.scenario.horizon, self.history, self.demand.cohorts, session.catalogue)
        weighed = outlook.with_served(weighed, retirer.served)
        taken = retirer.draining()
        free = {one: weight for one, weight in weighed.items() if not taken or retirer.place(one) not in taken}
        assembly = self.assemble(session, free)
        options = self._options(session, self._start_for(assembly.problem))
        return assembly, outlook.solve(assembly, self.full_pulls, options)

    def build(self) -> Built:
        """Make and prove the plan's deltas that are not there yet."""
        with self.session("build") as session:
            session.begin_step("build")
            _ = self.signing_key  # read before hours of work that could not be published without it
            assembly, plan = self.workspace.read_plan()
            chosen = assembly.candidates_of(plan.build)
            self.pool.clean()
            maker = self.maker(session)
            missing = maker.lacking(chosen)
            failed = maker.make("build", missing, self.chains_of(session, missing))
        if failed:
            raise BuildError(
                "deltas of the plan cannot be built; run `deltaplan weigh` and `deltaplan plan` again without them",
                failed=len(failed),
                first=f"{self.name_pair(failed[0].candidate)}: {failed[0].reason}",
            )
        return Built(ready=chosen, made=len(missing))

    def publish(self) -> Published:
        """Put the plan's artifacts where clients look, then the routes, then the summary; what is over is retired."""
        with self.session("publish") as session:
            session.begin_step("publish")
            assembly, plan = self.workspace.read_plan()
            hand_over = self.hand_over(session, assembly, plan)
            lost = self.maker(session).lacking(assembly.candidates_of(plan.build))
            if lost:
                raise BuildError("is not built yet: run `deltaplan build` first", path=self.name_pair(lost[0]))
            done = hand_over.run()
            self.retire(session, done.used)
            self.mirror()
        return done.published

    def mirror(self) -> Mirrored | None:
        """Bring what is published to the scenario's mirror, if it has one."""
        url = self.scenario.publish.mirror_url
        if url is None:
            return None
        with self.session("mirror") as session:
            session.begin_step("mirror")
            return mirror_published(self.site.path, url, self.workspace.folder, self.reporter)

    def follow(self, base: str | None = None) -> tuple[Rehearsal, ...]:
        """Let a client on every cohort's base (or on one) follow its published route to the target."""
        assembly, _ = self.workspace.read_plan()
        only = None if base is None else self.history.resolve(base)
        return self.rehearse([cohort for cohort in assembly.cohorts if only is None or cohort.base == only])

    def rehearse(self, cohorts: Sequence[Cohort]) -> tuple[Rehearsal, ...]:
        """Let a client of each of these cohorts follow its published route to the target."""
        rehearsals, key = [], self.signing_key
        keys = () if key is None else (key.public_key(),)
        with self.site.serve() as remote:
            for number, cohort in enumerate(cohorts, start=1):
                rehearsals.append(rehearse(self.site, remote, cohort, self.objects, self.workspace.folder, keys))
                note = f"{self.history.name_of(cohort.base)} -> {cohort.ref or self.history.name_of(cohort.target)}"
                self.reporter.advance("follow", number, len(cohorts), note)
        return tuple(rehearsals)

    # -- how ---------------------------------------------------------------------------------------------------

    def hand_over(self, session: Session, assembly: Assembly, plan: Plan) -> HandOver:
        """What publishes a plan in a run."""
        return HandOver(self.site, self.pool, self.history, session, assembly, plan, self.policy, self.signing_key)

    def retirer(self, session: Session) -> Retirer:
        """What takes deltas out of use, with the scenario's times."""
        section = self.scenario.night
        return Retirer(site=self.site, session=session, grace_s=section.grace_s, drain_s=section.drain_s)

    def retire(self, session: Session, used: Collection[Candidate]) -> Retired:
        """Begin the grace of what is not used any more, and remove what had its time; the pool keeps what is used."""
        retirer = self.retirer(session)
        session.begin_step("retire")
        retired = retirer.retire(used)
        unlinked, removed = retirer.sweep(used, self.signing_key)
        for candidate in session.catalogue.artifacts().keys() - set(used):
            self.pool.discard(candidate)
        self.site.clean()
        return Retired(retired=tuple(retired), unlinked=tuple(unlinked), removed=tuple(removed))

    def chains_of(self, session: Session, candidates: Sequence[Candidate]) -> dict[Pair, Chain]:
        """What the composed ones among candidates are made of.

        Raises:
            InputError: the plan is for another builder.
        """
        others = sorted({one.codec for one in candidates} - set(self.scenario.codecs()))
        if others:
            raise InputError("the plan is for another builder: run `weigh` and `plan` with this one", codecs=others)
        return find_chains([(one.base, one.target) for one in candidates if one.codec == COMPOSED], session.catalogue)

    def _start_for(self, problem: Problem) -> Selection | None:
        """Yesterday's plan as the solver's start, where there is one and it fits."""
        yesterday = self.workspace.read_last_plan()
        return None if yesterday is None else carry_over(yesterday[0].problem, yesterday[1], problem).start

    def assemble(
        self, session: Session, weighed: Mapping[Candidate, Weight], cohorts: Sequence[Cohort] | None = None
    ) -> Assembly:
        """The problem with these candidates, for some cohorts or all."""
        return assemble(
            self.history,
            self.demand.cohorts if cohorts is None else cohorts,
            {one: weight for one, weight in weighed.items() if not self.policy.refuse(one.base, one.target)},
            self.full_pulls,
            needs=session.catalogue.needs(),
            built={candidate for candidate in weighed if is_published(self.site, candidate)},
            prices=self.scenario.optimizer_prices(),
            limits=self.scenario.optimizer_limits(),
        )

    def _options(self, session: Session, start: Selection | None) -> Options:
        section = self.scenario.solve
        return Options(
            gap=section.gap,
            time_limit_s=min(section.time_limit_s, max(_SOLVE_SHARE * session.gate.left_s, _LEAST_SOLVE_S)),
            seed=section.seed,
            start=start,
            clock=self.clock.monotonic_s,
        )

    def weigher(self, session: Session) -> Weigher:
        """What weighs candidates in a run."""
        return Weigher(
            scenario=self.scenario,
            history=self.history,
            cohorts=with_layers(self.history, self.demand.cohorts),
            maker=self.maker(session),
            full_pulls_of=self.full_pulls_of,
            assemble_with=partial(self.assemble, session),
            solve_options=self._options(session, None),
            settled=self.workspace.read_settled(),
            refuse=self.policy.refuse,
        )

    def maker(self, session: Session) -> Maker:
        """What makes deltas in a run."""
        return Maker(
            site=self.site,
            pool=self.pool,
            catalogue=session.catalogue,
            log=session.log,
            reporter=self.reporter,
            executor=self._executor,
            proofs=self.proofs,
            name=self.name_pair,
            attempts=self.scenario.night.attempts,
        )
