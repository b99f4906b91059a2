"""The lightest set of edges that leads from a root to every node: a minimum-weight arborescence.

Each round picks every node's lightest edge and contracts the cycles that these form; the rounds are then undone
from the last to the first. A round is a handful of array operations, so 500,000 edges take seconds, not minutes.

Source: Chu and Liu 1965, On the shortest arborescence of a directed graph; Edmonds 1967, Optimum branchings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.optimize.problem import BoolArray, FloatArray, IntArray

NO_EDGE = -1
"""The parent edge of the root, and of a node that no edges lead to."""


@dataclass(frozen=True, slots=True, eq=False)
class _Round:
    """One contraction: each node's lightest edge, and which node of the next round it became; shapes (nodes,)."""

    lightest: IntArray
    becomes: IntArray


@dataclass(frozen=True, slots=True, eq=False)
class _Edges:
    """The edges that still lead from one node to another: contracted ends, reduced weights, and what they were."""

    tail: IntArray
    head: IntArray
    weight: FloatArray
    was: IntArray

    def keep(self, is_kept: BoolArray) -> _Edges:
        return _Edges(self.tail[is_kept], self.head[is_kept], self.weight[is_kept], self.was[is_kept])


def minimum_arborescence(nodes: int, root: int, tail: IntArray, head: IntArray, weight: FloatArray) -> IntArray:
    """Each node's parent edge in a lightest arborescence of what the root reaches; shape (nodes,).

    `NO_EDGE` for the root and for nodes that it does not reach. Edges have finite weights of any sign, loops and
    parallel edges are allowed. Of edges into a node that weigh the same in the first round the first is taken.

    O(rounds x edges); there are as many rounds as cycles are nested in cycles, at most `nodes`.
    """
    reached = reachable(nodes, root, tail, head)
    edges = _Edges(tail, head, weight.astype(np.float64), np.arange(len(tail)))
    edges = edges.keep(reached[tail] & (tail != head) & (head != root))
    rounds: list[_Round] = []
    count = nodes
    while len(edges.head):
        lightest = _lightest_into(count, edges)
        becomes, is_cyclic = _contract(lightest, edges)
        rounds.append(_Round(np.where(lightest >= 0, edges.was[lightest], NO_EDGE), becomes))
        if not is_cyclic.any():
            break
        # An edge into a cycle replaces the cycle's own edge there, so it costs what it weighs more than that one.
        saved = np.where(is_cyclic[edges.head], edges.weight[lightest[edges.head]], 0.0)
        edges = _Edges(becomes[edges.tail], becomes[edges.head], edges.weight - saved, edges.was)
        edges = edges.keep(edges.tail != edges.head)
        count = int(becomes.max()) + 1
    return _undo(rounds, head, nodes)


def reachable(nodes: int, root: int, tail: IntArray, head: IntArray) -> BoolArray:
    """Which nodes the edges lead to from the root, itself included; shape (nodes,)."""
    reached = np.zeros(nodes, dtype=bool)
    reached[root] = True
    is_new = np.ones(len(tail), dtype=bool)
    while is_new.any():
        is_new = reached[tail] & ~reached[head]
        reached[head[is_new]] = True
    return reached


def _lightest_into(count: int, edges: _Edges) -> IntArray:
    """The position of each node's lightest incoming edge, the first of equals; `NO_EDGE` where none comes in."""
    least = np.full(count, np.inf)
    np.minimum.at(least, edges.head, edges.weight)
    # Written from the last to the first, so that the first of equals stays.
    ties = np.flatnonzero(edges.weight == least[edges.head])[::-1]
    lightest = np.full(count, NO_EDGE)
    lightest[edges.head[ties]] = ties
    return lightest


def _contract(lightest: IntArray, edges: _Edges) -> tuple[IntArray, BoolArray]:
    """What each node becomes when every cycle of lightest edges becomes one node, and which nodes lie on one."""
    nodes = np.arange(len(lightest))
    after = np.where(lightest >= 0, edges.tail[lightest], nodes)
    # Doubling: `after` walks 1, 2, 4, ... edges up, and `name` is the lowest node met on the way.
    far, name = after, np.minimum(nodes, after)
    for _ in range(len(lightest).bit_length()):
        name = np.minimum(name, name[far])
        far = far[far]
    is_cyclic = np.zeros(len(lightest), dtype=bool)
    is_cyclic[far] = True
    is_cyclic &= lightest >= 0
    _, becomes = np.unique(np.where(is_cyclic, name, nodes), return_inverse=True)
    return becomes.reshape(-1).astype(np.int64), is_cyclic


def _undo(rounds: list[_Round], head: IntArray, nodes: int) -> IntArray:
    """Parent edges of the first round's nodes: a contracted cycle keeps its edges but at the node it is entered."""
    labels = [np.arange(nodes)]
    for step in rounds[:-1]:
        labels.append(step.becomes[labels[-1]])
    parent = np.full(nodes, NO_EDGE)
    for level in range(len(rounds) - 1, -1, -1):
        entering = parent[parent >= 0] if level < len(rounds) - 1 else np.zeros(0, dtype=np.int64)
        parent = rounds[level].lightest.copy()
        parent[labels[level][head[entering]]] = entering
    return parent
