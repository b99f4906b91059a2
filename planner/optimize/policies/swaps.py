"""A tree of deltas, improved by exchanging one parent at a time: the heart of LMG and LMG-All."""

from __future__ import annotations

from collections.abc import Callable
from math import fsum, inf

import numpy as np

from planner.optimize.arborescence import NO_EDGE
from planner.optimize.policies.rooted import Rooted
from planner.optimize.problem import BoolArray, FloatArray, IntArray

_NEXT_TO_NOTHING = 1e-200
"""Stands for an increase of zero or less, so that such swaps come first, and the largest saving first of them."""


class Tree:
    """Which delta leads to each commit, what one client's way there costs, and how many clients depend on it.

    `parent` edges, `money` (infinite where no delta leads) and `dependent` clients, the commit's own included; all of
    shape (commits,).
    """

    def __init__(self, graph: Rooted, parent: IntArray) -> None:
        self.graph = graph
        self.parent = parent.copy()
        self.money = np.full(graph.commits, inf)
        self.money[graph.root] = 0.0
        self.dependent = graph.clients.copy()
        self.children: list[set[int]] = [set() for _ in range(graph.commits)]
        for commit in np.flatnonzero(parent >= 0).tolist():
            self.children[int(graph.tail[parent[commit]])].add(commit)
        for commit in reversed(self._settle(graph.root)[1:]):
            self.dependent[graph.tail[parent[commit]]] += self.dependent[commit]

    def hang(self, edge: int) -> list[int]:
        """Makes an edge its head's parent edge; commits whose money or dependents changed."""
        commit = int(self.graph.head[edge])
        above = self._unhang(commit)
        self.parent[commit] = edge
        self.children[int(self.graph.tail[edge])].add(commit)
        above += self._add_dependent(commit, float(self.dependent[commit]))
        return above + self._settle(commit)

    def shed(self, may_go: Callable[[int], bool]) -> bool:
        """Drops commits that nothing hangs on and that may go, farthest first; whether any went."""
        is_changed = False
        for commit in reversed(self._settle(self.graph.root)[1:]):
            if not self.children[commit] and may_go(commit):
                self._unhang(commit)
                self.parent[commit] = NO_EDGE
                self.money[commit] = inf
                is_changed = True
        return is_changed

    def used(self) -> IntArray:
        """The edges of the tree."""
        return self.parent[self.parent >= 0]

    def total_money(self) -> float:
        """What the tree costs, and its clients' ways and full pulls."""
        hangs = self.parent >= 0
        ways = self.graph.clients[hangs] * self.money[hangs]
        return fsum([*self.graph.fixed_money[self.used()], *ways, *self.graph.pull_money[~hangs]])

    def _unhang(self, commit: int) -> list[int]:
        """Takes a commit off its parent; the commits above, whose dependents changed."""
        edge = int(self.parent[commit])
        if edge == NO_EDGE:
            return []
        self.children[int(self.graph.tail[edge])].remove(commit)
        return self._add_dependent(commit, -float(self.dependent[commit]))

    def _add_dependent(self, commit: int, clients: float) -> list[int]:
        above = []
        while self.parent[commit] != NO_EDGE:
            commit = int(self.graph.tail[self.parent[commit]])
            self.dependent[commit] += clients
            above.append(commit)
        return above

    def _settle(self, top: int) -> list[int]:
        """Reckons the money of a commit and all below it anew; these commits, parents first."""
        below = [top]
        for commit in below:
            edge = int(self.parent[commit])
            if edge != NO_EDGE:
                self.money[commit] = self.money[self.graph.tail[edge]] + self.graph.hop_money[edge]
            below.extend(sorted(self.children[commit]))
        return below


class _Edges:
    """The edges that may become parents, found by the commits they touch."""

    def __init__(self, graph: Rooted, is_offered: BoolArray) -> None:
        self.offered = np.flatnonzero(is_offered)
        ends = (graph.head[self.offered], graph.tail[self.offered])
        self._orders = [np.argsort(end, kind="stable") for end in ends]
        bounds = np.arange(graph.commits + 1)
        self._starts = [np.searchsorted(end[order], bounds) for end, order in zip(ends, self._orders, strict=True)]

    def touching(self, commits: list[int]) -> IntArray:
        """Offered edges that start or end at one of the commits; some may come twice."""
        if len(commits) > len(self._starts[0]) // 4:
            return self.offered
        found = [
            order[starts[commit] : starts[commit + 1]]
            for order, starts in zip(self._orders, self._starts, strict=True)
            for commit in set(commits)
        ]
        return self.offered[np.concatenate(found)]


def improve(tree: Tree, is_offered: BoolArray, most: float) -> None:
    """Exchanges parent edges for offered ones, the best ratio first, until no exchange helps.

    The ratio is the fall in the clients' money over the rise of what is scarce; an exchange must lower the total
    money and leave no more than `most` of the scarce in use. Ties go to the lower edge. The clients' money falls
    with every exchange, so it ends, and no edge from below a commit can become its parent.
    """
    graph = tree.graph
    edges = _Edges(graph, is_offered)
    ratio = np.full(len(graph.head), -inf)
    left = most - fsum(graph.scarce[tree.used()])
    changed = edges.offered
    while True:
        ratio[changed] = _ratios(tree, changed, left)
        best = int(np.argmax(ratio)) if len(ratio) else 0
        if not len(ratio) or ratio[best] == -inf:
            return
        if _rise(tree, graph.scarce, np.array([best]))[0] > left:
            changed = edges.offered  # what is left has shrunk since this ratio was reckoned
            continue
        changed = edges.touching(tree.hang(best))
        was_left, left = left, most - fsum(graph.scarce[tree.used()])
        if left > was_left:
            changed = edges.offered


def _ratios(tree: Tree, edges: IntArray, left: float) -> FloatArray:
    """The ratio of each exchange, minus infinity where it is not allowed or does not help; shape (edges,)."""
    graph = tree.graph
    head = graph.head[edges]
    way = tree.money[graph.tail[edges]] + graph.hop_money[edges]
    hangs = tree.parent[head] >= 0
    with np.errstate(invalid="ignore"):  # no clients on an endless way: not a number, and no saving
        saved = np.where(
            hangs, tree.dependent[head] * (tree.money[head] - way), graph.pull_money[head] - graph.clients[head] * way
        )
        rise = _rise(tree, graph.scarce, edges)
        helps = (saved > 0.0) & (saved > _rise(tree, graph.fixed_money, edges)) & (rise <= left)
        return np.where(helps & np.isfinite(way), saved / np.maximum(rise, _NEXT_TO_NOTHING), -inf)


def _rise(tree: Tree, amount: FloatArray, edges: IntArray) -> FloatArray:
    """How much more of an amount the tree would use if each edge, alone, became its head's parent."""
    parent = tree.parent[tree.graph.head[edges]]
    return amount[edges] - np.where(parent >= 0, amount[parent], 0.0)
