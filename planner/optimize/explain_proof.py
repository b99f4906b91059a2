"""What the dual solution proves about one candidate: its reduced cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.optimize.ascent import Ascent, never, potential_offsets, work_of
from planner.optimize.duals import Duals
from planner.optimize.exact import SHADOW_UNITS
from planner.optimize.limits import Uses, allowance_money, price_use
from planner.optimize.net import lay_out
from planner.optimize.plan import Plan
from planner.optimize.problem import FloatArray, Problem

_MOST_WORK = 5_000_000
"""Inner steps of one round of ascent up to which duals are found for a question: well below a second in all."""

_ROUNDING = 1e-9
"""Fraction of sums that is given away, as in certificates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What is proven about a candidate, whatever else is built.

    `reduced_money` is its fixed money, its use of the limits at their prices included, less all shares that the
    cohorts' potentials need of it. No plan that keeps it costs less than `with_it_money`: the bound that the potentials
    prove plus the reduced cost. `is_excluded`: this is more than the plan costs, so no better plan keeps the candidate.

    Source: reduced-cost fixing; Balakrishnan, Magnanti and Wong 1989, section 4.
    """

    reduced_money: float
    with_it_money: float
    is_excluded: bool


def prove_candidate(problem: Problem, plan: Plan, candidate: int, duals: Duals) -> Proof:
    """The candidate's reduced cost, and what any plan that keeps it costs at least."""
    bound = _bound(problem, duals)
    reduced = max(_fixed_money(problem, duals, candidate) - _shares(problem, duals, candidate), 0.0)
    with_it = bound + reduced * (1 - _ROUNDING)
    return Proof(
        reduced_money=reduced,
        with_it_money=with_it,
        is_excluded=candidate not in plan.build and with_it > plan.cost.total * (1 + _ROUNDING),
    )


def find_duals(problem: Problem, plan: Plan, rounds: int = 8) -> Duals | None:
    """Duals for a plan that comes without, such as one from a file: some rounds of ascent at its shadow prices.

    Shadow prices only have to be good, not right: any prices of the limits give a bound. None for large problems.
    """
    per_byte, per_s = (plan.shadow_prices.get(name, 0.0) / unit for name, unit in SHADOW_UNITS.items())
    net = lay_out(problem)
    if work_of(net).sum() > _MOST_WORK:
        return None
    ascent = Ascent(net, price_use(problem, (per_byte, per_s)).money_with_parts[net.candidate])
    for _ in ascent.start(never):
        pass
    for _ in range(rounds):
        ascent.climb(never)
    return Duals(net=net, potentials=ascent.potentials, money_per_stored_byte=per_byte, money_per_cpu_s=per_s)


def _bound(problem: Problem, duals: Duals) -> float:
    """What the potentials prove: every cohort's at its base, less what all that is allowed comes to."""
    net, cohorts = duals.net, duals.net.cohorts
    width = cohorts.high - cohorts.low + 1
    at = potential_offsets(net)[:-1] + cohorts.max_hops * width + cohorts.base - cohorts.low
    proven = float(duals.potentials[at].sum()) + net.forced_money
    prices = duals.money_per_stored_byte, duals.money_per_cpu_s
    allowance = allowance_money(prices, Uses.of(problem, net).allowed)
    return proven * (1 - _ROUNDING) - allowance * (1 + _ROUNDING)


def _fixed_money(problem: Problem, duals: Duals, candidate: int) -> float:
    """Fixed money at the prices of the limits; an even split of parts counts only where no shares are kept of them."""
    priced = price_use(problem, (duals.money_per_stored_byte, duals.money_per_cpu_s))
    money = priced.money_with_parts if duals.part_shares is None else priced.candidate_money
    return float(money[candidate])


def _shares(problem: Problem, duals: Duals, candidate: int) -> float:
    """What the potentials of all cohorts need of the candidate's fixed money, without the shares of its parts."""
    net, cohorts = duals.net, duals.net.cohorts
    found = np.flatnonzero(net.candidate == candidate)
    if not len(found) or not len(cohorts.base):
        return 0.0
    tail, head = int(net.edges.tail[found[0]]), int(net.edges.head[found[0]])
    inside = np.flatnonzero((cohorts.low <= min(tail, head)) & (cohorts.high >= max(tail, head)))
    needed = _steepest_fall(duals, inside, tail, head)
    needed -= cohorts.clients[inside] * float(net.edges.hop_money[found[0]])
    if duals.part_shares is not None:
        needed -= duals.part_shares[inside][:, list(problem.parts_of[candidate])].sum(axis=1)
    return float(np.maximum(needed, 0.0).sum())


def _steepest_fall(duals: Duals, inside: np.ndarray, tail: int, head: int) -> FloatArray:
    """By how much potentials fall along an edge at most, over the numbers of hops left; shape (inside,)."""
    net, cohorts, potentials = duals.net, duals.net.cohorts, duals.potentials
    width, last = (cohorts.high - cohorts.low + 1)[inside], cohorts.max_hops[inside]
    first = potential_offsets(net)[:-1][inside] - cohorts.low[inside]
    is_base = cohorts.base[inside] == tail
    fall = np.where(last == 0, potentials[first + tail] - potentials[first + head], 0.0)
    for hops in range(1, int(last.max(initial=0)) + 1):
        # With all hops left a client is at its base, with fewer it has left it.
        rows = np.flatnonzero((hops <= last) & ((hops == last) == is_base))
        at_tail = potentials[first[rows] + hops * width[rows] + tail]
        at_head = potentials[first[rows] + (hops - 1) * width[rows] + head]
        fall[rows] = np.maximum(fall[rows], at_tail - at_head)
    return fall
