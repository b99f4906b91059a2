"""Dual ascent against the exhaustive oracle, and its potentials against the constraints they must keep."""

from __future__ import annotations

import numpy as np
import pytest

from planner.compiled import compiled
from planner.optimize import ascent_kernels, search_kernels
from planner.optimize.ascent import Ascent, nearest_first
from planner.optimize.net import Net, lay_out
from planner.optimize.problem import FloatArray, Limits, Problem
from planner.optimize.search import Search
from tests.optimize.tiny import exhaustive, random_problem


def never() -> bool:
    """Time is not up."""
    return False


def climbed(problem: Problem, net: Net, rounds: int, seed: int) -> Ascent:
    """An ascent after all starts and some rounds more."""
    ascent = Ascent(net, problem.money_with_parts[net.candidate], seed=seed)
    for _ in ascent.start(never):
        pass
    for _ in range(rounds):
        ascent.climb(never)
    return ascent


def shares(net: Net, ascent: Ascent) -> FloatArray:
    """What the potentials need of every edge's fixed money, added up over cohorts; the plain definition."""
    edges, cohorts, needed = net.edges, net.cohorts, np.zeros(len(net.candidate))
    for k in range(len(cohorts.base)):
        low, high = cohorts.low[k], cohorts.high[k]
        rows = ascent.potentials[ascent.offset[k] : ascent.offset[k + 1]].reshape(-1, high - low + 1)
        for e in range(len(needed)):
            v, w = edges.tail[e] - low, edges.head[e] - low
            if not (0 <= v <= high - low and 0 <= w <= high - low):
                continue
            levels = [(0, 0)]
            if len(rows) > 1:
                is_base = edges.tail[e] == cohorts.base[k]
                levels = [(h, h - 1) for h in range(1, len(rows)) if (h == len(rows) - 1) == is_base]
            rises = [rows[h, v] - rows[g, w] - cohorts.clients[k] * edges.hop_money[e] for h, g in levels]
            needed[e] += max([0.0, *rises])
    return needed


@pytest.mark.parametrize("seed", range(150))
def test_bound_never_exceeds_the_optimum(seed: int) -> None:
    """Parts split evenly, limits left out, cycles and hop limits in: below the cost of the best plan there is."""
    problem = random_problem(seed).replace(limits=Limits())
    oracle = exhaustive(problem)
    if oracle is None:
        return
    ascent = climbed(problem, lay_out(problem), rounds=5, seed=seed)
    assert ascent.value <= oracle.cost.total * (1 + 1e-9) + 1e-9


@pytest.mark.parametrize("seed", range(60))
def test_shares_never_exceed_the_fixed_money(seed: int) -> None:
    """`left` is exactly what the shares that the potentials need leave of it."""
    problem = random_problem(seed, commits=6, candidates=16, demands=6)
    net = lay_out(problem)
    ascent = climbed(problem, net, rounds=4, seed=seed)
    if np.isinf(ascent.value):
        return
    fixed = problem.money_with_parts[net.candidate]
    assert ascent.left == pytest.approx(fixed - shares(net, ascent), abs=1e-9)
    assert (ascent.left >= 0.0).all()


@pytest.mark.parametrize("seed", range(40))
def test_no_round_lowers_any_value(seed: int) -> None:
    """Whatever the order and the lean."""
    problem = random_problem(seed, commits=7, candidates=20, demands=7)
    ascent = climbed(problem, lay_out(problem), rounds=0, seed=seed)
    for _ in range(6):
        before = ascent.values().copy()
        ascent.climb(never)
        assert (ascent.values() >= before - 1e-9).all()


@pytest.mark.parametrize("seed", range(25))
def test_compiled_kernels_do_what_their_source_does(seed: int) -> None:
    """The same numbers to the last bit, so that the speed chosen never changes a plan."""
    problem = random_problem(seed, commits=7, candidates=24, demands=8)
    net = lay_out(problem)
    found = []
    for ascent_run, search_run in (
        (ascent_kernels, search_kernels),
        (compiled(ascent_kernels), compiled(search_kernels)),
    ):
        ascent = Ascent(net, problem.money_with_parts[net.candidate], seed=seed)
        ascent.kernels = ascent_run
        for _ in ascent.start(never):
            ascent.climb(never)
        search = Search(problem, net, problem.candidate_money[net.candidate], problem.part_money)
        search.kernels = search_run
        search.lay(nearest_first(net), never)
        search.descend(never)
        found.append((ascent.value, ascent.potentials.tolist(), search.selection()))
    assert found[0] == found[1]
