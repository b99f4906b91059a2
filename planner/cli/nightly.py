"""`deltaplan nightly`: all verbs in order."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from planner.cli.context import (
    WORKERS,
    BuilderOption,
    JsonOption,
    ScenarioArgument,
    TerminalReporter,
    WorkersOption,
    WorkOption,
    run_verb,
)
from planner.cli.follow import raise_unverified, rehearsal_view
from planner.cli.opening import open_night
from planner.cli.plan import unknown_lines
from planner.cli.show import plan_document
from planner.cli.weigh import weighing_view
from planner.night.night import Night
from planner.report.summary import summarize
from planner.report.tables import plan_view


def nightly(
    scenario: ScenarioArgument,
    work: WorkOption = None,
    workers: WorkersOption = WORKERS,
    builder: BuilderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import, compose, weigh, plan, build, publish, and let a client on every base follow its route."""

    def action(reporter: TerminalReporter) -> tuple[Any, RenderableType]:
        return run_night(open_night(scenario, work, workers, reporter, builder), every_policy=as_json)

    run_verb(action, as_json=as_json)


def run_night(night: Night, *, every_policy: bool = False) -> tuple[Any, RenderableType]:
    """All steps of a night; each keeps what it did, so a night that was cut short can be run again."""
    imported = night.import_()
    composed = night.compose()
    weighing = night.weigh()
    night.plan()
    assembly, plan = night.workspace.read_plan()
    built, published, rehearsals = night.build(), night.publish(), night.follow()
    summary = summarize(assembly, plan, night.history, every_policy=every_policy)
    document = {
        "imported": asdict(imported),
        "composed": composed,
        "plan": plan_document(summary, night.demand),
        "built": asdict(built),
        "published": asdict(published),
        "rehearsals": [asdict(one) for one in rehearsals],
    }
    raise_unverified(rehearsals)
    view = Group(
        Text(f"{imported.commits + len(composed)} commits ({imported.added + len(composed)} new)"),
        weighing_view(weighing),
        Text(),
        plan_view(summary),
        *unknown_lines(night.demand),
        Text(f"{len(published.new)} deltas published, {len(published.kept)} were there"),
        rehearsal_view(rehearsals),
    )
    return document, view
