"""Why a plan is as it is: for a cohort, its alternatives; for a candidate, what changing its fate would cost.

What decides about a candidate, and what it would take to change that: `explain_reason`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from planner.optimize.evaluate import Costs, Evaluation, Route, Selection, evaluate, route_bytes, route_fault
from planner.optimize.explain_reason import PRICE_OF, keep_added
from planner.optimize.explain_routes import demand_rows, select_over
from planner.optimize.plan import Plan
from planner.optimize.problem import NO_HOP_LIMIT, IntArray, Problem
from planner.optimize.routes import choose_routes


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """One way to serve a demand.

    `client_bytes` and `client_money` are one client's; `fixed_money` is what the server would newly pay
    for hops that the plan does not keep, their parts included, `freed_money` what it would no longer pay for hops that
    only this demand uses. `more_money` is what all of it, for all clients, costs more than the plan's way. `fault` is
    the limit of the demand that forbids this way, `server_fault` the limit of the server that does, or empty.
    `decisive` names that limit, or else the price that makes this way dearer most; it is empty for the plan's way and
    for one that is as cheap.
    """

    kind: str
    route: Route
    client_bytes: float
    client_money: float
    fixed_money: float
    fault: str = ""
    freed_money: float = 0.0
    more_money: float = 0.0
    server_fault: str = ""
    decisive: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateVerdict:
    """What happens to the plan when one candidate's fate is changed and every client reroutes.

    `change_money`, `stored_bytes` and `server_cpu_s` are the new totals less the plan's; `violations` are the
    rules that the changed plan breaks.
    """

    candidate: int
    is_chosen: bool
    users: tuple[int, ...]
    change_money: float
    stored_bytes: float
    server_cpu_s: float
    violations: tuple[str, ...]


def explain_demand(problem: Problem, plan: Plan, demand: int) -> tuple[Alternative, ...]:
    """The plan's way for a demand first, then the direct deltas, the cheapest open route and the full pull.

    Where the demand's own limits forbid a cheaper route than that, it is shown as well.
    """
    view = _DemandView(problem, plan, demand)
    found, seen = [], set()
    for kind, route in _ways(problem, plan, demand):
        if route not in seen:
            found.append(view.alternative(kind, route))
            seen.add(route)
    return tuple(found)


def _ways(problem: Problem, plan: Plan, demand: int) -> Iterator[tuple[str, Route]]:
    rows, demands = problem.candidates, problem.demands
    yield "planned", plan.routes[demand]
    is_direct = (rows.base == demands.base[demand]) & (rows.target == demands.target[demand])
    for hop in np.flatnonzero(is_direct).tolist():
        yield "direct", (hop,)
    only = demand_rows(demands, [demand])
    free = dataclasses.replace(
        only, max_hops=np.array([NO_HOP_LIMIT]), max_wire_bytes=np.array([np.inf]), full_pull_bytes=np.array([np.inf])
    )
    for kind, asked in (("cheapest if all were built", only), ("cheapest without its limits", free)):
        route = choose_routes(problem.replace(demands=asked), np.ones(len(rows), dtype=bool))[0]
        if route is not None:
            yield kind, route
    if np.isfinite(problem.full_pull_money[demand]):
        yield "full pull", None


class _DemandView:
    """A plan in which one demand may go another way."""

    def __init__(self, problem: Problem, plan: Plan, demand: int) -> None:
        self.problem, self.plan, self.demand = problem, plan, demand
        others = {hop for k, route in enumerate(plan.routes) if k != demand for hop in route or ()}
        unused = set(plan.build).difference(*(route for route in plan.routes if route))
        self.kept = others | unused

    def alternative(self, kind: str, route: Route) -> Alternative:
        """What another way costs and saves, and what is against it."""
        problem, plan, demand = self.problem, self.plan, self.demand
        hops = list(route or ())
        new, freed = sorted(set(hops) - set(plan.build)), sorted(set(plan.build) - self.kept - set(hops))
        parts = self._parts(plan.build), self._parts((*self.kept, *hops))
        new_parts = np.setdiff1d(self._parts((*plan.build, *hops)), parts[0])
        freed_parts = np.setdiff1d(parts[0], parts[1])
        money, part_money = problem.candidate_money, problem.part_money
        changed = self._changed(route)
        fault = "" if route is None else route_fault(problem, demand, route, set(route))
        server = next((text for text in changed.violations if text.startswith("limits.")), "")
        is_served = route is not None or np.isfinite(problem.full_pull_money[demand])
        per_client = problem.hop_money[hops].sum() if route is not None else problem.full_pull_money[demand]
        return Alternative(
            kind=kind,
            route=route,
            client_bytes=float(problem.demands.full_pull_bytes[demand])
            if route is None
            else route_bytes(problem, route),
            client_money=float(per_client),
            fixed_money=float(money[new].sum() + part_money[new_parts].sum()),
            fault=fault if is_served else "a full pull is not allowed",
            freed_money=float(money[freed].sum() + part_money[freed_parts].sum()),
            more_money=changed.cost.total - plan.cost.total,
            server_fault=server,
            decisive=self._decisive(fault, server, changed.cost) if kind != "planned" else "",
        )

    def _parts(self, hops: Iterable[int]) -> IntArray:
        return self.problem.parts_needed_by(np.array(sorted(hops), dtype=np.int64))

    def _changed(self, route: Route) -> Evaluation:
        """The plan with the demand on another way: hops that nobody else uses are dropped, new ones are kept."""
        routes = list(self.plan.routes)
        routes[self.demand] = route
        build = tuple(sorted(self.kept | set(route or ())))
        return evaluate(self.problem, Selection(build=build, routes=tuple(routes)))

    def _decisive(self, fault: str, server: str, cost: Costs) -> str:
        if fault:
            return "demands.max_hops" if "hops" in fault else "demands.max_wire_bytes"
        if server:
            return server.split(":", maxsplit=1)[0]
        more = {name: getattr(cost, key) - getattr(self.plan.cost, key) for key, name in PRICE_OF.items()}
        dearest = max(more, key=lambda name: more[name])
        is_dearer = cost.total > self.plan.cost.total * (1 + 1e-12)
        return dearest if is_dearer else ""


def explain_candidate(problem: Problem, plan: Plan, candidate: int) -> CandidateVerdict:
    """What the plan would cost with the candidate dropped (where chosen) or added (where not)."""
    is_chosen = candidate in plan.build
    changed = _rerouted(problem, sorted({*plan.build} ^ {candidate}), candidate)
    return CandidateVerdict(
        candidate=candidate,
        is_chosen=is_chosen,
        users=tuple(k for k, route in enumerate(plan.routes) if route and candidate in route),
        change_money=changed.cost.total - plan.cost.total,
        stored_bytes=changed.stored_bytes - plan.evaluation.stored_bytes,
        server_cpu_s=changed.server_cpu_s - plan.evaluation.server_cpu_s,
        violations=changed.violations,
    )


def _rerouted(problem: Problem, opened: Sequence[int], candidate: int) -> Evaluation:
    """All demands over the open candidates; an added candidate is kept (and paid) even if nobody uses it."""
    return evaluate(problem, keep_added(select_over(problem, opened), opened, candidate))
