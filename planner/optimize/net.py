"""The problem laid out for the kernels: struct of arrays, nodes renumbered so that most edges point forward.

Positions number the commits: streams (weakly connected parts) side by side, within one in a topological order of
its strongly connected components. A cohort's routes then lie between two positions, so no kernel needs to know about
streams, and one pass over decreasing positions settles all distances where nothing points back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from planner.optimize.problem import BoolArray, FloatArray, IntArray, Problem

ONLY_FULL_PULL = -2
"""`Net.cohort_of` of demands that may follow no hop, or whose target nothing leads to."""


class Edges(NamedTuple):
    """Candidates as edges between positions, by tail: those that leave `v` are `start[v]:start[v + 1]`.

    `in_edge[in_start[v]:in_start[v + 1]]` are those into `v`; `hop_money` is one client's. `start` and `in_start` have
    shape (commits + 1,), the others (edges,).
    """

    start: IntArray
    tail: IntArray
    head: IntArray
    in_start: IntArray
    in_edge: IntArray
    hop_money: FloatArray
    is_acyclic: bool


class Cohorts(NamedTuple):
    """Demands that differ only in their clients, merged; arrays of shape (cohorts,).

    `cap` is what the full pulls of all its clients cost (infinite where not allowed), `max_hops` is 0 where any
    number of hops is allowed, and all routes lie between the positions `low` and `high`.
    """

    base: IntArray
    target: IntArray
    clients: FloatArray
    cap: FloatArray
    max_hops: IntArray
    low: IntArray
    high: IntArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Net:
    """Edges and cohorts, and what they stand for.

    `candidate` (edges,) is each edge's index in the problem; `first_demand` (cohorts,) one of each cohort's demands;
    `cohort_of` (demands,) each demand's cohort, -1 where there is nothing to decide, `ONLY_FULL_PULL` where no
    route can be (`forced_money` is what those cost). `is_mirrored`: every edge and cohort was turned round, because
    more cohorts share their base than their target: kernels profit from a common target.
    """

    edges: Edges
    cohorts: Cohorts
    candidate: IntArray
    cohort_of: IntArray
    first_demand: IntArray
    forced_money: float
    stream_of_edge: IntArray
    stream_of_cohort: IntArray
    is_mirrored: bool

    def only(self, is_kept: BoolArray) -> Net:
        """The same cohorts over some of the edges."""
        kept = np.flatnonzero(is_kept)
        edges = self.edges
        return replace(
            self,
            edges=_edges(edges.tail[kept], edges.head[kept], edges.hop_money[kept], len(edges.start) - 1),
            candidate=self.candidate[kept],
            stream_of_edge=self.stream_of_edge[kept],
        )

    @property
    def streams(self) -> int:
        """How many streams have numbers; some may have no edge or no cohort."""
        return 1 + int(max(self.stream_of_cohort.max(initial=-1), self.stream_of_edge.max(initial=-1)))

    def part_pairs(self, problem: Problem) -> tuple[IntArray, IntArray]:
        """Every edge with every part that it needs, once; by edge, then part."""
        candidate, part = problem.needs
        edge_of = np.full(len(problem.candidates), -1, dtype=np.int64)
        edge_of[self.candidate] = np.arange(len(self.candidate))
        is_known = edge_of[candidate] >= 0
        edge, part = edge_of[candidate[is_known]], part[is_known]
        order = np.lexsort((part, edge))
        return edge[order], part[order]

    def of_streams(self, is_kept: BoolArray) -> Net:
        """Only the edges and cohorts of some streams; what it says of demands holds no longer."""
        cohorts = np.flatnonzero(is_kept[self.stream_of_cohort])
        return replace(
            self.only(is_kept[self.stream_of_edge]),
            cohorts=Cohorts._make(column[cohorts] for column in self.cohorts),
            stream_of_cohort=self.stream_of_cohort[cohorts],
            first_demand=self.first_demand[cohorts],
        )


def lay_out(problem: Problem) -> Net:
    """The net of a problem."""
    rows, demands, commits = problem.candidates, problem.demands, len(problem.commits)
    asks = np.flatnonzero(demands.base != demands.target)
    is_mirrored = len(np.unique(demands.base[asks])) < len(np.unique(demands.target[asks]))
    tails, heads = (rows.target, rows.base) if is_mirrored else (rows.base, rows.target)
    position, low, high, stream = _positions(commits, tails, heads)
    order = np.lexsort((position[heads], position[tails]))
    order = order[(tails != heads)[order]]
    bases, targets = (demands.target, demands.base) if is_mirrored else (demands.base, demands.target)
    is_ahead = low[position[bases[asks]]] <= high[position[targets[asks]]]
    may_hop = is_ahead & (demands.max_hops[asks] > 0) & (stream[bases[asks]] == stream[targets[asks]])
    forced = asks[~may_hop]
    cohort_of, firsts, clients = _merge(problem, asks[may_hop])
    cohort_of[forced] = ONLY_FULL_PULL
    base, target = position[bases[firsts]], position[targets[firsts]]
    return Net(
        edges=_edges(position[tails[order]], position[heads[order]], problem.hop_money[order], commits),
        cohorts=Cohorts(
            base=base,
            target=target,
            clients=clients,
            cap=_times(clients, problem.full_pull_money[firsts]),
            max_hops=np.where(demands.max_hops[firsts] >= commits - 1, 0, demands.max_hops[firsts]),
            low=low[base],
            high=high[target],
        ),
        candidate=order,
        cohort_of=cohort_of,
        first_demand=firsts,
        forced_money=float(_times(demands.clients[forced], problem.full_pull_money[forced]).sum()),
        stream_of_edge=stream[tails[order]],
        stream_of_cohort=stream[bases[firsts]],
        is_mirrored=is_mirrored,
    )


def _edges(tail: IntArray, head: IntArray, hop_money: FloatArray, commits: int) -> Edges:
    """Edges sorted by tail, with their index by head."""
    by_head = np.argsort(head, kind="stable")
    bounds = np.arange(commits + 1)
    return Edges(
        start=np.searchsorted(tail, bounds),
        tail=tail,
        head=head,
        in_start=np.searchsorted(head[by_head], bounds),
        in_edge=by_head,
        hop_money=hop_money,
        is_acyclic=bool((tail < head).all()),
    )


def _times(clients: FloatArray, money: FloatArray) -> FloatArray:
    """Money of all clients; infinite stays infinite where there are no clients."""
    return np.where(np.isinf(money), np.inf, clients * np.where(np.isinf(money), 0.0, money))


def _positions(commits: int, tails: IntArray, heads: IntArray) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Each commit's position; per position the first and last one of its strong component; each commit's stream."""
    stream, strong = _streams(commits, tails, heads), np.arange(commits)
    depth = _depths(commits, tails, heads)
    if (depth < 0).any():
        strong = _strong_components(commits, tails, heads)
        depth = _depths(commits, strong[tails], strong[heads])
    order = np.lexsort((np.arange(commits), strong, depth[strong], stream))
    position = np.empty(commits, dtype=np.int64)
    position[order] = np.arange(commits)
    in_order = strong[order]
    is_first = np.ones(commits, dtype=bool)
    is_first[1:] = in_order[1:] != in_order[:-1]
    firsts, run = np.flatnonzero(is_first), np.cumsum(is_first) - 1
    lasts = np.append(firsts, commits)[1:] - 1
    return position, firsts[run], lasts[run], stream


def _streams(commits: int, tails: IntArray, heads: IntArray) -> IntArray:
    """Each commit's weakly connected part: the lowest label of either end wins, until both ends agree everywhere."""
    label = np.arange(commits)
    while True:
        ends = label[tails], label[heads]
        least = np.minimum(*ends)
        if (ends[0] == ends[1]).all():
            return np.unique(label, return_inverse=True)[1].reshape(-1).astype(np.int64)
        for end in ends:
            np.minimum.at(label, end, least)
        while (label != label[label]).any():
            label = label[label]


def _strong_components(commits: int, tails: IntArray, heads: IntArray) -> IntArray:
    """Each commit's strong component."""
    from scipy.sparse import csr_array  # noqa: PLC0415 - takes 0.3 s, which histories without downgrades need not pay
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    graph = csr_array((np.ones(len(tails), dtype=np.int8), (tails, heads)), shape=(commits, commits))
    return np.asarray(connected_components(graph, directed=True, connection="strong")[1], dtype=np.int64)


def _depths(nodes: int, tails: IntArray, heads: IntArray) -> IntArray:
    """For each node the most edges on a way to it, loops left out; -1 where a cycle leads to it."""
    keep = tails != heads
    tails, heads = tails[keep], heads[keep]
    order = np.argsort(tails, kind="stable")
    heads, start = heads[order], np.searchsorted(tails[order], np.arange(nodes + 1))
    waiting = np.bincount(heads, minlength=nodes)
    depth = np.full(nodes, -1, dtype=np.int64)
    front, level = np.flatnonzero(waiting == 0), 0
    while len(front):
        depth[front] = level
        counts = start[front + 1] - start[front]
        reached = heads[np.repeat(start[front] - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())]
        nodes_reached, times = np.unique(reached, return_counts=True)
        waiting[nodes_reached] -= times
        front, level = nodes_reached[waiting[nodes_reached] == 0], level + 1
    return depth


def _merge(problem: Problem, asks: IntArray) -> tuple[IntArray, IntArray, FloatArray]:
    """Each demand's cohort (-1: none), and each cohort's first demand and clients."""
    demands = problem.demands
    cohort_of = np.full(len(demands), -1, dtype=np.int64)
    if not len(asks):
        return cohort_of, asks, np.zeros(0)
    longest = np.minimum(demands.max_hops[asks], len(problem.commits) - 1)
    columns = (demands.max_wire_bytes, problem.full_pull_money, demands.base, demands.target)
    key = np.stack([longest.astype(np.float64), *(column[asks].astype(np.float64) for column in columns)])
    order = np.lexsort(key)
    is_new = np.r_[True, (key[:, order[1:]] != key[:, order[:-1]]).any(axis=0)]
    groups = np.empty(len(asks), dtype=np.int64)
    groups[order] = np.cumsum(is_new) - 1
    firsts = np.full(groups.max() + 1, len(demands), dtype=np.int64)
    np.minimum.at(firsts, groups, asks)
    cohort_of[asks] = groups
    clients = np.bincount(groups, weights=demands.clients[asks])
    return cohort_of, firsts, clients.astype(np.float64)
