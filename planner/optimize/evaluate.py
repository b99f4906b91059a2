"""What a selection costs and whether it is allowed: the one judge of every plan.

Pure and solver-free. Every solver, peer policy, screen and test reports through `evaluate`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from math import fsum, inf

import numpy as np

from planner.optimize.problem import NO_HOP_LIMIT, BoolArray, FloatArray, IntArray, Problem
from planner.units import GB, S_PER_HOUR

_SUM_SLACK = 1e-9
"""The float sum of a route's bytes differs from the exact one by less than this fraction, at up to a million hops."""

Route = tuple[int, ...] | None
"""Candidate indexes in the order they are applied; None is a full pull."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Chosen candidates (ascending) and one route per demand; nothing about it has been judged yet."""

    build: tuple[int, ...]
    routes: tuple[Route, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Money of the planning period, by what it pays for."""

    storage: float
    server_cpu: float
    egress: float
    client_cpu: float
    hops: float

    @property
    def total(self) -> float:
        """The objective."""
        return fsum((self.storage, self.server_cpu, self.egress, self.client_cpu, self.hops))


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A judged selection: money, physical totals, and every rule it breaks (none: it is feasible)."""

    selection: Selection
    cost: Costs
    stored_bytes: float
    server_cpu_s: float
    egress_bytes: float
    violations: tuple[str, ...]

    @property
    def is_feasible(self) -> bool:
        """Whether the selection breaks no rule."""
        return not self.violations

    @property
    def breaks_limit(self) -> bool:
        """Whether it keeps or builds more than a limit allows."""
        return any(violation.startswith("limits.") for violation in self.violations)


def evaluate(problem: Problem, selection: Selection) -> Evaluation:
    """Cost, totals and broken rules of a selection, from the problem alone.

    Sums are exact before rounding (`math.fsum`), so the order of rows does not matter. A full pull
    that is not allowed, and a candidate that does not exist, count nothing and are reported as violations.

    Source: `deltaplan-graph/1` and `deltaplan-plan/1` in `docs/formats.md`.
    """
    rows, parts = problem.candidates, problem.parts
    routes = _FlatRoutes.of(problem, selection.routes[: len(problem.demands)])
    build = _existing(problem, selection.build)
    needed = problem.parts_needed_by(build)
    stored_bytes = fsum([*rows.stored_bytes[build].tolist(), *parts.stored_bytes[needed].tolist()])
    server_cpu_s = fsum(
        [
            *(rows.server_cpu_s[build] * ~rows.built[build]).tolist(),
            *(parts.server_cpu_s[needed] * ~parts.built[needed]).tolist(),
        ]
    )
    egress_bytes, client_cpu_s, hops = _client_totals(problem, routes)
    prices = problem.prices
    cost = Costs(
        storage=stored_bytes / GB * prices.storage_per_gb,
        server_cpu=server_cpu_s / S_PER_HOUR * prices.server_cpu_per_hour,
        egress=egress_bytes / GB * prices.egress_per_gb,
        client_cpu=client_cpu_s / S_PER_HOUR * prices.client_cpu_per_hour,
        hops=hops * prices.per_hop,
    )
    return Evaluation(
        selection=selection,
        cost=cost,
        stored_bytes=stored_bytes,
        server_cpu_s=server_cpu_s,
        egress_bytes=egress_bytes,
        violations=(
            *_build_violations(problem, selection),
            *_route_violations(problem, selection, routes, build),
            *_limit_violations(problem, stored_bytes, server_cpu_s),
        ),
    )


def route_bytes(problem: Problem, route: tuple[int, ...]) -> float:
    """What one client downloads over a route; the sum is exact before rounding."""
    return fsum(problem.candidates.wire_bytes[list(route)].tolist())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _FlatRoutes:
    """Routes end to end.

    `hop` (-1: a candidate that does not exist) and `demand` have shape (hops,), `hops` (0 for a full pull) and
    `is_full_pull` shape (routes,).
    """

    hop: IntArray
    demand: IntArray
    hops: IntArray
    is_full_pull: BoolArray

    @classmethod
    def of(cls, problem: Problem, routes: Sequence[Route]) -> _FlatRoutes:
        followed = [route or () for route in routes]
        hops = np.fromiter(map(len, followed), dtype=np.int64, count=len(routes))
        return cls(
            hop=_indexes(chain.from_iterable(followed), int(hops.sum()), len(problem.candidates)),
            demand=np.repeat(np.arange(len(routes)), hops),
            hops=hops,
            is_full_pull=np.fromiter((route is None for route in routes), dtype=bool, count=len(routes)),
        )


def _indexes(values: Iterable[int], count: int, bound: int) -> IntArray:
    """The values as an array, -1 where one is no index below `bound`."""
    values = list(values)
    try:
        array = np.fromiter(values, dtype=np.int64, count=count)
    except OverflowError:
        array = np.array([value if 0 <= value < bound else -1 for value in values], dtype=np.int64)
    return np.where((array >= 0) & (array < bound), array, -1)


def _existing(problem: Problem, candidates: Sequence[int]) -> IntArray:
    """The candidates that the problem has, ascending and without repeats."""
    found = np.unique(_indexes(candidates, len(candidates), len(problem.candidates)))
    return found[found >= 0]


def _client_totals(problem: Problem, routes: _FlatRoutes) -> tuple[float, float, float]:
    """Bytes sent, client core-seconds and hops over all clients."""
    demands, rows = problem.demands, problem.candidates
    exists = routes.hop >= 0
    hop, clients = routes.hop[exists], demands.clients[routes.demand[exists]]
    pulled = np.flatnonzero(routes.is_full_pull & (demands.full_pull_bytes[: len(routes.hops)] < inf))
    pulls = demands.clients[pulled] * demands.full_pull_bytes[pulled]
    egress_bytes = fsum([*(clients * rows.wire_bytes[hop]).tolist(), *pulls.tolist()])
    client_cpu_s = fsum((clients * rows.client_cpu_s[hop]).tolist())
    return egress_bytes, client_cpu_s, fsum((demands.clients[: len(routes.hops)] * routes.hops).tolist())


def _build_violations(problem: Problem, selection: Selection) -> list[str]:
    if list(selection.build) != sorted(set(selection.build)):
        return ["build: is not ascending and without repeats"]
    if selection.build and not 0 <= selection.build[0] <= selection.build[-1] < len(problem.candidates):
        return ["build: names a candidate that does not exist"]
    return []


def _limit_violations(problem: Problem, stored_bytes: float, server_cpu_s: float) -> list[str]:
    found = []
    for name, used, allowed in (
        ("stored_bytes", stored_bytes, problem.limits.stored_bytes),
        ("server_cpu_s", server_cpu_s, problem.limits.server_cpu_s),
    ):
        if allowed is not None and used > allowed:
            found.append(f"limits.{name}: exceeded: needed={used!r}, allowed={allowed!r}")
    return found


def _route_violations(problem: Problem, selection: Selection, routes: _FlatRoutes, build: IntArray) -> list[str]:
    if len(selection.routes) != len(problem.demands):
        return [f"routes: one per demand expected: got={len(selection.routes)}, demands={len(problem.demands)}"]
    suspects = np.flatnonzero(_is_suspect(problem, routes, build)).tolist()
    chosen = set(build.tolist()) if suspects else set()
    found = []
    for index in suspects:
        route = selection.routes[index]
        reason = _full_pull_fault(problem, index) if route is None else route_fault(problem, index, route, chosen)
        if reason:
            found.append(f"routes[{index}]: {reason}")
    return found


def _is_suspect(problem: Problem, routes: _FlatRoutes, build: IntArray) -> BoolArray:
    """Which demands need a closer look, shape (demands,): all with a fault, and those near their byte limit."""
    demands = problem.demands
    bytes_ = np.where(routes.is_full_pull, demands.full_pull_bytes, _rounded_bytes(problem, routes))
    is_suspect = bytes_ > demands.max_wire_bytes * (1 - _SUM_SLACK)
    is_suspect |= routes.is_full_pull & (demands.full_pull_bytes == inf)
    is_suspect |= routes.hops > demands.max_hops
    is_suspect |= ~routes.is_full_pull & (_last_commits(problem, routes) != demands.target)
    is_suspect[routes.demand[_is_broken(problem, routes, build)]] = True
    return is_suspect


def _rounded_bytes(problem: Problem, routes: _FlatRoutes) -> FloatArray:
    """What a client downloads over each route, to within `_SUM_SLACK`; routes with a missing hop do not count."""
    exists = routes.hop >= 0
    bytes_ = problem.candidates.wire_bytes[routes.hop[exists]]
    return np.asarray(np.bincount(routes.demand[exists], bytes_, minlength=len(routes.hops)), dtype=np.float64)


def _ends(problem: Problem, routes: _FlatRoutes) -> IntArray:
    """The commit after each hop, -1 after one that does not exist; shape (hops,)."""
    ends = np.full(len(routes.hop), -1)
    exists = routes.hop >= 0
    ends[exists] = problem.candidates.target[routes.hop[exists]]
    return ends


def _last_commits(problem: Problem, routes: _FlatRoutes) -> IntArray:
    """Where each route ends; shape (demands,)."""
    at = problem.demands.base.copy()
    has_hops = routes.hops > 0
    at[has_hops] = _ends(problem, routes)[np.cumsum(routes.hops)[has_hops] - 1]
    return at


def _is_broken(problem: Problem, routes: _FlatRoutes, build: IntArray) -> BoolArray:
    """Which hops are not built, or do not start where the client is; shape (hops,)."""
    rows, hop = problem.candidates, routes.hop
    is_first = np.diff(routes.demand, prepend=-1) > 0
    at = np.where(is_first, problem.demands.base[routes.demand], np.roll(_ends(problem, routes), 1))
    is_chosen = np.zeros(len(rows) + 1, dtype=bool)
    is_chosen[build] = True
    # A hop that does not exist looks at the last entry, which is never chosen.
    is_broken = ~is_chosen[hop]
    sound = np.flatnonzero(~is_broken)
    is_broken[sound] = rows.base[hop[sound]] != at[sound]
    return is_broken


def _full_pull_fault(problem: Problem, demand: int) -> str:
    full_pull_bytes = problem.demands.full_pull_bytes[demand]
    if full_pull_bytes == float("inf"):
        return "a full pull is not allowed"
    if full_pull_bytes > problem.demands.max_wire_bytes[demand]:
        return "the full pull is larger than max_wire_bytes"
    return ""


def route_fault(problem: Problem, demand: int, route: tuple[int, ...], chosen: set[int]) -> str:
    """The first rule that a demand's route breaks where the chosen candidates are built, or nothing."""
    demands, rows = problem.demands, problem.candidates
    at = int(demands.base[demand])
    for hop in route:
        if hop not in chosen:
            return f"hop {hop} is not built"
        if int(rows.base[hop]) != at:
            return f"hop {hop} does not start where the client is"
        at = int(rows.target[hop])
    if at != int(demands.target[demand]):
        return "does not end at the target"
    if demands.max_hops[demand] != NO_HOP_LIMIT and len(route) > demands.max_hops[demand]:
        return "has more hops than max_hops"
    if route_bytes(problem, route) > demands.max_wire_bytes[demand]:
        return "downloads more than max_wire_bytes"
    return ""
