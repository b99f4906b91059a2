"""The rooted case: trees found by annealing, and bounds from shares, against every tree of tiny problems."""

from __future__ import annotations

import itertools
from math import inf

import numpy as np
import pytest

from planner.compiled import compiled
from planner.optimize import rooted_kernels
from planner.optimize.ascent import potential_offsets
from planner.optimize.evaluate import evaluate
from planner.optimize.interchange import graph_from_dict
from planner.optimize.net import Net, lay_out
from planner.optimize.problem import Problem
from planner.optimize.rooted import RootedBound, bound_rooted, is_rooted, search_rooted
from planner.optimize.rooted_search import LimitPrices, TreeSearch, plant_least
from tests.optimize.tiny import exhaustive

SEEDS = range(24)
PRICES = np.array([0.3, 0.2])


def never() -> bool:
    return False


def rooted_problem(seed: int, *, commits: int = 5, candidates: int = 8, clients: float = 9) -> Problem:
    """Everybody starts at one commit (even seeds) or wants one (odd), with edges that tie and limits that bind."""
    rng = np.random.default_rng(seed)
    ends = rng.integers(0, commits, (2, candidates))
    ends[1] = np.where(ends[0] == ends[1], (ends[1] + 1) % commits, ends[1])
    others = np.arange(1, commits)
    root = np.zeros(commits - 1, dtype=np.int64)
    base, target = (root, others) if seed % 2 == 0 else (others, root)
    if rng.random() < 0.7:
        ends[:, : commits - 1] = base, target
    pulls = [None if rng.random() < 0.3 else int(value) for value in rng.integers(2, 30, commits - 1)]
    return graph_from_dict(
        {
            "format": "deltaplan-graph/1",
            "commits": ["", *(f"c{i}" for i in range(1, commits))],
            "candidates": {
                "base": ends[0].tolist(),
                "target": ends[1].tolist(),
                "wire_bytes": rng.integers(0, 9, candidates).tolist(),
                "stored_bytes": rng.integers(0, 8, candidates).tolist(),
                "server_cpu_s": rng.integers(0, 5, candidates).tolist(),
                "built": (rng.random(candidates) < 0.2).tolist(),
            },
            "demands": {
                "base": base.tolist(),
                "target": target.tolist(),
                "clients": rng.choice([0, 1, 2, clients], commits - 1).tolist(),
                "full_pull_bytes": pulls,
            },
            "prices": {
                "storage_per_gb": float(rng.choice([0, 0.5, 2])) * 1e9,
                "server_cpu_per_hour": float(rng.choice([0, 1, 2])) * 3600,
                "egress_per_gb": 1e9,
                "per_hop": float(rng.integers(0, 2)),
            },
            "limits": {
                "stored_bytes": int(rng.integers(4, 24)) if rng.random() < 0.7 else None,
                "server_cpu_s": int(rng.integers(2, 12)) if rng.random() < 0.5 else None,
            },
        }
    )


def check(problem: Problem, net: Net, found: RootedBound) -> float:
    """What potentials prove, recomputed edge by edge; fails where shares add up to more than the fixed money."""
    rows, edges, cohorts, offset = problem.candidates, net.edges, net.cohorts, potential_offsets(net)
    cpu_s = np.where(rows.built, 0.0, rows.server_cpu_s)
    priced = found.price_per_stored_byte * rows.stored_bytes + found.price_per_cpu_s * cpu_s
    money = (problem.candidate_money + priced)[net.candidate]
    taken = np.zeros(len(money))
    proven = 0.0
    for k in range(len(cohorts.base)):
        low, high = int(cohorts.low[k]), int(cohorts.high[k])
        own = found.potentials[offset[k] : offset[k + 1]]
        assert own[cohorts.target[k] - low] <= 1e-9 * (1.0 + own.max())
        for e in range(int(edges.start[low]), int(edges.start[high + 1])):
            if edges.head[e] <= high:
                gap = own[edges.tail[e] - low] - own[edges.head[e] - low]
                taken[e] += max(0.0, gap - cohorts.clients[k] * edges.hop_money[e])
        proven += min(own[cohorts.base[k] - low], cohorts.cap[k])
    assert (taken <= money * (1 + 1e-9) + 1e-9).all()
    assert min(found.price_per_stored_byte, found.price_per_cpu_s) >= 0.0
    limits = problem.limits
    allowance = found.price_per_stored_byte * (limits.stored_bytes or 0.0)
    return float(net.forced_money + proven - allowance - found.price_per_cpu_s * (limits.server_cpu_s or 0.0))


@pytest.mark.parametrize("seed", SEEDS)
def test_search_finds_the_optimum_of_tiny_problems(seed: int) -> None:
    problem = rooted_problem(seed)
    net = lay_out(problem)
    if not is_rooted(problem, net):
        return
    optimum = exhaustive(problem)
    found = search_rooted(problem, net, seed=1, is_time_up=never)
    if optimum is None:
        assert found is None
        return
    assert found is not None
    judged = evaluate(problem, found.selection)
    assert judged.violations == ()
    assert judged.cost.total == pytest.approx(optimum.cost.total, abs=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_bound_holds_and_its_potentials_prove_it(seed: int) -> None:
    problem = rooted_problem(seed)
    net, optimum = lay_out(problem), exhaustive(problem)
    if optimum is None or not is_rooted(problem, net):
        return
    found = bound_rooted(problem, net, optimum.cost.total, PRICES, seed=1, is_time_up=never)
    assert found.bound <= optimum.cost.total + 1e-9
    assert check(problem, net, found) == pytest.approx(found.bound, abs=1e-8)


def test_bound_is_tight_without_limits() -> None:
    gaps = []
    for seed in SEEDS:
        problem = rooted_problem(seed)
        problem = problem.replace(limits=type(problem.limits)())
        net, optimum = lay_out(problem), exhaustive(problem)
        if optimum is not None and is_rooted(problem, net) and optimum.cost.total > 0:
            found = bound_rooted(problem, net, optimum.cost.total, PRICES, seed=1, is_time_up=never)
            gaps.append(1 - found.bound / optimum.cost.total)
    assert len(gaps) > 10
    assert float(np.median(gaps)) < 1e-3
    assert max(gaps) < 0.1


def test_search_and_bound_repeat_by_seed() -> None:
    problem = rooted_problem(2)
    net = lay_out(problem)
    one, two = (search_rooted(problem, net, seed=5, is_time_up=never) for _ in range(2))
    assert one is not None
    assert two is not None
    assert one.selection == two.selection
    assert np.array_equal(one.prices, two.prices)
    first, second = (bound_rooted(problem, net, 50.0, PRICES, seed=5, is_time_up=never) for _ in range(2))
    assert np.array_equal(first.potentials, second.potentials)
    assert first.bound == second.bound


def test_a_search_out_of_time_keeps_its_start() -> None:
    problem = rooted_problem(4, commits=7, candidates=14)
    net = lay_out(problem)
    good = search_rooted(problem, net, seed=1, is_time_up=never)
    assert good is not None
    again = search_rooted(problem, net, seed=2, is_time_up=lambda: True, start=good.selection.routes)
    assert again is not None
    judged = evaluate(problem, again.selection)
    assert judged.is_feasible
    assert judged.cost.total <= evaluate(problem, good.selection).cost.total + 1e-9


def test_a_bound_out_of_time_still_proves_what_it_says() -> None:
    problem = rooted_problem(4, commits=7, candidates=14)
    net = lay_out(problem)
    found = bound_rooted(problem, net, 50.0, PRICES, seed=1, is_time_up=lambda: True)
    assert check(problem, net, found) == pytest.approx(found.bound)


@pytest.mark.parametrize("seed", range(6))
def test_totals_of_moved_trees_are_those_of_the_same_tree_planted(seed: int) -> None:
    """Every move's O(1) book-keeping against a count from nothing, compiled and not."""
    problem = rooted_problem(seed, commits=9, candidates=40)
    net = lay_out(problem)
    search, fresh = (TreeSearch(problem, net, seed=seed) for _ in range(2))
    if not plant_least(search):
        return
    prices = LimitPrices(per_byte=0.3, per_cpu_s=0.2)
    for heat in (9.0, 3.0, 1.0):
        search.anneal(search.pricing(prices), heat, heat, 200, never)
        fresh.plant(search.tree.parent.copy(), search.tree.rides.copy())
        # `plant` hangs only what riders need, and moves may leave nothing else.
        assert np.array_equal(search.tree.parent, fresh.tree.parent)
        assert np.allclose(search.tree.totals, fresh.tree.totals)
        is_in = search.tree.parent >= 0
        assert np.allclose(search.tree.dist[is_in], fresh.tree.dist[is_in])
        assert np.allclose(search.tree.weight[is_in], fresh.tree.weight[is_in])
        assert np.array_equal(search.tree.children, fresh.tree.children)


def test_compiled_kernels_anneal_as_plain_ones_do() -> None:
    problem = rooted_problem(6, commits=9, candidates=40)
    net = lay_out(problem)
    plain, fast = (TreeSearch(problem, net, seed=3) for _ in range(2))
    fast.kernels = compiled(rooted_kernels)
    for search in (plain, fast):
        assert plant_least(search)
        search.anneal(search.pricing(LimitPrices(per_byte=0.3)), 5.0, 0.1, 500, never)
    assert np.array_equal(plain.tree.parent, fast.tree.parent)
    assert np.allclose(plain.tree.totals, fast.tree.totals)


def test_hop_limits_and_parts_are_not_rooted() -> None:
    problem = rooted_problem(2)
    demands = problem.demands
    assert is_rooted(problem, lay_out(problem))
    for column, value in (("max_hops", 1), ("max_wire_bytes", 9.0)):
        columns = {name: getattr(demands, name) for name in demands.__slots__}
        columns[column] = np.full_like(columns[column], value)
        limited = problem.replace(demands=type(demands)(**columns))
        assert not is_rooted(limited, lay_out(limited))


def test_reversed_way_beats_any_single_exchange() -> None:
    """A path stored whole at its one end is better stored whole at the other: every node turns round at once."""
    length = 6
    older, newer = np.arange(1, length), np.arange(2, length + 1)
    sizes = [100.0] * (length - 1) + [60.0]
    graph = {
        "format": "deltaplan-graph/1",
        "commits": ["", *(f"v{i}" for i in range(1, length + 1))],
        "candidates": {
            "base": [*([0] * length), *older.tolist(), *newer.tolist()],
            "target": [*range(1, length + 1), *newer.tolist(), *older.tolist()],
            "wire_bytes": [*([0] * length), *([1] * (2 * length - 2))],
            "stored_bytes": [*map(int, sizes), *([1] * (2 * length - 2))],
        },
        "demands": {"base": [0] * length, "target": list(range(1, length + 1)), "clients": [1] * length},
        "prices": {"egress_per_gb": 1e9, "storage_per_gb": 1e9},
    }
    problem = graph_from_dict(graph)
    search = TreeSearch(problem, lay_out(problem), seed=0)
    edge = {int(candidate): e for e, candidate in enumerate(search.net.candidate)}
    parent = np.full(length + 1, -1)
    for candidate in (0, *range(length, 2 * length - 1)):
        parent[search.graph.tail[edge[candidate]]] = edge[candidate]
    search.plant(parent, np.ones(length, dtype=bool))
    before = search.tree.totals[:2].sum()
    picks = np.array([edge[length - 1]])
    run = rooted_kernels.anneal(
        search.graph, search.tree, search.pricing(LimitPrices()), search.best, picks, np.zeros(1), 0.0, 0.0
    )
    assert run == 1
    assert search.tree.totals[:2].sum() == before - 40.0
    assert all(len(way) > 0 for way in itertools.filterfalse(lambda way: way is None, search.selection().routes))
    assert evaluate(problem, search.selection()).cost.total == pytest.approx(before - 40.0)
    assert search.best.totals[0] < inf
