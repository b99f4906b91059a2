"""Limits of the whole plan by their prices: streams decide on their own, and share what is allowed through two prices.

At any prices of storage and CPU the problem without limits, less what all that is allowed would come to, is a bound
(Lagrangian relaxation). Every plan seen on the way leaves a column per stream: its money and its use of the limits.
The columns give the next prices (the best ones for what is known: a cutting-plane model of the bound), and at the end
the best choice of one column per stream (a multiple-choice knapsack, solved by prices and exchanges).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from planner.optimize.ascent import Ascent, nearest_first, never
from planner.optimize.net import Net
from planner.optimize.problem import FloatArray, IntArray, Problem
from planner.optimize.pursuit import CLIMBS_PER_START, lay_anew
from planner.optimize.search import Search
from planner.optimize.search_kernels import FULL_PULL, Routes
from planner.units import GB, S_PER_HOUR

PricePair = tuple[float, float]
"""Money per stored byte and per core-second, on top of the problem's own prices."""

_CAUTIOUS_PRICES = 3

_MANY_STREAMS = 1000
_SAMPLED_STREAMS = 400
_PRICES_AFTER_SAMPLE = 2
"""With many streams, the first prices come from a sample of them, and few others are looked at with all: enough to
give the choice of columns room on both sides of the limits."""


@dataclass(frozen=True, slots=True, eq=False)
class Uses:
    """What every edge and part takes of the limits: (2, edges) and (2, parts), bytes first; and what is allowed."""

    edges: FloatArray
    parts: FloatArray
    allowed: FloatArray

    @classmethod
    def of(cls, problem: Problem, net: Net) -> Uses:
        """The uses of a net's edges and the problem's parts; an absent limit allows everything."""
        limits = problem.limits
        return cls(
            problem.candidate_use(net.candidate),
            problem.part_use(np.arange(len(problem.parts))),
            np.array([inf if most is None else most for most in (limits.stored_bytes, limits.server_cpu_s)]),
        )


def allowance_money(prices: PricePair, allowed: FloatArray) -> float:
    """What all that is allowed comes to."""
    return float(sum(price * most for price, most in zip(prices, allowed.tolist(), strict=True) if price > 0.0))


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One plan by stream: money and use of the limits, shapes (streams,) and (2, streams), and its packed routes."""

    money: FloatArray
    use: FloatArray
    hops: IntArray
    length: IntArray


def column_of(search: Search, uses: Uses, fixed_money: FloatArray, part_money: FloatArray, streams: int) -> Column:
    """The search's routes as a column at the problem's own prices. Parts join all streams into one."""
    net, length, hops = search.net, search.routes.length, search.hops()
    cohort = np.repeat(np.arange(len(length)), np.maximum(length, 0))
    opened = search.open_edges()
    of_edge, of_cohort = net.stream_of_edge[opened], net.stream_of_cohort
    if streams == 1:
        of_edge, of_cohort = np.zeros_like(of_edge), np.zeros_like(of_cohort)
    full = np.where(length == FULL_PULL, net.cohorts.cap, 0.0)
    money = np.bincount(of_edge, weights=fixed_money[opened], minlength=streams).astype(np.float64)
    money += np.bincount(of_cohort, weights=full, minlength=streams)
    sent = net.cohorts.clients[cohort] * net.edges.hop_money[hops]
    money += np.bincount(of_cohort[cohort], weights=sent, minlength=streams)
    use = np.stack([np.bincount(of_edge, weights=row[opened], minlength=streams) for row in uses.edges]).astype(float)
    used_parts = search.used_parts()
    money[0] += part_money[used_parts].sum()
    use[:, 0] += uses.parts[:, used_parts].sum(axis=1)
    return Column(money, use, hops.astype(np.int32), length.astype(np.int32))


def best_prices(columns: list[Column], allowed: FloatArray, most: PricePair) -> PricePair:
    """Prices at which the bound would be highest if the columns were all plans there are, up to `most` each.

    The model is concave in both prices: the golden section over one, and within it over the other.
    """
    money = np.stack([column.money for column in columns])
    use = np.stack([column.use for column in columns])

    def value(prices: PricePair) -> float:
        priced = money + prices[0] * use[:, 0] + prices[1] * use[:, 1]
        return float(priced.min(axis=0).sum()) - allowance_money(prices, allowed)

    def best_second(first: float) -> tuple[float, float]:
        return _golden(lambda second: value((first, second)), most[1])

    first = _golden(lambda price: best_second(price)[1], most[0])[0]
    return first, best_second(first)[0]


def _golden(value: Callable[[float], float], most: float, steps: int = 32) -> tuple[float, float]:
    """Where a concave function of one price in [0, most] is highest, and how high."""
    if most <= 0.0:
        return 0.0, value(0.0)
    ratio = (5**0.5 - 1) / 2
    low, high = 0.0, most
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = value(left), value(right)
    for _ in range(steps):
        if at_left >= at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = value(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = value(right)
    ends = ((0.0, value(0.0)), ((low + high) / 2, max(at_left, at_right)))
    return max(ends, key=lambda end: end[1])


def choose_columns(columns: list[Column], allowed: FloatArray, prices: PricePair) -> IntArray | None:
    """One column per stream within the limits, cheap in money; None where none was found. Shape (streams,).

    Begin at the prices, raised until the limits are kept; then exchange single columns while money falls and they fit.
    """
    money = np.stack([column.money for column in columns])
    use = np.stack([column.use for column in columns])
    streams = np.arange(money.shape[1])
    for raised in (1.0, 1.001, 1.003, 1.01, 1.03, 1.1, 1.3, 2.0, 4.0, 16.0, 1e3, 1e6):
        chosen = np.argmin(money + raised * (prices[0] * use[:, 0] + prices[1] * use[:, 1]), axis=0)
        if _fits(use[chosen, :, streams].sum(axis=0), allowed):
            return _exchange(money, use, allowed, prices, chosen)
    return None


def _fits(used: FloatArray, allowed: FloatArray) -> bool:
    return bool((used <= allowed).all())


def _exchange(money: FloatArray, use: FloatArray, allowed: FloatArray, prices: PricePair, chosen: IntArray) -> IntArray:
    """Exchanges of one stream's column that save money and fit, the best saving per priced use first."""
    streams = np.arange(money.shape[1])
    room = allowed - use[chosen, :, streams].sum(axis=0)
    saving = money[chosen, streams] - money
    more = use - use[chosen, :, streams].T[None]
    weight = np.maximum(prices[0] * more[:, 0] + prices[1] * more[:, 1], 1e-300)
    order = np.argsort(-(saving / weight), axis=None, kind="stable")
    candidates = order[saving.ravel()[order] > 0.0]
    moved = np.zeros(len(streams), dtype=bool)
    for flat in candidates[:200_000].tolist():
        column, stream = divmod(flat, len(streams))
        if not moved[stream] and _fits(more[column, :, stream], room):
            room = room - more[column, :, stream]
            chosen[stream], moved[stream] = column, True
    return chosen


def price_use(problem: Problem, prices: PricePair) -> Problem:
    """The problem with each stored byte and core-second priced on top."""
    return problem.replace(
        prices=replace(
            problem.prices,
            storage_per_gb=problem.prices.storage_per_gb + prices[0] * GB,
            server_cpu_per_hour=problem.prices.server_cpu_per_hour + prices[1] * S_PER_HOUR,
        )
    )


class PriceSearch:
    """The search for prices: every evaluation improves the bound or the model, and leaves a plan."""

    def __init__(
        self, problem: Problem, net: Net, *, seed: int, is_time_up: Callable[[], bool], found: Callable[[Search], None]
    ) -> None:
        self.problem, self.net, self.seed = problem, net, seed
        self.is_time_up, self.found = is_time_up, found
        self.uses = Uses.of(problem, net)
        self.money = problem.candidate_money[net.candidate], problem.part_money
        self.streams = 1 if len(problem.parts) else max(net.streams, 1)
        self.allowed = self.uses.allowed
        self.search = Search(problem, net, *self.money)
        self.columns: list[Column] = []
        self.bound, self.prices = -inf, (0.0, 0.0)
        self.ascent: Ascent | None = None
        self.random = np.random.default_rng(seed)

    def begin(self, routes: Routes, bound: float) -> None:
        """Routes laid at no price, and the bound known there."""
        self.search.routes.route[:], self.search.routes.length[:] = routes.route, routes.length
        self.search.reprice(*self.money)
        self.columns.append(column_of(self.search, self.uses, *self.money, self.streams))
        self.bound = bound

    def evaluate(self, prices: PricePair, rounds: int) -> float:
        """The bound at prices, and new columns from routes laid and improved at them."""
        priced = price_use(self.problem, prices)
        fixed, part_fixed = priced.candidate_money[self.net.candidate], priced.part_money
        shared = priced.money_with_parts[self.net.candidate]
        ascent = Ascent(self.net, shared, seed=self.seed)
        order = nearest_first(self.net)
        ascent.round(order, 1.0, 0.0, self.is_time_up)
        for _ in range(rounds):
            ascent.climb(self.is_time_up)
        bound = ascent.value - allowance_money(prices, self.allowed)
        if bound > self.bound:
            self.bound, self.prices, self.ascent = bound, prices, ascent
        self.search.reprice(fixed, part_fixed)
        self._improve()
        self.search.lay(order, self.is_time_up, ascent.left + 1e-9 * shared)
        self._improve()
        return bound

    def refine(self, cycle: int) -> None:
        """More rounds of the ascent at the prices found, and one more column by what they leave; in other ways each."""
        ascent, priced = self.ascent, price_use(self.problem, self.prices)
        if ascent is None:
            return
        for _ in range(CLIMBS_PER_START):
            ascent.climb(self.is_time_up)
        self.bound = max(self.bound, ascent.value - allowance_money(self.prices, self.allowed))
        self.search.reprice(priced.candidate_money[self.net.candidate], priced.part_money)
        lay_anew(self.search, ascent.left, cycle, self.random, self.is_time_up)
        self._improve()
        self.compose()

    def _improve(self) -> None:
        self.search.descend(self.is_time_up)
        self.columns.append(column_of(self.search, self.uses, *self.money, self.streams))
        self.found(self.search)

    def run(self, rounds: int, most_evaluations: int, is_close: Callable[[], bool]) -> None:
        """Evaluate at the model's best prices until both sides are close or time is up; `begin` comes first."""
        most = self._first_prices()
        if self.streams > _MANY_STREAMS >= _SAMPLED_STREAMS and self.allowed is self.uses.allowed:
            self._sample(rounds, most_evaluations)
            most = (2 * self.prices[0] or most[0], 2 * self.prices[1] or most[1])
            self.evaluate(self.prices, rounds)
            self.compose()
            most_evaluations = _PRICES_AFTER_SAMPLE
        for number in range(most_evaluations):
            if self.is_time_up() or is_close():
                break
            model = best_prices(self.columns, self.allowed, most)
            # The model knows little at first: go half of the way only.
            weight = 0.5 if number < _CAUTIOUS_PRICES and self.streams <= _MANY_STREAMS else 1.0
            pairs = zip(model, self.prices, strict=True)
            prices = tuple(weight * new + (1 - weight) * old if old > 0.0 else new for new, old in pairs)
            at_edge = [price >= 0.9 * limit > 0.0 for price, limit in zip(model, most, strict=True)]
            most = (most[0] * (4 if at_edge[0] else 1), most[1] * (4 if at_edge[1] else 1))
            self.evaluate((prices[0], prices[1]), rounds)
            self.compose()
        self.compose()

    def _sample(self, rounds: int, most_evaluations: int) -> None:
        """Prices from some streams, allowed what they use of it all where nothing is priced."""
        use = self.columns[0].use
        is_kept = np.zeros(self.streams, dtype=bool)
        is_kept[np.random.default_rng(self.seed).permutation(self.streams)[:_SAMPLED_STREAMS]] = True
        rows = is_kept[self.net.stream_of_cohort]
        part = PriceSearch(
            self.problem, self.net.of_streams(is_kept), seed=self.seed, is_time_up=self.is_time_up, found=_ignore
        )
        part.streams = self.streams
        part.allowed = self.allowed * use[:, is_kept].sum(axis=1) / np.maximum(use.sum(axis=1), 1e-300)
        routes, number = self.search.routes, np.cumsum(is_kept[self.net.stream_of_edge]) - 1
        part.begin(Routes(number[routes.route[rows]], routes.length[rows]), -inf)
        part.run(rounds, most_evaluations, never)
        self.prices = part.prices

    def _first_prices(self) -> PricePair:
        """Prices at which all that is used would cost a quarter of the plan's money; 0 where nothing is limited."""
        column = min(self.columns, key=lambda column: float(column.money.sum()))
        used = column.use.sum(axis=1)
        money = max(float(column.money.sum()), 1e-9)
        most = [
            money / 4 / max(use, 1e-9) if allowed < inf else 0.0
            for use, allowed in zip(used.tolist(), self.allowed.tolist(), strict=True)
        ]
        return most[0], most[1]

    def compose(self) -> None:
        """Lay the best known choice of one column per stream, and report it."""
        chosen = choose_columns(self.columns, self.allowed, self.prices)
        if chosen is None:
            return
        of_cohort = np.zeros_like(self.net.stream_of_cohort) if self.streams == 1 else self.net.stream_of_cohort
        pick = chosen[of_cohort]
        kept = self.search.routes
        for number, column in enumerate(self.columns):
            rows = np.flatnonzero(pick == number)
            starts = np.cumsum(np.maximum(column.length, 0)) - np.maximum(column.length, 0)
            kept.length[rows] = column.length[rows]
            lengths = np.maximum(column.length[rows], 0)
            row = np.repeat(rows, lengths)
            within = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            kept.route[row, within] = column.hops[np.repeat(starts[rows], lengths) + within]
        self.search.reprice(*self.money)
        self.found(self.search)


def _ignore(search: Search) -> None:
    """Plans for a sample are plans for nobody."""
