"""First-order steps on the strong relaxation, the loops: plain Python over arrays, compiled where a problem is large.

Every cohort sends one unit of flow from its base; pairs of an edge and a cohort that may use it stand in one list, by
cohort. Within a cohort, nodes have numbers of their own: 0 is the target and all that lies out of reach, 1 the base.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from planner.optimize.ascent_kernels import pop_least, put_nearer
from planner.optimize.net import Cohorts, Edges

Array = Any
"""A NumPy array; kernels are typed by what they are called with."""


class Pairs(NamedTuple):
    """Pairs of cohort `k` are `start[k]:start[k + 1]`, its nodes `node_start[k]:node_start[k + 1]`.

    `edge`, `tail`, `head` (nodes within the cohort) and `money` (of one cohort's whole flow) have shape (pairs,),
    `per_degree` (nodes,) is 1 over the pairs at a node.
    """

    start: Array
    edge: Array
    tail: Array
    head: Array
    money: Array
    node_start: Array
    per_degree: Array


class Point(NamedTuple):
    """Flows and shares by pair, potentials by node."""

    flow: Array
    share: Array
    potential: Array


def find_reach(
    edges: Edges, cohorts: Cohorts, potentials: Array, offset: Array, most: int, edge: Array, tail: Array, head: Array,
    node: Array, node_start: Array,
) -> Array:  # fmt: skip
    """Fill in each cohort's pairs: the edges that leave the nodes nearest to its base at the potentials' shares.

    At most `most` pairs each; `node` becomes the position behind each of a cohort's nodes. Returns where the pairs of
    each cohort start, shape (cohorts + 1,).
    """
    nodes = len(edges.start) - 1
    start = np.zeros(len(cohorts.base) + 1, dtype=np.int64)
    dist, place, number = np.full(nodes, np.inf), np.full(nodes, -1), np.zeros(nodes, dtype=np.int64)
    heap, seen = np.empty(nodes, dtype=np.int64), np.empty(nodes, dtype=np.int64)
    for k in range(len(cohorts.base)):
        base, target, low, high = cohorts.base[k], cohorts.target[k], cohorts.low[k], cohorts.high[k]
        own = potentials[offset[k] : offset[k + 1]]
        seen[0], met, near, at = base, 1, 1, start[k]
        dist[base], first_node = 0.0, node_start[k]
        node[first_node] = target
        if cohorts.cap[k] < np.inf:
            # A full pull is one more edge, which is always there.
            edge[at], tail[at], head[at] = len(edges.head), 1, target
            at += 1
        count = put_nearer(heap, place, dist, 0, base)
        while count > 0:
            v = pop_least(heap, place, dist, count)
            count -= 1
            if at - start[k] + edges.start[v + 1] - edges.start[v] > most:
                break
            number[v], node[first_node + near] = near, v
            near += 1
            for e in range(edges.start[v], edges.start[v + 1]):
                w = edges.head[e]
                if low <= w <= high and w != base:
                    edge[at], tail[at], head[at] = e, number[v], w
                    at += 1
                    hop = cohorts.clients[k] * edges.hop_money[e]
                    money = dist[v] + max(own[v - low] - own[w - low], hop)
                    if w != target and money < dist[w]:
                        if dist[w] == np.inf:
                            seen[met] = w
                            met += 1
                        dist[w] = money
                        count = put_nearer(heap, place, dist, count, w)
        for i in range(start[k], at):
            head[i] = number[head[i]]
        for i in range(met):
            dist[seen[i]], number[seen[i]], place[seen[i]] = np.inf, 0, -1
        start[k + 1], node_start[k + 1] = at, first_node + near
    return start


def begin(pairs: Pairs, cohorts: Cohorts, offset: Array, potentials: Array, node: Array, point: Point) -> None:
    """Shares and potentials of a point from an ascent's potentials."""
    for k in range(len(cohorts.base)):
        row = offset[k] - cohorts.low[k]
        for n in range(pairs.node_start[k] + 1, pairs.node_start[k + 1]):
            point.potential[n] = potentials[row + node[n]]
        first = pairs.node_start[k]
        for i in range(pairs.start[k], pairs.start[k + 1]):
            rise = point.potential[first + pairs.tail[i]] - point.potential[first + pairs.head[i]]
            point.share[i] = max(rise - pairs.money[i], 0.0)


def advance(
    pairs: Pairs, now: Point, anchor: Point, ahead: Array, paid: Array, weight: float, flow_step: float,
    price_step: float, first: int, last: int,
) -> tuple[float, float]:  # fmt: skip
    """One reflected, anchored primal-dual step of the cohorts `first` to `last`, in place.

    `ahead` (edges,) is what of each edge is built, extrapolated; `paid` receives the shares' sums by edge. Returns how
    far the step went, flows and prices each in their own measure.

    Source: Chambolle and Pock 2011; Lu and Yang 2024 (restarted Halpern steps with reflection).
    """
    flow, share, potential = now
    moved_flow, moved_price = 0.0, 0.0
    paid[:] = 0.0
    surplus = np.zeros(1)
    for k in range(first, last):
        begins, ends = pairs.node_start[k], pairs.node_start[k + 1]
        if ends - begins > len(surplus):
            surplus = np.zeros(2 * (ends - begins))
        surplus[: ends - begins] = 0.0
        surplus[1] = 1.0
        own = potential[begins:ends]
        for i in range(pairs.start[k], pairs.start[k + 1]):
            e, t, h = pairs.edge[i], pairs.tail[i], pairs.head[i]
            old, old_share = flow[i], share[i]
            new = min(max(old - flow_step * (pairs.money[i] - own[t] + own[h] + old_share), 0.0), 1.0)
            twice = 2.0 * new - old
            surplus[t] -= twice
            surplus[h] += twice
            new_share = max(old_share + 0.5 * price_step * (twice - ahead[e]), 0.0)
            moved_flow += 3.0 * (new - old) ** 2
            moved_price += 2.0 * (new_share - old_share) ** 2
            flow[i] = weight * twice + (1.0 - weight) * anchor.flow[i]
            new_share = weight * (2.0 * new_share - old_share) + (1.0 - weight) * anchor.share[i]
            share[i] = new_share
            paid[e] += new_share
        for n in range(1, ends - begins):
            step = price_step * pairs.per_degree[begins + n] * surplus[n]
            moved_price += step * step / pairs.per_degree[begins + n]
            own[n] = weight * (own[n] + 2.0 * step) + (1.0 - weight) * anchor.potential[begins + n]
    return moved_flow, moved_price


def find_rest(
    edges: Edges, cohorts: Cohorts, pairs: Pairs, share: Array, scale: Array, potentials: Array, offset: Array,
    picks: Array,
) -> None:  # fmt: skip
    """The picked cohorts' potentials at their shares times the edges' `scale`: cheapest ways on from each position.

    They are right up to the base's own, which nothing exceeds.
    """
    paying = np.zeros(len(edges.head) + 1)
    for k in picks:
        for i in range(pairs.start[k], pairs.start[k + 1]):
            paying[pairs.edge[i]] = max(share[i], 0.0) * scale[pairs.edge[i]]
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
                    money = clients * edges.hop_money[e] + paying[e] + new[w]
                    if money < new[v]:
                        new[v] = money
                        count = put_nearer(heap, place, new, count, v)
        value = new[cohorts.base[k] - low]
        for i in range(len(new)):
            new[i] = min(new[i], value)
        for i in range(pairs.start[k], pairs.start[k + 1]):
            paying[pairs.edge[i]] = 0.0


def add_shares(edges: Edges, cohorts: Cohorts, potentials: Array, offset: Array, paid: Array) -> None:
    """Add up the shares that all cohorts' potentials need, by edge."""
    for k in range(len(cohorts.base)):
        low, high = cohorts.low[k], cohorts.high[k]
        row = offset[k] - low
        for e in range(edges.start[low], edges.start[high + 1]):
            w = edges.head[e]
            if low <= w <= high:
                rise = potentials[row + edges.tail[e]] - potentials[row + w]
                paid[e] += max(rise - cohorts.clients[k] * edges.hop_money[e], 0.0)
