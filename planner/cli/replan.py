"""`deltaplan replan`: the plan of a changed graph, begun from yesterday's, and what changed (`docs/formats.md`)."""

from __future__ import annotations

import time
from dataclasses import asdict
from math import inf
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from planner import graphs
from planner.cli.context import GapOption, JsonOption, SeedOption, TerminalReporter, TimeLimitOption, run_verb
from planner.errors import InputError
from planner.optimize.interchange import parse_plan, plan_to_dict
from planner.optimize.plan import Plan
from planner.optimize.problem import Problem
from planner.optimize.replan import replan as plan_again
from planner.optimize.solve import Options
from planner.report.changes import change_view


def replan(
    graph: Annotated[Path, typer.Argument(help="The changed deltaplan-graph/1 file.", show_default=False)],
    previous: Annotated[Path, typer.Option("--previous", help="Yesterday's deltaplan-plan/1 file.")],
    previous_graph: Annotated[Path, typer.Option("--previous-graph", help="The graph that yesterday's plan is for.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where the new deltaplan-plan/1 file goes.")],
    gap: GapOption = 0.0,
    time_limit_s: TimeLimitOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Plan a changed graph again, from yesterday's plan, and say what changed and why."""

    def action(_: TerminalReporter) -> tuple[Any, RenderableType]:
        before = graphs.read_graph(previous_graph)
        plan = _read_plan(previous, previous_graph, before)
        problem = graphs.read_graph(graph)
        limit_s = inf if time_limit_s is None else time_limit_s
        options = Options(gap=gap, time_limit_s=limit_s, seed=seed, clock=time.monotonic)
        again = plan_again(before, plan, problem, options)
        graphs.write_plan(again.plan, problem, output)
        document = {"plan": plan_to_dict(again.plan, problem), "change": asdict(again.change)} if as_json else None
        return document, change_view(again.change, again.plan)

    run_verb(action, as_json=as_json)


def _read_plan(path: Path, graph: Path, problem: Problem) -> Plan:
    """Yesterday's plan, judged again on yesterday's graph.

    Raises:
        InputError: it cannot be read, is for another graph, or is not feasible on its own.
    """
    data = graphs.read_document(path)
    try:
        return parse_plan(data, problem)
    except InputError as error:
        if error.path != "plan.graph_digest":
            raise InputError(error.message, path=f"{path}: {error.path}", **error.facts) from error
        raise InputError("is not a plan for the previous graph", path=str(path), previous_graph=str(graph)) from error
