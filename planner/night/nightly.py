"""`deltaplan nightly`: all steps in order, each as far as it can go, and a record of what happened."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from planner.build.jobs import Failed
from planner.build.processes import cpu_s
from planner.demand.cohorts import Cohort
from planner.errors import BuildError, PlannerError, SpaceError
from planner.history.files import full_disk_as_error
from planner.night.anytime import AnytimeBuild
from planner.night.difference import bytes_per_client, describe_difference, record_delta
from planner.night.handing import HandedOver, HandOver
from planner.night.night import Imported, Night, Retired
from planner.night.rehearsal import Rehearsal, raise_unverified
from planner.night.session import Session
from planner.night.unchanged import forget_unchanged, is_unchanged, note_unchanged
from planner.night.weighing import Weighing
from planner.optimize.assemble import Assembly
from planner.optimize.evaluate import Route
from planner.optimize.plan import Plan
from planner.optimize.routes import choose_routes
from planner.report.night_page import night_page
from planner.report.night_record import DeltaRecord, NightRecord, PlanRecord, StepRecord, night_document
from planner.report.openmetrics import format_openmetrics
from planner.units import format_bytes
from planner.weigh.candidates import Candidate

ResultT = TypeVar("ResultT")

_OTHER_FAULT = 1
_WINDOW_FOR_WEIGHING = 0.5
"""Of the window, after which no more candidates are measured that nobody chose yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NightlyDone:
    """What each step gave (None: it ended early, or an earlier one did), and the record of all."""

    record: NightRecord
    imported: Imported | None
    composed: Mapping[str, str]
    weighing: Weighing | None
    assembly: Assembly | None
    plan: Plan | None
    handed: HandedOver | None
    rehearsals: tuple[Rehearsal, ...]


def run_nightly(night: Night, *, window_s: float | None = None) -> NightlyDone:
    """A whole night. A step that fails is named in the record, and the others do what they can without it.

    What is published was proven, and what was served before is served until something better is. A night that was cut
    short, whatever by, is taken up by the next.

    Args:
        night: the scenario and its work folder.
        window_s: seconds that the night may take; default: the scenario's window.

    Raises:
        BusyError: another run works on the work folder or the repository.
        InputError: the repository, the work folder or the signing key cannot be opened.
    """
    window_s = night.scenario.night.window_s if window_s is None else window_s
    _ = night.signing_key  # read before hours of work that could not be published without it
    with night.session("nightly", window_s=window_s) as session:
        return _Nightly(night, session, window_s).run()


@dataclass(slots=True)
class _Nightly:
    """One night, step by step."""

    night: Night
    session: Session
    window_s: float | None
    steps: list[StepRecord] = field(default_factory=list)

    def run(self) -> NightlyDone:
        night = self.night
        self._step("tidy", self._tidy)
        imported = self._step("import", night.import_)
        composed = self._step("compose", night.compose) or {}
        is_new = not self._step("compare", lambda: is_unchanged(night, self.session))
        weighing = self._step("weigh", self._weigh) if is_new else None
        assembly, plan = (self._plan(weighing) if is_new else self._step("plan", night.standing_plan)) or (None, None)
        handed = None
        rehearsals: tuple[Rehearsal, ...] = ()
        deltas: tuple[DeltaRecord, ...] = ()
        before: Sequence[Route] = ()
        if assembly is not None and plan is not None:
            before = choose_routes(assembly.problem, assembly.problem.candidates.built)
            served, leaving = night.retirer(self.session).served(), self.session.journal.retired()
            deltas = describe_difference(assembly, plan.selection, served, night.name_pair, leaving)
            hand_over = night.hand_over(self.session, assembly, plan)
            self._step("build", lambda: self._build(hand_over))
            handed = self._step("publish", lambda: self._publish(hand_over))
        if handed is not None:
            used = handed.used
            retired = self._step("retire", lambda: night.retire(self.session, used))
            deltas = (*deltas, *self._removals(retired))
            if night.scenario.publish.mirror_url is not None:
                self._step("mirror", night.mirror)
            cohorts = assembly.cohorts if assembly is not None else ()
            rehearsals = self._step("rehearse", lambda: self._rehearse(cohorts)) or ()
            if (
                weighing is not None
                and plan is not None
                and handed.is_complete
                and not any(s.fault for s in self.steps)
            ):
                note_unchanged(night, self.session, weighing, plan)
        record = self._record(assembly, plan, handed, before, deltas)
        self._write(record)
        return NightlyDone(
            record=record,
            imported=imported,
            composed=composed,
            weighing=weighing,
            assembly=assembly,
            plan=plan,
            handed=handed,
            rehearsals=rehearsals,
        )

    # -- steps ---------------------------------------------------------------------------------------------------

    def _step(self, name: str, action: Callable[[], ResultT]) -> ResultT | None:
        """Do one step; None where it ended early, which is on record."""
        clock_s = self.session.clock.monotonic_s
        wall_s, core_s, jobs = clock_s(), cpu_s(), len(self.session.log.records)
        result, fault, exit_status = None, "", 0
        try:
            result = action()
        except PlannerError as error:
            fault, exit_status = str(error), error.exit_status
        except OSError as error:
            fault, exit_status = f"the system refused: {error}", _OTHER_FAULT
        if fault:
            self.night.reporter.say(f"{name} ended early: {fault}")
        # Jobs run in processes that are not this one's children.
        of_jobs_s = sum(job.core_s or 0.0 for job in self.session.log.records[jobs:])
        step = StepRecord(
            name=name,
            wall_s=clock_s() - wall_s,
            core_s=cpu_s() - core_s + of_jobs_s,
            fault=fault,
            exit_status=exit_status,
        )
        self.steps.append(step)
        return result

    def _tidy(self) -> None:
        """Begin the night's job lines, and make room where the disk is below its mark."""
        self.session.begin_step("tidy")
        lines = self.session.log.lines
        if lines is not None:
            lines.unlink(missing_ok=True)
        gate = self.session.gate
        if not gate.free_bytes or gate.free >= gate.free_bytes:
            return
        before = gate.free
        self.night.pool.empty()
        self.session.notes.append(
            f"the disk had {format_bytes(before)} free, which is below its mark of {format_bytes(gate.free_bytes)}: "
            f"the pool was emptied, which gave {format_bytes(gate.free - before)}"
        )

    def _weigh(self) -> Weighing:
        gate = self.session.gate
        gate.reserve_s = (1 - _WINDOW_FOR_WEIGHING) * gate.left_s if self.window_s is not None else 0.0
        try:
            return self.night.weigh()
        finally:
            gate.reserve_s = 0.0

    def _plan(self, weighing: Weighing | None) -> tuple[Assembly, Plan] | None:
        """A plan from tonight's candidates, or where weighing failed from those of the night before."""
        forget_unchanged(self.night)
        if weighing is None and not self.night.workspace.has("candidates.json"):
            return None
        return self._step("plan", self.night.plan_tonight)

    def _build(self, hand_over: HandOver) -> None:
        self.session.begin_step("build")
        night, session = self.night, self.session
        night.pool.clean()
        build = AnytimeBuild(
            session=session,
            maker=night.maker(session),
            assembly=hand_over.assembly,
            plan=hand_over.plan,
            chains_of=lambda some: night.chains_of(session, some),
            publish=hand_over.run,
        )
        _raise_failed(build.run(), night.name_pair)

    def _publish(self, hand_over: HandOver) -> HandedOver:
        """Hand over; a delta whose files are not those that were proven is made again, once."""
        self.session.begin_step("publish")
        damaged: list[str] = []
        while True:
            try:
                done = hand_over.run()
            except BuildError as error:
                # Publishing dropped it from the pool, so that the next round goes without it.
                if str(error) in damaged:
                    raise
                damaged.append(str(error))
                continue
            if not damaged or done.is_complete:
                break
            maker = self.night.maker(self.session)
            lacking = maker.lacking(hand_over.assembly.candidates_of(hand_over.plan.build))
            failed = maker.make("build", lacking, self.night.chains_of(self.session, lacking))
            if failed or not lacking:
                break
        self.session.notes.extend(f"was made again: {text}" for text in damaged)
        return done

    def _rehearse(self, cohorts: Sequence[Cohort]) -> tuple[Rehearsal, ...]:
        """Let clients of as many cohorts as the scenario says follow their routes, drawn by its seed."""
        self.session.begin_step("rehearse")
        most, seed = self.night.scenario.night.rehearsals, self.night.scenario.solve.seed
        drawn = sorted(random.Random(seed).sample(range(len(cohorts)), min(most, len(cohorts))))  # noqa: S311
        done = self.night.rehearse([cohorts[index] for index in drawn])
        raise_unverified(done)
        return done

    # -- the record ----------------------------------------------------------------------------------------------

    def _removals(self, retired: Retired | None) -> list[DeltaRecord]:
        if retired is None:
            return []
        artifacts = self.session.catalogue.artifacts()
        sizes = {one: artifact.wire_bytes for one, artifact in artifacts.items()}
        name = self.night.name_pair
        gone = "its grace is over: clients find it no more"
        over = "nobody can be downloading it any more"
        return [
            *(record_delta(one, name, "unlink", sizes.get(one, 0), gone) for one in retired.unlinked),
            *(record_delta(one, name, "remove", sizes.get(one, 0), over) for one in retired.removed),
        ]

    def _record(
        self,
        assembly: Assembly | None,
        plan: Plan | None,
        handed: HandedOver | None,
        before: Sequence[Route],
        deltas: tuple[DeltaRecord, ...],
    ) -> NightRecord:
        planned = _plan_record(assembly, plan, before, handed) if assembly is not None and plan is not None else None
        return NightRecord(
            scenario=self.night.scenario.name,
            run=self.session.run,
            started_at=self.session.began.iso,
            ended_at=self.session.clock.now().iso,
            window_s=self.window_s,
            is_complete=handed is not None and handed.is_complete,
            steps=tuple(self.steps),
            jobs=tuple(self.session.log.records),
            deltas=deltas,
            plan=planned,
            notes=(*self.session.notes, *(() if planned else ("there is no plan for tonight",))),
        )

    def _write(self, record: NightRecord) -> None:
        """Keep the record; a disk that is full has said so before, and the caller has the record anyhow."""
        workspace = self.night.workspace
        try:
            with full_disk_as_error(workspace.folder):
                workspace.write_json("report.json", night_document(record))
                workspace.write_text("report.html", night_page(record))
                workspace.write_text("metrics.prom", format_openmetrics(record))
        except (SpaceError, OSError) as error:
            self.night.reporter.say(f"the report cannot be written: {error}")


def _plan_record(assembly: Assembly, plan: Plan, before: Sequence[Route], handed: HandedOver | None) -> PlanRecord:
    problem = assembly.problem
    routes = before if handed is None else handed.routes
    has_route = np.array([route is not None for route in routes], dtype=bool)
    return PlanRecord(
        cost=plan.cost.total,
        lower_bound=plan.lower_bound,
        gap=plan.gap,
        method=plan.method,
        stored_bytes=plan.evaluation.stored_bytes,
        server_cpu_s=plan.evaluation.server_cpu_s,
        clients=float(problem.demands.clients.sum()),
        clients_covered=float(problem.demands.clients[has_route].sum()),
        full_pull_bytes_per_client=bytes_per_client(assembly, [None] * len(assembly.cohorts)),
        before_bytes_per_client=bytes_per_client(assembly, before),
        after_bytes_per_client=bytes_per_client(assembly, routes),
    )


def _raise_failed(failed: Sequence[Failed], name: Callable[[Candidate], str]) -> None:
    if failed:
        first = f"{name(failed[0].candidate)}: {failed[0].reason}"
        raise BuildError("deltas could not be made", failed=len(failed), first=first)
