"""Prices of the limits: bounds that hold, plans that fit, and streams that share."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.instances import many_streams
from planner.optimize.evaluate import evaluate
from planner.optimize.limits import PriceSearch, best_prices, choose_columns
from planner.optimize.net import lay_out
from planner.optimize.problem import Limits, Problem
from planner.optimize.search import Search
from planner.optimize.solve import solve
from planner.optimize.standing import Standing
from tests.optimize.test_ascent import never
from tests.optimize.test_search import without_side_rules
from tests.optimize.tiny import exhaustive, random_problem


def priced(problem: Problem, evaluations: int = 5) -> tuple[PriceSearch, Standing]:
    """The search for prices after some evaluations, and what it found."""
    net = lay_out(problem)
    known = Standing(problem, net, asked_gap=1e-6)
    prices = PriceSearch(problem, net, seed=0, is_time_up=never, found=known.look)
    first = Search(problem, net, *prices.money)
    first.lay(np.arange(len(net.cohorts.base)), never)
    prices.begin(first.routes, 0.0)
    prices.run(1, evaluations, never)
    return prices, known


@pytest.mark.parametrize("seed", range(120))
def test_bound_at_prices_never_exceeds_the_optimum(seed: int) -> None:
    """Weak duality: at any prices, with limits that bind, with cycles, hops and parts."""
    problem = random_problem(seed)
    oracle = exhaustive(problem)
    if oracle is None or not len(lay_out(problem).cohorts.base):
        return
    prices, _ = priced(problem)
    assert prices.bound <= oracle.cost.total * (1 + 1e-9) + 1e-9


@pytest.mark.parametrize("seed", range(6))
def test_streams_share_limits_within_a_small_gap(seed: int) -> None:
    """Forty streams at half of what they would use: the choice of columns fits and is close to the bound."""
    problem = many_streams(40, 12, fixed_multiplier=10, seed=seed)
    free = solve(problem).evaluation
    limits = Limits(stored_bytes=free.stored_bytes / 2, server_cpu_s=free.server_cpu_s / 2)
    problem = problem.replace(limits=limits)
    prices, known = priced(problem, evaluations=8)
    assert prices.streams == 40
    judged = known.settle()
    assert judged.is_feasible
    assert prices.bound <= judged.cost.total
    assert judged.cost.total <= 1.03 * prices.bound
    assert judged.cost.total > free.cost.total


def test_column_is_the_plan_that_it_was_made_from() -> None:
    """Summed over streams, its money and use are what `evaluate` finds for the same routes."""
    problem = many_streams(6, 10, fixed_multiplier=10).replace(limits=Limits(stored_bytes=1e9, server_cpu_s=1e5))
    prices, _ = priced(problem, evaluations=1)
    prices.search.descend(never)
    column, judged = prices.columns[0], None
    for candidate in prices.columns:
        if candidate.length.tolist() == prices.search.routes.length.tolist():
            column, judged = candidate, evaluate(problem, prices.search.selection())
    assert judged is not None
    assert column.money.sum() == pytest.approx(judged.cost.total)
    assert column.use.sum(axis=1) == pytest.approx([judged.stored_bytes, judged.server_cpu_s])


def test_best_price_of_two_columns_is_where_they_cost_the_same() -> None:
    """Money 10 and use 4, or money 20 and use 1, with 2 allowed: 10 + 4 p = 20 + p at p = 10 / 3."""
    problem = without_side_rules(random_problem(1))
    prices, _ = priced(problem.replace(limits=Limits(stored_bytes=2.0)), evaluations=0)
    made = type(prices.columns[0])
    none = np.zeros(0, dtype=np.int32)
    columns = [
        made(np.array([10.0]), np.array([[4.0], [0.0]]), none, none),
        made(np.array([20.0]), np.array([[1.0], [0.0]]), none, none),
    ]
    allowed = np.array([2.0, np.inf])
    price, second = best_prices(columns, allowed, (10.0, 0.0))
    assert price == pytest.approx(10 / 3, rel=1e-4)
    assert second == 0.0
    chosen = choose_columns(columns, allowed, (price, second))
    assert chosen is not None
    assert chosen.tolist() == [1]
    assert choose_columns(columns, np.array([0.5, np.inf]), (price, second)) is None
