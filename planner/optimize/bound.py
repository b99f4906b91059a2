"""Lower bounds that need no solver: every candidate's fixed money split between the cohorts that could use it.

A selection pays every share of what it keeps, so the sum of each cohort's cheapest way at its own shares is a
bound, whatever the shares (weak duality of the strong formulation; Balakrishnan, Magnanti and Wong 1989,
section 2). Byte limits are relaxed; limits of the whole plan are relaxed, or priced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import fsum, inf

import numpy as np

from planner.optimize.problem import FloatArray, Problem
from planner.optimize.reduce import Cohort
from planner.optimize.routes import RouteTable, route_table

_PRICE_FACTORS = (4.0, 2.0, 1.3)
"""Steps of the search for the best price of the limits, coarse to fine: the bound is concave in the price."""
_MOST_STEPS = 12
"""Steps one way at one factor: where the limits cannot be met, the bound grows with the price for ever."""

_ROUNDING = 1e-9
"""Fraction by which the two sides of a difference may err."""


def prove_bound(problem: Problem, cohorts: tuple[Cohort, ...], is_time_up: Callable[[], bool] = lambda: False) -> float:
    """No feasible selection costs less than this (but for the rounding of sums).

    The best of shares by clients and of shares by dual ascent, in the cohorts' order and against it. When time
    is up, the cohorts not yet looked at count nothing, which is a bound still.
    """
    return max(
        ascent_bound(problem, cohorts, is_time_up),
        ascent_bound(problem, cohorts[::-1], is_time_up),
        split_bound(problem, cohorts, is_time_up),
    )


def priced_bound(
    problem: Problem, cohorts: tuple[Cohort, ...], money_per_limit: float, is_time_up: Callable[[], bool]
) -> float:
    """The best bound found over prices of the plan's limits, starting from `money_per_limit` for a whole limit.

    At any price, what a plan costs is at least what it costs with its use of the limits priced on top, less
    what all that is allowed would come to (Lagrangian relaxation).
    """

    def bound_at(money: float) -> float:
        priced, allowance_money = problem.price_limits(money)
        proven = max(ascent_bound(priced, order, is_time_up) for order in (cohorts, cohorts[::-1]))
        return proven * (1 - _ROUNDING) - allowance_money * (1 + _ROUNDING)

    best = bound_at(money_per_limit)
    for factor in _PRICE_FACTORS:
        for step in (1 / factor, factor):
            for _ in range(_MOST_STEPS):
                found = -inf if is_time_up() else bound_at(money_per_limit * step)
                if found <= best:
                    break
                best, money_per_limit = found, money_per_limit * step
    return best


def split_bound(problem: Problem, cohorts: tuple[Cohort, ...], is_time_up: Callable[[], bool] = lambda: False) -> float:
    """The bound with each candidate's fixed money split by the clients of the cohorts that might use it."""
    shared = _money_with_parts(problem)
    claims = np.zeros(len(problem.candidates))
    weights = [max(cohort.clients, 1e-9) for cohort in cohorts]
    for cohort, weight in zip(cohorts, weights, strict=True):
        claims[cohort.edges] += weight
    return fsum(
        _cheapest(problem, cohort, shared[cohort.edges] * (weight / claims[cohort.edges]))[0]
        for cohort, weight in zip(cohorts, weights, strict=True)
        if not is_time_up()
    )


def ascent_bound(problem: Problem, cohorts: Iterable[Cohort], is_time_up: Callable[[], bool] = lambda: False) -> float:
    """The bound by dual ascent in one pass: each cohort takes only the shares that its cheapest way costs it.

    A cohort sees the fixed money that the cohorts before it left, and takes of each candidate what keeps its
    cheapest way as dear as it is: the difference of its ends' distances to the target, less the hop.
    Source: Balakrishnan, Magnanti and Wong 1989, section 3 (without its later rounds).
    """
    left = _money_with_parts(problem)
    proven = []
    for cohort in cohorts:
        if is_time_up():
            break
        money, table = _cheapest(problem, cohort, left[cohort.edges])
        proven.append(money)
        needed = _needed_shares(problem, cohort, table, money)
        left[cohort.edges] -= np.clip(needed, 0.0, left[cohort.edges])
    return fsum(proven)


def _needed_shares(problem: Problem, cohort: Cohort, table: RouteTable, money: float) -> FloatArray:
    """The least share of each of the cohort's candidates with which no way is cheaper than `money`."""
    tails, heads = problem.candidates.base[cohort.edges], problem.candidates.target[cohort.edges]
    distance: FloatArray = np.minimum(table.money, money)
    hop_money: FloatArray = cohort.clients * problem.hop_money[cohort.edges]
    if len(distance) <= cohort.max_hops or cohort.max_hops >= len(problem.commits) - 1:
        # More hops improve nothing: the last row holds for any number of them.
        rise: FloatArray = distance[-1, tails] - distance[-1, heads]
        return rise - hop_money
    rises: FloatArray = np.max(distance[1:, tails] - distance[:-1, heads], axis=0, initial=0.0)
    return rises - hop_money


def _money_with_parts(problem: Problem) -> FloatArray:
    """Fixed money of each candidate with its parts, each part's money split evenly between its candidates."""
    money = problem.candidate_money.copy()
    if not len(problem.parts):
        return money
    needed_by = np.zeros(len(problem.parts))
    for parts in problem.parts_of:
        needed_by[list(parts)] += 1
    for candidate, parts in enumerate(problem.parts_of):
        money[candidate] += float((problem.part_money[list(parts)] / needed_by[list(parts)]).sum())
    return money


def _cheapest(problem: Problem, cohort: Cohort, share: FloatArray) -> tuple[float, RouteTable]:
    """What the cohort's cheapest way costs with these shares of its candidates, and the table that says so."""
    money = np.full(len(problem.candidates), inf)
    money[cohort.edges] = cohort.clients * problem.hop_money[cohort.edges] + share
    table = route_table(problem, cohort.target, cohort.max_hops, np.isfinite(money), money)
    full_pull = cohort.clients * cohort.full_pull_money if cohort.full_pull_money < inf else inf
    return min(float(table.money[-1, cohort.base]), full_pull), table
