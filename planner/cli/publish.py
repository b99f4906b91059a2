"""`deltaplan publish`: hand proven deltas and routes to the clients."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from planner.cli.context import JsonOption, ScenarioArgument, TerminalReporter, WorkOption, run_verb
from planner.cli.opening import open_night


def publish(scenario: ScenarioArgument, work: WorkOption = None, as_json: JsonOption = False) -> None:
    """Put proven deltas where clients look, then the route index, then the summary."""

    def action(reporter: TerminalReporter) -> tuple[Any, RenderableType]:
        done = open_night(scenario, work, 1, reporter).publish()
        text = (
            f"{len(done.new)} deltas published, {len(done.kept)} were there; "
            f"{done.routes_written} route files written, {done.routes_removed} removed"
        )
        return asdict(done), Text(text)

    run_verb(action, as_json=as_json)
