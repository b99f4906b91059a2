"""`deltaplan explain`: why this route, and why not that delta."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from planner.cli.context import JsonOption, ScenarioArgument, TerminalReporter, WorkOption, run_verb
from planner.cli.opening import open_night
from planner.errors import InputError
from planner.night.night import Night
from planner.optimize.explain import explain_candidate, explain_demand
from planner.optimize.explain_proof import find_duals
from planner.optimize.explain_reason import give_reason
from planner.report.explanations import alternatives_view, reason_view

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
    commit, history = night.history.resolve(base), night.history
    demands = [index for index, cohort in enumerate(assembly.cohorts) if cohort.base == commit]
    if not demands:
        raise InputError("no cohort is on this base", got=base)
    found = {index: explain_demand(assembly.problem, plan, index) for index in demands}
    pairs = Counter((one.base, one.target) for one in assembly.candidates)

    def name_target(hop: int) -> str:
        candidate = assembly.candidates[hop]
        name = history.name_of(candidate.target)
        return name if pairs[candidate.base, candidate.target] == 1 else f"{name} ({candidate.codec})"

    document = [
        {**asdict(assembly.cohorts[index]), "alternatives": [asdict(one) for one in alternatives]}
        for index, alternatives in found.items()
    ]
    views = []
    for index, alternatives in found.items():
        cohort = assembly.cohorts[index]
        title = f"{history.name_of(cohort.base)} → {cohort.ref or history.name_of(cohort.target)}"
        views.append(
            alternatives_view(
                alternatives,
                cohort.clients,
                f"{title}, {cohort.clients:g} clients",
                name_target=name_target,
            )
        )
    return document, Group(*views)


def _explain_pair(night: Night, base: str, target: str) -> tuple[Any, RenderableType]:
    assembly, plan = night.workspace.read_plan()
    problem, history = assembly.problem, night.history
    pair = history.resolve(base), history.resolve(target)
    indexes = [i for i, c in enumerate(assembly.candidates) if (c.base, c.target) == pair]
    verdicts = [explain_candidate(problem, plan, index) for index in indexes]
    # A plan's file is without its duals.
    duals = find_duals(problem, plan) if indexes else None
    reasons = [give_reason(problem, plan, index, duals) for index in indexes]
    file = night.workspace.read_json("candidates.json", "weigh")
    pruned = [row for row in file["pruned"] if (row["base"], row["target"]) == pair]

    def name_demand(index: int) -> str:
        cohort = assembly.cohorts[index]
        return f"{history.name_of(cohort.base)} → {cohort.ref or history.name_of(cohort.target)}"

    def name_candidate(index: int) -> str:
        return night.name_pair(assembly.candidates[index])

    views: list[RenderableType] = [
        reason_view(
            problem,
            reason,
            name_candidate(reason.candidate),
            name_candidate=name_candidate,
            name_demand=name_demand,
        )
        for reason in reasons
    ]
    lines = [f"{row['codec'] or 'any codec'}: dropped before planning: {row['reason']}" for row in pruned]
    if not views and not lines:
        lines = ["no rule proposes this delta: add it by a rule in [weigh] of the scenario"]
    document = {
        "verdicts": [asdict(one) for one in verdicts],
        "reasons": [asdict(one) for one in reasons],
        "pruned": pruned,
    }
    return document, Group(*views, *map(Text, lines))
