"""Prices of the limits where all routes end at one root: what edges cost at them, and which prices prove most."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from planner.optimize.ascent import Ascent, nearest_first
from planner.optimize.net import Net
from planner.optimize.problem import FloatArray, IntArray, Problem

_GENTLE_SHARES = (0.02, 0.1, 0.4, 1.0)
_PRICE_ROUNDS = 8


class LimitedUse:
    """What edges cost and use: `own_money` (edges,); `use` (2, edges) and `most` (2,) of stored bytes and core-seconds.

    What is not limited is not used: its row is 0. `require_one` adds rows.
    """

    def __init__(self, problem: Problem, net: Net) -> None:
        limits = problem.limits
        self.own_money = problem.candidate_money[net.candidate]
        self.use = problem.candidate_use(net.candidate)
        self.most = np.array([limits.stored_bytes or 0.0, limits.server_cpu_s or 0.0])
        self.is_limited = np.array([limits.stored_bytes is not None, limits.server_cpu_s is not None])
        self.use[~self.is_limited] = 0.0

    def require_one(self, edges: IntArray, least_bytes: float) -> None:
        """Of these edges exactly one is kept: `least_bytes` are used in any case, and no second one may be."""
        self.use[0, edges] -= least_bytes
        self.most[0] -= least_bytes
        if len(edges) > 1:
            self.use = np.vstack([self.use, np.bincount(edges, minlength=self.use.shape[1])])
            self.most = np.r_[self.most, 1.0]

    def fixed_money(self, prices: FloatArray) -> FloatArray:
        """Fixed money of every edge with the limited quantities priced; shape (edges,)."""
        money: FloatArray = self.own_money + prices @ self.use
        return money

    def allowance(self, prices: FloatArray) -> float:
        """What all that is allowed costs."""
        return float(prices @ self.most)


def settle_prices(
    limited: LimitedUse, ascent: Ascent, prices: FloatArray, is_time_up: Callable[[], bool]
) -> FloatArray:
    """The prices at which one ascent from nothing proves most: each goes up or down while that helps, then less far."""
    places = np.flatnonzero(limited.is_limited & (prices > 0.0))
    best, factor = _at_prices(limited, ascent, prices, is_time_up), np.full(2, 2.0)
    for turn in range(_PRICE_ROUNDS * len(places)):
        place = places[turn % len(places)]
        for power in (1.0, -1.0):
            tried = prices.copy()
            tried[place] *= factor[place] ** power
            value = -np.inf if is_time_up() else _at_prices(limited, ascent, tried, is_time_up)
            if value > best:
                best, prices = value, tried
                factor[place] **= power
                break
        else:
            factor[place] **= 0.5
    return prices


def _at_prices(limited: LimitedUse, ascent: Ascent, prices: FloatArray, is_time_up: Callable[[], bool]) -> float:
    ascent.fixed_money = limited.fixed_money(prices)
    climb_gently(ascent, is_time_up)
    return ascent.value - limited.allowance(prices)


def climb_gently(ascent: Ascent, is_time_up: Callable[[], bool]) -> None:
    """A short ascent from nothing; cohorts take little at first, as edges from the root serve many."""
    ascent.reset()
    for share in _GENTLE_SHARES:
        ascent.round(nearest_first(ascent.net), share, 1.0, is_time_up)
