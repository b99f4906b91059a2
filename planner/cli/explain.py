"""`deltaplan explain`: why this route, and why not that delta."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from planner.cli.context import JsonOption, ScenarioArgument, TerminalReporter, WorkOption, run_verb
from planner.cli.opening import open_night
from planner.errors import InputError
from planner.history.records import History
from planner.night.night import Night
from planner.optimize.assemble import Assembly
from planner.optimize.explain import Alternative, CandidateVerdict, explain_candidate, explain_demand
from planner.report.tables import plain_table
from planner.units import format_bytes

BaseArgument = Annotated[str, typer.Argument(help="A base: version, ref or commit.", show_default=False)]
TargetArgument = Annotated[str | None, typer.Argument(help="A target, to ask about the delta from BASE to it.")]


def explain(
    scenario: ScenarioArgument,
    base: BaseArgument,
    target: TargetArgument = None,
    work: WorkOption = None,
    as_json: JsonOption = False,
) -> None:
    """Why clients on BASE take the route they take; with TARGET, why that delta is built or not."""

    def action(reporter: TerminalReporter) -> tuple[Any, RenderableType]:
        night = open_night(scenario, work, 1, reporter)
        if target is None:
            return _explain_base(night, base)
        return _explain_pair(night, base, target)

    run_verb(action, as_json=as_json)


def _explain_base(night: Night, base: str) -> tuple[Any, RenderableType]:
    assembly, plan = night.workspace.read_plan()
    commit = night.history.resolve(base)
    demands = [index for index, cohort in enumerate(assembly.cohorts) if cohort.base == commit]
    if not demands:
        raise InputError("no cohort is on this base", got=base)
    found = {index: explain_demand(assembly.problem, plan, index) for index in demands}
    document = [
        {**asdict(assembly.cohorts[index]), "alternatives": [asdict(one) for one in alternatives]}
        for index, alternatives in found.items()
    ]
    views = [_alternatives_view(assembly, night.history, index, found[index]) for index in demands]
    return document, Group(*views)


def _alternatives_view(
    assembly: Assembly, history: History, index: int, alternatives: tuple[Alternative, ...]
) -> RenderableType:
    cohort = assembly.cohorts[index]
    title = (
        f"{history.name_of(cohort.base)} → {cohort.ref or history.name_of(cohort.target)}, {cohort.clients:g} clients"
    )
    table = plain_table(title)
    for name in ("way", "route"):
        table.add_column(name)
    for name in ("download", "all clients", "newly for the server", "in all"):
        table.add_column(name, justify="right")
    for one in alternatives:
        stops = [history.name_of(assembly.candidates[hop].target) for hop in one.route or ()]
        money = cohort.clients * one.client_money
        table.add_row(
            one.kind,
            "full pull" if one.route is None else " → ".join(stops),
            format_bytes(one.client_bytes),
            f"{money:.6f}",
            f"{one.fixed_money:.6f}",
            f"{money + one.fixed_money:.6f}",
        )
    return table


def _explain_pair(night: Night, base: str, target: str) -> tuple[Any, RenderableType]:
    assembly, plan = night.workspace.read_plan()
    pair = night.history.resolve(base), night.history.resolve(target)
    indexes = [i for i, c in enumerate(assembly.candidates) if (c.base, c.target) == pair]
    verdicts = [explain_candidate(assembly.problem, plan, index) for index in indexes]
    file = night.workspace.read_json("candidates.json", "weigh")
    pruned = [row for row in file["pruned"] if (row["base"], row["target"]) == pair]
    lines = [_verdict_line(assembly, verdict) for verdict in verdicts]
    lines += [f"{row['codec'] or 'any codec'}: dropped before planning: {row['reason']}" for row in pruned]
    if not lines:
        lines = ["no rule proposes this delta: add it by a rule in [weigh] of the scenario"]
    return {"verdicts": [asdict(one) for one in verdicts], "pruned": pruned}, Group(*map(Text, lines))


def _verdict_line(assembly: Assembly, verdict: CandidateVerdict) -> str:
    codec = assembly.candidates[verdict.candidate].codec
    if verdict.is_chosen:
        users, change = len(verdict.users), verdict.change_money
        line = f"{codec}: built, used by {users} cohorts; without it the plan's cost changes by {change:+.6f}"
    else:
        line = f"{codec}: not built; adding it changes the plan's cost by {verdict.change_money:+.6f}"
    if verdict.violations:
        line += f", and {verdict.violations[0]}"
    return line
