"""Opening a scenario's night for a verb."""

from __future__ import annotations

from pathlib import Path

from planner.cli.context import TerminalReporter
from planner.night.night import Night
from planner.night.opening import open_night as open_scenario
from planner.weigh.stock_client import BuilderName


def open_night(
    scenario: Path,
    work: Path | None,
    workers: int,
    reporter: TerminalReporter,
    builder: BuilderName | None = None,
    executor: str | None = None,
) -> Night:
    """The night of a scenario file, reporting to the terminal."""
    return open_scenario(scenario, work=work, workers=workers, reporter=reporter, builder=builder, executor=executor)
