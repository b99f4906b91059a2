"""An order to eliminate commits in, for graphs that are nearly trees, and what each elimination takes in.

Histories branch and merge in few places at once: leaving out commits one by one, each touches at most three others.

Source: Bertele and Brioschi 1972 (elimination); the order is that of least fill (Rose 1972), degree deciding.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import combinations

import numpy as np

from planner.optimize.net import Net
from planner.optimize.problem import FloatArray
from planner.optimize.rooted_label_kernels import MOST_NODES, WAITS
from planner.optimize.rooted_labels import NO_CHOICE, Choice, Table, supplied, table_of

NOBODY = -1

Rank = tuple[bool, bool, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Elimination:
    """Nodes in their order; by node: those it touches when it goes, the first of these to go, and who names it so.

    `edges` are by the first of their ends to go: lists per other end.
    """

    order: tuple[int, ...]
    around: dict[int, tuple[int, ...]]
    above: dict[int, int]
    below: dict[int, tuple[int, ...]]
    edges: dict[int, dict[int, tuple[int, ...]]]


def eliminate(net: Net) -> Elimination | None:
    """An order in which no commit touches more than three others when it goes, or None where none was found."""
    edges, root = net.edges, int(net.cohorts.target[0])
    near: dict[int, set[int]] = {int(v): set() for v in np.r_[edges.tail, edges.head, net.cohorts.base] if v != root}
    ends = [(int(v), int(u)) for v, u in zip(edges.tail, edges.head, strict=True)]
    for v, u in ends:
        if root not in (v, u):
            near[v].add(u)
            near[u].add(v)
    around = _leave_one_by_one(near)
    if around is None:
        return None
    rank = {v: place for place, v in enumerate(around)}
    above = {v: min(others, key=lambda u: rank[u], default=NOBODY) for v, others in around.items()}
    below: dict[int, list[int]] = {v: [] for v in around}
    at: dict[int, dict[int, list[int]]] = {v: {} for v in around}
    for v, up in above.items():
        if up != NOBODY:
            below[up].append(v)
    for e, (v, u) in enumerate(ends):
        if v == root:
            continue
        first, other = (v, u) if u == root or rank[v] < rank[u] else (u, v)
        at[first].setdefault(other, []).append(e)
    return Elimination(
        order=tuple(around),
        around=around,
        above=above,
        below={v: tuple(some) for v, some in below.items()},
        edges={v: {u: tuple(some) for u, some in sorted(by_end.items())} for v, by_end in at.items()},
    )


def _leave_one_by_one(near: dict[int, set[int]]) -> dict[int, tuple[int, ...]] | None:
    """What each node touches when it goes, in order; empties `near`. None where one touches too many."""
    heap = [_rank(near, v) for v in sorted(near)]
    heapify(heap)
    around: dict[int, tuple[int, ...]] = {}
    while heap:
        found = heappop(heap)
        v = found[-1]
        if v in around:
            continue
        now = _rank(near, v)
        if now != found:
            heappush(heap, now)
            continue
        if now[0]:
            return None
        around[v] = tuple(sorted(near.pop(v)))
        for u in around[v]:
            near[u].update(around[v])
            near[u] -= {u, v}
        for u in around[v]:
            heappush(heap, _rank(near, u))
    return around


def _rank(near: dict[int, set[int]], v: int) -> Rank:
    own = near[v]
    is_too_many = len(own) >= MOST_NODES
    fill = 0 if is_too_many else sum(b not in near[a] for a, b in combinations(sorted(own), 2))
    return is_too_many, len(own) > 1, fill, len(own), v


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Own:
    """What each node's elimination takes in of its own: its cohorts, and the edges that are its to decide.

    `money` and `use` (edges,) are of keeping an edge; edges that are not `is_open` are not to be had.
    """

    net: Net
    plan: Elimination
    money: FloatArray
    use: FloatArray

    def tables(self, v: int) -> list[Table]:
        """The node's tables, at least one."""
        root = int(self.net.cohorts.target[0])
        found = [self._cohort(v, k) for k in np.flatnonzero(self.net.cohorts.base == v).tolist()]
        for u, edges in self.plan.edges[v].items():
            nodes = (v,) if u == root else (min(v, u), max(v, u))
            choices: list[Choice] = [(NO_CHOICE, (WAITS,) * len(nodes), (0.0,) * len(nodes), 0.0, 0.0)]
            found.append(table_of(nodes, choices + [self._edge(e, nodes) for e in edges]))
        return found or [table_of((v,), [(NO_CHOICE, (WAITS,), (0.0,), 0.0, 0.0)])]

    def _cohort(self, v: int, k: int) -> Table:
        clients, cap = float(self.net.cohorts.clients[k]), float(self.net.cohorts.cap[k])
        choices: list[Choice] = [(NO_CHOICE, (WAITS,), (clients,), 0.0, 0.0)]
        if np.isfinite(cap):
            choices.append((-2 - k, (WAITS,), (0.0,), 0.0, cap))
        return table_of((v,), choices)

    def _edge(self, e: int, nodes: tuple[int, ...]) -> Choice:
        money, use = float(self.money[e]), float(self.use[e])
        way = float(self.net.edges.hop_money[e])
        if len(nodes) == 1:
            return e, *supplied(way), use, money
        v, u = int(self.net.edges.tail[e]), int(self.net.edges.head[e])
        place = nodes.index(v)
        supply, amount = [WAITS, WAITS], [0.0, 0.0]
        supply[place], amount[place] = nodes.index(u), way
        return e, tuple(supply), tuple(amount), use, money
