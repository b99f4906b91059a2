"""A proven bound where all routes end at one root: shares of fixed money and prices of limits, climbed together.

Dual ascent gives the start; averaged subgradient steps on explicit shares go on where it is stuck. Any shares that
add up to the fixed money at most prove a bound, so nothing here has to converge to be right.

Source: Barahona and Anbil 2000 (averages, step lengths); Balakrishnan, Magnanti and Wong 1989 (the relaxation).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from planner.optimize import rooted_share_kernels
from planner.optimize.ascent import Ascent, nearest_first, never
from planner.optimize.compiled import kernels
from planner.optimize.net import Net
from planner.optimize.problem import FloatArray, IntArray, Problem
from planner.optimize.rooted_search import find_limit_prices

MOST_SHARES = 60_000_000
"""Pairs of edge and cohort beyond which shares are not held explicitly: two arrays of 8 bytes each."""

_GENTLE_SHARES = (0.02, 0.1, 0.4, 1.0)
_PRICE_ROUNDS = 8
_MOST_STEPS = 3000
_MOST_CLIMBS = 40
_LAST_CLIMBS = 3
_AVERAGE = 0.2
_FIRST_PACE, _LEAST_PACE = 0.2, 1e-3
"""Steps are this fraction of what would reach the upper bound if the value grew as its slope says."""

_STEPS_BETWEEN_CUTS = 12
"""Steps without gain after which they get shorter."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RootedBound:
    """Potentials in the layout of `ascent_kernels`, the prices of limits that they hold at, and what they prove.

    `bound` includes the money of full pulls that nobody can decide about (`Net.forced_money`).
    """

    potentials: FloatArray
    price_per_stored_byte: float
    price_per_cpu_s: float
    bound: float


class Shares:
    """Every cohort's shares, the prices, and the best of both so far."""

    def __init__(self, problem: Problem, net: Net) -> None:
        self.net = net
        limits = problem.limits
        self.own_money = problem.candidate_money[net.candidate]
        self.use = problem.candidate_use(net.candidate)
        self.most = np.array([limits.stored_bytes or 0.0, limits.server_cpu_s or 0.0])
        self.is_limited = np.array([limits.stored_bytes is not None, limits.server_cpu_s is not None])
        self.use[~self.is_limited] = 0.0
        self.values = np.zeros(len(net.cohorts.base))

    def begin(self) -> Any:
        """The kernels; no shares and no flows where there are none yet."""
        shape = (len(self.net.edges.head), len(self.net.cohorts.base))
        if not hasattr(self, "shares"):
            self.shares, self.flow = np.zeros(shape), np.zeros(shape)
        self.kernels = kernels(rooted_share_kernels, 20 * shape[0] * shape[1])
        return self.kernels

    def fixed_money(self, prices: FloatArray) -> FloatArray:
        """Fixed money of every edge with the limited quantities priced; shape (edges,)."""
        money: FloatArray = self.own_money + prices @ self.use
        return money

    def look(self, prices: FloatArray, average: float, is_time_up: Callable[[], bool]) -> FloatArray | None:
        """Cheapest ways of all cohorts: the bound's slope by price; None where time was up first."""
        unit = self.use / np.maximum(self.fixed_money(prices), 1e-300)
        slope, cohorts = np.zeros(2), self.net.cohorts
        for chunk in _chunks(self.net):
            if is_time_up():
                return None
            self.kernels.find_ways(
                self.net.edges, cohorts, self.shares, self.flow, average, self.values, slope, unit, chunk
            )
        over: FloatArray = slope - self.most
        return over


def bound_rooted(
    problem: Problem,
    net: Net,
    upper_money: float,
    *,
    seed: int,
    is_time_up: Callable[[], bool],
) -> RootedBound:
    """The best bound that the time allows; `upper_money` is what a known plan costs (it scales steps only)."""
    shares, prices = Shares(problem, net), np.array(find_limit_prices(problem, net, seed=seed, is_time_up=is_time_up))
    has_room = len(net.edges.head) * len(net.cohorts.base) <= MOST_SHARES
    ascent = Ascent(net, shares.fixed_money(prices), seed=seed)
    limit_prices = settle_prices(shares, ascent, prices, is_time_up)
    ascent.fixed_money = shares.fixed_money(limit_prices)
    for _ in ascent.start(is_time_up):
        pass
    _climb_idle(ascent, is_time_up)
    best = _proven(shares, ascent.potentials, ascent.value, limit_prices)
    if has_room and np.isfinite(ascent.value):
        best = _step_on(shares, ascent, best, upper_money, is_time_up)
    return best


def settle_prices(shares: Shares, ascent: Ascent, prices: FloatArray, is_time_up: Callable[[], bool]) -> FloatArray:
    """The prices at which one ascent from nothing proves most: each goes up or down while that helps, then less far."""
    places = np.flatnonzero(shares.is_limited & (prices > 0.0))
    best, factor = _at_prices(shares, ascent, prices, is_time_up), np.full(2, 2.0)
    for turn in range(_PRICE_ROUNDS * len(places)):
        place = places[turn % len(places)]
        for power in (1.0, -1.0):
            tried = prices.copy()
            tried[place] *= factor[place] ** power
            value = -np.inf if is_time_up() else _at_prices(shares, ascent, tried, is_time_up)
            if value > best:
                best, prices = value, tried
                factor[place] **= power
                break
        else:
            factor[place] **= 0.5
    return prices


def _at_prices(shares: Shares, ascent: Ascent, prices: FloatArray, is_time_up: Callable[[], bool]) -> float:
    """What a short ascent from nothing proves; cohorts take little at first, as edges from the root serve many."""
    ascent.fixed_money = shares.fixed_money(prices)
    ascent.reset()
    for share in _GENTLE_SHARES:
        ascent.round(nearest_first(ascent.net), share, 1.0, is_time_up)
    return ascent.value - float(prices @ shares.most)


def _climb_idle(ascent: Ascent, is_time_up: Callable[[], bool]) -> None:
    """Rounds of dual ascent until one gains next to nothing."""
    for _ in range(_MOST_CLIMBS):
        before = ascent.value
        if is_time_up() or ascent.climb(is_time_up) <= before * (1 + 1e-4):
            return


def _proven(shares: Shares, potentials: FloatArray, value: float, prices: FloatArray) -> RootedBound:
    return RootedBound(
        potentials=potentials.copy(),
        price_per_stored_byte=float(prices[0]),
        price_per_cpu_s=float(prices[1]),
        bound=value - float(prices @ shares.most),
    )


def _step_on(
    shares: Shares, ascent: Ascent, best: RootedBound, upper_money: float, is_time_up: Callable[[], bool]
) -> RootedBound:
    """Averaged subgradient steps from the ascent's shares; the better of where they lead and `best`."""
    net, run = shares.net, shares.begin()
    everyone = np.arange(len(net.cohorts.base))
    prices = np.array([best.price_per_stored_byte, best.price_per_cpu_s])
    run.take_shares(net.edges, net.cohorts, ascent.potentials, ascent.offset, shares.shares, everyone)
    pace, idle, least = _FIRST_PACE, 0, -np.inf
    fixed_money = shares.fixed_money(prices)
    kept: tuple[float, FloatArray, FloatArray] | None = None
    for _ in range(_MOST_STEPS):
        slope = shares.look(prices, _AVERAGE / (1.0 - _AVERAGE), is_time_up)
        if slope is None or pace < _LEAST_PACE:
            break
        value = float(net.forced_money + shares.values.sum() - prices @ shares.most)
        idle = 0 if value > least + 1e-4 * abs(least) or kept is None else idle + 1
        if value > least:
            least, kept = value, (value, shares.shares.copy(), prices.copy())
        if idle >= _STEPS_BETWEEN_CUTS:
            pace, idle = 0.8 * pace, 0
        if value >= upper_money * (1 - 1e-9):
            break
        scale = fixed_money / max(float(np.median(fixed_money)), 1e-300)
        length = pace * (upper_money - value) / max(run.measure(shares.flow, scale, 1.0 - _AVERAGE), 1e-300)
        run.step(shares.shares, shares.flow, fixed_money, scale, length)
        prices = _move_prices(shares, prices, slope, pace)
        before, fixed_money = fixed_money, shares.fixed_money(prices)
        shares.shares *= (fixed_money / np.where(before > 0.0, before, 1.0))[:, None]
    if kept is None or kept[0] <= best.bound:
        return best
    return _polish(shares, ascent, kept[1], kept[2], best)


def _move_prices(shares: Shares, prices: FloatArray, slope: FloatArray, pace: float) -> FloatArray:
    """Prices a little up where more than the limit is used, else a little down."""
    over = np.where(shares.is_limited, slope / np.where(shares.most > 0.0, shares.most, 1.0), 0.0)
    moved: FloatArray = prices * np.exp(0.02 * min(1.0, 5.0 * pace) * np.clip(over, -0.5, 0.5))
    return moved


def _polish(shares: Shares, ascent: Ascent, kept: FloatArray, prices: FloatArray, best: RootedBound) -> RootedBound:
    """Potentials of the kept shares, and a few rounds of dual ascent with what these leave."""
    net, run = shares.net, shares.begin()
    everyone = np.arange(len(net.cohorts.base))
    fixed_money = shares.fixed_money(prices)
    paid = kept.sum(axis=1)
    kept *= np.minimum(1.0, fixed_money / np.where(paid > 0.0, paid, 1.0) * (1 - 1e-12))[:, None]
    run.find_rest(net.edges, net.cohorts, kept, ascent.potentials, ascent.offset, everyone)
    kept[:] = 0.0
    run.take_shares(net.edges, net.cohorts, ascent.potentials, ascent.offset, kept, everyone)
    ascent.left = np.maximum(fixed_money - kept.sum(axis=1), 0.0)
    ascent.value = float(net.forced_money + ascent.values().sum())
    for _ in range(_LAST_CLIMBS):
        # These few rounds are short beside the steps; nothing is lost where the time is up between them.
        ascent.climb(never)
    proven = _proven(shares, ascent.potentials, ascent.value, prices)
    return proven if proven.bound > best.bound else best


def _chunks(net: Net) -> list[IntArray]:
    """Cohorts in pieces of so many steps that a piece takes a few tenths of a second."""
    cohorts = len(net.cohorts.base)
    pieces = max(1, cohorts * len(net.edges.head) // 4_000_000)
    return np.array_split(np.arange(cohorts), min(pieces, cohorts))
