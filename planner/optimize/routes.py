"""The cheapest route of every demand over a set of open candidates.

A demand's state is (commit, hops left), not the commit alone: with a hop limit the cheapest routes
to one target do not form a tree. Routes with a byte limit carry their bytes in the state as well.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from math import inf

import numpy as np

from planner.optimize.evaluate import Route, Selection, route_bytes
from planner.optimize.problem import BoolArray, FloatArray, IntArray, Problem

SUM_SLACK = 1e-12
"""A float sum of a route's bytes may differ from the exact one by this fraction, depending on its order:
routes that exceed a limit by less are left to the exact sum."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RouteTable:
    """Cheapest ways to one target by number of hops.

    `money[h, v]` is the least cost from commit v within h hops; shape (hops + 1, commits).
    """

    target: int
    money: FloatArray
    edges: _Edges

    def route(self, base: int, hops: int) -> tuple[int, ...]:
        """The route from `base` within `hops` hops; ask only where the money is finite.

        Only the hops of the route that is asked for are looked up, each among the candidates that start there.
        """
        route, at, left = [], base, min(hops, len(self.money) - 1)
        while at != self.target:
            if left > 0 and self.money[left - 1, at] == self.money[left, at]:
                left -= 1
                continue
            low, high = np.searchsorted(self.edges.tail, (at, at + 1))
            offers = self.edges.money[low:high] + self.money[left - 1, self.edges.head[low:high]]
            best = low + int(np.argmin(offers))
            route.append(int(self.edges.index[best]))
            at, left = int(self.edges.head[best]), left - 1
        return tuple(route)


@dataclass(frozen=True, slots=True, eq=False)
class _Edges:
    """Open candidates sorted by where they start, for segment-wise minima."""

    index: IntArray
    tail: IntArray
    head: IntArray
    money: FloatArray
    starts: IntArray
    tails: IntArray

    @classmethod
    def open(cls, problem: Problem, is_open: BoolArray, money: FloatArray) -> _Edges:
        index = problem.by_base[(is_open & np.isfinite(money))[problem.by_base]]
        tail = problem.candidates.base[index]
        starts = np.flatnonzero(np.r_[True, tail[1:] != tail[:-1]]) if len(tail) else np.zeros(0, dtype=np.int64)
        return cls(index, tail, problem.candidates.target[index], money[index], starts, tail[starts])


def route_table(problem: Problem, target: int, max_hops: int, is_open: BoolArray, money: FloatArray) -> RouteTable:
    """Cheapest ways to `target` over the open candidates at `money` per use, for every commit.

    Ties go to fewer hops, then to the lowest candidate index. O(hops x candidates); stops as soon as
    one more hop improves nothing, so an absent hop limit costs no more than the longest useful route.
    """
    commits = len(problem.commits)
    edges = _Edges.open(problem, is_open, money)
    layers = [np.full(commits, inf)]
    layers[0][target] = 0.0
    while len(edges.index) and len(layers) <= min(max_hops, commits - 1):
        offers = edges.money + layers[-1][edges.head]
        best = np.minimum.reduceat(offers, edges.starts)
        is_better = best < layers[-1][edges.tails]
        if not is_better.any():
            break
        layer = layers[-1].copy()
        layer[edges.tails[is_better]] = best[is_better]
        layers.append(layer)
    return RouteTable(target=target, money=np.array(layers), edges=edges)


def choose_routes(problem: Problem, is_open: BoolArray) -> tuple[Route, ...]:
    """The cheapest way of every demand over the open candidates, a full pull where that is cheaper.

    A demand that nothing serves gets None all the same: `evaluate` reports it.
    """
    demands = problem.demands
    max_hops = np.minimum(demands.max_hops, len(problem.commits) - 1)
    routes: list[Route] = [None] * len(demands)
    key, table = (-1, -1), None
    # One table at a time: with thousands of targets all of them together would take gigabytes.
    for index in np.lexsort((max_hops, demands.target)).tolist():
        wanted = (int(demands.target[index]), int(max_hops[index]))
        if table is None or wanted != key:
            key, table = wanted, route_table(problem, *wanted, is_open, problem.hop_money)
        base = int(demands.base[index])
        money = float(table.money[-1, base])
        if money <= problem.full_pull_money[index] and money < inf:
            routes[index] = table.route(base, key[1])
            if route_bytes(problem, routes[index] or ()) > demands.max_wire_bytes[index]:
                routes[index] = cheapest_within_bytes(problem, index, is_open)
    return tuple(routes)


def cheapest_within_bytes(
    problem: Problem, demand: int, is_open: BoolArray, money: FloatArray | None = None, most_money: float = inf
) -> Route:
    """The cheapest route that respects the demand's byte limit too, or None for a full pull.

    `money` is the price of each candidate's use (default: one client's), `most_money` what a route may
    cost at most (default: the full pull).

    Label setting over (money, bytes, hops) with dominance per commit: exact, worst case exponential
    in the number of distinct byte sums, small in practice because few demands have a byte limit that
    their cheapest route breaks. Ties go to fewer hops, then fewer bytes.

    Source: Irnich and Desaulniers 2005, Shortest path problems with resource constraints, section 4.
    """
    demands, rows = problem.demands, problem.candidates
    target, max_bytes = int(demands.target[demand]), float(demands.max_wire_bytes[demand])
    max_hops = min(int(demands.max_hops[demand]), len(problem.commits) - 1)
    if money is None:
        money, most_money = problem.hop_money, float(problem.full_pull_money[demand])
    bytes_left = route_table(problem, target, max_hops, is_open, rows.wire_bytes).money[-1]
    leaving = _by_tail(problem, is_open)
    settled: dict[int, list[tuple[float, int]]] = {}
    heap: list[tuple[float, int, float, tuple[int, ...], int]] = [(0.0, 0, 0.0, (), int(demands.base[demand]))]
    while heap:
        paid, hops, sent, route, at = heapq.heappop(heap)
        if paid > most_money:
            return None
        if at == target:
            return route
        if any(bytes_ <= sent and count <= hops for bytes_, count in settled.get(at, ())):
            continue
        settled.setdefault(at, []).append((sent, hops))
        for hop in leaving.get(at, ()) if hops < max_hops else ():
            head, total = int(rows.target[hop]), route_bytes(problem, (*route, hop))
            most = max_bytes if head == target else max_bytes * (1 + SUM_SLACK)
            if total + bytes_left[head] <= most:
                heapq.heappush(heap, (paid + float(money[hop]), hops + 1, total, (*route, hop), head))
    return None


def _by_tail(problem: Problem, is_open: BoolArray) -> dict[int, list[int]]:
    leaving: dict[int, list[int]] = {}
    for hop in np.flatnonzero(is_open).tolist():
        leaving.setdefault(int(problem.candidates.base[hop]), []).append(hop)
    return leaving


def select(problem: Problem, is_open: BoolArray) -> Selection:
    """Routes over the open candidates, and only the candidates that those routes use."""
    routes = choose_routes(problem, is_open)
    return Selection(build=tuple(sorted({hop for route in routes if route for hop in route})), routes=routes)


def keep_within_bytes(problem: Problem, selection: Selection) -> Selection:
    """The selection with other routes for demands whose byte limit it breaks, each the cheapest at what it newly costs.

    A demand that nothing serves within its limits gets None all the same: `evaluate` reports it.
    """
    demands, routes = problem.demands, list(selection.routes)
    broken = [
        index
        for index in np.flatnonzero(np.isfinite(demands.max_wire_bytes)).tolist()
        if routes[index] is not None and route_bytes(problem, routes[index] or ()) > demands.max_wire_bytes[index]
    ]
    if not broken:
        return selection
    is_open = np.zeros(len(problem.candidates), dtype=bool)
    is_open[[hop for route in routes if route for hop in route]] = True
    everything = np.ones(len(is_open), dtype=bool)
    for index in broken:
        clients = float(demands.clients[index])
        money = clients * problem.hop_money + np.where(is_open, 0.0, problem.candidate_money)
        full_pull = float(problem.full_pull_money[index])
        most = clients * full_pull if full_pull < inf else inf
        routes[index] = cheapest_within_bytes(problem, index, everything, money, most)
        is_open[list(routes[index] or ())] = True
    build = tuple(sorted({hop for route in routes if route for hop in route}))
    return Selection(build=build, routes=tuple(routes))
