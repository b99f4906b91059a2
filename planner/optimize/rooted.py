"""Problems whose routes all end (or start) at one commit: an optimal plan is a tree, and is looked for as one.

Source: Bhattacherjee et al. 2015 and Guo et al. 2024 (dataset versioning, the case of one common base).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from planner.optimize.ascent import Ascent
from planner.optimize.evaluate import Route, Selection
from planner.optimize.net import ONLY_FULL_PULL, Net
from planner.optimize.problem import FloatArray, Problem
from planner.optimize.rooted_bound import RootedBound, bound_rooted
from planner.optimize.rooted_prices import LimitedUse, settle_prices
from planner.optimize.rooted_search import LimitPrices, TreeSearch, dearest, find_prices, plant_least

__all__ = ["RootedBound", "RootedPlan", "bound_rooted", "is_rooted", "search_rooted"]

_MOST_ROUNDS = 200
_MOST_IDLE_ROUNDS = 30
"""Rounds without a better tree after which the search ends by itself."""

_DENSE = 30
"""Edges per node beyond which only those that dual ascent finds cheap are proposed."""

_CORE = 15

_QUICK_ASCENT = 3_000_000
"""Inner steps of a round of dual ascent up to which it finds better prices than trees do, in a few seconds."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RootedPlan:
    """A selection, and the prices of a stored byte and a core-second (2,) at which good trees keep the limits."""

    selection: Selection
    prices: FloatArray


def is_rooted(problem: Problem, net: Net) -> bool:
    """Whether all cohorts share one end and nothing but money and the plan's limits restricts routes."""
    cohorts, demands = net.cohorts, problem.demands
    if not len(cohorts.base) or len(problem.parts):
        return False
    has_one_root = bool((cohorts.target == cohorts.target[0]).all())
    return has_one_root and not cohorts.max_hops.any() and bool(np.isinf(demands.max_wire_bytes).all())


def search_rooted(
    problem: Problem,
    net: Net,
    *,
    seed: int,
    is_time_up: Callable[[], bool],
    start: tuple[Route, ...] | None = None,
) -> RootedPlan | None:
    """The best plan found within the limits, or None where none was; deterministic but for `is_time_up`.

    `start` are routes by demand to begin with, the limits kept or not.
    """
    if ((net.cohort_of == ONLY_FULL_PULL) & np.isinf(problem.full_pull_money)).any():
        return None
    sparse = _sparsify(problem, net, seed, is_time_up, start)
    search = TreeSearch(problem, sparse, seed=seed)
    if start is not None:
        search.take_start(start)
    if not plant_least(search):
        return None
    prices = find_prices(problem, search, is_time_up)
    ascent = Ascent(sparse, np.zeros(len(sparse.candidate)), seed=seed)
    if int(ascent.work.sum()) <= _QUICK_ASCENT:
        found = np.array([prices.per_byte, prices.per_cpu_s])
        found = settle_prices(LimitedUse(problem, sparse), ascent, found, is_time_up)
        prices = LimitPrices(per_byte=float(found[0]), per_cpu_s=float(found[1]))
    _anneal_again(search, prices, is_time_up)
    if not np.isfinite(search.best.totals[0]):
        return None
    return RootedPlan(selection=search.selection(), prices=np.array([prices.per_byte, prices.per_cpu_s]))


def _sparsify(
    problem: Problem, net: Net, seed: int, is_time_up: Callable[[], bool], start: tuple[Route, ...] | None
) -> Net:
    """The net, or where it is dense its edges that dual ascent leaves cheapest, and all that the start uses."""
    nodes, edges = len(net.edges.start) - 1, len(net.edges.head)
    if edges <= _DENSE * nodes:
        return net
    ascent = Ascent(net, problem.candidate_money[net.candidate], seed=seed)
    # One way to begin is enough to tell dear edges, and leaves the time to the trees.
    next(ascent.start(is_time_up))
    is_kept = ascent.left <= np.partition(ascent.left, _CORE * nodes)[_CORE * nodes]
    is_kept |= net.edges.head == net.cohorts.target[0]
    used = [hop for route in start or () if route is not None for hop in route]
    is_kept |= np.isin(net.candidate, used)
    return net.only(is_kept)


def _anneal_again(search: TreeSearch, prices: LimitPrices, is_time_up: Callable[[], bool]) -> None:
    """Runs at random temperatures and lengths, at prices near those found, each followed by one within the limits."""
    random = search.random
    is_limited = prices.per_byte > 0.0 or prices.per_cpu_s > 0.0
    edges, idle = len(search.graph.head), 0
    hard = search.pricing(LimitPrices())._replace(over_byte=5 * prices.per_byte, over_cpu_s=5 * prices.per_cpu_s)
    for _ in range(_MOST_ROUNDS):
        if is_time_up() or idle > _MOST_IDLE_ROUNDS:
            return
        least = float(search.best.totals[:2].sum())
        _choose_start(search)
        factor = np.exp(0.4 * random.standard_normal(2))
        near = LimitPrices(per_byte=prices.per_byte * factor[0], per_cpu_s=prices.per_cpu_s * factor[1])
        heat = dearest(search, prices) * 10 ** random.uniform(-2.5, -0.2)
        length = int(edges * 10 ** random.uniform(1.5, 2.5)) + 100
        over = float(random.choice([0.0, 0.3, 3.0]))
        search.anneal(search.pricing(near, over), heat, 0.01 * heat, length, is_time_up)
        if is_limited:
            heat = dearest(search, prices) * 10 ** random.uniform(-3, -1)
            search.anneal(hard, heat, 0.01 * heat, 100 * edges + 100, is_time_up)
        search.descend(hard, is_time_up)
        idle = 0 if search.best.totals[:2].sum() < least * (1 - 1e-9) else idle + 1


def _choose_start(search: TreeSearch) -> None:
    """Go on from the best tree mostly, from where the last run ended, or from a light tree at random weights."""
    random, graph = search.random, search.graph
    draw = random.random()
    if draw < 0.6:
        search.back_to_best()
    elif draw < 0.75:
        money = graph.fixed_money + graph.stored_bytes + graph.server_cpu_s + graph.hop_money
        parent = search.least_tree(money * random.standard_exponential(len(money)) ** random.random())
        search.plant(parent, (parent[graph.base] >= 0) | np.isinf(graph.cap))
