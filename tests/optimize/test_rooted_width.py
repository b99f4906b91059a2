"""Elimination of commits: bounds and plans against every tree of tiny problems, with tables large and merged."""

from __future__ import annotations

import numpy as np
import pytest

from planner.compiled import compiled
from planner.optimize import rooted_label_kernels, rooted_width
from planner.optimize.evaluate import evaluate
from planner.optimize.net import lay_out
from planner.optimize.rooted import is_rooted, search_rooted
from planner.optimize.rooted_elimination import eliminate
from planner.optimize.rooted_prices import LimitedUse
from planner.optimize.rooted_width import Width, close_trees
from tests.optimize.test_rooted import never, rooted_problem
from tests.optimize.tiny import exhaustive

SEEDS = range(40)


@pytest.mark.parametrize("is_merged", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_bound_holds_and_the_plan_is_no_worse(seed: int, is_merged: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a poor plan, so that the bound cannot lean on it; merged tables have two labels."""
    problem = rooted_problem(seed)
    net, optimum = lay_out(problem), exhaustive(problem)
    if optimum is None or not is_rooted(problem, net):
        return
    poor = search_rooted(problem, net, seed=1, is_time_up=lambda: True)
    if is_merged:
        for name, sizes in (("_ROUGH", (2, 2)), ("_FINE", (2,)), ("_FIRST_SIZE", 2), ("_MOST_SIZE", 2)):
            monkeypatch.setattr(rooted_width, name, sizes)
    closed = None if poor is None else close_trees(problem, net, poor, gap=0.0, is_time_up=never)
    if poor is None or closed is None:
        return
    judged = evaluate(problem, closed.plan.selection)
    assert judged.is_feasible
    assert judged.cost.total <= evaluate(problem, poor.selection).cost.total + 1e-9
    assert closed.bound <= optimum.cost.total + 1e-9
    # Whoever has no clients need not be served in the relaxation, and a limit of CPU does not count beside storage.
    if not is_merged and problem.limits.server_cpu_s is None and net.cohorts.clients.all():
        assert closed.bound == pytest.approx(optimum.cost.total, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_bound_of_unknown_plans_is_below_the_optimum(seed: int) -> None:
    """With twice the optimum as what is known, and prices far too low and too high."""
    problem = rooted_problem(seed, candidates=11)
    net, optimum = lay_out(problem), exhaustive(problem)
    if optimum is None or not is_rooted(problem, net) or optimum.cost.total == 0:
        return
    limited, plan = LimitedUse(problem, net), eliminate(net)
    if plan is None or not limited.is_limited.any():
        return
    width = Width(net, plan, limited, 2 * optimum.cost.total - net.forced_money, never)
    prices = [width.at_price(price, (3, 10)) for price in (0.0, 0.1, 30.0)]
    kept = [one for one in prices if one is not None]
    width.raise_bound(width.apart(kept, 5))
    assert width.bound + net.forced_money <= optimum.cost.total * (1 + 1e-9)


def test_compiled_kernels_prove_what_plain_ones_do() -> None:
    problem = rooted_problem(4, commits=7, candidates=14)
    net = lay_out(problem)
    plan = eliminate(net)
    assert plan is not None
    plain, fast = (Width(net, plan, LimitedUse(problem, net), 1e3, never) for _ in range(2))
    plain.kernels, fast.kernels = rooted_label_kernels, compiled(rooted_label_kernels)
    one, two = plain.at_price(0.3, (4, 20)), fast.at_price(0.3, (4, 20))
    assert one is not None
    assert two is not None
    assert one.bound == two.bound
    assert one.choices == two.choices
    assert plain.apart([one], 50) == fast.apart([two], 50)


def test_elimination_touches_few_at_once_or_is_none() -> None:
    problem = rooted_problem(2, commits=9, candidates=16)
    plan = eliminate(lay_out(problem))
    assert plan is not None
    assert all(len(others) <= 3 for others in plan.around.values())
    assert sorted(e for by_end in plan.edges.values() for some in by_end.values() for e in some) == sorted(
        np.flatnonzero(lay_out(problem).edges.tail != lay_out(problem).cohorts.target[0]).tolist()
    )
    dense = rooted_problem(2, commits=9, candidates=300)
    assert eliminate(lay_out(dense)) is None


def test_out_of_time_keeps_what_was_known() -> None:
    problem = rooted_problem(4, commits=7, candidates=9)
    net = lay_out(problem)
    found = search_rooted(problem, net, seed=1, is_time_up=never)
    assert found is not None
    closed = close_trees(problem, net, found, gap=0.0, is_time_up=lambda: True)
    assert closed is None or closed.plan.selection == found.selection
