"""What a selection costs and whether it is allowed: the one judge of every plan.

Pure and solver-free. Every solver, peer policy, screen and test reports through `evaluate`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum

from planner.optimize.problem import NO_HOP_LIMIT, Problem
from planner.units import GB, S_PER_HOUR

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
    build = _existing(problem, selection.build)
    needed = sorted({part for candidate in build for part in problem.parts_of[candidate]})
    stored_bytes = fsum([*rows.stored_bytes[build].tolist(), *parts.stored_bytes[needed].tolist()])
    server_cpu_s = fsum(
        [
            *(rows.server_cpu_s[build] * ~rows.built[build]).tolist(),
            *(parts.server_cpu_s[needed] * ~parts.built[needed]).tolist(),
        ]
    )
    egress_bytes, client_cpu_s, hops = _client_totals(problem, selection)
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
            *_route_violations(problem, selection),
            *_limit_violations(problem, stored_bytes, server_cpu_s),
        ),
    )


def route_bytes(problem: Problem, route: tuple[int, ...]) -> float:
    """What one client downloads over a route; the sum is exact before rounding."""
    return fsum(problem.candidates.wire_bytes[list(route)].tolist())


def _existing(problem: Problem, candidates: tuple[int, ...]) -> list[int]:
    """The candidates that the problem has, ascending and without repeats."""
    return sorted({candidate for candidate in candidates if 0 <= candidate < len(problem.candidates)})


def _client_totals(problem: Problem, selection: Selection) -> tuple[float, float, float]:
    """Bytes sent, client core-seconds and hops over all clients."""
    egress: list[float] = []
    client_cpu: list[float] = []
    hops: list[float] = []
    for index, route in enumerate(selection.routes[: len(problem.demands)]):
        clients = float(problem.demands.clients[index])
        if route is None:
            full_pull_bytes = float(problem.demands.full_pull_bytes[index])
            egress.append(clients * full_pull_bytes if full_pull_bytes < float("inf") else 0.0)
            continue
        hops_there = [hop for hop in route if 0 <= hop < len(problem.candidates)]
        egress += (clients * problem.candidates.wire_bytes[hops_there]).tolist()
        client_cpu += (clients * problem.candidates.client_cpu_s[hops_there]).tolist()
        hops.append(clients * len(route))
    return fsum(egress), fsum(client_cpu), fsum(hops)


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


def _route_violations(problem: Problem, selection: Selection) -> list[str]:
    if len(selection.routes) != len(problem.demands):
        return [f"routes: one per demand expected: got={len(selection.routes)}, demands={len(problem.demands)}"]
    chosen = set(_existing(problem, selection.build))
    found = []
    for index, route in enumerate(selection.routes):
        reason = _full_pull_fault(problem, index) if route is None else route_fault(problem, index, route, chosen)
        if reason:
            found.append(f"routes[{index}]: {reason}")
    return found


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
