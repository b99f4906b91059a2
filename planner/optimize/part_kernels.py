"""Shares of parts, the loops: plain Python over arrays, compiled where a problem is large (`compiled.py`).

Every edge is a set of pieces (its shared parts and its own fixed money, which is a piece that only this edge needs).
Cohort k pays `shares[k, p]` of piece p on every edge that needs it, so that a route which needs it once pays it once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from planner.optimize.ascent_kernels import find_potentials
from planner.optimize.net import Cohorts, Edges

Array = Any
"""A NumPy array; kernels are typed by what they are called with."""


def value_cohorts(
    edges: Edges,
    unit: Cohorts,
    clients: Array,
    pieces: tuple[Array, Array],
    which: Array,
    shares: Array,
    potentials: Array,
    offset: Array,
    used: Array,
) -> float:
    """Sum of the cheapest ways of the cohorts in `which`; their potentials, and their pieces counted in `used`.

    `unit` are the cohorts with one client each: money of all their clients is in the edges. `used` (cohorts, pieces).
    """
    total = 0.0
    nothing = np.zeros(len(edges.head))
    money = np.zeros(len(edges.head))
    priced = Edges(edges.start, edges.tail, edges.head, edges.in_start, edges.in_edge, money, edges.is_acyclic)
    for k in which:
        low, high, rows = unit.low[k], unit.high[k], unit.max_hops[k] + 1
        price_edges(edges, clients[k], pieces, shares[k], edges.start[low], edges.start[high + 1], money)
        new = potentials[offset[k] : offset[k + 1]].reshape((rows, high - low + 1))
        new[:] = unit.cap[k]
        zeros = np.zeros(new.shape)
        find_potentials(priced, unit, k, nothing, zeros, new, 1.0, True)
        value = new[rows - 1, unit.base[k] - low]
        if value == np.inf:
            return value
        total += value
        used[k, :] = 0.0
        if value < unit.cap[k]:
            count_pieces(priced, unit, k, pieces, new, used[k])
        new[:] = np.minimum(new, value)
    return total


def price_edges(
    edges: Edges, clients: float, pieces: tuple[Array, Array], share: Array, first: int, last: int, money: Array
) -> None:
    """What each edge from `first` on costs a cohort: its clients' hops, and its shares of the pieces there."""
    piece, start = pieces
    for e in range(first, last):
        paid = clients * edges.hop_money[e]
        for i in range(start[e], start[e + 1]):
            paid += share[piece[i]]
        money[e] = paid


def count_pieces(edges: Edges, cohorts: Cohorts, k: int, pieces: tuple[Array, Array], dist: Array, used: Array) -> None:
    """Count the pieces on the cohort's cheapest way."""
    piece, start = pieces
    low, high, hops = cohorts.low[k], cohorts.high[k], cohorts.max_hops[k]
    at, left = cohorts.base[k], hops
    for _ in range((high - low + 1) * (hops + 1)):
        if at == cohorts.target[k]:
            break
        while left > 1 and at != cohorts.base[k] and dist[left - 1, at - low] <= dist[left, at - low]:
            left -= 1
        below = max(left - 1, 0)
        best, chosen = np.inf, -1
        for e in range(edges.start[at], edges.start[at + 1]):
            w = edges.head[e]
            if low <= w <= high and edges.hop_money[e] + dist[below, w - low] < best:
                best, chosen = edges.hop_money[e] + dist[below, w - low], e
        if chosen < 0:
            break
        for i in range(start[chosen], start[chosen + 1]):
            used[piece[i]] += 1.0
        at, left = edges.head[chosen], below


def step_shares(weights: Array, slope: Array, step: float, width: Array) -> None:
    """Move each piece's weights (cohorts, pieces) up its slope, within the unit simplex; `width` is scratch."""
    cohorts, pieces = weights.shape
    for p in range(pieces):
        least, most = np.inf, -np.inf
        for k in range(cohorts):
            least, most = min(least, slope[k, p]), max(most, slope[k, p])
        if most - least > 1e-9:
            for k in range(cohorts):
                width[k] = weights[k, p] + step * slope[k, p]
            project(width)
            for k in range(cohorts):
                weights[k, p] = width[k]


def project(point: Array) -> None:
    """The nearest point of the unit simplex, in place.

    Source: Michelot 1986: drop what falls below zero and share the rest anew, until nothing falls.
    """
    count, excess = len(point), point.sum() - 1.0
    level = excess / count
    while True:
        kept, total = 0, 0.0
        for value in point:
            if value > level:
                kept += 1
                total += value
        if kept >= count or kept == 0:
            break
        count = kept
        level = (total - 1.0) / kept
    for i in range(len(point)):
        point[i] = max(point[i] - level, 0.0)


def most_on_a_way(edges: Edges, is_needed: Array, first: int, last: int, steps: Array) -> int:
    """The most needed edges on one way between two positions, where all edges point forward."""
    most = 0
    for v in range(last, first - 1, -1):
        steps[v] = 0
        for e in range(edges.start[v], edges.start[v + 1]):
            if edges.head[e] <= last:
                steps[v] = max(steps[v], steps[edges.head[e]] + is_needed[e])
        most = max(most, steps[v])
    return most
