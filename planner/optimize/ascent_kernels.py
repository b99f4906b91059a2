"""Dual ascent, the loops: plain Python over arrays, compiled where a problem is large (`compiled.py`).

A cohort's potentials are a lower bound of what it pays from each position on to its target, shares of fixed money
included. They are one row of `high - low + 1` positions per number of hops left (0 to `max_hops`), or a single row
where any number is allowed. Shares are not stored: the share of an edge that potentials need is what its ends differ
by beyond the hop's own money.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from planner.optimize.net import Cohorts, Edges

Array = Any
"""A NumPy array; kernels are typed by what they are called with."""


def ascend(
    edges: Edges, cohorts: Cohorts, left: Array, order: Array, potentials: Array, offset: Array, share: float,
    lean: float,
) -> float:  # fmt: skip
    """One round over the cohorts in `order`: new potentials in place, `left` (fixed money no share covers) updated.

    Each cohort takes back its shares, finds its cheapest way at `share` of what is left of all fixed money, and takes
    again only the shares that keep this way as dear as it is: those next to its target (`lean` 0), those next to its
    base (1), or a blend of both. No cohort's value falls. Returns the sum of their values.

    Source: Balakrishnan, Magnanti and Wong 1989, section 3; `lean` and rounds by blocks are ours.
    """
    total = 0.0
    for k in order:
        low, high, rows = cohorts.low[k], cohorts.high[k], cohorts.max_hops[k] + 1
        old = potentials[offset[k] : offset[k + 1]].reshape((rows, high - low + 1))
        new = np.full(old.shape, cohorts.cap[k])
        find_potentials(edges, cohorts, k, left, old, new, share, True)
        value = new[rows - 1, cohorts.base[k] - low]
        if value == np.inf:
            return value
        new = np.minimum(new, value)
        if lean > 0.0:
            behind = np.full(old.shape, value)
            find_distances(edges, cohorts, k, left, old, behind, share)
            new = (1.0 - lean) * new + lean * (value - behind)
        exchange(edges, cohorts, k, left, old, new)
        total += value
    return total


def find_potentials(
    edges: Edges, cohorts: Cohorts, k: int, left: Array, old: Array, new: Array, share: float, to_base: bool
) -> None:
    """What the cohort's cheapest way on costs from each position; `new` comes filled with the most to look for.

    `to_base`: positions that cost more than the base need not be right.
    """
    low, high, clients, base = cohorts.low[k], cohorts.high[k], cohorts.clients[k], cohorts.base[k]
    hops = cohorts.max_hops[k]
    new[0, cohorts.target[k] - low] = 0.0
    if hops == 0 and not edges.is_acyclic:
        settle_to_target(edges, cohorts, k, left, old[0], new[0], share, to_base)
        return
    for h in range(min(hops, 1), hops + 1):
        below = new[max(h - 1, 0)]
        for v in range(high, low - 1, -1):
            best = below[v - low]
            # With all hops left a client is at its base, with fewer it has left it.
            if hops == 0 or (h == hops) == (v == base):
                for e in range(edges.start[v], edges.start[v + 1]):
                    w = edges.head[e]
                    if w <= high and below[w - low] < best:
                        money = share_and_hop(edges, clients, old, e, v - low, w - low, v == base) + share * left[e]
                        best = min(best, money + below[w - low])
            new[h, v - low] = best


def find_distances(
    edges: Edges, cohorts: Cohorts, k: int, left: Array, old: Array, behind: Array, share: float
) -> None:
    """What the cohort's cheapest way costs from its base; `behind` comes filled with the most to look for."""
    low, high, clients, base = cohorts.low[k], cohorts.high[k], cohorts.clients[k], cohorts.base[k]
    hops = cohorts.max_hops[k]
    behind[hops, base - low] = 0.0
    if hops == 0 and not edges.is_acyclic:
        settle_from_base(edges, cohorts, k, left, old[0], behind[0], share)
        return
    most = behind[0, cohorts.target[k] - low]
    for h in range(hops, min(hops, 1) - 1, -1):
        below = behind[max(h - 1, 0)]
        for v in range(low, high + 1):
            here = behind[h, v - low]
            if 0 < h < hops:
                below[v - low] = min(below[v - low], here)
            if here < most:
                for e in range(edges.start[v], edges.start[v + 1]):
                    w = edges.head[e]
                    if w <= high:
                        money = share_and_hop(edges, clients, old, e, v - low, w - low, v == base) + share * left[e]
                        below[w - low] = min(below[w - low], here + money)


def share_and_hop(edges: Edges, clients: float, old: Array, e: int, v: int, w: int, is_base: bool) -> float:
    """The money of one edge to a cohort: its clients' hops and the share that its potentials need."""
    money = clients * edges.hop_money[e]
    last = len(old) - 1
    if last == 0:
        return max(money, old[0, v] - old[0, w])
    for h in range(last if is_base else 1, last + 1 if is_base else last):
        money = max(money, old[h, v] - old[h - 1, w])
    return money


def exchange(edges: Edges, cohorts: Cohorts, k: int, left: Array, old: Array, new: Array) -> None:
    """Give back the shares of the old potentials, take those of the new, and keep the new."""
    low, high, clients = cohorts.low[k], cohorts.high[k], cohorts.clients[k]
    for v in range(low, high + 1):
        is_base = v == cohorts.base[k]
        for e in range(edges.start[v], edges.start[v + 1]):
            w = edges.head[e]
            if w <= high:
                given = share_and_hop(edges, clients, old, e, v - low, w - low, is_base)
                taken = share_and_hop(edges, clients, new, e, v - low, w - low, is_base)
                if given != taken:
                    left[e] = max(left[e] + given - taken, 0.0)
    old[:] = new


def settle_to_target(
    edges: Edges, cohorts: Cohorts, k: int, left: Array, old: Array, new: Array, share: float, to_base: bool
) -> None:
    """Dijkstra's search from the target, where edges point back and forth."""
    low, clients = cohorts.low[k], cohorts.clients[k]
    heap, place = np.empty(len(new), dtype=np.int64), np.full(len(new), -1)
    count = put_nearer(heap, place, new, 0, cohorts.target[k] - low)
    while count > 0:
        w = pop_least(heap, place, new, count)
        count -= 1
        if to_base and w == cohorts.base[k] - low:
            break
        for i in range(edges.in_start[w + low], edges.in_start[w + low + 1]):
            e = edges.in_edge[i]
            v = edges.tail[e] - low
            if v >= 0:
                money = max(clients * edges.hop_money[e], old[v] - old[w]) + share * left[e] + new[w]
                if money < new[v]:
                    new[v] = money
                    count = put_nearer(heap, place, new, count, v)


def settle_from_base(
    edges: Edges, cohorts: Cohorts, k: int, left: Array, old: Array, behind: Array, share: float
) -> None:
    """Dijkstra's search from the base, where edges point back and forth."""
    low, high, clients = cohorts.low[k], cohorts.high[k], cohorts.clients[k]
    heap, place = np.empty(len(behind), dtype=np.int64), np.full(len(behind), -1)
    count = put_nearer(heap, place, behind, 0, cohorts.base[k] - low)
    while count > 0:
        v = pop_least(heap, place, behind, count)
        count -= 1
        for e in range(edges.start[v + low], edges.start[v + low + 1]):
            w = edges.head[e] - low
            if w <= high - low:
                money = max(clients * edges.hop_money[e], old[v] - old[w]) + share * left[e] + behind[v]
                if money < behind[w]:
                    behind[w] = money
                    count = put_nearer(heap, place, behind, count, w)


def pop_least(heap: Array, place: Array, key: Array, count: int) -> int:
    """Take the node of least key off the heap; `place` is each node's index in it, -1 outside."""
    least, last = heap[0], heap[count - 1]
    place[least] = -1
    at, child = 0, 1
    while child < count - 1:
        if child + 1 < count - 1 and key[heap[child + 1]] < key[heap[child]]:
            child += 1
        if key[last] <= key[heap[child]]:
            break
        heap[at] = heap[child]
        place[heap[at]] = at
        at, child = child, 2 * child + 1
    if count > 1:
        heap[at] = last
        place[last] = at
    return int(least)


def put_nearer(heap: Array, place: Array, key: Array, count: int, node: int) -> int:
    """Put a node on the heap, or move it up after its key fell; the new count."""
    at = place[node]
    if at < 0:
        at = count
        count += 1
    while at > 0 and key[node] < key[heap[(at - 1) // 2]]:
        heap[at] = heap[(at - 1) // 2]
        place[heap[at]] = at
        at = (at - 1) // 2
    heap[at] = node
    place[node] = at
    return count


def find_excess(
    edges: Edges, cohorts: Cohorts, k: int, left: Array, potentials: Array, offset: Array, excess: Array
) -> None:
    """How much more than its part of the bound cohort k's cheapest way over each edge costs, from `excess[e]` on.

    A way pays its shares and all that is left of its edges' fixed money, so a plan in which the cohort uses the edge
    costs at least the bound plus this (reduced-cost fixing; Balakrishnan, Magnanti and Wong 1989, section 4).
    """
    low, high, rows = cohorts.low[k], cohorts.high[k], cohorts.max_hops[k] + 1
    clients, base = cohorts.clients[k], cohorts.base[k]
    old = potentials[offset[k] : offset[k + 1]].reshape((rows, high - low + 1))
    value = old[rows - 1, base - low]
    onward, behind = np.full(old.shape, np.inf), np.full(old.shape, np.inf)
    find_potentials(edges, cohorts, k, left, old, onward, 1.0, False)
    find_distances(edges, cohorts, k, left, old, behind, 1.0)
    for v in range(low, high + 1):
        for e in range(edges.start[v], edges.start[v + 1]):
            w = edges.head[e]
            least = np.inf
            if w <= high:
                money = share_and_hop(edges, clients, old, e, v - low, w - low, v == base) + left[e] - value
                for h in range(min(rows - 1, 1), rows):
                    least = min(least, behind[h, v - low] + money + onward[max(h - 1, 0), w - low])
            excess[e] = least
