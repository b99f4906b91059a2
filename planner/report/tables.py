"""Summaries as tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from planner.report.summary import PlanSummary, PolicyRow, RouteRow
from planner.units import format_bytes, format_duration


def plan_view(summary: PlanSummary) -> RenderableType:
    """Routes per base, totals against peers, and the proof in one line."""
    return Group(
        route_table(summary.routes),
        Text(),
        policy_table(summary.policies),
        *(Text(f"{row.name} is no plan: {row.fault}") for row in summary.policies if not row.is_feasible),
        Text(),
        Text(proof_line(summary)),
    )


def plain_table(title: str) -> Table:
    """A table without vertical rules: eight columns of figures fit a terminal of 80."""
    return Table(
        title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )


def route_table(rows: Sequence[RouteRow]) -> Table:
    """Per cohort: the route, its hops and bytes against a full pull."""
    table = plain_table("Routes")
    table.add_column("base", no_wrap=True)
    table.add_column("wants", no_wrap=True)
    table.add_column("clients", justify="right")
    table.add_column("route", overflow="fold")
    table.add_column("hops", justify="right")
    table.add_column("download", justify="right")
    table.add_column("full pull", justify="right")
    table.add_column("saved", justify="right")
    for row in rows:
        route = "full pull" if row.route is None else " → ".join(row.route)
        full = row.full_pull_bytes
        saved = "" if not full else f"{1 - row.wire_bytes / full:.0%}"
        table.add_row(
            row.base,
            row.target,
            f"{row.clients:g}",
            route,
            str(len(row.route or ())),
            format_bytes(row.wire_bytes),
            "-" if full is None else format_bytes(full),
            saved,
        )
    return table


def policy_table(rows: Sequence[PolicyRow]) -> Table:
    """The plan's totals above those of peer policies; the first row is the plan. Infeasible ones are not compared."""
    table = plain_table("Against what peers would build")
    table.add_column("policy", no_wrap=True)
    for name in ("deltas", "stored", "server CPU", "sent", "hops", "money"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("against plan", justify="right")
    for index, row in enumerate(rows):
        table.add_row(
            row.name,
            str(row.deltas),
            format_bytes(row.stored_bytes),
            format_duration(row.server_cpu_s),
            format_bytes(row.egress_bytes),
            f"{row.mean_hops:.2f}",
            f"{row.money:.4f}",
            "" if index == 0 else _ratio(row, rows[0]) if row.is_feasible else "-",
            style="bold" if index == 0 else None,
        )
    return table


def _ratio(row: PolicyRow, plan: PolicyRow) -> str:
    """What a feasible policy costs by the plan's money; of one that is not feasible that would say nothing."""
    return f"{row.money / plan.money:.2f} x" if plan.money else ""


def proof_line(summary: PlanSummary) -> str:
    """What is proven about the plan's cost."""
    return (
        f"proven gap {summary.gap:.2%} ({summary.status}): the plan costs {summary.money:.4f}, "
        f"no plan costs less than {summary.lower_bound:.4f}"
    )
