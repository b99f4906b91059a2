"""Shared parts as the bound sees them: merged where the same edges need them, and how often one route may.

A piece is either all parts that exactly the same two or more edges need, or one edge's own money with that of the
parts nobody else needs. So every edge is a set of pieces, and nothing else about it costs fixed money.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.compiled import kernels
from planner.optimize import part_kernels
from planner.optimize.limits import Uses
from planner.optimize.net import Net
from planner.optimize.problem import FloatArray, IntArray, Problem


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """The pieces of every edge: `piece[start[e]:start[e + 1]]`; edge e's own is the last, number `groups + e`.

    `money`, `most_uses` have shape (pieces,) and `uses` (2, pieces): money at the problem's own prices, the most edges
    needing it that one route takes, and what it takes of the limits. `of_part` (parts,) is each part's piece, -1 where
    no edge needs it.
    """

    piece: IntArray
    start: IntArray
    money: FloatArray
    uses: FloatArray
    most_uses: IntArray
    of_part: IntArray

    def __len__(self) -> int:
        return len(self.money)


def merge_parts(problem: Problem, net: Net, uses: Uses) -> Pieces:
    """The pieces of a net's edges."""
    edges, count = len(net.candidate), len(problem.parts)
    edge, part = net.part_pairs(problem)
    by_part = np.lexsort((edge, part))
    starts = np.searchsorted(part[by_part], np.arange(count + 1))
    of_part, group_edges = _group(edge[by_part], starts)
    groups = len(group_edges)
    of_part = np.where(of_part < -1, groups - 2 - of_part, of_part)
    money = np.r_[np.zeros(groups), problem.candidate_money[net.candidate]]
    taken = np.hstack([np.zeros((2, groups)), uses.edges])
    is_needed = of_part >= 0
    np.add.at(money, of_part[is_needed], problem.part_money[is_needed])
    for row in range(2):
        np.add.at(taken[row], of_part[is_needed], uses.parts[row, is_needed])
    sizes = [len(members) for members in group_edges]
    all_edges = np.concatenate([*group_edges, np.arange(edges)]).astype(np.int64)
    all_pieces = np.r_[np.repeat(np.arange(groups), sizes), groups + np.arange(edges)].astype(np.int64)
    order = np.lexsort((all_pieces, all_edges))
    return Pieces(
        piece=all_pieces[order],
        start=np.searchsorted(all_edges[order], np.arange(edges + 1)),
        money=money,
        uses=taken,
        most_uses=np.r_[_most_uses(net, group_edges), np.ones(edges, dtype=np.int64)],
        of_part=of_part,
    )


def _group(edge: IntArray, starts: IntArray) -> tuple[IntArray, list[IntArray]]:
    """Each part's group, `-2 - e` where only edge e needs it, -1 where none does; and each group's edges."""
    of_part = np.full(len(starts) - 1, -1, dtype=np.int64)
    known: dict[bytes, int] = {}
    members: list[IntArray] = []
    for part in np.flatnonzero(np.diff(starts)).tolist():
        needing = edge[starts[part] : starts[part + 1]]
        if len(needing) == 1:
            of_part[part] = -2 - needing[0]
            continue
        group = known.setdefault(needing.tobytes(), len(members))
        if group == len(members):
            members.append(needing)
        of_part[part] = group
    return of_part, members


def _most_uses(net: Net, group_edges: list[IntArray]) -> IntArray:
    """The most edges of each group on one route, or something more; at most the most hops of any cohort.

    Where edges point back, a route without a repeated commit still leaves and enters every commit at most once.
    """
    edges, hops = net.edges, net.cohorts.max_hops
    most_hops = int(hops.max(initial=1)) if (hops > 0).all() else len(edges.start)
    steps = np.empty(len(edges.start), dtype=np.int64)
    is_needed = np.zeros(len(edges.head), dtype=np.bool_)
    found = np.ones(len(group_edges), dtype=np.int64)
    run = kernels(part_kernels, len(group_edges) * len(edges.head))
    for group, needing in enumerate(group_edges):
        tails, heads = edges.tail[needing], edges.head[needing]
        if not edges.is_acyclic:
            found[group] = min(len(np.unique(tails)), len(np.unique(heads)))
        elif tails.max() >= heads.min():
            is_needed[needing] = True
            found[group] = run.most_on_a_way(edges, is_needed, int(tails.min()), int(heads.max()), steps)
            is_needed[needing] = False
    return np.minimum(found, max(most_hops, 1))
