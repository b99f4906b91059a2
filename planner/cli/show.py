"""`deltaplan show`: the plan as a person reads it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import RenderableType

from planner.cli.context import JsonOption, ScenarioArgument, TerminalReporter, WorkOption, run_verb
from planner.cli.opening import open_night
from planner.demand.cohorts import Demand
from planner.report.summary import PlanSummary, summarize
from planner.report.tables import plan_view


def show(scenario: ScenarioArgument, work: WorkOption = None, as_json: JsonOption = False) -> None:
    """Show the last plan: routes per base, totals against peers, the proof."""

    def action(reporter: TerminalReporter) -> tuple[Any, RenderableType]:
        night = open_night(scenario, work, 1, reporter)
        assembly, plan = night.workspace.read_plan()
        summary = summarize(assembly, plan, night.history, every_policy=as_json)
        return plan_document(summary, night.demand), plan_view(summary)

    run_verb(action, as_json=as_json)


def plan_document(summary: PlanSummary, demand: Demand) -> dict[str, Any]:
    """A plan's summary for programs, with the clients that could not be placed."""
    return {**asdict(summary), "unknown_bases": [asdict(row) for row in demand.unknown]}
