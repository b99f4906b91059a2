"""Reasons: money that adds up, margins that are right when they are applied, proofs that exclude no better plan."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from planner.errors import InfeasibleError
from planner.optimize.evaluate import evaluate
from planner.optimize.explain import explain_candidate
from planner.optimize.explain_proof import find_duals, prove_candidate
from planner.optimize.explain_reason import Reason, give_reason
from planner.optimize.interchange import graph_from_dict
from planner.optimize.plan import Plan
from planner.optimize.problem import Problem
from planner.optimize.routes import select
from planner.optimize.solve import solve
from tests.optimize.tiny import exhaustive, random_graph, random_problem, two_step

_CANDIDATES = 12
_SLIGHTLY = 1e-6


def _solved(seed: int) -> tuple[Problem, Plan] | None:
    """Without ties: what a margin says holds up to ties, which the amounts of `tiny` are full of."""
    problem = random_problem(seed, commits=5, candidates=_CANDIDATES, demands=6)
    rng = np.random.default_rng(seed)
    wire_bytes = problem.candidates.wire_bytes + rng.random(_CANDIDATES) / 8
    problem = problem.replace(candidates=dataclasses.replace(problem.candidates, wire_bytes=wire_bytes))
    try:
        return problem, solve(problem)
    except InfeasibleError:
        return None


def _changed(problem: Problem, reason: Reason, sign: float, **margin: float) -> Problem:
    """The problem with one amount of the candidate (or its clients) changed by the margin."""
    [(name, amount)] = margin.items()
    if name == "clients":
        clients, users = problem.demands.clients.copy(), [one.demand for one in reason.switches]
        clients[users] *= 1 - sign * amount / clients[users].sum()
        return problem.replace(demands=dataclasses.replace(problem.demands, clients=clients))
    column = getattr(problem.candidates, name).copy()
    column[reason.candidate] += sign * amount
    return problem.replace(candidates=dataclasses.replace(problem.candidates, **{name: column}))


def _margins(reason: Reason) -> list[tuple[str, float | None]]:
    return list(dataclasses.asdict(reason.margin).items())


def _rejudged(problem: Problem, plan: Plan) -> Plan:
    return dataclasses.replace(plan, evaluation=evaluate(problem, plan.selection))


@pytest.mark.parametrize("seed", range(60))
def test_what_a_candidate_costs_and_saves_adds_up_to_the_verdict(seed: int) -> None:
    """Every addend is money of the model; together they are the difference of the two evaluations."""
    solved = _solved(seed)
    if solved is None:
        return
    problem, plan = solved
    for candidate in range(_CANDIDATES):
        reason, verdict = give_reason(problem, plan, candidate), explain_candidate(problem, plan, candidate)
        sign = -1.0 if reason.is_chosen else 1.0
        assert reason.balance_money == sign * verdict.change_money
        assert reason.stored_bytes == sign * verdict.stored_bytes
        assert reason.violations == verdict.violations
        if any(one.saved_money is None for one in reason.switches):
            assert reason.violations
            continue
        assert reason.storage_money + reason.server_cpu_money == pytest.approx(problem.candidate_money[candidate])
        total = reason.storage_money + reason.server_cpu_money + reason.parts_money + reason.companions_money
        total -= reason.freed_money + reason.other_saved_money + sum(one.saved_money or 0.0 for one in reason.switches)
        if not any(text.startswith("routes") for text in reason.violations):
            assert total == pytest.approx(reason.balance_money, abs=1e-9 * plan.cost.total + 1e-12)


@pytest.mark.parametrize("seed", range(120))
def test_a_candidate_that_improves_by_its_margin_enters_and_by_less_does_not(seed: int) -> None:
    """Slightly more than said: it breaks nothing and costs nothing; slightly less: it does, or nobody takes it."""
    solved = _solved(seed)
    if solved is None:
        return
    problem, plan = solved
    for candidate in set(range(_CANDIDATES)) - set(plan.build):
        reason = give_reason(problem, plan, candidate)
        for name, amount in _margins(reason):
            own = np.inf if name == "clients" else getattr(problem.candidates, name)[candidate]
            if amount is None or not amount:
                continue
            assert 0.0 <= amount <= own
            more = _changed(problem, reason, -1.0, **{name: min(amount * (1 + _SLIGHTLY), own)})
            verdict = explain_candidate(more, _rejudged(more, plan), candidate)
            assert not verdict.violations, (candidate, name, amount)
            assert verdict.change_money <= 1e-9 * plan.cost.total, (candidate, name, amount)
            less = _changed(problem, reason, -1.0, **{name: amount * (1 - _SLIGHTLY)})
            before = give_reason(less, _rejudged(less, plan), candidate)
            is_used = bool(before.switches)
            assert before.violations or before.balance_money > 0.0 or not is_used, (candidate, name, amount)


@pytest.mark.parametrize("seed", range(60))
def test_no_amount_means_that_even_all_of_it_is_not_enough(seed: int) -> None:
    """Storage, CPU or wire bytes down to nothing, a million times the clients: adding it still costs or breaks."""
    solved = _solved(seed)
    if solved is None:
        return
    problem, plan = solved
    for candidate in set(range(_CANDIDATES)) - set(plan.build):
        reason = give_reason(problem, plan, candidate)
        for name, amount in _margins(reason):
            if amount is not None:
                continue
            if name == "clients":
                total = sum(one.clients for one in reason.switches)
                if not total:
                    continue
                all_of_it = _changed(problem, reason, -1.0, clients=1e6 * total)
            else:
                own = float(getattr(problem.candidates, name)[candidate])
                all_of_it = _changed(problem, reason, -1.0, **{name: own})
            verdict = explain_candidate(all_of_it, _rejudged(all_of_it, plan), candidate)
            assert verdict.violations or verdict.change_money >= -1e-9 * plan.cost.total, (candidate, name)


@pytest.mark.parametrize("seed", range(120))
def test_a_chosen_candidate_leaves_when_it_worsens_by_its_margin_and_not_before(seed: int) -> None:
    """Slightly more: it is unused, dearer than the plan without it, or too much for a limit; slightly less: none."""
    solved = _solved(seed)
    if solved is None:
        return
    problem, plan = solved
    for candidate in plan.build:
        reason = give_reason(problem, plan, candidate)
        for name, amount in _margins(reason):
            if amount is None or not amount:
                continue
            assert amount >= 0.0
            for factor, leaves in ((1 + _SLIGHTLY, True), (1 - _SLIGHTLY, False)):
                worse = _changed(problem, reason, 1.0, **{name: amount * factor})
                has_left = _has_left(worse, plan, candidate)
                assert has_left == leaves, (candidate, name, amount, factor)


def _has_left(problem: Problem, plan: Plan, candidate: int) -> bool:
    is_open = np.isin(np.arange(_CANDIDATES), plan.build)
    kept = evaluate(problem, select(problem, is_open))
    is_open[candidate] = False
    without = evaluate(problem, select(problem, is_open))
    return candidate not in kept.selection.build or not kept.is_feasible or without.cost.total <= kept.cost.total


@pytest.mark.parametrize("seed", range(80))
def test_no_plan_with_the_candidate_costs_less_than_is_proven(seed: int) -> None:
    """Against all selections: the cheapest plan that keeps it, for the solver's duals and for those found anew."""
    graph: dict[str, Any] = random_graph(seed, candidates=6)
    problem = graph_from_dict(graph)
    try:
        plan = solve(problem)
    except InfeasibleError:
        return
    for duals in (plan.duals, find_duals(problem, plan)):
        if duals is None:
            continue
        for candidate in range(6):
            proof = prove_candidate(problem, plan, candidate, duals)
            with_it = _cheapest_with(graph, candidate)
            assert proof.reduced_money >= 0.0
            if with_it is not None:
                assert proof.with_it_money <= with_it * (1 + 1e-9) + 1e-12
                if proof.is_excluded:
                    assert with_it > plan.cost.total


def _cheapest_with(graph: dict[str, Any], candidate: int) -> float | None:
    """What the cheapest plan that keeps a candidate costs: the candidate free and sunk, its money on top."""
    problem = graph_from_dict(graph)
    rows, money = problem.candidates, float(problem.candidate_money[candidate])
    stored_bytes, built = rows.stored_bytes.copy(), rows.built.copy()
    freed_bytes, cpu = float(stored_bytes[candidate]), 0.0 if built[candidate] else float(rows.server_cpu_s[candidate])
    parts = problem.parts_of[candidate]
    if parts:  # parts are shared with others: judged by selections that keep it
        return None
    stored_bytes[candidate], built[candidate] = 0.0, True
    limits = problem.limits
    limits = dataclasses.replace(
        limits,
        stored_bytes=None if limits.stored_bytes is None else limits.stored_bytes - freed_bytes,
        server_cpu_s=None if limits.server_cpu_s is None else limits.server_cpu_s - cpu,
    )
    free = problem.replace(candidates=dataclasses.replace(rows, stored_bytes=stored_bytes, built=built), limits=limits)
    best = exhaustive(free)
    return None if best is None else best.cost.total + money


# -- worlds to check by hand ----------------------------------------------------------------------------------------

_MONEY = {"egress_per_gb": 1e9, "server_cpu_per_hour": 3600}
"""A byte and a core-second cost 1."""


def test_candidate_that_nobody_takes_needs_fewer_bytes_and_nothing_else_helps() -> None:
    """Two hops of 4 B serve 3 clients; the direct delta has 10 B and takes 9 s: 3 (w - 2) + 2 = 9 at w = 4 1/3."""
    problem = two_step(prices=_MONEY)
    reason = give_reason(problem, solve(problem), 0)
    assert (reason.is_chosen, reason.switches, reason.balance_money, reason.server_cpu_money) == (False, (), 9.0, 9.0)
    assert reason.decisive == "prices.egress_per_gb"
    margin = reason.margin
    assert (margin.stored_bytes, margin.server_cpu_s, margin.clients) == (None, None, None)
    assert margin.wire_bytes == pytest.approx(13 / 3)
    assert reason.proof is not None
    assert reason.proof.is_excluded


def test_candidate_that_costs_more_than_it_saves_names_the_price_and_every_amount() -> None:
    """A direct delta of 6 B: saves 3 x 2, lets two hops of a second each go, and takes 9 s of CPU: 1 too much."""
    rows = {"base": [0, 0, 1], "target": [2, 1, 2], "wire_bytes": [6, 4, 4], "server_cpu_s": [9, 1, 1]}
    problem = two_step(prices=_MONEY, candidates=rows)
    reason = give_reason(problem, solve(problem), 0)
    assert (reason.balance_money, reason.freed, reason.freed_money) == (1.0, (1, 2), 2.0)
    assert [(one.demand, one.clients, one.saved_money) for one in reason.switches] == [(0, 3.0, 6.0)]
    assert reason.decisive == "prices.server_cpu_per_hour"
    assert reason.margin.stored_bytes is None
    assert reason.margin.server_cpu_s == 1.0
    assert reason.margin.wire_bytes == pytest.approx(1 / 3)
    assert reason.margin.clients == pytest.approx(1 / 2)


def test_candidate_that_a_limit_of_the_server_forbids_names_it() -> None:
    """The direct delta saves 9 and takes 9 s where 2 s are allowed: 7 s fewer and it is in, no other amount helps."""
    rows = {"base": [0, 0, 1], "target": [2, 1, 2], "wire_bytes": [5, 4, 4], "server_cpu_s": [9, 1, 1]}
    problem = two_step(candidates=rows, limits={"server_cpu_s": 2})
    plan = dataclasses.replace(solve(problem), shadow_prices={"server_cpu_s": 3600.0})
    reason = give_reason(problem, plan, 0)
    assert reason.balance_money == pytest.approx(-9.0)
    assert reason.decisive == "limits.server_cpu_s"
    assert reason.limit_money == {"server_cpu_s": 7.0}
    assert dataclasses.astuple(reason.margin) == (None, 7.0, None, None)


def test_candidate_that_the_clients_hop_limit_forbids_names_it() -> None:
    """Clients on A may take one hop, so A -> B is no use to them although B -> C is built for others."""
    demands = {"base": [0, 1], "target": [2, 2], "clients": [3, 2], "full_pull_bytes": [50, 50], "max_hops": [1, None]}
    problem = two_step(prices=_MONEY, demands=demands)
    plan = solve(problem)
    assert plan.build == (0, 2)
    assert give_reason(problem, plan, 1).decisive == "demands.max_hops"


def test_chosen_candidate_says_what_dropping_costs_and_how_far_it_may_worsen() -> None:
    """Without the first of two hops 3 clients pull 50 B each: 150 instead of 24 and two seconds."""
    problem = two_step(prices=_MONEY)
    reason = give_reason(problem, solve(problem), 1)
    assert (reason.is_chosen, reason.balance_money, reason.companions) == (True, -124.0, (2,))
    assert [(one.demand, one.saved_money) for one in reason.switches] == [(0, 126.0)]
    assert reason.margin.stored_bytes is None
    assert reason.margin.server_cpu_s == 124.0
    assert reason.margin.wire_bytes == pytest.approx(124 / 3)
    assert reason.margin.clients == pytest.approx(124 / 126 * 3)


def test_candidate_without_which_clients_have_no_way_may_worsen_without_end() -> None:
    """No full pull is allowed."""
    problem = two_step(demands={"base": [0], "target": [2], "clients": [3], "max_hops": [1]})
    reason = give_reason(problem, solve(problem), 0)
    assert (reason.decisive, reason.switches[0].saved_money) == ("demands", None)
    assert dataclasses.astuple(reason.margin) == (None, None, None, None)
