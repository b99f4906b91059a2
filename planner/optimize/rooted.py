"""Problems whose routes all end (or start) at one commit: an optimal plan is a tree, and is looked for as one.

Source: Bhattacherjee et al. 2015 and Guo et al. 2024 (dataset versioning, the case of one common base).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from planner.optimize.ascent import Ascent
from planner.optimize.evaluate import Route, Selection, evaluate
from planner.optimize.net import ONLY_FULL_PULL, Net
from planner.optimize.problem import FloatArray, Problem
from planner.optimize.rooted_bound import RootedBound, bound_rooted
from planner.optimize.rooted_keep import reduce_to_cheaper
from planner.optimize.rooted_kernels import Pricing
from planner.optimize.rooted_prices import LimitedUse, settle_prices
from planner.optimize.rooted_search import LimitPrices, TreeSearch, dearest, find_prices, plant_least

__all__ = ["RootedBound", "RootedPlan", "bound_rooted", "is_rooted", "search_closer", "search_rooted"]

_MOST_ROUNDS = 200
_MOST_IDLE_ROUNDS = 30
"""Rounds without a better tree after which the search ends by itself."""

_DENSE = 30
"""Edges per node beyond which only those that dual ascent finds cheap are proposed."""

_CORE = 15

_HARD, _HARDEST = 5.0, 10.0
"""What use beyond a limit costs in the last runs: times its price, or times the best tree's money per allowed use."""

_REST_SHARE = 0.01
"""What all that is left of a storage limit costs, as a fraction of the plan's money, once what must be kept is taken
off: with a tenth as much the trees of `leetcode` came within 1 % of each other."""

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
    known_prices: FloatArray | None = None,
) -> RootedPlan | None:
    """The best plan found within the limits, or None where none was; deterministic but for `is_time_up`.

    `start` are routes by demand to begin with, the limits kept or not. `known_prices` of a stored byte and a
    core-second (2,) are taken instead of looking for some.
    """
    if ((net.cohort_of == ONLY_FULL_PULL) & np.isinf(problem.full_pull_money)).any():
        return None
    sparse = _sparsify(problem, net, seed, is_time_up, start)
    search = TreeSearch(problem, sparse, seed=seed)
    if start is not None:
        search.take_start(start)
    if not plant_least(search):
        return None
    if known_prices is None:
        prices = _find_prices(problem, search, seed, is_time_up)
    else:
        prices = LimitPrices(per_byte=float(known_prices[0]), per_cpu_s=float(known_prices[1]))
    _anneal_again(search, prices, is_time_up)
    if not np.isfinite(search.best.totals[0]):
        return None
    return RootedPlan(selection=search.selection(), prices=np.array([prices.per_byte, prices.per_cpu_s]))


def _find_prices(problem: Problem, search: TreeSearch, seed: int, is_time_up: Callable[[], bool]) -> LimitPrices:
    """Prices from short runs, and where that is quick, from short ascents near these."""
    prices = find_prices(problem, search, is_time_up)
    sparse = search.net
    ascent = Ascent(sparse, np.zeros(len(sparse.candidate)), seed=seed)
    if int(ascent.work.sum()) <= _QUICK_ASCENT:
        found = np.array([prices.per_byte, prices.per_cpu_s])
        found = settle_prices(LimitedUse(problem, sparse), ascent, found, is_time_up)
        prices = LimitPrices(per_byte=float(found[0]), per_cpu_s=float(found[1]))
    return prices


def search_closer(
    problem: Problem, net: Net, found: RootedPlan, *, seed: int, is_time_up: Callable[[], bool]
) -> RootedPlan:
    """Go on from a plan within the limits, over what plans that cost less can use.

    Where most of the storage limit is taken by what must be kept, a byte is priced by what is left.
    """
    known, prices = evaluate(problem, found.selection), found.prices.copy()
    reduced = reduce_to_cheaper(problem, net, known.cost.total) if known.is_feasible else None
    if reduced is not None:
        prices[0] = min(prices[0], _REST_SHARE * known.cost.total / max(float(reduced[1].most[0]), 1.0))
    closer = search_rooted(
        problem,
        net if reduced is None else reduced[0],
        seed=seed,
        is_time_up=is_time_up,
        start=found.selection.routes,
        known_prices=prices,
    )
    if closer is None or evaluate(problem, closer.selection).cost.total > known.cost.total:
        return found
    return closer


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
    hard = _hard_pricing(search, prices)
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


def _hard_pricing(search: TreeSearch, prices: LimitPrices) -> Pricing:
    """Use within the limits free; beyond them so dear that twice a limit costs far more than the best tree."""
    money = search.best.totals[:2].sum() if np.isfinite(search.best.totals[0]) else 0.0
    over = [
        max(_HARD * price, _HARDEST * money / max(most, 1e-3) if price > 0.0 and most < np.inf else 0.0)
        for price, most in ((prices.per_byte, search.most_bytes), (prices.per_cpu_s, search.most_cpu_s))
    ]
    return search.pricing(LimitPrices())._replace(over_byte=over[0], over_cpu_s=over[1])


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
