"""A proven bound where all routes end at one root: shares of fixed money and prices of limits, climbed together.

Dual ascent gives the start; primal-dual steps on the relaxation go on where it is stuck (`rooted_flow`). Now and then
their shares are made to fit, and what they leave is climbed once more: any shares that add up to the fixed money at
most prove a bound.

Source: Balakrishnan, Magnanti and Wong 1989 (the relaxation).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from planner.optimize.ascent import Ascent, in_chunks
from planner.optimize.net import Net
from planner.optimize.problem import FloatArray, Problem
from planner.optimize.rooted_flow import Relaxation, list_pairs
from planner.optimize.rooted_keep import reduce_to_cheaper
from planner.optimize.rooted_prices import LimitedUse, climb_gently

_MOST_CLIMBS = 40
_LAST_CLIMBS = 4
_FIRST_STEPS, _STEPS_GROWTH = 100, 1.2
"""Steps before a bound is taken from the shares, and how many more each time."""

_MOST_STEPS = 40_000
_MOST_IDLE_LOOKS = 5
_LEAST_GAIN = 1e-5
"""Looks that gain less than this fraction, one after the other, after which steps end by themselves."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RootedBound:
    """Potentials in the layout of `ascent_kernels`, the prices of limits that they hold at, and what they prove.

    `bound` includes the money of full pulls that nobody can decide about (`Net.forced_money`). `branched_bound` is no
    less and holds too, but takes more than potentials to prove: what plans cheaper than the known one have in common.
    """

    potentials: FloatArray
    price_per_stored_byte: float
    price_per_cpu_s: float
    bound: float
    branched_bound: float


def bound_rooted(
    problem: Problem,
    net: Net,
    upper_money: float,
    prices: FloatArray,
    *,
    seed: int,
    is_time_up: Callable[[], bool],
) -> RootedBound:
    """The best bound that the time allows, from prices of a stored byte and a core-second (2,) on.

    `upper_money` is what a known plan costs: it scales steps, and ends them where it is proven.
    """
    limited = LimitedUse(problem, net)
    prices = np.where(limited.is_limited, prices, 0.0)
    ascent = Ascent(net, limited.fixed_money(prices), seed=seed)
    climb_gently(ascent, is_time_up)
    _climb_idle(ascent, is_time_up)
    best = _proven(limited, ascent, prices)
    reduced = reduce_to_cheaper(problem, net, upper_money) if len(net.cohorts.base) and upper_money > 0.0 else None
    if reduced is not None and not is_time_up():
        return replace(best, branched_bound=_bound_cheaper(*reduced, best, upper_money, prices, seed, is_time_up))
    if len(net.cohorts.base) and upper_money > 0.0 and not is_time_up():
        best = _step_on(limited, ascent, prices, best, upper_money, is_time_up)
    return best


def _bound_cheaper(
    net: Net,
    limited: LimitedUse,
    known: RootedBound,
    upper_money: float,
    prices: FloatArray,
    seed: int,
    is_time_up: Callable[[], bool],
) -> float:
    """What any plan costs, from the net and the limits of those that cost less than `upper_money`."""
    prices = np.r_[prices, np.zeros(len(limited.most) - len(prices))]
    ascent = Ascent(net, limited.fixed_money(prices), seed=seed)
    climb_gently(ascent, is_time_up)
    _climb_idle(ascent, is_time_up)
    best = _proven(limited, ascent, prices)
    if not is_time_up():
        best = _step_on(limited, ascent, prices, best, upper_money, is_time_up)
    return max(known.bound, min(best.bound, upper_money))


def _climb_idle(ascent: Ascent, is_time_up: Callable[[], bool]) -> None:
    """Rounds of dual ascent until one gains next to nothing."""
    for _ in range(_MOST_CLIMBS):
        before = ascent.value
        if is_time_up() or ascent.climb(is_time_up) <= before * (1 + 1e-4):
            return


def _proven(limited: LimitedUse, ascent: Ascent, prices: FloatArray) -> RootedBound:
    bound = ascent.value - limited.allowance(prices)
    return RootedBound(
        potentials=ascent.potentials.copy(),
        price_per_stored_byte=float(prices[0]),
        price_per_cpu_s=float(prices[1]),
        bound=bound,
        branched_bound=bound,
    )


def _step_on(
    limited: LimitedUse,
    ascent: Ascent,
    prices: FloatArray,
    best: RootedBound,
    upper_money: float,
    is_time_up: Callable[[], bool],
) -> RootedBound:
    """Primal-dual steps from the ascent's shares; the best bound on the way, or `best`."""
    pairs, point = list_pairs(ascent.net, ascent.potentials, ascent.offset)
    unit_money = upper_money / len(ascent.net.cohorts.base)
    relaxation = Relaxation(pairs, point, limited, prices, unit_money)
    steps, idle = float(_FIRST_STEPS), 0
    while idle < _MOST_IDLE_LOOKS and relaxation.steps < _MOST_STEPS and best.bound < upper_money * (1 - 1e-9):
        for _ in range(int(steps)):
            if is_time_up():
                break
            relaxation.step()
        found = _look(limited, ascent, relaxation, is_time_up)
        if found is None:
            break
        idle = 0 if found.bound > best.bound + _LEAST_GAIN * abs(best.bound) else idle + 1
        best = found if found.bound > best.bound else best
        steps *= _STEPS_GROWTH
    return best


def _look(
    limited: LimitedUse, ascent: Ascent, relaxation: Relaxation, is_time_up: Callable[[], bool]
) -> RootedBound | None:
    """What the relaxation's shares prove where they fit, after a few rounds of ascent; None where time is up."""
    net, prices = ascent.net, relaxation.limit_prices()
    fixed_money = limited.fixed_money(prices)
    ascent.reset()
    scale = relaxation.fit(fixed_money)
    for chunk in in_chunks(np.arange(len(net.cohorts.base)), ascent.work):
        if is_time_up():
            return None
        relaxation.find_rest(net, scale, ascent.potentials, ascent.offset, chunk)
    paid = np.zeros(len(fixed_money))
    relaxation.kernels.add_shares(net.edges, net.cohorts, ascent.potentials, ascent.offset, paid)
    ascent.left = np.maximum(fixed_money - paid, 0.0)
    ascent.fixed_money = fixed_money
    ascent.value = float(net.forced_money + ascent.values().sum())
    for _ in range(_LAST_CLIMBS):
        ascent.climb(is_time_up)
    return _proven(limited, ascent, prices)
