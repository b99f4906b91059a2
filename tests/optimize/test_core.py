"""What the gap excludes: no cheaper plan uses it."""

from __future__ import annotations

import numpy as np
import pytest

from planner.optimize.core import count_hops, reduce_by_bound
from planner.optimize.net import lay_out
from planner.optimize.problem import Limits
from planner.optimize.solve import solve
from tests.optimize.test_ascent import climbed, never
from tests.optimize.test_search import without_side_rules
from tests.optimize.tiny import exhaustive, random_problem


@pytest.mark.parametrize("seed", range(100))
def test_optimal_plan_lies_in_the_core(seed: int) -> None:
    """With the optimum as the best known cost, every route of the oracle's plan is made of the core's edges."""
    problem = random_problem(seed).replace(limits=Limits())
    oracle = exhaustive(problem)
    net = lay_out(problem)
    if oracle is None or not len(net.cohorts.base):
        return
    ascent = climbed(problem, net, rounds=3, seed=seed)
    slack = oracle.cost.total - ascent.value + 1e-6
    core = reduce_by_bound(problem, ascent, slack, 10_000, never)
    assert core is not None
    assert core.slack == slack
    for cohort in core.cohorts:
        for demand in cohort.demands:
            assert set(oracle.selection.routes[demand] or ()) <= set(cohort.edges.tolist())


@pytest.mark.parametrize("seed", range(40))
def test_part_of_the_slack_bounds_what_is_left_out(seed: int) -> None:
    """A core of few columns: a plan that leaves it costs at least the bound plus the slack that was kept."""
    problem = without_side_rules(random_problem(seed, commits=5, candidates=14, demands=5))
    net = lay_out(problem)
    ascent = climbed(problem, net, rounds=1, seed=seed)
    core = reduce_by_bound(problem, ascent, 1e9, 6, never)
    assert core is not None
    best = solve(problem)
    for cohort in core.cohorts:
        for demand in cohort.demands:
            if not set(best.routes[demand] or ()) <= set(cohort.edges.tolist()):
                assert best.cost.total >= ascent.value + core.slack - 1e-6


def test_hops_are_counted_along_edges() -> None:
    """0 -> 1 -> 2 and 0 -> 2: one hop to 2; 3 is out of reach within two."""
    tails, heads = np.array([0, 1, 0, 2, 4]), np.array([1, 2, 2, 4, 3])
    assert count_hops(5, 0, tails, heads, 2).tolist() == [0, 1, 1, 3, 2]
