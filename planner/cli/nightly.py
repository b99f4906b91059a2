"""`deltaplan nightly`: all verbs in order."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from planner.cli.context import (
    WORKERS,
    BuilderOption,
    ExecutorOption,
    JsonOption,
    ScenarioArgument,
    TerminalReporter,
    WorkersOption,
    WorkOption,
    run_verb,
)
from planner.cli.follow import rehearsal_view
from planner.cli.opening import open_night
from planner.cli.plan import unknown_lines
from planner.cli.show import plan_document
from planner.cli.weigh import weighing_view
from planner.night.dry_run import dry_run
from planner.night.night import Night
from planner.night.nightly import NightlyDone, run_nightly
from planner.report.night_lines import delta_table, night_lines
from planner.report.night_record import night_document
from planner.report.summary import PlanSummary, summarize
from planner.report.tables import plan_view
from planner.units import parse_duration


def nightly(
    scenario: ScenarioArgument,
    work: WorkOption = None,
    workers: WorkersOption = WORKERS,
    executor: ExecutorOption = None,
    builder: BuilderOption = None,
    window: Annotated[
        str | None, typer.Option("--window", help="What the night may take, as 4h or 90m. Default: the scenario's.")
    ] = None,
    is_dry: Annotated[
        bool, typer.Option("--dry-run", help="Print what the night would build, keep and retire, and touch nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Import, compose, weigh, plan, build, publish, retire, and let clients follow their routes.

    A step that fails is named, and the others do what they can; what is published was proven. The exit status is that
    of the first step that failed.
    """
    window_s = None if window is None else parse_duration(window, path="--window")
    status = 0

    def action(reporter: TerminalReporter) -> tuple[Any, RenderableType]:
        nonlocal status
        night = open_night(scenario, work, workers, reporter, builder, executor)
        if is_dry:
            return _dry(night)
        done = run_nightly(night, window_s=window_s)
        status = done.record.exit_status
        summary = _summary(night, done, every_policy=as_json)
        return nightly_document(night, done, summary), nightly_view(night, done, summary)

    run_verb(action, as_json=as_json)
    if status:
        raise typer.Exit(status)


def nightly_document(night: Night, done: NightlyDone, summary: PlanSummary | None) -> dict[str, Any]:
    """What each step gave, and the night's record."""
    return {
        "imported": done.imported and asdict(done.imported),
        "composed": done.composed,
        "plan": summary and plan_document(summary, night.demand),
        "published": done.handed and asdict(done.handed.published),
        "rehearsals": [asdict(one) for one in done.rehearsals],
        "night": night_document(done.record),
    }


def nightly_view(night: Night, done: NightlyDone, summary: PlanSummary | None) -> RenderableType:
    """What a person reads in the morning."""
    parts: list[RenderableType] = []
    if done.imported is not None:
        new = done.imported.added + len(done.composed)
        parts.append(Text(f"{done.imported.commits + len(done.composed)} commits ({new} new)"))
    if done.weighing is not None:
        parts += [weighing_view(done.weighing), Text()]
    if summary is not None:
        parts += [plan_view(summary), *unknown_lines(night.demand)]
    if done.handed is not None:
        published = done.handed.published
        parts.append(Text(f"{len(published.new)} deltas published, {len(published.kept)} were there"))
    parts += map(Text, night_lines(done.record))
    if done.rehearsals:
        parts.append(rehearsal_view(done.rehearsals))
    return Group(*parts)


def _summary(night: Night, done: NightlyDone, *, every_policy: bool) -> PlanSummary | None:
    if done.assembly is None or done.plan is None:
        return None
    return summarize(done.assembly, done.plan, night.history, every_policy=every_policy)


def _dry(night: Night) -> tuple[Any, RenderableType]:
    done = dry_run(night)
    document = {
        "pending": done.pending,
        "unweighed": done.unweighed,
        "deltas": [asdict(one) for one in done.deltas],
        "cost": done.plan and done.plan.cost.total,
        "lower_bound": done.plan and done.plan.lower_bound,
    }
    lines = [f"would first import {', '.join(done.pending)}"] if done.pending else []
    if done.unweighed:
        lines.append(f"would first weigh {done.unweighed} candidates that were never weighed: they are in no plan yet")
    if done.plan is not None:
        lines.append(f"the plan from what is known costs {done.plan.cost.total:.4g}, proven gap {done.plan.gap:.2%}")
    elif not done.pending:
        lines.append("there is no repository yet")
    return document, Group(delta_table(done.deltas), *map(Text, [*lines, "nothing was touched"]))
