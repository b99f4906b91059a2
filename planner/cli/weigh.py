"""`deltaplan weigh`: propose candidates, and measure those that never were."""

from __future__ import annotations

from collections import Counter
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
from planner.cli.opening import open_night
from planner.night.night import Weighing, weighing_document
from planner.units import format_bytes, format_duration


def weigh(
    scenario: ScenarioArgument,
    work: WorkOption = None,
    workers: WorkersOption = WORKERS,
    builder: BuilderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Propose candidates by rule, prune them with a reason, and measure by building what was never measured."""

    def action(reporter: TerminalReporter) -> tuple[Any, RenderableType]:
        done = open_night(scenario, work, workers, reporter, builder).weigh()
        return weighing_document(done), weighing_view(done)

    run_verb(action, as_json=as_json)


def weighing_view(done: Weighing) -> RenderableType:
    """Totals, and how many candidates each reason dropped."""
    total_bytes = sum(weight.wire_bytes for weight in done.weighed.values())
    total_s = sum(weight.server_cpu_s for weight in done.weighed.values())
    whole = f"{format_bytes(total_bytes)} and {format_duration(total_s)} of server CPU if all were built"
    lines = [f"{len(done.weighed)} candidates ({done.measured} measured now), {whole}"]
    reasons = Counter(pruned.reason.partition(":")[0] for pruned in done.pruned)
    lines += [f"  {count} dropped: {reason}" for reason, count in reasons.most_common()]
    return Group(*map(Text, lines))
