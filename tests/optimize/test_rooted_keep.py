"""What cheaper plans must keep: no plan below the known cost is lost, and bounds from it hold."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from planner.optimize.evaluate import evaluate
from planner.optimize.interchange import graph_from_dict
from planner.optimize.net import lay_out
from planner.optimize.problem import Problem
from planner.optimize.rooted import bound_rooted, is_rooted, search_rooted
from planner.optimize.rooted_keep import reduce_to_cheaper
from tests.optimize.tiny import exhaustive


def after(calls: int) -> Callable[[], bool]:
    """Time that is up after so many looks."""
    left = iter(range(calls))
    return lambda: next(left, None) is None


def crowded_problem(seed: int) -> Problem:
    """Versions of very different sizes, deltas mostly one way, and a limit that a few whole versions nearly fill."""
    rng = np.random.default_rng(seed)
    versions, deltas = 4, 5
    tail = rng.integers(1, versions + 1, deltas)
    head = (tail + rng.integers(0, versions - 1, deltas)) % versions + 1
    wire = np.r_[np.zeros(versions, dtype=np.int64), rng.choice([1, 2, 5, 40], deltas)]
    size = np.r_[rng.choice([2, 7, 30, 31, 50], versions), np.minimum(wire[versions:], 9)]
    base, target = np.r_[np.zeros(versions, dtype=np.int64), tail], np.r_[1 : versions + 1, head]
    pulls = [None if rng.random() < 0.8 else int(value) for value in rng.integers(5, 60, versions)]
    return graph_from_dict(
        {
            "format": "deltaplan-graph/1",
            "commits": ["", *(f"v{i}" for i in range(1, versions + 1))],
            "candidates": {
                "base": (target if seed % 2 else base).tolist(),
                "target": (base if seed % 2 else target).tolist(),
                "wire_bytes": wire.tolist(),
                "stored_bytes": size.tolist(),
                "server_cpu_s": rng.integers(0, 3, versions + deltas).tolist(),
                "built": (rng.random(versions + deltas) < 0.2).tolist(),
            },
            "demands": {
                "base": list(range(1, versions + 1)) if seed % 2 else [0] * versions,
                "target": [0] * versions if seed % 2 else list(range(1, versions + 1)),
                "clients": rng.choice([1, 1, 2], versions).tolist(),
                "full_pull_bytes": pulls,
            },
            "prices": {"egress_per_gb": 1e9, "storage_per_gb": float(rng.choice([0, 0.1])) * 1e9},
            "limits": {
                "stored_bytes": int(rng.integers(10, 120)),
                "server_cpu_s": 6 if rng.random() < 0.3 else None,
            },
        }
    )


SEEDS = range(120)


def solvable(seed: int) -> tuple[Problem, float] | None:
    """The problem and what its best plan costs; None where there is no plan."""
    problem = crowded_problem(seed)
    optimum = exhaustive(problem)
    if optimum is None or not is_rooted(problem, lay_out(problem)) or optimum.cost.total <= 0:
        return None
    return problem, optimum.cost.total


def test_a_cheaper_plan_survives_and_keeps_what_it_must() -> None:
    reduced_often = rows_added = 0
    for seed in SEEDS:
        problem = crowded_problem(seed)
        net = lay_out(problem)
        plan = search_rooted(problem, net, seed=1, is_time_up=after(60)) if is_rooted(problem, net) else None
        if plan is None:
            continue
        build = plan.selection.build
        found = reduce_to_cheaper(problem, net, 1.2 * evaluate(problem, plan.selection).cost.total)
        if found is None:
            continue
        net, limited = found
        reduced_often += 1
        rows_added += len(limited.most) > 2
        used = np.isin(net.candidate, build)
        assert set(build) <= set(net.candidate.tolist()), seed
        assert (limited.use @ used <= limited.most + 1e-9)[limited.most > 0].all(), seed
        for row, most in zip(limited.use[2:], limited.most[2:], strict=True):
            assert row @ used == most == 1.0, seed
    assert reduced_often > 30
    assert rows_added > 1


@pytest.mark.parametrize("seed", range(24))
@pytest.mark.parametrize("factor", [1.0, 1.3])
def test_bound_is_between_what_potentials_prove_and_the_optimum(seed: int, factor: float) -> None:
    known = solvable(seed)
    if known is None:
        return
    problem, cost = known
    found = bound_rooted(problem, lay_out(problem), factor * cost, np.array([0.5, 0.1]), seed=1, is_time_up=after(3000))
    assert found.bound <= found.branched_bound * (1 + 1e-9) + 1e-9
    assert found.branched_bound <= cost * (1 + 1e-9)


def test_a_limit_that_large_versions_nearly_fill_is_closed_by_what_must_be_kept() -> None:
    """Deltas lead from three large versions to small ones: one of the three takes 90 of 100 bytes whatever is done."""
    graph = {
        "format": "deltaplan-graph/1",
        "commits": ["", "a", "b", "c", "d", "e"],
        "candidates": {
            "base": [0, 0, 0, 0, 0, 1, 2, 2, 3, 3, 4],
            "target": [1, 2, 3, 4, 5, 2, 1, 3, 2, 4, 5],
            "wire_bytes": [0, 0, 0, 0, 0, 2, 2, 2, 2, 6, 6],
            "stored_bytes": [90, 91, 92, 40, 3, 2, 2, 2, 2, 6, 6],
        },
        "demands": {"base": [0] * 5, "target": [1, 2, 3, 4, 5], "clients": [1] * 5},
        "prices": {"egress_per_gb": 1e9},
        "limits": {"stored_bytes": 106},
    }
    problem = graph_from_dict(graph)
    net = lay_out(problem)
    searched = search_rooted(problem, net, seed=1, is_time_up=after(400))
    assert searched is not None
    cost = evaluate(problem, searched.selection).cost.total
    found = bound_rooted(problem, net, cost, np.array([0.1, 0.0]), seed=1, is_time_up=after(3000))
    assert found.branched_bound == pytest.approx(cost, rel=1e-3)
    reduced = reduce_to_cheaper(problem, net, cost)
    assert reduced is not None
    kept = {(int(problem.candidates.base[one]), int(problem.candidates.target[one])) for one in reduced[0].candidate}
    assert (0, 4) not in kept
    assert {(0, 1), (0, 2), (0, 3), (0, 5)} <= kept


def test_nothing_is_reduced_without_a_storage_limit() -> None:
    problem = crowded_problem(0)
    unlimited = problem.replace(limits=type(problem.limits)())
    assert reduce_to_cheaper(unlimited, lay_out(unlimited), 100.0) is None
