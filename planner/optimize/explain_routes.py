"""Routes over a few open candidates of a large problem, and those that are made to go over one candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, nextafter

import numpy as np

from planner.optimize.evaluate import Route, Selection, route_bytes
from planner.optimize.problem import Candidates, Demands, IntArray, Problem, no_parts
from planner.optimize.routes import cheapest_within_bytes, choose_routes


def rows_of(table: Candidates, rows: Sequence[int] | IntArray) -> Candidates:
    """Some rows of the candidates."""
    chosen = np.asarray(rows, dtype=np.int64)
    return Candidates(**{name: getattr(table, name)[chosen] for name in table.__slots__})


def demand_rows(table: Demands, rows: Sequence[int] | IntArray) -> Demands:
    """Some rows of the demands."""
    chosen = np.asarray(rows, dtype=np.int64)
    return Demands(**{name: getattr(table, name)[chosen] for name in table.__slots__})


def routes_over(problem: Problem, opened: Sequence[int]) -> tuple[Route, ...]:
    """`choose_routes` over a few candidates (ascending), without a look at all the others."""
    small = problem.replace(candidates=rows_of(problem.candidates, opened), parts=no_parts())
    routes = choose_routes(small, np.ones(len(opened), dtype=bool))
    return tuple(None if route is None else tuple(opened[hop] for hop in route) for route in routes)


def select_over(problem: Problem, opened: Sequence[int]) -> Selection:
    """`select` over a few candidates (ascending)."""
    routes = routes_over(problem, opened)
    return Selection(build=tuple(sorted({hop for route in routes if route for hop in route})), routes=routes)


def client_money(problem: Problem, demand: int, route: Route) -> float:
    """What one client of a demand pays for a way; infinite for a full pull that is not allowed."""
    if route is None:
        return float(problem.full_pull_money[demand])
    return float(problem.hop_money[list(route)].sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Detour:
    """A demand's way over the candidate that is asked about: one client's money, and its bytes in all."""

    demand: int
    route: tuple[int, ...]
    client_money: float
    wire_bytes: float


def find_detours(problem: Problem, opened: Sequence[int], candidate: int) -> tuple[Detour, ...]:
    """Per demand that has one, its cheapest way over the candidate and open ones.

    A demand with a byte limit has several, by falling bytes: each is the cheapest of those with fewer bytes than the
    one before, so that one of them is right whatever the candidate's own bytes become. `opened` lacks the candidate.

    The graph is laid twice, and only the candidate leads from the first copy to the second.
    """
    twice = _doubled(problem, opened, candidate)
    names = [*opened, *opened, candidate]
    demands = _within_reach(twice)
    free = np.full(len(demands), inf)
    asked = twice.replace(demands=replace(demand_rows(twice.demands, demands), max_wire_bytes=free))
    cheapest = choose_routes(asked, np.ones(len(names), dtype=bool))
    found = []
    for demand, first in zip(demands, cheapest, strict=True):
        route = first
        while route is not None:
            hops = tuple(names[hop] for hop in route)
            bytes_, money = route_bytes(problem, hops), client_money(problem, demand, hops)
            found.append(Detour(demand=demand, route=hops, client_money=money, wire_bytes=bytes_))
            is_limited = problem.demands.max_wire_bytes[demand] < inf
            route = _with_fewer_bytes(twice, demand, bytes_) if is_limited else None
    return tuple(found)


def _doubled(problem: Problem, opened: Sequence[int], candidate: int) -> Problem:
    """Two copies of the open graph; demands begin in the first and end in the second, and nobody pulls in full."""
    commits, demands = len(problem.commits), problem.demands
    both = rows_of(problem.candidates, [*opened, *opened, candidate])
    second = np.r_[np.zeros(len(opened)), np.full(len(opened), commits), 0].astype(np.int64)
    across = np.r_[second[:-1], commits]
    return problem.replace(
        commits=problem.commits * 2,
        candidates=replace(both, base=both.base + second, target=both.target + across),
        parts=no_parts(),
        demands=replace(demands, target=demands.target + commits, full_pull_bytes=np.full(len(demands), inf)),
    )


def _within_reach(twice: Problem) -> list[int]:
    """Demands whose base leads to the candidate (the last row), and to whose target it leads."""
    rows, demands = twice.candidates, twice.demands
    ahead = _reached(len(twice.commits), int(rows.target[-1]), rows.base, rows.target)
    behind = _reached(len(twice.commits), int(rows.base[-1]), rows.target, rows.base)
    is_near = behind[demands.base] & ahead[demands.target] & (demands.max_hops > 0)
    commits = len(twice.commits) // 2
    return np.flatnonzero(is_near & (demands.target - commits != demands.base)).tolist()


def _reached(commits: int, origin: int, tails: IntArray, heads: IntArray) -> np.ndarray:
    is_reached = np.zeros(commits, dtype=bool)
    is_reached[origin] = True
    while True:
        new = heads[is_reached[tails]]
        new = new[~is_reached[new]]
        if not len(new):
            return is_reached
        is_reached[new] = True


def _with_fewer_bytes(twice: Problem, demand: int, bytes_: float) -> Route:
    """The cheapest way over the candidate with fewer bytes than so many; None: there is none."""
    only = demand_rows(twice.demands, [demand])
    limited = twice.replace(demands=replace(only, max_wire_bytes=np.array([nextafter(bytes_, -inf)])))
    return cheapest_within_bytes(limited, 0, np.ones(len(limited.candidates), dtype=bool))
