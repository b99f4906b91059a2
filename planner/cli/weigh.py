"""`deltaplan weigh`: propose candidates, and measure those that never were."""

from __future__ import annotations

from collections import Counter
from typing import Any

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
from planner.cli.opening import open_night
from planner.night.weighing import Weighing, weighing_document
from planner.units import format_bytes, format_duration
from planner.weigh.candidates import WeightStatus


def weigh(
    scenario: ScenarioArgument,
    work: WorkOption = None,
    workers: WorkersOption = WORKERS,
    executor: ExecutorOption = None,
    builder: BuilderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Propose candidates by rule, prune them with a reason, and weigh what was never weighed.

    All are measured by building them, unless the scenario has a budget for that ([weigh] probe_core_s): then what is
    not worth measuring is projected.
    """

    def action(reporter: TerminalReporter) -> tuple[Any, RenderableType]:
        done = open_night(scenario, work, workers, reporter, builder, executor).weigh()
        return weighing_document(done), weighing_view(done)

    run_verb(action, as_json=as_json)


def weighing_view(done: Weighing) -> RenderableType:
    """Totals, and how many candidates each reason dropped."""
    total_bytes = sum(weight.wire_bytes for weight in done.weighed.values())
    total_s = sum(weight.server_cpu_s for weight in done.weighed.values())
    whole = f"{format_bytes(total_bytes)} and {format_duration(total_s)} of server CPU if all were built"
    projected = sum(weight.status is WeightStatus.PROJECTED for weight in done.weighed.values())
    status = f"{done.measured} measured now" + (f", {projected} projected" if projected else "")
    lines = [f"{len(done.weighed)} candidates ({status}), {whole}"]
    if done.accuracy is not None:
        off = (
            f"{done.accuracy.wire_bytes_error:.0%} off in bytes and {done.accuracy.server_cpu_error:.0%} in server CPU"
        )
        lines.append(f"  projections of {done.accuracy.candidates} candidates that were measured since: {off} (median)")
    reasons = Counter(pruned.reason.partition(":")[0] for pruned in done.pruned)
    lines += [f"  {count} dropped: {reason}" for reason, count in reasons.most_common()]
    return Group(*map(Text, lines))
