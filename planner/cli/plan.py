"""`deltaplan plan`: choose what to build for the whole fleet."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from planner.cli.context import JsonOption, ScenarioArgument, TerminalReporter, WorkOption, run_verb
from planner.cli.opening import open_night
from planner.cli.show import plan_document
from planner.demand.cohorts import Demand
from planner.report.summary import summarize
from planner.report.tables import plan_view


def plan(scenario: ScenarioArgument, work: WorkOption = None, as_json: JsonOption = False) -> None:
    """Choose direct and recursive deltas for every cohort, with a proven bound."""

    def action(reporter: TerminalReporter) -> tuple[Any, RenderableType]:
        night = open_night(scenario, work, 1, reporter)
        night.plan()
        assembly, chosen = night.workspace.read_plan()
        summary = summarize(assembly, chosen, night.history, every_policy=as_json)
        return plan_document(summary, night.demand), Group(plan_view(summary), *unknown_lines(night.demand))

    run_verb(action, as_json=as_json)


def unknown_lines(demand: Demand) -> list[Text]:
    """What policy changed, and who could not be placed: those clients pull in full."""
    notes = [Text(note) for note in demand.notes]
    clients = sum(row.clients for row in demand.unknown)
    if not demand.unknown:
        return notes
    names = ", ".join(sorted({row.base for row in demand.unknown})[:5])
    return [*notes, Text(f"{clients:g} clients on {len(demand.unknown)} unknown bases will pull in full: {names}")]
