"""The strong relaxation of problems with one root, solved by first-order steps: fractional plans and shares at once.

Dual ascent gets stuck where many cohorts share long ways; primal-dual steps do not, and need no factorisation: a step
costs a few operations per pair of an edge and a cohort. Any shares prove a bound, so nothing here has to converge to
be right.

Source: Chambolle and Pock 2011; Pock and Chambolle 2011 (step lengths); Applegate and others 2021 (restarts and primal
weights for linear programs); Lu and Yang 2024 (reflected Halpern steps).
"""

from __future__ import annotations

from functools import partial
from math import exp, inf, log, sqrt

import numpy as np

from planner.compiled import at_once, kernels
from planner.optimize import rooted_flow_kernels
from planner.optimize.net import Net
from planner.optimize.problem import FloatArray, IntArray
from planner.optimize.rooted_flow_kernels import Pairs, Point
from planner.optimize.rooted_prices import LimitedUse

MOST_PAIRS = 4_000_000
"""Pairs of an edge and a cohort that take part: 400 MB."""

_STEP = 0.95
"""Step length as a fraction of what is stable."""

_USUAL_STEPS = 1000

_LEAST_USE_NORM = 1e-3
_PRICE_STEP = 0.25
_FIRST_WEIGHT = 0.3
"""Step lengths: of the prices as a fraction of what is stable, and of all prices and shares against flows at first.
Where few edges use much of a limit, its price may step far: with a length that suits 500 of them it hardly moves."""

_RESTART_AT_ONCE, _RESTART_ON_RISE, _RESTART_LATEST = 0.2, 0.8, 0.36
"""Fixed-point error, relative to that after the last restart, to restart at: at once, or when it rises again; and the
part of all steps that may pass without one."""


def list_pairs(net: Net, potentials: FloatArray, offset: IntArray) -> tuple[Pairs, Point]:
    """The pairs that matter at an ascent's potentials, and the point that these make."""
    edges, cohorts = net.edges, net.cohorts
    count = len(cohorts.base)
    most = min(len(edges.head) + 1, max(MOST_PAIRS // count, 2))
    run = kernels(rooted_flow_kernels, count * most)
    columns = [np.zeros(count * (most + 1), dtype=np.int32) for _ in range(3)]
    nodes = min(len(edges.start), most + 2)
    node, node_start = np.zeros(count * nodes, dtype=np.int64), np.zeros(count + 1, dtype=np.int64)
    start = run.find_reach(edges, cohorts, potentials, offset, most, *columns, node, node_start)
    edge, tail, head = (column[: start[-1]].copy() for column in columns)
    cohort = np.repeat(np.arange(count), np.diff(start))
    is_pull = edge == len(edges.head)
    hop_money = np.r_[edges.hop_money, 0.0][edge]
    money = np.where(is_pull, cohorts.cap[cohort], cohorts.clients[cohort] * hop_money)
    degree = np.bincount(node_start[cohort] + tail, minlength=node_start[-1])
    degree += np.bincount(node_start[cohort] + head, minlength=node_start[-1])
    pairs = Pairs(
        start=start,
        edge=edge,
        tail=tail,
        head=head,
        money=money,
        node_start=node_start,
        per_degree=1.0 / np.maximum(degree, 1),
    )
    point = Point(flow=np.zeros(len(edge)), share=np.zeros(len(edge)), potential=np.zeros(node_start[-1]))
    run.begin(pairs, cohorts, offset, potentials, node, point)
    return pairs, point


class Relaxation:
    """A point of the relaxation under way: flows, shares, what is built of every edge, and prices of the limits.

    Money is in units of `unit_money`, prices are those of a whole limit. The last edge is every full pull.
    """

    def __init__(self, pairs: Pairs, point: Point, limited: LimitedUse, prices: FloatArray, unit_money: float) -> None:
        self.pairs = pairs._replace(money=pairs.money / unit_money)
        # A limit of nothing is kept by its own unit: whatever uses any of it is priced.
        self.unit_use = np.where(limited.most > 0.0, limited.most, 1.0)
        self.allowed = limited.most / self.unit_use
        self.unit_money = unit_money
        self.own_money = np.r_[limited.own_money / unit_money, 0.0]
        self.use = np.c_[limited.use / self.unit_use[:, None], np.zeros(len(self.unit_use))]
        self.least = np.r_[np.zeros(len(limited.own_money)), 1.0]
        self.point = Point(
            flow=point.flow.copy(), share=point.share / unit_money, potential=point.potential / unit_money
        )
        self.built = self.least.copy()
        self.prices = prices * self.unit_use / unit_money
        self.cohorts = len(pairs.start) - 1
        self.kernels = kernels(rooted_flow_kernels, _USUAL_STEPS * len(pairs.edge))
        self.paid = np.bincount(pairs.edge, weights=self.point.share, minlength=len(self.own_money))
        self.price_step = _PRICE_STEP * self.cohorts / np.maximum((self.use**2).sum(axis=1), _LEAST_USE_NORM)
        self.weight, self.steps = _FIRST_WEIGHT, 0
        self._anchor()

    def limit_prices(self) -> FloatArray:
        """Money per stored byte and per core-second, and of further rows; shape (rows,)."""
        prices: FloatArray = np.maximum(self.prices, 0.0) * self.unit_money / self.unit_use
        return prices

    def fit(self, fixed_money: FloatArray) -> FloatArray:
        """What to multiply each edge's shares by, to add up to the fixed money at most; shape (edges + 1,)."""
        shares = np.maximum(self.point.share, 0.0)
        paid = np.bincount(self.pairs.edge, weights=shares, minlength=len(self.own_money))[:-1]
        most = fixed_money / self.unit_money * (1 - 1e-12)
        scale: FloatArray = (
            self.unit_money * np.r_[np.where(paid > most, most / np.where(paid > most, paid, 1.0), 1.0), 0.0]
        )
        return scale

    def find_rest(self, net: Net, scale: FloatArray, potentials: FloatArray, offset: IntArray, picks: IntArray) -> None:
        """Potentials of the picked cohorts at their shares times each edge's scale."""
        self.kernels.find_rest(net.edges, net.cohorts, self.pairs, self.point.share, scale, potentials, offset, picks)

    def _restart(self) -> None:
        """Anchor at the present point, and balance lengths of flows and prices by how far each has gone."""
        now, anchor = self.point, self.anchor
        flows = 3.0 * _distance(now.flow, anchor.flow) + self.cohorts * _distance(self.built, self.built_anchor)
        prices = 2.0 * _distance(now.share, anchor.share)
        prices += float((((now.potential - anchor.potential) ** 2) / self.pairs.per_degree).sum())
        prices += float(((self.prices - self.price_anchor) ** 2 / self.price_step).sum())
        if flows > 0.0 and prices > 0.0:
            self.weight = exp(0.3 * 0.5 * log(prices / flows) + 0.7 * log(self.weight))
        self._anchor()

    def _anchor(self) -> None:
        self.anchor = Point(*(column.copy() for column in self.point))
        self.built_anchor, self.price_anchor = self.built, self.prices
        self.since, self.first_error, self.last_error = 0, inf, inf

    def step(self) -> None:
        """One step of everything, and a restart where one is due."""
        along, across = _STEP / self.weight, _STEP * self.weight
        slope = self.own_money + self.prices @ self.use - self.paid
        # What is built of an edge meets every cohort's pair: hence the shorter step.
        new = np.clip(self.built - along / self.cohorts * slope, self.least, 1.0)
        ahead = 2.0 * new - self.built
        prices = np.maximum(self.prices + across * self.price_step * (self.use @ ahead - self.allowed), 0.0)
        keep = (self.since + 1.0) / (self.since + 2.0)
        flows, moved = self._advance(ahead, keep, along / 3.0, across)
        flows += self.cohorts * _distance(new, self.built)
        moved += float(((prices - self.prices) ** 2 / self.price_step).sum())
        self.built = keep * ahead + (1.0 - keep) * self.built_anchor
        self.prices = keep * (2.0 * prices - self.prices) + (1.0 - keep) * self.price_anchor
        self.steps += 1
        self.since += 1
        self._restart_if_due(sqrt(self.weight * flows + moved / self.weight))

    def _restart_if_due(self, error: float) -> None:
        if self.since == 1:
            self.first_error = error
        is_small = error <= _RESTART_AT_ONCE * self.first_error
        is_rising = error <= _RESTART_ON_RISE * self.first_error and error > self.last_error
        is_late = self.since >= max(_RESTART_LATEST * self.steps, 50)
        self.last_error = error
        if self.since > 1 and (is_small or is_rising or is_late):
            self._restart()

    def _advance(self, ahead: FloatArray, keep: float, flow_step: float, price_step: float) -> tuple[float, float]:
        """All cohorts' steps, in two halves that share nothing."""
        middle = int(np.searchsorted(self.pairs.start, self.pairs.start[-1] // 2))
        paid = np.zeros((2, len(self.own_money)))
        moved = at_once(
            [
                partial(
                    self.kernels.advance,
                    *(self.pairs, self.point, self.anchor, ahead, paid[half]),
                    *(keep, flow_step, price_step, first, last),
                )
                for half, (first, last) in enumerate(((0, middle), (middle, self.cohorts)))
            ]
        )
        self.paid = paid[0] + paid[1]
        return moved[0][0] + moved[1][0], moved[0][1] + moved[1][1]


def _distance(here: FloatArray, there: FloatArray) -> float:
    away = here - there
    return float(away @ away)
