"""Lightest arborescences against hand-made ones, every choice of parents, and networkx."""

from __future__ import annotations

import itertools

import networkx as nx
import numpy as np
import pytest

from planner.optimize.arborescence import NO_EDGE, minimum_arborescence, reachable


def _arborescence(nodes: int, edges: list[tuple[int, int, float]], root: int = 0) -> list[int]:
    tail, head, weight = (np.array(column) for column in zip(*edges, strict=True))
    return minimum_arborescence(nodes, root, tail, head, weight).tolist()


def _random(seed: int, nodes: int, edges: int) -> list[tuple[int, int, float]]:
    """Loops, parallel edges, edges into the root, negative weights and many ties."""
    rng = np.random.default_rng(seed)
    tail, head, weight = rng.integers(0, nodes, edges), rng.integers(0, nodes, edges), rng.integers(-2, 6, edges)
    return list(zip(tail.tolist(), head.tolist(), weight.astype(float).tolist(), strict=True))


def _lightest_by_trying_all(nodes: int, edges: list[tuple[int, int, float]]) -> tuple[int, float]:
    """How many nodes node 0 reaches at most, and the least weight of a tree that does, from all choices of parents."""
    into = [[(t, w) for t, h, w in edges if h == node and t != node] for node in range(nodes)]
    best = (1, 0.0)
    for parents in itertools.product(*[[None, *into[node]] for node in range(1, nodes)]):
        hangs = {node + 1: parent for node, parent in enumerate(parents) if parent}
        found = {0}
        while grown := {node for node, parent in hangs.items() if parent[0] in found and node not in found}:
            found |= grown
        if len(found) == len(hangs) + 1:
            best = min(best, (-len(found), sum(weight for _, weight in hangs.values())))
    return abs(best[0]), best[1]


def test_cycle_is_entered_where_it_costs_least() -> None:
    """1 and 2 are each other's lightest parents (1 each); entering at 2 costs 5 - 1 more, at 1 costs 9 - 1 more."""
    assert _arborescence(3, [(0, 1, 9), (0, 2, 5), (1, 2, 1), (2, 1, 1)]) == [NO_EDGE, 3, 1]


def test_cycles_within_cycles() -> None:
    """{1, 2} and {3, 4} are cycles, and so are the two when contracted; the root enters at 3, which enters at 2."""
    edges = [(1, 2, 1), (2, 1, 1), (3, 4, 1), (4, 3, 1), (1, 3, 2), (4, 2, 2), (0, 1, 20), (0, 3, 10)]
    assert _arborescence(5, edges) == [NO_EDGE, 1, 5, 7, 2]


def test_first_of_equal_edges_is_taken() -> None:
    """Parallel edges of the same weight: the order of the edges decides."""
    assert _arborescence(2, [(0, 1, 3), (0, 1, 3), (0, 1, 4)]) == [NO_EDGE, 0]


def test_what_the_root_does_not_reach_has_no_parent() -> None:
    """2 and 3 lead to each other and to 1, but nothing leads to them."""
    assert _arborescence(4, [(2, 3, 1), (3, 2, 1), (3, 1, 0), (0, 1, 7)]) == [NO_EDGE, 3, NO_EDGE, NO_EDGE]


def test_no_edges() -> None:
    """Only the root is reached."""
    none = np.zeros(0, dtype=np.int64)
    assert minimum_arborescence(2, 1, none, none, np.zeros(0)).tolist() == [NO_EDGE, NO_EDGE]
    assert reachable(2, 1, none, none).tolist() == [False, True]


@pytest.mark.parametrize("seed", range(150))
def test_as_light_as_every_choice_of_parents(seed: int) -> None:
    """Small graphs, sparse and dense: it spans what can be reached, and no tree that does weighs less."""
    nodes = 2 + seed % 4
    edges = _random(seed, nodes, 1 + seed % 11)
    parent = _arborescence(nodes, edges)
    used = [edges[edge] for edge in parent if edge != NO_EDGE]
    assert all(edges[edge][1] == node for node, edge in enumerate(parent) if edge != NO_EDGE)
    assert reachable(nodes, 0, *(np.array([edge[end] for edge in used], dtype=np.int64) for end in (0, 1))).sum() == (
        len(used) + 1
    )
    assert (len(used) + 1, sum(edge[2] for edge in used)) == _lightest_by_trying_all(nodes, edges)


@pytest.mark.parametrize("seed", range(40))
def test_as_light_as_networkx(seed: int) -> None:
    """Larger dense graphs, in which every node has an edge from the root."""
    rng = np.random.default_rng(seed)
    nodes = int(rng.integers(5, 40))
    tail, head = np.nonzero(~np.eye(nodes, dtype=bool))
    weight = rng.integers(1, 60, len(tail)).astype(float)
    graph = nx.DiGraph()
    rows = zip(tail.tolist(), head.tolist(), weight.tolist(), strict=True)
    graph.add_weighted_edges_from((t, h, w) for t, h, w in rows if h != 0)
    parent = minimum_arborescence(nodes, 0, tail, head, weight)
    assert (parent >= 0).sum() == nodes - 1
    assert weight[parent[1:]].sum() == nx.minimum_spanning_arborescence(graph).size(weight="weight")
