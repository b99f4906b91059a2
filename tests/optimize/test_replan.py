"""Replanning: graphs that say the same in another order change nothing; what differs is named with its cause."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from planner.errors import InfeasibleError
from planner.optimize.evaluate import evaluate
from planner.optimize.interchange import graph_from_dict
from planner.optimize.plan import Plan
from planner.optimize.problem import Problem
from planner.optimize.replan import Replanned, carry_over, match_candidates, match_demands, replan
from planner.optimize.solve import solve
from tests.optimize.tiny import random_graph

Graph = dict[str, Any]


def _shuffled(graph: Graph, seed: int) -> Graph:
    """The same graph with commits, candidates and demands in another order."""
    rng = np.random.default_rng(seed)
    graph = copy.deepcopy(graph)
    commits, rows, demands = graph["commits"], graph["candidates"], graph["demands"]
    moved, order, asks = (rng.permutation(len(x)) for x in (commits, rows["base"], demands["base"]))
    number = np.argsort(moved).tolist()
    graph["commits"] = [commits[i] for i in moved]
    # Parallel candidates keep their order: beyond their bytes nothing else tells them apart.
    order = np.array(sorted(range(len(order)), key=lambda i: (number[rows["base"][i]], number[rows["target"][i]], i)))
    graph["candidates"] = {key: [column[i] for i in order] for key, column in rows.items()}
    graph["demands"] = {key: [column[i] for i in asks] for key, column in demands.items()}
    for table in (graph["candidates"], graph["demands"]):
        for end in ("base", "target"):
            table[end] = [number[i] for i in table[end]]
    new_row = np.argsort(order).tolist()
    graph["parts"]["candidate"] = [new_row[i] for i in graph["parts"]["candidate"]]
    return graph


def _solved(graph: Graph) -> tuple[Problem, Plan] | None:
    problem = graph_from_dict(graph)
    try:
        return problem, solve(problem)
    except InfeasibleError:
        return None


def _names(problem: Problem, candidate: int) -> tuple[Any, ...]:
    rows = problem.candidates
    ends = problem.commits[rows.base[candidate]], problem.commits[rows.target[candidate]]
    return (*ends, rows.wire_bytes[candidate], rows.stored_bytes[candidate])


@pytest.mark.parametrize("seed", range(40))
def test_the_same_graph_in_another_order_is_matched_by_names(seed: int) -> None:
    """Every candidate and demand finds itself, and yesterday's plan costs what it did."""
    graph = random_graph(seed, commits=5, candidates=12, demands=6)
    solved = _solved(graph)
    if solved is None:
        return
    previous, plan = solved
    problem = graph_from_dict(_shuffled(graph, seed))
    everything = range(12)
    found = match_candidates(previous, problem, everything)
    assert sorted(found) == sorted(found.values()) == list(everything)
    assert all(_names(previous, old) == _names(problem, new) for old, new in found.items())
    assert sorted(match_demands(previous, problem)) == list(range(6))
    again = replan(previous, plan, problem)
    assert again.carried.standing.is_feasible
    assert again.carried.standing.cost.total == pytest.approx(plan.cost.total)
    assert again.carried.start is not None
    assert again.plan.cost.total == pytest.approx(plan.cost.total, rel=2e-6)
    assert again.change.demands == ()
    assert {one.kind for one in again.change.candidates} <= {"kept", "added", "dropped"}


def _mutated(graph: Graph, seed: int) -> Graph:
    """Fewer candidates, other clients, sizes and limits, in another order, and a commit of another name."""
    rng = np.random.default_rng(seed + 1000)
    graph = _shuffled(graph, seed)
    kept = np.flatnonzero(rng.random(len(graph["candidates"]["base"])) < 0.8).tolist()
    new_row = {old: new for new, old in enumerate(kept)}
    graph["candidates"] = {key: [column[i] for i in kept] for key, column in graph["candidates"].items()}
    parts = graph["parts"]
    pairs = [(new_row[c], p) for c, p in zip(parts["candidate"], parts["part"], strict=True) if c in new_row]
    parts["candidate"], parts["part"] = [c for c, _ in pairs], [p for _, p in pairs]
    graph["demands"]["clients"] = rng.choice([0, 1, 3, 8], len(graph["demands"]["base"])).tolist()
    graph["commits"][int(rng.integers(len(graph["commits"])))] = "new"
    if rng.random() < 0.5:
        graph["limits"] = {"stored_bytes": int(rng.integers(2, 16)), "server_cpu_s": None}
    return graph


def _replanned(seed: int) -> tuple[Problem, Plan, Problem, Replanned] | None:
    graph = random_graph(seed, commits=5, candidates=12, demands=6)
    yesterday, today = _solved(graph), _solved(_mutated(graph, seed))
    if yesterday is None or today is None:
        return None
    return *yesterday, today[0], replan(*yesterday, today[0])


@pytest.mark.parametrize("seed", range(80))
def test_what_changed_leads_from_one_plan_to_the_other(seed: int) -> None:
    """Kept and added are today's build, kept and dropped yesterday's; the start is judged, and no plan is dearer."""
    found = _replanned(seed)
    if found is None:
        return
    previous, plan, problem, again = found
    change = again.change
    by_kind = {kind: [one for one in change.candidates if one.kind == kind] for kind in ("added", "dropped", "kept")}
    assert sorted(one.candidate for one in by_kind["kept"] + by_kind["added"]) == list(again.plan.build)
    assert sorted(one.previous for one in by_kind["kept"] + by_kind["dropped"]) == list(plan.build)
    assert all(one.cause for one in by_kind["added"] + by_kind["dropped"])
    assert not any(one.cause for one in by_kind["kept"])
    for one in by_kind["kept"]:
        assert _names(previous, one.previous)[:2] == _names(problem, one.candidate)[:2] == (one.base, one.target)
    carried = again.carried
    if carried.start is not None:
        judged = evaluate(problem, carried.start)
        assert judged.is_feasible
        assert again.plan.cost.total <= judged.cost.total
    if change.standing_money is None:
        assert change.standing_fault
        assert change.saved_money is None
    else:
        assert change.standing_money == evaluate(problem, carried.standing.selection).cost.total
        assert change.saved_money == change.standing_money - again.plan.cost.total
        assert change.saved_money >= -1e-6 * again.plan.cost.total
    assert len(change.demands) == 2 * (6 - len(carried.demand_of))
    changed = {one.demand for one in change.routes}
    for old, new in carried.demand_of.items():
        if new not in changed and plan.routes[old] is not None:
            mapped = [_names(previous, hop)[:2] for hop in plan.routes[old] or ()]
            assert mapped == [_names(problem, hop)[:2] for hop in again.plan.routes[new] or ()]


@pytest.mark.parametrize("seed", range(40))
def test_yesterdays_plan_on_its_own_graph_is_as_it_was(seed: int) -> None:
    """Nothing changed: nothing is reported but what is kept."""
    solved = _solved(random_graph(seed, commits=5, candidates=12, demands=6))
    if solved is None:
        return
    problem, plan = solved
    again = replan(problem, plan, problem)
    assert again.carried.start == plan.selection
    assert again.plan.cost.total <= plan.cost.total
    if again.plan.selection == plan.selection:
        assert [one.kind for one in again.change.candidates] == ["kept"] * len(plan.build)
        assert (again.change.routes, again.change.demands, again.change.saved_money) == ((), (), 0.0)


# -- a world to check by hand: A, B behind C, through B -------------------------------------------------------------


def _world(**changes: Any) -> Graph:
    """A -> B (4 B), B -> C (4 B), A -> C (10 B); clients on A and B want C; 9 s of CPU for the direct delta."""
    graph: Graph = {
        "format": "deltaplan-graph/1",
        "commits": ["A", "B", "C"],
        "candidates": {
            "base": [0, 0, 1],
            "target": [2, 1, 2],
            "wire_bytes": [10, 4, 4],
            "server_cpu_s": [9, 1, 1],
        },
        "demands": {"base": [0, 1], "target": [2, 2], "clients": [3, 2], "full_pull_bytes": [50, 50]},
        "prices": {"egress_per_gb": 1e9, "server_cpu_per_hour": 3600},
    }
    return {**graph, **changes}


def _change(today: Graph) -> Replanned:
    yesterday = graph_from_dict(_world())
    return replan(yesterday, solve(yesterday), graph_from_dict(today))


def _causes(again: Replanned, kind: str) -> dict[tuple[str, str], tuple[str, str]]:
    return {(one.base, one.target): (one.cause, one.detail) for one in again.change.candidates if one.kind == kind}


def test_a_new_release_names_the_new_commit_and_the_demand_that_went() -> None:
    """Everyone wants D now: C -> D is added for the new commit; nothing led only to demands that are gone."""
    today = _world(
        commits=["A", "B", "C", "D"],
        candidates={
            "base": [0, 0, 1, 2],
            "target": [2, 1, 2, 3],
            "wire_bytes": [10, 4, 4, 3],
            "server_cpu_s": [9, 1, 1, 1],
            "built": [False, True, True, False],
        },
        demands={"base": [0, 1], "target": [3, 3], "clients": [3, 2], "full_pull_bytes": [50, 50]},
    )
    again = _change(today)
    assert _causes(again, "added") == {("C", "D"): ("new commit", "D")}
    assert _causes(again, "dropped") == {}
    assert sorted((one.kind, one.target) for one in again.change.demands) == [
        *(("gone", "C"), ("gone", "C"), ("new", "D"), ("new", "D"))
    ]
    # Two full pulls of 50 B for five clients, and nothing built anew.
    assert (again.change.standing_money, again.change.money) == (250.0, 3 * 11 + 2 * 7 + 1)
    assert again.change.unbuilt == ()


def test_a_candidate_that_is_no_longer_offered_is_named() -> None:
    """Without A -> B the clients on A go directly; yesterday's plan would leave them a full pull."""
    candidates = {"base": [0, 1], "target": [2, 2], "wire_bytes": [10, 4], "server_cpu_s": [9, 1]}
    again = _change(_world(candidates=candidates))
    assert _causes(again, "dropped") == {("A", "B"): ("no longer offered", "A → B")}
    assert _causes(again, "added") == {("A", "C"): ("no longer offered", "A → B")}
    [route] = again.change.routes
    assert (route.base, route.before, route.after) == ("A", ("B", "C"), ("C",))
    assert again.change.standing_money == 150 + 8 + 1
    assert again.change.unbuilt == (1,)


def test_a_price_that_changed_is_named() -> None:
    """Hops that cost 10 each: the direct delta is worth its CPU now."""
    prices = {"egress_per_gb": 1e9, "server_cpu_per_hour": 3600, "per_hop": 10}
    again = _change(_world(prices=prices))
    assert _causes(again, "added") == {("A", "C"): ("price", "prices.per_hop")}
    assert _causes(again, "dropped") == {("A", "B"): ("price", "prices.per_hop")}


def test_a_limit_that_yesterdays_plan_breaks_is_named() -> None:
    """Room for one delta of 4 B only: B -> C or a route through it stays, the other clients pull in full."""
    again = _change(_world(limits={"stored_bytes": 7}))
    assert again.change.standing_money is None
    assert again.change.standing_fault.startswith("limits.stored_bytes: exceeded")
    assert again.change.saved_money is None
    assert _causes(again, "dropped") == {("A", "B"): ("limit", "limits.stored_bytes")}
    [route] = again.change.routes
    assert (route.base, route.after, route.cause) == ("A", None, "limit")


def test_clients_that_moved_are_named() -> None:
    """A hundred clients fewer hops away, none left on A: its first hop is not worth a second of CPU."""
    demands = {"base": [0, 1], "target": [2, 2], "clients": [0, 2], "full_pull_bytes": [50, 50]}
    again = _change(_world(demands=demands))
    assert _causes(again, "dropped") == {("A", "B"): ("demand shifted", "")}


def test_a_demand_without_a_way_makes_yesterdays_plan_infeasible_and_is_served_in_the_start() -> None:
    """New clients that may not pull in full: the standing plan has no way for them, the start and the plan have."""
    today = _world(
        commits=["A", "B", "C", "D"],
        candidates={"base": [0, 0, 1, 3], "target": [2, 1, 2, 2], "wire_bytes": [10, 4, 4, 5]},
        demands={"base": [0, 1, 3], "target": [2, 2, 2], "clients": [3, 2, 1], "full_pull_bytes": [50, 50, None]},
    )
    again = _change(today)
    assert again.change.standing_fault == "clients on 'D' that want 'C' have no way"
    assert again.carried.start is not None
    assert again.carried.start.routes[2] == (3,)
    assert _causes(again, "added") == {("D", "C"): ("new commit", "D")}


def test_parallel_candidates_are_matched_by_their_bytes_first() -> None:
    """Two deltas between the same commits, listed the other way round today, and one that only the order tells."""
    rows = {"base": [0, 0, 0], "target": [1, 1, 1], "wire_bytes": [5, 6, 7]}
    ask = {"base": [0], "target": [1], "clients": [1]}
    one = graph_from_dict(_world(commits=["A", "B"], candidates=rows, demands=ask))
    two = graph_from_dict(_world(commits=["B", "A"], candidates={**rows, "base": [1] * 3, "target": [0] * 3,
        "wire_bytes": [6, 5, 8]}, demands={"base": [1], "target": [0], "clients": [1]}))  # fmt: skip
    assert match_candidates(one, two, [0]) == {0: 1, 1: 0, 2: 2}
    assert carry_over(one, solve(one), two).demand_of == {0: 0}


def test_a_route_that_todays_limits_forbid_is_not_carried_over() -> None:
    """The clients on A may follow one hop now: as it stands they pull in full, and both deltas are still kept."""
    demands = {"base": [0, 1], "target": [2, 2], "clients": [3, 2], "full_pull_bytes": [50, 50], "max_hops": [1, None]}
    again = _change(_world(demands=demands))
    assert again.carried.standing.selection.routes == (None, (2,))
    assert again.change.standing_money == 150 + 8 + 2
    assert again.carried.start is not None
    assert again.carried.start.build == (2,)
