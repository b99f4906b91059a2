"""Why a plan is as it is: for a cohort, its alternatives; for a candidate, what changing its fate would cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.optimize.evaluate import Evaluation, Route, evaluate, route_bytes, route_fault
from planner.optimize.plan import Plan
from planner.optimize.problem import BoolArray, Problem
from planner.optimize.routes import choose_routes, select


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """One way to serve a demand.

    `client_bytes` and `client_money` are one client's; `fixed_money` is what the server would newly pay
    for hops that the plan does not keep, their parts included. `fault` is the limit of the demand that
    forbids this way, or empty; the server's limits are not looked at.
    """

    kind: str
    route: Route
    client_bytes: float
    client_money: float
    fixed_money: float
    fault: str = ""


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
    """The plan's way for a demand first, then the direct deltas, the cheapest open route and the full pull."""
    planned = plan.routes[demand]
    found = [_alternative(problem, plan, demand, "planned", planned)]
    rows, demands = problem.candidates, problem.demands
    is_direct = (rows.base == demands.base[demand]) & (rows.target == demands.target[demand])
    seen = {planned}
    for hop in np.flatnonzero(is_direct).tolist():
        if (hop,) not in seen:
            found.append(_alternative(problem, plan, demand, "direct", (hop,)))
            seen.add((hop,))
    free = choose_routes(_only(problem, demand), np.ones(len(rows), dtype=bool))[0]
    if free is not None and free not in seen:
        found.append(_alternative(problem, plan, demand, "cheapest if all were built", free))
    if planned is not None and np.isfinite(problem.full_pull_money[demand]):
        found.append(_alternative(problem, plan, demand, "full pull", None))
    return tuple(found)


def _only(problem: Problem, demand: int) -> Problem:
    """The problem with one demand."""
    demands = problem.demands
    rows = {name: getattr(demands, name)[[demand]] for name in demands.__slots__}
    return problem.replace(demands=type(demands)(**rows))


def _alternative(problem: Problem, plan: Plan, demand: int, kind: str, route: Route) -> Alternative:
    if route is None:
        return Alternative(
            kind=kind,
            route=None,
            client_bytes=float(problem.demands.full_pull_bytes[demand]),
            client_money=float(problem.full_pull_money[demand]),
            fixed_money=0.0,
        )
    hops, new = list(route), sorted(set(route) - set(plan.build))
    kept = {part for hop in plan.build for part in problem.parts_of[hop]}
    parts = sorted({part for hop in new for part in problem.parts_of[hop]} - kept)
    return Alternative(
        kind=kind,
        route=route,
        client_bytes=route_bytes(problem, route),
        client_money=float(problem.hop_money[hops].sum()),
        fixed_money=float(problem.candidate_money[new].sum() + problem.part_money[parts].sum()),
        fault=route_fault(problem, demand, route, set(route)),
    )


def explain_candidate(problem: Problem, plan: Plan, candidate: int) -> CandidateVerdict:
    """What the plan would cost with the candidate dropped (where chosen) or added (where not)."""
    is_open = np.zeros(len(problem.candidates), dtype=bool)
    is_open[list(plan.build)] = True
    is_chosen = bool(is_open[candidate])
    is_open[candidate] = not is_chosen
    changed = _rerouted(problem, is_open, candidate)
    return CandidateVerdict(
        candidate=candidate,
        is_chosen=is_chosen,
        users=tuple(k for k, route in enumerate(plan.routes) if route and candidate in route),
        change_money=changed.cost.total - plan.cost.total,
        stored_bytes=changed.stored_bytes - plan.evaluation.stored_bytes,
        server_cpu_s=changed.server_cpu_s - plan.evaluation.server_cpu_s,
        violations=changed.violations,
    )


def _rerouted(problem: Problem, is_open: BoolArray, candidate: int) -> Evaluation:
    """All demands over the open candidates; an added candidate is kept (and paid) even if nobody uses it."""
    selection = select(problem, is_open)
    if is_open[candidate] and candidate not in selection.build:
        selection = type(selection)(build=tuple(sorted({*selection.build, candidate})), routes=selection.routes)
    return evaluate(problem, selection)
