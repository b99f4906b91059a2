"""`deltaplan nightly --dry-run`: what a night would change, from what is known, touching nothing."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from planner.night.difference import describe_difference
from planner.night.night import Night
from planner.night.session import Session
from planner.night.weighing import UNWEIGHED
from planner.optimize.assemble import Assembly
from planner.optimize.plan import Plan
from planner.report.night_record import DeltaRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What a night would do with what is known now.

    `pending` are releases that it would import first; `unweighed` how many candidates it would have to weigh, which is
    as much as to build: they are in no plan here.
    """

    pending: tuple[str, ...]
    unweighed: int
    deltas: tuple[DeltaRecord, ...]
    assembly: Assembly | None
    plan: Plan | None


def dry_run(night: Night) -> DryRun:
    """The plan's difference to what is served. No file is made or changed, and no lock is kept.

    Raises:
        BusyError: a run is at work.
        InputError: demand cannot be read.
        InfeasibleError: no plan can meet it.
    """
    if not night.has_repository:
        return DryRun(pending=_pending(night), unweighed=0, deltas=(), assembly=None, plan=None)
    night.may_write = False
    with (
        tempfile.TemporaryDirectory(prefix="deltaplan-") as scratch,
        night.opening().open_dry(Path(scratch)) as session,
    ):
        return _look(night, session)


def _look(night: Night, session: Session) -> DryRun:
    weighing = night.weigher(session).look()
    assembly, plan = night.plan_with(session, weighing.weighed)
    served = night.retirer(session).served()
    return DryRun(
        pending=_pending(night),
        unweighed=sum(pruned.reason == UNWEIGHED for pruned in weighing.pruned),
        deltas=describe_difference(assembly, plan.selection, served, night.name_pair, session.journal.retired()),
        assembly=assembly,
        plan=plan,
    )


def _pending(night: Night) -> tuple[str, ...]:
    """Releases that the scenario names and the repository lacks; what a generator or a folder has is not looked at."""
    source = night.scenario.source
    if source is None:
        return ()
    known = {commit.version for commit in night.history.commits.values()} if night.has_repository else set()
    return tuple(commit.name for commit in source.commits if commit.name not in known)
