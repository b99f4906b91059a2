"""Subgradient steps on explicit shares, the loops: plain Python over arrays, compiled where a problem is large.

`shares[e, k]` is what cohort `k` pays of edge `e`'s fixed money, `flow[e, k]` how much it used the edge lately: an
average of its cheapest ways, near what the linear relaxation would choose.

Source: Barahona and Anbil 2000, The volume algorithm; projection on a simplex: Michelot 1986.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from planner.optimize.ascent_kernels import pop_least, put_nearer
from planner.optimize.net import Cohorts, Edges

Array = Any
"""A NumPy array; kernels are typed by what they are called with."""

LEAST_FLOW = 1e-4
"""Average flows below this are forgotten: they keep the arrays sparse."""


def find_ways(
    edges: Edges, cohorts: Cohorts, shares: Array, flow: Array, average: float, values: Array, use: Array, unit: Array,
    picks: Array,
) -> None:  # fmt: skip
    """The cheapest ways of the picked cohorts at their shares: `values`, and `flow` moves towards them by `average`.

    `use` adds up how the values grow with each price of a limit (times the shares' growth `unit`, (2, edges)).
    """
    nodes = len(edges.start) - 1
    dist, via, place = np.full(nodes, np.inf), np.full(nodes, -1), np.full(nodes, -1)
    heap, seen = np.empty(nodes, dtype=np.int64), np.empty(nodes, dtype=np.int64)
    for k in picks:
        base, target, clients = cohorts.base[k], cohorts.target[k], cohorts.clients[k]
        seen[0], met = base, 1
        count = put_nearer(heap, place, dist, 0, base)
        dist[base] = 0.0
        while count > 0:
            v = pop_least(heap, place, dist, count)
            count -= 1
            if v == target or dist[v] >= cohorts.cap[k]:
                break
            for e in range(edges.start[v], edges.start[v + 1]):
                w = edges.head[e]
                money = dist[v] + clients * edges.hop_money[e] + shares[e, k]
                if money < dist[w] and money < dist[target]:
                    if dist[w] == np.inf:
                        seen[met] = w
                        met += 1
                    dist[w] = money
                    via[w] = e
                    count = put_nearer(heap, place, dist, count, w)
        values[k] = min(dist[target], cohorts.cap[k])
        if dist[target] < cohorts.cap[k]:
            v = target
            while v != base:
                e = via[v]
                flow[e, k] += average
                use[0] += unit[0, e] * shares[e, k]
                use[1] += unit[1, e] * shares[e, k]
                v = edges.tail[e]
        for i in range(met):
            dist[seen[i]] = np.inf
            place[seen[i]] = -1
        for i in range(count):
            place[heap[i]] = -1


def find_rest(edges: Edges, cohorts: Cohorts, shares: Array, potentials: Array, offset: Array, picks: Array) -> None:
    """The picked cohorts' potentials at their shares: cheapest ways on from each position, at most their value."""
    for k in picks:
        low, high, clients = cohorts.low[k], cohorts.high[k], cohorts.clients[k]
        new = potentials[offset[k] : offset[k + 1]]
        new[:] = cohorts.cap[k]
        heap, place = np.empty(len(new), dtype=np.int64), np.full(len(new), -1)
        new[cohorts.target[k] - low] = 0.0
        count = put_nearer(heap, place, new, 0, cohorts.target[k] - low)
        while count > 0:
            w = pop_least(heap, place, new, count)
            count -= 1
            if w == cohorts.base[k] - low:
                break
            for i in range(edges.in_start[w + low], edges.in_start[w + low + 1]):
                e = edges.in_edge[i]
                v = edges.tail[e] - low
                if 0 <= v <= high - low:
                    money = clients * edges.hop_money[e] + shares[e, k] + new[w]
                    if money < new[v]:
                        new[v] = money
                        count = put_nearer(heap, place, new, count, v)
        value = new[cohorts.base[k] - low]
        for i in range(len(new)):
            new[i] = min(new[i], value)


def take_shares(edges: Edges, cohorts: Cohorts, potentials: Array, offset: Array, shares: Array, picks: Array) -> None:
    """The shares that the picked cohorts' potentials need."""
    for k in picks:
        low, high = cohorts.low[k], cohorts.high[k]
        for e in range(edges.start[low], edges.start[high + 1]):
            v, w = edges.tail[e] - low, edges.head[e]
            if w <= high:
                money = potentials[offset[k] + v] - potentials[offset[k] + w - low]
                shares[e, k] = max(money - cohorts.clients[k] * edges.hop_money[e], 0.0)


def measure(flow: Array, scale: Array, keep: float) -> float:
    """The squared length of the flows, edges weighted by their scale; flows are first multiplied by `keep`."""
    total = 0.0
    for e in range(len(flow)):
        part = 0.0
        for k in range(flow.shape[1]):
            if flow[e, k] != 0.0:
                value = flow[e, k] * keep
                flow[e, k] = value if value > LEAST_FLOW else 0.0
                part += value * value
        total += part * scale[e]
    return total


def step(shares: Array, flow: Array, fixed_money: Array, scale: Array, length: float) -> None:
    """Move every edge's shares along the flows, and back to where they add up to its fixed money at most."""
    cohorts = shares.shape[1]
    at = np.empty(cohorts, dtype=np.int64)
    for e in range(len(shares)):
        count, total, is_moved = 0, 0.0, False
        for k in range(cohorts):
            if flow[e, k] != 0.0:
                shares[e, k] += length * scale[e] * flow[e, k]
                is_moved = True
            if shares[e, k] > 0.0:
                at[count] = k
                count += 1
                total += shares[e, k]
        if total <= fixed_money[e] or (not is_moved and total <= fixed_money[e] * (1 + 1e-12)):
            continue
        off = (total - fixed_money[e]) / count
        while True:
            left, total = 0, 0.0
            for i in range(count):
                k = at[i]
                if shares[e, k] > off:
                    at[left] = k
                    left += 1
                    total += shares[e, k]
                else:
                    shares[e, k] = 0.0
            if left == count or left == 0:
                break
            count = left
            off = (total - fixed_money[e]) / count
        for i in range(count):
            shares[e, at[i]] -= off
