"""Dataset versioning on graphs that are nearly trees: plans and bounds by eliminating commits one by one.

1. At a price of what is limited, tables of labels are joined from the leaves up, alike labels merged where there are
   too many; then from the top down, which completes every label: what costs more than a known plan in either
   direction goes, and with what is left the next pass is mostly exact.
2. With use counted apart, labels are never merged: those that no completion at any price makes cheaper than the known
   plan go, and of the rest the most promising stay. Nothing that was dropped costs less than its completion.

Source: decision 7. Labels with completions as bounds: resource-constrained ways (Dumitrescu and Boland 2003).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, sqrt
from typing import Any

import numpy as np

from planner.compiled import kernels
from planner.optimize import rooted_label_kernels
from planner.optimize.arborescence import NO_EDGE
from planner.optimize.evaluate import Selection, evaluate
from planner.optimize.net import Net
from planner.optimize.problem import FloatArray, IntArray, Problem
from planner.optimize.rooted import RootedPlan
from planner.optimize.rooted_elimination import NOBODY, Elimination, Own, eliminate
from planner.optimize.rooted_labels import NOTHING, Joiner, Table, by_money
from planner.optimize.rooted_prices import LimitedUse
from planner.optimize.rooted_search import TreeSearch

_ROUGH, _FINE = (100, 300), (300, 1000, 3000)
"""Labels of a table in passes at one price, while it is looked for, and then. What the first pass leaves is little."""

_FIRST_SIZE, _GROWTH, _MOST_SIZE = 1000, 4, 64_000
"""Labels of a table while use counts apart: at first, times so many each time, and at most."""

_PRICE_STEP, _LEAST_STEP = 1.7, 1.15
_MOST_PRICES = 10
_STEPS_PER_NODE = 2000

_LEAST_GAIN, _WORTH_WIDER = 1e-6, 1e-4
"""Gains as fractions that are worth another pass: with larger tables at a price, and with more labels apart."""

_WORTH_SHARPER = 1e-3
"""How much cheaper a plan has to be, as a fraction, for passes at the prices to be repeated."""

_ROUNDING = 1e-9
"""Fraction that sums of money may err by: a bound is so much lower."""

_USE_UNIT = 2e-4
"""The least difference in use that counts where labels are merged, as a fraction of the limit."""


class OutOfTimeError(Exception):
    """The time is up; what was found so far holds."""


@dataclass(slots=True, kw_only=True, eq=False)
class Priced:
    """Tables of each node at one price: of all that was eliminated into it, and of all else.

    `bound` is what any plan costs that keeps the limit, `used` what the cheapest at this price takes of it.
    """

    price: float
    inside: dict[int, Table]
    outside: dict[int, Table]
    bound: float
    used: float
    choices: tuple[int, ...]


class Width:
    """The search on one graph: the best choices known, and a bound."""

    def __init__(
        self, net: Net, plan: Elimination, limited: LimitedUse, upper_money: float, is_time_up: Callable[[], bool]
    ) -> None:
        self.row = row = 0 if limited.is_limited[0] else 1
        self.net, self.plan, self.is_time_up = net, plan, is_time_up
        self.own_money, self.use, self.most = limited.own_money, limited.use[row], float(limited.most[row])
        self.upper, self.bound = upper_money, -inf
        self.choices: tuple[int, ...] | None = None
        self.kernels: Any = kernels(rooted_label_kernels, _STEPS_PER_NODE * len(plan.order))
        clients = max(float(net.cohorts.clients.sum()), 1e-300)
        self.client_unit = clients / max(len(net.cohorts.clients), 1)
        self.money_unit = max(upper_money / clients / 5000.0, 1e-300)

    def joiner(self, size: int, *, is_priced: bool) -> Joiner:
        """How tables are joined, with prices in (`is_priced`) or with use apart."""
        return Joiner(
            kernels=self.kernels,
            most_used=inf if is_priced else self.most * (1 + 1e-12),
            most_money=inf if is_priced else self.upper,
            client_unit=self.client_unit,
            money_unit=self.money_unit,
            size=size,
            use_unit=0.0 if is_priced else self.most * _USE_UNIT,
        )

    def at_price(self, price: float, sizes: tuple[int, ...], start: Priced | None = None) -> Priced | None:
        """Passes up and down at a price, until bounds stop rising; None where every plan costs as much as known.

        `start` is what was found at the same price with less known or smaller tables.
        """
        own = Own(net=self.net, plan=self.plan, money=self.own_money + price * self.use, use=np.zeros(len(self.use)))
        priced = start or Priced(price=price, inside={}, outside={}, bound=-inf, used=0.0, choices=())
        for size in sizes:
            joiner, before = self.joiner(size, is_priced=True), priced.bound
            if not self._up(own, joiner, priced):
                self.raise_bound(self.upper)
                return None
            self.raise_bound(priced.bound)
            self._down(own, joiner, priced)
            if priced.bound <= before + _LEAST_GAIN * abs(self.upper):
                break
        return priced

    def _up(self, own: Own, joiner: Joiner, priced: Priced) -> bool:
        """Tables from the leaves on; False where nothing is left that costs less than is known."""
        most, bound = self.upper + priced.price * self.most, -priced.price * self.most
        inside: dict[int, Table] = {}
        choices: list[int] = []
        for v in self.plan.order:
            table = self._join(own, joiner, inside, v)
            if v in priced.outside:
                table = table.only(np.flatnonzero(self._complete(table, priced.outside[v], 0.0, most) <= most))
            if not len(table):
                return False
            inside[v] = table = by_money(joiner.merge(table))
            if self.plan.above[v] == NOBODY:
                bound += float(table.rows.money[0])
                choices += list(table.choices(0))
        priced.inside, priced.choices = inside, tuple(choices)
        priced.bound = max(priced.bound, bound)
        priced.used = float(self.use[[e for e in choices if e >= 0]].sum())
        self._consider(priced.choices)
        return True

    def _down(self, own: Own, joiner: Joiner, priced: Priced) -> None:
        """Tables of all that is not in a node's own, from the top on."""
        most, plan, inside = self.upper + priced.price * self.most, self.plan, priced.inside
        tops = [v for v in plan.order if plan.above[v] == NOBODY]
        outside: dict[int, Table] = {
            v: joiner.join_all([inside[u] for u in tops if u != v] or [NOTHING], frozenset()) for v in tops
        }
        for v in reversed(plan.order):
            for u in plan.below[v]:
                self._look_at_time()
                others = [inside[other] for other in plan.below[v] if other != u]
                table = joiner.join_all([*own.tables(v), *others, outside[v]], frozenset(plan.around[u]))
                table = by_money(joiner.merge(table))
                is_left = self._complete(table, inside[u], 0.0, most) <= most
                outside[u] = table.only(np.flatnonzero(is_left))
        priced.outside = outside

    def _join(self, own: Own, joiner: Joiner, inside: dict[int, Table], v: int) -> Table:
        self._look_at_time()
        tables = [*own.tables(v), *(inside[u] for u in self.plan.below[v])]
        return joiner.join_all(tables, frozenset(self.plan.around[v]))

    def _complete(self, table: Table, other: Table, price: float, most: float) -> FloatArray:
        values: FloatArray = self.kernels.complete(table.rows, other.rows, len(table.nodes), price, most)
        return values

    def apart(self, prices: list[Priced], size: int) -> float:
        """A pass with use apart, alike labels merged; what it proves. The cheapest label's choices may be a plan."""
        own = Own(net=self.net, plan=self.plan, money=self.own_money, use=self.use)
        joiner = self.joiner(size, is_priced=False)
        inside: dict[int, Table] = {}
        top = NOTHING
        for v in self.plan.order:
            table = self._drop_dear(self._join(own, joiner, inside, v), prices, v)
            if not len(table):
                return self.upper
            inside[v] = table = joiner.merge(table)
            if self.plan.above[v] == NOBODY:
                top = joiner.join(top, table, frozenset())
        if not len(top):
            return self.upper
        end = int(np.argmin(top.rows.money))
        self._consider(tuple(top.choices(end)))
        return float(top.rows.money[end])

    def _drop_dear(self, table: Table, prices: list[Priced], v: int) -> Table:
        """The labels that plans cheaper than the known one may hold, as far as prices tell."""
        for priced in prices:
            most = self.upper + priced.price * self.most
            is_left = self._complete(table, priced.outside[v], priced.price, most) <= most
            table = table.only(np.flatnonzero(is_left))
        return table

    def _consider(self, choices: tuple[int, ...]) -> None:
        """Keep choices that keep the limit and cost less than what is known."""
        edges = np.array([e for e in choices if e >= 0], dtype=np.int64)
        if float(self.use[edges].sum()) <= self.most:
            money = self._money(edges, {-2 - k for k in choices if k < -1})
            if money < self.upper * (1 - 1e-12):
                self.upper, self.choices = money, choices

    def _money(self, edges: IntArray, pulls: set[int]) -> float:
        """What a tree costs; infinite where a cohort is not served."""
        parent = {int(self.net.edges.tail[e]): int(e) for e in edges}
        cohorts, root = self.net.cohorts, int(self.net.cohorts.target[0])
        total = float(self.own_money[edges].sum())
        for k, base in enumerate(cohorts.base.tolist()):
            if k in pulls:
                total += float(cohorts.cap[k])
                continue
            v = base
            while v != root:
                if v not in parent:
                    return inf
                total += float(cohorts.clients[k] * self.net.edges.hop_money[parent[v]])
                v = int(self.net.edges.head[parent[v]])
        return total

    def _look_at_time(self) -> None:
        if self.is_time_up():
            raise OutOfTimeError

    def raise_bound(self, bound: float) -> None:
        """Note what is proven."""
        self.bound = max(self.bound, min(bound, self.upper))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClosedTrees:
    """What any plan costs at least, and the best plan known, with the price of the limit where plans begin to fit."""

    bound: float
    plan: RootedPlan


def close_trees(
    problem: Problem, net: Net, found: RootedPlan, *, gap: float, is_time_up: Callable[[], bool]
) -> ClosedTrees | None:
    """A bound, and a plan no worse than `found`, where the graph is nearly a tree, else None.

    It ends where the bound comes within the fraction `gap` of the plan; deterministic but for `is_time_up`. Only one
    limit counts: that of storage, or where there is none that of CPU. The bound holds with both.
    """
    limited, known = LimitedUse(problem, net), evaluate(problem, found.selection)
    plan = eliminate(net) if limited.is_limited.any() and len(net.cohorts.base) and known.is_feasible else None
    if plan is None:
        return None
    width = Width(net, plan, limited, known.cost.total - net.forced_money, is_time_up)
    prices: list[Priced] = []
    try:
        prices += _find_prices(width, float(found.prices[width.row]))
        prices[:] = _sharpen(width, prices)
        _widen(width, prices, gap)
    except OutOfTimeError:
        pass
    best = max(prices, key=lambda one: one.bound, default=None)
    at = found.prices.copy()
    if best is not None:
        at[width.row] = best.price
    selection = _select(problem, net, width.choices) if width.choices is not None else None
    if selection is None or evaluate(problem, selection).cost.total > known.cost.total:
        selection = found.selection
    bound = width.bound - _ROUNDING * abs(width.bound) + net.forced_money
    return ClosedTrees(bound=bound, plan=RootedPlan(selection=selection, prices=at))


def _find_prices(width: Width, price: float) -> list[Priced]:
    """The two prices next to where plans begin to keep the limit; fewer where a bound meets the plan."""
    if not price > 0.0:
        price = 0.1 * width.upper / max(width.most, 1e-9)
    too_low: Priced | None = None
    enough: Priced | None = None
    for _ in range(_MOST_PRICES):
        priced = width.at_price(price, _ROUGH)
        if priced is None:
            return []
        if priced.used > width.most:
            too_low = priced
        else:
            enough = priced
        if too_low is None or enough is None:
            price *= _PRICE_STEP if enough is None else 1 / _PRICE_STEP
        elif enough.price <= _LEAST_STEP * too_low.price:
            break
        else:
            price = sqrt(too_low.price * enough.price)
    return [one for one in (too_low, enough) if one is not None]


def _sharpen(width: Width, prices: list[Priced]) -> list[Priced]:
    """The same prices with larger tables; none where a bound meets the plan."""
    sharper = []
    for one in prices:
        found = width.at_price(one.price, _FINE, one)
        if found is None:
            return []
        sharper.append(found)
    return sharper


def _widen(width: Width, prices: list[Priced], gap: float) -> None:
    """Passes with use apart over ever more labels, until the bound is near enough; a better plan sharpens prices."""
    size, last = _FIRST_SIZE, -inf
    while prices and width.bound < width.upper * (1 - gap) and size <= _MOST_SIZE:
        upper, proven = width.upper, width.apart(prices, size)
        width.raise_bound(proven)
        if width.upper < upper * (1 - _WORTH_SHARPER):
            prices = _sharpen(width, prices)
        elif proven < last + _WORTH_WIDER * abs(last):
            return
        last = proven
        size *= _GROWTH


def _select(problem: Problem, net: Net, choices: tuple[int, ...]) -> Selection | None:
    """The routes of the choices; None where they do not keep the limits."""
    search = TreeSearch(problem, net, seed=0)
    parent = np.full(len(net.edges.start) - 1, NO_EDGE)
    edges = [e for e in choices if e >= 0]
    parent[net.edges.tail[edges]] = edges
    rides = np.ones(len(net.cohorts.base), dtype=np.bool_)
    rides[[-2 - k for k in choices if k < -1]] = False
    search.plant(parent, rides[search.order])
    return search.selection() if np.isfinite(search.best.totals[0]) else None
