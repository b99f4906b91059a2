"""Bounds with shared parts: checked by additions alone, and against every plan of tiny problems."""

from __future__ import annotations

import dataclasses
import itertools
from math import inf

import numpy as np
import pytest

from benchmarks.instances import shared_parts
from planner.optimize.evaluate import evaluate
from planner.optimize.exact import found_in
from planner.optimize.formulation import formulate
from planner.optimize.highs import solve_milp
from planner.optimize.limits import Uses
from planner.optimize.net import Net, lay_out
from planner.optimize.part_bound import PartAscent, PartBound
from planner.optimize.part_branch import close_in
from planner.optimize.part_formulation import formulate_with_parts, reduce_by_shares
from planner.optimize.part_kernels import project
from planner.optimize.part_search import PartPursuit, bound_with_parts
from planner.optimize.problem import Limits, Problem
from planner.optimize.reduce import reduce_cohorts
from planner.optimize.search import Search
from tests.optimize.tiny import exhaustive, random_problem

SEEDS = range(60)


def after(calls: int):
    """A clock that is up after so many questions."""
    asked = itertools.count()
    return lambda: next(asked) >= calls


def tiny_with_parts(seed: int) -> Problem:
    """A tiny problem; every third without cycles, so that positions are told apart from commits."""
    problem = random_problem(seed, candidates=6)
    if seed % 3:
        return problem
    rows = problem.candidates
    ends = np.sort(np.stack([rows.base, rows.target]), axis=0)
    return problem.replace(candidates=dataclasses.replace(rows, base=ends[0], target=ends[1]))


def check(problem: Problem, net: Net, proof: PartBound) -> None:
    """Assert that a proof proves its bound, in plain NumPy and with routes listed one by one."""
    prices = np.array([proof.price_per_stored_byte, proof.price_per_cpu_s])
    uses, edges, cohorts = Uses.of(problem, net), net.edges, net.cohorts
    assert (prices >= 0.0).all()
    assert (proof.part_shares >= 0.0).all()
    own_money = problem.candidate_money[net.candidate] + prices @ uses.edges
    part_money = problem.part_money + prices @ uses.parts
    scale = 1e-9 * (1.0 + own_money.sum() + part_money.sum() + abs(proof.bound))
    most = np.array([_most_on_a_route(problem, part) for part in range(len(problem.parts))])
    assert (most * proof.part_shares.sum(axis=0) <= part_money + scale).all()
    taken, values, first = np.zeros(len(net.candidate)), 0.0, 0
    for k in range(len(cohorts.base)):
        low, rows = int(cohorts.low[k]), int(cohorts.max_hops[k]) + 1
        width = int(cohorts.high[k]) - low + 1
        table = proof.potentials[first : first + rows * width].reshape(rows, width)
        first += rows * width
        assert (table[:, cohorts.target[k] - low] <= scale).all()
        value = table[rows - 1, cohorts.base[k] - low]
        assert value <= cohorts.cap[k] + scale
        values += value
        for e, candidate in enumerate(net.candidate.tolist()):
            tail, head = int(edges.tail[e]), int(edges.head[e])
            if not (low <= tail < low + width and low <= head < low + width):
                continue
            is_base = tail == cohorts.base[k]
            hops_left = [0] if rows == 1 else [rows - 1] if is_base else range(1, rows - 1)
            rises = [table[h, tail - low] - table[max(h - 1, 0), head - low] for h in hops_left]
            paid = cohorts.clients[k] * problem.hop_money[candidate]
            paid += proof.part_shares[k, list(problem.parts_of[candidate])].sum()
            taken[e] += max([0.0, *(rise - paid for rise in rises)])
    assert (taken <= own_money + scale).all()
    allowance = sum(p * most for p, most in zip(prices, uses.allowed, strict=True) if p > 0.0)
    assert proof.bound == pytest.approx(values + net.forced_money - allowance, abs=scale)


def _most_on_a_route(problem: Problem, part: int) -> int:
    """The most candidates that need a part on one route without a repeated commit, by trying all."""
    rows = problem.candidates
    needs = [part in problem.parts_of[candidate] for candidate in range(len(rows))]
    most, stack = 0, [(commit, frozenset({commit}), 0) for commit in range(len(problem.commits))]
    if len(problem.commits) > 6:
        tails, heads = rows.base[needs], rows.target[needs]
        assert tails.max() < heads.min()  # over a common stretch: one at most
        return 1
    while stack:
        at, seen, used = stack.pop()
        most = max(most, used)
        onward = [(e, int(rows.target[e])) for e in np.flatnonzero(rows.base == at).tolist()]
        stack += [(head, seen | {head}, used + needs[e]) for e, head in onward if head not in seen]
    hops = np.minimum(problem.demands.max_hops, len(problem.commits))
    return min(most, max(int(hops.max(initial=1)), 1))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_bound_is_proven_and_never_above_the_optimum(seed: int) -> None:
    problem = tiny_with_parts(seed)
    net, best = lay_out(problem), exhaustive(problem)
    proof = bound_with_parts(problem, net, seed=seed, is_time_up=after(400))
    if best is None:
        return
    assert proof.bound <= best.cost.total * (1 + 1e-9) + 1e-9
    if np.isfinite(proof.bound):
        check(problem, net, proof)


@pytest.mark.parametrize("seed", SEEDS)
def test_branching_closes_in_on_the_optimum_of_tiny_problems(seed: int) -> None:
    problem = tiny_with_parts(seed)
    free = dataclasses.replace(problem.demands, max_wire_bytes=np.full(len(problem.demands), inf))
    problem = problem.replace(demands=free)
    best = exhaustive(problem)
    closed = close_in(problem, lay_out(problem), seed=seed, is_time_up=after(3000), asked_gap=1e-6)
    if best is None:
        assert closed.cost == inf
        return
    assert closed.bound <= best.cost.total * (1 + 1e-9) + 1e-9
    assert closed.cost >= best.cost.total * (1 - 1e-9) - 1e-9
    assert closed.proof.bound <= closed.bound


@pytest.mark.parametrize("seed", SEEDS)
def test_the_formulation_with_merged_parts_has_the_same_optimum(seed: int) -> None:
    problem = tiny_with_parts(seed)
    best = exhaustive(problem)
    if best is None:
        return
    cohorts = reduce_cohorts(problem)
    plain, merged = formulate(problem, cohorts), formulate_with_parts(problem, cohorts)
    assert len(merged.parts) <= len(plain.parts)
    for relax in (True, False):
        answers = [solve_milp(milp, relax=relax, reference_money=10.0) for milp in (plain, merged)]
        if not answers[0].is_infeasible:
            assert answers[1].bound >= answers[0].bound - 1e-5
    if np.isfinite(problem.demands.max_wire_bytes).any() or problem.limits != Limits():
        return  # exact sums may need covers
    values = solve_milp(merged, reference_money=10.0).values
    assert values is not None
    assert found_in(problem, merged, values).cost.total == pytest.approx(best.cost.total)


@pytest.mark.parametrize(("multiplier", "hops", "limited"), [(100, 0, False), (1000, 2, False), (300, 0, True)])
def test_both_sides_meet_on_a_stream_of_changed_files(multiplier: float, hops: int, limited: bool) -> None:
    problem = shared_parts(9, 12, fixed_multiplier=multiplier, seed=3)
    if hops:
        demands = dataclasses.replace(problem.demands, max_hops=np.full(len(problem.demands), hops))
        problem = problem.replace(demands=demands)
    if limited:
        problem = problem.replace(limits=Limits(server_cpu_s=6.0))
    net = lay_out(problem)
    costs: list[float] = []

    def judge(search: Search) -> None:
        found = evaluate(problem, search.selection())
        costs.extend([found.cost.total] if found.is_feasible else [])

    closed = close_in(problem, net, seed=0, is_time_up=after(20_000), found=judge, asked_gap=1e-4)
    check(problem, net, closed.proof)
    assert closed.cost == pytest.approx(min(costs))
    assert closed.bound >= closed.cost * (1 - 1e-3)
    cohorts = reduce_cohorts(problem)
    answer = solve_milp(formulate_with_parts(problem, cohorts), reference_money=closed.cost, gap=1e-7)
    assert closed.bound <= answer.bound * (1 + 1e-6)
    assert closed.cost >= answer.bound * (1 - 1e-6)


def test_what_the_shares_exclude_is_not_needed() -> None:
    problem = shared_parts(9, 12, fixed_multiplier=1000, seed=5)
    net = lay_out(problem)
    pursuit = PartPursuit(problem, net, seed=0, is_time_up=lambda: False)
    for _ in itertools.islice(pursuit.steps(), 40):
        if pursuit.ascent.is_stalled:
            break
    core = reduce_by_shares(
        problem, pursuit.ascent, pursuit.cost - pursuit.ascent.best_value + 1e-9, 10**6, lambda: False
    )
    assert core is not None
    everything = reduce_cohorts(problem)
    assert sum(len(c.edges) for c in core.cohorts) < sum(len(c.edges) for c in everything)
    bounds = [
        solve_milp(formulate_with_parts(problem, cohorts), gap=1e-7, reference_money=pursuit.cost).bound
        for cohorts in (core.cohorts, everything)
    ]
    assert bounds[0] == pytest.approx(bounds[1], rel=1e-6)


def test_the_same_seed_gives_the_same_bound() -> None:
    problem = shared_parts(8, 10, fixed_multiplier=300, seed=1)
    net = lay_out(problem)
    proofs = [bound_with_parts(problem, net, seed=4, is_time_up=after(200)) for _ in range(2)]
    assert proofs[0].bound == proofs[1].bound
    assert (proofs[0].part_shares == proofs[1].part_shares).all()


def test_pieces_are_merged_and_a_candidate_alone_pays_its_own() -> None:
    problem = shared_parts(8, 10, seed=1)
    ascent = PartAscent(problem, lay_out(problem))
    total = problem.candidate_money.sum() + problem.part_money.sum()
    assert ascent.pieces.money.sum() == pytest.approx(total)
    assert len(ascent.pieces) < len(problem.candidates) + len(problem.parts)


def test_projection_lands_on_the_simplex_at_the_nearest_point() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        point = random.normal(0.0, 2.0, 6)
        nearest = point.copy()
        project(nearest)
        assert nearest.sum() == pytest.approx(1.0)
        assert (nearest >= 0.0).all()
        others = random.dirichlet(np.ones(6), 30)
        assert ((others - point) ** 2).sum(axis=1).min() >= ((nearest - point) ** 2).sum() - 1e-12
