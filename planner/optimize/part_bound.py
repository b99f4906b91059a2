"""The bound where candidates share parts: every cohort pays a share of every piece, found by subgradient steps.

A plan pays each kept part once. Splitting its money into shares between cohorts, none paid twice, every cohort's
cheapest way at its shares adds up to a bound. A cohort pays its share of a part on every edge that needs it: in the
linear relaxation this is one row per cohort and part over all edges that need the part, which is stronger than one
row per edge, because a cohort's flow may spread over several such edges. Where one route may use a part's edges
`most_uses` times, the shares may only add up to the part's money divided by that.

Shares move towards the cohorts whose cheapest ways use the piece (deflected projected subgradients, step sizes by the
best known cost), and prices of the limits move along with them towards what is used and what is allowed.

Source: Held, Wolfe and Crowder 1974 (step sizes); Camerini, Fratta and Maffioli 1975 and Barahona and Anbil 2000
(deflection by averages); Balakrishnan, Magnanti and Wong 1989, section 3 (shares of fixed money).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isfinite

import numpy as np

from planner.compiled import kernels
from planner.optimize import ascent_kernels, part_kernels
from planner.optimize.ascent import in_chunks, potential_offsets
from planner.optimize.limits import Uses
from planner.optimize.net import Net
from planner.optimize.part_pieces import merge_parts
from planner.optimize.problem import FloatArray, IntArray, Problem

LARGEST_SHARES = 20_000_000
"""Cohorts times pieces up to which shares are held, four numbers each: beyond, that takes gigabytes."""

_MEMORY = 0.9
"""How much of the average of past directions the next one keeps."""

_PATIENCE = 60
"""Steps without progress after which they become shorter, by `_SHORTER`, from the best shares known."""

_SHORTER = 0.7
_SHORTEST = 2e-3
_PROGRESS = 1e-5

_LIMIT_WEIGHT = 100.0
"""How far prices of limits move beside shares: a whole limit's money in fractions of the plan's."""


_HOPED_FOR = 0.1
"""How far above the bound the optimum is taken to be, in fractions of it, while no plan is known."""

_FORBIDDEN = 1e9
"""A hop that is not allowed costs this many times the dearest one."""

Begin = tuple[FloatArray, FloatArray]
"""Weights (cohorts, pieces) and tolls (2,) to begin from."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PartBound:
    """A proven bound and the dual solution that proves it.

    `potentials` is in the layout of `ascent_kernels`; `part_shares` has shape (cohorts, parts). Prices are money on
    top of the problem's own. Per edge, what cohorts' potentials rise by beyond their hops and its parts' shares adds up
    to at most its own money; per part, its shares times the most of its edges on a route to at most its money.
    """

    bound: float
    potentials: FloatArray
    part_shares: FloatArray
    price_per_stored_byte: float = 0.0
    price_per_cpu_s: float = 0.0


class PartAscent:
    """Shares of every piece by cohort, prices of the limits, and the best bound they have proven so far.

    `average` (cohorts, pieces) says how much of the time each cohort's cheapest way used each piece of late: nearly the
    linear relaxation's solution, which tells the search what is worth opening. `is_stalled`: steps have become too
    short to matter.
    """

    def __init__(self, problem: Problem, net: Net) -> None:
        self.problem, self.net = problem, net
        self.uses = Uses.of(problem, net)
        self.pieces = merge_parts(problem, net, self.uses)
        cohorts, count = len(net.cohorts.base), len(self.pieces)
        self.offset = potential_offsets(net)
        self.edges = net.edges
        self.is_kept = np.zeros(count, dtype=bool)
        self.pulls_in_full = np.zeros(cohorts, dtype=bool)
        self.unit = net.cohorts._replace(clients=np.ones(cohorts))
        pairs = np.diff(np.r_[self.pieces.start])
        passed = np.r_[0, np.cumsum(pairs)]
        start, high, low = net.edges.start, net.cohorts.high, net.cohorts.low
        reached = passed[start[high + 1]] - passed[start[low]]
        self.work = reached + (start[high + 1] - start[low]) * (net.cohorts.max_hops + 1) + count
        self.kernels = kernels(part_kernels, int(self.work.sum()) * 20)
        self.weights: FloatArray = np.full((cohorts, count), 1.0 / max(cohorts, 1))
        self.used: FloatArray = np.zeros((cohorts, count))
        self.average: FloatArray = np.zeros((cohorts, count))
        self.potentials: FloatArray = np.zeros(self.offset[-1])
        is_limited = np.isfinite(self.uses.allowed)
        self.scale = np.where(is_limited, np.maximum(self.uses.allowed, [1.0, 1e-3]), 1.0)
        self.is_limited = is_limited
        self.toll: FloatArray = np.zeros(2)  # what the use of a whole limit costs
        self.average_excess: FloatArray = np.zeros(2)
        self.value = 0.0
        self.length, self.waited, self.steps = 1.0, 0, 0
        self.best_value = -inf
        self.best_weights, self.best_toll = self.weights.copy(), self.toll.copy()
        self.best_potentials = self.potentials.copy()

    @property
    def is_stalled(self) -> bool:
        """Whether further steps would hardly move anything."""
        return self.length < _SHORTEST

    def prices(self, toll: FloatArray) -> FloatArray:
        """Money per stored byte and per core-second on top of the problem's own."""
        return np.where(self.is_limited, toll / self.scale, 0.0)

    def capacity(self, toll: FloatArray) -> FloatArray:
        """What all cohorts' shares of each piece may add up to; shape (pieces,)."""
        return np.where(self.is_kept, 0.0, self._money(toll) / self.pieces.most_uses)

    def _money(self, toll: FloatArray) -> FloatArray:
        """What each piece costs with its use of the limits priced on top."""
        money: FloatArray = self.pieces.money + self.prices(toll) @ self.pieces.uses
        return money

    def climb(self, steps: int, cost: float, is_time_up: Callable[[], bool]) -> None:
        """Some steps; `cost` is the best known plan's, and sets how far they go."""
        for _ in range(steps):
            if self.is_stalled or not self._value(is_time_up):
                return
            self._step(cost)

    def _value(self, is_time_up: Callable[[], bool]) -> bool:
        """Every cohort's cheapest way at its shares; whether there was time for all of them."""
        paid = self.weights * self.capacity(self.toll)
        total = 0.0
        for chunk in in_chunks(np.flatnonzero(~self.pulls_in_full), self.work):
            if is_time_up():
                return False
            total += self._value_cohorts(chunk, paid)
        if not isfinite(total):  # somebody has neither a route nor a full pull: there is no plan at any cost
            self.best_value, self.length = inf, 0.0
            return False
        prices = self.prices(self.toll)
        total += self.net.forced_money + float(self.net.cohorts.cap[self.pulls_in_full].sum())
        total += float(self._money(self.toll)[self.is_kept].sum())
        value = total - float(sum(p * most for p, most in zip(prices, self.uses.allowed, strict=True) if p > 0.0))
        self.waited += 1
        if value > self.best_value + _PROGRESS * abs(value):
            self.waited = 0
        if value > self.best_value:
            self.best_value = value
            self.best_weights[:], self.best_toll[:] = self.weights, self.toll
            self.best_potentials[:] = self.potentials
        elif self.waited > _PATIENCE:
            self.length, self.waited = self.length * _SHORTER, 0
            self.weights[:], self.toll[:] = self.best_weights, self.best_toll
        self.value = value
        return True

    def _value_cohorts(self, chunk: IntArray, paid: FloatArray) -> float:
        pieces = self.pieces
        return float(
            self.kernels.value_cohorts(
                self.edges,
                self.unit,
                self.net.cohorts.clients,
                (pieces.piece, pieces.start),
                chunk,
                paid,
                self.potentials,
                self.offset,
                self.used,
            )
        )

    def _step(self, cost: float) -> None:
        """Shares towards the cohorts that use a piece, prices towards what is used beyond the limits."""
        fresh = 1.0 if self.steps == 0 else 1.0 - _MEMORY
        self.steps += 1
        self.average += fresh * (self.used - self.average)
        paid_for = np.where(self.is_kept, 1.0, (self.weights * self.used).sum(axis=0) / self.pieces.most_uses)
        excess = np.where(self.is_limited, self.pieces.uses @ paid_for - self._allowed(), 0.0) / self.scale
        self.average_excess += fresh * (excess - self.average_excess)
        capacity = self.capacity(self.toll)
        centred = np.where(capacity > 0.0, self.average - self.average.mean(axis=0), 0.0)
        size = float(capacity @ (centred * centred).sum(axis=0))
        money = _LIMIT_WEIGHT * max(abs(cost) if isfinite(cost) else abs(self.value), 1e-300)
        size += money * float(self.average_excess @ self.average_excess)
        target = cost if isfinite(cost) else self.best_value + _HOPED_FOR * abs(self.best_value)
        missing = max(target - self.value, 0.0)
        if size <= 0.0 or missing <= 0.0:
            self.length = 0.0  # nothing left to move, or to gain
            return
        step = self.length * missing / size
        self.kernels.step_shares(self.weights, self.average, step, np.empty(len(self.weights)))
        self.toll = np.maximum(self.toll + step * money * self.average_excess, 0.0)

    def _allowed(self) -> FloatArray:
        return np.where(self.is_limited, self.uses.allowed, 0.0)

    def decide(self, refused: frozenset[int], taken: frozenset[int], begin: Begin) -> None:
        """Bound only the plans with some decisions taken, from given weights and tolls; `part_branch` uses it.

        Decision e is to keep edge e; decision `edges + k` is that cohort k pulls in full.
        """
        edges, pieces, cohorts = self.net.edges, self.pieces, self.net.cohorts
        count = len(edges.head)
        hop_money, cap = edges.hop_money.copy(), cohorts.cap.copy()
        dear = _FORBIDDEN * (float(hop_money.max(initial=0.0)) or 1.0)
        hop_money[[d for d in refused if d < count]] = dear
        cap[[d - count for d in refused if d >= count]] = dear * float(cohorts.clients.max(initial=1.0))
        self.edges, self.unit = edges._replace(hop_money=hop_money), self.unit._replace(cap=cap)
        self.is_kept[:] = False
        for edge in (d for d in taken if d < count):
            self.is_kept[pieces.piece[pieces.start[edge] : pieces.start[edge + 1]]] = True
        self.pulls_in_full[:] = False
        self.pulls_in_full[[d - count for d in taken if d >= count]] = True
        self.used[self.pulls_in_full] = 0.0
        self.weights[:], self.toll = begin[0], begin[1].copy()
        self.best_weights[:], self.best_toll = begin[0], begin[1].copy()
        self.best_value, self.length, self.waited = -inf, 1.0, 0

    def inclination(self) -> FloatArray:
        """How much of the time the cheapest ways of late took each decision (see `decide`); (edges + cohorts,)."""
        edges, cohorts = self.net.edges, self.net.cohorts
        own = self.average[:, len(self.pieces) - len(edges.head) :]
        pulls = np.ones(len(own))
        for k, base in enumerate(cohorts.base.tolist()):
            pulls[k] -= own[k, edges.start[base] : edges.start[base + 1]].sum()
        inclined: FloatArray = np.clip(
            np.r_[own.max(axis=0, initial=0.0), np.where(np.isinf(cohorts.cap), 0.0, pulls)], 0.0, 1.0
        )
        return inclined

    def weight_of_decisions(self) -> FloatArray:
        """About how much money each decision moves; (edges + cohorts,)."""
        money = self._money(self.best_toll)
        of_edge = np.repeat(np.arange(len(self.net.edges.head)), np.diff(self.pieces.start))
        opening = np.bincount(of_edge, weights=money[self.pieces.piece], minlength=len(self.net.edges.head))
        weight: FloatArray = np.r_[opening, np.where(np.isinf(self.net.cohorts.cap), 0.0, self.net.cohorts.cap)]
        return weight

    def excess(self, k: int) -> FloatArray:
        """How much more than its part of the bound cohort k's cheapest way over each edge costs; shape (edges,).

        A plan in which the cohort uses the edge costs at least the bound plus this (reduced-cost fixing).
        """
        edges, start = self.net.edges, self.net.edges.start
        first, last = int(start[self.unit.low[k]]), int(start[self.unit.high[k] + 1])
        money, found = np.zeros(len(edges.head)), np.full(len(edges.head), inf)
        paid = self.best_weights[k] * self.capacity(self.best_toll)
        clients = float(self.net.cohorts.clients[k])
        pieces = self.pieces.piece, self.pieces.start
        self.kernels.price_edges(edges, clients, pieces, paid, first, last, money)
        priced, nothing = edges._replace(hop_money=money), np.zeros(len(edges.head))
        run = kernels(ascent_kernels, int(self.work[k]))
        run.find_excess(priced, self.unit, k, nothing, np.zeros(self.offset[-1]), self.offset, found)
        width = int(self.unit.high[k] - self.unit.low[k]) + 1
        at_base = self.offset[k] + self.unit.max_hops[k] * width + self.unit.base[k] - self.unit.low[k]
        found -= self.best_potentials[at_base]
        found[:first], found[last:] = inf, inf
        return found

    def proof(self) -> PartBound:
        """The best bound, and the shares by part that prove it."""
        prices, pieces = self.prices(self.best_toll), self.pieces
        money = pieces.money + prices @ pieces.uses
        part_money = self.problem.part_money + prices @ self.uses.parts
        shares = np.zeros((len(self.weights), len(part_money)))
        needed = np.flatnonzero((pieces.of_part >= 0) & (part_money > 0.0))
        of_part = pieces.of_part[needed]
        fraction = part_money[needed] / money[of_part]
        shares[:, needed] = self.best_weights[:, of_part] * (self.capacity(self.best_toll)[of_part] * fraction)
        return PartBound(
            bound=self.best_value,
            potentials=self.best_potentials.copy(),
            part_shares=shares,
            price_per_stored_byte=float(prices[0]),
            price_per_cpu_s=float(prices[1]),
        )
