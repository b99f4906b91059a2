"""The one judge: a world checked by hand, the text of every violation, and the laws of its sums."""

from __future__ import annotations

import dataclasses
import re
from math import fsum
from typing import Any

import numpy as np
import pytest

from planner.optimize.evaluate import Costs, Evaluation, Route, Selection, evaluate
from planner.optimize.interchange import graph_from_dict
from planner.optimize.problem import NO_HOP_LIMIT, Problem
from planner.optimize.routes import select
from tests.optimize.tiny import random_problem


def _world(**changes: object) -> Problem:
    """Empty -> A -> B -> C and A -> C; candidate 1 is built; candidates 1 and 2 share part 0; four demands."""
    graph = {
        "format": "deltaplan-graph/1",
        "commits": ["", "A", "B", "C"],
        "candidates": {
            "base": [0, 1, 2, 1],
            "target": [1, 2, 3, 3],
            "wire_bytes": [5e9, 1e9, 2e9, 6e9],
            "stored_bytes": [5e9, 1e9, 2e9, 6e9],
            "server_cpu_s": [3600, 7200, 1800, 3600],
            "client_cpu_s": [36, 72, 18, 36],
            "built": [False, True, False, False],
        },
        "parts": {
            "stored_bytes": [4e9, 8e9],
            "server_cpu_s": [900, 900],
            "built": [False, True],
            "candidate": [1, 2, 2],
            "part": [0, 0, 1],
        },
        "demands": {
            "base": [1, 0, 1, 3],
            "target": [3, 1, 3, 3],
            "clients": [10, 2, 4, 7],
            "full_pull_bytes": [9e9, 20e9, None, None],
            "max_hops": [2, 1, 1, 0],
            "max_wire_bytes": [3e9, None, 7e9, None],
        },
        "prices": {
            "storage_per_gb": 2,
            "server_cpu_per_hour": 3,
            "egress_per_gb": 0.5,
            "client_cpu_per_hour": 10,
            "per_hop": 0.25,
        },
        "limits": {"stored_bytes": 26e9, "server_cpu_s": 6300},
    }
    return graph_from_dict({**graph, **changes})


WHOLE = Selection(build=(1, 2, 3), routes=((1, 2), None, (3,), ()))


def test_world_checked_by_hand() -> None:
    """Every addend of the cost and every physical total, worked out on paper."""
    judged = evaluate(_world(), WHOLE)
    assert judged.violations == ()
    assert judged.stored_bytes == (1 + 2 + 6 + 4 + 8) * 1e9
    assert judged.server_cpu_s == 1800 + 3600 + 900
    assert judged.egress_bytes == (10 * (1 + 2) + 2 * 20 + 4 * 6) * 1e9
    cost = judged.cost
    assert (cost.storage, cost.server_cpu, cost.egress) == (42.0, 6300 / 3600 * 3, 47.0)
    assert cost.client_cpu == pytest.approx((10 * 90 + 4 * 36) / 3600 * 10)
    assert cost.hops == (10 * 2 + 4) * 0.25
    assert cost.total == pytest.approx(42 + 5.25 + 47 + 2.9 + 6)


def test_built_candidates_and_parts_cost_no_server_cpu_but_their_storage() -> None:
    """Everything built: the same bytes kept, nothing to build."""
    world = _world()
    built = world.replace(
        candidates=dataclasses.replace(world.candidates, built=np.ones(4, dtype=bool)),
        parts=dataclasses.replace(world.parts, built=np.ones(2, dtype=bool)),
    )
    assert evaluate(built, WHOLE).server_cpu_s == 0.0
    assert evaluate(built, WHOLE).stored_bytes == evaluate(world, WHOLE).stored_bytes


def test_part_is_paid_once_and_only_when_needed() -> None:
    """Part 0 by candidate 1, by 2, or by both: 4 GB; part 1 only with candidate 2; none with candidate 0."""
    kept = {
        build: evaluate(_world(), Selection(build=build, routes=(None,) * 4)).stored_bytes / 1e9
        for build in ((), (0,), (1,), (2,), (1, 2))
    }
    assert kept == {(): 0, (0,): 5, (1,): 1 + 4, (2,): 2 + 4 + 8, (1, 2): 3 + 4 + 8}


def _with_route(demand: int, route: Route) -> Selection:
    routes = list(WHOLE.routes)
    routes[demand] = route
    return Selection(build=WHOLE.build, routes=tuple(routes))


@pytest.mark.parametrize(
    ("selection", "violation"),
    [
        (Selection(build=(2, 1, 3), routes=WHOLE.routes), "build: is not ascending and without repeats"),
        (Selection(build=(1, 2, 2, 3), routes=WHOLE.routes), "build: is not ascending and without repeats"),
        (Selection(build=(1, 2, 3, 9), routes=WHOLE.routes), "build: names a candidate that does not exist"),
        (Selection(build=(-1, 1, 2, 3), routes=WHOLE.routes), "build: names a candidate that does not exist"),
        (Selection(build=(1, 2, 3), routes=()), "routes: one per demand expected: got=0, demands=4"),
        (
            Selection(build=WHOLE.build, routes=(*WHOLE.routes, None)),
            "routes: one per demand expected: got=5, demands=4",
        ),
        (_with_route(1, (0,)), "routes[1]: hop 0 is not built"),
        (_with_route(1, (-4,)), "routes[1]: hop -4 is not built"),
        (_with_route(1, (99,)), "routes[1]: hop 99 is not built"),
        (_with_route(0, (2, 1)), "routes[0]: hop 2 does not start where the client is"),
        (_with_route(0, (1,)), "routes[0]: does not end at the target"),
        (_with_route(1, ()), "routes[1]: does not end at the target"),
        (_with_route(2, (1, 2)), "routes[2]: has more hops than max_hops"),
        (_with_route(0, (3,)), "routes[0]: downloads more than max_wire_bytes"),
        (_with_route(2, None), "routes[2]: a full pull is not allowed"),
        (_with_route(0, None), "routes[0]: the full pull is larger than max_wire_bytes"),
    ],
)
def test_broken_rule_is_named(selection: Selection, violation: str) -> None:
    """One rule broken, one violation, with the path of what breaks it; nothing raises."""
    judged = evaluate(_world(limits={}), selection)
    assert judged.violations == (violation,)
    assert not judged.is_feasible
    assert not judged.breaks_limit


@pytest.mark.parametrize(
    ("name", "allowed", "violation"),
    [
        ("stored_bytes", 20e9, "limits.stored_bytes: exceeded: needed=21000000000.0, allowed=20000000000.0"),
        ("server_cpu_s", 6299.5, "limits.server_cpu_s: exceeded: needed=6300.0, allowed=6299.5"),
    ],
)
def test_exceeded_limit_is_named_with_what_is_needed(name: str, allowed: float, violation: str) -> None:
    """Limits are hard, to the last byte and second."""
    judged = evaluate(_world(limits={name: allowed}), WHOLE)
    assert judged.violations == (violation,)
    assert judged.breaks_limit
    assert evaluate(_world(limits={name: getattr(judged, name)}), WHOLE).is_feasible


def test_sums_are_exact_before_rounding() -> None:
    """Ten times 0.1 B is 1 B: it fits a limit of 1 B, though adding one by one gives less or more."""
    graph = {
        "format": "deltaplan-graph/1",
        "commits": [str(i) for i in range(11)],
        "candidates": {"base": list(range(10)), "target": list(range(1, 11)), "wire_bytes": [0.1] * 10},
        "demands": {"base": [0], "target": [10], "clients": [1], "max_wire_bytes": [1]},
        "limits": {"stored_bytes": 1},
    }
    judged = evaluate(graph_from_dict(graph), Selection(build=tuple(range(10)), routes=(tuple(range(10)),)))
    assert (judged.stored_bytes, judged.egress_bytes, judged.violations) == (1.0, 1.0, ())


@pytest.mark.parametrize("seed", range(40))
def test_order_of_rows_does_not_matter(seed: int) -> None:
    """Candidates and demands in another order, fractional sizes: the same totals to the last bit."""
    problem = random_problem(seed, commits=5, candidates=12, demands=6)
    rows = problem.candidates
    problem = problem.replace(
        candidates=dataclasses.replace(rows, wire_bytes=rows.wire_bytes / 7, stored_bytes=rows.stored_bytes / 3)
    )
    chosen = select(problem, np.ones(12, dtype=bool))
    rng = np.random.default_rng(seed)
    order, asking = rng.permutation(12), rng.permutation(6)
    place = np.argsort(order)
    shuffled = problem.replace(
        candidates=_rows(problem.candidates, order),
        demands=_rows(problem.demands, asking),
        parts=dataclasses.replace(problem.parts, candidate=place[problem.parts.candidate]),
    )
    moved = [
        None if chosen.routes[k] is None else tuple(int(place[hop]) for hop in chosen.routes[k] or ()) for k in asking
    ]
    build = tuple(sorted(int(place[hop]) for hop in chosen.build))
    one, other = evaluate(problem, chosen), evaluate(shuffled, Selection(build=build, routes=tuple(moved)))
    assert (one.cost, one.stored_bytes, one.server_cpu_s, one.egress_bytes) == (
        other.cost,
        other.stored_bytes,
        other.server_cpu_s,
        other.egress_bytes,
    )
    assert len(one.violations) == len(other.violations)


def _rows(table: Any, order: np.ndarray) -> Any:
    return type(table)(**{name: getattr(table, name)[order] for name in table.__slots__})


def _by_definition(problem: Problem, selection: Selection) -> Evaluation:
    """What `evaluate` says, one demand and one hop at a time."""
    rows, parts, demands, prices = problem.candidates, problem.parts, problem.demands, problem.prices
    kept = sorted({e for e in selection.build if 0 <= e < len(rows)})
    pairs = zip(parts.candidate.tolist(), parts.part.tolist(), strict=True)
    needed = sorted({part for candidate, part in pairs if candidate in kept})
    stored = fsum([rows.stored_bytes[e] for e in kept] + [parts.stored_bytes[p] for p in needed])
    cpu = [rows.server_cpu_s[e] for e in kept if not rows.built[e]]
    cpu += [parts.server_cpu_s[p] for p in needed if not parts.built[p]]
    egress, client_cpu, hops = [], [], []
    for clients, full, route in zip(demands.clients, demands.full_pull_bytes, selection.routes, strict=False):
        if route is None:
            egress.append(clients * full if full < np.inf else 0.0)
            continue
        egress += [clients * rows.wire_bytes[hop] for hop in route if 0 <= hop < len(rows)]
        client_cpu += [clients * rows.client_cpu_s[hop] for hop in route if 0 <= hop < len(rows)]
        hops.append(clients * len(route))
    return Evaluation(
        selection=selection,
        cost=Costs(
            storage=stored / 1e9 * prices.storage_per_gb,
            server_cpu=fsum(cpu) / 3600 * prices.server_cpu_per_hour,
            egress=fsum(egress) / 1e9 * prices.egress_per_gb,
            client_cpu=fsum(client_cpu) / 3600 * prices.client_cpu_per_hour,
            hops=fsum(hops) * prices.per_hop,
        ),
        stored_bytes=stored,
        server_cpu_s=fsum(cpu),
        egress_bytes=fsum(egress),
        violations=tuple(_violations(problem, selection, stored, fsum(cpu))),
    )


def _violations(problem: Problem, selection: Selection, stored: float, cpu: float) -> list[str]:
    build, rows, limits = selection.build, len(problem.candidates), problem.limits
    found = []
    if list(build) != sorted(set(build)):
        found.append("build: is not ascending and without repeats")
    elif any(not 0 <= candidate < rows for candidate in build):
        found.append("build: names a candidate that does not exist")
    if len(selection.routes) != len(problem.demands):
        counts = f"got={len(selection.routes)}, demands={len(problem.demands)}"
        found.append(f"routes: one per demand expected: {counts}")
    else:
        faults = [_fault(problem, demand, selection) for demand in range(len(selection.routes))]
        found += [f"routes[{demand}]: {fault}" for demand, fault in enumerate(faults) if fault]
    for name, used, allowed in (
        ("stored_bytes", stored, limits.stored_bytes),
        ("server_cpu_s", cpu, limits.server_cpu_s),
    ):
        if allowed is not None and used > allowed:
            found.append(f"limits.{name}: exceeded: needed={used!r}, allowed={allowed!r}")
    return found


def _fault(problem: Problem, demand: int, selection: Selection) -> str:
    asked = {name: getattr(problem.demands, name)[demand] for name in problem.demands.__slots__}
    rows, route, at = problem.candidates, selection.routes[demand], asked["base"]
    if route is None and asked["full_pull_bytes"] == np.inf:
        return "a full pull is not allowed"
    if route is None:
        too_large = asked["full_pull_bytes"] > asked["max_wire_bytes"]
        return "the full pull is larger than max_wire_bytes" if too_large else ""
    for hop in route:
        if hop not in selection.build or not 0 <= hop < len(rows):
            return f"hop {hop} is not built"
        if rows.base[hop] != at:
            return f"hop {hop} does not start where the client is"
        at = rows.target[hop]
    if at != asked["target"]:
        return "does not end at the target"
    has_more = asked["max_hops"] != NO_HOP_LIMIT and len(route) > asked["max_hops"]
    is_large = fsum(rows.wire_bytes[list(route)].tolist()) > asked["max_wire_bytes"]
    return "has more hops than max_hops" if has_more else "downloads more than max_wire_bytes" if is_large else ""


def _broken(problem: Problem, rng: np.random.Generator) -> Selection:
    """A selection over most candidates, spoiled here and there: in its build list, its hops, how many routes it has."""
    chosen = select(problem, rng.random(len(problem.candidates)) < rng.choice([0.4, 0.9, 1.0]))
    build, routes = list(chosen.build), [None if route is None else list(route) for route in chosen.routes]
    odd = [-1, len(problem.candidates), 2**70, -(2**70), 0, 1]
    for _ in range(rng.integers(0, 4)):
        build.insert(int(rng.integers(0, len(build) + 1)), odd[rng.integers(len(odd))])
    build = sorted(set(build)) if rng.random() < 0.6 else build
    for demand in rng.integers(0, max(len(routes), 1), rng.integers(0, 4)).tolist() if routes else ():
        route = routes[demand] or []
        match rng.integers(6):
            case 0:
                routes[demand] = None
            case 1:
                routes[demand] = [*route, *route]
            case 2:
                routes[demand] = route[::-1]
            case 3:
                routes[demand] = route[:-1]
            case 4:
                routes[demand] = [*route, odd[rng.integers(len(odd))]]
            case _:
                routes[demand] = rng.integers(0, len(problem.candidates), 2).tolist()
    routes = routes[: -int(rng.integers(1, 3))] if rng.random() < 0.1 else routes
    routes += [[0], None] if rng.random() < 0.05 else []
    return Selection(build=tuple(build), routes=tuple(None if route is None else tuple(route) for route in routes))


@pytest.mark.parametrize("block", range(20))
def test_arrays_judge_as_the_definition_does(block: int) -> None:
    """Sound and broken selections, with parts and limits, fractional sizes: every number and message is the same."""
    seen: set[str] = set()
    for seed in range(block * 100, block * 100 + 100):
        rng = np.random.default_rng(seed)
        problem = random_problem(seed, commits=4, candidates=9, demands=int(rng.integers(1, 6)))
        if seed % 3 == 0:
            rows = dataclasses.replace(problem.candidates, wire_bytes=problem.candidates.wire_bytes / 10)
            limits = dataclasses.replace(problem.demands, max_wire_bytes=problem.demands.max_wire_bytes / 30)
            problem = problem.replace(candidates=rows, demands=limits)
        selection = _broken(problem, rng)
        judged = evaluate(problem, selection)
        assert judged == _by_definition(problem, selection)
        seen |= {re.sub(r"(\[|hop |=)[-\d.]+", "", violation) for violation in judged.violations}
    assert len(seen) >= 8


def test_problem_without_candidates_or_demands_is_judged() -> None:
    """Nothing to choose from, nothing asked for: empty sums, and hops that cannot exist are named."""
    empty = _world(candidates={"base": [], "target": [], "wire_bytes": []}, parts={})
    judged = evaluate(empty, Selection(build=(), routes=((0, -1), None, (), ())))
    assert judged == _by_definition(empty, judged.selection)
    assert judged.violations[0] == "routes[0]: hop 0 is not built"
    nobody = _world(demands={"base": [], "target": [], "clients": []})
    judged = evaluate(nobody, Selection(build=(1,), routes=()))
    assert judged == _by_definition(nobody, judged.selection)
    assert judged.is_feasible
