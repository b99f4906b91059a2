"""`deltaplan solve`: a plan for a graph file, with a proven bound (`docs/formats.md`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from planner import graphs
from planner.cli.context import GapOption, JsonOption, SeedOption, TerminalReporter, TimeLimitOption, run_verb
from planner.optimize.certificate_duals import certify
from planner.optimize.interchange import plan_to_dict
from planner.optimize.plan import Plan
from planner.units import format_bytes, format_duration


def solve(
    graph: Annotated[Path, typer.Argument(help="A deltaplan-graph/1 file.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where the deltaplan-plan/1 file goes.")],
    gap: GapOption = 0.0,
    time_limit_s: TimeLimitOption = None,
    seed: SeedOption = 0,
    certificate: Annotated[
        Path | None, typer.Option("--certificate", help="Where a proof that can be checked without a solver goes.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Choose which candidates of a graph to build, and a route for every demand."""

    def action(_: TerminalReporter) -> tuple[Any, RenderableType]:
        problem = graphs.read_graph(graph)
        plan = graphs.solve(problem, gap=gap, time_limit_s=time_limit_s, seed=seed)
        line = _line(plan)
        if certificate is not None:
            written = certify(problem, plan.duals)
            graphs.write_certificate(written, problem, certificate)
            line += f"; the certificate proves {written.bound:.6g}"
        graphs.write_plan(plan, problem, output)
        return plan_to_dict(plan, problem) if as_json else None, Text(line)

    run_verb(action, as_json=as_json)


def _line(plan: Plan) -> str:
    judged = plan.evaluation
    return (
        f"{plan.status}: cost {plan.cost.total:.6g}, bound {plan.lower_bound:.6g}, gap {plan.gap:.2%}; "
        f"{len(plan.build)} deltas, {format_bytes(judged.stored_bytes)} stored, "
        f"{format_duration(judged.server_cpu_s)} of server CPU, {format_bytes(judged.egress_bytes)} sent; "
        f"{plan.method}, {format_duration(plan.wall_s)}"
    )
