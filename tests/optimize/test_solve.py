"""The solver against an exhaustive oracle, the laws of the model, and published optima."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import optimize as scipy_optimize
from scipy import sparse

from benchmarks.instances import one_stream
from planner.errors import InfeasibleError, InputError
from planner.optimize.evaluate import evaluate
from planner.optimize.formulation import formulate
from planner.optimize.highs import solve_milp
from planner.optimize.interchange import graph_from_dict, parse_graph
from planner.optimize.plan import OPTIMAL_GAP, Status
from planner.optimize.problem import Limits, Prices
from planner.optimize.reduce import reduce_cohorts
from planner.optimize.solve import Options, solve
from tests.optimize.tiny import exhaustive, random_graph, random_problem, two_step

GRAPHS = Path(__file__).resolve().parents[3] / "shared" / "data" / "graphs"

PUBLISHED = {
    "uflp-cap71": 932615.750,
    "uflp-cap101": 796648.4375,
    "uflp-cap131": 793439.5625,
    "fcnet-k20x380b": 11343,
    "fcnet-g55x188c": 35464,
    "versioning-datasharing-x1.5": 13722,
}


@pytest.mark.parametrize("first", range(0, 2000, 50))
def test_solver_finds_what_the_exhaustive_oracle_finds(first: int) -> None:
    """Over every column of the format: same optimal cost, or both say that there is no plan."""
    for seed in range(first, first + 50):
        problem = random_problem(seed)
        oracle = exhaustive(problem)
        if oracle is None:
            with pytest.raises(InfeasibleError):
                solve(problem)
            continue
        plan = solve(problem)
        assert plan.evaluation.is_feasible, seed
        assert plan.cost.total == pytest.approx(oracle.cost.total, rel=1e-6, abs=1e-9), seed
        assert plan.lower_bound <= oracle.cost.total * (1 + 1e-9), seed
        assert plan.status is Status.OPTIMAL, seed


@pytest.mark.parametrize("first", range(0, 300, 50))
def test_candidates_that_cost_nothing_but_their_parts(first: int) -> None:
    """Then a solution may keep any of them; only those count whose parts are paid."""
    for seed in range(first, first + 50):
        graph: dict[str, Any] = random_graph(seed)
        rng = np.random.default_rng(seed)
        graph["candidates"] |= {"stored_bytes": [0] * 7, "server_cpu_s": [0] * 7, "built": [False] * 7}
        graph["parts"] = {
            "stored_bytes": rng.integers(1, 8, 4).tolist(),
            "server_cpu_s": rng.integers(1, 5, 4).tolist(),
            "candidate": [*range(7), *range(7)],
            "part": rng.integers(0, 4, 14).tolist(),
        }
        problem = graph_from_dict(graph)
        oracle = exhaustive(problem)
        if oracle is not None:
            plan = solve(problem)
            assert plan.status is Status.OPTIMAL, seed
            assert plan.cost.total == pytest.approx(oracle.cost.total, rel=1e-6, abs=1e-9), seed


@pytest.mark.parametrize("seed", range(200, 230))
def test_solver_agrees_with_another_solver_on_larger_graphs(seed: int) -> None:
    """HiGHS through SciPy on the same formulation, as an independent check of the adapter and the search."""
    problem = random_problem(seed, commits=9, candidates=40, demands=12)
    problem = problem.replace(limits=Limits())
    try:
        plan = solve(problem)
    except InfeasibleError:
        with pytest.raises(InfeasibleError):
            reduce_cohorts(problem)
        return
    milp = formulate(problem, reduce_cohorts(problem))
    matrix = sparse.csr_matrix((milp.values, milp.columns, milp.starts), shape=(len(milp.row_low), len(milp.money)))
    answer = scipy_optimize.milp(
        milp.money,
        integrality=milp.is_integral.astype(int),
        bounds=scipy_optimize.Bounds(np.zeros(len(milp.money)), milp.upper),
        constraints=scipy_optimize.LinearConstraint(matrix, milp.row_low, milp.row_high),
        options={"mip_rel_gap": 0},
    )
    assert plan.cost.total == pytest.approx(answer.fun, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("seed", range(40))
def test_dropping_a_limit_never_raises_the_cost(seed: int) -> None:
    """A relaxed problem has every plan that the strict one has."""
    problem = random_problem(seed, commits=5, candidates=12, demands=5)
    try:
        strict = solve(problem)
    except InfeasibleError:
        return
    assert solve(problem.replace(limits=Limits())).cost.total <= strict.cost.total * (1 + 1e-6) + 1e-9


@pytest.mark.parametrize("seed", range(60))
def test_adding_a_candidate_never_raises_the_optimum(seed: int) -> None:
    """The last candidate of a graph, and its parts, taken away: no plan becomes cheaper."""
    problem = random_problem(seed, commits=5, candidates=12, demands=5)
    rows, parts = problem.candidates, problem.parts
    is_kept = parts.candidate < len(rows) - 1
    fewer = problem.replace(
        candidates=type(rows)(**{name: getattr(rows, name)[:-1] for name in rows.__slots__}),
        parts=dataclasses.replace(parts, candidate=parts.candidate[is_kept], part=parts.part[is_kept]),
    )
    try:
        without = solve(fewer).cost.total
    except InfeasibleError:
        return
    assert solve(problem).cost.total <= without * (1 + 1e-6) + 1e-9


@pytest.mark.parametrize("seed", range(60))
def test_relabelling_commits_changes_nothing(seed: int) -> None:
    """Commits in another order, candidates and demands with them: the same optimum."""
    problem = random_problem(seed, commits=6, candidates=14, demands=6)
    order = np.random.default_rng(seed).permutation(6)
    place = np.argsort(order)
    rows, demands = problem.candidates, problem.demands
    relabelled = problem.replace(
        commits=tuple(problem.commits[index] for index in order),
        candidates=dataclasses.replace(rows, base=place[rows.base], target=place[rows.target]),
        demands=dataclasses.replace(demands, base=place[demands.base], target=place[demands.target]),
    )
    try:
        optimum = solve(problem).cost.total
    except InfeasibleError:
        with pytest.raises(InfeasibleError):
            solve(relabelled)
        return
    assert solve(relabelled).cost.total == pytest.approx(optimum, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("fixed_multiplier", [1.0, 100.0, 1000.0])
def test_a_stream_is_solved_to_proof_by_the_large_way(fixed_multiplier: float) -> None:
    """Forty commits with all pairs: the plan and bound of the portfolio agree with HiGHS on the whole formulation."""
    problem = one_stream(40, fixed_multiplier=fixed_multiplier)
    plan = solve(problem)
    milp = formulate(problem, reduce_cohorts(problem))
    answer = solve_milp(milp, reference_money=plan.cost.total, gap=1e-8)
    assert plan.status is Status.OPTIMAL
    assert plan.cost.total == pytest.approx(answer.bound, rel=1e-6)


def test_beginning_from_a_plan_is_never_worse_than_it() -> None:
    """Yesterday's optimal plan and no time at all: it comes back."""
    problem = one_stream(60, fixed_multiplier=100)
    best = solve(problem)
    ticks = itertools.count()
    again = solve(problem, Options(start=best.selection, time_limit_s=1.0, clock=lambda: float(next(ticks))))
    assert again.cost.total <= best.cost.total * (1 + 1e-9)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_optimum_is_reproduced(name: str) -> None:
    """Facility location, fixed-charge networks and dataset versioning, each with a published value."""
    path = GRAPHS / f"{name}.json"
    if not path.exists():
        pytest.skip("needs the public benchmark graphs beside the checkout")
    plan = solve(parse_graph(path.read_bytes()))
    assert plan.status is Status.OPTIMAL
    assert plan.cost.total == pytest.approx(PUBLISHED[name], rel=1e-6)


def test_route_of_two_hops_wins_when_it_is_smaller() -> None:
    """3 clients x 8 B beats 3 x 10 B."""
    plan = solve(two_step())
    assert plan.routes == ((1, 2),)
    assert plan.cost.total == 24.0


def test_bound_gives_a_billionth_away() -> None:
    """Strictly below even a proven optimum: the last digits of sums cannot lift it above. Optimal all the same."""
    plan = solve(two_step())
    assert 24.0 * (1 - 1e-8) < plan.lower_bound < 24.0
    assert (plan.status, plan.gap < 1e-8) == (Status.OPTIMAL, True)


def test_hop_limit_forces_the_direct_delta() -> None:
    """A stock client follows one hop only."""
    demands = {"base": [0], "target": [2], "clients": [3], "full_pull_bytes": [50], "max_hops": [1]}
    assert solve(two_step(demands=demands)).routes == ((0,),)


def test_byte_limit_forbids_the_cheap_route() -> None:
    """Where hops are priced, the direct delta is cheapest; a limit of 9 B leaves only the two hops."""
    demands = {"base": [0], "target": [2], "clients": [3], "max_wire_bytes": [9]}
    plan = solve(two_step(demands=demands, prices={"egress_per_gb": 1e9, "per_hop": 100}))
    assert plan.routes == ((1, 2),)


def test_free_clients_prefer_what_needs_no_build() -> None:
    """With dear CPU and few clients the full pull is the plan: 'do not bother' is an answer."""
    plan = solve(two_step(prices={"egress_per_gb": 1e9, "server_cpu_per_hour": 3600 * 1000}))
    assert plan.routes == (None,)
    assert plan.build == ()


def test_limit_that_binds_has_a_shadow_price() -> None:
    """8 B of storage fit the two hops (24 B sent); 7 B fit neither, so clients pull 150 B in full."""
    plan = solve(two_step(limits={"stored_bytes": 7}))
    assert plan.routes == (None,)
    # The relaxation keeps 7/8 of the route: each further byte saves (150 - 24) / 8.
    assert plan.shadow_prices["stored_bytes"] == pytest.approx(126 / 8 * 1e9)
    assert solve(two_step(limits={"stored_bytes": 100})).shadow_prices == {"stored_bytes": 0.0}


def test_part_that_two_deltas_share_is_paid_once() -> None:
    """Two targets whose deltas need the same 10 B part: 1 + 1 + 10 B stored."""
    graph = {
        "format": "deltaplan-graph/1",
        "commits": ["A", "B", "C"],
        "candidates": {"base": [0, 0], "target": [1, 2], "wire_bytes": [11, 11], "stored_bytes": [1, 1]},
        "parts": {"stored_bytes": [10], "candidate": [0, 1], "part": [0, 0]},
        "demands": {"base": [0, 0], "target": [1, 2], "clients": [1, 1]},
        "prices": {"storage_per_gb": 1e9},
        "limits": {"stored_bytes": 12},
    }
    plan = solve(graph_from_dict(graph))
    assert plan.evaluation.stored_bytes == 12
    with pytest.raises(InfeasibleError, match=r"limits\.stored_bytes: cannot be met: needed=12\.0, allowed=11"):
        solve(graph_from_dict({**graph, "limits": {"stored_bytes": 11}}))


def test_both_limits_together_can_be_what_fails() -> None:
    """Each limit can be met alone: small-but-dear-to-build against large-but-cheap."""
    graph = {
        "format": "deltaplan-graph/1",
        "commits": ["A", "B"],
        "candidates": {"base": [0, 0], "target": [1, 1], "wire_bytes": [1, 9], "server_cpu_s": [9, 1]},
        "demands": {"base": [0], "target": [1], "clients": [1]},
    }
    for allowed in (5, 1):  # 1 B is just what the smaller one needs
        limits = {"stored_bytes": allowed, "server_cpu_s": 5}
        with pytest.raises(InfeasibleError, match=rf"together with the other limit: needed=9\.0, allowed={allowed}"):
            solve(graph_from_dict({**graph, "limits": limits}))


def test_demand_that_nothing_serves_is_named() -> None:
    """The error says which demand, and its two ends by name."""
    demands = {"base": [0, 2], "target": [2, 0], "clients": [3, 1]}
    with pytest.raises(InfeasibleError, match=r"demands\[1\]: has no route .* base='C', target='A'"):
        solve(two_step(demands=demands))


def test_hop_and_byte_limits_that_conflict_are_found_before_solving() -> None:
    """One hop is too large and two are too many, though each limit can be met alone."""
    demands = {"base": [0], "target": [2], "clients": [1], "max_hops": [1], "max_wire_bytes": [9]}
    with pytest.raises(InfeasibleError, match=r"demands\[0\]"):
        solve(two_step(demands=demands))


def test_graph_without_demands_gives_an_empty_plan() -> None:
    """Nothing asked, nothing built, nothing owed."""
    plan = solve(two_step(demands={"base": [], "target": [], "clients": []}))
    assert (plan.build, plan.routes, plan.cost.total, plan.gap) == ((), (), 0.0, 0.0)


@pytest.mark.parametrize("seed", range(10))
def test_same_seed_gives_the_same_plan(seed: int) -> None:
    """Plans are reproducible: build, routes and bound."""
    problem = random_problem(seed, commits=7, candidates=24, demands=8).replace(limits=Limits())
    try:
        first, second = solve(problem, Options(seed=seed)), solve(problem, Options(seed=seed))
    except InfeasibleError:
        return
    assert (first.build, first.routes, first.lower_bound) == (second.build, second.routes, second.lower_bound)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("time_limit_s", [0.0, 4.0, 30.0])
def test_spent_time_limit_still_gives_a_plan_with_its_bound(seed: int, time_limit_s: float) -> None:
    """A clock that ticks at every look stops the run early: feasible where full pulls are, bound below the optimum."""
    ticks = itertools.count()
    problem = random_problem(seed, commits=8, candidates=30, demands=10)
    demands = dataclasses.replace(
        problem.demands, full_pull_bytes=np.full(10, 15.0), max_wire_bytes=np.full(10, np.inf)
    )
    problem = problem.replace(demands=demands, limits=Limits())
    hurried = solve(problem, Options(time_limit_s=time_limit_s, clock=lambda: float(next(ticks))))
    optimum = solve(problem).cost.total
    assert evaluate(problem, hurried.selection).is_feasible
    assert hurried.lower_bound <= optimum <= hurried.cost.total * (1 + 1e-9)
    assert hurried.status in ((Status.OPTIMAL,) if hurried.gap <= OPTIMAL_GAP else (Status.TIME_LIMIT,))


@pytest.mark.parametrize("seed", range(120))
def test_asked_gap_is_kept(seed: int) -> None:
    """With `gap=0.1` the plan costs at most 1 / 0.9 of the optimum, and its status says why it stopped."""
    problem = random_problem(seed, commits=5, candidates=10, demands=6)
    try:
        optimum = solve(problem).cost.total
    except InfeasibleError:
        with pytest.raises(InfeasibleError):
            solve(problem, Options(gap=0.1))
        return
    plan = solve(problem, Options(gap=0.1))
    assert plan.cost.total * 0.9 <= optimum * (1 + 1e-9)
    assert plan.lower_bound <= optimum
    assert plan.status is (Status.OPTIMAL if plan.gap <= OPTIMAL_GAP else Status.GAP_LIMIT)


def test_byte_limit_within_the_solvers_tolerance_is_kept_exactly() -> None:
    """Two hops of 10^11 + 1 B exceed a limit of 2 * 10^11 + 1 B by one byte; the solver alone would take them."""
    size = 10**11
    candidates = {"base": [0, 0, 1, 1], "target": [1, 1, 2, 2], "wire_bytes": [size + 1, size, size + 1, size]}
    plan = solve(
        two_step(
            candidates={**candidates, "client_cpu_s": [1, 2, 1, 2]},
            demands={"base": [0], "target": [2], "clients": [1], "max_wire_bytes": [2 * size + 1]},
            prices={"client_cpu_per_hour": 3600},
            limits={"stored_bytes": 10 * size},
        )
    )
    assert (plan.cost.total, plan.status) == (3.0, Status.OPTIMAL)


def test_limit_within_the_solvers_tolerance_is_kept_exactly() -> None:
    """A budget that the cheap pair exceeds by one byte in 10^12 leaves the dear pair."""
    size = 10**12
    candidates = {"base": [0, 0, 1, 1], "target": [1, 1, 2, 2], "wire_bytes": [1, 2, 1, 2]}
    plan = solve(
        two_step(
            candidates={**candidates, "stored_bytes": [size + 1, size, size + 1, size]},
            demands={"base": [0], "target": [2], "clients": [1]},
            limits={"stored_bytes": 2 * size + 1},
        )
    )
    assert (plan.cost.total, plan.evaluation.stored_bytes) == (3.0, 2 * size + 1)


def test_fractional_bytes_that_just_fit_are_no_infeasibility() -> None:
    """0.1 + 0.2 + 0.3 B is 0.6 B exactly rounded, and more than 0.6 when added one by one."""
    plan = solve(
        two_step(
            commits=["A", "B", "C", "D"],
            candidates={"base": [0, 1, 2], "target": [1, 2, 3], "wire_bytes": [0.1, 0.2, 0.3]},
            demands={"base": [0], "target": [3], "clients": [1], "max_wire_bytes": [0.6]},
        )
    )
    assert plan.routes == ((0, 1, 2),)


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6, 1e12])
@pytest.mark.parametrize("seed", range(15))
def test_scale_of_prices_does_not_matter(seed: int, scale: float) -> None:
    """Money in another currency: the same optimum in it, proven as well."""
    problem = random_problem(seed, commits=5, candidates=10, demands=5)
    prices = {name: getattr(problem.prices, name) * scale for name in Prices.__slots__}
    try:
        optimum = solve(problem).cost.total
    except InfeasibleError:
        return
    scaled = solve(problem.replace(prices=Prices(**prices)))
    assert scaled.cost.total == pytest.approx(optimum * scale, rel=1e-6)
    assert scaled.lower_bound <= optimum * scale * (1 + 1e-12)
    assert scaled.status is Status.OPTIMAL


def test_limits_that_nothing_meets_in_no_time_are_no_plan() -> None:
    """With no time to prove it, the error says what the best selection found breaks, and no infinite amount."""
    graph = two_step(demands={"base": [0], "target": [2], "clients": [1]}, limits={"stored_bytes": 5})
    with pytest.raises(InfeasibleError, match=r"in the time allowed: .*stored_bytes: exceeded: needed=8\.0"):
        solve(graph, Options(time_limit_s=0.0))


@pytest.mark.parametrize("options", [{"gap": -0.1}, {"gap": float("nan")}, {"time_limit_s": float("nan")}])
def test_options_that_mean_nothing_are_refused(options: dict[str, float]) -> None:
    """A NaN would silently turn every stop rule off."""
    with pytest.raises(InputError, match="is negative or not a number"):
        Options(**options)
