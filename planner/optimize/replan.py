"""Planning again: yesterday's plan on today's graph, where the solver begins and what the new plan is compared with.

Graphs are matched by names alone: the new graph is the truth about everything else, also about what is built.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from planner.optimize.evaluate import Evaluation, Route, Selection, evaluate, route_fault
from planner.optimize.explain_routes import demand_rows, routes_over
from planner.optimize.plan import Plan
from planner.optimize.problem import IntArray, Problem
from planner.optimize.replan_change import PlanChange, Replanning, describe_change
from planner.optimize.routes import choose_routes
from planner.optimize.solve import Options, solve


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedPlan:
    """Yesterday's plan on today's graph.

    `standing` is the plan as it stands: all of its candidates that are still offered, its routes that still lead where
    they should, other demands over what it keeps or by full pulls. It is not feasible where a demand is left without a
    way or a limit is broken. `start` serves those demands over new candidates and keeps only what is used; None where
    it breaks a limit, so that the solver has to find another.
    """

    candidate_of: Mapping[int, int]
    demand_of: Mapping[int, int]
    standing: Evaluation
    start: Selection | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replanned:
    """The new plan, yesterday's on the new graph, and what changed between them."""

    plan: Plan
    carried: CarriedPlan
    change: PlanChange


def replan(previous: Problem, plan: Plan, problem: Problem, options: Options | None = None) -> Replanned:
    """The plan of a changed graph, begun from yesterday's plan of yesterday's graph.

    Raises:
        InfeasibleError: as `solve`.
    """
    carried = carry_over(previous, plan, problem)
    new = solve(problem, replace(options or Options(), start=carried.start))
    return Replanned(plan=new, carried=carried, change=compare_plans(previous, plan, problem, new, carried))


def compare_plans(previous: Problem, plan: Plan, problem: Problem, new: Plan, carried: CarriedPlan) -> PlanChange:
    """What changed from yesterday's plan to a new one, and why."""
    return describe_change(
        Replanning(
            previous=previous,
            before=plan,
            problem=problem,
            after=new,
            standing=carried.standing,
            candidate_of=match_candidates(previous, problem, plan.build, new.build),
            demand_of=carried.demand_of,
        )
    )


def carry_over(previous: Problem, plan: Plan, problem: Problem) -> CarriedPlan:
    """Yesterday's plan on today's graph."""
    candidate_of = match_candidates(previous, problem, plan.build)
    demand_of = match_demands(previous, problem)
    kept = sorted({candidate_of[hop] for hop in plan.build if hop in candidate_of})
    routes = list(routes_over(problem, kept))
    for old, demand in demand_of.items():
        route = plan.routes[old]
        if route is None:
            is_allowed = np.isfinite(problem.full_pull_money[demand])
            routes[demand] = None if is_allowed else routes[demand]
        elif all(hop in candidate_of for hop in route):
            carried = tuple(candidate_of[hop] for hop in route)
            if not route_fault(problem, demand, carried, set(carried)):
                routes[demand] = carried
    standing = evaluate(problem, Selection(build=tuple(kept), routes=tuple(routes)))
    return CarriedPlan(candidate_of=candidate_of, demand_of=demand_of, standing=standing, start=_start(problem, routes))


def _start(problem: Problem, routes: Sequence[Route]) -> Selection | None:
    """The routes and, where there is none, the clients' cheapest; None where this breaks a limit."""
    served = list(routes)
    unserved = [k for k, route in enumerate(routes) if route is None and np.isinf(problem.full_pull_money[k])]
    if unserved:
        asked = problem.replace(demands=demand_rows(problem.demands, unserved))
        found = choose_routes(asked, np.ones(len(problem.candidates), dtype=bool))
        for demand, route in zip(unserved, found, strict=True):
            served[demand] = route
    build = tuple(sorted({hop for route in served if route for hop in route}))
    start = Selection(build=build, routes=tuple(served))
    return start if evaluate(problem, start).is_feasible else None


def match_candidates(
    previous: Problem, problem: Problem, of_previous: Sequence[int], of_problem: Sequence[int] = ()
) -> dict[int, int]:
    """Candidates of the previous graph and theirs in the new one: the same two names, each matched once.

    Of parallel candidates those with the same wire and stored bytes belong together, others in their order. Only pairs
    of commits are looked at that some of the given candidates connect.
    """
    before, after = _pairs(previous, problem), _pairs(problem, problem)
    wanted = np.union1d(before[list(of_previous)], after[list(of_problem)])
    old = np.flatnonzero(np.isin(before, wanted) & (before >= 0))
    new = np.flatnonzero(np.isin(after, wanted))
    same = [_columns(p, rows, ("wire_bytes", "stored_bytes")) for p, rows in ((previous, old), (problem, new))]
    levels = [
        [(pair, *amounts) for pair, amounts in zip(before[old].tolist(), same[0], strict=True)],
        [(pair, *amounts) for pair, amounts in zip(after[new].tolist(), same[1], strict=True)],
    ]
    found = _match([(levels[0], levels[1]), (before[old].tolist(), after[new].tolist())])
    return {int(old[i]): int(new[j]) for i, j in found.items()}


def _pairs(problem: Problem, named_as: Problem) -> IntArray:
    """Each candidate's two commits as one number in the other graph's numbering; -1 where it lacks one of them."""
    number = {name: index for index, name in enumerate(named_as.commits)}
    renamed = np.array([number.get(name, -1) for name in problem.commits], dtype=np.int64)
    base, target = renamed[problem.candidates.base], renamed[problem.candidates.target]
    return np.where((base >= 0) & (target >= 0), base * len(named_as.commits) + target, -1)


def _columns(problem: Problem, rows: IntArray, names: Sequence[str]) -> list[tuple[float, ...]]:
    return list(zip(*(getattr(problem.candidates, name)[rows].tolist() for name in names), strict=True))


def match_demands(previous: Problem, problem: Problem) -> dict[int, int]:
    """Demands of the previous graph and theirs in the new one, each matched once.

    The same two names and all limits first, then the same names and hops, then the same names.
    """
    return _match(
        [
            (_demand_keys(previous, columns), _demand_keys(problem, columns))
            for columns in (("max_hops", "max_wire_bytes", "full_pull_bytes"), ("max_hops",), ())
        ]
    )


def _demand_keys(problem: Problem, columns: Sequence[str]) -> list[tuple[Hashable, ...]]:
    demands, names = problem.demands, problem.commits
    ends = [[names[index] for index in column.tolist()] for column in (demands.base, demands.target)]
    return list(zip(*ends, *(getattr(demands, name).tolist() for name in columns), strict=True))


def _match(levels: Sequence[tuple[Sequence[Hashable], Sequence[Hashable]]]) -> dict[int, int]:
    """Positions with equal keys, each used once; earlier levels of keys go first, within one the order decides."""
    found: dict[int, int] = {}
    taken: set[int] = set()
    for old, new in levels:
        waiting: dict[Hashable, deque[int]] = {}
        for j, key in enumerate(new):
            if j not in taken:
                waiting.setdefault(key, deque()).append(j)
        for i, key in enumerate(old):
            if i not in found and waiting.get(key):
                found[i] = waiting[key].popleft()
                taken.add(found[i])
    return found
