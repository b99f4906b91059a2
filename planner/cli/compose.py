"""`deltaplan compose`: known mixes become commits."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from planner.cli.context import JsonOption, ScenarioArgument, TerminalReporter, WorkOption, run_verb
from planner.cli.opening import open_night


def compose(
    scenario: ScenarioArgument,
    names: Annotated[list[str] | None, typer.Argument(help="Only these mixes. Default: all.")] = None,
    work: WorkOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the merged commits that the scenario's mixes name and the repository lacks."""

    def action(reporter: TerminalReporter) -> tuple[Any, RenderableType]:
        made = open_night(scenario, work, 1, reporter).compose(names or ())
        lines = [f"{name} {commit}" for name, commit in made.items()]
        return made, Text("\n".join(lines) or "every mix is there")

    run_verb(action, as_json=as_json)
