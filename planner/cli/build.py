"""`deltaplan build`: make and prove what the plan chose."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import RenderableType
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
from planner.cli.opening import open_night


def build(
    scenario: ScenarioArgument,
    work: WorkOption = None,
    workers: WorkersOption = WORKERS,
    executor: ExecutorOption = None,
    builder: BuilderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build the plan's deltas in parallel, each applied to its base and compared with its target."""

    def action(reporter: TerminalReporter) -> tuple[Any, RenderableType]:
        done = open_night(scenario, work, workers, reporter, builder, executor).build()
        return asdict(done), Text(f"{len(done.ready)} proven deltas are ready ({done.made} made now)")

    run_verb(action, as_json=as_json)
