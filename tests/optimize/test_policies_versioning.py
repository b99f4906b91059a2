"""LMG and LMG-All by hand, turned round, and against plain versions of the papers' algorithms."""

from __future__ import annotations

import dataclasses
from math import inf

import networkx as nx
import numpy as np
import pytest

from planner.optimize.interchange import graph_from_dict
from planner.optimize.policies import all_to_head, follow_policy, lmg, lmg_all
from planner.optimize.policies.choice import Policy
from planner.optimize.problem import Limits, Problem
from tests.optimize.tiny import random_problem


def _problem(
    edges: list[tuple[int, int, float, float]], demands: list[tuple[int, int, float, float | None]], **rest: object
) -> Problem:
    """Edges are (base, target, stored, wire), demands (base, target, clients, full pull); one money per byte sent."""
    base, target, stored, wire = (list(column) for column in zip(*edges, strict=True))
    asks, wants, clients, full = (list(column) for column in zip(*demands, strict=True))
    return graph_from_dict(
        {
            "format": "deltaplan-graph/1",
            "commits": ["", *(f"v{index}" for index in range(1, 1 + max([*base, *target, *asks, *wants])))],
            "candidates": {"base": base, "target": target, "stored_bytes": stored, "wire_bytes": wire},
            "demands": {"base": asks, "target": wants, "clients": clients, "full_pull_bytes": full},
            "prices": {"egress_per_gb": 1e9},
            **rest,
        }
    )


VERSIONS = [(0, 1, 10, 0), (1, 2, 2, 4), (2, 3, 2, 4), (0, 3, 10, 0), (1, 3, 3, 3)]
"""Empty -> v1 -> v2 -> v3 is the least storage, 14, and retrieves 0 + 4 + 8 = 12; v3 can be stored whole or from v1."""


def _versions(stored_bytes: float, *, is_mirrored: bool = False) -> Problem:
    """Everyone on the empty commit wants every version; or mirrored: everyone else wants commit 0."""
    edges = [(b, a, stored, wire) if is_mirrored else (a, b, stored, wire) for a, b, stored, wire in VERSIONS]
    demands = [(v, 0, 1, None) if is_mirrored else (0, v, 1, None) for v in (1, 2, 3)]
    return _problem(edges, demands, limits={"stored_bytes": stored_bytes})


@pytest.mark.parametrize("is_mirrored", [False, True])
@pytest.mark.parametrize(
    ("policy", "stored_bytes", "build", "retrieval"),
    [
        (lmg, 14, (0, 1, 2), 12),
        (lmg, 21, (0, 1, 2), 12),
        (lmg, 22, (0, 1, 3), 4),
        (lmg_all, 14, (0, 1, 2), 12),
        (lmg_all, 15, (0, 1, 4), 7),
        (lmg_all, 21, (0, 1, 4), 7),
        (lmg_all, 22, (0, 1, 3), 4),
    ],
)
def test_exchanges_by_hand(
    policy: Policy, stored_bytes: float, build: tuple[int, ...], retrieval: float, is_mirrored: bool
) -> None:
    """LMG can only store v3 whole (8 more, 8 saved); LMG-All takes it from v1 (1 more, 5 saved) before that."""
    judged = follow_policy(_versions(stored_bytes, is_mirrored=is_mirrored), policy)
    assert judged.is_feasible
    assert (judged.selection.build, judged.cost.total) == (build, retrieval)


def test_less_than_the_least_storage_is_reported() -> None:
    """No tree fits into 13: the least one is the answer, and the judge says that it breaks the limit."""
    judged = follow_policy(_versions(13), lmg_all)
    assert judged.selection.build == (0, 1, 2)
    assert judged.violations == ("limits.stored_bytes: exceeded: needed=14.0, allowed=13.0",)


def test_clients_count_with_their_number() -> None:
    """Room for one of two exchanges of 2 bytes: v1 saves 3 for each of two clients, v2 5 for one."""
    edges = [(0, 1, 1, 3), (0, 1, 3, 0), (0, 2, 1, 5), (0, 2, 3, 0)]
    for clients, build in ((2, (1, 2)), (1, (0, 3))):
        problem = _problem(edges, [(0, 1, clients, None), (0, 2, 1, None)], limits={"stored_bytes": 4})
        assert follow_policy(problem, lmg).selection.build == build


def test_without_a_limit_money_decides() -> None:
    """v3 whole saves 8 for 8 more bytes, from v1 5 for 1 more: at 1 a byte only the second pays, at 0.4 both do."""
    for price, build in ((1e9, (0, 1, 4)), (0.4e9, (0, 1, 3)), (6e9, (0, 1, 2))):
        prices = {"egress_per_gb": 1e9, "storage_per_gb": price}
        problem = _problem(VERSIONS, [(0, v, 1, None) for v in (1, 2, 3)], prices=prices)
        assert follow_policy(problem, lmg_all).selection.build == build


FULL_PULLS = [(1, 3, 10, 10), (2, 3, 8, 8), (1, 2, 5, 5)]
"""v1 -> v3, v2 -> v3 and v1 -> v2; as tests price it, a byte stored costs what a byte sent costs."""


@pytest.mark.parametrize(
    ("price", "build", "money"), [(1e9, (0,), 42), (5e9, (0,), 82), (0.1e9, (0, 1), 29.8), (9e9, (), 112)]
)
def test_full_pulls_are_ways_that_store_nothing(price: float, build: tuple[int, ...], money: float) -> None:
    """Two clients of v1 (full pull 50 each) and one of v2 (12): deltas for both, for v1 only, or for nobody.

    Prices 1: 20 + 10 for v1's, and v2's delta would cost 8 + 8. 5: 20 + 50 for v1's, below two full pulls, not one.
    0.1: 20 + 8 + 1.8. 9: v1's delta would cost 90 + 20.
    """
    prices = {"egress_per_gb": 1e9, "storage_per_gb": price}
    problem = _problem(FULL_PULLS, [(1, 3, 2, 50), (2, 3, 1, 12)], prices=prices)
    judged = follow_policy(problem, lmg_all)
    assert judged.selection.build == build
    assert judged.cost.total == pytest.approx(money)


def test_hub_that_nobody_is_on() -> None:
    """Three bases share one large delta through v4, where nobody is: only the start with deltas for all finds it."""
    edges = [*((base, 4, 1, 1) for base in (1, 2, 3)), (4, 5, 20, 10), *((base, 5, 20, 10) for base in (1, 2, 3))]
    prices = {"egress_per_gb": 1e9, "storage_per_gb": 1e9}
    problem = _problem(edges, [(base, 5, 1, 26) for base in (1, 2, 3)], prices=prices)
    judged = follow_policy(problem, lmg_all)
    assert judged.selection.build == (0, 1, 2, 3)
    assert judged.cost.total == 23 + 33


def test_later_roots_are_left_their_least_storage_and_share_earlier_deltas() -> None:
    """v1 and v2 want v3 and v4. v1's v1 -> v3 -> v4 (6 stored) serves v2 as well, over v2 -> v1 (1 more).

    v2 -> v3 (7) saves v2's clients 9 on each of two ways; v2 -> v1 is dropped only once it is there, so 14 are needed.
    """
    edges = [(1, 3, 4, 4), (2, 1, 1, 9), (2, 3, 7, 4), (3, 4, 2, 2)]
    asks = [(base, target, 1, None) for target in (3, 4) for base in (1, 2)]
    for stored_bytes, build in ((7, (0, 1, 3)), (13, (0, 1, 3)), (14, (0, 2, 3))):
        judged = follow_policy(_problem(edges, asks, limits={"stored_bytes": stored_bytes}), lmg_all)
        assert judged.selection.build == build
        assert judged.is_feasible


def test_roots_with_more_clients_go_first_and_leave_the_others_what_they_need() -> None:
    """Five clients on v1, one on v3; each could save 8 or 4 for 4 more bytes, above the least of 1 + 4.

    In 8 bytes v1's exchange would leave 3 to v3, whose least is 4; in 9 there is room for one exchange, v1's.
    """
    edges = [(1, 2, 1, 9), (1, 2, 5, 1), (3, 4, 4, 4), (3, 4, 8, 0)]
    for stored_bytes, build in ((8, (0, 2)), (9, (1, 2)), (13, (1, 3))):
        problem = _problem(edges, [(3, 4, 1, None), (1, 2, 5, None)], limits={"stored_bytes": stored_bytes})
        assert follow_policy(problem, lmg_all).selection.build == build


def test_of_the_trees_with_the_least_storage_one_that_nothing_for_free_improves() -> None:
    """v3 is stored as 2 bytes against v2 or v1, and the path through v1 alone is shorter, 3 instead of 4 + 1."""
    edges = [(0, 1, 10, 0), (1, 2, 2, 4), (2, 3, 2, 1), (1, 3, 2, 3)]
    problem = _problem(edges, [(0, v, 1, None) for v in (1, 2, 3)], limits={"stored_bytes": 14})
    assert follow_policy(problem, lmg).selection.build == (0, 1, 3)


def _random_versions(seed: int) -> Problem:
    """A versioning graph with real-valued amounts, so that nothing ties; every version can be stored whole."""
    rng = np.random.default_rng(seed)
    versions = int(rng.integers(3, 9))
    pairs = [(a, b) for a in range(1, versions + 1) for b in range(1, versions + 1) if a != b and rng.random() < 0.5]
    edges = [(0, v, float(rng.uniform(8, 20)), 0.0) for v in range(1, versions + 1)]
    edges += [(a, b, float(rng.uniform(1, 9)), float(rng.uniform(1, 9))) for a, b in pairs]
    asks = [(0, v, float(rng.choice([1, 1, 2.5])), None) for v in range(1, versions + 1)]
    graph = _problem(edges, asks)
    least = nx.minimum_spanning_arborescence(_digraph(graph)).size(weight="weight")
    return graph.replace(limits=Limits(stored_bytes=least * float(rng.uniform(1.001, 2))))


def _digraph(problem: Problem) -> nx.DiGraph:
    rows, graph = problem.candidates, nx.DiGraph()
    for edge in range(len(rows)):
        graph.add_edge(int(rows.base[edge]), int(rows.target[edge]), weight=float(rows.stored_bytes[edge]), edge=edge)
    return graph


def _retrieval(problem: Problem, parent: dict[int, int]) -> float:
    """What all clients' paths in a tree cost, infinite where it is none; from scratch."""
    total = 0.0
    for at, clients in zip(problem.demands.target.tolist(), problem.demands.clients.tolist(), strict=True):
        node, steps = at, 0
        while node != 0:
            total += clients * problem.candidates.wire_bytes[parent[node]]
            node, steps = int(problem.candidates.base[parent[node]]), steps + 1
            if steps > len(parent):
                return inf
    return total


def _plain_greedy(problem: Problem, *, any_parent: bool) -> float:
    """The papers' pseudocode with every tree reckoned anew: the retrieval it ends with."""
    rows, limit = problem.candidates, problem.limits.stored_bytes or 0.0
    start = nx.minimum_spanning_arborescence(_digraph(problem), preserve_attrs=True)
    parent = {head: data["edge"] for _, head, data in start.edges(data=True)}
    while True:
        storage, retrieval = sum(rows.stored_bytes[edge] for edge in parent.values()), _retrieval(problem, parent)
        best: tuple[float, dict[int, int]] = (0.0, parent)
        for edge in range(len(rows)):
            if not any_parent and rows.base[edge] != 0:
                continue
            changed = {**parent, int(rows.target[edge]): edge}
            saved = retrieval - _retrieval(problem, changed)
            rise = sum(rows.stored_bytes[used] for used in changed.values()) - storage
            if saved > 1e-9 and storage + rise <= limit:
                best = max(best, (saved / rise if rise > 0 else inf, changed), key=lambda pair: pair[0])
        if best[1] is parent:
            return retrieval
        parent = best[1]


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("policy", [lmg, lmg_all])
def test_as_the_papers_pseudocode(policy: Policy, seed: int) -> None:
    """The trees that are kept up to date give what trees reckoned anew give (clients may find shorter paths still)."""
    problem = _random_versions(seed)
    judged = follow_policy(problem, policy)
    plain = _plain_greedy(problem, any_parent=policy is lmg_all)
    parent = {int(problem.candidates.target[edge]): edge for edge in judged.selection.build}
    assert len(parent) == len(judged.selection.build) == len(problem.demands)
    assert judged.is_feasible
    assert _retrieval(problem, parent) == pytest.approx(plain)
    assert judged.cost.total == pytest.approx(plain)


@pytest.mark.parametrize("policy", [lmg, lmg_all])
def test_a_limit_is_kept_wherever_everyone_may_pull_in_full(policy: Policy) -> None:
    """Cycles, parts, many bases and targets: there is always a start within the limit, and no exchange leaves it."""
    for seed in range(150):
        problem = random_problem(seed, commits=3 + seed % 4, candidates=4 + seed % 13)
        free = dataclasses.replace(problem.demands, full_pull_bytes=np.full(4, 30.0), max_wire_bytes=np.full(4, inf))
        judged = follow_policy(problem.replace(demands=free, limits=Limits(stored_bytes=float(seed % 12))), policy)
        assert judged.is_feasible


def test_a_line_with_all_pairs_costs_less_than_every_direct_delta() -> None:
    """120 releases with few clients each: deltas that nobody needs are not kept, and old bases share hops."""
    rng = np.random.default_rng(0)
    base, target = np.triu_indices(120, 1)
    size = np.round(2e6 * (target - base) ** 0.7 * rng.uniform(0.7, 1.3, len(base)))
    edges = list(zip((base + 1).tolist(), (target + 1).tolist(), size.tolist(), size.tolist(), strict=True))
    asks = [(v, 120, float(v % 7), 9e7) for v in range(1, 120)]
    problem = _problem(edges, asks, prices={"egress_per_gb": 1.0, "storage_per_gb": 20.0})
    direct, grown = follow_policy(problem, all_to_head), follow_policy(problem, lmg_all)
    assert grown.is_feasible
    assert grown.cost.total < 0.5 * direct.cost.total
    assert len(grown.selection.build) < 119
