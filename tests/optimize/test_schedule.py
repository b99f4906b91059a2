"""The order of building: each lot finishes routes, the most valuable come first, and stopping anywhere never costs."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest

from planner.errors import InfeasibleError
from planner.optimize.evaluate import Selection, evaluate
from planner.optimize.interchange import graph_from_dict
from planner.optimize.problem import Problem
from planner.optimize.routes import choose_routes
from planner.optimize.schedule import Lot, order_builds
from planner.optimize.solve import solve
from tests.optimize.tiny import random_problem


def a_star() -> Problem:
    """Three bases into one target through a hub that is a delta away from it.

    By the hub: 0 -> 3 and 3 -> 4, 1 -> 3 and 3 -> 4. Directly: 2 -> 4, of which many clients have need.
    """
    return graph_from_dict(
        {
            "format": "deltaplan-graph/1",
            "commits": ["A", "B", "C", "hub", "T"],
            "candidates": {
                "base": [0, 1, 3, 2],
                "target": [3, 3, 4, 4],
                "wire_bytes": [10, 10, 10, 10],
                "server_cpu_s": [1, 1, 8, 2],
            },
            "demands": {"base": [0, 1, 2], "target": [4, 4, 4], "clients": [6, 3, 4], "full_pull_bytes": [100] * 3},
            "prices": {"egress_per_gb": 1e9},
        }
    )


def all_lots(problem: Problem, ready: tuple[int, ...] = ()) -> tuple[Lot, ...]:
    is_ready = np.isin(np.arange(len(problem.candidates)), ready)
    routes = ((0, 2), (1, 2), (3,))
    return order_builds(problem, (0, 1, 2, 3), routes, is_ready, problem.candidates.server_cpu_s)


def test_a_route_is_finished_before_the_next_one_is_begun() -> None:
    """C's delta saves 4 x 90 for 2 s, A's route 6 x 80 for 9 s; then B's lacks one second only."""
    lots = all_lots(a_star())
    assert [(lot.rows, lot.saved_money, lot.core_s) for lot in lots] == [
        ((3,), 360.0, 2.0),
        ((0, 2), 480.0, 9.0),
        ((1,), 240.0, 1.0),
    ]


def test_what_is_ready_is_not_waited_for() -> None:
    """With the hub's delta published, A's and B's routes are one delta each, and cheaper than C's."""
    assert [lot.rows for lot in all_lots(a_star(), ready=(2,))] == [(0,), (1,), (3,)]
    assert all_lots(a_star(), ready=(0, 1, 2, 3)) == ()


def test_what_no_route_needs_comes_last() -> None:
    """A row that was chosen but is on no route."""
    problem = a_star()
    lots = order_builds(problem, (0, 3), (None, None, (3,)), np.zeros(4, dtype=bool), problem.candidates.server_cpu_s)
    assert [lot.rows for lot in lots] == [(3,), (0,)]


@pytest.mark.parametrize("seed", range(150))
def test_stopping_after_any_lot_is_no_dearer_for_clients_than_before_it(seed: int) -> None:
    """On random graphs: each missing row once, no lot is empty, and each lot saves what it says, or more."""
    problem = random_problem(seed, commits=6, candidates=14, demands=7)
    try:
        plan = solve(problem)
    except InfeasibleError:
        return
    is_ready = problem.candidates.built.copy()
    core_s = problem.candidates.server_cpu_s
    lots = order_builds(problem, plan.build, plan.routes, is_ready, core_s)
    assert sorted(row for lot in lots for row in lot.rows) == [row for row in plan.build if not is_ready[row]]
    paid = clients_pay(problem, is_ready)
    for lot in lots:
        assert lot.rows
        assert lot.core_s == pytest.approx(sum(core_s[row] for row in lot.rows))
        is_ready[list(lot.rows)] = True
        now = clients_pay(problem, is_ready)
        assert now <= paid * (1 + 1e-12)
        paid = now
    assert paid <= clients_pay(problem, np.isin(np.arange(len(core_s)), plan.build)) * (1 + 1e-12) or paid == inf


def clients_pay(problem: Problem, is_open: np.ndarray) -> float:
    """What clients pay over the best routes; infinite where somebody has no way."""
    routes = choose_routes(problem, is_open)
    judged = evaluate(problem, Selection(build=(), routes=routes))
    if any("full pull" in one for one in judged.violations):
        return inf
    return judged.cost.egress + judged.cost.client_cpu + judged.cost.hops
