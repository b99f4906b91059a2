"""`deltaplan solve`: a plan for a graph file, with a proven bound (`docs/formats.md`)."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from planner.cli.context import JsonOption, TerminalReporter, run_verb
from planner.errors import InputError
from planner.history.files import read_bounded, write_atomically
from planner.optimize.interchange import parse_graph, plan_to_dict
from planner.optimize.plan import Plan
from planner.optimize.solve import Options
from planner.optimize.solve import solve as solve_problem
from planner.units import format_bytes, format_duration

_MAX_GRAPH_BYTES = 4_000_000_000


def solve(
    graph: Annotated[Path, typer.Argument(help="A deltaplan-graph/1 file.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where the deltaplan-plan/1 file goes.")],
    gap: Annotated[float, typer.Option("--gap", min=0.0, help="Stop at this relative gap; 0: optimal.")] = 0.0,
    time_limit_s: Annotated[
        float | None, typer.Option("--time-limit", min=0.0, help="Stop after so many seconds with the best plan.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="For ties and search order.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Choose which candidates of a graph to build, and a route for every demand."""

    def action(_: TerminalReporter) -> tuple[Any, RenderableType]:
        try:
            problem = parse_graph(read_bounded(graph, _MAX_GRAPH_BYTES))
        except OSError as error:
            raise InputError("cannot be read", path=str(graph), reason=error.strerror) from error
        options = Options(
            gap=gap,
            time_limit_s=float("inf") if time_limit_s is None else time_limit_s,
            seed=seed,
            clock=time.monotonic,
        )
        plan = solve_problem(problem, options)
        document = plan_to_dict(plan, problem)
        try:
            write_atomically(output, (json.dumps(document) + "\n").encode())
        except OSError as error:
            raise InputError("cannot be written", path=str(output), reason=error.strerror) from error
        return document, Text(_line(plan))

    run_verb(action, as_json=as_json)


def _line(plan: Plan) -> str:
    judged = plan.evaluation
    return (
        f"{plan.status}: cost {plan.cost.total:.6g}, bound {plan.lower_bound:.6g}, gap {plan.gap:.2%}; "
        f"{len(plan.build)} deltas, {format_bytes(judged.stored_bytes)} stored, "
        f"{format_duration(judged.server_cpu_s)} of server CPU, {format_bytes(judged.egress_bytes)} sent; "
        f"{plan.method}, {format_duration(plan.wall_s)}"
    )
