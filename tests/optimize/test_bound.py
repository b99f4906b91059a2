"""The split bound: below every feasible selection, and worth something."""

from __future__ import annotations

import pytest

from planner.errors import InfeasibleError
from planner.optimize.bound import split_bound
from planner.optimize.problem import Limits
from planner.optimize.reduce import reduce_cohorts
from tests.optimize.tiny import exhaustive, random_problem, two_step


@pytest.mark.parametrize("seed", range(80))
def test_bound_is_below_the_exhaustive_optimum(seed: int) -> None:
    """Shared parts, shared candidates, limits on hops, bytes, storage and CPU: never above."""
    problem = random_problem(seed)
    oracle = exhaustive(problem)
    if oracle is None:
        return
    assert 0.0 <= split_bound(problem, reduce_cohorts(problem)) <= oracle.cost.total * (1 + 1e-12)


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
        tight.append(split_bound(problem, cohorts) >= optimum.cost.total * (1 - 1e-9))
    assert sum(tight) > 0.3 * len(tight)


def test_one_cohort_pays_the_whole_of_what_only_it_can_use() -> None:
    """Two hops of 4 B, 3 clients, 1 s of CPU each at 10 money: 24 + 20, against 30 + 90 directly."""
    problem = two_step(prices={"egress_per_gb": 1e9, "server_cpu_per_hour": 36000})
    assert split_bound(problem, reduce_cohorts(problem)) == pytest.approx(44)


def test_bound_cut_short_is_a_bound_still() -> None:
    """With no time at all it is 0; with time for the first cohort, that cohort's part."""
    problem = two_step(demands={"base": [0, 1], "target": [2, 2], "clients": [3, 2], "full_pull_bytes": [50, 50]})
    cohorts = reduce_cohorts(problem)
    looks = iter([False, True])
    assert split_bound(problem, cohorts, lambda: True) == 0.0
    assert split_bound(problem, cohorts, lambda: next(looks)) == 24.0
    assert split_bound(problem, cohorts) == 24.0 + 8.0
