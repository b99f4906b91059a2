"""`deltaplan import`: bring releases into the repository and read its history."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from planner.cli.context import (
    JsonOption,
    ScenarioArgument,
    TerminalReporter,
    WorkOption,
    run_verb,
)
from planner.cli.opening import open_night


def import_(scenario: ScenarioArgument, work: WorkOption = None, as_json: JsonOption = False) -> None:
    """Bring the scenario's new releases into its repository, and check the history."""

    def action(reporter: TerminalReporter) -> tuple[Any, RenderableType]:
        done = open_night(scenario, work, 1, reporter).import_()
        text = f"{done.commits} commits ({done.added} new) on {len(done.refs)} refs"
        if done.incomplete:
            text += f"; {len(done.incomplete)} incomplete commits left out"
        return asdict(done), Text(text)

    run_verb(action, as_json=as_json)
