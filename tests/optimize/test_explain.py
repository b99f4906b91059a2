"""Explanations: their numbers are those that `evaluate` gives."""

from __future__ import annotations

import numpy as np
import pytest

from planner.errors import InfeasibleError
from planner.optimize.evaluate import Selection, evaluate
from planner.optimize.explain import explain_candidate, explain_demand
from planner.optimize.plan import Plan
from planner.optimize.problem import Problem
from planner.optimize.routes import select
from planner.optimize.solve import solve
from tests.optimize.tiny import random_problem, two_step


def _solved(seed: int) -> tuple[Problem, Plan] | None:
    problem = random_problem(seed, commits=5, candidates=12, demands=6)
    try:
        return problem, solve(problem)
    except InfeasibleError:
        return None


@pytest.mark.parametrize("seed", range(40))
def test_change_money_is_the_difference_of_two_evaluations(seed: int) -> None:
    """Each candidate flipped, every client rerouted, judged anew: the verdict's three differences and its rules."""
    solved = _solved(seed)
    if solved is None:
        return
    problem, plan = solved
    for candidate in range(len(problem.candidates)):
        verdict = explain_candidate(problem, plan, candidate)
        is_open = np.isin(np.arange(12), plan.build)
        is_open[candidate] = candidate not in plan.build
        rerouted = select(problem, is_open)
        build = set(rerouted.build) | ({candidate} if is_open[candidate] else set())
        judged = evaluate(problem, Selection(build=tuple(sorted(build)), routes=rerouted.routes))
        assert verdict.is_chosen == (candidate in plan.build)
        assert verdict.change_money == judged.cost.total - plan.cost.total
        assert verdict.stored_bytes == judged.stored_bytes - plan.evaluation.stored_bytes
        assert verdict.server_cpu_s == judged.server_cpu_s - plan.evaluation.server_cpu_s
        assert verdict.violations == judged.violations
        assert verdict.users == tuple(k for k, route in enumerate(plan.routes) if candidate in (route or ()))


@pytest.mark.parametrize("seed", range(40))
def test_no_single_change_improves_an_optimal_plan(seed: int) -> None:
    """Whatever is flipped either breaks a rule or costs no less."""
    solved = _solved(seed)
    if solved is None:
        return
    problem, plan = solved
    verdicts = [explain_candidate(problem, plan, candidate) for candidate in range(12)]
    assert all(one.violations or one.change_money >= -1e-6 * plan.cost.total - 1e-12 for one in verdicts)


@pytest.mark.parametrize("seed", range(40))
def test_alternatives_money_is_what_serving_the_demand_that_way_costs(seed: int) -> None:
    """The demand alone, one client, in a world where the plan's deltas are sunk: the same bytes and money."""
    solved = _solved(seed)
    if solved is None:
        return
    problem, plan = solved
    for demand, planned in enumerate(plan.routes):
        alternatives = explain_demand(problem, plan, demand)
        assert (alternatives[0].kind, alternatives[0].route) == ("planned", planned)
        assert len({one.route for one in alternatives}) == len(alternatives)
        for one in alternatives:
            routes = [() if k != demand else one.route for k in range(len(plan.routes))]
            build = tuple(sorted({*plan.build, *(one.route or ())}))
            with_it = evaluate(problem, Selection(build=build, routes=tuple(routes)))
            clients = problem.demands.clients[demand]
            serving = with_it.cost.egress + with_it.cost.client_cpu + with_it.cost.hops
            assert serving == pytest.approx(clients * one.client_money)
            assert with_it.egress_bytes == pytest.approx(clients * one.client_bytes)
            fixed = with_it.cost.storage + with_it.cost.server_cpu - plan.cost.storage - plan.cost.server_cpu
            assert fixed == pytest.approx(one.fixed_money, abs=1e-9)
            own = [text for text in with_it.violations if text.startswith(f"routes[{demand}]: ")]
            assert own == ([f"routes[{demand}]: {one.fault}"] if one.fault else [])


def test_alternatives_of_the_world_checked_by_hand() -> None:
    """Two hops of 4 B are planned; the direct delta newly costs 9 s of CPU; the full pull 50 B."""
    problem = two_step(prices={"egress_per_gb": 1e9, "server_cpu_per_hour": 3600})
    planned, direct, full = explain_demand(problem, solve(problem), 0)
    assert (planned.kind, planned.route, planned.client_bytes, planned.fixed_money) == ("planned", (1, 2), 8.0, 0.0)
    assert (direct.kind, direct.route, direct.client_money, direct.fixed_money) == ("direct", (0,), 10.0, 9.0)
    assert (full.kind, full.route, full.client_bytes, full.fault) == ("full pull", None, 50.0, "")


def test_alternative_that_the_demands_limits_forbid_says_so() -> None:
    """The direct delta is there, and larger than what these clients may download."""
    demands = {"base": [0], "target": [2], "clients": [3], "max_wire_bytes": [9]}
    problem = two_step(demands=demands)
    faults = {one.kind: one.fault for one in explain_demand(problem, solve(problem), 0)}
    assert faults == {"planned": "", "direct": "downloads more than max_wire_bytes"}


def test_cheapest_way_if_all_were_built_is_shown_where_the_plan_takes_another() -> None:
    """With dear CPU the plan is a full pull; the two hops would be cheapest for the client."""
    problem = two_step(prices={"egress_per_gb": 1e9, "server_cpu_per_hour": 3600 * 1000})
    kinds = [(one.kind, one.route, one.fixed_money) for one in explain_demand(problem, solve(problem), 0)]
    assert kinds == [("planned", None, 0.0), ("direct", (0,), 9000.0), ("cheapest if all were built", (1, 2), 2000.0)]


@pytest.mark.parametrize("seed", range(40))
def test_no_alternative_that_is_allowed_costs_less_than_the_plans_way(seed: int) -> None:
    """Of an optimal plan: what is cheaper is forbidden by a limit that is named; what is dearer names its price."""
    solved = _solved(seed)
    if solved is None:
        return
    problem, plan = solved
    for demand in range(len(plan.routes)):
        planned, *others = explain_demand(problem, plan, demand)
        assert (planned.more_money, planned.freed_money, planned.fixed_money, planned.decisive) == (0.0, 0.0, 0.0, "")
        for one in others:
            clients = float(problem.demands.clients[demand])
            more = clients * (one.client_money - planned.client_money) + one.fixed_money - one.freed_money
            assert one.more_money == pytest.approx(more, abs=1e-9)
            if one.fault:
                assert one.decisive in {"demands.max_hops", "demands.max_wire_bytes"}
            elif one.server_fault:
                assert one.decisive == one.server_fault.split(":")[0]
            else:
                assert one.more_money >= -1e-6 * plan.cost.total - 1e-12
                assert bool(one.decisive) == (one.more_money > 1e-12 * plan.cost.total)
            assert not one.decisive.startswith("prices.") or getattr(problem.prices, one.decisive[len("prices.") :]) > 0


def test_alternative_that_the_servers_limit_forbids_names_it() -> None:
    """The direct delta would be cheaper for the clients, and takes longer to build than there is time."""
    rows = {"base": [0, 0, 1], "target": [2, 1, 2], "wire_bytes": [5, 4, 4], "server_cpu_s": [9, 1, 1]}
    problem = two_step(candidates=rows, limits={"server_cpu_s": 2})
    direct = explain_demand(problem, solve(problem), 0)[1]
    assert (direct.kind, direct.decisive) == ("direct", "limits.server_cpu_s")
    assert direct.more_money == pytest.approx(-9.0)
    assert direct.server_fault.startswith("limits.server_cpu_s: exceeded: needed=9.0")


def test_cheaper_route_that_the_hop_limit_forbids_is_shown() -> None:
    """One hop allowed: the two hops are cheaper and too many."""
    problem = two_step(demands={"base": [0], "target": [2], "clients": [3], "max_hops": [1]})
    found = {one.kind: (one.route, one.fault, one.decisive) for one in explain_demand(problem, solve(problem), 0)}
    assert found["cheapest without its limits"] == ((1, 2), "has more hops than max_hops", "demands.max_hops")
