"""What changed from yesterday's plan to today's, as a person reads it on a terminal of 80 columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from planner.optimize.plan import Plan
from planner.optimize.replan_change import CandidateChange, PlanChange, RouteChange
from planner.report.explanations import format_money
from planner.report.tables import plain_table

_MOST_ROWS = 20
"""Rows of a table on a terminal; `--json` has them all."""


def change_view(change: PlanChange, plan: Plan) -> RenderableType:
    """Deltas added and dropped, routes that changed, and what replanning saves."""
    views: list[RenderableType] = []
    moved = [one for one in change.candidates if one.kind != "kept"]
    if moved:
        views += [_candidate_table(moved), *_more(len(moved))]
    if change.routes:
        views += [_route_table(change.routes), *_more(len(change.routes))]
    return Group(*views, *map(Text, _sentences(change, plan)))


def _more(rows: int) -> Iterable[Text]:
    return [Text(f"and {rows - _MOST_ROWS} more")] if rows > _MOST_ROWS else []


def _candidate_table(changes: list[CandidateChange]) -> Table:
    table = plain_table("Deltas")
    table.add_column("", no_wrap=True)
    table.add_column("delta", overflow="fold")
    table.add_column("because", overflow="fold")
    for one in changes[:_MOST_ROWS]:
        table.add_row(one.kind, f"{_name(one.base)} → {_name(one.target)}", _because(one.cause, one.detail))
    return table


def _route_table(changes: tuple[RouteChange, ...]) -> Table:
    table = plain_table("Routes")
    table.add_column("base", overflow="fold")
    table.add_column("wants", overflow="fold")
    table.add_column("clients", justify="right", no_wrap=True)
    for name in ("before", "now", "because"):
        table.add_column(name, overflow="fold")
    for one in changes[:_MOST_ROWS]:
        ways = ("full pull" if way is None else " → ".join(map(_name, way)) for way in (one.before, one.after))
        table.add_row(_name(one.base), _name(one.target), f"{one.clients:g}", *ways, _because(one.cause, one.detail))
    return table


def _name(commit: str) -> str:
    return commit or "(empty)"


def _because(cause: str, detail: str) -> str:
    return f"{cause}: {detail}" if detail else cause


def _sentences(change: PlanChange, plan: Plan) -> list[str]:
    deltas = Counter(one.kind for one in change.candidates)
    demands = Counter(one.kind for one in change.demands)
    kinds = f"{deltas['added']} deltas added, {deltas['dropped']} dropped, {deltas['kept']} kept"
    asked = f"{demands['new']} demands new, {demands['gone']} gone"
    lines = [f"{kinds}; {len(change.routes)} routes changed; {asked}"]
    if change.unbuilt:
        lines.append(
            f"{len(change.unbuilt)} of the kept deltas are not built in the new graph: their CPU is paid again"
        )
    if change.standing_money is None or change.saved_money is None:
        lines.append(f"yesterday's plan is not feasible today: {change.standing_fault}")
    else:
        saved, standing = format_money(change.saved_money), format_money(change.standing_money)
        lines.append(f"yesterday's plan would cost {standing} today: planning again saves {saved}")
    lines.append(
        f"{plan.status}: the plan costs {format_money(change.money)}, no plan costs less than "
        f"{format_money(plan.lower_bound)} (gap {plan.gap:.2%})"
    )
    return lines
