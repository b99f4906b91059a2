"""Bounds without a solver: below every feasible selection, and worth something."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from planner.errors import InfeasibleError
from planner.optimize.bound import ascent_bound, priced_bound, prove_bound, split_bound
from planner.optimize.problem import Limits, Prices, no_parts
from planner.optimize.reduce import reduce_cohorts
from planner.optimize.solve import solve
from tests.optimize.tiny import exhaustive, random_problem, two_step


@pytest.mark.parametrize("seed", range(80))
def test_bound_is_below_the_exhaustive_optimum(seed: int) -> None:
    """Shared parts, shared candidates, limits on hops, bytes, storage and CPU: never above."""
    problem = random_problem(seed)
    oracle = exhaustive(problem)
    if oracle is None:
        return
    cohorts = reduce_cohorts(problem)
    most = oracle.cost.total * (1 + 1e-12)
    for bound in (split_bound, ascent_bound, prove_bound):
        assert 0.0 <= bound(problem, cohorts) <= most
    assert ascent_bound(problem, cohorts[::-1]) <= most
    for money in (0.0, 1.0, 10.0, 100.0):
        assert priced_bound(problem, cohorts, money, lambda: False) <= most


@pytest.mark.parametrize("seed", range(60))
def test_ascent_is_a_bound_where_hop_limits_bind(seed: int) -> None:
    """Dense graphs, many cohorts of two or three hops sharing candidates, dear to keep: below the solver's optimum."""
    problem = random_problem(seed, commits=7, candidates=34, demands=18)
    hops = np.random.default_rng(seed).integers(2, 4, 18)
    demands = dataclasses.replace(
        problem.demands, max_hops=hops, full_pull_bytes=np.full(18, 60.0), max_wire_bytes=np.full(18, np.inf)
    )
    prices = Prices(storage_per_gb=6e9, egress_per_gb=1e9)
    problem = problem.replace(demands=demands, prices=prices, limits=Limits(), parts=no_parts())
    cohorts = reduce_cohorts(problem)
    most = solve(problem).cost.total * (1 + 1e-9)
    assert ascent_bound(problem, cohorts) <= most
    assert ascent_bound(problem, cohorts[::-1]) <= most


def test_bound_is_tight_often_enough_to_be_of_use() -> None:
    """Without limits it proves a good share of the tiny optima by itself: a bound of 0 would pass the law above."""
    tight = []
    for seed in range(60):
        problem = random_problem(seed).replace(limits=Limits())
        try:
            cohorts = reduce_cohorts(problem)
        except InfeasibleError:
            continue
        optimum = exhaustive(problem)
        assert optimum is not None
        tight.append(prove_bound(problem, cohorts) >= optimum.cost.total * (1 - 1e-9))
    assert sum(tight) > 0.6 * len(tight)


def test_one_cohort_pays_the_whole_of_what_only_it_can_use() -> None:
    """Two hops of 4 B, 3 clients, 1 s of CPU each at 10 money: 24 + 20, against 30 + 90 directly."""
    problem = two_step(prices={"egress_per_gb": 1e9, "server_cpu_per_hour": 36000})
    assert split_bound(problem, reduce_cohorts(problem)) == pytest.approx(44)


def test_ascent_leaves_to_later_cohorts_what_earlier_ones_do_not_need() -> None:
    """One delta of 10 money for two cohorts: the first, with a full pull at 4, takes 4 of it; the second the rest."""
    problem = two_step(
        candidates={"base": [0, 0, 1], "target": [1, 2, 2], "wire_bytes": [0, 99, 0], "stored_bytes": [0, 99, 10]},
        demands={"base": [0, 1], "target": [2, 2], "clients": [1, 1], "full_pull_bytes": [4, 20]},
        prices={"egress_per_gb": 1e9, "storage_per_gb": 1e9},
    )
    cohorts = reduce_cohorts(problem)
    assert split_bound(problem, cohorts) == pytest.approx(4 + 5)
    assert ascent_bound(problem, cohorts) == pytest.approx(4 + 6)
    assert prove_bound(problem, cohorts) == exhaustive(problem).cost.total == pytest.approx(10)  # type: ignore[union-attr]


def test_priced_limit_proves_what_the_limit_costs() -> None:
    """Storage is free, and its limit forces the smaller, dearer delta: only a price on the limit sees it."""
    candidates = {"base": [0, 0], "target": [2, 2], "wire_bytes": [10, 30], "stored_bytes": [20, 10]}
    problem = two_step(candidates=candidates, limits={"stored_bytes": 10})
    cohorts = reduce_cohorts(problem)
    assert prove_bound(problem, cohorts) == 30.0
    assert 60.0 < priced_bound(problem, cohorts, 1.0, lambda: False) <= 90.0


def test_price_of_limits_that_cannot_be_met_stays_finite() -> None:
    """The bound would grow with the price for ever; the search ends all the same."""
    problem = two_step(demands={"base": [0], "target": [2], "clients": [1]}, limits={"stored_bytes": 5})
    assert 8.0 < priced_bound(problem, reduce_cohorts(problem), 1.0, lambda: False) < 1e30


def test_bound_cut_short_is_a_bound_still() -> None:
    """With no time at all it is 0; with time for the first cohort, that cohort's part."""
    problem = two_step(demands={"base": [0, 1], "target": [2, 2], "clients": [3, 2], "full_pull_bytes": [50, 50]})
    cohorts = reduce_cohorts(problem)
    looks = iter([False, True])
    assert split_bound(problem, cohorts, lambda: True) == 0.0
    assert split_bound(problem, cohorts, lambda: next(looks)) == 24.0
    assert split_bound(problem, cohorts) == 24.0 + 8.0
