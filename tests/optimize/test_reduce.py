"""Reduction: what is deleted is provably useless, what is kept is where it says."""

from __future__ import annotations

import dataclasses
from math import fsum

import numpy as np
import pytest

from planner.errors import InfeasibleError
from planner.optimize.problem import Problem
from planner.optimize.reduce import Cohort, reduce_cohorts
from tests.optimize.tiny import random_problem, simple_routes, two_step

DENSE = {"commits": 6, "candidates": 20, "demands": 8}


def _reduced(seed: int) -> tuple[Problem, tuple[Cohort, ...]]:
    """A dense problem in which every demand may pull in full, so that nothing is infeasible."""
    problem = random_problem(seed, **DENSE)
    demands = problem.demands
    full = np.where(np.isfinite(demands.full_pull_bytes), demands.full_pull_bytes, 12.0)
    most = np.maximum(demands.max_wire_bytes, full)
    problem = problem.replace(demands=dataclasses.replace(demands, full_pull_bytes=full, max_wire_bytes=most))
    return problem, reduce_cohorts(problem)


def _useful_routes(problem: Problem, demand: int) -> list[tuple[int, ...]]:
    """Simple routes within the demand's limits that are cheaper than its full pull, fixed money left out."""
    demands = problem.demands
    found = []
    for route in simple_routes(problem, demand, tuple(range(len(problem.candidates)))):
        if route is None or len(route) > demands.max_hops[demand]:
            continue
        sent = fsum(problem.candidates.wire_bytes[list(route)].tolist())
        money = fsum(problem.hop_money[list(route)].tolist())
        if sent <= demands.max_wire_bytes[demand] and money < problem.full_pull_money[demand]:
            found.append(route)
    return found


@pytest.mark.parametrize("seed", range(60))
def test_every_useful_route_survives_with_its_hop_numbers(seed: int) -> None:
    """No candidate of any permitted, worthwhile route is deleted, at the place where the route takes it."""
    problem, cohorts = _reduced(seed)
    for cohort in cohorts:
        place = {edge: index for index, edge in enumerate(cohort.edges.tolist())}
        for route in _useful_routes(problem, cohort.demands[0]):
            for number, hop in enumerate(route, start=1):
                assert hop in place
                assert cohort.first_hop[place[hop]] <= number <= cohort.last_hop[place[hop]]


def test_reduction_deletes_something() -> None:
    """Over the same draws, a good part of the candidates goes: otherwise the law above would hold of nothing."""
    kept = [len(cohort.edges) for seed in range(60) for cohort in _reduced(seed)[1]]
    assert sum(kept) < 0.5 * len(kept) * DENSE["candidates"]


@pytest.mark.parametrize("seed", range(40))
def test_demands_that_differ_in_clients_only_are_one_cohort(seed: int) -> None:
    """Every demand with two different ends is in exactly one cohort; clients add up; limits agree."""
    problem, cohorts = _reduced(seed)
    demands = problem.demands
    placed = sorted(demand for cohort in cohorts for demand in cohort.demands)
    assert placed == np.flatnonzero(demands.base != demands.target).tolist()
    for cohort in cohorts:
        rows = list(cohort.demands)
        assert cohort.clients == pytest.approx(demands.clients[rows].sum())
        for name in ("base", "target", "max_wire_bytes"):
            assert (getattr(demands, name)[rows] == getattr(cohort, name)).all()
    keys = [(c.base, c.target, c.max_hops, c.max_wire_bytes, c.full_pull_money) for c in cohorts]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("seed", range(60))
def test_infeasible_means_that_brute_force_finds_no_way(seed: int) -> None:
    """The demand that the error names has neither a full pull nor any permitted route; otherwise all have."""
    problem = random_problem(seed, **DENSE)
    demands = problem.demands
    problem = problem.replace(demands=dataclasses.replace(demands, full_pull_bytes=np.full(8, np.inf)))
    stuck = [k for k in range(8) if demands.base[k] != demands.target[k] and not _useful_routes(problem, k)]
    if not stuck:
        assert all(cohort.is_served for cohort in reduce_cohorts(problem))
        return
    with pytest.raises(InfeasibleError) as caught:
        reduce_cohorts(problem)
    assert caught.value.path in [f"demands[{k}]" for k in stuck]


def test_candidates_that_turn_back_are_deleted() -> None:
    """Into the base, out of the target, and to a dead end: none is on a cheapest route."""
    candidates = {"base": [0, 1, 2, 0], "target": [2, 0, 1, 3], "wire_bytes": [1, 1, 1, 1]}
    problem = two_step(commits=["A", "B", "C", "D"], candidates=candidates)
    assert reduce_cohorts(problem)[0].edges.tolist() == [0]
