"""Tiny random problems, and an oracle that tries every selection: what the solvers are checked against."""

from __future__ import annotations

import itertools
from math import inf

import numpy as np

from planner.optimize.evaluate import Evaluation, Route, Selection, evaluate
from planner.optimize.interchange import graph_from_dict
from planner.optimize.problem import Problem


def random_graph(seed: int, *, commits: int = 4, candidates: int = 7, demands: int = 4) -> dict[str, object]:
    """A dense, near-tied graph with every column of the format in use; values from small ranges tie often.

    Prices and limits are drawn so that most graphs have a plan whose limits bind: what a route saves its
    clients is of the size of what it costs the server.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    ends = rng.integers(0, commits, (2, candidates))
    ends[1] = np.where(ends[0] == ends[1], (ends[1] + 1) % commits, ends[1])
    parts = int(rng.integers(0, 4))
    pairs = int(rng.integers(0, 1 + 3 * parts))
    wanted = np.array([_walk(rng, *ends) for _ in range(demands)], dtype=np.int64).reshape(demands, 2).T

    return {
        "format": "deltaplan-graph/1",
        "commits": ["", *(f"c{i}" for i in range(1, commits))],
        "candidates": {
            "base": ends[0].tolist(),
            "target": ends[1].tolist(),
            "wire_bytes": rng.integers(1, 9, candidates).tolist(),
            "stored_bytes": rng.integers(0, 8, candidates).tolist(),
            "server_cpu_s": rng.integers(0, 5, candidates).tolist(),
            "client_cpu_s": rng.integers(0, 3, candidates).tolist(),
            "built": (rng.random(candidates) < 0.2).tolist(),
        },
        "parts": {
            "stored_bytes": rng.integers(0, 8, parts).tolist(),
            "server_cpu_s": rng.integers(0, 5, parts).tolist(),
            "built": (rng.random(parts) < 0.2).tolist(),
            "candidate": rng.integers(0, candidates, pairs).tolist(),
            "part": rng.integers(0, max(parts, 1), pairs).tolist(),
        },
        "demands": _demands(rng, wanted),
        "prices": _prices(rng),
        "limits": {
            "stored_bytes": int(rng.integers(2, 16)) if rng.random() < 0.6 else None,
            "server_cpu_s": int(rng.integers(1, 9)) if rng.random() < 0.5 else None,
        },
    }


def _prices(rng: np.random.Generator) -> dict[str, float]:
    return {
        "storage_per_gb": float(rng.choice([0, 0.5, 1, 2])) * 1e9,
        "server_cpu_per_hour": float(rng.choice([0, 0.5, 1, 2])) * 3600,
        "egress_per_gb": float(rng.choice([0, 1, 1, 2, 2])) * 1e9,
        "client_cpu_per_hour": float(rng.integers(0, 2)) * 3600,
        "per_hop": float(rng.integers(0, 2)),
    }


def _demands(rng: np.random.Generator, wanted: np.ndarray) -> dict[str, object]:
    rows = wanted.shape[1]

    def maybe(values: np.ndarray, chance: float) -> list[object]:
        return [None if rng.random() < chance else value for value in values.tolist()]

    return {
        "base": wanted[0].tolist(),
        "target": wanted[1].tolist(),
        "clients": rng.choice([0, 0.5, 1, 2, 5, 9], rows).tolist(),
        "full_pull_bytes": maybe(rng.integers(8, 40, rows), 0.08),
        "max_hops": maybe(rng.choice([0, 1, 2, 2, 3, 3, 3], rows), 0.4),
        "max_wire_bytes": maybe(rng.integers(8, 40, rows), 0.6),
    }


def _walk(rng: np.random.Generator, bases: np.ndarray, targets: np.ndarray) -> tuple[int, int]:
    """The ends of one to three candidates in a row (which may come back to where they started)."""
    hop = int(rng.integers(len(bases)))
    first, last = int(bases[hop]), int(targets[hop])
    for _ in range(int(rng.integers(0, 3))):
        onward = np.flatnonzero(bases == last)
        last = int(targets[rng.choice(onward)]) if len(onward) else last
    return first, last


def two_step(**changes: object) -> Problem:
    """A world to check by hand: A -> C directly (10 B), or A -> B (4 B) and B -> C (4 B); full pull 50 B."""
    graph = {
        "format": "deltaplan-graph/1",
        "commits": ["A", "B", "C"],
        "candidates": {"base": [0, 0, 1], "target": [2, 1, 2], "wire_bytes": [10, 4, 4], "server_cpu_s": [9, 1, 1]},
        "demands": {"base": [0], "target": [2], "clients": [3], "full_pull_bytes": [50]},
        "prices": {"egress_per_gb": 1e9},
    }
    return graph_from_dict({**graph, **changes})


def random_problem(seed: int, **sizes: int) -> Problem:
    return graph_from_dict(random_graph(seed, **sizes))


def simple_routes(problem: Problem, demand: int, build: tuple[int, ...]) -> list[Route]:
    """Every route without a repeated commit over `build`, and the full pull; limits not yet checked."""
    base, target = int(problem.demands.base[demand]), int(problem.demands.target[demand])
    found: list[Route] = [None]
    stack: list[tuple[int, tuple[int, ...], frozenset[int]]] = [(base, (), frozenset({base}))]
    while stack:
        at, route, seen = stack.pop()
        if at == target:
            found.append(route)
            continue
        for hop in build:
            head = int(problem.candidates.target[hop])
            if int(problem.candidates.base[hop]) == at and head not in seen:
                stack.append((head, (*route, hop), seen | {head}))
    return found


def exhaustive(problem: Problem) -> Evaluation | None:
    """The cheapest feasible selection by trying them all, judged one demand at a time; None: there is none."""
    best: Evaluation | None = None
    candidates = range(len(problem.candidates))
    for size in range(len(problem.candidates) + 1):
        for build in itertools.combinations(candidates, size):
            routes = [_cheapest_alone(problem, demand, build) for demand in range(len(problem.demands))]
            if any(route is False for route in routes):
                continue
            judged = evaluate(problem, Selection(build=build, routes=tuple(routes)))  # type: ignore[arg-type]
            if judged.is_feasible and (best is None or judged.cost.total < best.cost.total):
                best = judged
    return best


def _cheapest_alone(problem: Problem, demand: int, build: tuple[int, ...]) -> Route | bool:
    """The demand's cheapest permitted route over `build`; False where there is none."""
    best: Route | bool = False
    least = inf
    others = problem.demands
    for route in simple_routes(problem, demand, build):
        routes: list[Route] = [()] * len(others)
        routes[demand] = route
        judged = evaluate(problem, Selection(build=build, routes=tuple(routes)))
        own = [fault for fault in judged.violations if fault.startswith(f"routes[{demand}]")]
        money = judged.cost.egress + judged.cost.client_cpu + judged.cost.hops
        if not own and money < least:
            best, least = route, money
    return best
