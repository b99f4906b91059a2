"""What people read: it fits 80 columns, and names what is the matter."""

from __future__ import annotations

import dataclasses
from io import StringIO
from typing import Any

import pytest
from rich.console import Console, RenderableType

from planner.optimize.evaluate import Selection, evaluate
from planner.optimize.explain import explain_demand
from planner.optimize.explain_reason import give_reason
from planner.optimize.interchange import graph_from_dict
from planner.optimize.policies import POLICIES
from planner.optimize.problem import Problem
from planner.optimize.replan import replan
from planner.optimize.solve import solve
from planner.report.changes import change_view
from planner.report.explanations import alternatives_view, reason_view
from planner.report.summary import SHOWN_POLICIES, PolicyRow, fault_of, shown_policies
from planner.report.tables import policy_table
from tests.optimize.tiny import two_step

MONEY = {"egress_per_gb": 1e9, "server_cpu_per_hour": 3600}


def read(view: RenderableType) -> list[str]:
    """The lines on a terminal of 80 columns, with single spaces; none is wider."""
    file = StringIO()
    Console(width=80, file=file).print(view)
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    return [" ".join(line.split()) for line in lines]


def _reason(problem: Problem, candidate: int) -> list[str]:
    names = ["A → C", "A → B", "B → C"]
    return read(
        reason_view(
            problem,
            give_reason(problem, solve(problem), candidate),
            names[candidate],
            name_candidate=names.__getitem__,
            name_demand=lambda _: "A → C",
        )
    )


def test_a_candidate_that_is_not_built_reads_as_a_balance() -> None:
    """Costs, savings, the total, what decides, and what it would take."""
    rows = {"base": [0, 0, 1], "target": [2, 1, 2], "wire_bytes": [6, 4, 4], "server_cpu_s": [9, 1, 1]}
    lines = _reason(two_step(prices=MONEY, candidates=rows), 0)
    for expected in (
        "A → C: not built",
        "server CPU, 9.0 s +9",
        "A → C, 3 clients -6",
        "no longer kept: A → B, B → C -2",
        "in all +1",
        "decided by the price of server CPU",
        "it enters the plan with any one of: 1.0 s less server CPU, 0 B fewer per client,",
        "0.5 clients more",
    ):
        assert expected in lines, lines


def test_a_built_candidate_says_who_uses_it_and_what_drives_it_out() -> None:
    """The second hop is kept only with the first."""
    lines = _reason(two_step(prices=MONEY), 1)
    for expected in ("A → B: built", "kept with it: B → C +1", "in all -124", "decided by the price of egress"):
        assert expected in lines, lines
    assert any(line.startswith("it leaves the plan with any one of: 2 min 04 s more server CPU") for line in lines)


def test_a_candidate_that_clients_need_cannot_be_left_out() -> None:
    """Nobody may pull in full."""
    lines = _reason(two_step(demands={"base": [0], "target": [2], "clients": [3], "max_hops": [1]}), 0)
    assert "A → C, 3 clients, who have no other way 0" in lines
    assert "it cannot be left out, whatever it costs" in lines


@pytest.mark.parametrize("name", ["short", "a-version-number-of-forty-characters-1.2.3"])
def test_alternatives_show_what_is_against_them(name: str) -> None:
    """Names of any length fold; the words for prices and limits are a person's."""
    problem = two_step(prices=MONEY)
    view = alternatives_view(explain_demand(problem, solve(problem), 0), 3.0, "A → C", name_target=lambda _: name)
    text = " ".join(read(view))
    assert "+13" in text
    assert "price of egress" in " ".join(text.split())


def test_changes_of_a_plan_fit_and_say_why() -> None:
    """A price changed; yesterday's plan can no longer be followed by all."""
    yesterday = two_step(prices=MONEY)
    plan = solve(yesterday)
    today = two_step(prices={**MONEY, "per_hop": 10}, commits=["A", "a-version-number-of-forty-characters-1.2.3", "C"])
    again = replan(yesterday, plan, today)
    text = " ".join(read(change_view(again.change, again.plan)))
    assert "no longer offered: A → B" in text
    assert "yesterday's plan would cost 150 today: planning again saves 81" in text
    limited = two_step(prices=MONEY, limits={"server_cpu_s": 0})
    again = replan(yesterday, plan, limited)
    text = " ".join(read(change_view(again.change, again.plan)))
    assert "yesterday's plan is not feasible today: limits.server_cpu_s: exceeded: needed=2.0, allowed=0" in text


# -- policies --------------------------------------------------------------------------------------------------------


def _row(**changes: Any) -> PolicyRow:
    row = PolicyRow(
        name="first_plus_last_n",
        deltas=12,
        stored_bytes=33_200_000,
        server_cpu_s=64.0,
        egress_bytes=4_310_000_000,
        mean_hops=1.3,
        money=0.05,
        is_feasible=True,
    )
    return dataclasses.replace(row, **changes)


def test_an_infeasible_policy_is_not_compared_by_its_money() -> None:
    """It leaves out what it cannot do, so a ratio would praise it."""
    rows = [_row(name="this plan"), _row(money=0.1), _row(name="last_n", is_feasible=False, fault="stores too much")]
    lines = read(policy_table(rows))
    assert any(line.endswith("0.1000 2.00 x") for line in lines)
    assert any(line.startswith("last_n") and line.endswith("-") for line in lines)


@pytest.mark.parametrize(
    ("limits", "build", "fault"),
    [
        ({}, (1, 2), ""),
        ({"stored_bytes": 7}, (1, 2), "stores too much"),
        ({"server_cpu_s": 1}, (1, 2), "builds too long"),
        ({"stored_bytes": 1}, (0,), "stores too much, no way for 1 of 1"),
        ({}, (), "no way for 1 of 1"),
    ],
)
def test_what_is_wrong_with_a_policy_is_named_by_its_kind(
    limits: dict[str, float], build: tuple[int, ...], fault: str
) -> None:
    """A limit on storage, one on CPU, and clients without a way are three things."""
    problem = two_step(limits=limits, demands={"base": [0], "target": [2], "clients": [3]})
    routes = (build,) if len(build) == 2 else (None,)
    assert fault_of(evaluate(problem, Selection(build=build, routes=routes))) == fault


def test_people_are_shown_few_policies_and_the_slow_one_only_where_it_is_quick() -> None:
    """All names are known ones."""
    assert shown_policies(two_step()) == (*SHOWN_POLICIES, "lmg_all")
    rows = 6_000
    ends = {"base": [0] * rows, "target": [1] * rows, "wire_bytes": [1] * rows}
    large = graph_from_dict({"format": "deltaplan-graph/1", "commits": ["A", "B"], "candidates": ends,
        "demands": {"base": [0], "target": [1], "clients": [1]}})  # fmt: skip
    assert shown_policies(large) == SHOWN_POLICIES
    assert {*SHOWN_POLICIES, "lmg_all"} < set(POLICIES)
