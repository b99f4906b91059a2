"""A good selection quickly: reroute one cohort at a time at marginal cost.

A candidate that another cohort already uses costs this cohort only its hops; one that nobody uses costs
its fixed money (and that of its unused parts) as well. Budgets are met by pricing them until they are.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import numpy as np

from planner.optimize.evaluate import Evaluation, Route, Selection, evaluate, route_bytes
from planner.optimize.problem import FloatArray, Problem
from planner.optimize.reduce import Cohort
from planner.optimize.routes import cheapest_within_bytes, route_table, select

_MOST_PASSES = 25
_PRICE_RAISES = 20
"""Fourfold raises of the budgets' price before giving up: 4^20 spans more than any price anyone pays."""
_PRICE_BISECTIONS = 8


def find_start(
    problem: Problem, cohorts: tuple[Cohort, ...], is_time_up: Callable[[], bool] = lambda: False
) -> Evaluation:
    """The best selection that local search finds; it may break the budgets when nothing else was found."""
    best = _searched(problem, problem, cohorts, is_time_up)
    if best.is_feasible:
        return best
    low, high = 0.0, _price_scale(problem)
    for _ in range(_PRICE_RAISES):
        best = _searched(problem, problem.price_limits(high)[0], cohorts, is_time_up)
        if best.is_feasible or is_time_up():
            break
        low, high = high, high * 4
    for _ in range(_PRICE_BISECTIONS):
        if is_time_up() or not best.is_feasible:
            break
        middle = (low + high) / 2
        found = _searched(problem, problem.price_limits(middle)[0], cohorts, is_time_up)
        low, high = (low, middle) if found.is_feasible else (middle, high)
        best = found if found.is_feasible and found.cost.total < best.cost.total else best
    return best


def _price_scale(problem: Problem) -> float:
    """A first price for a whole budget: what all clients' cheapest full pulls or hops come to."""
    money = problem.full_pull_money[np.isfinite(problem.full_pull_money)]
    total = float(problem.demands.clients.sum()) * float(
        max(money.max(initial=0.0), problem.hop_money.max(initial=0.0))
    )
    return max(total, 1e-9) / 64


def _searched(
    problem: Problem, priced: Problem, cohorts: tuple[Cohort, ...], is_time_up: Callable[[], bool]
) -> Evaluation:
    """The selection that rerouting at `priced` costs settles on, judged by the true problem."""
    search = _Rerouting(priced, cohorts)
    for _ in range(_MOST_PASSES):
        if not search.improve(is_time_up):
            break
    tightened = evaluate(problem, select(problem, search.users > 0))
    if tightened.is_feasible:
        return tightened
    return evaluate(problem, search.selection())


class _Rerouting:
    """Routes under construction: which cohort takes which hops, and how many use each candidate and part."""

    def __init__(self, problem: Problem, cohorts: tuple[Cohort, ...]) -> None:
        self.problem = problem
        self.cohorts = cohorts
        self.routes: dict[int, Route] = {}
        self.users = np.zeros(len(problem.candidates), dtype=np.int64)
        self.part_users = np.zeros(len(problem.parts), dtype=np.int64)
        self.order = sorted(range(len(cohorts)), key=lambda index: (-cohorts[index].clients, index))

    def improve(self, is_time_up: Callable[[], bool]) -> bool:
        """One pass over all cohorts; whether any route changed."""
        has_changed = False
        for index in self.order:
            if is_time_up() and len(self.routes) == len(self.cohorts):
                return False
            before = self.routes.get(index, ())
            self._count(before, -1)
            after = self._cheapest(self.cohorts[index])
            self._count(after, 1)
            has_changed |= after != before
            self.routes[index] = after
        return has_changed

    def _count(self, route: Route, change: int) -> None:
        for hop in route or ():
            self.users[hop] += change
            self.part_users[list(self.problem.parts_of[hop])] += change

    def _opening_money(self, cohort: Cohort) -> FloatArray:
        """Fixed money that using each of the cohort's candidates would newly cause."""
        problem, edges = self.problem, cohort.edges
        opening = np.where(self.users[edges] > 0, 0.0, problem.candidate_money[edges])
        if len(problem.parts):
            part_money = np.where(self.part_users > 0, 0.0, problem.part_money)
            opening += [part_money[list(problem.parts_of[edge])].sum() for edge in edges.tolist()]
        return opening

    def _cheapest(self, cohort: Cohort) -> Route:
        problem = self.problem
        money = np.full(len(problem.candidates), inf)
        money[cohort.edges] = cohort.clients * problem.hop_money[cohort.edges] + self._opening_money(cohort)
        is_open = np.isfinite(money)
        full_pull_money = cohort.clients * cohort.full_pull_money if cohort.full_pull_money < inf else inf
        table = route_table(problem, cohort.target, cohort.max_hops, is_open, money)
        paid = float(table.money[-1, cohort.base])
        if paid == inf or paid > full_pull_money:
            return None
        route = table.route(cohort.base, cohort.max_hops)
        if route_bytes(problem, route) > cohort.max_wire_bytes:
            return cheapest_within_bytes(problem, cohort.demands[0], is_open, money, full_pull_money)
        return route

    def selection(self) -> Selection:
        """The routes as a selection over all demands."""
        routes: list[Route] = [()] * len(self.problem.demands)
        for index, cohort in enumerate(self.cohorts):
            for demand in cohort.demands:
                routes[demand] = self.routes[index]
        return Selection(build=tuple(np.flatnonzero(self.users).tolist()), routes=tuple(routes))
