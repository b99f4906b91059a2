"""The layout: positions, streams, merged cohorts."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.instances import many_streams, one_stream
from planner.optimize.net import ONLY_FULL_PULL, lay_out
from tests.optimize.tiny import random_problem, two_step


@pytest.mark.parametrize("seed", range(80))
def test_every_cohorts_routes_lie_between_its_positions(seed: int) -> None:
    """Following edges from the base, whatever can still reach the target is within `low` and `high`."""
    net = lay_out(random_problem(seed, commits=7, candidates=18, demands=6))
    edges, cohorts = net.edges, net.cohorts
    assert (np.diff(edges.tail) >= 0).all()
    for k in range(len(cohorts.base)):
        ahead, behind = {int(cohorts.base[k])}, {int(cohorts.target[k])}
        for _ in range(8):
            ahead |= {int(w) for v, w in zip(edges.tail, edges.head, strict=True) if int(v) in ahead}
            behind |= {int(v) for v, w in zip(edges.tail, edges.head, strict=True) if int(w) in behind}
        assert all(cohorts.low[k] <= v <= cohorts.high[k] for v in ahead & behind)


def test_history_without_downgrades_points_forward() -> None:
    """Positions are a topological order, whatever the order of the commits."""
    problem = one_stream(30, seed=3)
    assert lay_out(problem).edges.is_acyclic
    rows = problem.candidates
    shuffled = np.random.default_rng(0).permutation(30)
    columns = {name: getattr(rows, name) for name in rows.__slots__}
    columns |= {"base": shuffled[rows.base], "target": shuffled[rows.target]}
    assert lay_out(problem.replace(candidates=type(rows)(**columns))).edges.is_acyclic


def test_streams_are_told_apart() -> None:
    """Five streams side by side: no edge or cohort crosses."""
    net = lay_out(many_streams(5, 7))
    assert len(np.unique(net.stream_of_cohort)) == 5
    assert np.bincount(net.stream_of_edge).tolist() == [21] * 5


def test_demands_that_differ_only_in_clients_are_one_cohort() -> None:
    """3 + 4 clients on one base; a hop limit of one makes another cohort, one of none a forced full pull."""
    demands = {
        "base": [0, 0, 0, 0],
        "target": [2, 2, 2, 2],
        "clients": [3, 4, 5, 6],
        "max_hops": [None, None, 1, 0],
        "full_pull_bytes": [50, 50, 50, 50],
    }
    net = lay_out(two_step(demands=demands))
    assert net.cohorts.clients.tolist() == [5, 7] or net.cohorts.clients.tolist() == [7, 5]
    assert net.cohort_of[3] == ONLY_FULL_PULL
    assert net.forced_money == 300.0


def test_target_that_nothing_leads_to_is_a_forced_full_pull() -> None:
    """From the newest back to the oldest there is no candidate."""
    net = lay_out(two_step(demands={"base": [2], "target": [0], "clients": [1], "full_pull_bytes": [9]}))
    assert net.cohort_of.tolist() == [ONLY_FULL_PULL]
    assert len(net.cohorts.base) == 0
