"""A lower bound that needs no solver: every candidate's fixed money split between those who could use it."""

from __future__ import annotations

from collections.abc import Callable
from math import fsum, inf

import numpy as np

from planner.optimize.problem import FloatArray, Problem
from planner.optimize.reduce import Cohort
from planner.optimize.routes import route_table


def split_bound(problem: Problem, cohorts: tuple[Cohort, ...], is_time_up: Callable[[], bool] = lambda: False) -> float:
    """No feasible selection costs less than this (but for the rounding of sums).

    Each candidate's fixed money, with an equal share of each part that it needs, is split between the
    cohorts that might use it, by their clients. A selection pays every share of what it keeps, so the sum
    of each cohort's cheapest route at its own shares is a bound (weak duality of the strong formulation;
    Balakrishnan, Magnanti and Wong 1989, section 2). Budgets and byte limits are relaxed. When time is up,
    the cohorts not yet looked at count nothing, which is a bound still.
    """
    shared = _money_with_parts(problem)
    claims = np.zeros(len(problem.candidates))
    weights = [max(cohort.clients, 1e-9) for cohort in cohorts]
    for cohort, weight in zip(cohorts, weights, strict=True):
        claims[cohort.edges] += weight
    return fsum(
        _cheapest(problem, cohort, shared[cohort.edges] * (weight / claims[cohort.edges]))
        for cohort, weight in zip(cohorts, weights, strict=True)
        if not is_time_up()
    )


def _money_with_parts(problem: Problem) -> FloatArray:
    """Fixed money of each candidate with its parts, each part's money split evenly between its candidates."""
    money = problem.candidate_money.copy()
    needed_by = np.zeros(len(problem.parts))
    for parts in problem.parts_of:
        needed_by[list(parts)] += 1
    for candidate, parts in enumerate(problem.parts_of):
        money[candidate] += float((problem.part_money[list(parts)] / needed_by[list(parts)]).sum())
    return money


def _cheapest(problem: Problem, cohort: Cohort, share: FloatArray) -> float:
    money = np.full(len(problem.candidates), inf)
    money[cohort.edges] = cohort.clients * problem.hop_money[cohort.edges] + share
    table = route_table(problem, cohort.target, cohort.max_hops, np.isfinite(money), money)
    full_pull = cohort.clients * cohort.full_pull_money if cohort.full_pull_money < inf else inf
    return min(float(table.money[-1, cohort.base]), full_pull)
